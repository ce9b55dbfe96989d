"""Times of day that go round: arrival = departure + minutes, past midnight too; as 23:50, or as the whole number 2350.

What a time of day and an elapsed time make is known up to whole days, and 59 minutes past an hour are followed by the
next hour: no sum of columns, though it holds in every row.
"""

from __future__ import annotations

import itertools

import numpy as np

from datakiln.codecs.tables.relations.cells import is_clock, is_date
from datakiln.codecs.tables.relations.expressions import SPANS, Tree, column, days_of
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import LOOK, TESTS, Search

MOST_READINGS, MOST_SPANS = 16, 64  # columns of times, and of elapsed times, that are looked at
FIRST = 100  # rows that are tried first
DISTINCT = 20  # different times of a column
TIGHT = 0.5  # of the range of a time's middle half: a distance that varies less tells most of it


def find_clocks(search: Search) -> None:
    """Adds times of day that are another one and an elapsed time, or elapsed times between two of them."""
    forms = _forms(search)
    spans = [name for name in search.cells if name not in forms and _may_be_elapsed(search, name)][:MOST_SPANS]
    made: list[tuple[tuple[bool, ...], Relation]] = []
    for (start, end), span in itertools.product(itertools.permutations(forms, 2), spans):
        per = _unit(search, forms, start, end, span)
        if per is None or _is_a_sum(search, start, end, span, per):
            continue
        for target, tree in _trees(search, forms, start, end, span, per):
            relation = search.formula(target, tree, exact=True)
            if relation is not None:
                rank = (target == span, relation.mode != "computed", target in search.stay, target == start)
                made.append((rank, relation))
    for _, relation in sorted(made, key=lambda one: one[0]):
        is_new = not any({*relation.columns} == {*other.columns} for other in search.found.values())
        if is_new and search.may_compute(relation.target, relation.sources):
            search.add(relation)


def find_distances(search: Search) -> None:
    """Adds times of day of which less is to be learnt as how long after another one they are."""
    forms = _forms(search)
    found = []
    for start, end in itertools.permutations(forms, 2):
        if end in search.stay or not search.may_shift(end, [start]) or not search.may_compute(end, [start]):
            continue
        passed = _elapsed(search, forms, start, end, np.arange(search.rows))
        passed = passed[np.isfinite(passed)]
        if len(passed) < max(TESTS, search.rows / 2):
            continue
        low, spread = _narrowest(passed)
        own = days_of(search.cells[end], forms[end])
        if spread < TIGHT * _narrowest(own[np.isfinite(own)])[1]:
            found.append((round(spread, 6), search.place[start], start, end, low))  # of two alike the later one
    for *_, start, end, low in sorted(found):
        if search.may_compute(end, [start]):
            resolution = min(_step(search, end, forms), _step(search, start, forms))  # 0: finer than seconds
            tree = ["clock", forms[end], resolution, column(start), forms[start], 0.0, SPANS["minute"], low]
            step = resolution / SPANS["second"]
            search.add(Relation("distance", end, tree, "shifted", 1.0, search.varied(end), step=step))


def _narrowest(days: np.ndarray) -> tuple[float, float]:
    """Where to cut the circle of a day so that times hang together, near 0, and the range of their middle half."""
    turns = np.unique(np.round(np.mod(days, 1.0), 6))
    widths = np.diff(turns, append=turns[0] + 1.0)
    cut = float(np.mod(turns[widths.argmax()] + widths.max() / 2, 1.0))
    middle = float(np.median(np.mod(days - cut, 1.0) + cut))
    cut -= float(np.round(middle))
    low, high = np.quantile(np.mod(days - cut, 1.0), [0.25, 0.75])
    return cut, float(high - low)


def _forms(search: Search) -> dict[str, str]:
    """The columns that hold times of day, and how they write them."""
    forms = {name: form for name in search.cells if (form := _form(search, name)) is not None}
    return dict(list(forms.items())[:MOST_READINGS])


