"""CSV and its kin to a frame: encoding, delimiter and column types are found, and every oddity is an error or a note.

All cells are first read as text (by Arrow, in parallel), then each column becomes integers, floats, booleans or stays
text as a whole: so `007` keeps its zeros, `true` stays `true`, and a stray word in a column of numbers can be named.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from datakiln.data.tables.cells import Cells, Evidence, Reading, convert
from datakiln.data.tables.limits import LONGEST_LINE, MOST_COLUMNS, check_line, check_width
from datakiln.errors import UserError
from datakiln.wording import counted

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DELIMITERS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma"}  # on a tie the rarer in prose wins
HINT = re.compile(rb'"?sep=([;,|\t])"?\r?\n', re.IGNORECASE)  # a spreadsheet's own first line
SAMPLE = 65_536  # bytes that the delimiter is found from, or the whole first line if it is longer
BLOCK = LONGEST_LINE  # bytes parsed at once; no row may be longer


class Delimited(NamedTuple):
    """A frame, what the person should know of how it was read, and the writings of its floats, {column: template}."""

    frame: pd.DataFrame
    notes: list[str]
    writings: dict[str, str]


def read_delimited(
    raw: bytes,
    name: str,
    encoding: str | None = None,
    delimiter: str | None = None,
    names: list[str] | None = None,
    most_columns: int = MOST_COLUMNS,
) -> Delimited:
    """Reads the bytes of a text file.

    Arguments:
        raw: The bytes of the file.
        name: What errors call the file.
        encoding: Text encoding; None to take UTF-8, or what a byte order mark says.
        delimiter: Character between fields; None to find it.
        names: Column names of a file without a header; None to read them from the first line.
        most_columns: More are refused.
    """
    check_line(raw[: LONGEST_LINE + 1], name)
    text, notes = to_utf8(raw, name, encoding)
    if delimiter is None and (hint := HINT.match(text)) is not None:
        text, delimiter = text[hint.end() :], hint[1].decode()
        notes.append(f"the first line, {hint[0].decode().strip()}, tells the delimiter and is no row")
    first_break = text.find(b"\n")
    sample = text[: max(SAMPLE, first_break + 1)].decode("utf-8", errors="ignore")
    if not sample.strip():
        raise UserError(f"{name}: the file is empty")
    check_width(text[: max(first_break, 0) or None], delimiter or "".join(DELIMITERS), name, most_columns)
    if delimiter is None:
        delimiter = find_delimiter(sample)
        if delimiter != ",":
            notes.append(f"fields are separated by a {DELIMITERS[delimiter]}")
    if text.count(b'"') % 2:
        check_quotes(io.StringIO(text.decode(), newline=""), name, delimiter)
    table = _all_text(text, sample, name, delimiter)
    if b'"' in text and any(has_rows(column, delimiter, table.num_columns) for column in table.columns):
        raise UserError(swallowing_line(io.StringIO(text.decode(), newline=""), name, delimiter, table.num_columns))
    if names is None:
        names = header([column[0].as_py() for column in table.columns], notes)
        table = table.slice(1)
    check_names(names, table.num_columns, name)
    evidence = [Evidence() for _ in names]
    for found, column in zip(evidence, table.columns, strict=True):
        found.update(column)
    kept = keep(names, evidence, name, notes)
    readings = judge(kept, evidence, delimiter, notes)
    columns = {column: convert(table.column(i), readings[column]) for column, i in kept.items()}
    return Delimited(pa.table(columns).to_pandas(), notes, writings_of(kept, evidence))


def writings_of(kept: Mapping[str, int], evidence: Sequence[Evidence]) -> dict[str, str]:
    """How the columns of floats were written, where not as Python writes them."""
    found = {column: evidence[i].writing for column, i in kept.items()}
    return {column: writing for column, writing in found.items() if writing is not None}


def judge(
    kept: Mapping[str, int], evidence: Sequence[Evidence], delimiter: str, notes: list[str]
) -> dict[str, Reading]:
    """How each column is to be read; what was not plain is added to the notes."""
    told: list[str] = []
    readings = {column: evidence[i].reading(column, delimiter, told) for column, i in kept.items()}
    padded = [column for column, reading in readings.items() if reading == "padded"]
    if padded:
        some = ", ".join(map(repr, padded[:3]))
        of = f"column {some}" if len(padded) == 1 else f"{len(padded)} columns, such as {some}"
        notes.append(f"the blanks after the commas are no part of the cells of {of}")
    gone = {column: evidence[i].unsaid for column, i in kept.items() if evidence[i].unsaid}
    if gone:
        words, cells = (
            sorted({word for found in gone.values() for word in found}),
            sum(sum(f.values()) for f in gone.values()),
        )
        where = f"column {next(iter(gone))!r}" if len(gone) == 1 else counted(len(gone), "column")
        notes.append(f"{counted(cells, 'cell')} {' or '.join(words)} among the numbers of {where}: read as missing")
    notes += told
    return readings


def header(cells: Sequence[str | None], notes: list[str]) -> list[str]:
    """Column names from the cells of the first line; that blanks behind them are left out is added to the notes."""
    names = [str(cell or "").strip() for cell in cells]
    padded = [name for name, cell in zip(names, cells, strict=True) if name and str(cell) != str(cell).rstrip()]
    if padded:
        more = "" if len(padded) == 1 else f" and {counted(len(padded) - 1, 'other column name')}"
        notes.append(f"the blanks behind the column name {padded[0]!r}{more} are left out")
    return names


def check_names(names: Sequence[str], width: int, name: str) -> None:
    """Raises `UserError` where `data.names` has another length than the rows."""
    if len(names) != width:
        raise UserError(f"{name}: data.names has {len(names)} names for {width} columns")


def to_utf8(raw: bytes, name: str, encoding: str | None) -> tuple[bytes, list[str]]:
    """The text as UTF-8 without byte order mark, and a note if it was anything else."""
    chosen = choose_encoding(raw[:4096], name, encoding)
    try:
        text = raw.decode(chosen)
    except UnicodeError as error:
        raise UserError(not_decodable(raw, name, chosen, error)) from None
    if codecs.lookup(chosen).name == "utf-8":
        return raw.removeprefix(codecs.BOM_UTF8), []
    return text.lstrip("\ufeff").encode(), [f"read as {chosen} text"]


def choose_encoding(head: bytes, name: str, encoding: str | None = None) -> str:
    """The encoding of a text that begins so: as said, or as a byte order mark says, or UTF-8."""
    marked = next((known for mark, known in BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if encoding is None and marked is None and b"\0" in head:
        way = "give a CSV, TSV or Parquet file (UTF-16 text: data.encoding=utf-16, or save it as UTF-8)"
        raise UserError(f"{name}: this is no text file; {way}")
    chosen = encoding or marked or "utf-8"
    try:
        codecs.lookup(chosen)
    except LookupError:
        raise UserError(f"data.encoding={encoding} is no known encoding; try utf-8, cp1252 or latin-1") from None
    return chosen


def not_decodable(raw: bytes, name: str, encoding: str, error: UnicodeError, lines: int = 0) -> str:
    """What is wrong with bytes that follow so many lines, where, and which encoding would do."""
    place = ""
    if isinstance(error, UnicodeDecodeError):
        line = lines + raw.count(b"\n", 0, error.start) + 1
        place = f" (byte 0x{raw[error.start]:02x} in line {line})"
    try:
        raw.decode("cp1252")
        hint = "cp1252"
    except UnicodeError:
        hint = "latin-1"
    return f"{name}: not {encoding} text{place}; name its encoding, such as data.encoding={hint}, or save it as UTF-8"


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
    width = width_of(sample, delimiter)
    ragged: list[int | None] = []

    def remember(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row.number)  # and not the row, of which there may be as many as the file has
        return "skip"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(text),
            read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=b'"' in text, invalid_row_handler=remember
            ),
            convert_options=as_text(width),
        )
    except pa.ArrowInvalid as error:
        raise UserError(f"{name}: {unparsable(error)}") from None
    if ragged:
        lines = io.StringIO(text.decode(), newline="")
        raise UserError(ragged_line(lines, name, delimiter, table.num_columns, len(ragged)))
    return table


def unparsable(error: Exception) -> str:
    """What Arrow's reader could not do, in a person's words where a line has no end."""
    told = str(error).splitlines()[0]
    if "straddling" in told:
        return f"a line is longer than {BLOCK >> 20} MB, or a quote is never closed; give one row a line"
    return f"cannot be read as delimited text ({told})"


def width_of(sample: str, delimiter: str) -> int:
    """Number of fields of the first line."""
    first = next(iter(_rows(sample.splitlines(keepends=True), delimiter)), None)
    return len(first) if first else sample.count(delimiter) + 1


def as_text(width: int) -> arrow_csv.ConvertOptions:
    """All cells as text, and which of them are empty."""
    return arrow_csv.ConvertOptions(
        column_types={f"f{i}": pa.string() for i in range(width)},
        null_values=[""],
        strings_can_be_null=True,
        check_utf8=False,
    )


def ragged_line(text: Iterable[str], name: str, delimiter: str, width: int, count: int) -> str:
    """What is wrong with the first line that has another number of fields, of `count` such lines."""
    reader = csv.reader(text, delimiter=delimiter)
    place = "one line has others"
    try:
        for row in reader:
            if row and len(row) != width:
                place = f"line {reader.line_num} has {len(row)}"
                break
    except csv.Error:  # a cell longer than python's reader takes
        place = f"line {reader.line_num} has others"
    more = f" ({count} such lines)" if count > 1 else ""
    return f"{name}: the first line has {width} fields, {place}{more}; mend the line or quote its field"


END = "the end of the file"  # a line of its own behind the last one


def check_quotes(text: Iterable[str], name: str, delimiter: str) -> None:
    """Raises `UserError` with the line of a quote that is opened and never closed."""
    lines = _Counted(itertools.chain(text, ["\n", END]))
    reader = csv.reader(lines, delimiter=delimiter)
    first, row = 1, [END]
    with _any_length():
        while True:
            start = lines.count + 1
            try:
                found = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                raise UserError(f"{name}: line {start} cannot be read as delimited text ({error})") from None
            if found:
                first, row = start, found
    if row != [END]:
        raise UserError(f"{name}: a quote that is opened in line {first} is never closed; close it, or write it twice")


class _Counted(Iterator[str]):
    """Lines, and how many of them have been taken."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self.count = iter(lines), 0

    def __next__(self) -> str:
        line = next(self._lines)
        self.count += 1
        return line


