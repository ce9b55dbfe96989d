"""Rows of which some cells are given: what follows from them by the relations of the table, and what must fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.cells import in_days, numbers_of, series_of
from datakiln.codecs.tables.relations.expressions import worked_out
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
    return _computed(codec, given, made)


def _computed(codec: TableCodec, given: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """The rows with computed cells that are not given as they follow from given ones and those that were moved."""
    cells = {str(name): made[name] for name in made}
    for name in given.columns[given.notna().any()]:
        cells[name] = _typed(codec, name, given[name].astype(object).where(given[name].notna(), made[name]))
    columns = codec.by_name()
    for relation in codec.plan.relations:
        name = relation.target
        if relation.mode not in ("computed", "kept") or not all(one in cells for one in relation.columns):
            continue
        found, kept = codec.plan.computed_cells(relation, cells, columns[name]), cells[name]
        is_open = given[name].isna() if name in given else pd.Series(True, index=made.index)
        if relation.mode == "kept":
            is_open &= kept.notna() & found.notna()
        if is_open.any():
            cells[name] = _typed(codec, name, kept.astype(object).where(~is_open, found.astype(object)))
    return with_columns(made, cells)


def _moved(
    codec: TableCodec, relation: Relation, given: pd.DataFrame, drawn: pd.DataFrame, made: pd.DataFrame
) -> pd.DataFrame:
    """The columns that a given one lies beyond, as far below (or above) it as they were drawn.

    Where one of several is given, the others only go as far as the given one allows.
    """
    target = relation.target
    free = [name for name in relation.sources if name not in {**codec.plan.made, **codec.plan.shifted}]
    if len(relation.sources) == 1 and relation.form == "order" and relation.sources[0] in codec.plan.shifted:
        return _moved_chain(codec, relation, given, drawn, made)
    if len(free) < len(relation.sources) or not set(free) <= set(given.columns):
        return made
    told = {name: given[name].notna().to_numpy() for name in free}
    rows = given[target].notna().to_numpy() & ~np.logical_and.reduce(list(told.values()))
    if not rows.any():
        return made
    wanted, gap = numbers_of(given[target], codec.schema[target]), codec.plan.shift(target, drawn).to_numpy()
    base = np.asarray(worked_out(relation.tree, relation.needed(made, codec.schema)), dtype=np.float64)
    alone, cells, began = rows & ~np.logical_or.reduce(list(told.values())), {}, relation.moved(wanted, -gap)
    for name in free:
        values = numbers_of(made[name], codec.schema[name])
        if relation.form == "distance":  # the only one
            values = np.where(alone, began, values)
        else:
            kept = np.fmax(values, wanted) if relation.below else np.fmin(values, wanted)
            values = np.where(alone, values + (began - base), np.where(rows & ~told[name], kept, values))
        cells[name] = series_of(values, codec.schema[name])
    return with_columns(made, cells)


def _moved_chain(
    codec: TableCodec, relation: Relation, given: pd.DataFrame, drawn: pd.DataFrame, made: pd.DataFrame
) -> pd.DataFrame:
    """See `_moved`, of a column that is itself learnt as its distance from others, unless these tell where it is."""
    (source,) = relation.sources
    own = [name for name in codec.plan.shifted[source].sources if name in given]
    rows = given[relation.target].notna() & (given[source].isna() if source in given else False)
    rows &= ~given[own].notna().any(axis=1)
    if not rows.any():
        return made
    wanted = numbers_of(given[relation.target], codec.schema[relation.target])
    values = relation.moved(wanted, -codec.plan.shift(relation.target, drawn).to_numpy())
    return _moved_along(codec, source, values, rows.to_numpy() & np.isfinite(values), given, made)


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
        if source in codec.plan.made or source not in given:
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
        made, open_rows = _moved_along(codec, source, values, fits, given, made), open_rows & ~fits
    return made


def _moved_along(
    codec: TableCodec, name: str, values: np.ndarray, rows: np.ndarray, given: pd.DataFrame, made: pd.DataFrame
) -> pd.DataFrame:
    """These values of a column in the rows, and those beside it that are not given as far from it as they were."""
    before = numbers_of(made[name], codec.schema[name])
    values = np.where(rows, values, before)
    made = with_columns(made, {name: made[name].where(~rows, series_of(values, codec.schema[name]))})
    for relation in codec.plan.shifted.values():
        if relation.form != "order" or name not in relation.columns or len(relation.sources) > 1:
            continue
        (other,) = set(relation.columns) - {name}
        moves = rows & given[other].isna().to_numpy() if other in given and other not in codec.plan.made else None
        if moves is None or not moves.any():
            continue
        cells = numbers_of(made[other], codec.schema[other]) + values - before
        limits = getattr(codec.by_name()[other], "limits", None)
        cells = cells if limits is None else np.clip(cells, *in_days(limits, codec.schema[other]))
        made = with_columns(made, {other: made[other].where(~moves, series_of(cells, codec.schema[other]))})
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
