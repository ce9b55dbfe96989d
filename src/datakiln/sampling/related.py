"""Rows of which some cells are given: what follows from them by the relations of the table, and what must fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.cells import numbers_of, series_of
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import choice_dtype, with_columns
from datakiln.errors import UserError


def completed_frame(codec: TableCodec, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the cells that follow from those that are there; given cells stay as they are."""
    if not frame.isna().any(axis=None):
        return frame
    found = codec.plan.completed({name: frame[name] for name in frame.columns})
    changed = {}
    for name in frame.columns[frame.isna().any()]:
        given, made = frame[name], found[name]
        if (made.notna() & given.isna()).any():
            changed[name] = given.astype(object).where(given.notna(), made.astype(object))
    return with_columns(frame, changed)


def beside_given(codec: TableCodec, given: pd.DataFrame, drawn: pd.DataFrame) -> pd.DataFrame:
    """Drawn rows with the given cells in them, and what depends on these worked out from them.

    A computed column that is given, without some of its sources, leaves the last of them no choice: it is solved for,
    where that is a value that the column can have.
    """
    targets = set(codec.plan.made) | set(codec.plan.shifted)
    cells = {
        name: _typed(codec, name, given[name].astype(object).where(given[name].notna(), drawn[name].astype(object)))
        for name in given.columns
        if name not in targets
    }
    made = codec.with_cells(drawn, cells)
    for name, relation in codec.plan.shifted.items():
        if relation.form in ("order", "distance") and name in given:
            made = _moved(codec, relation, given, drawn, made)
    for relation in codec.plan.made.values():
        made = _solved(codec, relation, given, made)
    return made


def _moved(
    codec: TableCodec, relation: Relation, given: pd.DataFrame, drawn: pd.DataFrame, made: pd.DataFrame
) -> pd.DataFrame:
    """The smaller or earlier column as far below a given larger one as it was drawn."""
    (source,), target = relation.sources, relation.target
    if source not in given or source in codec.plan.made or source in codec.plan.shifted:
        return made
    rows = (given[target].notna() & given[source].isna()).to_numpy()
    if not rows.any():
        return made
    high, low = codec.schema[target], codec.schema[source]
    gap = codec.plan.shift(target, drawn).to_numpy()
    values = np.where(rows, relation.moved(numbers_of(given[target], high), -gap), numbers_of(made[source], low))
    return with_columns(made, {source: series_of(values, low)})


def _typed(codec: TableCodec, name: str, cells: pd.Series) -> pd.Series:
    field = codec.schema[name]
    dtype: Any = choice_dtype(field, []) if field.categories else field.dtype
    try:
        return cells.astype(dtype)
    except (ValueError, TypeError, OverflowError):  # a given cell that the training table could not hold stays as it is
        return cells


def _solved(codec: TableCodec, relation: Relation, given: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    if relation.target not in given or relation.form != "formula" or not given[relation.target].notna().any():
        return made
    open_rows = given[relation.target].notna().to_numpy()
    fixed = with_columns(made, {relation.target: given[relation.target].where(open_rows, made[relation.target])})
    for source in reversed(relation.sources):
        if source in codec.plan.made or source in codec.plan.shifted or source not in given:
            continue
        rows = open_rows & given[source].isna().to_numpy()
        found = codec.plan.inverse(relation, source, fixed) if rows.any() else None
        if found is None:
            continue
        field, limits = codec.schema[source], getattr(codec.by_name()[source], "limits", None)
        values = np.where(rows, numbers_of(found, field), numbers_of(made[source], field))
        trial = with_columns(fixed, {source: series_of(values, field)})
        fits = rows & ~relation.breaks(trial, codec.schema) & np.isfinite(values)
        if limits is not None and field.type != "datetime":
            fits &= (values >= limits[0]) & (values <= limits[1])
        kept = made[source].where(~fits, trial[source])
        made, open_rows = with_columns(made, {source: kept}), open_rows & ~fits
    return made


def told_cells(codec: TableCodec, cells: dict[str, pd.Series], asked: str) -> dict[str, pd.Series]:
    """Known cells and those that follow from them; raises `UserError` for what no row could have.

    Arguments:
        codec: Fitted.
        cells: Series of one cell each.
        asked: The condition, as given.
    """
    if not codec.plan.relations:
        return cells
    there = {name: cell for name, cell in cells.items() if cell.notna().all()}
    found = {name: cell for name, cell in codec.plan.completed(there).items() if cell.notna().all()}
    for relation, broken in codec.plan.broken(found):
        if broken.any():
            raise UserError(f"the condition {asked} cannot be met: in every training row {relation}")
    return {**cells, **found}