@contextmanager
def _any_length() -> Iterator[None]:
    """Inside, fields may be as long as the text."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def has_rows(cells: Cells, delimiter: str, width: int) -> bool:
    """Whether a cell holds whole rows of a table so wide: its opening quote was closed by that of another cell."""
    if width < 2:
        return False
    row = (
        rf"(?:[^\n{re.escape(delimiter)}]*{re.escape(delimiter)}){{{min(width - 1, 900)}}}[^\n{re.escape(delimiter)}]*"
    )
    return bool(pc.any(pc.match_substring_regex(cells, rf"\n{row}\n")).as_py())


def swallowing_line(text: Iterable[str], name: str, delimiter: str, width: int) -> str:
    """What is wrong with the first row one of whose cells holds whole rows."""
    lines = _Counted(text)
    reader, start = csv.reader(lines, delimiter=delimiter), 1
    with _any_length():
        for row in reader:
            inside = [line for cell in row for line in cell.split("\n")[1:-1]]
            if any(line.count(delimiter) == width - 1 for line in inside):
                break
            start = lines.count + 1
    told = f"{name}: a quote that is opened in line {start} is closed lines later"
    return f"{told}, so that one cell holds whole rows; mend it"


def keep(names: Sequence[str], evidence: Sequence[Evidence], name: str, notes: list[str]) -> dict[str, int]:
    """{name: place} of the columns; an unnamed row number or empty column is left out, another unnamed one is named."""
    kept: dict[str, int] = {}
    for i, column_name in enumerate(names):
        found = evidence[i]
        if not column_name:
            if found.missing == found.rows:
                notes.append(f"column {i + 1} has neither name nor values: left out")
                continue
            if i == 0 and found.counts_rows:
                notes.append("the first column has no name and counts the rows: left out as an index")
                continue
            column_name = f"column_{i + 1}"
            notes.append(f"column {i + 1} has no name: called {column_name}")
        if column_name in kept:
            places = [str(j + 1) for j, other in enumerate(names) if other == column_name]
            raise UserError(
                f"{name}: the column name {column_name!r} occurs {len(places)} times"
                f" (columns {', '.join(places)}); rename all but one"
            )
        kept[column_name] = i
    if kept and all(_is_number(column_name) for column_name in kept):
        notes.append("the first line, taken as column names, holds only numbers; give data.names if there is no header")
    return kept


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
