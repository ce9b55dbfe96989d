"""Published weights: found in the cache or at a given path, or downloaded; always checked by their hash."""

from __future__ import annotations

import hashlib
import logging
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import torch

from datakiln.errors import UserError
from datakiln.storage import cache_dir, replacing

log = logging.getLogger(__name__)

TIMEOUT = 20.0  # seconds without an answer
PIECE = 1 << 20


@dataclass(frozen=True)
class WeightsFile:
    """One published file.

    Attributes:
        name: File name.
        url: Where it is published.
        sha256: Hash of its bytes.
        aliases: Names under which other libraries keep the same bytes in PyTorch's own cache.
    """

    name: str
    url: str
    sha256: str
    aliases: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """Where a person or a download puts it."""
        return cache_dir() / "weights" / self.name

    def found(self) -> Path | None:
        """Where it lies, if it does: at home, or where another library has downloaded it."""
        hub = Path(torch.hub.get_dir()) / "checkpoints"
        places = (self.home, *(hub / name for name in (self.name, *self.aliases)))
        return next((place for place in places if place.is_file()), None)


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, wanted: WeightsFile) -> Path:
    found = sha256_of(path)
    if found != wanted.sha256:
        raise UserError(
            f"{path}: SHA-256 is {found[:12]}..., not {wanted.sha256[:12]}...; fetch {wanted.url} anew and put it there"
        )
    return path


def _download(wanted: WeightsFile) -> None:
    wanted.home.parent.mkdir(parents=True, exist_ok=True)
    log.info("downloading %s to %s", wanted.url, wanted.home)
    with replacing(wanted.home) as part:
        with urllib.request.urlopen(wanted.url, timeout=TIMEOUT) as answer, part.open("wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
        _check(part, wanted)


def find_weights(wanted: WeightsFile, path: str | Path | None = None, download: bool = True) -> Path:
    """The checked local file.

    Arguments:
        wanted: What is looked for.
        path: A file of the user's own; None for the cache.
        download: Whether to fetch it where the cache does not hold it.

    Raises:
        UserError: If it is not there and cannot be had, or is another file.
    """
    if path is not None:
        if not Path(path).is_file():
            raise UserError(f"weights={path}: no such file; fetch {wanted.url}")
        return _check(Path(path), wanted)
    found = wanted.found()
    if found is None and download:
        try:
            _download(wanted)
        except OSError as error:
            raise UserError(f"cannot download {wanted.name} ({error}); put {wanted.url} at {wanted.home}") from error
        return wanted.home
    if found is None:
        raise UserError(f"{wanted.name} is missing; put {wanted.url} at {wanted.home}")
    return _check(found, wanted)
