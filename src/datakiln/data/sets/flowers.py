"""Oxford 102 Flowers (Nilsback and Zisserman, 2008): 8,189 photographs, decoded once."""

from __future__ import annotations

import json
import tarfile
import zlib
from pathlib import Path

import torch

from datakiln.data.base import Provenance
from datakiln.data.pictures.folder import Decoded, decode, report_of
from datakiln.data.pictures.sources import Pictures, RawImages, locate
from datakiln.errors import UserError
from datakiln.storage import cache_dir

FILES = (
    ("flowers-102/jpg", "flowers-102/102flowers.tgz"),
    ("flowers-102/imagelabels.mat",),
    ("flowers-102/setid.mat",),
)


class Flowers:
    """The official test and training pictures to learn from (7,169), the official validation ones as holdout (1,020).

    The official training split has ten pictures a class, too few for a generative model; its largest split is the test.
    """

    def __call__(self, data_dir: str | None = None, side: int | None = None) -> RawImages:
        """The middle square of every picture, resized to `side` (64 by default)."""
        folder, (pictures, labels, splits), kind = locate("flowers", FILES, "Flowers102", data_dir)
        if pictures.is_file():
            pictures = _unpacked(pictures)
        train, holdout, y = _splits(labels, splits)
        files = [pictures / f"image_{number:05d}.jpg" for number in range(1, len(y) + 1)]
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise UserError(f"data=flowers: {missing} is missing; unpack 102flowers.tgz again")
        decoded = decode(pictures, files, side or 64, 3, "error", float("inf"))
        provenance = Provenance(kind, f"flowers, {folder}", decoded.sha256)
        report = report_of(decoded, side or 64, float("inf"), "error")
        return RawImages(_part(decoded, y, train), _part(decoded, y, holdout), _names(), provenance, tuple(report))


def _part(decoded: Decoded, y: torch.Tensor, rows: torch.Tensor) -> Pictures:
    assert isinstance(decoded.x, torch.Tensor)
    return Pictures(decoded.x[rows], y[rows])


def _splits(labels: Path, splits: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows to learn from, rows held out, and the label indices of all pictures."""
    from scipy.io import loadmat

    try:
        y = torch.from_numpy(loadmat(labels, squeeze_me=True)["labels"].astype("int64")) - 1
        ids = loadmat(splits, squeeze_me=True)
        official = {name: torch.from_numpy(ids[key].astype("int64")) - 1 for name, key in
                    (("train", "trnid"), ("val", "valid"), ("test", "tstid"))}  # fmt: skip
    except Exception as error:  # noqa: BLE001 (scipy raises whatever the damage leads to)
        raise UserError(f"{labels} or {splits}: damaged ({error}); download them again") from None
    return torch.cat([official["test"], official["train"]]).sort().values, official["val"].sort().values, y


def _unpacked(archive: Path) -> Path:
    """The folder of pictures, unpacked into the cache, since the data folder may be read-only."""
    target = cache_dir() / "data" / "flowers-102"
    try:
        with tarfile.open(archive) as content:
            content.extractall(target, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: cannot be unpacked into {target} ({error})") from None
    return target / "jpg"


def _names() -> tuple[str, ...]:
    return tuple(json.loads((Path(__file__).parent / "flowers_classes.json").read_text(encoding="utf-8")))
