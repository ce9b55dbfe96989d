"""SMOTE-NC: minority rows made between real neighbours, numbers interpolated, categories by vote (Chawla et al., 2002).

As section 6.1 of the paper: the distance is Euclidean over the numbers, and each category that differs adds the median
of the standard deviations of the minority's numbers, squared as the numbers are. A new row lies at a uniform place
between a minority row and one of its k nearest; its categories are the most frequent ones among those k neighbours.
The paper does not say how a tie of that vote is broken: here by the category of smaller code, which is the more
frequent one in training. A missing number is taken for the minority's median and stays missing where its row's is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.tables.columns import Coded


def smote_nc(minority: Coded, n: int, rng: np.random.Generator, k: int = 5) -> Coded:
    """New minority rows.

    Arguments:
        minority: The rows of the class.
        n: How many to make.
        rng: Chooses rows, neighbours and places.
        k: Neighbours; fewer where the class has no more rows.

    Raises:
        ValueError: Fewer than two rows: there is nothing between them.
    """
    if len(minority) < 2:
        raise ValueError(f"SMOTE needs at least 2 rows of the class, it has {len(minority)}")
    numbers = filled(minority.numbers)
    near = neighbours(numbers, minority.codes, min(k, len(minority) - 1))
    chosen = rng.integers(len(minority), size=n)
    other = near[chosen, rng.integers(near.shape[1], size=n)]
    gap = rng.random((n, 1))
    made = numbers[chosen] + gap * (numbers[other] - numbers[chosen])
    made = np.where(np.isnan(minority.numbers[chosen]), np.nan, made)
    codes = (
        np.stack([_vote(column[near[chosen]]) for column in minority.codes.T], axis=1)
        if minority.codes.size
        else (np.empty((n, 0), dtype=np.int64))
    )
    return Coded(made, codes)


def neighbours(numbers: NDArray[np.float64], codes: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The k nearest other rows of each, shape (n, k)."""
    median = float(np.median(numbers.std(axis=0))) if numbers.shape[1] else 1.0
    found = np.empty((len(numbers), k), dtype=np.int64)
    for i in range(len(numbers)):
        squared = ((numbers - numbers[i]) ** 2).sum(axis=1) + median**2 * (codes != codes[i]).sum(axis=1)
        squared[i] = np.inf
        found[i] = np.argsort(squared, kind="stable")[:k]
    return found


def filled(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers with the column's median where one is missing, 0 in a column without any."""
    known = ~np.isnan(numbers)
    middle = [np.median(c[k]) if k.any() else 0.0 for c, k in zip(numbers.T, known.T, strict=True)]
    return np.where(known, numbers, np.array(middle, dtype=np.float64))


def _vote(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most frequent code of each row, the smaller one of a tie."""
    return np.array([np.bincount(row + 1).argmax() - 1 for row in codes], dtype=np.int64)
