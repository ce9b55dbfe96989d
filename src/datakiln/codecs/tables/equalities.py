"""Number columns whose cells often equal those of another: found in training rows, and cells to states and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

COMMON = 0.02  # share of the rows in which two columns must be equal, not counting single values that both often have
ROWS = 30  # and number of such rows: fewer may be chance
TIMES = 3.0  # and how many times more than if the one were drawn independently of the other
MOST = 4  # columns that one column is compared with
SAMPLED = 20_000  # rows that are looked at


def find(values: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """For each column the earlier ones it often equals, the most often first; columns without any are left out.

    A cell counts as equal to the first of them that it equals. A value that is frequent by itself, such as 0, tells
    nothing.

    Arguments:
        values: Of number columns in user units, NaN where missing, each of shape (n,), in the order of the schema.
    """
    names = list(values)
    columns = {name: value[:SAMPLED] for name, value in values.items()}
    frequent = {name: _frequent(column) for name, column in columns.items()}
    found: dict[str, list[str]] = {}
    for i, name in enumerate(names):
        left, kept = columns[name], []
        open_rows = ~np.isin(left, frequent[name]) & ~np.isnan(left)
        for _ in range(MOST):
            gains = [(_gain(left, columns[other], open_rows), other) for other in names[:i] if other not in kept]
            gain, other = max(gains, default=(0, ""))
            if gain < max(COMMON * len(left), ROWS):
                break
            kept.append(other)
            open_rows &= left != columns[other]
        if kept:
            found[name] = kept
    return found


def _frequent(column: np.ndarray) -> np.ndarray:
    """Values that hold more than a hundredth of the rows each."""
    points, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return points[counts > max(len(column) / 100, 2)]


def _gain(left: np.ndarray, right: np.ndarray, rows: np.ndarray) -> int:
    """Open rows in which both are equal, 0 if about as many are expected by chance."""
    equal = int((left[rows] == right[rows]).sum())
    if not equal:
        return 0
    by_chance = int((left[rows] == np.random.default_rng(0).permutation(right)[rows]).sum())
    return equal if equal > TIMES * max(by_chance, 1) else 0


def states(values: Mapping[str, np.ndarray], name: str, others: Sequence[str]) -> np.ndarray:
    """Which of the others each cell of a column equals first, -1 for none; columns that are not there equal nothing."""
    own = values[name]
    found = np.full(len(own), -1)
    for place, other in reversed(list(enumerate(others))):
        if other in values:
            found = np.where(own == values[other], place, found)  # a single cell stands for all rows
    return found
