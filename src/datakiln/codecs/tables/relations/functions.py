"""Columns that follow from another one, value by value: city -> country, item -> group, weekday(start) -> weekday.

What is asked of all rows: each value of the one column goes with a single value of the other. What would go wrong by
chance is counted as if the two were independent: a row whose value was met before fails unless the other value is met
again.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.calendar import BEHIND, CLOCKS, MOMENTS, PARTS, clock_of, part_of
from datakiln.codecs.tables.relations.cells import is_date, is_zoned, keys_of, tolerance
from datakiln.codecs.tables.relations.expressions import Tree, column, columns_of, pair
from datakiln.codecs.tables.relations.relation import Mode, Relation
from datakiln.codecs.tables.relations.search import LOOK, TESTS, Search
from datakiln.schema import Field

MOST_KEYS = 200_000
MOST_PAIRED = 16  # columns of categories whose pairs are looked at
LOCAL = ("year", "month", "day", "weekday", "hour", "dayofyear", "hour_minute", "minute_of_day", "year_month_day")
CHANGES = 4  # distances in hours that a clock has from UTC: two, and as many again where it is half an hour off
MOSTLY_SAME = 0.4  # of the rows in which a part is that of UTC, however far away the clock
REPEATS = 1.5  # rows a value, on average, that a column has whose values are looked up by


@dataclass(frozen=True)
class Levels:
    """A column's distinct values.

    Attributes:
        codes: Of each row, -1 for missing.
        values: Plain ones, in the order of the codes.
    """

    codes: np.ndarray
    values: list[object]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.values)


def levels_of(search: Search, name: str) -> Levels:
    """Numbers and dates as floats that rise, others as plain values."""
    field = search.schema[name]
    if field.is_numeric:
        return _of_numbers(search.cells.get(name, np.full(search.rows, np.nan)))  # no cell: all rows miss it
    codes, values = pd.factorize(keys_of(search.frame[name]))
    return Levels(codes, list(values))


def _of_numbers(values: np.ndarray) -> Levels:
    distinct, codes = np.unique(values, return_inverse=True)
    there = np.isfinite(distinct)
    return Levels(np.where(np.isfinite(values), codes, -1), distinct[there].tolist())


def find_date_parts(search: Search) -> None:
    """Columns that are, or follow from, the year, month, weekday, hour ... of a date."""
    dates = [name for name in search.names if search.schema[name].type == "datetime" and name in search.cells]
    others = [name for name in search.names if search.schema[name].type != "datetime"]
    moments = [name for name in dates if not is_zoned(search.schema[name])]
    for date in dates:
        if is_date(search.schema[date]):
            _find_moments(search, date, [name for name in moments if search.may_compute(name, [date])])
        parts = {part: part_of(search.cells[date], part) for part in PARTS}
        parts = {part: values for part, values in parts.items() if np.unique(values[np.isfinite(values)]).size > 1}
        lists = {part: _of_numbers(values) for part, values in parts.items()}
        free = [name for name in others if search.may_compute(name, [date])]
        for name in free:
            if (equal := _equal_part(search, name, date, parts)) is not None:
                search.add(equal)
        _find_local_parts(search, date, [name for name in free if search.may_compute(name, [date])])
        for name in free:
            if search.may_compute(name, [date]):
                relation = _function_of_part(search, name, date, lists)
                if relation is not None:
                    search.add(relation)


def _find_moments(search: Search, date: str, names: list[str]) -> None:
    """Columns of dates or times that are a part of a date, such as its day, its month or its time of day."""
    days = search.cells[date][search.order[:LOOK]]
    days = days[np.isfinite(days)]
    parts = [part for part in MOMENTS if names and (part_of(days, part) != days).any()]  # else it is a copy
    for name, part in itertools.product(names, parts):
        is_clock = not is_date(search.schema[name])
        if part.startswith("time") is is_clock and search.may_compute(name, [date]):
            relation = search.formula(name, ["part", part, date], exact=True)
            if relation is not None:
                search.add(relation)


def _find_local_parts(search: Search, date: str, names: list[str]) -> None:
    """Columns that are parts of a date in UTC as the clock of a place shows it, all of the same one.

    Tried on some rows: the clock that most columns agree with is checked in all.
    """
    field = search.schema[date]
    if is_zoned(field) and not field.dtype.rstrip("]").endswith(("UTC", "+00:00")):
        return
    rows = search.order[:LOOK]
    days = search.cells[date][rows]
    cells = {n: search.cells[n][rows] for n in names if n in search.cells and search.schema[n].is_numeric}
    cells = {n: values for n, values in cells.items() if search.varied(n) >= TESTS and _may_be_local(values, days)}
    if not cells:
        return
    best: dict[str, str] = {}
    for clock in CLOCKS:
        try:
            local = clock_of(days, clock)
        except (KeyError, OSError):  # this machine does not know the place
            continue
        parts = {part: part_of(local, part) for part in LOCAL}
        found = {n: p for n, values in cells.items() for p, made in parts.items() if _agree(values, made)}
        if len(found) > len(best):
            best = {name: f"{part}{BEHIND}{clock}" for name, part in found.items()}
    for name, part in best.items():
        relation = search.formula(name, ["part", part, date], exact=True)
        if relation is not None:
            search.add(relation)


def _may_be_local(values: np.ndarray, days: np.ndarray) -> bool:
    """Whether numbers could be a part of these dates elsewhere: nearly always the same, or hours that keep behind."""
    gap = (values - part_of(days, "hour"))[np.isfinite(values) & np.isfinite(days)]
    if len(gap) and len(np.unique(gap % 24)) <= CHANGES:
        return True
    return any(float((values == part_of(days, part)).mean()) > MOSTLY_SAME for part in LOCAL)


def _agree(values: np.ndarray, made: np.ndarray) -> bool:
    there = np.isfinite(values) & np.isfinite(made)
    return int(there.sum()) >= TESTS and bool((values[there] == made[there]).all())


def _equal_part(search: Search, name: str, date: str, parts: dict[str, np.ndarray]) -> Relation | None:
    """The part itself as a number, perhaps counted from another begin."""
    if name not in search.cells or not search.schema[name].is_numeric:
        return None
    for part, values in parts.items():
        gap = search.cells[name] - values
        first = gap[np.isfinite(gap)]
        if len(first) < TESTS or np.ptp(first) > 2 * tolerance(search.schema[name]) * 1e-3 + 1e-9:
            continue
        offset = float(round(float(first[0])))
        tree: Tree = ["part", part, date]
        if offset:
            tree = ["+" if offset > 0 else "-", tree, abs(offset)]
        relation = search.formula(name, tree) if _is_varied(search, name, values) else None
        if relation is not None:
            return relation
    return None


def _is_varied(search: Search, name: str, values: np.ndarray) -> bool:
    return search.varied(name) >= TESTS and bool(np.isfinite(values).any())


def _function_of_part(search: Search, name: str, date: str, lists: dict[str, Levels]) -> Relation | None:
    made = levels_of(search, name)
    if made.count > 2000:
        return None
    for part, keys in lists.items():
        if made.count <= keys.count <= search.rows / REPEATS:
            relation = _function(search, name, ["part", part, date], keys, made, numeric=True)
            if relation is not None:
                return relation
    return None


def find_functions(search: Search) -> None:
    """Columns that follow from another one: from the one of fewest values, if from several."""
    levels: dict[str, Levels] = {}
    for name in search.names:
        if search.schema[name].type == "datetime" and is_zoned(search.schema[name]):
            continue
        found = levels_of(search, name)
        if found.count >= 2:
            levels[name] = found
    keys = {
        name: found
        for name, found in levels.items()
        if found.count <= min(MOST_KEYS, search.rows / REPEATS) and _may_be_key(search, name, found)
    }
    _by_one(search, levels, keys)
    _by_two(search, levels, keys)


def _by_one(search: Search, levels: dict[str, Levels], keys: dict[str, Levels]) -> None:
    by_count = sorted(keys, key=lambda name: (keys[name].count, name not in search.stay, search.place[name]))
    for target in sorted(levels, key=lambda name: (levels[name].count, search.place[name]), reverse=True):
        if search.schema[target].type == "datetime" or not search.may_compute(target, ()):
            continue
        for source in by_count:
            if source == target or keys[source].count < levels[target].count:
                continue
            if keys[source].count == levels[target].count and _goes_first(search, target, source):
                continue
            if not search.may_compute(target, [source]):
                continue
            numeric = search.schema[source].is_numeric
            relation = _function(search, target, column(source), keys[source], levels[target], numeric)
            if relation is not None:
                search.add(relation)
                break


def _by_two(search: Search, levels: dict[str, Levels], keys: dict[str, Levels]) -> None:
    """Categories that follow from two columns together, though from neither of them: city and zip -> state.

    A model may draw pairs that no row has: there the target stays as it was drawn.
    """
    few = [name for name in keys if may_pair(search.schema[name])]
    few = sorted(few, key=lambda name: (keys[name].count, search.place[name]))[:MOST_PAIRED]
    pairs = [(one, two) for one, two in itertools.combinations(sorted(few, key=search.place.__getitem__), 2)]
    known = {names: paired for names in pairs if (paired := _paired(search, keys, *names)) is not None}
    targets = [name for name in few if not search.schema[name].is_numeric]
    for target in sorted(targets, key=lambda name: (levels[name].count, search.place[name]), reverse=True):
        for (one, two), both in sorted(known.items(), key=lambda item: item[1].count):
            if target in (one, two) or search.depends(one, two) or search.depends(two, one):
                continue
            if not search.may_compute(target, (one, two)):
                continue
            relation = _function(search, target, pair(one, two), both, levels[target], numeric=False)
            if relation is not None:
                search.add(relation.changed(mode="kept"))
                break


def may_pair(field: Field) -> bool:
    """Whether its cells are looked up as they are: categories and whole numbers."""
    return not field.is_numeric or (field.type == "integer" and field.format is None)


def _paired(search: Search, levels: dict[str, Levels], one: str, two: str) -> Levels | None:
    """The pairs of two columns' values; None where they hardly repeat."""
    first, second = levels[one], levels[two]
    there = (first.codes >= 0) & (second.codes >= 0)
    distinct, places = np.unique(first.codes[there] * second.count + second.codes[there], return_inverse=True)
    if not 2 <= len(distinct) <= min(MOST_KEYS, search.rows / REPEATS):
        return None
    codes = np.full(search.rows, -1)
    codes[there] = places
    places_of = [divmod(k, second.count) for k in distinct.tolist()]
    return Levels(codes, [[first.values[i], second.values[j]] for i, j in places_of])


