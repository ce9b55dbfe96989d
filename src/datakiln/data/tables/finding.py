"""Where a person's table is; light, so that a wrong path is told before torch and pandas are imported."""

from __future__ import annotations

import difflib
import glob
from pathlib import Path

from datakiln.errors import UserError

SUFFIXES = {".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz"}
PARQUET = (".parquet", ".pq")


def find_file(path: str | Path, data_dir: str | None) -> Path:
    """A relative path in the current folder, or in `data_dir` if only there it exists."""
    here = Path(path).expanduser()
    if data_dir is None or here.is_absolute() or here.exists() or not (Path(data_dir) / here).exists():
        return here
    return Path(data_dir) / here


def parts_of(path: Path) -> list[Path] | None:
    """The Parquet files that a folder or a pattern such as parts/*.parquet stands for; None for any other path."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in PARQUET and not p.name.startswith("."))
        return found or None
    if path.exists() or not glob.has_magic(str(path)):
        return None
    found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
    if not found:
        raise UserError(f"data.path={path} matches no file")
    strange = next((p for p in found if p.suffix.lower() not in PARQUET), None)
    if strange is not None:
        raise UserError(f"data.path={path} matches {strange.name}; several files are read together if they are Parquet")
    return found


def check_table(path: Path) -> None:
    """Raises `UserError` for what is neither a file nor Parquet files."""
    if parts_of(path) is None:
        check_is_file(path)


def check_is_file(path: Path) -> None:
    """Raises `UserError` for a folder, with one of the tables in it, and where there is no such file."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        which = f"; give one of its files, such as data.path={path / inside[0]}" if inside else ""
        raise UserError(f"{path}: this is a folder, not a table file{which}")
    check_exists(path)


def check_exists(path: Path) -> None:
    """Raises `UserError` with the name that was meant where there is no such file, or none that ends."""
    if path.is_file() or path.is_dir():
        return
    if path.exists():
        raise UserError(f"data.path={path}: this is a pipe or a device; save what comes from it as a file first")
    others = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, others, n=1)
    hint = f"; did you mean {path.parent / close[0]}?" if close else f" (looked from {Path.cwd()})"
    raise UserError(f"data.path={path}: there is no such file{hint}")
