"""How alike real and synthetic columns and pairs of columns are, defined as in SDMetrics and equal to its numbers.

Every figure compares the synthetic rows with train. Its floor has columns like real ones and no pairs. `n` is the
number of synthetic rows.
Where train has nothing to compare (a constant column has no correlation), a column or pair is left out of the mean as
in SDMetrics, and the figure's note says so. What only the synthetic table lacks (all cells unreadable, a correlation
with a constant) counts as 0, where SDMetrics leaves it out: the worst columns would cost nothing. SDMetrics looks at
50,000 sampled rows of a contingency table; here all rows count.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from datakiln.metrics.base import EvalData, Figure, MetricError, metric, worst_first
from datakiln.metrics.tables.columns import Coded, Floats, Ints, Tables, encode, row_keys, tables
from datakiln.metrics.tables.pairs import (
    BINS,
    as_categories,
    contingency,
    correlations,
    cramers_v,
    in_bins,
    joint_distances,
    quantile_edges,
    total_variation,
)
from datakiln.schema import Schema

NAN = float("nan")


@metric("fidelity/shape")
def shape(data: EvalData) -> list[Figure]:
    """Mean likeness of single columns ("column shapes"): 1 minus Kolmogorov-Smirnov, or 1 minus total variation."""
    t = tables(data)
    return [_mean("fidelity/shape", _lost_as_zero(shape_scores(t), t), len(data.synthetic))]


@metric("fidelity/trend")
def trend(data: EvalData) -> list[Figure]:
    """Mean likeness of all pairs of columns ("column pair trends" of the papers, and of SDMetrics before 0.32).

    1 - |difference of Pearson correlations| / 2 for two numbers, 1 minus total variation of the joint table otherwise.
    """
    scores = {pair.name: pair.judged for pair in _pairs(data)}
    return [_mean("fidelity/trend", scores, len(data.synthetic), "pair")]


@metric("fidelity/trend_quantiles")
def trend_quantiles(data: EvalData, bins: int = BINS) -> list[Figure]:
    """Mean likeness of the joint tables of all pairs of columns, numbers in bins of as many training rows each.

    `trend` follows SDMetrics, which cuts each table's numbers over their own range: where a tail is heavy all cells but
    a few share a bin, and one extreme value moves every cell into another. Quantiles of the training rows do not move,
    and two numbers are compared by their joint table, not by one correlation.

    Arguments:
        data: The tables.
        bins: Bins of a number; values that repeat may leave fewer. Missing cells are one more.
    """
    t = tables(data)
    names = t.numeric + t.choices
    if len(names) < 2:
        raise MetricError("a table of one column has no pairs")
    edges = [quantile_edges(column, bins) for column in t.train.numbers.T]
    columns = [in_bins(part, edges, t.sizes) for part in (t.train, t.synthetic)]
    sizes = [len(edge) + 2 for edge in edges] + [size + 1 for size in t.sizes]
    found = joint_distances(columns[0], columns[1], sizes)
    has_values = _has_values(t.train)
    above = np.triu_indices(len(names), 1)
    told = (has_values[above[0]] & has_values[above[1]]).tolist()
    parts = zip(_pair_names(names), (1.0 - found[above]).tolist(), told, strict=True)
    scores = {name: score for name, score, is_told in parts if is_told}
    if not scores:
        raise MetricError("no two columns of train have values")
    return [_mean("fidelity/trend_quantiles", scores, len(t.synthetic), "pair")]


@metric("fidelity/strong_trend")
def strong_trend(data: EvalData, correlation: float = 0.5, association: float = 0.3) -> list[Figure]:
    """The mean of `trend` over the pairs that are related in train (SDMetrics since 0.32).

    Arguments:
        data: The tables.
        correlation: Pairs of numbers count above this absolute correlation in train.
        association: Other pairs count above this Cramer's V in train.
    """
    limits = {True: correlation, False: association}
    scores = {pair.name: pair.judged for pair in _pairs(data) if pair.strength > limits[pair.is_numeric]}
    if not scores:
        raise MetricError(
            f"no pair of columns reaches a correlation of {correlation} or an association of {association}"
        )
    return [_mean("fidelity/strong_trend", scores, len(data.synthetic), "pair")]


@metric("fidelity/coverage")
def coverage(data: EvalData) -> list[Figure]:
    """Mean share of train's range (numbers) or categories that the synthetic rows reach."""
    t = tables(data)
    parts = {name: _range_coverage(r, s) for name, r, s in _numbers(t)}
    for i, name in enumerate(t.choices):
        reached = np.unique(t.synthetic.codes[:, i])
        hit = ((reached >= 0) & (reached < t.known[i])).sum()
        parts[name] = float(hit / t.known[i]) if t.known[i] else NAN
    return [_mean("fidelity/coverage", parts, len(data.synthetic))]


