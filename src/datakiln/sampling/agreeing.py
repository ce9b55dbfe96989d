"""Missing sources of computed columns that are given: drawn from among the values that give them.

City -> country with the country given leaves the cities of it; weekday(start) and month(start) leave the days that are
both. So the values that a source can have are listed with all that is computed from them alone, and looked up by what
is given of that.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.relations.calendar import DAY
from datakiln.codecs.tables.relations.cells import chosen, keys_of, numbers_of, tolerance
from datakiln.codecs.tables.relations.plan import Plan
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import from_numbers, to_numbers, with_columns
from datakiln.codecs.tables.zones import instants, shown, zone_of

MOST = 50_000  # values that are listed, such as the days of a hundred years
MOMENTS = 200_000  # of dates with the times of a day, several of which are of one day
AT_ONCE = 65_536  # rows in which values are tried
TRIED = 64  # of them, where another source is to be solved for


@dataclass(frozen=True)
class _Listed:
    """What sources can be, and what is computed from it.

    Attributes:
        sources: Their names: one, or the two of a function of a pair.
        cells: Of the sources and of the columns that are computed from them alone.
        shares: How often each row of it is drawn, where it is among those that fit.
    """

    sources: tuple[str, ...]
    cells: pd.DataFrame
    shares: np.ndarray


class Agreeing:
    """The sources of a table whose values can be listed.

    Arguments:
        codec: Fitted.
        draw: Some rows of the model with these columns, which tell the times of day that dates have.
    """

    def __init__(self, codec: TableCodec, draw: Callable[[], pd.DataFrame]) -> None:
        """See the class."""
        self.codec, self.plan, self.draw = codec, codec.plan, draw

    @functools.cached_property
    def drawn(self) -> pd.DataFrame:
        """Those rows."""
        return self.draw()

    @functools.cached_property
    def listed(self) -> list[_Listed]:
        """Those that can be."""
        return [one for one in (self._listed(sources) for sources in _groups(self.plan)) if one is not None]

    def picked(self, given: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """The rows with missing sources of what is given in place, where they can be listed and any of them fits."""
        for one in self.listed:
            if set(one.sources) <= set(given):
                given = self._picked(one, given, rng)
        for relation in self.plan.made.values():
            if relation.form == "formula" and set(relation.columns) <= set(given):
                given = self._divided(relation, given, rng)
        return given

    def _divided(self, relation: Relation, given: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """The rows with two missing sources of what is given in place: one from a list that leaves the other a value.

        Of total = quantity * price the quantities are tried for a price that gives the total to the cent.
        """
        free = [name for name in relation.sources if name not in self.plan.made]
        open_rows = given[relation.target].notna() & (given[list(relation.sources)].isna().sum(axis=1) == 2)
        for one, two in itertools.permutations(free, 2):
            at = np.flatnonzero(open_rows & given[[one, two]].isna().all(axis=1))
            cells, _ = self._values(one) if len(at) else (None, None)
            if cells is None:
                continue
            values = cells[one].iloc[rng.permutation(len(cells[one]))[:TRIED]].to_numpy()
            for start in range(0, len(at), AT_ONCE // TRIED):
                part = at[start : start + AT_ONCE // TRIED]
                tried = given.iloc[np.repeat(part, len(values))].reset_index(drop=True)
                tried = with_columns(tried, {one: pd.Series(np.tile(values, len(part)), name=one)})
                found = self.plan.inverse(relation, two, tried)
                if found is None:
                    break
                tried = with_columns(tried, {two: found.reset_index(drop=True)})
                fits = tried[two].notna().to_numpy() & is_within(self.codec, two, tried[two])
                fits &= ~np.logical_or.reduce(
                    [relation.breaks(tried, self.codec.schema), *(bad for _, bad in self.plan.broken(tried))]
                )
                rows, first = np.unique(np.repeat(part, len(values))[fits], return_index=True)
                open_rows.iloc[rows] = False
                for name in (one, two):
                    whole = given[name].astype(object).to_numpy(copy=True)
                    whole[rows] = tried[name].astype(object).to_numpy()[fits][first]
                    given = with_columns(given, {name: pd.Series(whole, index=given.index, dtype=object)})
        return given

    def _picked(self, one: _Listed, given: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        targets = [str(name) for name in one.cells if name not in one.sources and name in given]
        names = [*one.sources, *targets]
        there = given[names].notna().to_numpy()
        rows = np.flatnonzero(~there[:, : len(one.sources)].all(axis=1) & there[:, len(one.sources) :].any(axis=1))
        if not len(rows):
            return given
        keys = np.stack([self._keys(name, given[name].iloc[rows]) for name in names], axis=1)
        known = np.stack([self._keys(name, one.cells[name]) for name in names], axis=1)
        chosen_at, patterns = np.full(len(rows), -1), there[rows]
        for pattern in np.unique(patterns, axis=0):
            alike = np.flatnonzero((patterns == pattern).all(axis=1))
            both = pd.DataFrame(np.concatenate([known[:, pattern], keys[alike][:, pattern]]))
            group = both.groupby(list(both), sort=False).ngroup().to_numpy()  # -1 where a key is missing
            chosen_at[alike] = _drawn(group[: len(known)], one.shares, group[len(known) :], rng)
        done = chosen_at >= 0
        changed = {}
        for name in one.sources:
            cells = given[name].astype(object).to_numpy(copy=True)
            gone = done & given[name].iloc[rows].isna().to_numpy()
            cells[rows[gone]] = one.cells[name].astype(object).to_numpy()[chosen_at[gone]]
            changed[name] = pd.Series(cells, index=given.index, dtype=object)
        return with_columns(given, changed)

    def _keys(self, name: str, cells: pd.Series) -> np.ndarray:
        """What cells are compared by: numbers as their column rounds them."""
        field = self.codec.schema[name]
        if not field.is_numeric:
            return keys_of(cells).map(str, na_action="ignore").to_numpy(dtype=object)
        numbers = numbers_of(cells, field)
        digits = 9 if field.decimals is None or field.type == "datetime" else field.decimals
        return np.round(numbers, digits).astype(object)

    def _listed(self, sources: tuple[str, ...]) -> _Listed | None:
        targets = [name for name in self.plan.made if self.plan.origins(name) <= set(sources)]
        cells, shares = self._pairs(sources) if len(sources) > 1 else self._values(sources[0])
        if not targets or cells is None or not len(shares):
            return None
        made = self.plan.completed(cells)
        whole = {name: made[name].reset_index(drop=True) for name in (*sources, *targets) if name in made}
        return _Listed(sources, pd.DataFrame(whole), shares)

    def _values(self, name: str) -> tuple[dict[str, pd.Series] | None, np.ndarray]:
        """All that a column can hold; nothing where that is no list."""
        column = self.codec.by_name()[name]
        if isinstance(column, ChoiceColumn):
            values = [*column.values, *column.pool]
            shares = np.asarray(column.rows, dtype=np.float64) if len(column.rows) == len(values) else None
            shares = np.ones(len(values)) if shares is None else np.maximum(shares, 1.0)
            return {name: chosen(values, np.arange(len(values)), column.field)}, shares
        if not isinstance(column, NumberColumn) or column.limits is None:
            return None, np.zeros(0)
        (low, high), field = column.limits, column.field
        step = column.grid.step or (10.0**-field.decimals if field.decimals is not None else 0.0)
        is_listed = bool(step) and (high - low) <= MOST * step
        if field.type == "datetime" and (name in self.codec.dates or not is_listed):
            numbers, shares = self._moments(name, (low, high))
        elif is_listed:
            numbers = low + step * np.arange(round((high - low) / step) + 1)
            shares = np.ones(len(numbers))
        else:
            return None, np.zeros(0)
        return {name: from_numbers(numbers, field)}, shares

    def _moments(self, name: str, limits: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """All days between the limits by the column's clocks, at the times of day that it has, and how often each is.

        Of times that are learnt, those of rows that the model draws.
        """
        dates, field = self.codec.dates.get(name), self.codec.schema[name]
        zone = zone_of(field.dtype) if dates is None else dates.zone
        low, high = np.floor(shown(np.asarray(limits), zone) / DAY)
        days = np.arange(low, high + 1)
        if dates is not None and not dates.time:
            of_day = np.array([dates.usual[1]])
        else:
            drawn = to_numbers(self.drawn[name], field)
            of_day = shown(drawn[~np.isnan(drawn)], zone) % DAY
        times, counts = np.unique(of_day[: max(1, MOMENTS // len(days))], return_counts=True)
        moments = np.add.outer(days * DAY, times).ravel() if len(days) <= MOST else np.zeros(0)
        shares = np.tile(counts.astype(np.float64), len(days))[: len(moments)]
        seconds = instants(moments, zone)
        is_shown = np.abs(shown(seconds, zone) - moments) < 1.0  # clocks leave out an hour
        kept = (seconds >= limits[0]) & (seconds <= limits[1]) & is_shown
        return seconds[kept], shares[kept]

    def _pairs(self, sources: tuple[str, ...]) -> tuple[dict[str, pd.Series], np.ndarray]:
        """What the two sources of a function can be together."""
        keys = next(r.keys for r in self.plan.made.values() if r.tree[0] == "pair" and r.sources == sources)
        places = np.arange(len(keys))
        cells = {
            name: chosen([key[i] for key in keys], places, self.codec.schema[name]) for i, name in enumerate(sources)
        }
        return cells, np.ones(len(keys))


def is_within(codec: TableCodec, name: str, cells: pd.Series) -> np.ndarray:
    """Whether cells lie between the lowest and the highest training value of their column, or are missing."""
    column = codec.by_name()[name]
    if not isinstance(column, NumberColumn) or column.limits is None:
        return np.ones(len(cells), dtype=bool)
    (low, high), values = column.limits, to_numbers(cells, column.field)
    margin = tolerance(column.field) * (DAY if column.field.type == "datetime" else 1.0) + 1e-9 * (high - low)
    return ~((values < low - margin) | (values > high + margin))


def _drawn(known: np.ndarray, shares: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each group that is wanted one of those known, by their shares; -1 where none is of it, or it is negative."""
    order = np.argsort(known, kind="stable")
    ends = np.cumsum(shares[order])
    first, last = (np.searchsorted(known[order], wanted, side=side) for side in ("left", "right"))  # type: ignore[call-overload]
    low, high = (np.concatenate([[0.0], ends])[at] for at in (first, last))
    at = np.searchsorted(ends, low + rng.random(len(wanted)) * (high - low), side="right")
    is_there = (wanted >= 0) & (last > first)
    return np.where(is_there, order[np.clip(at, first, last - 1)], -1)


def _groups(plan: Plan) -> list[tuple[str, ...]]:
    """Pairs of sources that a function tells of, then the single ones of which something is computed."""
    pairs = [relation.sources for relation in plan.made.values() if relation.tree[0] == "pair"]
    single = [name for target in plan.made for name in plan.origins(target) if name not in plan.made]
    return [*dict.fromkeys(pairs), *((name,) for name in dict.fromkeys(sorted(single)))]
