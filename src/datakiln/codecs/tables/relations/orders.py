"""Orders of columns: part <= whole, start < end, Low <= min(Open, Close)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.calendar import DAY
from datakiln.codecs.tables.relations.cells import is_clock, is_date, is_zoned
from datakiln.codecs.tables.relations.expressions import column, extreme, worked_out
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import LOOK, TESTS, Search

MOST_COLUMNS = 200
MOST = 200  # orders that are kept, those that say most
TIGHT = 0.5  # of the larger column's spread: how far it is above the smaller one then says most of it
VARIED = 0.2  # distinct values a row, in a column of numbers that may become a distance
STEPS = (1.0, 3_600 / DAY, 60 / DAY, 1 / DAY)  # days, hours, minutes, seconds
MOST_PLACES = {"time": 24, "weekday": 1, "day": 2, "last day": 1}  # in the calendar, of a column that keeps to them
ROWS_EACH = 10  # of such a place
STRAY = 0.05  # share of rows that may leave these places: what goes wrong in the source's rows, too


def find_orders(search: Search) -> None:
    """Adds those that no row breaks, though many would if the columns did not depend on each other."""
    kinds: dict[tuple[bool, bool], list[str]] = {}
    for name in search.cells:
        if search.varied(name) >= TESTS:
            kinds.setdefault((is_date(search.schema[name]), is_clock(search.schema[name])), []).append(name)
    for names in kinds.values():
        if 2 <= len(names) <= MOST_COLUMNS:
            _among(search, names)
    search.orders.sort(key=lambda relation: -relation.tests)
    del search.orders[MOST:]


def _among(search: Search, names: list[str]) -> None:
    few = np.stack([search.cells[name][search.order[:LOOK]] for name in names])
    never = np.zeros((len(names), len(names)), dtype=bool)
    tests = np.zeros((len(names), len(names)), dtype=np.int64)
    for i, low in enumerate(names):
        with np.errstate(invalid="ignore"):
            possible = ~(few[i] > few).any(axis=1)
        possible[i] = False
        for j in np.flatnonzero(possible):
            tests[i, j] = _tests(search, low, names[j])
            never[i, j] = tests[i, j] >= TESTS
    implied = (never.astype(np.int64) @ never.astype(np.int64)) > 0
    pairs = [(names[i], names[j]) for i, j in zip(*np.nonzero(never & ~implied), strict=True)]
    asked = {(names[i], names[j]): int(tests[i, j]) for i, j in zip(*np.nonzero(never), strict=True)}
    pairs = [pair for pair in pairs if not _follows(search, *pair)]
    _between(search, pairs, asked)
    for low, high in pairs:
        if not _follows(search, low, high):
            search.orders.append(_relation(search, low, high, asked[low, high]))


def _follows(search: Search, low: str, high: str) -> bool:
    """Whether an order follows from how one of its columns is computed."""
    if any(relation.form == "order" and {low, high} <= set(relation.columns) for relation in search.found.values()):
        return True
    is_computed = low in search.found or high in search.found
    one, two = _roots(search, low), _roots(search, high)
    return is_computed and (one <= two or two <= one)


def _between(search: Search, pairs: list[tuple[str, str]], tests: dict[tuple[str, str], int]) -> None:
    """Adds columns that lie above, or below, several others that are in no order: High >= max(Open, Close).

    How far they do is learnt. A distance from one of the others alone would not keep it beyond the rest; and of
    Low <= Open and Low <= Close it would be Open and Close that hang on Low, and no more on the Close of a day before.
    """
    free = [pair for pair in pairs if not search.found.keys() & set(pair)]
    above = {high: [low for low, other in free if other == high] for _, high in free}
    below = {low: [high for other, high in free if other == low] for low, _ in free}
    sides = [(name, others, False) for name, others in above.items()]
    sides += [(name, others, True) for name, others in below.items()]
    held = {name for _, others, _ in sides if len(others) > 1 for name in others}
    for name, others, is_below in sorted(sides, key=lambda side: -len(side[1])):
        if len(others) < 2 or name in held or name in search.found:
            continue
        asked = min(tests[(name, other) if is_below else (other, name)] for other in others)
        tree = extreme("min" if is_below else "max", others)
        relation = shifted(search, Relation("order", name, tree, "checked", 1.0, asked, below=is_below))
        if relation is not None:
            search.add(relation)


def _roots(search: Search, name: str) -> set[str]:
    """The columns that are learnt, of those it is computed from."""
    if name not in search.found:
        return {name}
    made = search.found[name]
    own = {name} if made.mode == "shifted" else set()  # the distance is learnt
    return own | {root for source in made.sources for root in _roots(search, source)}


def _tests(search: Search, low: str, high: str) -> int:
    """Rows that would break the order if the columns did not depend on each other; 0 if one does break it."""
    small, large = search.cells[low], search.cells[high]
    there = np.isfinite(small) & np.isfinite(large)
    small, large = small[there], large[there]
    if len(small) < TESTS or (small > large).any() or (small == large).all():
        return 0
    return int(np.searchsorted(np.sort(large), small).mean())


def _relation(search: Search, low: str, high: str, tests: int) -> Relation:
    relation = Relation("order", high, column(low), "checked", 1.0, tests)
    learnt = shifted(search, relation)
    if learnt is not None:
        search.add(learnt)
        return learnt
    gap = search.cells[high] - search.cells[low]
    return relation.changed(strict=bool(gap[np.isfinite(gap)].min() > 0))


def shifted(search: Search, relation: Relation) -> Relation | None:
    """The same with the distance learnt; None where the target must not hang on the others, or it says little."""
    target, sources = relation.target, relation.sources
    if target in search.found or target in search.stay or any(search.depends(name, target) for name in sources):
        return None
    if any(is_zoned(search.schema[name]) for name in relation.columns) or not search.schema[target].is_numeric:
        return None
    if any((search.missing[name] & ~search.missing[target]).any() for name in sources):
        return None
    whole, made = search.cells[target], worked_out(relation.tree, search.cells)
    there = np.isfinite(whole) & np.isfinite(made)
    whole, gap = whole[there], (whole - made)[there]
    is_date = search.schema[target].type == "datetime"
    if not is_date:
        distinct = len(np.unique(whole))
        spreads = np.subtract(*np.quantile(gap, [0.75, 0.25])), np.subtract(*np.quantile(whole, [0.75, 0.25]))
        if distinct < VARIED * len(gap) or spreads[0] > TIGHT * spreads[1] or len(gap) < 0.5 * search.rows:
            return None
    elif not _stays_in_place(whole, made[there], gap):
        return None
    step = next((step for step in STEPS if np.abs(gap / step - np.round(gap / step)).max() < 1e-4), 0.0)
    return relation.changed(mode="shifted", strict=bool(np.abs(gap).min() > 0), step=step if is_date else 0.0)


def _stays_in_place(dates: np.ndarray, base: np.ndarray, gap: np.ndarray) -> bool:
    """Whether dates that keep to few places in the calendar still do where the distance is that of another row.

    A month's last day, or nine o'clock, is not found again from some day and a number of days drawn for it.
    """
    drawn = base + np.random.default_rng(0).permutation(gap)
    for name, most in MOST_PLACES.items():
        places = np.unique(_place(dates, name))
        if len(places) <= min(most, len(dates) / ROWS_EACH):
            if np.mean(~np.isin(_place(drawn, name), places)) > STRAY:
                return False
    return True


def _place(days: np.ndarray, name: str) -> np.ndarray:
    """Of dates in days since 1970: the second of the day, or of whole days a number within week or month."""
    seconds = np.round(days * DAY).astype(np.int64)
    if name == "time":
        return np.asarray(seconds % int(DAY))
    stamps = pd.DatetimeIndex((seconds // int(DAY)).astype("datetime64[D]"))
    if name == "weekday":
        return stamps.day_of_week.to_numpy()
    return stamps.day.to_numpy() if name == "day" else (stamps + pd.Timedelta(days=1)).day.to_numpy()
