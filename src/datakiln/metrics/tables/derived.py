"""What pairs of numbers and dates show beyond their columns: differences, ratios, equality, and parts of dates.

A tree cuts one column at a time, so that it needs many cuts to see that a payment equals an earlier bill, that a part
is less than the whole, or that a price is a quantity times another; in a column of differences one cut does. There are
too many pairs to take all: at most `PAIRS` are chosen on rows that nobody judges, and of what they make, the features
that tell most are chosen on the rows that a classifier is fitted on.

A derived number is handed on as its place among quantiles, with a place of its own for each quantile's very value:
trees cut it no worse, and neither a spike nor a tail is lost to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.tables.columns import Coded, Floats, Ints
from datakiln.schema import Schema

PAIRS = 200
PAIR_ROWS = 2_000  # rows that pairs are chosen on
PAIR_CELLS = 200_000_000  # comparisons that the choice may cost
EQUAL = 0.01  # share of rows in which two columns must agree for the equality to be a feature of its own
SCREEN_ROWS = 8_000
COARSE, FINE = 15, 126  # quantiles to choose features by, and to hand them on with: 253 places at most
TOLERANCE = 1e-12  # of the larger number: 0.1 + 0.2 is 0.3, and a second is a second in dates

Kind = Literal["number", "date", "part"]
Form = Literal["part", "difference", "ratio", "equal"]
PARTS = ("year", "month", "day", "weekday", "hour", "minute")


def date_parts(seconds: Floats) -> Floats:
    """Year, month, day, weekday (0 is Monday), hour and minute of dates in seconds since 1970, shape (n, 6)."""
    there = ~np.isnan(seconds)
    whole = np.floor(np.where(there, seconds, 0.0)).astype(np.int64)
    days, clock = np.divmod(whole, 86_400)
    months = whole.astype("datetime64[s]").astype("datetime64[M]")
    year, month = np.divmod(months.astype(np.int64), 12)
    day = days - months.astype("datetime64[D]").astype(np.int64)
    found = np.stack([year + 1970, month + 1, day + 1, (days + 3) % 7, clock // 3600, clock % 3600 // 60], axis=1)
    return np.where(there[:, None], found, np.nan)


@dataclass(frozen=True)
class Quantities:
    """The numbers of a table and, after them, the parts of its dates.

    Attributes:
        names: Of the columns and parts.
        kinds: What each is.
        dates: Place of each date among the numbers of `Coded`.
        used: Parts that vary, of each date.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    dates: tuple[int, ...]
    used: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, schema: Schema, numeric: tuple[str, ...], part: Coded) -> Quantities:
        """Those of a table whose numbers are named; parts that do not vary in its rows are left out."""
        dates = tuple(i for i, name in enumerate(numeric) if schema[name].type == "datetime")
        used = []
        for i in dates:
            parts = date_parts(part.numbers[:, i])
            used.append(tuple(k for k, values in enumerate(parts.T) if np.unique(values[~np.isnan(values)]).size > 1))
        names = [f"{PARTS[k]} of {numeric[i]}" for i, parts in zip(dates, used, strict=True) for k in parts]
        kinds: list[Kind] = ["date" if i in dates else "number" for i in range(len(numeric))]
        kinds += ["part"] * len(names)
        return cls((*numeric, *names), tuple(kinds), dates, tuple(used))

    def __call__(self, part: Coded) -> Floats:
        """All of them, shape (n, names)."""
        parts = [date_parts(part.numbers[:, i])[:, used] for i, used in zip(self.dates, self.used, strict=True)]
        return np.concatenate([part.numbers, *parts], axis=1)

    @property
    def may_pair(self) -> NDArray[np.bool_]:
        """Whether the difference of two means anything, shape (names, names)."""
        number, date, part = (
            np.array([kind == k for kind in self.kinds], dtype=bool) for k in ("number", "date", "part")
        )
        return np.outer(number, number | part) | np.outer(part, number) | np.outer(date, date)


