"""Synthetic tables to files, piece by piece, so that memory does not grow with the number of rows."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from datakiln import strictjson
from datakiln.codecs.base import CHUNK
from datakiln.codecs.tables.table import TableCodec
from datakiln.console import Console
from datakiln.data.tables.facts import is_text
from datakiln.errors import UserError
from datakiln.sampling.rejection import Request
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Schema
from datakiln.spec import PLAIN, Sampling
from datakiln.storage import replacing

PART_ROWS = 8 * CHUNK  # rows of one part of a folder of Parquet parts
MARK = b"datakiln"  # key of a part's metadata under which it says what it was made for
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
    if out.endswith("/") or path.is_dir():
        request = synthesizer.request(condition, balance)
        _refuse_unique(request, n, path)
        given = {"model": fingerprint(synthesizer), "device": synthesizer.model.device.type, "part rows": PART_ROWS}
        if overwrite:
            _remove_parts(path)
        _write_parts(synthesizer, n, path, seed, console, request, {**given, **asked}, options)
        return
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"out={out} must end in .csv or .parquet, or in / for a folder of Parquet parts")
    pieces = synthesizer.chunks(n, condition, seed, balance=balance, options=options)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        _write_file(pieces, partial, path.suffix, _schema(synthesizer), json.dumps(asked, sort_keys=True))
    if path.suffix == ".csv" and options.given():
        strictjson.write(asked, path.with_suffix(".csv.json"))


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
) -> None:
    """Part k depends on (seed, k) alone, and appears when complete: the same command again makes what is missing.

    Every part carries what was asked for; a folder with parts of another request, or of anybody else, is left alone.
    """
    starts = range(0, n, PART_ROWS)
    paths = [folder / f"part-{k:05d}.parquet" for k in range(len(starts))]
    rows = [min(PART_ROWS, n - start) for start in starts]
    _check_folder(folder, dict(zip(paths, rows, strict=True)), asked)
    folder.mkdir(parents=True, exist_ok=True)
    for k in console.tracked(range(len(starts)), "sampling"):
        if not paths[k].exists():
            with replacing(paths[k]) as partial:
                pieces = synthesizer.rows(request, rows[k], seed, part=k, first_row=starts[k], options=options)
                _write_file(pieces, partial, ".parquet", _schema(synthesizer), json.dumps(asked, sort_keys=True))


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
    for partial in folder.glob(".part-*.partial") if folder.is_dir() else ():
        if not _is_running(int(partial.suffixes[-2][1:])):
            partial.unlink()


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


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def fingerprint(synthesizer: Synthesizer) -> str:
    """SHA-256 of everything that samples depend on besides seed and request: weights, codec and constraints."""
    digest = hashlib.sha256()
    for name, value in sorted(synthesizer.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    learnt = [synthesizer.codec.state(), synthesizer.rules.state()]
    digest.update(json.dumps(learnt, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _schema(synthesizer: Synthesizer) -> Schema:
    assert isinstance(synthesizer.codec, TableCodec)
    return synthesizer.codec.schema


def for_csv(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Whole numbers that pandas keeps as floats, because the column has or had missing cells, written without ".0"."""
    whole = [field.name for field in schema.fields if field.type == "integer" and field.name in frame]
    names = [name for name in whole if pd.api.types.is_float_dtype(frame[name].dtype)]
    return frame.astype(dict.fromkeys(names, "Int64"))


def for_parquet(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Truths that are kept as text, because some cell is missing, as nullable booleans."""
    words = {"True": True, "False": False}
    truths = {field.name: frame[field.name] for field in schema.fields if field.type == "boolean"}
    named = {name: cells for name, cells in truths.items() if is_text(cells) and cells.dropna().isin(words).all()}
    return frame.assign(**{name: cells.map(words).astype("boolean") for name, cells in named.items()})


def _write_file(
    pieces: Iterable[pd.DataFrame], path: Path, suffix: str, schema: Schema, mark: str | None = None
) -> None:
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            for i, frame in enumerate(_ahead(pieces)):
                for_csv(frame, schema).to_csv(file, index=False, header=i == 0)
        return
    writer: pq.ParquetWriter | None = None
    try:
        for frame in _ahead(pieces):
            known = None if writer is None else writer.schema
            table = pa.Table.from_pandas(for_parquet(frame, schema), preserve_index=False, schema=known)
            if writer is None:
                told = {} if mark is None else {MARK: mark.encode()}
                marked = table.schema.with_metadata({**(table.schema.metadata or {}), **told})
                writer = pq.ParquetWriter(path, marked, compression="lz4")
            writer.write_table(table.cast(writer.schema))
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
