"""Sums, differences, copies, offsets and shares of a whole: columns that others add up to.

Columns are taken one by one into an orthogonal basis (Gram-Schmidt, each twice). One that the basis reaches within its
rounding depends on the columns in it, by weights that are unique, since these do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.linalg import solve_triangular

from datakiln.codecs.tables.relations.cells import is_date, is_zoned, tolerance
from datakiln.codecs.tables.relations.expressions import SPANS, Tree, weighted_sum
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import TESTS, Search, short_forms, shortest_factor

ROWS = 2000
DEPENDENT = 1e-6  # of a column's length that is left: less is the rounding of floats
MOST_SOURCES = 40


def find_linear(search: Search) -> None:
    """Adds what it finds to the search."""
    names = [
        name
        for name in search.cells
        if not is_zoned(search.schema[name]) and search.varied(name) >= TESTS and np.ptp(_there(search, name)) > 0
    ]
    names.sort(key=lambda name: (name not in search.found, search.missing[name].sum(), name not in search.stay))
    kept: list[str] = []
    rows = np.arange(search.rows)
    basis = _Basis(search, kept, search.order[:ROWS])
    for name in names:
        left = rows[~search.missing[name][rows]]
        if len(left) < 2 * len(kept) + TESTS:
            _find_pair(search, name, kept)
            continue
        if len(left) < len(rows):  # the basis is worked out again for the rows that are whole
            rows = left
            whole = np.isin(search.order, rows)
            basis = _Basis(search, kept, search.order[whole][:ROWS])
        rest, weights = basis.rest(name)
        field = search.schema[name]
        near = 4 * tolerance(field) + DEPENDENT * search.spread(name)
        relation = _relation(search, name, kept, weights, basis) if rest <= near and kept else None
        if relation is None and kept and basis.length(name) and rest <= 0.3 * basis.length(name):
            relation = _trimmed(search, name, kept, basis)
        if relation is not None:
            search.add(relation)
            if relation.target != name and relation.is_exact:
                kept[kept.index(relation.target)] = name  # what the basis reaches stays the same
                basis = _Basis(search, kept, basis.rows)
        if rest > DEPENDENT * basis.length(name) and name not in kept:
            kept.append(name)
            basis = basis.with_column(name)


def _there(search: Search, name: str) -> np.ndarray:
    return search.cells[name][np.isfinite(search.cells[name])]


class _Basis:
    """An orthonormal basis of what columns reach, constants left out."""

    def __init__(self, search: Search, names: list[str], rows: np.ndarray) -> None:
        self.search, self.names, self.rows = search, list(names), rows
        matrix = np.stack([self.column(name) for name in names], axis=1) if names else np.zeros((len(rows), 0))
        self.q, self.r = np.linalg.qr(matrix)

    def column(self, name: str) -> np.ndarray:
        values = self.search.cells[name][self.rows]
        return (values - values.mean()) / self.search.spread(name)

    def length(self, name: str) -> float:
        """Root mean square of the column around its mean."""
        return float(np.sqrt(np.mean(self.column(name) ** 2))) * self.search.spread(name)

    def rest(self, name: str) -> tuple[float, np.ndarray]:
        """Root mean square of what the basis does not reach, in the column's unit, and the weights of the basis."""
        values = self.column(name)
        first = self.q.T @ values
        left = values - self.q @ first
        second = self.q.T @ left
        left = left - self.q @ second
        is_whole = bool((np.abs(np.diag(self.r)) > 0).all()) and np.isfinite(self.r).all()
        if not (is_whole and np.isfinite(left).all()):
            return np.inf, np.zeros(len(self.names))
        weights = solve_triangular(self.r, first + second) if self.names else np.zeros(0)
        scale = np.array([self.search.spread(name) / self.search.spread(other) for other in self.names])
        return float(np.sqrt(np.mean(left**2))) * self.search.spread(name), weights * scale

    def with_column(self, name: str) -> _Basis:
        """The basis with one more column."""
        values = self.column(name)
        first = self.q.T @ values
        left = values - self.q @ first
        second = self.q.T @ left
        left = left - self.q @ second
        length = float(np.sqrt(left @ left))
        wider = _Basis(self.search, [], self.rows)
        wider.names = [*self.names, name]
        wider.q = np.concatenate([self.q, left[:, None] / length], axis=1)
        wider.r = np.block(
            [[self.r, (first + second)[:, None]], [np.zeros((1, len(self.names))), np.array([[length]])]]
        )
        return wider


