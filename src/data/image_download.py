"""Official data sets by torchvision's own loaders, which know where they lie and check what arrives."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.error import URLError

SECONDS = 20.0  # without an answer


class DownloadFailed(Exception):
    """Why a data set could not be had, in a few words."""


def download(name: str, root: Path) -> None:
    """Downloads with a progress bar and unpacks below `root`, in torchvision's layout.

    Arguments:
        name: Name of a class of `torchvision.datasets`.
        root: A folder that can be written to.

    Raises:
        DownloadFailed: Without network or room, or if what arrives is not what was published.
    """
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)  # torchvision's downloads have no timeout of their own
    try:
        root.mkdir(parents=True, exist_ok=True)
        if name == "USPS":
            (root / "USPS").mkdir(exist_ok=True)
            for train in (True, False):
                datasets.USPS(root / "USPS", train=train, download=True)
        else:
            getattr(datasets, name)(root, download=True)
    except (OSError, RuntimeError, URLError) as error:
        raise DownloadFailed(_reason(error)) from None
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:120] if lines else type(error).__name__
