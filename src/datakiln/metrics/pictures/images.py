"""Figures of generated images against real ones, each named with its extractor, resize, precision and n."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from datakiln.metrics.base import Direction, Figure, Incomplete, MetricError
from datakiln.metrics.extractors.base import full_float32
from datakiln.metrics.pictures.frechet import frechet_distance, frechet_infinity
from datakiln.metrics.pictures.moments import Scores
from datakiln.metrics.pictures.neighbours import curve_scores, kernel_distance, manifold_metrics
from datakiln.metrics.pictures.statistics import FeatureStatistics

KINDS = ("fid", "fid_infinity", "kid", "inception_score", "manifold", "curve")
FIGURES = {
    "manifold": ("precision", "recall", "coverage", "density"),
    "curve": ("prd_f8", "prd_f1_8"),
}  # else as the kind
MAX_POINTS, BRIEF_POINTS = 10, 4
RUNS, BRIEF_RUNS = 10, 2  # clusterings behind a curve


def figure_name(metric: str, tag: str, n: int) -> str:
    """Such as "fid/efficientnet_lite0@57934424-clean-exact/n5000"."""
    return f"{metric}/{tag}/n{n}"


def _figure(
    metric: str,
    statistics: FeatureStatistics,
    n: int,
    value: float,
    better: Direction,
    low: float | None = 0.0,
    high: float | None = 1.0,
    ideal: float | None = None,
    **detail: float,
) -> Figure:
    return Figure(figure_name(metric, statistics.tag, n), value, better, low, high, detail or None, ideal, n)


def _fid(real: FeatureStatistics, fake: FeatureStatistics, brief: bool) -> list[Figure]:
    value = frechet_distance(real.gaussian, fake.gaussian, real.factor, fake.all_rows)
    mean = float((real.gaussian.mean - fake.gaussian.mean).square().sum())
    parts = {"n_real": real.n, "from_means": mean, "from_covariances": value - mean}
    return [_figure("fid", fake, fake.n, value, "lower", high=None, **parts)]


def _fid_infinity(real: FeatureStatistics, fake: FeatureStatistics, brief: bool) -> list[Figure]:
    points = BRIEF_POINTS if brief else MAX_POINTS
    if not _reaches_infinity(fake, points):
        d = fake.rows.shape[1]
        told = f"fid_infinity of {d:,} features is measured of at least {points * d:,} pictures, not {len(fake.rows):,}"
        raise MetricError(f"{told}: of fewer the distance does not fall as 1/n")
    value, at = frechet_infinity(real.gaussian, fake.rows, real.factor, points)
    detail = {f"n{n}": distance for n, distance in at.items()}
    return [_figure("fid_infinity", fake, len(fake.rows), value, "lower", low=None, high=None, ideal=0.0, **detail)]


def _reaches_infinity(fake: FeatureStatistics, points: int = MAX_POINTS) -> bool:
    """Whether the smallest of the samples that a line is laid through has as many pictures as there are features."""
    return len(fake.rows) >= points * fake.rows.shape[1]


def _kid(real: FeatureStatistics, fake: FeatureStatistics, brief: bool) -> list[Figure]:
    kid = kernel_distance(real.rows, fake.rows)
    detail = {"n_real": len(real.rows), "deviation": kid.deviation, "blocks": kid.blocks}
    return [_figure("kid", fake, len(fake.rows), kid.value, "lower", low=None, high=None, ideal=0.0, **detail)]


def inception_score(scores: Scores) -> tuple[float, float, float]:
    """Exponential of the mean divergence of p(y|x) from p(y) (Salimans et al. 2016, eq. in section 4).

    Returns:
        The score of all images as one set, and mean and standard deviation over the interleaved parts, which are each
        smaller and so score less.
    """

    def score(images: Tensor, probability: Tensor, negentropy: Tensor) -> Tensor:
        marginal = probability / images[..., None]
        return torch.exp(negentropy / images - torch.special.xlogy(marginal, marginal).sum(-1))

    whole = score(scores.images.sum(), scores.probability.sum(0), scores.negentropy.sum())
    filled = scores.images > 0
    parts = score(scores.images[filled], scores.probability[filled], scores.negentropy[filled])
    return float(whole), float(parts.mean()), float(parts.std(correction=0))


def _inception_score(real: FeatureStatistics, fake: FeatureStatistics, brief: bool) -> list[Figure]:
    if fake.scores is None or real.scores is None:
        raise MetricError(f"inception_score needs an extractor with classes, not {fake.tag}")
    value, mean, deviation = inception_score(fake.scores)
    detail = {"parts_mean": mean, "parts_deviation": deviation, "real": inception_score(real.scores)[0]}
    classes = fake.scores.probability.shape[1]
    return [_figure("inception_score", fake, fake.n, value, "higher", low=1.0, high=float(classes), **detail)]


def _manifold(real: FeatureStatistics, fake: FeatureStatistics, brief: bool, k: int = 5) -> list[Figure]:
    n = min(len(real.rows), len(fake.rows))
    if n <= k:
        raise MetricError(f"precision and recall need more than {k} kept rows of each set, not {n}")
    values = manifold_metrics(real.rows[:n], fake.rows[:n], k)
    shares = {"precision": values.precision, "recall": values.recall, "coverage": values.coverage}
    density = _figure("density", fake, n, values.density, "higher", high=None, ideal=1.0, neighbours=k)
    return [*(_figure(name, fake, n, value, "higher", neighbours=k) for name, value in shares.items()), density]


def _curve(real: FeatureStatistics, fake: FeatureStatistics, brief: bool) -> list[Figure]:
    n = min(len(real.rows), len(fake.rows))
    f8, f_eighth, (precision, recall) = curve_scores(real.rows[:n], fake.rows[:n], runs=BRIEF_RUNS if brief else RUNS)
    every = slice(0, None, len(precision) // 20)
    points = {f"precision at point {i + 1}": float(p) for i, p in enumerate(precision[every])}
    points |= {f"recall at point {i + 1}": float(r) for i, r in enumerate(recall[every])}
    return [
        _figure("prd_f8", fake, n, f8, "higher", **points),
        _figure("prd_f1_8", fake, n, f_eighth, "higher", **points),
    ]


_MAKERS: dict[str, Callable[[FeatureStatistics, FeatureStatistics, bool], list[Figure]]] = dict(
    zip(KINDS, (_fid, _fid_infinity, _kid, _inception_score, _manifold, _curve), strict=True)
)


def _allowed(real: FeatureStatistics, fake: FeatureStatistics) -> list[str]:
    """All kinds, without the one that needs classes where the extractor tells none."""
    has_classes = fake.scores is not None and real.scores is not None
    return [kind for kind in KINDS if has_classes or kind != "inception_score"]


def possible_figures(
    real: FeatureStatistics, fake: FeatureStatistics, kinds: Collection[str] | None, brief: bool = False
) -> list[Figure]:
    """All figures of the kinds asked for, which on few pictures may not all be had.

    Arguments:
        real: See `image_figures`, as for the next.
        fake: See there.
        kinds: Some of `KINDS`; None for all that the extractor allows.
        brief: See `image_figures`.

    Raises:
        Incomplete: Some cannot be computed; it holds the others.
        MetricError: See `image_figures`.
    """
    found: list[Figure] = []
    missing: dict[str, str] = {}
    for kind in _allowed(real, fake) if kinds is None else kinds:
        try:
            found += image_figures(real, fake, [kind], brief)
        except MetricError as error:
            if kind not in KINDS or real.tag != fake.tag:
                raise
            missing |= dict.fromkeys(error.figures or FIGURES.get(kind, (kind,)), str(error))
    if missing:
        raise Incomplete(found, missing)
    return found


def image_figures(
    real: FeatureStatistics, fake: FeatureStatistics, kinds: Collection[str] | None = None, brief: bool = False
) -> list[Figure]:
    """All figures of one set of fakes, or those of the kinds asked for.

    Arguments:
        real: Statistics of real images.
        fake: Statistics of generated images, from the same extractor.
        kinds: Some of `KINDS`; None for all that these statistics allow (no Inception Score without classes, no
            extrapolation from fewer kept rows than ten times the features).
        brief: Whether what is averaged over many turns makes do with few: to see how a figure varies, not what it is.

    Returns:
        Figures named "metric/extractor@hash-resize-precision/n"; n counts the fakes that entered.

    Raises:
        MetricError: If the two sets come from different extractors, or a kind asked for cannot be computed.
    """
    if real.tag != fake.tag:
        raise MetricError(f"features of {real.tag} and of {fake.tag} cannot be compared; use one extractor for both")
    unknown = set(kinds or ()) - set(KINDS)
    if unknown:
        raise MetricError(f"unknown kinds {sorted(unknown)}; known are {', '.join(KINDS)}")
    if kinds is None:
        kinds = [kind for kind in _allowed(real, fake) if kind != "fid_infinity" or _reaches_infinity(fake)]
    real = real.to(fake.rows.device)
    with full_float32(fake.rows.device):
        return [figure for kind in kinds for figure in _MAKERS[kind](real, fake, brief)]
