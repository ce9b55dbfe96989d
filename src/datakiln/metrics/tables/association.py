"""Further distances between columns and between the relations of columns; 0 is alike.

Every figure compares the synthetic rows with train. `n` is the number of synthetic rows. A statistic that train does
not have (the correlation of a constant column) is left out and counted in the note; one that only the synthetic table
lacks counts as 0.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from datakiln.metrics.base import EvalData, Figure, MetricError, metric, worst_first
from datakiln.metrics.tables.columns import Coded, tables
from datakiln.metrics.tables.pairs import (
    Contingency,
    as_categories,
    contingency,
    correlation_ratio,
    correlations,
    theils_u,
)

Two = tuple[float, float]  # a statistic in train and in the synthetic table


@metric("fidelity/wasserstein")
def wasserstein(data: EvalData) -> list[Figure]:
    """Mean 1-Wasserstein distance of the numeric columns, each in units of its standard deviation in train.

    A column without any synthetic value counts as if all of it were the training median, not as left out.
    """
    from scipy.stats import wasserstein_distance

    t = tables(data)
    parts = {}
    for name, real, synthetic in zip(t.numeric, t.train.numbers.T, t.synthetic.numbers.T, strict=True):
        real, synthetic = real[~np.isnan(real)], synthetic[~np.isnan(synthetic)]
        if len(real) and np.ptp(real) > 0:
            synthetic = synthetic if len(synthetic) else np.median(real, keepdims=True)
            parts[name] = float(wasserstein_distance(real, synthetic) / real.std())
    if not parts:
        raise MetricError("no numeric column that varies")
    return [_figure("fidelity/wasserstein", parts, len(t.numeric), len(t.synthetic), high=None)]


@metric("fidelity/correlation_distance")
def correlation_distance(data: EvalData) -> list[Figure]:
    """Root mean square difference of the two Pearson correlation matrices over all pairs of numeric columns.

    The Frobenius norm of the difference, divided so that tables with more columns do not score worse for it.
    """
    t = tables(data)
    real, synthetic = correlations(t.train.numbers), correlations(t.synthetic.numbers)
    pairs = {
        f"{a} / {b}": (float(real[i, j]), float(synthetic[i, j]))
        for (i, a), (j, b) in itertools.combinations(enumerate(t.numeric), 2)
    }
    figure = _difference("fidelity/correlation_distance", pairs, len(t.synthetic), high=2.0)
    assert figure.detail is not None  # noqa: S101 (for the type checker: _difference always gives it)
    value = math.sqrt(sum(v**2 for v in figure.detail.values()) / len(figure.detail))
    return [Figure(figure.name, value, "lower", 0.0, 2.0, figure.detail, n=figure.n, note=figure.note)]


@metric("fidelity/theils_u_difference")
def theils_u_difference(data: EvalData) -> list[Figure]:
    """Mean absolute difference of Theil's U over all ordered pairs of choice columns; missing is a category."""
    t = tables(data)
    real, synthetic = (_choices(part, t.sizes) for part in (t.train, t.synthetic))
    pairs: dict[str, Two] = {}
    for i, j in itertools.combinations(range(len(t.choices)), 2):
        cells = contingency((real[i], synthetic[i]), (real[j], synthetic[j]), t.sizes[j] + 1)
        pairs[f"{t.choices[i]} given {t.choices[j]}"] = _theils_u(cells)
        turned = Contingency(cells.second, cells.first, cells.real, cells.synthetic)
        pairs[f"{t.choices[j]} given {t.choices[i]}"] = _theils_u(turned)
    return [_difference("fidelity/theils_u_difference", pairs, len(t.synthetic))]


@metric("fidelity/correlation_ratio_difference")
def correlation_ratio_difference(data: EvalData) -> list[Figure]:
    """Mean absolute difference of the correlation ratio (eta) of every number by every choice column."""
    t = tables(data)
    real, synthetic = (_choices(part, t.sizes) for part in (t.train, t.synthetic))
    pairs = {
        f"{a} by {b}": (
            correlation_ratio(t.train.numbers[:, i], real[j]),
            correlation_ratio(t.synthetic.numbers[:, i], synthetic[j]),
        )
        for (i, a), (j, b) in itertools.product(enumerate(t.numeric), enumerate(t.choices))
    }
    return [_difference("fidelity/correlation_ratio_difference", pairs, len(t.synthetic))]


@metric("fidelity/rare_coverage")
def rare_coverage(data: EvalData, below: float = 0.01) -> list[Figure]:
    """Share of train's rare categories that occur among the synthetic rows, over all choice columns together.

    Arguments:
        data: The tables.
        below: A category is rare when it holds less than this share of the training rows. Even real data misses some:
            read it against the ceiling.
    """
    t = tables(data)
    found, rare = {}, {}
    for i, name in enumerate(t.choices):
        counts, made = (
            np.bincount(c[c >= 0], minlength=t.sizes[i]) for c in (t.train.codes[:, i], t.synthetic.codes[:, i])
        )
        is_rare = (counts > 0) & (counts < below * len(t.train))
        if is_rare.any():
            rare[name], found[name] = int(is_rare.sum()), int((made[is_rare] > 0).sum())
    if not rare:
        raise MetricError(f"no category of train is rarer than {below:.2g}")
    parts = worst_first({name: found[name] / rare[name] for name in rare}, "higher")
    note = f"{sum(rare.values())} rare categories"
    value = sum(found.values()) / sum(rare.values())
    return [Figure("fidelity/rare_coverage", value, "higher", detail=parts, n=len(t.synthetic), note=note)]


def _choices(part: Coded, sizes: tuple[int, ...]) -> list[np.ndarray]:
    return as_categories(Coded(part.numbers[:, :0], part.codes), sizes)


def _theils_u(cells: Contingency) -> Two:
    real, synthetic = (theils_u(counts, cells.first, cells.second) for counts in (cells.real, cells.synthetic))
    return real, synthetic


def _difference(name: str, pairs: dict[str, Two], n: int, high: float = 1.0) -> Figure:
    parts = {pair: abs(r - (0.0 if math.isnan(s) else s)) for pair, (r, s) in pairs.items() if not math.isnan(r)}
    if not parts:
        raise MetricError("no pair of columns for which it is defined")
    return _figure(name, parts, len(pairs), n, high)


def _figure(name: str, parts: dict[str, float], total: int, n: int, high: float | None) -> Figure:
    note = f"{total - len(parts)} of {total} left out: constant or without values" if len(parts) < total else ""
    value = float(np.mean(list(parts.values())))
    return Figure(name, value, "lower", 0.0, high, worst_first(parts, "lower"), n=n, note=note)