def _form(search: Search, name: str) -> str | None:
    """How a column writes times of day: "time", or "hhmm" with midnight as 0 or as 2400; None if it holds none."""
    field, values = search.schema[name], search.cells[name]
    there = values[np.isfinite(values)]
    if len(there) < TESTS or search.distinct(name) < DISTINCT:
        return None
    if is_clock(field):
        return "time"
    if field.type != "integer" or there.min() < 0 or not 100 <= there.max() <= 2400:
        return None
    minutes = np.unique(there % 100)
    if minutes.max() >= 60 or np.isin(minutes, (0, 50)).all():  # prices are in fifties and hundreds, too
        return None
    return "hhmm" if there.max() < 2400 else "hhmm24"


def _may_be_elapsed(search: Search, name: str) -> bool:
    return not is_date(search.schema[name]) and search.varied(name) >= TESTS


def _elapsed(search: Search, forms: dict[str, str], start: str, end: str, rows: np.ndarray) -> np.ndarray:
    return days_of(search.cells[end][rows], forms[end]) - days_of(search.cells[start][rows], forms[start])


def _unit(search: Search, forms: dict[str, str], start: str, end: str, span: str) -> float | None:
    """How many units of the elapsed time are in a day, if it is what lies between two times, up to whole days."""
    for rows in (search.order[:FIRST], search.order[:LOOK]):
        passed = _elapsed(search, forms, start, end, rows)
        counted = search.cells[span][rows]
        there = np.isfinite(passed) & np.isfinite(counted)
        passed, counted = passed[there], counted[there]
        if len(passed) < FIRST // 4:
            return None
        units = [1.0] if is_clock(search.schema[span]) else list(SPANS.values())[1:]
        near = (per for per in units if (np.abs(_rest(passed - counted / per)) <= _rounding(search, span, per)).all())
        found = next(near, None)
        if found is None:
            return None
    return found


def _rest(days: np.ndarray) -> np.ndarray:
    """What is left beside whole days, from -1/2 to 1/2."""
    return days - np.round(days)


def _rounding(search: Search, span: str, per: float) -> float:
    """Half of the last digit of an elapsed time and half a minute, in days: what remains open before all is checked."""
    decimals = search.schema[span].decimals
    return (0.0 if decimals is None else 0.5 * 10.0**-decimals / per) + 0.5 / 1440 + 1e-9


def _is_a_sum(search: Search, start: str, end: str, span: str, per: float) -> bool:
    """Whether the numbers add up as they stand, so that there is nothing that goes round."""
    cells = search.cells
    return bool(np.nanmax(np.abs(cells[end] - cells[start] - cells[span] / per)) < 0.5 / SPANS["second"])


def _trees(
    search: Search, forms: dict[str, str], start: str, end: str, span: str, per: float
) -> list[tuple[str, Tree]]:
    """Each of the three columns as what the others make it."""
    counted = search.cells[span] / per
    counted = counted[np.isfinite(counted)]
    is_told = bool(np.ptp(counted) < 1)  # beyond a day, how many days have passed is not

    def later(target: str, other: str, per: float, low: float) -> tuple[str, Tree]:
        own, step = forms[target], _step(search, target, forms)
        return target, ["clock", own, step, column(other), forms[other], column(span), per, low if is_told else None]

    low, high = float(counted.min()), float(counted.max())
    trees = [later(end, start, per, low), later(start, end, -per, -high)]
    if is_told:
        trees.append((span, ["elapsed", column(start), forms[start], column(end), forms[end], per, low]))
    return trees


def _step(search: Search, name: str, forms: dict[str, str]) -> float:
    """The resolution of times in seconds; 0 below a second."""
    if forms[name] != "time":
        return 60.0
    seconds = search.cells[name][np.isfinite(search.cells[name])] * SPANS["second"]
    return next((step for step in (60.0, 1.0) if (np.abs(seconds / step - np.round(seconds / step)) < 1e-4).all()), 0.0)
