"""Samples as streams of bytes, drawn piece by piece, so that memory does not grow with what is asked for."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import with_columns
from datakiln.errors import UserError
from datakiln.plots.grids import grid
from datakiln.sampling.checkpoints import find_checkpoint
from datakiln.sampling.pictures import MOST_IN_GRID, to_image
from datakiln.sampling.rejection import Account
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.writing import as_csv, as_table, for_csv, for_parquet
from datakiln.schema import Schema
from datakiln.serve.requests import SampleRequest
from datakiln.serve.settings import Settings
from datakiln.writings import is_text

MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
    "jsonl": "application/jsonl",
    "png": "image/png",
    "zip": "application/zip",
}
ROWS = ("csv", "parquet", "arrow", "jsonl")
FORMATS = {"table": ROWS, "series": ROWS, "image": ("png", "zip")}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the beginning of a formula

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")  # as JSON has it


class Models:
    """Loaded models, the least recently used forgotten first, and the lock under which they draw.

    Arguments:
        most: How many are kept.
    """

    def __init__(self, most: int) -> None:
        """See the class."""
        self.most = most
        self.kept: OrderedDict[tuple[str, int], Synthesizer] = OrderedDict()
        # torch's generator is one for the whole process: two draws at a time would mix their numbers
        self.lock = threading.Lock()

    def load(self, run: Path) -> Synthesizer:
        """The model of a run's folder; raises `UserError` where it has none that can be read."""
        path = find_checkpoint(run)
        name = (str(path), path.stat().st_mtime_ns)
        with self.lock:
            if name not in self.kept:
                self.kept[name] = Synthesizer.load(path)
                while len(self.kept) > self.most:
                    self.kept.popitem(last=False)
            self.kept.move_to_end(name)
            return self.kept[name]


def chosen_format(asked: SampleRequest, synthesizer: Synthesizer) -> str:
    """The format asked for, or the first of the kind; raises `UserError` for one of another kind."""
    known = FORMATS[synthesizer.codec.kind]
    form = asked.format or known[0]
    if form not in known:
        raise UserError(f"format={form} is not there for this model; try {' or '.join(known)}")
    if asked.escape_formulas and form != "csv":
        raise UserError(f"escape_formulas is for format=csv, not for {form}; leave it out")
    return form


