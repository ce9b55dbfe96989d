"""Synthetic tables to files, piece by piece, so that memory does not grow with the number of rows."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from src.codecs.base import CHUNK
from src.codecs.table import TableCodec
from src.errors import UserError
from src.rejection import Request
from src.schema import Schema
from src.synthesizer import Synthesizer

PART_ROWS = 8 * CHUNK  # rows of one part of a folder of Parquet parts
AHEAD = 2  # pieces decoded while another is being written


def write_table(
    synthesizer: Synthesizer,
    n: int,
    out: str,
    condition: Mapping[str, Any],
    seed: int,
    console: Console,
    balance: str | None = None,
) -> None:
    """Writes n rows to a .csv or .parquet file, or as parts to a folder (`out` ends in a slash).

    Raises:
        UserError: `out` has another ending, or rows are asked for that the synthesizer cannot give.
    """
    path = Path(out)
    if out.endswith("/") or path.is_dir():
        _write_parts(synthesizer, n, path, seed, console, synthesizer.request(condition, balance))
        return
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"out={out} must end in .csv or .parquet, or in / for a folder of Parquet parts")
    pieces = synthesizer.chunks(n, condition, seed, balance=balance)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _complete_or_absent(path) as partial:
        _write_file(pieces, partial, path.suffix, _schema(synthesizer))


def _write_parts(synthesizer: Synthesizer, n: int, folder: Path, seed: int, console: Console, request: Request) -> None:
    """Part k depends on (seed, k) alone, and appears when complete: the same command again makes what is missing."""
    starts = range(0, n, PART_ROWS)
    if len(starts) > 1 and request.rules.unique:
        rule = request.rules.unique[0]
        raise UserError(f"out={folder}/: parts are made apart, so '{rule}' cannot be kept; write one .parquet file")
    folder.mkdir(parents=True, exist_ok=True)
    for k, start in enumerate(track(starts, "sampling", console=console, disable=not console.is_terminal)):
        path = folder / f"part-{k:05d}.parquet"
        if not path.exists():
            with _complete_or_absent(path) as partial:
                rows = min(PART_ROWS, n - start)
                _write_file(
                    synthesizer.rows(request, rows, seed, part=k, first_row=start),
                    partial,
                    ".parquet",
                    _schema(synthesizer),
                )


def _schema(synthesizer: Synthesizer) -> Schema:
    assert isinstance(synthesizer.codec, TableCodec)
    return synthesizer.codec.schema


@contextmanager
def _complete_or_absent(path: Path) -> Iterator[Path]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def for_csv(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Whole numbers that pandas keeps as floats, because the column has or had missing cells, written without ".0"."""
    names = [f.name for f in schema.fields if f.type == "integer" and pd.api.types.is_float_dtype(frame[f.name].dtype)]
    return frame.astype(dict.fromkeys(names, "Int64"))


def _write_file(pieces: Iterable[pd.DataFrame], path: Path, suffix: str, schema: Schema) -> None:
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            for i, frame in enumerate(_ahead(pieces)):
                for_csv(frame, schema).to_csv(file, index=False, header=i == 0)
        return
    writer: pq.ParquetWriter | None = None
    try:
        for frame in _ahead(pieces):
            table = pa.Table.from_pandas(frame, preserve_index=False, schema=None if writer is None else writer.schema)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="lz4")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _ahead(pieces: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same pieces, made in another thread while the last one is written: both leave the interpreter free."""
    made: queue.Queue[pd.DataFrame | BaseException | None] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def make() -> None:
        try:
            for piece in pieces:
                while not stop.is_set():
                    try:
                        made.put(piece, timeout=0.2)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
            made.put(None)
        except BaseException as error:  # handed over, and raised where the pieces are used
            made.put(error)

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