def _relation(search: Search, name: str, kept: list[str], weights: np.ndarray, basis: _Basis) -> Relation | None:
    """The relation that these weights stand for, with short numbers, solved for the column that is best computed.

    Of those whose every value the others can give: one that stays in range whatever the others are, as a sum of
    positive parts does, else the last of the table.
    """
    reach = np.abs(weights) * np.array([search.spread(other) for other in kept])
    for least in (2 * tolerance(search.schema[name]), 0.05 * tolerance(search.schema[name])):
        heavy = reach > least + 1e-7 * search.spread(name)
        sources = {other: float(w) for other, w, is_heavy in zip(kept, weights, heavy, strict=True) if is_heavy}
        if not 0 < len(sources) <= MOST_SOURCES or not _of_one_kind(search, name, sources):
            continue
        forms = [(name, sources)]
        for target, own in sources.items():
            others = {other: -weight / own for other, weight in sources.items() if other != target}
            forms.append((target, {**others, name: 1 / own}))
        for exact in (True, False):
            made = [_shortest(search, target, own, basis.rows, exact) for target, own in forms]
            free = [(_rank(search, *form), form) for form in made if form is not None]
            free = [form for form in free if search.may_compute(form[1][0], form[1][1])]
            if free:
                target, short, constant = min(free, key=lambda form: form[0])[1]
                return search.formula(target, _tree(search, target, short, constant), exact)
    return None


def _of_one_kind(search: Search, name: str, weights: Mapping[str, float]) -> bool:
    """Whether dates are added up to a date, or subtracted to a number or time."""
    dates = sum(weight for other, weight in weights.items() if is_date(search.schema[other]))
    return abs(dates - is_date(search.schema[name])) < 1e-6


def _shortest(
    search: Search, target: str, weights: Mapping[str, float], rows: np.ndarray, exact: bool
) -> tuple[str, dict[str, float], float] | None:
    """Target, weights and constant in the fewest digits that hold in the rows."""
    names, given = list(weights), np.array(list(weights.values()))
    width, forms = tolerance(search.schema[target]), short_forms(given)
    if len(names) == 1 and width:
        factor = shortest_factor(search.cells[names[0]], search.cells[target], width)
        forms = forms if factor is None else [*forms[:5], np.array([factor]), *forms[5:]]
    for form in forms:
        if not form.all() or (form is given and len(names) > 1):
            continue
        own = dict(zip(names, form.tolist(), strict=True))
        left = search.cells[target][rows] - sum(weight * search.cells[other][rows] for other, weight in own.items())
        left = left[np.isfinite(left)]
        if not len(left):
            return None
        tries = [float(np.median(left)), float(left.max() + left.min()) / 2]
        short = [round(value, digits) for digits in (0, 1, 2, 3, 4, 6, 9) for value in tries]
        if search.schema[target].type == "datetime":
            short = [round(value * size) / size for size in SPANS.values() for value in tries] + short
        for constant in dict.fromkeys(short):
            if abs(np.median(left) - constant) > 2 * width + 1e-6 * search.spread(target):
                continue
            if search.formula(target, _tree(search, target, own, constant), exact) is not None:
                return target, own, constant
    return None


def _tree(search: Search, target: str, weights: Mapping[str, float], constant: float) -> Tree:
    return weighted_sum(weights, constant, in_time=search.schema[target].type == "datetime")


def _rank(
    search: Search, target: str, weights: Mapping[str, float], constant: float
) -> tuple[bool, bool, bool, bool, int]:
    unit = 2 * tolerance(search.schema[target])
    off_grid = unit > 0 and any(
        _is_off(abs(weight) * 2 * tolerance(search.schema[name]), unit) for name, weight in weights.items()
    )
    is_safe = all(weight > 0 and float(np.nanmin(search.cells[name])) >= 0 for name, weight in weights.items())
    place = -search.place[target]
    return (target in search.stay, off_grid, not (is_safe and constant >= 0), constant != 0, place)


def _is_off(step: float, unit: float) -> bool:
    """Whether steps of one size lead off the grid of another."""
    return step == 0 or abs(step / unit - round(step / unit)) > 1e-3 or round(step / unit) == 0


def _trimmed(search: Search, name: str, kept: list[str], basis: _Basis) -> Relation | None:
    """Again without the rows that fit worst, in case they are exceptions to what holds in the others."""
    if len(kept) > MOST_SOURCES:
        return None
    x = np.stack([basis.column(other) for other in kept], axis=1)
    y, use = basis.column(name), np.ones(len(basis.rows), dtype=bool)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    weights = np.zeros(x.shape[1])
    for _ in range(8):
        if use.sum() < 2 * x.shape[1] + TESTS:
            return None
        weights = np.linalg.lstsq(x[use], y[use], rcond=None)[0]
        far = np.abs(y - x @ weights)
        use = far <= max(np.quantile(far, 0.8), 1e-12)
    rest = float(np.median(far)) * search.spread(name)
    if rest > 4 * tolerance(search.schema[name]) + DEPENDENT * search.spread(name):
        return None
    scale = np.array([search.spread(name) / search.spread(other) for other in kept])
    return _relation(search, name, kept, weights[:-1] * scale, basis)


def _find_pair(search: Search, name: str, kept: list[str]) -> None:
    """A column that is seldom there together with all others: against each of them alone."""
    for other in kept:
        both = np.flatnonzero(np.isfinite(search.cells[name]) & np.isfinite(search.cells[other]))[:ROWS]
        if len(both) < TESTS or not search.spread(other):
            continue
        basis = _Basis(search, [other], both)
        rest, weights = basis.rest(name)
        if rest > 4 * tolerance(search.schema[name]) + DEPENDENT * search.spread(name):
            continue
        relation = _relation(search, name, [other], weights, basis)
        if relation is not None:
            search.add(relation)
            return
