"""Relations of columns that hold in real training rows, and in how many synthetic rows they hold too.

A relation is found in a sample of training rows: two columns that are equal, one that is never more than another, one
that is a multiple of another plus a constant, one that is the sum or the product of two others, a category that goes
with each of another column's: city -> country. It counts where it holds in more rows than chance makes, which is
measured with one of its columns shuffled: two columns of few values are often equal, and a column of small numbers is
below one of large numbers, without any relation. A relation may hold in a part of the rows only: payments that equal an
earlier bill do.

The metric needs of a relation no more than its name and the two shares (`Shares`), whoever has found it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.base import EvalData, Figure, MetricError, metric, worst_first
from datakiln.metrics.tables.columns import Floats, Ints, Tables, tables
from datakiln.metrics.tables.derived import (
    TOLERANCE,
    Quantities,
    equal_shares,
    few_for_pairs,
    is_equal,
    rank_correlations,
)
from datakiln.schema import Schema

FINDING_ROWS = 2_000
BEYOND = 0.04  # of the rows, more than chance makes
NEARBY = 1e-3  # of the range: how far from the rows a line through pairs of them may be before it is fitted
LINES = 500  # pairs of columns that lines are laid through
FEW = 50  # training rows: what holds in a few of fewer may be chance
# share of the rows in which an equality or a sum, a line, an order must hold
PARTLY, MOSTLY, NEARLY = 0.05, 0.9, 0.98
TRIPLES_OF = 40  # columns: of more, only pairs are looked at
SLOPES = 400  # pairs of rows that a line is laid through
MOST = 60  # relations
Holds = Callable[[Floats], NDArray[np.float64]]  # quantities to 1, 0, or NaN where a cell is missing


@dataclass(frozen=True)
class Relation:
    """What holds in some or all rows.

    Attributes:
        name: As a person would write it, "start <= end".
        holds: Whether it does in each row of `Quantities`.
    """

    name: str
    holds: Holds

    def share(self, quantities: Floats) -> float:
        """Share of the rows that have all of its cells; NaN where none has."""
        found = self.holds(quantities)
        there = ~np.isnan(found)
        return float(found[there].mean()) if there.any() else float("nan")


@dataclass(frozen=True)
class Shares:
    """In how many rows a relation holds: its name, the share of the real rows and that of the synthetic ones."""

    name: str
    real: float
    synthetic: float

    @property
    def kept(self) -> float:
        """1 where both shares are the same, 0 where one is 0: the smaller share over the larger one."""
        most = max(self.real, self.synthetic)
        return min(self.real, self.synthetic) / most if most > 0 else 1.0


@metric("fidelity/relations", "fidelity/relations_real", "fidelity/relations_synthetic")
def relations(data: EvalData) -> list[Figure]:
    """How well relations of columns are kept, on average: the smaller share of rows over the larger one.

    Beside it, the mean share of rows in which they hold, of training and of synthetic rows; all three in parts by
    relation. A relation that holds more often than in real rows is no better kept than one that holds less often.

    Raises:
        MetricError: Too few training rows, or no relation in them.
    """
    t = tables(data)
    if "relations" not in data.cache:
        if len(t.train) < FEW:
            raise MetricError(f"{len(t.train)} training rows are fewer than the {FEW} that relations are looked for in")
        data.cache["relations"] = find(data.schema, t, data.seed)
    quantities, found = data.cache["relations"]
    real, synthetic = quantities(t.train), quantities(t.synthetic)
    shares = [Shares(r.name, r.share(real), r.share(synthetic)) for r in found] + functions(t, data.seed)
    return figures_of([s for s in shares if not np.isnan(s.real)], len(t.synthetic))


def functions(t: Tables, seed: int) -> list[Shares]:
    """Categories that follow from those of another column: of each the one that most training rows have beside it.

    In a row of a category that no training row has nothing is said.
    """
    rng = np.random.default_rng([seed, 17])
    few = t.train.sample(FINDING_ROWS, rng)
    found: list[Shares] = []
    shuffle = rng.permutation(len(few))
    for i, j in itertools.permutations(range(len(t.choices)), 2):
        if not 2 <= t.sizes[j] <= t.sizes[i] <= FINDING_ROWS or len(found) >= MOST:
            continue
        if t.sizes[i] == t.sizes[j] and f"{t.choices[j]} -> {t.choices[i]}" in {shares.name for shares in found}:
            continue  # another name for the same
        keys, made = few.codes[:, i], few.codes[:, j]
        chance = _follows(keys, made[shuffle], _beside(keys, made[shuffle], t.sizes[i]))
        repeated = len(keys) - len(np.unique(keys))
        if not repeated * (1.0 - chance) >= FEW or _follows(keys, made, _beside(keys, made, t.sizes[i])) < NEARLY:
            continue
        usual = _beside(t.train.codes[:, i], t.train.codes[:, j], t.sizes[i])
        real, synthetic = (_follows(part.codes[:, i], part.codes[:, j], usual) for part in (t.train, t.synthetic))
        if real >= NEARLY:
            found.append(Shares(f"{t.choices[i]} -> {t.choices[j]}", real, synthetic))
    return found


def _beside(keys: Ints, made: Ints, size: int) -> Ints:
    """For each key the category that most rows have beside it, -1 for a key without any."""
    there = (keys >= 0) & (made >= 0)
    pairs, counts = np.unique(np.stack([keys[there], made[there]]), axis=1, return_counts=True)
    usual = np.full(size, -1)
    order = np.argsort(counts, kind="stable")
    usual[pairs[0][order]] = pairs[1][order]  # the most frequent comes last, and stays
    return usual


def _follows(keys: Ints, made: Ints, usual: Ints) -> float:
    """Share of the rows with both cells, and a known key, that have what goes with it."""
    there = (keys >= 0) & (made >= 0)
    there &= usual[np.where(there, keys, 0)] >= 0
    return float((made[there] == usual[keys[there]]).mean()) if there.any() else float("nan")


def figures_of(shares: Sequence[Shares], n: int) -> list[Figure]:
    """The figures of relations, whoever has found them; one that no synthetic row has the cells for holds in none."""
    if not shares:
        raise MetricError("no relation of columns holds in the training rows beyond chance")
    shares = [Shares(s.name, s.real, 0.0 if np.isnan(s.synthetic) else s.synthetic) for s in shares]
    kept = worst_first({s.name: s.kept for s in shares}, "higher")
    real, synthetic = ({s.name: getattr(s, side) for s in shares} for side in ("real", "synthetic"))
    return [
        Figure("fidelity/relations", float(np.mean(list(kept.values()))), "higher", detail=kept, n=n),
        Figure("fidelity/relations_real", float(np.mean(list(real.values()))), "none", detail=real, n=n),
        Figure("fidelity/relations_synthetic", float(np.mean(list(synthetic.values()))), "none", detail=synthetic, n=n),
    ]


def find(schema: Schema, t: Tables, seed: int) -> tuple[Quantities, list[Relation]]:
    """Relations in the first table, those that hold most beyond chance first, and what they are made from."""
    rng = np.random.default_rng([seed, 13])
    few = t.train.sample(FINDING_ROWS, rng)
    quantities = Quantities.of(schema, t.numeric, few)
    grid = np.array([_half_step(schema, name) for name in t.numeric] + [0.0] * (len(quantities.names) - len(t.numeric)))
    finder = _Finder(quantities, grid, quantities(few), rng)
    finder.pairs()
    finder.triples()
    found = sorted(finder.found, key=lambda item: -item[0])[:MOST]
    return quantities, [relation for _, relation in found]


def _half_step(schema: Schema, name: str) -> float:
    """How far rounding moves a number of that column: half of its last decimal."""
    decimals = schema[name].decimals
    return 0.0 if decimals is None or schema[name].type == "datetime" else 0.5 * 10.0**-decimals


class _Finder:
    """Tries relations on a few rows and keeps those that hold beyond chance, with how far beyond."""

    def __init__(self, quantities: Quantities, grid: Floats, values: Floats, rng: np.random.Generator) -> None:
        self.names, self.kinds, self.may_pair = quantities.names, quantities.kinds, quantities.may_pair
        self.grid, self.values, self.rng = grid, values, rng
        self.shuffle = rng.permutation(len(values))
        varied = [np.unique(column[~np.isnan(column)]) for column in values.T]
        self.distinct = [len(column) for column in varied]
        self.found: list[tuple[float, Relation]] = []
        self.equal: set[tuple[int, int]] = set()

    def pairs(self) -> None:
        """Equality, order and lines, of the pairs that look like it."""
        values = few_for_pairs(self.values)
        there = (~np.isnan(values)).astype(np.float64)
        rows = np.maximum(there.T @ there, 1.0)
        equal = equal_shares(values) * len(values) / rows
        below = np.array([(column[:, None] <= values).sum(axis=0) for column in values.T]) / rows
        together = np.abs(rank_correlations(values))
        varies = np.array(self.distinct) > 1
        may = np.triu(self.may_pair & np.outer(varies, varies), 1)
        columns = may & ~np.array([kind == "part" for kind in self.kinds], dtype=bool)
        same = np.zeros_like(may)
        for i, j in _places(may & (equal >= 0.5 * PARTLY)):
            share = self._try(f"{self.names[i]} = {self.names[j]}", _Equal(i, j), (j,), PARTLY, is_exact=True)
            same[i, j] = share >= 0.5
        nearly = 2.0 * NEARLY - 1.0  # the rows that are looked at may have a little less than all
        for i, j in _places(columns & ~same & (np.maximum(below, below.T) >= nearly)):
            self._order(i, j)
        likely = np.where(columns & ~same, together, 0.0)
        for i, j in sorted(_places(likely >= 0.3), key=lambda pair: -likely[pair])[:LINES]:
            self._line(i, j)

    def triples(self) -> None:
        """Sums and products, of the columns of a table that has not too many."""
        at = [i for i, kind in enumerate(self.kinds) if kind == "number" and self.distinct[i] > 2]
        if not 3 <= len(at) <= TRIPLES_OF:
            return
        values, names = self.values, self.names
        for i, j in itertools.combinations(at, 2):
            a, b = values[:, i], values[:, j]
            others = [k for k in at if k not in (i, j)]
            for form, sign in ((_Sum, "+"), (_Product, "*")):
                made = a + b if form is _Sum else a * b
                near = np.abs(values[:, others] - made[:, None])
                slack = self.grid[others] if form is _Product else TOLERANCE * (np.abs(a) + np.abs(b))[:, None]
                counts = (near <= slack + TOLERANCE * np.abs(made)[:, None]).mean(axis=0)
                for k in np.array(others)[counts >= PARTLY].tolist():
                    self._try(
                        f"{names[k]} = {names[i]} {sign} {names[j]}",
                        form(i, j, k, self.grid[k]),
                        (k, i, j),
                        PARTLY,
                        is_exact=True,
                    )

    def _order(self, i: int, j: int) -> None:
        for low, high in ((i, j), (j, i)):
            if self._try(f"{self.names[low]} <= {self.names[high]}", _Order(low, high), (high,), NEARLY):
                return

    def _line(self, i: int, j: int) -> None:
        if min(self.distinct[i], self.distinct[j]) < 10:
            return
        for a, b in ((i, j), (j, i)):
            line = self._laid(a, b)
            if line is None:
                continue
            slope, offset = line
            form = _Line(a, b, slope, offset, self.grid[b])
            if self._try(
                f"{self.names[b]} = {_written(slope, offset, self.names[a])}", form, (b,), MOSTLY, is_exact=True
            ):
                return

    def _laid(self, i: int, j: int) -> tuple[float, float] | None:
        """Slope and offset of a line that nearly all rows lie on, if there is one."""
        rows = np.flatnonzero(~np.isnan(self.values[:, [i, j]]).any(axis=1))
        if len(rows) < FEW:
            return None
        x, y = self.values[rows, i], self.values[rows, j]
        one, other = self.rng.integers(len(rows), size=(2, SLOPES))
        steps = x[one] - x[other]
        slopes = ((y[one] - y[other])[steps != 0]) / steps[steps != 0]
        if len(slopes) < SLOPES // 4:
            return None
        slope = float(np.median(slopes))
        offset = float(np.median(y - slope * x))
        if _is_near(y, slope * x + offset, self.grid[j] + NEARBY * float(np.ptp(y))).mean() < MOSTLY:
            return None
        away = np.abs(y - slope * x - offset)
        on = away <= np.quantile(away, 0.5)
        if slope == 0.0 or np.ptp(x[on]) == 0.0:
            return None
        slope = float(np.polyfit(x[on] - x[on].mean(), y[on], 1)[0])
        return _simplest(slope, x, y, self.grid[j])

    def _try(self, name: str, holds: Holds, moved: tuple[int, ...], least: float, is_exact: bool = False) -> float:
        """Keeps a relation that holds in enough rows, and beyond chance; returns the share, 0 if it is not kept.

        Arguments:
            name: Of the relation.
            holds: The relation.
            moved: The columns that are shuffled, one at a time, to see what chance makes.
            least: Share of the rows in which it must hold.
            is_exact: Whether a step of the first one's last decimal breaks it: what holds a step off then is chance.
        """
        relation = Relation(name, holds)
        share = relation.share(self.values)
        if np.isnan(share) or share < least:
            return 0.0
        step, chances = 2.0 * self.grid[moved[0]] * is_exact, []
        others = [(k, self.values[self.shuffle, k]) for k in moved]
        others += [(moved[0], self.values[:, moved[0]] + step * k) for k in (-2, -1, 1, 2) if step]
        for k, column in others:
            mixed = self.values.copy()
            mixed[:, k] = column
            chances.append(relation.share(mixed))
        chance, n = float(np.nanmax([0.0, *chances])), len(self.values)
        reach = 4.0 * np.sqrt(max(chance * (1.0 - chance), 1.0 / n) / n)
        if share - chance < max(reach, BEYOND):
            return 0.0
        self.found.append((share - chance, relation))
        return share


@dataclass(frozen=True)
class _Equal:
    first: int
    second: int

    def __call__(self, q: Floats) -> Floats:
        return _told(is_equal(q[:, self.first], q[:, self.second]), q[:, self.first], q[:, self.second])


@dataclass(frozen=True)
class _Order:
    low: int
    high: int

    def __call__(self, q: Floats) -> Floats:
        low, high = q[:, self.low], q[:, self.high]
        return _told((low <= high) | is_equal(low, high), low, high)


@dataclass(frozen=True)
class _Line:
    first: int
    second: int
    slope: float
    offset: float
    step: float

    def __call__(self, q: Floats) -> Floats:
        x, y = q[:, self.first], q[:, self.second]
        return _told(_is_near(y, self.slope * x + self.offset, self.step), x, y)


@dataclass(frozen=True)
class _Sum:
    first: int
    second: int
    total: int
    step: float

    def __call__(self, q: Floats) -> Floats:
        a, b, c = q[:, self.first], q[:, self.second], q[:, self.total]
        # with a 0 among them it says only that two are equal
        holds = (np.abs(c - a - b) <= TOLERANCE * (np.abs(a) + np.abs(b) + np.abs(c))) & (a != 0) & (b != 0) & (c != 0)
        return _told(holds, a, b, c)


@dataclass(frozen=True)
class _Product:
    first: int
    second: int
    product: int
    step: float

    def __call__(self, q: Floats) -> Floats:
        a, b, c = q[:, self.first], q[:, self.second], q[:, self.product]
        ones = (np.abs(a) == 1) | (np.abs(b) == 1)  # says only that two are equal
        return _told(_is_near(c, a * b, self.step) & (a != 0) & (b != 0) & ~ones, a, b, c)


def _is_near(y: Floats, made: Floats, step: float) -> NDArray[np.bool_]:
    """Whether a number is another one, rounded to its decimals."""
    return np.asarray(np.abs(y - made) <= step * (1.0 + 1e-6) + 10.0 * TOLERANCE * np.abs(made))


def _places(where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    first, second = np.nonzero(where)
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _told(holds: NDArray[np.bool_], *cells: Floats) -> Floats:
    return np.where(np.isnan(np.stack(cells)).any(axis=0), np.nan, holds)


def _simplest(slope: float, x: Floats, y: Floats, step: float) -> tuple[float, float] | None:
    """The line of the fewest digits on which as many rows lie, or more; None where fewer than `MOSTLY` do."""
    best, most = None, MOSTLY - 1.0 / len(x)
    for digits in range(12, 0, -1):
        short = float(f"{slope:.{digits}g}")
        middle = float(np.median(y - short * x))
        for places in range(digits, -1, -1):
            offset = float(f"{middle:.{places}g}") if places else 0.0
            share = float(_is_near(y, short * x + offset, step).mean())
            if share >= most:
                best, most = (short, offset), share
    return best


def _written(slope: float, offset: float, name: str) -> str:
    times = name if slope == 1.0 else f"-{name}" if slope == -1.0 else f"{slope:.6g} {name}"
    if offset == 0.0:
        return times
    return f"{times} {'+' if offset > 0 else '-'} {abs(offset):.6g}"
