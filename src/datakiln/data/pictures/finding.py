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
    ".tif": {"TIFF"},
    ".tiff": {"TIFF"},
    ".ppm": {"PPM"},
    ".pgm": {"PPM"},
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
        UserError: No such folder, no picture in it, or pictures both beside and inside of class folders.
    """
    if folder.is_file():
        raise UserError(f"{option}={folder}: this is a file, not a folder of pictures")
    if not folder.is_dir():
        raise UserError(f"{option}={folder}: no such folder (looked from {Path.cwd()})")
    entries = sorted(folder.iterdir())
    inside = any(True for entry in entries if _is_class(entry) for _ in _pictures_below(entry))
    if not inside and not any(_is_picture(entry) for entry in entries):
        raise UserError(f"{option}={folder} holds no picture ({', '.join(sorted(FORMATS))})")
    named = next((entry.name for entry in entries if _is_named(entry) and _is_picture(entry)), None)
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
        UserError: No such folder, no picture in it, or pictures both beside and inside of class folders.
    """
    check_pictures(folder, labels, option)
    entries = sorted(folder.iterdir())
    top = [entry for entry in entries if _is_picture(entry)]
    groups = {entry.name: sorted(_pictures_below(entry)) for entry in entries if _is_class(entry)}
    groups = {name: files for name, files in groups.items() if files}
    if not labels or not groups:
        return top + [path for files in groups.values() for path in files], [], ()
    indices = [i for i, files in enumerate(groups.values()) for _ in files]
    # mis-named ones beside the classes will be told and left out, so the class they are given here means nothing
    return [path for files in groups.values() for path in files] + top, indices + [0] * len(top), tuple(groups)


def _is_picture(path: Path) -> bool:
    """By its name, or by its content where the name is another: such a one is told with the bad pictures."""
    if path.name.startswith(".") or not path.is_file():
        return False
    return _is_named(path) or holds_picture(path)


def _is_named(path: Path) -> bool:
    return path.suffix.lower() in FORMATS


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _pictures_below(folder: Path) -> Iterator[Path]:
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return (path for path in found if _is_picture(path))


def holds_picture(path: Path) -> bool:
    """Whether a file is, by its content, a picture of one of `FORMATS`, whatever its name."""
    from PIL import Image

    try:  # a camera's MPO is a JPEG for Pillow until it is open
        with Image.open(path, formats=sorted(set().union(*FORMATS.values()) - {"MPO"})):
            return True
    except Exception:  # noqa: BLE001 (what cannot be opened is no picture)
        return False
