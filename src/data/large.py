"""Table files of any size as row groups on disk: Parquet as it is, text converted once and kept in a cache folder."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from src.data.conversion import GROUP, Text, text_to_parquet, write_groups
from src.data.files import FOREIGN, check_exists
from src.data.room import available_memory
from src.data.rowstore import RowStore, files_sha256
from src.data.textstream import unpacked
from src.errors import UserError

VERSION = 1  # of what a conversion makes; another one is another entry of the cache
PARQUET = (".parquet", ".pq")
MOST_GROUP = 1 << 20  # rows of a row group that is read at once; a file with larger ones is written anew
TEXT, GZIP, CELL = 12, 60, 80  # bytes of memory that a table takes until it trains: for each byte of text, or a cell
SHARE = 0.5  # of the available memory that a table may take


class Opened(NamedTuple):
    """A table on disk, what the person should know about it, and the hash of the bytes it came from."""

    store: RowStore
    notes: list[str]
    sha256: str


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


def is_too_large(path: Path) -> bool:
    """Whether reading the file whole would take more memory than is to be spared."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4)
    size = path.stat().st_size * (GZIP if head.startswith(b"\x1f\x8b") else TEXT)
    if head == b"PAR1":
        try:
            metadata = parquet.read_metadata(path)
        except (pa.ArrowException, OSError):  # damaged: said where it is read
            return False
        size = metadata.num_rows * metadata.num_columns * CELL
    return size > SHARE * available_memory()


def open_parts(paths: list[Path]) -> Opened:
    """Several Parquet files as one table."""
    store = RowStore(paths)
    _check_groups(store, paths[0])
    return Opened(store, [f"{len(paths)} Parquet files are read as one table"], files_sha256(paths))


def open_file(path: Path, cache: Path, encoding: str | None, delimiter: str | None, names: list[str] | None) -> Opened:
    """A Parquet file as it is, or what a conversion made of any other.

    Arguments:
        path: The file.
        cache: Folder for conversions; one is used again while the file has the same size and time of change.
        encoding: See `read_delimited`.
        delimiter: See `read_delimited`.
        names: See `read_delimited`.

    Raises:
        UserError: Whatever is wrong with the file.
    """
    check_exists(path)
    with unpacked(path) as file:
        head = file.read(8)
    foreign = next((what for magic, what in FOREIGN.items() if head.startswith(magic)), None)
    if foreign:
        raise UserError(f"{path.name}: this is {foreign}; save the table as CSV or Parquet")
    is_parquet = head.startswith(b"PAR1")
    if is_parquet and path.suffix.lower() == ".gz":
        raise UserError(f"{path.name}: a gzipped Parquet file cannot be read in pieces; unpack it first")
    if is_parquet:
        store = RowStore([path])
        if store.largest <= MOST_GROUP:
            return Opened(store, [], files_sha256([path]))
    folder = cache / f"{path.stem}-{_key(path, encoding, delimiter, names)}"
    if not (folder / "about.json").exists():
        _convert(path, folder, is_parquet, Text(path, encoding, delimiter, names) if not is_parquet else None)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    where = f"converted to row groups in {folder}, which can be deleted afterwards"
    return Opened(RowStore([folder / "table.parquet"]), [*about["notes"], where], about["sha256"])


def _check_groups(store: RowStore, path: Path) -> None:
    if store.largest > MOST_GROUP:
        raise UserError(f"{path.parent}: a row group has {store.largest} rows; write files with at most {MOST_GROUP}")


def _key(path: Path, *options: Any) -> str:  # noqa: ANN401 (plain values)
    stat = path.stat()
    known = [VERSION, str(path.resolve()), stat.st_size, stat.st_mtime_ns, *options]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _convert(path: Path, folder: Path, is_parquet: bool, text: Text | None) -> None:
    """Fills the folder, which appears when all is there."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        if text is None:
            notes: list[str] = []
            write_groups(_regrouped(path), partial / "table.parquet")
        else:
            notes = text_to_parquet(text, partial / "table.parquet")
        about = {"source": str(path), "sha256": files_sha256([path]), "notes": notes}
        (partial / "about.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        if folder.exists():  # somebody else was faster, or an older attempt ended halfway
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _regrouped(path: Path) -> Iterator[pa.Table]:
    for batch in parquet.ParquetFile(path).iter_batches(GROUP, use_threads=False):
        yield pa.Table.from_batches([batch])
