"""Number columns whose cells often equal another, or the sum of two: found in training rows, to states and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from datakiln.spec import Sum

COMMON = 0.02  # share of the rows in which two columns must be equal, not counting single values that both often have
SUMMED = 0.04  # the same of a column and a sum: there are many more of them
ROWS = 30  # and number of such rows: fewer may be chance
TIMES = 3.0  # and how many times more than if the one were drawn independently of the other
MOST, MOST_SUMS = 4, 2  # columns, and sums, that one column is compared with
SAMPLED = 20_000  # rows that are looked at
GLANCED = 500  # rows that sums are first looked at
CLOSER = 20  # sums that are looked at in more
SUMS_OF = 40  # columns: of more no sums are looked for
EXACT = 1e-9  # relative error of sums of decimals


def find(values: Mapping[str, np.ndarray], added: Collection[str] = ()) -> dict[str, list[Sum]]:
    """For each column what it often equals, of earlier ones: single ones first, then sums and differences of two.

    A cell counts as equal to the first of them that it equals. A value that is frequent by itself, such as 0, tells
    nothing. Columns without any are left out.

    Arguments:
        values: Of number columns in user units, NaN where missing, each of shape (n,), in the order of the schema.
        added: Columns that may be added up.
    """
    names = list(values)
    columns = {name: value[:SAMPLED] for name, value in values.items()}
    frequent = {name: _frequent(column) for name, column in columns.items()}
    addends = [name for name in names if name in added]
    found: dict[str, list[Sum]] = {}
    for i, name in enumerate(names):
        left = columns[name]
        kept: list[Sum] = []
        open_rows = ~np.isin(left, frequent[name]) & ~np.isnan(left)
        singles: list[Sum] = [((1, other),) for other in names[:i]]
        _add(kept, singles, MOST, COMMON, left, columns, open_rows)
        if name in added and len(addends) <= SUMS_OF:
            _add(kept, _sums(name, addends, columns, open_rows), MOST_SUMS, SUMMED, left, columns, open_rows)
        if kept:
            found[name] = kept
    return found


def _add(
    kept: list[Sum], sums: Sequence[Sum], most: int, common: float, left: np.ndarray,
    columns: Mapping[str, np.ndarray], open_rows: np.ndarray,
) -> None:  # fmt: skip
    """Moves those that most open rows are equal to from the sums to those kept, and closes the rows."""
    for _ in range(most):
        gains = [(_gain(left, terms, columns, open_rows), terms) for terms in sums if terms not in kept]
        gain, best = max(gains, default=(0, ()), key=lambda one: one[0])
        if gain < max(common * len(left), ROWS):
            return
        kept.append(best)
        open_rows &= ~_is_equal(left, best, columns)


def _sums(name: str, addends: Sequence[str], columns: Mapping[str, np.ndarray], open_rows: np.ndarray) -> list[Sum]:
    """Sums and differences of two earlier columns that a few rows make look common."""
    others = list(addends[: addends.index(name)])
    if len(others) < 2:
        return []
    rows = np.random.default_rng(0).permutation(len(open_rows))[:GLANCED]
    told = np.stack([columns[other][rows] for other in others], axis=1)
    there = open_rows[rows, None] & (told != 0) & ~np.isnan(told)  # what is added to nothing is a single column
    left, hits = columns[name][rows], []
    for j, other in enumerate(others):
        whole = there & there[:, [j]]
        error = EXACT * (np.abs(left) + np.abs(told[:, j]))[:, None]
        rest = (left - told[:, j])[:, None]
        for sign in (1, -1):  # the column is the other one and a further one, or less that one
            equal = (np.abs(sign * rest - told) <= error) & whole
            counts = equal.sum(axis=0)
            first = j + 1 if sign == 1 else 0
            hits += [
                (counts[k], ((1, other), (sign, others[k]))) for k in range(first, len(others)) if k != j and counts[k]
            ]
    hits.sort(key=lambda hit: -hit[0])
    return [terms for count, terms in hits[:CLOSER] if count >= SUMMED / 2 * len(rows)]


def _frequent(column: np.ndarray) -> np.ndarray:
    """Values that hold more than a hundredth of the rows each."""
    points, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return points[counts > max(len(column) / 100, 2)]


def _gain(left: np.ndarray, terms: Sum, columns: Mapping[str, np.ndarray], rows: np.ndarray) -> int:
    """Open rows in which both are equal, 0 if about as many are expected by chance, any of the columns shuffled."""
    rows = rows & np.logical_and.reduce([columns[name] != 0 for _, name in terms]) if len(terms) > 1 else rows
    equal = int(_is_equal(left, terms, columns)[rows].sum())
    if not equal:
        return 0
    by_chance = 1
    for _, name in terms:
        shuffled = {**columns, name: np.random.default_rng(0).permutation(columns[name])}
        by_chance = max(by_chance, int(_is_equal(left, terms, shuffled)[rows].sum()))
    return equal if equal > TIMES * by_chance else 0


def _is_equal(left: np.ndarray, terms: Sum, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where a column equals a sum; a single column must be equal to the digit."""
    right = added_up(terms, columns)
    if len(terms) == 1:
        return left == right
    error = EXACT * (np.abs(left) + np.maximum.reduce([np.abs(columns[name]) for _, name in terms]))
    return np.abs(left - right) <= error


def added_up(terms: Sum, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The sum of the columns, each with its sign."""
    sign, name = terms[0]
    total = columns[name] if sign == 1 else -columns[name]
    for sign, name in terms[1:]:
        total = total + sign * columns[name]
    return total


def states(values: Mapping[str, np.ndarray], name: str, found: Sequence[Sum]) -> np.ndarray:
    """Which of these each cell of a column equals first, -1 for none; columns that are not there equal nothing."""
    own = values[name]
    equal = np.full(len(own), -1)
    for place, terms in reversed(list(enumerate(found))):
        if all(other in values for _, other in terms):
            equal = np.where(_is_equal(own, terms, values), place, equal)  # a single cell stands for all rows
    return equal


def is_within(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Whether sums lie between the lowest and the highest training value, or are missing."""
    low, high = limits
    error = EXACT * max(abs(low), abs(high))
    beyond: np.ndarray = (values < low - error) | (values > high + error)
    return ~beyond
