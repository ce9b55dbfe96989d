"""Orders of two columns: part <= whole, start < end."""

from __future__ import annotations

import numpy as np

from datakiln.codecs.tables.relations.calendar import DAY
from datakiln.codecs.tables.relations.cells import is_clock, is_date, is_zoned
from datakiln.codecs.tables.relations.expressions import column
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import LOOK, TESTS, Search

MOST_COLUMNS = 200
MOST = 200  # orders that are kept, those that say most
TIGHT = 0.5  # of the larger column's spread: how far it is above the smaller one then says most of it
VARIED = 0.2  # distinct values a row, in a column of numbers that may become a distance
STEPS = (1.0, 3_600 / DAY, 60 / DAY, 1 / DAY)  # days, hours, minutes, seconds


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
    for i, j in zip(*np.nonzero(never & ~implied), strict=True):
        low, high = names[i], names[j]
        is_computed = low in search.found or high in search.found
        one, two = _roots(search, low), _roots(search, high)
        if not (is_computed and (one <= two or two <= one)):  # else it follows from how the one is computed
            search.orders.append(_relation(search, low, high, int(tests[i, j])))


def _roots(search: Search, name: str) -> set[str]:
    """The columns that are learnt, of those it is computed from."""
    if name not in search.found:
        return {name}
    return {root for source in search.found[name].sources for root in _roots(search, source)}


def _tests(search: Search, low: str, high: str) -> int:
    """Rows that would break the order if the columns did not depend on each other; 0 if one does break it."""
    small, large = search.cells[low], search.cells[high]
    there = np.isfinite(small) & np.isfinite(large)
    small, large = small[there], large[there]
    if len(small) < TESTS or (small > large).any() or (small == large).all():
        return 0
    return int(np.searchsorted(np.sort(large), small).mean())


def _relation(search: Search, low: str, high: str, tests: int) -> Relation:
    small, large = search.cells[low], search.cells[high]
    there = np.isfinite(small) & np.isfinite(large)
    gap = large[there] - small[there]
    strict = bool(gap.min() > 0)
    relation = Relation("order", high, column(low), "checked", 1.0, tests, strict)
    if high in search.found or high in search.stay or search.depends(low, high):
        return relation
    if any(is_zoned(search.schema[name]) for name in (low, high)) or not search.schema[high].is_numeric:
        return relation
    if (search.missing[low] & ~search.missing[high]).any():
        return relation
    is_date = search.schema[high].type == "datetime"
    if not is_date:
        distinct = len(np.unique(large[there]))
        spreads = np.subtract(*np.quantile(gap, [0.75, 0.25])), np.subtract(*np.quantile(large[there], [0.75, 0.25]))
        if distinct < VARIED * len(gap) or spreads[0] > TIGHT * spreads[1] or len(gap) < 0.5 * search.rows:
            return relation
    step = next((step for step in STEPS if np.abs(gap / step - np.round(gap / step)).max() < 1e-4), 0.0)
    shifted = relation.changed(mode="shifted", step=step if is_date else 0.0)
    search.add(shifted)
    return shifted
