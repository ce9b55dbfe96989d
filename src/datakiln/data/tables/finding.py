"""Where a person's table is; light, so that a wrong path is told before torch and pandas are imported."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from datakiln.errors import UserError

SUFFIXES = {".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz"}
PARQUET = (".parquet", ".pq")
STORES = re.compile(r"(s3|gs|hdfs|abfss?)://")


def is_store(place: str) -> bool:
    """Whether a place is in an object store and not on this machine."""
    return STORES.match(place) is not None


def check_address(address: str) -> None:
    """Raises `UserError` for keys in an address: a run keeps its options, and shows them."""
    if re.match(r"s3://[^/?]*@", address):
        raise UserError(
            "data.path=s3://...@...: keys in an address would be kept with the run; set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, instead"
        )


def is_hidden(names: Sequence[str]) -> bool:
    """Whether a path below a folder is none of its data, as Spark and pyarrow have it: `_SUCCESS`, `.x`, `_marks/x`."""
    return any(name.startswith(".") or (name.startswith("_") and "=" not in name) for name in names)


def find_file(path: str | Path, data_dir: str | None) -> Path:
    """A relative path in the current folder, or in `data_dir` if only there it exists."""
    here = Path(path).expanduser()
    if data_dir is None or here.is_absolute() or here.exists() or not (Path(data_dir) / here).exists():
        return here
    return Path(data_dir) / here


def parts_of(path: Path) -> list[Path] | None:
    """The Parquet files that a folder or a pattern such as parts/*.parquet stands for; None for any other path."""
    if path.is_dir():
        return _inside(path) or None
    if path.exists() or not glob.has_magic(str(path)):
        return None
    found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
    if not found:
        raise UserError(f"data.path={path} matches no file")
    strange = next((p for p in found if p.suffix.lower() not in PARQUET), None)
    if strange is not None:
        raise UserError(f"data.path={path} matches {strange.name}; several files are read together if they are Parquet")
    return found


def _inside(folder: Path) -> list[Path]:
    """Parquet files in a folder and those in it, by name; links to folders, which may lead back, are passed over."""
    names = [
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, files in os.walk(folder)
        for name in files
        if name.lower().endswith(PARQUET)
    ]
    found = [folder / name for name in sorted(names) if not is_hidden(Path(name).parts)]
    for path in found:
        check_exists(path)  # a pipe would be waited for
    return found


def check_table(place: str, data_dir: str | None) -> None:
    """Raises `UserError` for what is neither a file nor Parquet files, as far as this machine knows."""
    if is_store(place):
        check_address(place)
        return
    path = find_file(place, data_dir)
    if parts_of(path) is None:
        check_is_file(path)


def check_is_file(path: Path) -> None:
    """Raises `UserError` for a folder, with one of the tables in it, and where there is no such file."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        which = f"; give one of its files, such as data.path={path / inside[0]}" if inside else ""
        raise UserError(f"{path}: this is a folder, not a table file{which}")
    check_exists(path)


def check_exists(path: Path, option: str = "data.path") -> None:
    """Raises `UserError` with the option and the name that was meant where there is no such file, or none that ends."""
    if path.is_file() or path.is_dir():
        return
    if path.exists():
        raise UserError(f"{option}={path}: this is a pipe or a device; save what comes from it as a file first")
    if path.is_symlink():
        raise UserError(f"{option}={path}: this is a link to what is not there")
    others = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, others, n=1)
    hint = f"; did you mean {path.parent / close[0]}?" if close else f" (looked from {Path.cwd()})"
    raise UserError(f"{option}={path}: there is no such file{hint}")