def declared_function(search: Search, tree: Tree, target: str) -> Relation | None:
    """The function of one or two columns, or of a part of a date, to another; None if it does not hold.

    Of a date itself it is that of the first part that tells the target.
    """
    made, source = levels_of(search, target), columns_of(tree)[0]
    if tree[0] == "pair":
        sources = columns_of(tree)
        paired = _paired(search, {name: levels_of(search, name) for name in sources}, *sources)
        both = None if paired is None else _function(search, target, tree, paired, made, False, least=0)
        return None if both is None else both.changed(mode="kept")
    if search.schema[source].type == "datetime" and source in search.cells:
        for part in [tree[1]] if tree[0] == "part" else PARTS:
            found = _of_numbers(part_of(search.cells[source], part))
            relation = _function(search, target, ["part", part, source], found, made, True, least=0)
            if relation is not None:
                return relation
    if tree[0] == "part":
        return None
    return _function(search, target, tree, levels_of(search, source), made, search.schema[source].is_numeric, least=0)


def _may_be_key(search: Search, name: str, found: Levels) -> bool:
    """Categories; numbers only if each is met several times, for the model draws others than those that were there."""
    return not search.schema[name].is_numeric or (found.count <= 1000 and search.rows >= 5 * found.count)


def _goes_first(search: Search, one: str, two: str) -> bool:
    """Which of two columns with equally many values is the key: one that stays, categories, then the first."""
    return _rank(search, one) < _rank(search, two)


