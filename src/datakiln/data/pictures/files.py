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
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from datakiln.data.pictures.finding import FORMATS, UNREAD

GREY_16 = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
PLAIN_MODES = {"1", "L", "LA", "RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"}
WHITE = 255
BITS_PER_SAMPLE = 258  # tag of TIFF
PNG_GREY_ALPHA = 4  # colour type of a PNG
HEAD = 1024  # bytes; comments of a longer header are nobody's
NETPBM_HIGHEST = re.compile(rb"P[2356](?:(?:\s|#[^\n]*\n)+(\d+)){3}")  # width, height, highest value
CONTAINERS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF"}
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of odd metadata, which is not read


class BadPicture(Exception):
    """Why a file is no usable picture.

    Arguments:
        reason: In a few words.
        kind: In one or two, under which such files are counted.
    """

    def __init__(self, reason: str, kind: str = "damaged") -> None:
        """See the class."""
        super().__init__(reason)
        self.kind = kind


class Read(NamedTuple):
    """One file as it is used.

    Attributes:
        picture: Upright, of mode L or RGB.
        raw: The bytes it was made of.
        changes: What was done to bring it there, each in a few words.
    """

    picture: Image.Image
    raw: bytes
    changes: tuple[str, ...] = ()


class Head(NamedTuple):
    """What the beginning of a file tells.

    Attributes:
        is_grey: Whether the picture has one channel, transparency aside.
        size: Shorter and longer side.
        format: Such as "PNG" or "JPEG".
        form: How colours are kept, such as "grey", "colour", "palette" or "16-bit grey".
        quality: That of a JPEG, 1 to 100, by its table for brightness; else None.
    """

    is_grey: bool
    size: tuple[int, int]
    format: str
    form: str
    quality: float | None = None


def read_picture(path: Path) -> Read:
    """A whole picture of mode L or RGB, upright; of several frames the first, transparent parts on white.

    Raises:
        BadPicture: The file cannot be read, is empty, damaged, cut off, named as another format or as no picture, of a
            format or colours that are not decoded here, or too small.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"cannot be read ({error.strerror})", "unreadable") from None
    if not raw:
        raise BadPicture("is empty (0 bytes)", "empty")
    try:
        picture = Image.open(io.BytesIO(raw))
        _check(picture, path)
        changes, bits, has_grey = _told(picture), _bits(picture), _has_grey_and_alpha(picture)
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        plain, more = _plain(upright.convert("LA") if has_grey else upright, bits)
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise _unidentified(path, raw) from None
    except Image.DecompressionBombError:
        raise BadPicture("is too large to be decoded safely", "too large") from None
    except Exception as error:  # decoders of damaged data raise nearly anything
        raise BadPicture(f"is damaged or cut off ({_first_line(error)})") from None
    return Read(plain, raw, (*changes, *more))


def _unidentified(path: Path, raw: bytes) -> BadPicture:
    """Pillow knows nothing of it: by its name or its first bytes it may be of a format that is not decoded here."""
    suffix = path.suffix.lower()
    held = CONTAINERS.get(raw[8:12]) if raw[4:8] == b"ftyp" else None
    known = held or UNREAD.get(suffix)
    if known is None:
        return BadPicture("is no picture, or its beginning is damaged")
    if known == "AVIF" and suffix == ".avif" and features.check("avif"):
        return BadPicture("is damaged or cut off")
    named = "" if UNREAD.get(suffix) == known or suffix == ".avif" else f"is named {path.suffix} but "
    return BadPicture(f"{named}{'holds' if named else 'is'} {known}, which is not decoded here; save it as PNG", known)


def _check(picture: ImageFile.ImageFile, path: Path) -> None:
    wanted = FORMATS.get(path.suffix.lower())
    if wanted is None:
        suffix = next((suffix for suffix, formats in FORMATS.items() if picture.format in formats), "another")
        named = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        if suffix == "another":
            raise BadPicture(f"is {picture.format}, which is not taken; save it as PNG", str(picture.format))
        raise BadPicture(f"is mis-named: it holds {picture.format} but its name {named}; name it {suffix}", "mis-named")
    if picture.format not in wanted:
        raise BadPicture(f"is named {path.suffix} but holds {picture.format}", "mis-named")
    is_deep_grey = picture.mode in GREY_16 and (picture.mode != "I" or picture.format in ("PNG", "PPM"))
    if picture.mode in ("I", "F") and not is_deep_grey:
        raise BadPicture("has floating-point, signed or 32-bit pixels, whose white is not known", "32-bit")
    if picture.mode not in PLAIN_MODES and not is_deep_grey:
        raise BadPicture(f"has {picture.mode} pixels", f"{picture.mode} pixels")
    if min(picture.size) < 2:
        raise BadPicture(f"has only {picture.size[0]} x {picture.size[1]} pixels", "too small")


def _told(picture: ImageFile.ImageFile) -> list[str]:
    """What is left out of a picture that is used; of a camera's MPO, the first is the picture, the others previews."""
    several = getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO"
    return ["of several frames or pages, the first taken"] if several else []