@metric("fidelity/distinct")
def distinct(data: EvalData) -> list[Figure]:
    """Share of the synthetic rows that are left when of equal ones only one is kept: 1 / n for a single row repeated.

    Real rows repeat too where columns have few values, and the more so the more rows there are: read it against the
    ceiling.
    """
    part = tables(data).synthetic
    kept = len(np.unique(row_keys(part)))
    detail = {"different rows": float(kept), "rows": float(len(part))}
    return [Figure("fidelity/distinct", kept / len(part), "higher", detail=detail, n=len(part))]


@metric("fidelity/boundary_adherence")
def boundary_adherence(data: EvalData) -> list[Figure]:
    """Mean share of synthetic numbers inside train's range; a missing cell is outside where train has none."""
    parts = {name: _boundary(r, s) for name, r, s in _numbers(tables(data))}
    if not parts:
        raise MetricError("no numeric column")
    return [_mean("fidelity/boundary_adherence", parts, len(data.synthetic))]


@metric("fidelity/category_adherence")
def category_adherence(data: EvalData) -> list[Figure]:
    """Mean share of synthetic categories that occur in train; missing must occur there too."""
    t = tables(data)
    if not t.choices:
        raise MetricError("no category column")
    parts = {}
    for i, name in enumerate(t.choices):
        codes = t.synthetic.codes[:, i]
        nullable = (t.train.codes[:, i] < 0).any()
        parts[name] = float(((codes < t.known[i]) & ((codes >= 0) | nullable)).mean())
    return [_mean("fidelity/category_adherence", parts, len(data.synthetic))]


@metric("fidelity/missing_similarity")
def missing_similarity(data: EvalData) -> list[Figure]:
    """1 minus the mean difference of the columns' shares of missing cells."""
    t = tables(data)
    real, synthetic = (
        np.concatenate([np.isnan(p.numbers).mean(axis=0), (p.codes < 0).mean(axis=0)]) for p in (t.train, t.synthetic)
    )
    parts = dict(zip(t.numeric + t.choices, (1.0 - np.abs(real - synthetic)).tolist(), strict=True))
    return [_mean("fidelity/missing_similarity", parts, len(data.synthetic))]


def quick_fidelity(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, float]:
    """Shape, trend and their mean ("fidelity") in milliseconds, to watch while training.

    Differs from `trend` on purpose: two numbers whose correlation collapsed count as without relation, not as 0, so
    that the curve does not jump where a rare value comes and goes. A table of one column has no trend, and its fidelity
    is its shape.
    """
    t = encode(schema, (real, synthetic))
    shapes = [score for score in _lost_as_zero(shape_scores(t), t).values() if not math.isnan(score)]
    trends = [pair.lost if math.isnan(pair.score) else pair.score for pair in pair_scores(t)]
    trends = [score for score in trends if not math.isnan(score)]
    if not shapes:
        raise MetricError("no column of the real table has a value")
    figures = {"shape": float(np.mean(shapes))} | ({"trend": float(np.mean(trends))} if trends else {})
    return figures | {"fidelity": sum(figures.values()) / len(figures)}


def shape_scores(t: Tables) -> dict[str, float]:
    """KSComplement of numbers and TVComplement of choices by column; NaN where a side has no value."""
    parts = {name: 1.0 - _kolmogorov_smirnov(r, s) for name, r, s in _numbers(t)}
    for i, name in enumerate(t.choices):
        counts = [np.bincount(c[c >= 0], minlength=t.sizes[i]) for c in (t.train.codes[:, i], t.synthetic.codes[:, i])]
        parts[name] = 1.0 - total_variation(counts[0].astype(np.float64), counts[1].astype(np.float64))
    return parts


def _has_values(part: Coded) -> np.ndarray:
    """Whether any cell of a column is there: numbers, then choices."""
    return np.concatenate([(~np.isnan(part.numbers)).any(axis=0), (part.codes >= 0).any(axis=0)])


def _lost_as_zero(parts: dict[str, float], t: Tables) -> dict[str, float]:
    """Parts by column, 0 instead of NaN where train has values to be like."""
    there = dict(zip(parts, _has_values(t.train), strict=True))
    return {name: 0.0 if math.isnan(part) and there[name] else part for name, part in parts.items()}


@dataclass(frozen=True)
class Pair:
    """Likeness of one pair of columns.

    Attributes:
        name: Both columns.
        score: In [0, 1]; NaN where undefined.
        lost: What the score would be for a synthetic table without the relation; NaN where train has none to lose.
        strength: Absolute correlation or Cramer's V in train; NaN where undefined.
        is_numeric: Whether both columns are numbers.
    """

    name: str
    score: float
    lost: float
    strength: float
    is_numeric: bool

    @property
    def judged(self) -> float:
        """The score, 0 where only the synthetic table has none."""
        return 0.0 if math.isnan(self.score) and not math.isnan(self.lost) else self.score


