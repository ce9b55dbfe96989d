"""Synthetic tables to files, piece by piece, so that memory does not grow with the number of rows."""

from __future__ import annotations

import datetime
import io
import json
import math
import queue
import re
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datakiln import strictjson
from datakiln.codecs.base import CHUNK
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import with_columns
from datakiln.console import Console
from datakiln.durations import DURATIONS
from datakiln.errors import UserError
from datakiln.sampling.rejection import Account, Request
from datakiln.sampling.room import check_room
from datakiln.sampling.synthesizer import Synthesizer, fingerprint
from datakiln.sampling.unfinished import Unfinished, UnfinishedFolder
from datakiln.schema import Field, Schema
from datakiln.spec import PLAIN, Sampling
from datakiln.storage import naming, remove_left_over, replacing
from datakiln.writings import is_text, number_writing, written

PART_ROWS = 8 * CHUNK  # rows of one part of a folder of Parquet parts
MARK = b"datakiln"  # key of a part's metadata under which it says what it was made for
Piece = TypeVar("Piece")
WATCHED, LEAST_WATCHED = 10_000, 20  # rows that are compared with what goes with a rare category
AHEAD = 2  # pieces decoded while another is being written


def write_table(
    synthesizer: Synthesizer,
    n: int,
    out: str,
    condition: Mapping[str, Any],
    seed: int,
    console: Console,
    balance: str | None = None,
    overwrite: bool = False,
    options: Sampling = PLAIN,
) -> None:
    """Writes n rows to a .csv or .parquet file, or as parts to a folder (`out` ends in a slash).

    `overwrite` begins a folder anew: it removes parts of an earlier sample, and refuses a folder with anybody else's.
    Parquet files say how they were sampled; beside a CSV, which cannot, lies a .json where options were given.

    Raises:
        UserError: `out` has another ending, or rows are asked for that the synthesizer cannot give.
    """
    path = Path(out)
    synthesizer.check(options)
    told = {k: str(v) for k, v in condition.items()}
    asked = {"n": n, "seed": seed, "condition": told, "balance": balance, **options.given()}
    given = {"model": fingerprint(synthesizer), "device": synthesizer.model.device.type}
    if out.endswith("/") or path.is_dir():
        request = synthesizer.request(condition, balance)
        for line in request.conditions.seldom():
            console.print(line, soft_wrap=True)
        _refuse_unique(request, n, path)
        if overwrite:
            _remove_parts(path)
        watch = Watch(request)
        asked = {**given, "part rows": PART_ROWS, **asked}
        _write_parts(synthesizer, n, path, seed, console, request, asked, options, watch)
        watch.tell(console)
        return
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"out={out} must end in .csv or .parquet, or in / for a folder of Parquet parts")
    if n <= 0:
        raise UserError(f"n={n} must be at least 1")
    request = synthesizer.request(condition, balance)
    for line in request.conditions.seldom():
        console.print(line, soft_wrap=True)
    with Unfinished(path, {**given, **asked}, n, overwrite) as unfinished:
        account = Account.of(n, 0, len(request.classes))
        if unfinished.state is not None:
            account = Account.from_state(unfinished.state)
        watch = Watch(request)
        pieces = watch.accounted(synthesizer.accounted(request, account, seed, options))
        write = _write_csv if path.suffix == ".csv" else _write_parquet
        write(unfinished, pieces, _schema(synthesizer), json.dumps(asked, sort_keys=True))
    watch.tell(console)
    if path.suffix == ".csv" and options.given():
        strictjson.write(asked, path.with_suffix(".csv.json"))


Accounted = Iterable[tuple[pd.DataFrame, Account]]