@dataclass(frozen=True)
class Feature:
    """One derived number: a part of a date, or what two quantities come to.

    Attributes:
        form: What it is.
        first: Place of the first quantity.
        second: Place of the second; the first again for a part.
    """

    form: Form
    first: int
    second: int

    def values(self, quantities: Floats) -> Floats:
        """Of every row; NaN where it has none."""
        a, b = quantities[:, self.first], quantities[:, self.second]
        if self.form == "part":
            return a
        if self.form == "difference":
            # below the rounding of its terms a difference is none
            return np.where(is_equal(a, b), 0.0, a - b)
        if self.form == "ratio":
            with np.errstate(over="ignore"):  # infinite is a place as good as any
                return np.divide(a, b, out=np.full(len(a), np.nan), where=b != 0)
        return np.where(np.isnan(a) | np.isnan(b), np.nan, is_equal(a, b))

    def name(self, names: tuple[str, ...]) -> str:
        """As a person would write it."""
        signs = {"difference": " - ", "ratio": " / ", "equal": " = "}
        first, second = names[self.first], names[self.second]
        return first if self.form == "part" else f"{first}{signs[self.form]}{second}"


@dataclass(frozen=True)
class Derived:
    """The features that a table has beyond its columns.

    Attributes:
        quantities: What they are made from.
        features: All candidates, of at most `PAIRS` pairs.
    """

    quantities: Quantities
    features: tuple[Feature, ...]

    @classmethod
    def choose(cls, schema: Schema, numeric: tuple[str, ...], part: Coded, seed: int, most: int = PAIRS) -> Derived:
        """Candidates by rows that are not judged: columns that are often equal first, then those that go together."""
        few = part.sample(PAIR_ROWS, np.random.default_rng([seed, 11]))
        quantities = Quantities.of(schema, numeric, few)
        values = quantities(few)
        values = few_for_pairs(values)
        features = [Feature("part", i, i) for i, kind in enumerate(quantities.kinds) if kind == "part"]
        equal = equal_shares(values)
        worth = _worth(values, equal)
        first, second = np.nonzero(np.triu(quantities.may_pair, 1))
        best = np.argsort(-worth[first, second], kind="stable")[:most]
        for i, j in zip(first[best].tolist(), second[best].tolist(), strict=True):
            features.append(Feature("difference", i, j))
            if quantities.kinds[i] == quantities.kinds[j] == "number":
                over, under = (i, j) if _divides(values[:, j]) >= _divides(values[:, i]) else (j, i)
                features.append(Feature("ratio", over, under))
            if equal[i, j] >= EQUAL:
                features.append(Feature("equal", i, j))
        return cls(quantities, tuple(features))


@dataclass(frozen=True)
class Screen:
    """Candidates in a few places each, for some rows, to choose those that tell two kinds of rows apart.

    Attributes:
        derived: The candidates.
        values: Quantities of all rows, shape (n, quantities).
        rows: Which rows are looked at.
        places: Coarse places of the quantities and then of the candidates in these rows.
    """

    derived: Derived
    values: Floats
    rows: Ints
    places: list[Ints]

    @classmethod
    def of(cls, derived: Derived, both: Coded, rng: np.random.Generator) -> Screen:
        """Of all rows, whatever kind they are."""
        values = derived.quantities(both)
        rows = rng.permutation(len(both))[:SCREEN_ROWS]
        few = values[rows]
        columns = [*few.T, *(feature.values(few) for feature in derived.features)]
        return cls(derived, values, rows, [places(column, COARSE) for column in columns])

    def best(self, fit: Ints, labels: Ints, most: int) -> dict[int, float]:
        """Candidates that tell more of the labels than either of their columns does, the most telling first.

        Arguments:
            fit: The rows that may be looked at.
            labels: 0 or 1 for every row.
            most: How many to return at most.

        Returns:
            What each tells beyond chance and its columns, by its number; above 0 where it tells anything.
        """
        seen = np.isin(self.rows, fit)
        marks = labels[self.rows[seen]]
        told = np.array([_told(column[seen], marks) for column in self.places])
        own, candidates = np.split(told, [self.values.shape[1]])
        parents = np.array([max(own[f.first], own[f.second]) for f in self.derived.features])
        is_part = np.array([f.form == "part" for f in self.derived.features])
        gain = candidates - np.where(is_part, 0.0, np.maximum(parents, 0.0))
        order = np.argsort(-gain, kind="stable")[:most]
        return {int(i): float(gain[i]) for i in order}

    def extend(self, both: Coded, chosen: list[int]) -> Coded:
        """The rows with these candidates as further numbers."""
        columns = [places(self.derived.features[i].values(self.values), FINE) for i in chosen]
        further = [np.where(column < 0, np.nan, column) for column in columns]
        return replace(both, numbers=np.column_stack([both.numbers, *further]))


