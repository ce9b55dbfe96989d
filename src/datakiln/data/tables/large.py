"""Table files of any size as row groups on disk: Parquet as it is, text converted once and kept in a cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from datakiln import strictjson
from datakiln.codecs.tables.values import with_columns
from datakiln.data.base import Inputs, files_sha256
from datakiln.data.stored import Stored
from datakiln.data.tables.conversion import GROUP, Text, text_to_parquet, unpacked, write_groups
from datakiln.data.tables.files import FOREIGN, is_too_long, plain_column
from datakiln.data.tables.finding import check_exists
from datakiln.data.tables.limits import MOST_COLUMNS, check_columns
from datakiln.data.tables.parts import Part, folder_columns
from datakiln.errors import UserError
from datakiln.storage import naming, remove_left_over, small_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """A row group: which file, its place there, its rows, and the rows of all groups before it."""

    file: int
    place: int
    rows: int
    first: int


SURVEYORS = 16  # files whose footers are read at once: a store takes its time for each


class Footer(NamedTuple):
    """What the end of a Parquet file tells: its columns, the rows of its groups, and which columns miss cells."""

    schema: pa.Schema
    rows: list[int]
    has_nulls: set[str]


class RowStore:
    """Rows in one or several Parquet files with the same columns, and what their folders say of them.

    One file is open at a time, however many there are.

    Arguments:
        parts: The files, in order.

    Attributes:
        groups: Their row groups, in order.
        rows: Number of rows.
        names: Column names, those of the files first.

    Raises:
        UserError: A damaged file, files whose columns differ, columns of the same name, or a type that cannot be used.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """See the class."""
        self.parts = list(parts)
        self._folders = folder_columns(self.parts)
        self._open: tuple[int, parquet.ParquetFile] | None = None
        with ThreadPoolExecutor(SURVEYORS) as pool:
            footers = list(pool.map(_footer, self.parts))
        schema = footers[0].schema
        self._stored = [name for name in schema.names if not name.startswith("__index_level_")]
        self.names = [*self._stored, *self._folders]
        self._check([footer.schema for footer in footers])
        self.groups: list[Group] = []
        self.rows = 0
        for i, footer in enumerate(footers):
            for place, size in enumerate(footer.rows):
                if size:
                    self.groups.append(Group(i, place, size, self.rows))
                self.rows += size
        missing = set[str]().union(*(footer.has_nulls for footer in footers))
        missing |= {name for name, cells in self._folders.items() if cells.null_count}
        self._has_nulls = {name: name in missing for name in self.names}  # types must not change from group to group
        self.storage = {name: str(schema.field(name).type) for name in self._stored}
        self.storage |= {name: str(cells.type) for name, cells in self._folders.items()}
        self.placeholders: dict[str, list[str]] = {}  # words of columns of dates that are read as missing

    @property
    def paths(self) -> list[Path | Stored]:
        """Where the files are."""
        return [part.file for part in self.parts]

    @property
    def title(self) -> str:
        """What errors call the whole."""
        more = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return self.parts[0].name + more

    def _check(self, schemas: Sequence[pa.Schema]) -> None:
        first, schema = self.parts[0].name, schemas[0]
        for name in self.names:
            if name in self._folders and name in self._stored:
                told = f"{first}: the column {name!r} is in the file and in the name of its folder"
                raise UserError(f"{told}; rename the folder, or leave the column out of the files")
            if self.names.count(name) > 1:
                raise UserError(f"{first}: several columns are named {name!r}; rename all but one")
        for part, other in zip(self.parts, schemas, strict=True):
            for name in sorted({*schema.names, *other.names}):
                if name not in other.names or name not in schema.names:
                    raise UserError(f"{part.name}: its columns are not those of {first} ({name!r})")
                if not other.field(name).type.equals(schema.field(name).type):
                    kinds = f"{other.field(name).type} and not {schema.field(name).type}"
                    told = f"{part.name}: column {name!r} is {kinds} as in {first}"
                    raise UserError(f"{told}; write all files with the same types")

    def __len__(self) -> int:
        """Number of row groups."""
        return len(self.groups)

    def places(self, group: int) -> np.ndarray:
        """Row numbers of a group, counted through the whole table."""
        found = self.groups[group]
        return np.arange(found.first, found.first + found.rows)

    def frame(self, group: int, names: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows of a group; integers are floats in all groups if any of them misses a cell."""
        found = self.groups[group]
        wanted = list(self.names if names is None else names)
        part = self.parts[found.file]
        try:
            if self._open is None or self._open[0] != found.file:
                self._open = (found.file, _opened(part))
            stored = [name for name in wanted if name not in self._folders]
            table = self._open[1].read_row_group(found.place, stored, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _fault(part, error) from None
        cells = {name: self._column(table[name], name, part.name) for name in stored}
        for name in (name for name in wanted if name in self._folders):
            told = pa.chunked_array([pa.repeat(self._folders[name][found.file], found.rows)])
            cells[name] = self._column(told, name, part.name)
        frame = pa.table({name: cells[name] for name in wanted}).to_pandas(ignore_metadata=True)
        masked = {
            name: frame[name].mask(frame[name].isin(words))
            for name, words in self.placeholders.items()
            if name in frame
        }
        return with_columns(frame, masked)

    def _column(self, column: pa.ChunkedArray, name: str, file: str) -> pa.ChunkedArray:
        if pa.types.is_dictionary(column.type):
            column = pc.cast(column, column.type.value_type)
        if is_too_long(column, self._has_nulls[name]):
            told = f"{file}: column {name!r} ({column.type}) has numbers too long to be exact"
            raise UserError(f"{told}; store it as text")
        column = plain_column(column, name, file, self._has_nulls[name])
        if self._has_nulls[name] and pa.types.is_integer(column.type):
            return pc.cast(column, pa.float64(), safe=False)
        return column

    def frames(self, names: Sequence[str] | None = None) -> Iterator[tuple[int, pd.DataFrame]]:
        """Each group's number and rows."""
        for group in range(len(self.groups)):
            yield group, self.frame(group, names)

    @property
    def largest(self) -> int:
        """Rows of the largest group."""
        return max((group.rows for group in self.groups), default=0)


def _opened(part: Part) -> parquet.ParquetFile:
    if isinstance(part.file, Stored):
        return parquet.ParquetFile(part.file.path, filesystem=part.file.store, pre_buffer=True)
    return parquet.ParquetFile(part.file)


def _footer(part: Part) -> Footer:
    """Raises `UserError` for a file that cannot be read."""
    try:
        with _opened(part) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
            nulls = {name for name in names if any(_misses(file, i, name) for i in range(len(groups)))}
            return Footer(file.schema_arrow, [group.num_rows for group in groups], nulls)
    except (pa.ArrowException, OSError) as error:
        raise _fault(part, error) from None


def _misses(file: parquet.ParquetFile, place: int, name: str) -> bool:
    """Whether a cell of a column is missing in a row group: as its statistics say, or where it has none, its cells."""
    metadata = file.metadata.row_group(place)
    stored = (metadata.column(i) for i in range(metadata.num_columns))
    statistics = next((column.statistics for column in stored if column.path_in_schema == name), None)
    if statistics is None or not statistics.has_null_count:
        return bool(metadata.num_rows and file.read_row_group(place, [name])[name].null_count)
    return bool(statistics.null_count)


def _fault(part: Part, error: Exception) -> UserError:
    """What is wrong with a file that cannot be read."""
    said = str(error).splitlines()[0]
    if isinstance(error, FileNotFoundError):
        return UserError(f"{part.name}: the file is gone")
    if "size is 0 bytes" in said:
        return UserError(f"{part.name}: the file is empty (0 bytes); write it again or delete it")
    if isinstance(part.file, Stored) and not isinstance(error, pa.ArrowInvalid):
        return UserError(f"{part.file}: the store does not give the file ({said[:200]})")
    return UserError(f"{part.name}: the Parquet file is damaged or cut off; write or download it again")


VERSION = 3  # of what a conversion makes; another one is another entry of the cache
MOST_GROUP = 1 << 20  # rows of a row group that is read at once; a file with larger ones is written anew


class Opened(NamedTuple):
    """A table on disk, what the person should know about it, and the hash of the bytes it came from.

    `writings` and `storage` are as of `RawTable`.
    """

    store: RowStore
    notes: list[str]
    sha256: str
    writings: dict[str, str]
    storage: dict[str, str]


def open_parts(parts: list[Part], inputs: Inputs) -> Opened:
    """Several Parquet files as one table."""
    store = RowStore(parts)
    largest = max(store.groups, key=lambda group: group.rows, default=None)
    if largest is not None and largest.rows > MOST_GROUP:
        told = f"{parts[largest.file].name}: a row group has {largest.rows} rows"
        raise UserError(f"{told}; write files with at most {MOST_GROUP} in each")
    notes = [f"{len(parts)} Parquet files are read as one table"] if len(parts) > 1 else []
    if columns := ", ".join(parts[0].cells):
        notes.append(f"columns told by the names of folders: {columns}")
    return Opened(store, notes, inputs.sha256(), {}, store.storage)


def open_file(
    path: Path,
    cache: Path,
    encoding: str | None,
    delimiter: str | None,
    names: list[str] | None,
    most_columns: int = MOST_COLUMNS,
) -> Opened:
    """A Parquet file as it is, or what a conversion made of any other.

    Arguments:
        path: The file.
        cache: Folder for conversions; one is used again while the file has the same size and time of change.
        encoding: See `read_delimited`.
        delimiter: See `read_delimited`.
        names: See `read_delimited`.
        most_columns: More are refused.

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
        store = RowStore([Part.of(path)])
        check_columns(len(store.names), path.name, most_columns)
        if store.largest <= MOST_GROUP:
            return Opened(store, [], files_sha256([path]), {}, store.storage)
    folder = cache / f"{path.stem}-{_key(path, encoding, delimiter, names)}"
    about = _kept(folder)
    if about is None:
        text = None if is_parquet else Text(path, encoding, delimiter, names, most_columns)
        about = _convert(path, folder, text)
    where = f"converted to row groups in {folder}, which can be deleted afterwards"
    store = RowStore([Part.of(folder / "table.parquet")])
    storage = store.storage if is_parquet else {}
    return Opened(store, [*about["notes"], where], about["sha256"], about["writings"], storage)


def _key(path: Path, *options: Any) -> str:  # noqa: ANN401 (plain values)
    stat = path.stat()
    known = [VERSION, str(path.resolve()), stat.st_size, stat.st_mtime_ns, *options]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _kept(folder: Path) -> dict[str, Any] | None:
    """What an earlier conversion says of itself; None, said in the log, where a byte of it is not what was written."""
    if not folder.exists():
        return None
    try:
        about = strictjson.parse(small_text(folder / "about.json"))
        if about.pop("whole") == _whole(about, folder / "table.parquet"):
            return about
        why = "its content is not what its hash says"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = str(error)
    log.warning("%s is damaged (%s); it is made again", folder, why)
    return None


def _whole(about: dict[str, Any], table: Path) -> str:
    """A hash of the rows of a conversion and of what is said of them."""
    told = json.dumps(about, sort_keys=True).encode()
    return hashlib.sha256(told + files_sha256([table]).encode()).hexdigest()


def _convert(path: Path, folder: Path, text: Text | None) -> dict[str, Any]:
    """Fills the folder, which appears when all is there; what the conversion says of itself."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    remove_left_over(folder.parent)
    partial.mkdir(parents=True)
    try:
        if text is None:
            notes, writings = list[str](), dict[str, str]()
            with naming(folder):
                write_groups(_regrouped(path), partial / "table.parquet")
        else:
            with naming(folder):
                notes, writings = text_to_parquet(text, partial / "table.parquet")
        about = {"source": str(path), "sha256": files_sha256([path]), "notes": notes, "writings": writings}
        whole = {**about, "whole": _whole(about, partial / "table.parquet")}
        (partial / "about.json").write_text(json.dumps(whole, indent=2), encoding="utf-8")
        if folder.exists():  # somebody else was faster, or an older attempt ended halfway
            shutil.rmtree(folder)
        partial.rename(folder)
        return about
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _regrouped(path: Path) -> Iterator[pa.Table]:
    for batch in parquet.ParquetFile(path).iter_batches(GROUP, use_threads=False):
        yield pa.Table.from_batches([batch])
