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
            search.add(_distance(search, forms, start, end, low))


def _distance(search: Search, forms: dict[str, str], start: str, end: str, low: float) -> Relation:
    resolution = min(_step(search, end, forms), _step(search, start, forms))  # 0: finer than seconds
    tree = ["clock", forms[end], resolution, column(start), forms[start], 0.0, SPANS["minute"], low]
    step = resolution / SPANS["second"]
    return Relation("distance", end, tree, "shifted", 1.0, search.varied(end), step=step)


def clock_distance(search: Search, start: str, end: str) -> Relation:
    """That a time of day is learnt as how long after another one it is; raises `ValueError` where it cannot be."""
    forms = _told_forms(search, start, end)
    if not search.may_shift(end, [start]):
        raise ValueError(f"has rows with {end} and without {start}, whose distance is not known; leave it out")
    passed = _elapsed(search, forms, start, end, np.arange(search.rows))
    return _distance(search, forms, start, end, _narrowest(passed[np.isfinite(passed)])[0])


def clock_later(search: Search, end: str, start: str, span: str, per: float) -> Tree:
    """A time of day that is so much later than another, or earlier if `per` is below 0; see `find_clocks`."""
    return _later(search, _told_forms(search, start, end), end, start, span, per)


def clock_passed(search: Search, span: str, start: str, end: str, per: float) -> Tree:
    """What lies between two times of day; raises `ValueError` where it is a day or more, for that they do not tell."""
    if not _counted(search, span, per)[1]:
        raise ValueError(f"is not told by the times: values of {span} are a day or more apart; solve it for a time")
    return _passed(search, _told_forms(search, start, end), span, start, end, per)


def _told_forms(search: Search, *names: str) -> dict[str, str]:
    """How columns that are said to hold times of day write them; raises `ValueError` where one holds none."""
    forms: dict[str, str] = {}
    for name in names:
        field, values = search.schema[name], search.cells[name]
        there = values[np.isfinite(values)]
        if is_clock(field):
            forms[name] = "time"
        elif field.type == "integer" and 0 <= there.min() <= there.max() <= 2400 and (there % 100 < 60).all():
            forms[name] = "hhmm24" if there.max() == 2400 else "hhmm"
        else:
            raise ValueError(f"goes by the clock of {name}, which holds no times of day such as 23:50 or 2350")
    return forms


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
    trees = [
        (end, _later(search, forms, end, start, span, per)),
        (start, _later(search, forms, start, end, span, -per)),
    ]
    if _counted(search, span, per)[1]:
        trees.append((span, _passed(search, forms, span, start, end, per)))
    return trees


def _counted(search: Search, span: str, per: float) -> tuple[float, bool]:
    """The least of what elapses, in days, and whether all of it lies within a day of that: else days are not told."""
    counted = search.cells[span] / per
    counted = counted[np.isfinite(counted)]
    return float(counted.min()), bool(np.ptp(counted) < 1)


def _later(search: Search, forms: dict[str, str], end: str, start: str, span: str, per: float) -> Tree:
    low, is_told = _counted(search, span, per)
    step = _step(search, end, forms)
    return ["clock", forms[end], step, column(start), forms[start], column(span), per, low if is_told else None]


def _passed(search: Search, forms: dict[str, str], span: str, start: str, end: str, per: float) -> Tree:
    return ["elapsed", column(start), forms[start], column(end), forms[end], per, _counted(search, span, per)[0]]


def _step(search: Search, name: str, forms: dict[str, str]) -> float:
    """The resolution of times in seconds; 0 below a second."""
    if forms[name] != "time":
        return 60.0
    seconds = search.cells[name][np.isfinite(search.cells[name])] * SPANS["second"]
    return next((step for step in (60.0, 1.0) if (np.abs(seconds / step - np.round(seconds / step)) < 1e-4).all()), 0.0)
