"""Where a person's pictures are; light, so that a wrong folder is told before torch is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from datakiln.errors import UserError

FORMATS = {  # what a suffix promises
    ".jpg": {"JPEG", "MPO"},
    ".jpeg": {"JPEG", "MPO"},
    ".png": {"PNG"},
    ".bmp": {"BMP", "DIB"},
    ".gif": {"GIF"},
    ".webp": {"WEBP"},
    ".avif": {"AVIF"},
    ".tif": {"TIFF"},
    ".tiff": {"TIFF"},
    ".ppm": {"PPM"},
    ".pgm": {"PPM"},
}
UNREAD = {  # pictures by their name that are not decoded here: they are told and counted
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".hif": "HEIC",
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".svg": "SVG",
    ".psd": "PSD",
    ".exr": "EXR",
    ".cr2": "camera raw",
    ".cr3": "camera raw",
    ".nef": "camera raw",
    ".arw": "camera raw",
    ".dng": "camera raw",
    ".raf": "camera raw",
    ".orf": "camera raw",
    ".rw2": "camera raw",
}


def find_folder(path: str | Path, data_dir: str | None) -> Path:
    """A relative path in the current folder, else in `data_dir`."""
    folder = Path(path).expanduser()
    if data_dir is None or folder.is_absolute() or folder.exists():
        return folder
    return Path(data_dir) / folder


def check_pictures(folder: Path, labels: bool, option: str = "data.path") -> None:
    """Looks no further than the first picture; see `find_pictures`.

    Raises:
        UserError: No such folder, one that cannot be read, no picture in it, or pictures both beside and inside of
            class folders.
    """
    if folder.is_file():
        raise UserError(f"{option}={folder}: this is a file, not a folder of pictures")
    if not folder.is_dir():
        raise UserError(f"{option}={folder}: no such folder (looked from {Path.cwd()})")
    entries = _entries(folder)
    inside = any(True for entry in entries if _is_class(entry) for _ in _pictures_below(entry, {folder.resolve()}))
    if not inside and not any(_is_picture(entry) for entry in entries):
        hidden = hidden_pictures(folder)
        told = f"; {len(hidden)} hidden ones, such as {hidden[0]}, are left out" if hidden else ""
        raise UserError(f"{option}={folder} holds no picture ({', '.join(sorted(FORMATS))}){told}")
    named = first_beside(folder)
    if labels and inside and named is not None:
        raise UserError(
            f"{option}={folder} holds pictures both in subfolders and beside them ({named}); move these into a "
            "subfolder of their class, or use data.labels=false to learn all without classes"
        )


def find_pictures(
    folder: Path, labels: bool, option: str = "data.path"
) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Files with a picture's suffix or content below a folder, their class indices (empty without classes), the names.

    Arguments:
        folder: Where to look.
        labels: Whether subfolders are classes.
        option: What errors call it.

    Raises:
        UserError: See `check_pictures`.
    """
    check_pictures(folder, labels, option)
    entries = _entries(folder)
    top = [entry for entry in entries if _is_picture(entry)]
    root = {folder.resolve()}
    groups = {entry.name: sorted(_pictures_below(entry, set(root))) for entry in entries if _is_class(entry)}
    groups = {name: files for name, files in groups.items() if files}
    if not labels or not groups:
        return top + [path for files in groups.values() for path in files], [], ()
    indices = [i for i, files in enumerate(groups.values()) for _ in files]
    # mis-named ones beside the classes will be told and left out, so the class they are given here means nothing
    return [path for files in groups.values() for path in files] + top, indices + [0] * len(top), tuple(groups)


def first_beside(folder: Path) -> str | None:
    """The first picture that lies in a folder itself, by its name; None where all are in subfolders."""
    entries = (entry for entry in _entries(folder) if _is_named(entry))
    return next((entry.name for entry in entries if _is_picture(entry) and entry.exists()), None)


def _is_picture(path: Path) -> bool:
    """By its name, or by its content where the name is another: such a one is told with the bad pictures.

    So is a link to nothing that is named as a picture.
    """
    if path.name.startswith(".") or not (path.is_file() or (path.is_symlink() and not path.exists())):
        return False
    return _is_named(path) or path.suffix.lower() in UNREAD or holds_picture(path)


def _is_named(path: Path) -> bool:
    return path.suffix.lower() in FORMATS


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _pictures_below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Links to folders are followed, but no folder is gone into twice: that might never end, and doubles pictures.

    Arguments:
        folder: Where to look.
        seen: The folders that were gone into, links resolved; more are as it goes on.
    """
    here = folder.resolve()
    if here in seen:
        return
    seen.add(here)
    for entry in sorted(_entries(folder), key=Path.is_symlink):  # a folder goes by its own name where it has one
        if _is_class(entry):
            yield from _pictures_below(entry, seen)
        elif _is_picture(entry):
            yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        told = f"{folder}: this folder cannot be read ({error.strerror}), so that its pictures would be missing"
        raise UserError(f"{told}; allow it, or move it elsewhere") from None


def hidden_pictures(folder: Path) -> list[str]:
    """Paths below a folder of what is named as a picture and hidden, or lies in a hidden folder: nobody looks there."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = (Path(root) / name).relative_to(folder)
            if path.suffix.lower() in FORMATS and any(part.startswith(".") for part in path.parts):
                found.append(str(path))
    return sorted(found)


def holds_picture(path: Path) -> bool:
    """Whether a file is, by its content, a picture of one of `FORMATS`, whatever its name."""
    from PIL import Image

    Image.init()
    known = set().union(*FORMATS.values()) & Image.OPEN.keys()
    try:  # a camera's MPO is a JPEG for Pillow until it is open
        with Image.open(path, formats=sorted(known - {"MPO"})):
            return True
    except Exception:  # noqa: BLE001 (what cannot be opened is no picture)
        return False
