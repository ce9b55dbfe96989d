"""CSV and its kin to a frame: encoding, delimiter and column types are found, and every oddity is an error or a note.

All cells are first read as text (by Arrow, in parallel), then each column becomes integers, floats, booleans or stays
text as a whole: so `007` keeps its zeros, `true` stays `true`, and a stray word in a column of numbers can be named.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from src.data.cells import MISSING_CELLS, ColumnReader
from src.errors import UserError

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DELIMITERS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma"}  # on a tie the rarer in prose wins
SAMPLE = 65_536  # bytes that the delimiter is found from, or the whole first line if it is longer
BLOCK = 1 << 24  # bytes parsed at once; no row may be longer


def read_delimited(
    raw: bytes, name: str, encoding: str | None = None, delimiter: str | None = None, names: list[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A frame and what the person should know about how it was read.

    Arguments:
        raw: The bytes of the file.
        name: What errors call the file.
        encoding: Text encoding; None to take UTF-8, or what a byte order mark says.
        delimiter: Character between fields; None to find it.
        names: Column names of a file without a header; None to read them from the first line.
    """
    text, notes = to_utf8(raw, name, encoding)
    first_break = text.find(b"\n")
    sample = text[: max(SAMPLE, first_break + 1)].decode("utf-8", errors="ignore")
    if not sample.strip():
        raise UserError(f"{name}: the file is empty")
    if delimiter is None:
        delimiter = find_delimiter(sample)
        if delimiter != ",":
            notes.append(f"fields are separated by a {DELIMITERS[delimiter]}")
    table = _all_text(text, sample, name, delimiter)
    if names is None:
        names = [str(column[0].as_py() or "").strip() for column in table.columns]
        table = table.slice(1)
    elif len(names) != table.num_columns:
        raise UserError(f"{name}: data.names has {len(names)} names for {table.num_columns} columns")
    table = _named(table, names, name, notes)
    reader = ColumnReader(delimiter)
    columns = {column: reader.read(column, table[column]) for column in table.column_names}
    if reader.is_padded:
        notes.append("the blanks after the commas are no part of the cells")
    return pa.table(columns).to_pandas(), notes + reader.notes


def to_utf8(raw: bytes, name: str, encoding: str | None) -> tuple[bytes, list[str]]:
    """The text as UTF-8 without byte order mark, and a note if it was anything else."""
    marked = next((known for mark, known in BYTE_ORDER_MARKS if raw.startswith(mark)), None)
    chosen = encoding or marked or "utf-8"
    if encoding is None and marked is None and b"\0" in raw[:4096]:
        raise UserError(
            f"{name}: this is no text file; give a CSV, TSV or Parquet file (UTF-16 text needs data.encoding=utf-16)"
        )
    try:
        text = raw.decode(chosen)
    except LookupError:
        raise UserError(f"data.encoding={encoding} is no known encoding; try utf-8, cp1252 or latin-1") from None
    except UnicodeError as error:
        raise UserError(_not_decodable(raw, name, chosen, error)) from None
    if codecs.lookup(chosen).name == "utf-8":
        return raw.removeprefix(codecs.BOM_UTF8), []
    return text.lstrip("\ufeff").encode(), [f"read as {chosen} text"]


def _not_decodable(raw: bytes, name: str, encoding: str, error: UnicodeError) -> str:
    place = ""
    if isinstance(error, UnicodeDecodeError):
        line = raw.count(b"\n", 0, error.start) + 1
        place = f" (byte 0x{raw[error.start]:02x} in line {line})"
    try:
        raw.decode("cp1252")
        hint = "cp1252"
    except UnicodeError:
        hint = "latin-1"
    return f"{name}: not {encoding} text{place}; name its encoding, such as data.encoding={hint}"


def find_delimiter(sample: str) -> str:
    """The delimiter under which most lines have as many fields as the first; a comma where no candidate splits it."""
    lines = sample.splitlines(keepends=True)
    if len(sample.encode()) >= SAMPLE and len(lines) > 1:
        lines.pop()  # cut off in the middle
    best, best_score = ",", (0.0, 0)
    for candidate in DELIMITERS:
        widths = [len(row) for row in _rows(lines, candidate) if row]
        if not widths or widths[0] < 2:
            continue
        score = (round(sum(w == widths[0] for w in widths) / len(widths), 1), widths[0])
        if score > best_score:
            best, best_score = candidate, score
    return best


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        return list(itertools.islice(csv.reader(lines, delimiter=delimiter), 200))
    except csv.Error:
        return []


def _all_text(text: bytes, sample: str, name: str, delimiter: str) -> pa.Table:
    first = next(iter(_rows(sample.splitlines(keepends=True), delimiter)), None)
    width = len(first) if first else sample.count(delimiter) + 1
    ragged: list[arrow_csv.InvalidRow] = []

    def remember(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(text),
            read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=b'"' in text, invalid_row_handler=remember
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={f"f{i}": pa.string() for i in range(width)},
                null_values=list(MISSING_CELLS),
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise UserError(f"{name}: cannot be read as delimited text ({str(error).splitlines()[0]})") from None
    if ragged:
        raise UserError(_ragged(text, name, delimiter, table.num_columns, len(ragged)))
    return table


def _ragged(text: bytes, name: str, delimiter: str, width: int, count: int) -> str:
    reader = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)
    place = "one line"
    for row in reader:
        if row and len(row) != width:
            place = f"line {reader.line_num} has {len(row)}"
            break
    more = f" ({count} such lines)" if count > 1 else ""
    return f"{name}: the first line has {width} fields, {place}{more}; mend the line or quote its field"


def _named(table: pa.Table, names: list[str], name: str, notes: list[str]) -> pa.Table:
    """Names the columns; an unnamed row number or empty column is left out, another unnamed one gets a name."""
    keep: dict[str, pa.ChunkedArray] = {}
    for i, column_name in enumerate(names):
        column = table.column(i)
        if not column_name:
            if column.null_count == len(column):
                notes.append(f"column {i + 1} has neither name nor values: left out")
                continue
            if i == 0 and _is_row_number(column):
                notes.append("the first column has no name and counts the rows: left out as an index")
                continue
            column_name = f"column_{i + 1}"
            notes.append(f"column {i + 1} has no name: called {column_name}")
        if column_name in keep:
            places = [str(j + 1) for j, other in enumerate(names) if other == column_name]
            raise UserError(
                f"{name}: the column name {column_name!r} occurs {len(places)} times"
                f" (columns {', '.join(places)}); rename all but one"
            )
        keep[column_name] = column
    if keep and all(_is_number(column_name) for column_name in keep):
        notes.append("the first line, taken as column names, holds only numbers; give data.names if there is no header")
    return pa.table(keep)


def _is_row_number(column: pa.ChunkedArray) -> bool:
    try:
        numbers = pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        return False
    if numbers.null_count or not len(numbers):
        return False
    start = numbers[0].as_py()
    counted = pa.array(range(start, start + len(numbers)), pa.int64())
    return start in (0, 1) and numbers.equals(pa.chunked_array([counted]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
