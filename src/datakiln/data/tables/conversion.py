"""Delimited text to Parquet in pieces: the text is read twice, first to find what its columns are, then to write them.

The result is what `read_delimited` makes of the same file, for both go by the same evidence; memory holds one piece.
"""

from __future__ import annotations

import codecs
import functools
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from datakiln.data.tables.cells import Evidence, convert
from datakiln.data.tables.delimited import (
    BLOCK,
    DELIMITERS,
    SAMPLE,
    as_text,
    check_names,
    check_quotes,
    choose_encoding,
    find_delimiter,
    has_rows,
    header,
    judge,
    keep,
    not_decodable,
    ragged_line,
    swallowing_line,
    unparsable,
    width_of,
    writings_of,
)
from datakiln.data.tables.limits import LONGEST_LINE, MOST_COLUMNS, check_line, check_width
from datakiln.errors import UserError

PIECE = 1 << 20  # bytes decoded at once
GZIP = b"\x1f\x8b"


class TextStream(io.RawIOBase):
    """A readable of UTF-8 without byte order mark.

    Arguments:
        path: The file.
        encoding: Text encoding; None to take UTF-8, or what a byte order mark says.

    Raises:
        UserError: No text file, an unknown encoding; while reading, bytes that the encoding does not have, with their
            line, or a damaged gzip file.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        """See the class."""
        super().__init__()
        self.name = path.name
        self._file = unpacked(path)
        head = self._take(4096)
        self.encoding = choose_encoding(head, self.name, encoding)
        self._is_utf8 = codecs.lookup(self.encoding).name == "utf-8"
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        self._lines = 0
        self._is_first = True
        self._ready = memoryview(self._as_utf8(head))
        self._ended = not head

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, memory: memoryview) -> int:  # type: ignore[override]
        """Fills as much of the memory as one piece of the file gives; 0 at its end."""
        while not len(self._ready) and not self._ended:
            piece = self._take(PIECE)
            self._ended = not piece
            self._ready = memoryview(self._as_utf8(piece))
        size = min(len(memory), len(self._ready))
        memory[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _take(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{self.name}: the gzip file is damaged ({error})") from None

    def _as_utf8(self, piece: bytes) -> bytes:
        try:
            text = self._decoder.decode(piece, final=not piece)
        except UnicodeError as error:
            raise UserError(not_decodable(piece, self.name, self.encoding, error, self._lines)) from None
        self._lines += piece.count(b"\n")
        is_first, self._is_first = self._is_first, False
        if self._is_utf8:
            return piece.removeprefix(codecs.BOM_UTF8) if is_first else piece
        return (text.lstrip("\ufeff") if is_first else text).encode()

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._file.close()
        super().close()


def unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if it is gzipped."""
    file = path.open("rb")
    head = file.read(len(GZIP))
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if head == GZIP else file  # type: ignore[return-value]


GROUP = 1 << 16  # rows of a row group


