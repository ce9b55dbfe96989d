"""Single picture files: what is wrong with one, and the same square of pixels from any size."""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from datakiln.data.pictures.finding import FORMATS

SIXTEEN_BIT = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
WHITE = 255
BITS_PER_SAMPLE = 258  # tag of TIFF
HEAD = 1024  # bytes; comments of a longer header are nobody's
NETPBM_HIGHEST = re.compile(rb"P[2356](?:(?:\s|#[^\n]*\n)+(\d+)){3}")  # width, height, highest value

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of odd metadata, which is not read


class BadPicture(Exception):
    """Why a file is no usable picture, in a few words."""


def read_picture(path: Path) -> tuple[Image.Image, bytes]:
    """A whole picture of mode L or RGB, upright, and the bytes it was made of.

    Raises:
        BadPicture: The file cannot be read, is empty, damaged, cut off, named as another format or as no picture,
            animated, or has CMYK, palette or 16-bit pixels.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"cannot be read ({error.strerror})") from None
    if not raw:
        raise BadPicture("is empty (0 bytes)")
    try:
        picture = Image.open(io.BytesIO(raw))
        _check(picture, path)
        picture.load()
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture("is no picture, or its beginning is damaged") from None
    except Image.DecompressionBombError:
        raise BadPicture("is too large to be decoded safely") from None
    except Exception as error:  # decoders of damaged data raise nearly anything
        raise BadPicture(f"is damaged or cut off ({_first_line(error)})") from None
    return _plain(ImageOps.exif_transpose(picture)), raw


def _check(picture: ImageFile.ImageFile, path: Path) -> None:
    wanted = FORMATS.get(path.suffix.lower())
    if wanted is None:
        suffix = next((suffix for suffix, formats in FORMATS.items() if picture.format in formats), "another")
        named = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        raise BadPicture(f"is mis-named: it holds {picture.format} but its name {named}; name it {suffix}")
    if picture.format not in wanted:
        raise BadPicture(f"is named {path.suffix} but holds {picture.format}")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # the first frame of a camera's MPO is the picture, the others previews
        raise BadPicture(f"is animated or has several pages ({frames} frames)")
    if picture.mode in SIXTEEN_BIT or _bits(picture) > 8:
        raise BadPicture("has 16-bit or floating-point pixels")
    if picture.mode in ("P", "PA"):
        raise BadPicture("has a colour palette")
    if picture.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        raise BadPicture(f"has {picture.mode} pixels")
    if min(picture.size) < 2:
        raise BadPicture(f"has only {picture.size[0]} x {picture.size[1]} pixels")


def _bits(picture: ImageFile.ImageFile) -> int:
    """Bits a pixel and channel as the file says: of deep colour, Pillow keeps the upper eight and tells nobody."""
    if picture.format == "TIFF":
        return max(picture.tag_v2.get(BITS_PER_SAMPLE, (8,)))  # type: ignore[attr-defined]
    if picture.format not in ("PNG", "PPM"):
        return 8
    stream = picture.fp
    assert stream is not None
    place = stream.tell()
    stream.seek(0)
    head = stream.read(HEAD)
    stream.seek(place)
    if picture.format == "PNG":
        return int(head[24])  # of the header chunk, which comes first
    highest = NETPBM_HIGHEST.match(head)
    return 8 if highest is None else int(highest[1]).bit_length()


def header(path: Path) -> tuple[str, tuple[int, int]] | None:
    """Pillow's mode and the size of a picture; None where its beginning shows already that it cannot be used."""
    try:
        with Image.open(path) as picture:
            _check(picture, path)
            return picture.mode, picture.size
    except Exception:  # noqa: BLE001 (decoding names it and why)
        return None


def _plain(picture: Image.Image) -> Image.Image:
    """L or RGB; what is transparent is laid on white."""
    if picture.mode in ("LA", "RGBA"):
        plain = picture.mode.removesuffix("A")
        ground = Image.new(plain, picture.size, WHITE if plain == "L" else (WHITE,) * 3)
        ground.paste(picture.convert(plain), mask=picture.getchannel("A"))
        return ground
    return picture.convert("L") if picture.mode == "1" else picture


def square(picture: Image.Image, side: int, channels: int) -> np.ndarray:
    """The middle square, resized with an antialiasing Lanczos filter, uint8 (C, side, side)."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    middle = picture.crop((left, top, left + short, top + short))
    pixels = np.asarray(middle.resize((side, side), Image.Resampling.LANCZOS))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def threads(jobs: int | None = None) -> ThreadPoolExecutor:
    """As many threads as this process has cores; decoding and resizing leave Python's lock alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(jobs or cores)


class PictureFiles:
    """Files that look like a uint8 tensor (n, C, side, side): decoded when they are asked for.

    Arguments:
        paths: Files that could be decoded when they were checked.
        side: Height and width.
        channels: 1 or 3.
    """

    device = torch.device("cpu")

    def __init__(self, paths: Sequence[Path], side: int, channels: int) -> None:
        """See the class."""
        self.paths = list(paths)
        self.side, self.channels = side, channels
        self._told: set[Path] = set()

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.paths)

    def __getitem__(self, at: slice | Tensor) -> Tensor:
        """Pictures by index, uint8 (B, C, side, side)."""
        chosen = range(len(self))[at] if isinstance(at, slice) else at.tolist()
        return torch.from_numpy(np.stack([self._pixels(i) for i in chosen]))

    def _pixels(self, i: int) -> np.ndarray:
        """A file that has gone bad since it was checked is stood in for by the next good one."""
        for k in range(len(self)):
            path = self.paths[(i + k) % len(self)]
            try:
                return square(read_picture(path)[0], self.side, self.channels)
            except BadPicture as fault:
                if path not in self._told:
                    self._told.add(path)
                    log.warning("%s %s since it was checked; another picture stands in", path, fault)
        raise BadPicture("no file can be read any more")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of the tensor it stands for."""
        return len(self), self.channels, self.side, self.side

    def first(self, n: int) -> PictureFiles:
        """The first n of them."""
        return PictureFiles(self.paths[:n], self.side, self.channels)

    def subset(self, rows: Tensor) -> PictureFiles:
        """Some of them."""
        return PictureFiles([self.paths[i] for i in rows.tolist()], self.side, self.channels)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80]
