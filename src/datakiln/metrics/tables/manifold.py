"""Likeness of whole rows: alpha-precision and beta-recall, and maximum mean discrepancy.

Every figure compares the synthetic rows with train. Both sides are cut to the same number of rows, which is `n`.
"""

from __future__ import annotations

import numpy as np

from datakiln.metrics.base import EvalData, Figure, MetricError, metric
from datakiln.metrics.tables.columns import Coded, Floats, tables
from datakiln.metrics.tables.nearest import nearest
from datakiln.metrics.tables.references import TwoTables
from datakiln.metrics.tables.space import BLOCK, Distances, Points, Space, mismatches, over_blocks

MANY_NUMBERS = 16  # more than so many columns of them are subtracted by matrix products, not one after the other
STEPS = 30  # grid of alpha and beta, as in the authors' and synthcity's implementations


@metric("fidelity/alpha_precision", "fidelity/beta_recall", plan=TwoTables(5, 2, 10_000, is_equal=True))
def precision_recall(data: EvalData, rows: int = 50_000) -> list[Figure]:
    """Alpha-precision and beta-recall, integrated over alpha and beta (Alaa et al., 2022, section 4).

    The protocol of the TabSyn and TabDiff papers, which is synthcity's "naive" variant and not its one-class embedding
    ("OC"): numbers scaled to [0, 1] over train, categories one-hot, Euclidean distances, spheres around the mean of the
    real rows (precision) and of the synthetic ones (recall), 30 steps. One difference: synthcity's loader takes the
    last one-hot column for a target and drops it; all columns count here.

    Arguments:
        data: The tables.
        rows: Most rows to compare; the cost grows with their square.
    """
    t = tables(data)
    real, synthetic = equal_samples(t.train, t.synthetic, rows, data.seed)
    if len(real) < 2:
        raise MetricError("it needs two rows of train and of the synthetic table")
    space = Space.by_range(t, power=2, mismatch=2.0)  # two one-hot vectors that differ are 2 apart, squared
    x, y = space.points(real), space.points(synthetic)
    low = -1.0 / (STEPS - 1)  # what the sum over the grid gives where a curve stays at 1
    precision, recall = _integrated(_precision_curve(space, x, y)), _integrated(_recall_curve(space, x, y))
    n = len(real)
    return [
        Figure("fidelity/alpha_precision", precision, "higher", low=low, n=n),
        Figure("fidelity/beta_recall", recall, "higher", low=low, n=n),
    ]


@metric("fidelity/mmd", plan=TwoTables(5, 2, 5_000, is_equal=True))
def mmd(data: EvalData, rows: int = 5_000) -> list[Figure]:
    """Squared maximum mean discrepancy with a Gaussian kernel, unbiased estimate (Gretton et al., 2012, eq. 3).

    Numbers count in standard deviations of train, two different categories as 1; the kernel's width is the median
    distance between training rows. Unbiased means that equal distributions give values around 0, also below it.

    Arguments:
        data: The tables.
        rows: Most rows of each side; the cost grows with their square, the memory does not.
    """
    t = tables(data)
    real, synthetic = equal_samples(t.train, t.synthetic, rows, data.seed)
    n = len(real)
    if n < 2:
        raise MetricError("it needs two rows of train and of the synthetic table")
    space = Space.by_spread(t)
    x, y = space.points(real), space.points(synthetic)
    width = _median_square(space, x)
    if width == 0.0:
        raise MetricError("at least half of all pairs of training rows are equal: the kernel has no width")
    within = (_kernel_sum(space, x, x, width) + _kernel_sum(space, y, y, width) - 2 * n) / (n * (n - 1))
    value = within - 2.0 * _kernel_sum(space, x, y, width) / n**2
    return [Figure("fidelity/mmd", value, "lower", low=None, high=2.0, ideal=0.0, n=n)]


def equal_samples(real: Coded, synthetic: Coded, rows: int, seed: int) -> tuple[Coded, Coded]:
    """Both tables cut at random to the length of the shorter, at most `rows`."""
    rng = np.random.default_rng([seed, 3])
    n = min(len(real), len(synthetic), rows)
    return real.sample(n, rng), synthetic.sample(n, rng)