def _rank(search: Search, name: str) -> tuple[bool, bool, int]:
    return (name not in search.stay, search.schema[name].is_numeric, search.place[name])


def _function(
    search: Search,
    target: str,
    tree: Tree,
    keys: Levels,
    made: Levels,
    numeric: bool,
    least: int = TESTS,
) -> Relation | None:
    if not (_is_one(keys, made, search.order[:LOOK]) and _is_one(keys, made, None)):
        return None
    there = (keys.codes >= 0) & (made.codes >= 0)
    tests = _failures(keys.codes[there], made.codes[there])
    if tests < least:
        return None
    at = np.full(keys.count, -1)
    at[keys.codes[there]] = made.codes[there]
    mode = _mode(keys, made, at)
    values = [None if code < 0 else made.values[code] for code in at]
    return (
        Relation(
            "function", target, tree, mode, 1.0, tests, keys=tuple(keys.values), numeric=numeric, values=tuple(values)
        )
        if search.may_compute(target, columns_of(tree))
        else None
    )


def _is_one(keys: Levels, made: Levels, rows: np.ndarray | None) -> bool:
    """Whether each key goes with one value."""
    ours, theirs = (keys.codes, made.codes) if rows is None else (keys.codes[rows], made.codes[rows])
    there = (ours >= 0) & (theirs >= 0)
    ours, theirs = ours[there], theirs[there]
    if not len(ours):
        return False
    one = np.full(keys.count, -1)
    one[ours] = theirs
    return bool((one[ours] == theirs).all())


def _failures(keys: np.ndarray, made: np.ndarray) -> int:
    """Rows that would fail if the two did not depend on each other."""
    shares = np.bincount(made) / len(made)
    repeated = len(keys) - len(np.unique(keys))
    return int(repeated * (1 - float(shares @ shares)))


def _mode(keys: Levels, made: Levels, at: np.ndarray) -> Mode:
    """Computed, where the target is missing for whole keys only, and wherever the key is."""
    expected = np.where(keys.codes >= 0, at[keys.codes], -1)
    return "computed" if bool(((expected < 0) == (made.codes < 0)).all()) else "kept"
