"""From values to scores: places between floor and ceiling, intervals over seeds, and agreement of two orders."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def place(value: float, floor: float, ceiling: float) -> float | None:
    """Where a value stands between floor (0) and ceiling (1), not clipped; None where these are the same."""
    return None if ceiling == floor else (value - floor) / (ceiling - floor)


def score(at: float) -> float:
    """1 at the floor or below it, 10 at the ceiling or above it, in proportion between them."""
    return 1.0 + 9.0 * min(max(at, 0.0), 1.0)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean over seeds; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def log_place(value: float, values: Sequence[float], higher: bool) -> float | None:
    """Where a cost stands on a log scale between the worst (0) and the best (1) of those compared."""
    if min(values) <= 0 or min(values) == max(values):
        return None
    worst, best = (min(values), max(values)) if higher else (max(values), min(values))
    return place(math.log(value), math.log(worst), math.log(best))


def area(curve: Sequence[tuple[float, float]], seconds: float) -> float:
    """Mean over a time of a curve of steps: 0 before its first value, then each until the next.

    Arguments:
        curve: Times and values, in order.
        seconds: The whole time.
    """
    ends = [*(at for at, _ in curve[1:]), seconds][: len(curve)]
    steps = [(value, min(at, seconds), min(end, seconds)) for (at, value), end in zip(curve, ends, strict=True)]
    return sum(value * max(end - at, 0.0) for value, at, end in steps) / seconds


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation, ties at their mean rank (Spearman, 1904); None where either has but one value."""
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])


def by_chance(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Share of all orders of the second that agree with the first at least as well; None where there is no order."""
    found = spearman(first, second)
    if found is None:
        return None
    others = [spearman(first, order) or 0.0 for order in itertools.permutations(second)]
    return sum(other >= found - 1e-9 for other in others) / len(others)


def resampled(
    samples: Sequence[Sequence[float]], opinions: Sequence[float], draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Ends of 95 % of the rank correlations when the values of each family are drawn again (Efron, 1979).

    Arguments:
        samples: Scores of each family, one a seed.
        opinions: One a family.
        draws: How often.
        seed: Of the draws.
    """
    rng, found = np.random.default_rng(seed), []
    if any(len(values) < 2 for values in samples):
        return None
    for _ in range(draws):
        means = [float(np.mean(rng.choice(values, len(values)))) for values in samples]
        if (one := spearman(means, opinions)) is not None:
            found.append(one)
    if not found:
        return None
    low, high = np.quantile(found, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


def pairs_alike(first: Sequence[float], second: Sequence[float]) -> tuple[int, int]:
    """Of the pairs that both put in an order: how many in the same one, and how many there are (Kendall, 1938)."""
    signs = [
        math.copysign(1, a - b) == math.copysign(1, x - y)
        for (a, x), (b, y) in itertools.combinations(zip(first, second, strict=True), 2)
        if a != b and x != y
    ]
    return sum(signs), len(signs)