def _precision_curve(space: Space, real: Points, synthetic: Points) -> Floats:
    """Share of synthetic rows inside the sphere that holds a share alpha of the real ones, for every alpha."""
    centre = _centre(real)
    radii = np.quantile(_to_centre(space, real, centre), np.linspace(0, 1, STEPS))
    return _shares_within(_to_centre(space, synthetic, centre), radii)


def _recall_curve(space: Space, real: Points, synthetic: Points) -> Floats:
    """Share of real rows with a synthetic one nearer than their real neighbour and inside the sphere of beta."""
    own = nearest(space, real, real, exclude_self=True).first
    found = nearest(space, real, synthetic)
    reach = _to_centre(space, synthetic, _centre(synthetic))[found.index]
    radii = np.quantile(reach, np.linspace(0, 1, STEPS))
    return _shares_within(np.where(found.first <= own, reach, np.inf), radii)


def _integrated(curve: Floats) -> float:
    """1 minus twice the area between a curve and the diagonal (Alaa et al., 2022, eq. 8)."""
    alphas = np.linspace(0, 1, STEPS)
    return float(1.0 - 2.0 * np.abs(alphas - curve).sum() * (alphas[1] - alphas[0]))


def _shares_within(values: Floats, radii: Floats) -> Floats:
    # a quantile may lie a rounding error below the value it is
    inside = np.searchsorted(np.sort(values), radii * (1 + 1e-12), side="right")
    return np.asarray(inside / len(values), dtype=np.float64)


def _centre(points: Points) -> tuple[Floats, list[Floats]]:
    """Mean of the numbers and, for every code column, of the one-hot vectors."""
    shares = [np.bincount(codes) / len(points) for codes in points.codes]
    return points.numbers.mean(axis=1, dtype=np.float64), shares


def _to_centre(space: Space, points: Points, centre: tuple[Floats, list[Floats]]) -> Floats:
    numbers, shares = centre
    square: Floats = ((points.numbers.astype(np.float64) - numbers[:, None]) ** 2).sum(axis=0)
    for codes, share in zip(points.codes, shares, strict=True):
        # |e_c - p|^2 = 1 - 2 p_c + |p|^2 for a one-hot vector e_c; a category the centre has never seen has p_c = 0
        own = np.append(share, 0.0)[np.minimum(codes.astype(np.int64), len(share))]
        square += (1.0 - 2.0 * own + (share**2).sum()) * space.mismatch / 2.0
    distance: Floats = np.sqrt(square)
    return distance


def _median_square(space: Space, points: Points) -> float:
    """Median squared distance between two rows, of at most 1,000 of them."""
    few = points.head(1000)
    square = np.empty((len(few), len(few)), dtype=np.float32)

    def take(at: slice, block: Distances) -> None:
        square[at] = block

    over_blocks(space, few, few, take)
    return float(np.median(square[np.triu_indices(len(few), k=1)]))


def _kernel_sum(space: Space, x: Points, y: Points, width: float) -> float:
    if space.power == 2 and len(x.numbers) > MANY_NUMBERS:
        return _kernel_sum_by_products(space, x, y, width)
    sums = np.empty(len(x))

    def take(at: slice, block: Distances) -> None:
        np.exp(np.multiply(block, np.float32(-0.5 / width), out=block), out=block)
        sums[at] = block.sum(axis=1, dtype=np.float64)

    over_blocks(space, x, y, take)
    return float(sums.sum())


def _kernel_sum_by_products(space: Space, x: Points, y: Points, width: float) -> float:
    """The same to about six digits of each kernel, in time that hardly grows with the number of columns."""
    queries, base = x.numbers.T, y.numbers
    norms = np.einsum("ij,ij->i", queries, queries), np.einsum("ij,ij->j", base, base)
    rows, total = max(1, BLOCK // max(len(y), 1)), 0.0
    for here, count in mismatches(x, y, np.arange(len(x)), rows):
        square = norms[0][here, None] + norms[1] - 2.0 * (queries[here] @ base)
        square = np.maximum(square, 0.0) + count[: len(here)] * np.float32(space.mismatch)
        total += float(np.exp(square * np.float32(-0.5 / width)).sum(dtype=np.float64))
    return total
