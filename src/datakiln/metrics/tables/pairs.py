"""Statistics of every pair of columns, vectorised: Pearson correlations and contingency tables.

A correlation matrix is a few matrix products over all columns at once; a contingency table is one count over joint
integer codes. Both allow missing cells: correlations use the rows where both numbers are there, tables count missing as
a value.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datakiln.metrics.tables.columns import Coded, Floats, Ints

BINS = 10  # equal-width bins in which SDMetrics, and the papers that use it, meet a number with a category
ONE_HOT, HOT_ROWS = 64, 4_096  # codes up to which columns are counted all at once, and rows of one block
DENSE_CELLS = 1 << 16  # with more cells than this, and than rows, only the occupied cells are counted


def correlations(numbers: Floats) -> Floats:
    """Pearson correlations over pairwise complete rows, shape (columns, columns); NaN where a column does not vary."""
    seen = ~np.isnan(numbers)
    mask = seen.astype(np.float64)
    rows = np.maximum(mask.sum(axis=0), 1.0)
    x = np.where(seen, numbers, 0.0)
    x = np.where(seen, x - x.sum(axis=0) / rows, 0.0)  # centred first: squares of large numbers would drown what varies
    spread = np.sqrt((x**2).sum(axis=0) / rows)
    varies = np.max(np.where(seen, numbers, -np.inf), axis=0) > np.min(np.where(seen, numbers, np.inf), axis=0)
    x = np.where(varies, x / np.where(spread > 0, spread, 1.0), 0.0)  # exactly 0: a mean of equal numbers is inexact
    n = np.maximum(mask.T @ mask, 1.0)
    mean, square = (x.T @ mask) / n, ((x**2).T @ mask) / n
    variance = square - mean**2
    variance = np.where(variance > 1e-12, variance, np.nan)  # in units of the column's own variance: does not vary here
    covariance = (x.T @ x) / n - mean * mean.T
    result: Floats = np.clip(covariance / np.sqrt(variance * variance.T), -1.0, 1.0)
    return result


def binned(column: Floats) -> Ints:
    """Bin of every cell as SDMetrics' quality report cuts numbers, 0 to 10, over the column's own range.

    Two quirks are kept for equal scores: each table is cut over its own range, not over that of the real one, and the
    highest value shares the last bin with the missing cells.
    """
    edges = np.histogram_bin_edges(column[~np.isnan(column)], bins=BINS)
    return np.digitize(column, edges).astype(np.int64) - 1


def as_categories(part: Coded, sizes: Sequence[int]) -> list[Ints]:
    """Every column as codes from 0: numbers in bins, then choices with missing as their last code."""
    numbers = [binned(column) for column in part.numbers.T]
    return numbers + [np.where(codes < 0, size, codes) for codes, size in zip(part.codes.T, sizes, strict=True)]


def quantile_edges(column: Floats, bins: int) -> Floats:
    """Inner edges of bins that hold as many of these numbers each; fewer where values repeat."""
    there = np.sort(column[~np.isnan(column)])
    if len(there) == 0:
        return np.empty(0)
    at = (np.arange(1, bins) * len(there) // bins).clip(max=len(there) - 1)
    return np.unique(there[at])


def in_bins(part: Coded, edges: Sequence[Floats], sizes: Sequence[int]) -> list[Ints]:
    """Every column as codes from 0: numbers between these edges, then choices; the last code of each is missing."""
    numbers = [
        np.where(np.isnan(column), len(edge) + 1, np.searchsorted(edge, column, side="right"))
        for column, edge in zip(part.numbers.T, edges, strict=True)
    ]
    return numbers + [np.where(codes < 0, size, codes) for codes, size in zip(part.codes.T, sizes, strict=True)]


def joint_distances(real: Sequence[Ints], synthetic: Sequence[Ints], sizes: Sequence[int]) -> Floats:
    """Total variation between the joint tables of every pair of columns, shape (columns, columns), above the diagonal.

    Columns of few codes are counted all at once, as the product of their one-hot matrices; the others pair by pair.

    Arguments:
        real: Codes from 0 of every column.
        synthetic: The same of the other table.
        sizes: Number of codes of every column.
    """
    n = len(sizes)
    found = np.zeros((n, n))
    few = [i for i in range(n) if sizes[i] <= ONE_HOT]
    shares = [_joint_shares([part[i] for i in few], [sizes[i] for i in few]) for part in (real, synthetic)]
    away = np.abs(shares[0] - shares[1])
    starts = np.cumsum([0, *(sizes[i] for i in few)])[:-1]
    if few:
        blocks = np.add.reduceat(np.add.reduceat(away, starts, axis=0), starts, axis=1)
        found[np.ix_(few, few)] = 0.5 * blocks
    for i, j in itertools.combinations(range(n), 2):
        if sizes[i] > ONE_HOT or sizes[j] > ONE_HOT:
            cells = contingency((real[i], synthetic[i]), (real[j], synthetic[j]), sizes[j])
            found[i, j] = total_variation(cells.real, cells.synthetic)
    return found


def _joint_shares(columns: Sequence[Ints], sizes: Sequence[int]) -> Floats:
    """Share of the rows in every pair of codes, shape (codes, codes)."""
    width, counts = sum(sizes), np.zeros((sum(sizes), sum(sizes)))
    if not columns:
        return counts
    codes = np.stack(columns, axis=1) + np.cumsum([0, *sizes])[:-1]
    for start in range(0, len(codes), HOT_ROWS):
        some = codes[start : start + HOT_ROWS]
        hot = np.zeros((len(some), width), dtype=np.float32)  # counts of a block are exact in it
        np.put_along_axis(hot, some, 1.0, axis=1)
        counts += hot.T @ hot
    return counts / max(len(codes), 1)


@dataclass(frozen=True)
class Contingency:
    """Joint counts of two columns in a real and a synthetic table, over the cells occupied in either.

    Attributes:
        first: Code of the first column in each cell, shape (cells,).
        second: Code of the second column.
        real: Rows of the real table in each cell.
        synthetic: Rows of the synthetic one.
    """

    first: Ints
    second: Ints
    real: Floats
    synthetic: Floats


def contingency(first: tuple[Ints, Ints], second: tuple[Ints, Ints], size: int) -> Contingency:
    """Joint counts of two columns, each given as its codes in the real and in the synthetic table.

    Arguments:
        first: Codes from 0.
        second: Codes in [0, size).
        size: Number of codes of the second column.
    """
    real, synthetic = (a * size + b for a, b in zip(first, second, strict=True))
    rows = len(real) + len(synthetic)
    bound = max(int(real.max(initial=0)), int(synthetic.max(initial=0))) + 1
    if bound > max(DENSE_CELLS, rows):
        cells, places = np.unique(np.concatenate([real, synthetic]), return_inverse=True)
        counts = [np.bincount(part, minlength=len(cells)) for part in np.split(places, [len(real)])]
    else:
        dense = [np.bincount(part, minlength=bound) for part in (real, synthetic)]
        cells = np.flatnonzero(dense[0] + dense[1])
        counts = [count[cells] for count in dense]
    return Contingency(cells // size, cells % size, counts[0].astype(np.float64), counts[1].astype(np.float64))


def total_variation(real: Floats, synthetic: Floats) -> float:
    """Half the summed difference of the shares of two count vectors; NaN where one is empty."""
    if real.sum() == 0 or synthetic.sum() == 0:
        return float("nan")
    return 0.5 * float(np.abs(real / real.sum() - synthetic / synthetic.sum()).sum())


def cramers_v(counts: Floats, first: Ints, second: Ints) -> float:
    """Cramer's V without correction, from joint counts by cell; NaN where one of the columns does not vary."""
    rows, columns = np.bincount(first, weights=counts), np.bincount(second, weights=counts)
    smaller = min(int((rows > 0).sum()), int((columns > 0).sum()))
    if smaller < 2:
        return float("nan")
    there = counts > 0
    phi = float((counts[there] ** 2 / (rows[first[there]] * columns[second[there]])).sum()) - 1.0
    return float(np.sqrt(max(phi, 0.0) / (smaller - 1)))


def theils_u(counts: Floats, first: Ints, second: Ints) -> float:
    """Share of the first column's entropy that the second explains (Theil, 1970), in [0, 1]; NaN without entropy."""
    total = counts.sum()
    own = _entropy(np.bincount(first, weights=counts) / total) if total > 0 else 0.0
    if own < 1e-12:
        return float("nan")
    joint = _entropy(counts / total)
    given = joint - _entropy(np.bincount(second, weights=counts) / total)
    return float(np.clip(1.0 - given / own, 0.0, 1.0))


def correlation_ratio(values: Floats, codes: Ints) -> float:
    """Root of the share of a number's variance that lies between categories (eta), in [0, 1]; NaN without variance."""
    seen = ~np.isnan(values)
    values, codes = values[seen], codes[seen]
    if len(values) == 0:
        return float("nan")
    values = values - values.mean()
    total = float((values**2).sum())
    if total == 0.0:
        return float("nan")
    counts, sums = np.bincount(codes), np.bincount(codes, weights=values)
    there = counts > 0
    return float(np.sqrt(min((sums[there] ** 2 / counts[there]).sum() / total, 1.0)))


def _entropy(shares: Floats) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