def places(column: Floats, quantiles: int) -> Ints:
    """Where each number stands among so many quantiles, which have a place of their own each; -1 for missing."""
    there = ~np.isnan(column)
    ordered = np.sort(column[there])
    if len(ordered) == 0:
        return np.full(len(column), -1)
    edges = np.unique(ordered[np.linspace(0, len(ordered) - 1, quantiles).round().astype(np.int64)])
    place = np.searchsorted(edges, column, side="left") + np.searchsorted(edges, column, side="right")
    return np.where(there, place, -1)


def is_equal(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Whether two numbers are the same but for rounding; not where one is missing."""
    return np.asarray(np.abs(a - b) <= TOLERANCE * np.maximum(np.abs(a), np.abs(b)))


def _told(column: Ints, labels: Ints) -> float:
    """How much the places of a number differ between two kinds of rows (chi squared), beyond what chance gives."""
    counts = [np.bincount(column[labels == kind] + 1) for kind in (0, 1)]
    size = max(map(len, counts))
    first, second = (np.pad(count, (0, size - len(count))).astype(np.float64) for count in counts)
    first, second = first / max(first.sum(), 1.0), second / max(second.sum(), 1.0)
    both = first + second
    there = both > 0
    chi = 0.5 * len(column) * float(((first - second)[there] ** 2 / both[there]).sum())
    free = int(there.sum()) - 1
    return chi - free - 2.0 * float(np.sqrt(2.0 * free))


def _divides(column: Floats) -> float:
    """How often a number can be divided by."""
    return float((np.abs(column) > 0).mean())


def few_for_pairs(values: Floats) -> Floats:
    """So many of the rows that all pairs of columns can be compared in them."""
    return values[: int(np.clip(PAIR_CELLS // max(values.shape[1], 1) ** 2, 50, PAIR_ROWS))]


def equal_shares(values: Floats) -> Floats:
    """Of every pair, the share of rows in which both are equal, shape (columns, columns)."""
    return np.array([is_equal(column[:, None], values).mean(axis=0) for column in values.T])


def rank_correlations(values: Floats) -> Floats:
    """Of every pair, Spearman's correlation; a missing cell stands in the middle, a constant goes with nothing."""
    ranks = np.zeros_like(values)
    for i, column in enumerate(values.T):
        there = ~np.isnan(column)
        _, place, counts = np.unique(column[there], return_inverse=True, return_counts=True)
        middle = (np.cumsum(counts) - 0.5 * counts)[place]  # ties share their mean rank
        ranks[there, i] = middle - middle.mean() if len(middle) else 0.0
    norm = np.sqrt((ranks**2).sum(axis=0))
    ranks /= np.where(norm > 0, norm, 1.0)
    return np.asarray(ranks.T @ ranks)


def _worth(values: Floats, equal: Floats) -> Floats:
    """How much there is to see in every pair: equal ones first, then those that go together and are of like scale."""
    size = np.array([np.median(np.abs(c[~np.isnan(c)])) if (~np.isnan(c)).any() else 0.0 for c in values.T])
    scale = np.log(np.maximum(size, 1e-12))
    likeness = np.exp(-np.abs(scale[:, None] - scale))
    together = np.abs(rank_correlations(values))
    return np.asarray(np.minimum(5.0 * equal, 1.0) * 2.0 + together * (0.5 + likeness))