class Text:
    """A delimited text file, read in pieces as often as wanted.

    Arguments:
        path: The file.
        encoding: See `read_delimited`.
        delimiter: See `read_delimited`.
        names: See `read_delimited`.
        most_columns: More are refused.
    """

    def __init__(
        self,
        path: Path,
        encoding: str | None = None,
        delimiter: str | None = None,
        names: list[str] | None = None,
        most_columns: int = MOST_COLUMNS,
    ) -> None:
        """Raises `UserError` for an empty file, or one that is no text, or has too many columns."""
        self.path, self.encoding, self.notes = path, encoding, list[str]()
        sample = self._sample()
        check_width(sample.partition("\n")[0], delimiter or "".join(DELIMITERS), path.name, most_columns)
        self.delimiter = delimiter or find_delimiter(sample)
        self.width = width_of(sample, self.delimiter)
        if delimiter is None and self.delimiter != ",":
            self.notes.append(f"fields are separated by a {DELIMITERS[self.delimiter]}")
        self.names = names
        self.has_header = names is None

    def _sample(self) -> str:
        with io.BufferedReader(TextStream(self.path, self.encoding)) as stream:
            if not stream.raw._is_utf8:  # type: ignore[attr-defined]
                self.notes.append(f"read as {stream.raw.encoding} text")  # type: ignore[attr-defined]
            sample = stream.read(SAMPLE)
            if b"\n" not in sample:
                sample += stream.readline(LONGEST_LINE)
                check_line(sample, self.path.name)
        text = sample.decode("utf-8", errors="ignore")
        if not text.strip():
            raise UserError(f"{self.path.name}: the file is empty")
        return text

    def pieces(self) -> Iterator[pa.RecordBatch]:
        """The rows as text, without the header; raises `UserError` with the line of a row of another width."""
        ragged: list[arrow_csv.InvalidRow] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            ragged.append(row)
            return "error"

        with io.BufferedReader(TextStream(self.path, self.encoding), BLOCK) as stream:
            try:
                reader = arrow_csv.open_csv(
                    pa.PythonFile(stream, mode="r"),
                    read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=note
                    ),
                    convert_options=as_text(self.width),
                )
                yield from self._without_header(reader)
            except pa.ArrowInvalid as error:
                raise UserError(self._fault(ragged, error)) from None

    def lines(self) -> io.TextIOWrapper:
        """The lines of the text, to be closed."""
        return io.TextIOWrapper(io.BufferedReader(TextStream(self.path, self.encoding)), "utf-8", newline="")

    def check_quotes(self) -> None:
        """Raises `UserError` with the line of a quote that is never closed."""
        with io.BufferedReader(TextStream(self.path, self.encoding), PIECE) as stream:
            quotes = sum(piece.count(b'"') for piece in iter(functools.partial(stream.read, PIECE), b""))
        if quotes % 2:
            with self.lines() as lines:
                check_quotes(lines, self.path.name, self.delimiter)

    def _without_header(self, pieces: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        is_first = True
        for piece in pieces:
            if is_first and len(piece):
                is_first = False
                if self.has_header:
                    told: list[str] = []
                    self.names = header([column[0].as_py() for column in piece.columns], told)
                    self.notes += [note for note in told if note not in self.notes]  # the text is read twice
                    piece = piece.slice(1)
                check_names(self.names or [], piece.num_columns, self.path.name)
            yield piece

    def _fault(self, ragged: list[arrow_csv.InvalidRow], error: Exception) -> str:
        if not ragged:
            return f"{self.path.name}: {unparsable(error)}"
        with self.lines() as lines:
            return ragged_line(lines, self.path.name, self.delimiter, ragged[0].expected_columns, 1)


def text_to_parquet(text: Text, target: Path) -> tuple[list[str], dict[str, str]]:
    """Writes the table as one Parquet file of small row groups.

    Returns:
        What the person should know about how it was read, and how its floats were written.

    Raises:
        UserError: Whatever is wrong with the file, with its line where it has one.
    """
    evidence = [Evidence() for _ in range(text.width)]
    text.check_quotes()
    for piece in text.pieces():
        if any(has_rows(column, text.delimiter, text.width) for column in piece.columns):
            with text.lines() as lines:
                raise UserError(swallowing_line(lines, text.path.name, text.delimiter, text.width))
        for found, column in zip(evidence, piece.columns, strict=True):
            found.update(column)
    if text.names is None or not evidence[0].rows:
        raise UserError(f"{text.path.name}: the file has a header but no rows")
    kept = keep(text.names, evidence, text.path.name, text.notes)
    readings = judge(kept, evidence, text.delimiter, text.notes)
    typed = (pa.table({n: convert(piece.column(i), readings[n]) for n, i in kept.items()}) for piece in text.pieces())
    write_groups(typed, target)
    return text.notes, writings_of(kept, evidence)


def write_groups(tables: Iterator[pa.Table], target: Path) -> None:
    """Writes tables of any length one after another, in row groups of `GROUP` rows."""
    writer: parquet.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    try:
        for table in tables:
            if writer is None:
                writer = parquet.ParquetWriter(target, table.schema, compression="zstd", compression_level=1)
            waiting.append(table)
            if sum(map(len, waiting)) >= GROUP:
                whole = pa.concat_tables(waiting)
                full = len(whole) // GROUP * GROUP
                writer.write_table(whole.slice(0, full), row_group_size=GROUP)
                waiting = [whole.slice(full)]
        if writer is not None and sum(map(len, waiting)) > 0:
            writer.write_table(pa.concat_tables(waiting), row_group_size=GROUP)
    finally:
        if writer is not None:
            writer.close()
