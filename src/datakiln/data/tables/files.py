"""A table file to a frame: Parquet or delimited text, told apart by content; what is wrong with it, in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from datakiln.data.tables.cells import EXACT
from datakiln.data.tables.delimited import read_delimited
from datakiln.data.tables.finding import check_is_file
from datakiln.data.tables.limits import MOST_COLUMNS, PIECE, available_memory, check_columns
from datakiln.errors import UserError


def plain_column(column: pa.ChunkedArray, column_name: str, name: str, has_nulls: bool) -> pa.ChunkedArray:
    """Decimals as floats, dates as timestamps, times as text, booleans as text where some cell is missing.

    Decimals, and whole numbers beside missing cells, become text where floats would not tell all of their digits.

    Arguments:
        column: The column, or a part of it.
        column_name: What errors call it.
        name: What errors call its file.
        has_nulls: Whether any cell of the whole column is missing.

    Raises:
        UserError: Its values are no numbers, categories, text or dates.
    """
    kind = column.type
    if is_too_long(column, has_nulls):
        return pc.cast(column, pa.string())
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind) or pa.types.is_null(kind):
        return pc.cast(column, pa.float64())
    if pa.types.is_date(kind):
        return pc.cast(column, pa.timestamp("s"))
    if pa.types.is_time(kind) or (pa.types.is_boolean(kind) and has_nulls):
        return _as_text(column)
    if pa.types.is_nested(kind) or _is_bytes(kind):
        raise UserError(
            f"{name}: column {column_name!r} holds values of type {kind}, which is no number, category, text or date;"
            " leave the column out or store it as one of these"
        )
    return column


def is_too_long(column: pa.ChunkedArray, has_nulls: bool) -> bool:
    """Whether its numbers would be floats and some has more digits than a float tells."""
    is_whole = pa.types.is_integer(column.type) and has_nulls
    if not (is_whole or pa.types.is_decimal(column.type)) or column.null_count == len(column):
        return False
    scale = 10 ** getattr(column.type, "scale", 0)
    return any(abs(end) * scale >= EXACT for end in pc.min_max(column).as_py().values())


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_boolean(column.type):
        return pc.cast(column, pa.string())
    return pc.if_else(column, "True", "False")  # as a CSV file with empty cells would give them


MIN_ROWS = 10  # fewer cannot be split into training, validation and test rows
FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\x89HDF": "an HDF5 file",
    b"SQLite f": "an SQLite database",
}


class TableContent(NamedTuple):
    """What a file holds.

    Attributes:
        frame: Its rows.
        notes: Lines for the person.
        sha256: Of its bytes.
        writings: How a text file had the numbers that `frame` has as floats.
        storage: The types of the columns of a Parquet file.
    """

    frame: pd.DataFrame
    notes: list[str]
    sha256: str
    writings: dict[str, str]
    storage: dict[str, str]


def read_table_file(
    path: Path,
    encoding: str | None = None,
    delimiter: str | None = None,
    names: list[str] | None = None,
    least: int = MIN_ROWS,
    most_columns: int = MOST_COLUMNS,
) -> TableContent:
    """Reads a CSV, TSV or Parquet file, gzipped or not, of so many rows at least, and so many columns at most.

    Raises:
        UserError: With file, fault and way out.
    """
    check_is_file(path)
    raw = _bytes(path)
    sha256 = hashlib.sha256(raw).hexdigest()
    name = path.name
    if raw.startswith(b"\x1f\x8b"):
        raw = _unpacked(raw, name)
    foreign = next((what for magic, what in FOREIGN.items() if raw.startswith(magic)), None)
    if foreign:
        raise UserError(f"{name}: this is {foreign}; save the table as CSV or Parquet")
    writings: dict[str, str] = {}
    storage: dict[str, str] = {}
    if raw.startswith(b"PAR1"):
        frame, notes, storage = _read_parquet(raw, name, most_columns)
    elif path.suffix.lower() in {".parquet", ".pq"} and b"\0" in raw[:4096]:
        raise UserError(f"{name}: not a Parquet file (damaged, or cut off at its start)")
    else:
        frame, notes, writings = read_delimited(raw, name, encoding, delimiter, names, most_columns)
    check_frame(frame, name, least)
    return TableContent(frame, notes, sha256, writings, storage)


def _bytes(path: Path) -> bytes:
    check_is_file(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not raw:
        raise UserError(f"{path.name}: the file is empty (0 bytes)")
    return raw


def _unpacked(raw: bytes, name: str) -> bytes:
    pieces, room = [], available_memory()  # a person may have asked for all of it, with data.streaming=false
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while piece := file.read(PIECE):
                pieces.append(piece)
                room -= len(piece)
                if room < 0:
                    raise UserError(f"{name}: it unpacks to more than the memory that is left; give a part of it")
        return b"".join(pieces)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{name}: the gzip file is damaged ({error})") from None


def check_frame(frame: pd.DataFrame, name: str, least: int = MIN_ROWS) -> None:
    """Raises `UserError` for a table of too few rows, without columns, or with infinite cells."""
    if not len(frame):
        needed = "1 row is" if least == 1 else f"{least} rows are"
        raise UserError(f"{name}: the file has a header but no rows; at least {needed} needed")
    if not len(frame.columns):
        raise UserError(f"{name}: the file has no columns")
    if len(frame) < least:
        rows = "1 row is" if len(frame) == 1 else f"{len(frame)} rows are"
        raise UserError(f"{name}: {rows} too few for training, validation and test; at least {least} are needed")
    check_finite(frame, name)


def check_finite(frame: pd.DataFrame, name: str) -> None:
    """Raises `UserError` for a column with infinite cells."""
    for column in frame.columns[[pd.api.types.is_float_dtype(dtype) for dtype in frame.dtypes]]:
        infinite = int(np.isinf(frame[column].to_numpy(dtype=np.float64, na_value=np.nan)).sum())
        if infinite:
            raise UserError(
                f"{name}: column {column!r} has {infinite} infinite {'cell' if infinite == 1 else 'cells'};"
                " make them empty or give them a finite value"
            )


def _read_parquet(raw: bytes, name: str, most_columns: int) -> tuple[pd.DataFrame, list[str], dict[str, str]]:
    try:
        check_columns(len(parquet.read_schema(pa.BufferReader(raw)).names), name, most_columns)
        table = parquet.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError):
        raise UserError(f"{name}: the Parquet file is damaged or cut off; write or download it again") from None
    names = table.column_names
    for column in names:
        if names.count(column) > 1:
            raise UserError(f"{name}: {names.count(column)} columns are named {column!r}; rename all but one")
    notes: list[str] = []
    columns = {}
    for column in names:
        if column.startswith("__index_level_"):
            notes.append("the stored pandas index is left out")
            continue
        has_nulls = bool(table[column].null_count)
        if is_too_long(table[column], has_nulls):
            notes.append(f"column {column!r} has numbers too long to be exact: kept as text")
        columns[str(column)] = plain_column(table[column], column, name, has_nulls)
    storage = {column: str(table.schema.field(column).type) for column in columns}
    return pa.table(columns).to_pandas(ignore_metadata=True), notes, storage