class Watch:
    """Looks at what is made: whether rows for a rare category have what goes with it, and stamps that rows share.

    Arguments:
        request: What is asked for.
    """

    def __init__(self, request: Request) -> None:
        """See the class."""
        self.request = request
        self.companion = None if request.column is not None else request.conditions.companion()
        self.cells: list[pd.Series] = []

    def seen(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The piece as it is."""
        if self.companion is not None and sum(map(len, self.cells)) < WATCHED:
            self.cells.append(frame[self.companion.other].head(WATCHED))
        return frame

    def accounted(self, pieces: Accounted) -> Iterator[tuple[pd.DataFrame, Account]]:
        """The pieces as they are."""
        for frame, account in pieces:
            yield self.seen(frame), account

    def tell(self, console: Console) -> None:
        """A line for each of these, if there is something to say."""
        lines = self.request.repeats()
        if self.companion is not None and sum(map(len, self.cells)) >= LEAST_WATCHED:
            lines = [*filter(None, [self.companion.told(pd.concat(self.cells, ignore_index=True))]), *lines]
        for line in lines:
            console.print(line, soft_wrap=True)


def _write_csv(unfinished: Unfinished, pieces: Accounted, schema: Schema, mark: str) -> None:
    """The unfinished file is the wanted one as far as it is made."""
    for frame, account in _ahead(pieces):
        is_first = unfinished.done == 0
        content = as_csv(frame, schema, header=is_first)
        if is_first:
            check_room(unfinished.path, unfinished.total, len(content) / len(frame))
        unfinished.write(content, account.made, account.state)
    unfinished.finish()


def _write_parquet(unfinished: Unfinished, pieces: Accounted, schema: Schema, mark: str) -> None:
    """A Parquet file cannot be added to: until all rows are there they are kept as streams of Arrow, one a piece."""
    known = next(iter(_streams(unfinished.partial))).schema if unfinished.done else None
    for frame, account in _ahead(pieces):
        table = as_table(frame, schema, known)
        known = table.schema
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
            stream.write_table(table)
        if unfinished.done == 0:
            each = (sink.tell() + _parquet_size(table)) / len(frame)
            check_room(unfinished.path, unfinished.total, each)
        unfinished.write(sink.getvalue(), account.made, account.state)
    unfinished.check_name()
    with replacing(unfinished.path) as partial, naming(unfinished.path):
        _write_tables(_streams(unfinished.partial), partial, mark)
    unfinished.discard()


def _streams(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                yield stream.read_all()


def _parquet_size(table: pa.Table) -> int:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="lz4")
    return sink.tell()


def _refuse_unique(request: Request, n: int, folder: Path) -> None:
    if n > PART_ROWS and request.rules.unique:
        rule = request.rules.unique[0]
        raise UserError(f"out={folder}/: parts are made apart, so '{rule}' cannot be kept; write one .parquet file")


def _write_parts(
    synthesizer: Synthesizer,
    n: int,
    folder: Path,
    seed: int,
    console: Console,
    request: Request,
    asked: Mapping[str, Any],
    options: Sampling,
    watch: Watch,
) -> None:
    """Part k depends on (seed, k) alone, and appears when complete: the same command again makes what is missing.

    Every part carries what was asked for; a folder with parts of another request, or of anybody else, is left alone.
    """
    starts = range(0, n, PART_ROWS)
    paths = [folder / f"part-{k:05d}.parquet" for k in range(len(starts))]
    rows = [min(PART_ROWS, n - start) for start in starts]
    _check_folder(folder, dict(zip(paths, rows, strict=True)), asked)
    is_measured = False
    with UnfinishedFolder(folder, asked, len(paths), "parts") as unfinished:
        for k in console.tracked(range(len(starts)), "sampling"):
            if not paths[k].exists():
                with replacing(paths[k]) as partial:
                    pieces = synthesizer.rows(
                        request, rows[k], seed, part=k, first_row=starts[k], options=options, parts=len(starts)
                    )
                    pieces = map(watch.seen, pieces)
                    if not is_measured:
                        left = sum(have for path, have in zip(paths, rows, strict=True) if not path.exists())
                        pieces, is_measured = _measured(pieces, folder, left, _schema(synthesizer)), True
                    _write_file(pieces, partial, _schema(synthesizer), json.dumps(asked, sort_keys=True))
            unfinished.advance(k + 1)


def _check_folder(folder: Path, wanted: Mapping[Path, int], asked: Mapping[str, Any]) -> None:
    """Refuses parts that are not of this request; removes what a killed process left of one."""
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else ():
        told = _told(path)
        if told is None or path not in wanted and told == dict(asked):
            raise UserError(f"out={folder}/ holds {path.name}, which is none of these parts; choose another folder")
        for key, value in asked.items():
            if told.get(key) != value:
                other = "of another model" if key == "model" else f"with {key}={told.get(key)} and not {value}"
                raise UserError(f"out={folder}/ holds parts {other}; choose another folder to begin anew")
        if pq.read_metadata(path).num_rows != wanted[path]:
            raise UserError(f"{path} does not have {wanted[path]} rows; delete it, and it will be made again")
    remove_left_over(folder, ".part-*.partial")


def _remove_parts(folder: Path) -> None:
    parts = sorted(folder.glob("*.parquet"))
    for path in parts:
        if _told(path) is None:
            raise UserError(f"out={folder}/ holds {path.name}, which is no part of a sample; choose another folder")
    for path in parts:
        path.unlink()


def _told(path: Path) -> dict[str, Any] | None:
    """What a part says it was made for; None for a file of anybody else, or a damaged one."""
    try:
        told = json.loads(pq.read_schema(path).metadata[MARK])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _schema(synthesizer: Synthesizer) -> Schema:
    assert isinstance(synthesizer.codec, TableCodec)
    return synthesizer.codec.schema


def for_csv(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Cells as the person's file had them: numbers in their writing, and the words that stand for missing dates.

    Whole numbers that pandas keeps as floats, because the column has or had missing cells, come without ".0".
    """
    made: dict[str, Any] = {}
    for field in schema.fields:
        if field.name not in frame:
            continue
        cells = frame[field.name]
        if pd.api.types.is_float_dtype(cells.dtype):
            values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            if field.format is not None and field.type != "datetime" and gives_back(values, field.format):
                made[field.name] = pd.Series(written(values, field.format), index=cells.index, dtype="str")
            elif _is_whole(field) and not (values[np.isfinite(values)] % 1).any():
                made[field.name] = cells.astype("Int64")
        if field.placeholders:
            made[field.name] = _with_placeholders(made.get(field.name, cells), field, frame)
    return with_columns(frame, made)


def _is_whole(field: Field) -> bool:
    """Whether a column is one of whole numbers, or of dates in bare digits."""
    return field.type == "datetime" or (field.type == "integer" and field.format in (None, "0"))


def gives_back(values: np.ndarray, format: str) -> bool:
    """Whether no number changes by being written: a person's own may have more decimals than the training table."""
    if format in DURATIONS:
        return True
    present, writing = values[np.isfinite(values)], number_writing(format)
    if writing.power:
        again = (float(f"{value:.{writing.most}e}") for value in present.tolist())
        return all(math.isclose(*pair, rel_tol=1e-15) for pair in zip(again, present.tolist(), strict=True))
    rounded = np.round(present, writing.most)
    return bool(np.isclose(rounded, present, rtol=1e-12, atol=1e-12).all())


def _with_placeholders(cells: pd.Series, field: Field, frame: pd.DataFrame) -> pd.Series:
    """The words in place of missing cells, drawn by their shares; the same rows have the same words."""
    missing = cells.isna().to_numpy()
    words, shares = zip(*field.placeholders, strict=True)
    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()  # which differ by seed and by piece
    rng = np.random.default_rng([zlib.crc32(rows.tobytes()), zlib.crc32(field.name.encode())])
    drawn = np.asarray(words, dtype=object)[rng.choice(len(words), size=int(missing.sum()), p=shares)]
    made = cells.astype(object).to_numpy(copy=True)
    made[missing] = [word or None for word in drawn]
    return pd.Series(made, index=cells.index, name=cells.name, dtype=object)


class _Lines:
    """A text file that ends each row in a line feed, told of CR LF so that a cell with either is quoted.

    Arguments:
        file: Takes the text.
    """

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, row: str) -> int:
        """One row, as Python's csv writer hands them over."""
        return self.file.write(f"{row.removesuffix(ROW_END)}\n" if row.endswith(ROW_END) else row)