def sampled(
    synthesizer: Synthesizer, asked: SampleRequest, lock: threading.Lock, settings: Settings
) -> Iterator[bytes]:
    """The bytes of a sample; the rows and their order are those of the command `sample` with the same options.

    Raises:
        UserError: More is asked for than the server gives, or what the model cannot give.
    """
    form = chosen_format(asked, synthesizer)
    codec = synthesizer.codec
    most = settings.pictures if codec.kind == "image" else settings.rows
    if isinstance(codec, SeriesCodec):
        most = max(1, most // codec.spec.shape[0])  # n counts sequences, each of so many rows at most
    if asked.n > most:
        raise UserError(f"n={asked.n} is more than this server gives at once ({most}); ask in parts, by seed")
    if isinstance(codec, TableCodec | SeriesCodec):
        return _TABLES[form](_locked(_frames(synthesizer, asked), lock), codec.schema, asked.escape_formulas)
    if asked.balance is not None:
        raise UserError(f"balance={asked.balance} is for tables; for pictures say condition.class")
    pieces = _locked(synthesizer.pictures(asked.n, asked.condition, asked.seed, asked.options()), lock)
    return _png(pieces, asked.n) if form == "png" else _zip(pieces)


def _frames(synthesizer: Synthesizer, asked: SampleRequest) -> Iterator[pd.DataFrame]:
    options = asked.options()
    if isinstance(synthesizer.codec, SeriesCodec):
        return synthesizer.chunks(asked.n, asked.condition, asked.seed, balance=asked.balance, options=options)
    synthesizer.check(options)
    request = synthesizer.request(asked.condition, asked.balance)
    account = Account.of(asked.n, 0, len(request.classes))
    return (frame for frame, _ in synthesizer.accounted(request, account, asked.seed, options))


class Drawing:
    """Pieces that one thread after another takes, and that can be closed while one is being made.

    Arguments:
        pieces: A generator.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """See the class."""
        self.pieces: Any = pieces
        self.lock = threading.Lock()

    def take(self) -> bytes | None:
        """The next piece; None at the end."""
        with self.lock:
            return next(self.pieces, None)

    def close(self) -> None:
        """No more is made; waits for the piece that is."""
        with self.lock:
            self.pieces.close()


def _locked(pieces: Iterator[Any], lock: threading.Lock) -> Iterator[Any]:
    end = object()
    while True:
        with lock:
            piece = next(pieces, end)
        if piece is end:
            return
        yield piece


def escaped(frame: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run with a quote before it, in cells and in the names of columns."""
    made = {}
    for name in frame:
        cells = frame[name]
        if is_text(cells) or isinstance(cells.dtype, pd.CategoricalDtype) or cells.dtype == object:
            made[name] = cells.map(_escaped, na_action="ignore").astype(object)
    return with_columns(frame, made).rename(columns=_escaped)


def _escaped(cell: Any) -> Any:  # noqa: ANN401 (any cell)
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def escaped_csv(path: Path) -> bytes:
    """A CSV file with its cells escaped; they stay text, so that no number changes its writing."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return escaped(frame).to_csv(index=False).encode()


def csv_bytes(frame: pd.DataFrame, schema: Schema, escape: bool, header: bool) -> bytes:
    """Rows as CSV, in the writing of the training table."""
    return as_csv(escaped(frame) if escape else frame, schema, header)


def _csv(frames: Iterator[pd.DataFrame], schema: Schema, escape: bool) -> Iterator[bytes]:
    for i, frame in enumerate(frames):
        yield csv_bytes(frame, schema, escape, header=i == 0)


def jsonl_bytes(frame: pd.DataFrame, schema: Schema) -> bytes:
    """Rows as JSON, one a line: cells as the CSV has them, but numbers and truths bare, and missing ones null."""
    typed, is_missing = for_parquet(frame, schema), for_csv(frame, schema).isna().to_numpy()
    kinds = [_json_kind(typed.iloc[:, at]) for at in range(typed.shape[1])]
    names, *rows = csv.reader(io.StringIO(as_csv(frame, schema).decode(), newline=""))
    keys = [json.dumps(name, ensure_ascii=False) for name in names]
    lines = []
    for row, gaps in zip(rows, is_missing, strict=True):
        cells = ("null" if gap else as_json(cell) for cell, gap, as_json in zip(row, gaps, kinds, strict=True))
        lines.append("{" + ",".join(f"{key}:{cell}" for key, cell in zip(keys, cells, strict=True)) + "}\n")
    return "".join(lines).encode()


def _json_kind(cells: pd.Series) -> Callable[[str], str]:
    """How the text of a cell of a column is written in JSON."""
    if pd.api.types.is_bool_dtype(cells.dtype):
        return str.lower
    return _json_number if pd.api.types.is_numeric_dtype(cells.dtype) else _json_text


def _json_number(text: str) -> str:
    return text if NUMBER.fullmatch(text) else _json_text(text)  # a number in a writing of its own, such as 1,234.50


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _jsonl(frames: Iterator[pd.DataFrame], schema: Schema, escape: bool) -> Iterator[bytes]:
    return (jsonl_bytes(frame, schema) for frame in frames)


class _Sink(io.RawIOBase):
    """Collects what is written until it is taken; it knows how much there was, and cannot go back."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:  # noqa: ANN401 (bytes or a view of some)
        self.parts.append(bytes(part))
        self.size += len(self.parts[-1])
        return len(self.parts[-1])

    def tell(self) -> int:
        return self.size

    def take(self) -> bytes:
        """What has come since the last time."""
        taken, self.parts = b"".join(self.parts), []
        return taken


def _arrow_tables(frames: Iterator[pd.DataFrame], schema: Schema, open_writer: Callable[..., Any]) -> Iterator[bytes]:
    sink, writer, known = _Sink(), None, None
    for frame in frames:
        table = as_table(frame, schema, known)
        if writer is None:
            known = table.schema
            writer = open_writer(pa.PythonFile(sink, mode="w"), known)
        writer.write_table(table)
        yield sink.take()
    if writer is not None:
        writer.close()
        yield sink.take()


def _arrow(frames: Iterator[pd.DataFrame], schema: Schema, escape: bool) -> Iterator[bytes]:
    return _arrow_tables(frames, schema, pa.ipc.new_stream)


def _parquet(frames: Iterator[pd.DataFrame], schema: Schema, escape: bool) -> Iterator[bytes]:
    return _arrow_tables(frames, schema, lambda sink, known: pq.ParquetWriter(sink, known, compression="lz4"))


_TABLES = {"csv": _csv, "jsonl": _jsonl, "arrow": _arrow, "parquet": _parquet}


def _png(pieces: Iterator[np.ndarray], n: int) -> Iterator[bytes]:
    if n > MOST_IN_GRID:
        raise UserError(f"n={n} is too many for one grid (at most {MOST_IN_GRID}); ask for format=zip")

    def made() -> Iterator[bytes]:
        file = io.BytesIO()
        Image.fromarray(grid(np.concatenate(list(pieces)))).save(file, format="PNG")
        yield file.getvalue()

    return made()


def _zip(pieces: Iterator[np.ndarray]) -> Iterator[bytes]:
    sink, number = _Sink(), 0
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for piece in pieces:
            for picture in piece:
                file = io.BytesIO()
                to_image(picture).save(file, format="PNG")
                archive.writestr(
                    zipfile.ZipInfo(f"{number:07d}.png"), file.getvalue()
                )  # of 1980: same seed, same bytes
                number += 1
            yield sink.take()
    yield sink.take()


def json_text(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    """Strict JSON in one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
