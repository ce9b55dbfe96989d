"""Conditions on a computed number whose sources they leave open: total = 57.20, where total = quantity * price.

Hardly a row that is drawn would meet them. So rows are drawn freely, those nearest to the value wanted are taken, and
one of their sources is moved so that they give it exactly: the model is then told these cells and draws the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.relations.cells import in_days, numbers_of, series_of
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import with_columns

POOL = 8192  # rows drawn freely
NEAREST = 0.02  # of them, as long as they fit


@dataclass(frozen=True)
class Inverted:
    """Rows of sources that give what is wanted.

    Attributes:
        cells: Of the computed column and its sources, as many rows as fit.
    """

    cells: pd.DataFrame

    def drawn(self, n: int, rng: np.random.Generator) -> dict[str, pd.Series]:
        """N of them, with replacement."""
        rows = self.cells.iloc[rng.integers(0, len(self.cells), n)].reset_index(drop=True)
        return {str(name): rows[name] for name in rows}


def open_column(codec: TableCodec, known: dict[str, pd.Series]) -> str | None:
    """A known number whose sources are not all known, if there is exactly one."""
    settled = codec.plan.settled(set(known))
    columns = codec.by_name()
    left = [name for name in known if name not in settled and isinstance(columns[name], NumberColumn)]
    return left[0] if len(left) == 1 and known[left[0]].notna().all() else None


def invert(codec: TableCodec, name: str, known: dict[str, pd.Series], pool: pd.DataFrame) -> Inverted | None:
    """What the model is to be told for a known column; None where no row near it can be moved.

    Arguments:
        codec: Fitted.
        name: A computed column, or one of which a distance is learnt.
        known: Cells that are settled, of one row.
        pool: Rows drawn freely.
    """
    relation = codec.plan.made.get(name) or codec.plan.shifted.get(name)
    field = codec.schema[name]
    if relation is None or relation.form == "function" or any(s in codec.plan.made for s in relation.sources):
        return None
    wanted = float(numbers_of(known[name], field)[0])
    far = np.abs(numbers_of(pool[name], field) - wanted)
    order = np.argsort(np.where(np.isnan(far), np.inf, far), kind="stable")
    near = pool.iloc[order[: max(1, int(NEAREST * len(pool)))]].reset_index(drop=True)
    near = near[near[list(relation.columns)].notna().all(axis=1)].reset_index(drop=True)
    if not len(near):
        return None
    cells = near[list(relation.columns)].copy()
    cells[name] = pd.Series([known[name].iloc[0]] * len(near), dtype=near[name].dtype)
    if relation.form in ("formula", "distance") and name in codec.plan.shifted:
        return _inside(codec, name, cells, codec.plan.shift(name, cells))
    for source in reversed(relation.sources):
        if source in known:
            continue
        moved = _moved(codec, relation, source, near, cells, wanted)
        if moved is not None:
            return Inverted(moved)
    return None


def _moved(
    codec: TableCodec, relation: Relation, source: str, near: pd.DataFrame, cells: pd.DataFrame, wanted: float
) -> pd.DataFrame | None:
    """The rows with this source in the place that gives what is wanted, of those where it is a value it can have."""
    field, column = codec.schema[source], codec.by_name()[source]
    if relation.form == "order":
        gap = codec.plan.shift(relation.target, near).to_numpy() * (relation.step or 1.0)
        values = wanted - gap
    else:
        found = codec.plan.inverse(relation, source, cells)
        if found is None:
            return None
        values = numbers_of(found, field)
    moved = with_columns(cells, {source: series_of(np.where(np.isfinite(values), values, np.nan), field)})
    fits = moved[source].notna().to_numpy() & ~relation.breaks(moved, codec.schema)
    if isinstance(column, NumberColumn) and column.limits is not None:
        low, high = in_days(column.limits, field)
        fits &= (values >= low) & (values <= high)
    return moved[fits].reset_index(drop=True) if fits.any() else None


def _inside(codec: TableCodec, name: str, cells: pd.DataFrame, shift: pd.Series) -> Inverted | None:
    """The rows whose distance is one that was learnt."""
    column = next(column for column in codec.inner if column.field.name == name)
    limits = getattr(column, "limits", None)
    fits = np.ones(len(cells), dtype=bool) if limits is None else shift.between(*limits).to_numpy()
    return Inverted(cells[fits].reset_index(drop=True)) if fits.any() else None
