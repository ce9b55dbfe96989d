"""The files of official data sets to tensors, checked; archives are read as they are, nothing is unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datakiln.errors import UserError


class Arrays(NamedTuple):
    """Pictures, uint8 (n, C, H, W), and their label indices, int64 (n,)."""

    x: Tensor
    y: Tensor


def read_idx_files(files: list[Path]) -> tuple[Arrays, Arrays]:
    """The four files of MNIST and its kin, training pictures, labels, then those of the test."""
    train, test = (_read_idx_pair(*files[at : at + 2]) for at in (0, 2))
    return train, test


def _read_idx_pair(pictures: Path, labels: Path) -> Arrays:
    x, y = read_idx(pictures), read_idx(labels)
    if x.dim() != 3 or y.dim() != 1 or len(x) != len(y):
        shapes = {pictures.name: tuple(x.shape), labels.name: tuple(y.shape)}
        told = " and ".join(f"{name} is of shape {shape}" for name, shape in shapes.items())
        raise UserError(f"{pictures.parent}: {told}; these are no pictures and their labels, download them again")
    return Arrays(x.unsqueeze(1), y.long())


def read_idx(path: Path) -> Tensor:
    """A file of the MNIST format, gzipped or not: uint8 of the shape in its header."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); download it again") from None
    dimensions = raw[3] if len(raw) > 4 else 0
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    body = raw[4 + 4 * dimensions :]
    if raw[:3] != b"\0\0\x08" or not shape or len(body) != int(np.prod(shape)):
        raise UserError(f"{path}: not an IDX file of bytes, or cut off; download it again")
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).reshape(shape)


def read_usps(files: list[Path]) -> tuple[Arrays, Arrays]:
    """`usps.bz2` and `usps.t.bz2`."""
    train, test = (_read_usps_file(path) for path in files)
    return train, test


def _read_usps_file(path: Path) -> Arrays:
    try:
        rows = np.array(re.sub(rb"\d+:", b"", bz2.decompress(path.read_bytes())).split(), dtype=np.float32)
        rows = rows.reshape(-1, 257)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not the USPS file, damaged or cut off ({error}); download it again") from None
    # in the file, labels are 1 to 10 and pixels lie in [-1, 1]; torchvision truncates these where we round
    pixels = np.rint((rows[:, 1:] + 1) * 127.5).clip(0, 255).astype(np.uint8).reshape(-1, 1, 16, 16)
    return Arrays(torch.from_numpy(pixels), torch.from_numpy(rows[:, 0].astype(np.int64) - 1))


def read_cifar(files: list[Path]) -> tuple[Arrays, Arrays]:
    """The folder of CIFAR-10, or its archive as it was downloaded."""
    opened = _from_archive if files[0].is_file() else _from_folder
    parts = opened(files[0], [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"])
    batches = [_cifar_batch(raw, files[0]) for raw in parts]
    train = Arrays(torch.cat([b.x for b in batches[:5]]), torch.cat([b.y for b in batches[:5]]))
    return train, batches[5]


def _from_folder(folder: Path, names: list[str]) -> list[bytes]:
    try:
        return [(folder / name).read_bytes() for name in names]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); unpack the archive again") from None


def _from_archive(path: Path, names: list[str]) -> list[bytes]:
    try:
        with tarfile.open(path) as archive:
            return [archive.extractfile(f"cifar-10-batches-py/{name}").read() for name in names]  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); download it again") from None


class _ArraysOnly(pickle.Unpickler):
    """The official files are pickles; of all that a pickle could run, only the making of an array is allowed."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """What a global of the pickle stands for."""
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def _cifar_batch(raw: bytes, path: Path) -> Arrays:
    try:
        entry = _ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
        x = torch.from_numpy(np.array(entry["data"], dtype=np.uint8)).reshape(-1, 3, 32, 32)
        return Arrays(x, torch.tensor(entry["labels"], dtype=torch.long))
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise UserError(f"{path}: not the official CIFAR-10 files, or damaged ({error}); download it again") from None