ROW_END = "\r\n"


def as_csv(frame: pd.DataFrame, schema: Schema, header: bool = True) -> bytes:
    """Rows as CSV that every reader reads: cells with line breaks, quotes or commas are quoted."""
    text = io.StringIO(newline="")
    for_csv(frame, schema).to_csv(_Lines(text), index=False, header=header, lineterminator=ROW_END)  # type: ignore[call-overload]
    return text.getvalue().encode("utf-8")


def as_table(frame: pd.DataFrame, schema: Schema, known: pa.Schema | None = None) -> pa.Table:
    """Rows as they are written to Parquet; later pieces have the types of the first, `known`."""
    table = as_stored(pa.Table.from_pandas(for_parquet(frame, schema), preserve_index=False), schema)
    return table if known is None else table.cast(known)


def for_parquet(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Truths and whole numbers that pandas keeps as text and floats, because some cell is missing, as what they are."""
    words = {"True": True, "False": False}
    made: dict[str, Any] = {}
    for field in schema.fields:
        if field.name not in frame:
            continue  # a person's rows need not have what the model does not use
        cells = frame[field.name]
        if field.type == "boolean" and is_text(cells) and cells.dropna().isin(words).all():
            made[field.name] = cells.map(words).astype("boolean")
        if pd.api.types.is_float_dtype(cells.dtype) and not field.storage and _is_whole(field):
            values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            if not (values[np.isfinite(values)] % 1).any():
                made[field.name] = cells.astype("Int64")
        if field.placeholders:
            made[field.name] = _with_placeholders(cells, field, frame)
    return with_columns(frame, made)


def as_stored(table: pa.Table, schema: Schema) -> pa.Table:
    """Columns in the types of the Parquet file that they came from, where these hold all values."""
    for field in schema.fields:
        kind = stored_type(field.storage)
        at = table.schema.get_field_index(field.name)
        if kind is None or at < 0 or table.schema.field(at).type.equals(kind):
            continue
        column = _as_kind(table.column(at), kind)
        table = table if column is None else table.set_column(at, pa.field(field.name, kind), column)
    return _told_pandas(table)


def _told_pandas(table: pa.Table) -> pa.Table:
    """The table with what pandas is told of its columns in keeping with their types, by which it reads them again."""
    metadata = table.schema.metadata or {}
    if b"pandas" not in metadata:
        return table
    told = json.loads(metadata[b"pandas"])
    kinds = {field.name: field.type for field in table.schema}
    for entry in told["columns"]:
        kind, dtype = kinds.get(entry["field_name"]), entry["numpy_type"]
        if kind is None:
            continue
        if pa.types.is_integer(kind) and dtype.lower() != str(kind):
            plain = dtype.islower() and not dtype.startswith("float")
            nullable = str(kind).replace("uint", "UInt").replace("int", "Int")
            entry |= {"pandas_type": str(kind), "numpy_type": str(kind) if plain else nullable}
        elif pa.types.is_time(kind):
            entry |= {"pandas_type": "time", "numpy_type": "object"}
    return table.replace_schema_metadata({**metadata, b"pandas": json.dumps(told).encode()})


def _as_kind(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """Cells in a type, times at its resolution; None where some cell has no place in it."""
    if pa.types.is_decimal(kind) and pa.types.is_floating(column.type):
        column = pc.round(column, ndigits=kind.scale)
    if pa.types.is_null(kind):
        return pa.chunked_array([pa.nulls(len(column))]) if column.null_count == len(column) else None
    if pa.types.is_time(kind) and not pa.types.is_temporal(column.type):
        cells = [None if cell is None else datetime.time.fromisoformat(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(cells, kind)])
    is_coarser = pa.types.is_date(kind) or (pa.types.is_temporal(kind) and kind.unit in ("s", "ms"))
    try:
        return pc.cast(column, kind, safe=not (is_coarser and pa.types.is_temporal(column.type)))
    except pa.ArrowInvalid:
        return None


def stored_type(text: str) -> pa.DataType | None:
    """The Arrow type of that name; None for one that values are not cast to."""
    if found := re.fullmatch(r"decimal(128|256)\((\d+), (-?\d+)\)", text):
        return (pa.decimal128 if found[1] == "128" else pa.decimal256)(int(found[2]), int(found[3]))
    if found := re.fullmatch(r"(timestamp|duration|time32|time64)\[(\w+)(?:, tz=(.+))?\]", text):
        kind = getattr(pa, found[1])
        return kind(found[2], found[3]) if found[3] else kind(found[2])
    if found := re.fullmatch(r"dictionary<values=(\w+), indices=(\w+), ordered=([01])>", text):
        values, indices = stored_type(found[1]), stored_type(found[2])
        return None if values is None or indices is None else pa.dictionary(indices, values, found[3] == "1")
    return PLAIN_TYPES.get(text)


PLAIN_TYPES = {
    str(kind): kind
    for kind in (
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float32(),
        pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.string_view(), pa.date32(), pa.date64(), pa.null(),
    )
} | {"float": pa.float32(), "double": pa.float64(), "halffloat": pa.float16()}  # fmt: skip


def _measured(pieces: Iterable[pd.DataFrame], folder: Path, n: int, schema: Schema) -> Iterator[pd.DataFrame]:
    """The same pieces; the first tells whether there is room for the n rows that are still to be written."""
    for i, frame in enumerate(pieces):
        if i == 0:
            table = as_table(frame, schema)
            check_room(folder, n, _parquet_size(table) / len(frame))
        yield frame


def write_part(synthesizer: Synthesizer, pieces: Iterable[pd.DataFrame], path: Path, mark: str) -> None:
    """Writes one Parquet file that says by `mark` what it was made for."""
    _write_file(pieces, path, _schema(synthesizer), mark)


def _write_file(pieces: Iterable[pd.DataFrame], path: Path, schema: Schema, mark: str) -> None:
    _write_tables(_tables(_ahead(pieces), schema), path, mark)


def _tables(pieces: Iterable[pd.DataFrame], schema: Schema) -> Iterator[pa.Table]:
    known = None
    for frame in pieces:
        table = as_table(frame, schema, known)
        known = table.schema
        yield table


def _write_tables(tables: Iterable[pa.Table], path: Path, mark: str) -> None:
    """Row groups of one schema, that of the first."""
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            if writer is None:
                marked = table.schema.with_metadata({**(table.schema.metadata or {}), MARK: mark.encode()})
                writer = pq.ParquetWriter(path, marked, compression="lz4")
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _ahead(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same pieces, made in another thread while the last one is written: both leave the interpreter free."""
    made: queue.Queue[Piece | BaseException | None] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def hand_over(what: Piece | BaseException | None) -> None:
        while not stop.is_set():  # whoever has stopped takes nothing more, and waits for this thread
            try:
                return made.put(what, timeout=0.2)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for piece in pieces:
                hand_over(piece)
                if stop.is_set():
                    return
            hand_over(None)
        except BaseException as error:  # handed over, and raised where the pieces are used
            hand_over(error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while (piece := made.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        stop.set()
        thread.join()