def _bits(picture: ImageFile.ImageFile) -> int:
    """Bits a pixel and channel as the file says: of deep colour, Pillow keeps the upper eight and tells nobody."""
    if picture.format == "TIFF":
        return max(picture.tag_v2.get(BITS_PER_SAMPLE, (8,)))  # type: ignore[attr-defined]
    if picture.format not in ("PNG", "PPM"):
        return 8
    head = _beginning(picture)
    if picture.format == "PNG":
        return int(head[24])  # of the header chunk, which comes first
    highest = NETPBM_HIGHEST.match(head)
    return 8 if highest is None else int(highest[1]).bit_length()


def _beginning(picture: ImageFile.ImageFile) -> bytes:
    stream = picture.fp
    assert stream is not None
    place = stream.tell()
    stream.seek(0)
    head = stream.read(HEAD)
    stream.seek(place)
    return head


def _has_grey_and_alpha(picture: ImageFile.ImageFile) -> bool:
    """Of a PNG of 16 bits, Pillow makes three channels of the grey one."""
    return picture.mode == "RGBA" and picture.format == "PNG" and _beginning(picture)[25] == PNG_GREY_ALPHA


def header(path: Path) -> Head | None:
    """What the beginning of a picture tells; None where it shows already that it cannot be used."""
    try:
        with Image.open(path) as picture:
            _check(picture, path)
            is_grey = picture.mode in {"1", "L", "LA", *GREY_16} or _has_grey_palette(picture)
            is_grey = is_grey or _has_grey_and_alpha(picture)
            width, height = picture.size
            size = min(width, height), max(width, height)
            return Head(is_grey, size, _format(picture), _form(picture, is_grey), _quality(picture))
    except Exception:  # noqa: BLE001 (decoding names it and why)
        return None


def _format(picture: ImageFile.ImageFile) -> str:
    return "JPEG" if picture.format == "MPO" else str(picture.format)


def _form(picture: ImageFile.ImageFile, is_grey: bool) -> str:
    if picture.mode in ("P", "PA"):
        return "palette"
    if picture.mode in ("1", "CMYK"):
        return {"1": "black and white", "CMYK": "CMYK"}[picture.mode]
    return ("16-bit " if _bits(picture) > 8 else "") + ("grey" if is_grey else "colour")


def _quality(picture: ImageFile.ImageFile) -> float | None:
    """The setting of libjpeg whose table is nearest; encoders of other tables get the setting of like coarseness."""
    table = getattr(picture, "quantization", {}).get(0)
    if not table:
        return None
    scale = 100 * sum(table) / sum(LUMINANCE)
    return min(max(5000 / scale if scale > 100 else (200 - scale) / 2, 1.0), 100.0)


def _has_grey_palette(picture: Image.Image) -> bool:
    if picture.mode not in ("P", "PA"):
        return False
    palette = np.array(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _plain(picture: Image.Image, bits: int) -> tuple[Image.Image, list[str]]:
    """L or RGB, and what was done for it; what is transparent is laid on white."""
    changes, clear = [], picture.info.get("transparency")  # of a PNG without an alpha channel, one colour
    if bits > 8:
        changes.append("of 16 bits a channel, the upper eight kept")
    if picture.mode in ("P", "PA"):
        changes.append("colour palette")
        plain = "L" if _has_grey_palette(picture) else "RGB"
        picture, clear = picture.convert("RGBA"), None
        picture = picture if plain == "RGB" else picture.convert("LA")
    elif picture.mode in ("CMYK", "YCbCr"):
        changes.append(picture.mode)
        picture = picture.convert("RGB")
    if picture.mode in ("LA", "RGBA"):
        alpha = picture.getchannel("A")
        pixels = picture.convert(picture.mode.removesuffix("A"))
        ground = Image.new(pixels.mode, picture.size, WHITE if pixels.mode == "L" else (WHITE,) * 3)
        ground.paste(pixels, mask=alpha)
        return ground, [*changes, LAID] if alpha.getextrema()[0] < WHITE else changes  # type: ignore[operator]
    if picture.mode not in GREY_16:
        picture = picture.convert("L") if picture.mode == "1" else picture
        if clear is None or isinstance(clear, bytes):
            return picture, changes
        # Pillow widens pixels of fewer than eight bits, and narrows those of more, but not the colour
        clear = np.array(clear) >> 8 if bits > 8 else np.array(clear) * 255 // (2**bits - 1)
        values = np.array(picture)
        is_clear = (values == clear).all(axis=2) if values.ndim == 3 else values == clear
    else:
        deep = np.asarray(picture).astype(np.int64)
        is_clear = np.zeros(deep.shape, dtype=bool) if clear is None else deep == clear
        values = (deep >> 8).astype(np.uint8)
    values[is_clear] = WHITE
    return Image.fromarray(values), [*changes, LAID] if is_clear.any() else changes


LAID = "transparent parts laid on white"


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
