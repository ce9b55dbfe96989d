"""A person's own sequences beside a model: read, put in order, and held against what training sequences had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.values import to_numbers
from datakiln.data.series.order import in_order, varied
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.finding import check_exists
from datakiln.data.tables.limits import available_memory
from datakiln.errors import UserError, near
from datakiln.sampling.filling import as_trained, unseen_cells, unseen_note
from datakiln.sampling.media import read_prompt
from datakiln.sampling.room import size
from datakiln.schema import Field
from datakiln.wording import counted

BYTES = 8  # that a position of an encoded step, or a cell, takes at least


def read_history(codec: SeriesCodec, path: str, what: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of a person's file, in order, and their sequence; raises `UserError` for what the model cannot take."""
    if codec.medium != "rows" and Path(path).suffix.lower() not in (".csv", ".parquet"):
        frame = read_prompt(path, codec, what)
        return frame, np.zeros(len(frame), dtype=np.int64)
    check_exists(Path(path), what)
    content = read_table_file(Path(path), least=1)
    roles = codec.roles
    columns = [*codec.steps.columns, *(codec.static.columns if codec.static is not None else ())]
    frame = as_trained(content.frame, columns, path)
    needed = [*(field.name for field in codec.steps.schema.fields if field.name in codec.steps.modelled)]
    needed = [name for name in needed if codec.log_step is None or name != codec.log_step.name]
    needed += [name for name in (roles.time, roles.entity) if name is not None]
    if codec.static is not None:
        made = codec.static.plan.made.values()
        needed += [source for relation in made if relation.target in frame for source in relation.sources]
        needed += codec.static.modelled if what == "forecast" else []  # a model draws none of them when it goes on
    for field in codec.schema.fields:
        if field.is_numeric and field.name in frame:
            _check_written(frame[field.name], field, f"{what}={path}")
    lacking = [name for name in needed if name not in frame]
    if lacking:
        raise UserError(
            f"{what}={path}: the column {lacking[0]!r} is not there{near(lacking[0], map(str, frame.columns))}"
        )
    try:
        frame, group, _ = in_order(frame, codec.schema, roles.time, roles.entity, "sort")
    except UserError as error:
        raise UserError(f"{what}={path}: {error}") from None
    for name in roles.static:
        if name in frame and (told := varied(frame, group, name, roles.entity)) is not None:
            way = f"in training it was the same throughout each {roles.entity}; mend the rows"
            raise UserError(f"{what}={path}: {name} {told}; {way}")
    return frame, group


def _check_written(cells: pd.Series, field: Field, source: str) -> None:
    """Raises `UserError` for a cell that is there, and is no number or date as the training table had them."""
    words = [word for word, _ in field.placeholders]
    lost = cells.notna().to_numpy() & np.isnan(to_numbers(cells, field)) & ~cells.astype(str).isin(words).to_numpy()
    if lost.any():
        at, kind = int(np.argmax(lost)), "date" if field.type == "datetime" else "number"
        told = kind if field.format is None else f"{kind} written as {field.format}"
        where = f"{source}: column {field.name!r} has {cells.iloc[at]!r} in row {at + 1}"
        raise UserError(f"{where}, which is no {told} as in the training table; write it so, or leave the cell empty")


def unknown_note(codec: SeriesCodec, frame: pd.DataFrame) -> str:
    """How many cells of a history the model knows nothing of, by column, for the end of a line; empty where none is."""
    columns = [*codec.steps.columns, *(codec.static.columns if codec.static is not None else ())]
    told = unseen_note(unseen_cells(columns, frame))
    return told and f"{told}: numbers count as the nearest known, categories as none, and no such cells are drawn"


def check_size(codec: SeriesCodec, sequences: int, paths: int, horizon: int) -> None:
    """Raises `UserError` for more rows than memory can hold."""
    each = BYTES * (codec.spec.shape[1] + len(codec.schema.fields))
    need, free = sequences * paths * horizon * each, available_memory()
    if need > free:
        told = f"horizon={horizon} and paths={paths} of {counted(sequences, 'sequence')} would take about {size(need)}"
        raise UserError(f"{told} of memory, where {size(free)} are free; ask for less")