@functools.lru_cache(maxsize=8)
def _pair_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """What every pair of columns is called; a wide table has thousands, which every draw of real rows asks for."""
    return tuple(f"{a} / {b}" for a, b in itertools.combinations(names, 2))


def pair_scores(t: Tables) -> list[Pair]:
    """Every pair of columns of the first and the last table."""
    names = t.numeric + t.choices
    numbers = len(t.numeric)
    found = _numeric_pairs(t)
    if not t.choices:
        return found
    columns = [as_categories(part, t.sizes) for part in (t.train, t.synthetic)]
    empty = _has_values(t.train) & ~_has_values(t.synthetic)
    for i, j in itertools.combinations(range(len(names)), 2):
        if j >= numbers:
            size = t.sizes[j - numbers] + 1
            pair = _joint_pair(f"{names[i]} / {names[j]}", columns, i, j, size)
            found.append(replace(pair, score=NAN) if empty[i] or empty[j] else pair)
    return found


def _numeric_pairs(t: Tables) -> list[Pair]:
    if len(t.numeric) < 2:
        return []
    real, synthetic = correlations(t.train.numbers), correlations(t.synthetic.numbers)
    above = np.triu_indices(len(t.numeric), 1)
    score, strength = (1.0 - np.abs(real - synthetic) / 2.0)[above], np.abs(real)[above]
    parts = (score.tolist(), (1.0 - strength / 2.0).tolist(), strength.tolist())
    return [Pair(name, s, lost, v, True) for name, s, lost, v in zip(_pair_names(t.numeric), *parts, strict=True)]


def _joint_pair(name: str, columns: list[list[Ints]], i: int, j: int, size: int) -> Pair:
    cells = contingency((columns[0][i], columns[1][i]), (columns[0][j], columns[1][j]), size)
    strength = cramers_v(cells.real, cells.first, cells.second)
    return Pair(name, 1.0 - total_variation(cells.real, cells.synthetic), 0.0, strength, False)


def _pairs(data: EvalData) -> list[Pair]:
    if "pairs" not in data.cache:
        data.cache["pairs"] = pair_scores(tables(data))
    if not data.cache["pairs"]:
        raise MetricError("a table of one column has no pairs")
    return data.cache["pairs"]  # type: ignore[no-any-return]


def _numbers(t: Tables) -> list[tuple[str, Floats, Floats]]:
    return [(name, t.train.numbers[:, i], t.synthetic.numbers[:, i]) for i, name in enumerate(t.numeric)]


def _kolmogorov_smirnov(real: Floats, synthetic: Floats) -> float:
    # SDMetrics rounds to 14 digits after the point, so that 0.1 + 0.2 is 0.3
    r, s = (np.sort(np.round(x[~np.isnan(x)], 14)) for x in (real, synthetic))
    if len(r) == 0 or len(s) == 0:
        return NAN
    at = np.concatenate([r, s])
    steps = np.searchsorted(r, at, side="right") / len(r) - np.searchsorted(s, at, side="right") / len(s)
    return float(np.abs(steps).max())


def _range_coverage(real: Floats, synthetic: Floats) -> float:
    r, s = real[~np.isnan(real)], synthetic[~np.isnan(synthetic)]
    if len(r) == 0 or r.max() == r.min():
        return NAN
    if len(s) == 0:
        return 0.0
    span = r.max() - r.min()
    below, above = max((s.min() - r.min()) / span, 0.0), max((r.max() - s.max()) / span, 0.0)
    return float(max(1.0 - below - above, 0.0))


def _boundary(real: Floats, synthetic: Floats) -> float:
    r = real[~np.isnan(real)]
    judged = synthetic if len(r) == len(real) else synthetic[~np.isnan(synthetic)]
    if len(r) == 0 or len(judged) == 0:
        return NAN
    return float(((judged >= r.min()) & (judged <= r.max())).mean())


def _mean(name: str, parts: dict[str, float], n: int, unit: str = "column") -> Figure:
    defined = {part: value for part, value in parts.items() if not math.isnan(value)}
    if not defined:
        raise MetricError(f"undefined for every {unit}: constant or without values", name)
    left_out = len(parts) - len(defined)
    note = f"{left_out} of {len(parts)} {unit}s left out: constant or without values" if left_out else ""
    return Figure(
        name, float(np.mean(list(defined.values()))), "higher", detail=worst_first(defined, "higher"), n=n, note=note
    )
