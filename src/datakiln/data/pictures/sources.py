"""Where pictures come from. A source is a callable configured in yaml: `source(data_dir, side) -> RawImages`."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from datakiln.data.base import Inputs, Provenance, StepReport
from datakiln.data.pictures.files import PictureFiles
from datakiln.data.pictures.formats import Arrays, read_cifar, read_idx_files, read_usps
from datakiln.errors import UserError, near
from datakiln.storage import cache_dir

SECONDS = 20.0  # without an answer
SYSTEM = Path("/usr/share/datasets")  # where Debian's packages of data sets put them, such as dataset-fashion-mnist


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


@dataclass(frozen=True)
class Pictures:
    """x: uint8 (n, C, H, W), or files that are decoded when asked for; y: label indices (n,), or None."""

    x: Tensor | PictureFiles
    y: Tensor | None = None


@dataclass(frozen=True)
class RawImages:
    """Pictures as they were read, square and all of one size.

    Attributes:
        train: The official training pictures, or all of them.
        test: The official test pictures; None where there is no such split.
        classes: Names of the classes in the order of the label indices.
        provenance: Where the pictures come from.
        reports: What reading them has changed or left out.
        inputs: The files they were read from, where they are a person's own.
    """

    train: Pictures
    test: Pictures | None
    classes: tuple[str, ...]
    provenance: Provenance
    reports: tuple[StepReport, ...] = ()
    inputs: Inputs | None = None


@runtime_checkable
class KnownFactors(Protocol):
    """A source that draws pictures of which it knows what varies in them.

    Attributes:
        factors: Names of what varies; that of the class comes first.
    """

    factors: tuple[str, ...]

    def known(self, n: int, seed: int) -> tuple[Tensor, NDArray[np.int64]]:
        """Pictures, uint8 (n, C, H, W), and the factors of each as whole numbers, (n, factors)."""
        ...


class SklearnDigits:
    """The 1,797 handwritten digits of 8 x 8 pixels inside scikit-learn (Alpaydin and Kaynak, 1998)."""

    def __call__(self, data_dir: str | None = None, side: int | None = None) -> RawImages:
        """The digits, resized where a side is given."""
        import sklearn
        from sklearn.datasets import load_digits

        bunch = load_digits()
        x = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
        y = torch.from_numpy(bunch.target.astype(np.int64))
        detail = f"digits, embedded in scikit-learn {sklearn.__version__}"
        source = Provenance("embedded", detail, pictures_sha256(x, y))
        return RawImages(Pictures(resized(x, side), y), None, DIGITS, source, resize_report(x, side))


DIGITS = tuple(str(i) for i in range(10))
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Layout:
    """How torchvision lays an official data set out, and how it is read; the archives need not be unpacked.

    Attributes:
        files: Relative paths, all needed, or the alternatives for each in order of preference.
        read: From the found files to training and test pictures.
        classes: Names of the classes.
        torchvision: Name of its class, which knows where to download from.
    """

    files: tuple[tuple[str, ...], ...]
    read: Callable[[list[Path]], tuple[Arrays, Arrays]]
    classes: tuple[str, ...]
    torchvision: str


class OfficialImages:
    """A well-known data set as its makers publish it, from `data_dir`, the cache, or a download.

    Arguments:
        name: "mnist", "fashion_mnist", "cifar10" or "usps".
    """

    def __init__(self, name: str) -> None:
        """Raises `UserError` for an unknown name."""
        if name not in LAYOUTS:
            raise UserError(f"data.source.name={name} must be one of {', '.join(LAYOUTS)}{near(name, LAYOUTS)}")
        self.name = name

    def __call__(self, data_dir: str | None = None, side: int | None = None) -> RawImages:
        """Training and test pictures, resized where a side is given; raises `UserError` where they cannot be had."""
        layout = LAYOUTS[self.name]
        folder, files, kind = locate(self.name, layout.files, layout.torchvision, data_dir)
        train, test = layout.read(files)
        highest = max(int(part.y.max()) for part in (train, test))
        if highest >= len(layout.classes):
            told = f"{folder}: a label of {highest}, where {self.name} has {len(layout.classes)} classes"
            raise UserError(f"{told}; these are the files of another set, download them again")
        provenance = Provenance(kind, f"{self.name}, {folder}", pictures_sha256(*train, *test))
        parts = [Pictures(resized(part.x, side), part.y) for part in (train, test)]
        return RawImages(parts[0], parts[1], layout.classes, provenance, resize_report(train.x, side))


def locate(
    name: str, files: tuple[tuple[str, ...], ...], torchvision: str, data_dir: str | None
) -> tuple[Path, list[Path], str]:
    """The folder, the files, and whether they are "files" of the person or a "download".

    Raises:
        UserError: They are nowhere and cannot be downloaded; says which files to put where.
    """
    own = cache_dir() / "data"
    for folder in [*_given(data_dir, files), own, SYSTEM]:
        found = find_files(folder, files)
        if found is not None:
            return folder, found, "download" if folder == own else "files"
    try:
        download(torchvision, own)
    except DownloadFailed as fault:
        wanted = ", ".join(choices[0] for choices in files)
        where = Path(data_dir) if data_dir else own
        raise UserError(f"data={name}: cannot be downloaded ({fault}); put {wanted} below {where} (data_dir)") from None
    found = find_files(own, files)
    if found is None:
        raise UserError(f"data={name}: the download left no {files[0][0]} in {own}; remove {own} and try again")
    return own, found, "download"


def _given(data_dir: str | None, files: tuple[tuple[str, ...], ...]) -> list[Path]:
    """Where a person says that data is; the folder of the set itself will do as well as the one around it."""
    if not data_dir:
        return []
    folder = Path(data_dir).expanduser().absolute()
    is_own = any(choice.startswith(f"{folder.name}/") for choice in files[0])
    return [folder, folder.parent] if is_own else [folder]


def find_files(folder: Path, files: tuple[tuple[str, ...], ...]) -> list[Path] | None:
    """The first existing alternative of each file, or None if one has none."""
    found = [next((folder / f for f in choices if (folder / f).exists()), None) for choices in files]
    return [path for path in found if path is not None] if None not in found else None


def _idx_layout(*folders: str) -> tuple[tuple[str, ...], ...]:
    """Files of MNIST's names, packed or not: never without the set's own folder, since all its kin have these names."""
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    places = [f"{folder}/{inside}" for folder in folders for inside in ("raw/", "")]
    return tuple(tuple(f"{place}{part}-ubyte{end}" for place in places for end in (".gz", "")) for part in parts)


def resized(x: Tensor, side: int | None) -> Tensor:
    """Pictures brought to (n, C, side, side), bilinearly and without aliasing; None leaves them as they are."""
    if side is None or side == x.shape[-1]:
        return x
    made = torch.empty(*x.shape[:2], side, side, dtype=torch.uint8)
    for start in range(0, len(x), 1024):
        part = x[start : start + 1024].float()
        made[start : start + 1024] = F.interpolate(part, (side, side), mode="bilinear", antialias=True).round_()
    return made


def binary(raw: RawImages) -> RawImages:
    """Every pixel white with its intensity as the probability, else black (Salakhutdinov and Murray, 2008, section 5).

    Drawn once, and the same in every run, whatever its seed, so that likelihoods compare.

    Raises:
        UserError: So many or so large pictures that they stay in their files.
    """
    generator = torch.Generator().manual_seed(0)

    def drawn(pictures: Pictures) -> Pictures:
        if not isinstance(pictures.x, Tensor):
            told = "data.binarised=true: so many pictures stay in their files"
            raise UserError(f"{told}; give a smaller data.side=, or more data.memory_mb=")
        parts = [
            255 * (255 * torch.rand(x.shape, generator=generator) < x).to(torch.uint8) for x in pictures.x.split(4096)
        ]
        return replace(pictures, x=torch.cat(parts))

    report = StepReport("binarised", "every pixel is white with its intensity as the probability, else black")
    train, test = drawn(raw.train), None if raw.test is None else drawn(raw.test)
    return replace(raw, train=train, test=test, reports=(*raw.reports, report))


def resize_report(x: Tensor, side: int | None) -> tuple[StepReport, ...]:
    """That pictures were resized, if they were."""
    if side is None or side == x.shape[-1]:
        return ()
    return (StepReport("resize", f"from {x.shape[-1]} to {side} px, bilinear, antialiased", rows=len(x)),)


def pictures_sha256(*tensors: Tensor | None) -> str:
    """SHA-256 of the bytes of tensors in memory."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


LAYOUTS = {
    "mnist": Layout(_idx_layout("MNIST", "mnist"), read_idx_files, DIGITS, "MNIST"),
    "fashion_mnist": Layout(
        _idx_layout("FashionMNIST", "fashion-mnist", "fashion_mnist"), read_idx_files, FASHION, "FashionMNIST"
    ),
    "cifar10": Layout((("cifar-10-python.tar.gz", "cifar-10-batches-py"),), read_cifar, CIFAR, "CIFAR10"),
    "usps": Layout((("USPS/usps.bz2", "usps.bz2"), ("USPS/usps.t.bz2", "usps.t.bz2")), read_usps, DIGITS, "USPS"),
}
