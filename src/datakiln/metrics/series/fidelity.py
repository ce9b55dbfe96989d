"""Distances of windows that need no judge: values, changes, correlations over time and between columns, spectra."""

from __future__ import annotations

import numpy as np
import pandas as pd

from datakiln.metrics.base import Figure, MetricError, metric, worst_first
from datakiln.metrics.series.sets import Floats, SeriesSets, spread
from datakiln.wording import counted

TINY = 1e-9
LEAST_STEPS = 3  # of a window whose changes follow each other
DIGITS = 7  # decimals, in training ranges, by which values differ that are not the same
NEAREST = 500  # windows whose nearest ones are looked for
NEIGHBOURS = 5  # how far a real window reaches, see `coverage`
STEPS = 32  # of a window whose marginals are compared one by one, evenly spread
LAGS = 12  # of correlations of columns, from 1 to half a window in even ratios
TAIL = 0.05  # share of the changes that count as its lower, and as its upper tail
LEAST_TAIL = 20  # changes that a tail index is told from


@metric("series/marginals", "series/changes", evenly=True)
def marginals(data: SeriesSets) -> list[Figure]:
    """Kolmogorov-Smirnov distance of each column's values, and of its changes from step to step, on average."""
    found = []
    for name, change in (("series/marginals", lambda x: x), ("series/changes", lambda x: np.diff(x, axis=1))):
        real, made = change(data.train), change(data.synthetic)
        parts = {c: distance(real[..., j].ravel(), made[..., j].ravel()) for j, c in enumerate(data.names)}
        value = float(np.mean(list(parts.values())))
        found.append(Figure(name, value, "lower", detail=worst_first(parts, "lower"), n=len(data.synthetic)))
    return found


@metric("series/autocorrelation", evenly=True)
def autocorrelation(data: SeriesSets) -> list[Figure]:
    """Mean absolute difference of autocorrelations of all lags up to half a window, within columns."""
    real, made = autocorrelations(data.train), autocorrelations(data.synthetic)
    parts = {c: float(np.abs(real[:, j] - made[:, j]).mean()) for j, c in enumerate(data.names)}
    value = float(np.mean(list(parts.values())))
    return [
        Figure(
            "series/autocorrelation",
            value,
            "lower",
            high=2.0,
            detail=worst_first(parts, "lower"),
            n=len(data.synthetic),
        )
    ]


@metric("series/marginals_by_step", decides=False, evenly=True)
def marginals_by_step(data: SeriesSets) -> list[Figure]:
    """Kolmogorov-Smirnov distance of each column's values at each step of a window, mean over steps and columns.

    Of windows cut anywhere from one series all steps are alike; where a sequence begins, its first are not.
    """
    at = np.unique(np.linspace(0, data.train.shape[1] - 1, STEPS).round().astype(int))
    real, made = data.train[:, at], data.synthetic[:, at]
    gaps = np.array([[distance(real[:, t, j], made[:, t, j]) for j in range(len(data.names))] for t in range(len(at))])
    parts = dict(zip(data.names, gaps.mean(axis=0).tolist(), strict=True))
    worst = int(gaps.mean(axis=1).argmax())
    note = f"most at step {at[worst] + 1} of {data.train.shape[1]}, {gaps[worst].mean():.3g}"
    value = float(gaps.mean())
    detail = worst_first(parts, "lower")
    return [Figure("series/marginals_by_step", value, "lower", detail=detail, n=len(data.synthetic), note=note)]


@metric("series/correlation", "series/lagged_correlation", "series/cross_correlation", evenly=True)
def correlation(data: SeriesSets) -> list[Figure]:
    """Mean absolute difference of correlations of pairs of columns: at the same step, one step apart, at all lags.

    The first is Liao et al.'s correlational score (2020) as a mean over pairs, which published tables sum up and
    divide by ten. The last is the cross-correlation function of either column of a pair with the other one up to half
    a window later, in parts by lag.

    Raises:
        MetricError: There is a single column.
    """
    if len(data.names) < 2:
        raise MetricError("a single column is correlated with none")
    lags = spread_lags(data.train.shape[1])
    gaps = {lag: _correlation_gap(data, lag) for lag in dict.fromkeys([0, 1, *lags])}
    found = {"series/correlation": gaps[0], "series/lagged_correlation": gaps[1]}
    figures = [Figure(name, gap, "lower", high=2.0, n=len(data.synthetic)) for name, gap in found.items()]
    detail = worst_first({f"lag {lag}": gaps[lag] for lag in lags}, "lower")
    value = float(np.mean(list(detail.values())))
    name = "series/cross_correlation"
    return [*figures, Figure(name, value, "lower", high=2.0, detail=detail, n=len(data.synthetic))]


@metric("series/spectrum", evenly=True)
def spectrum(data: SeriesSets) -> list[Figure]:
    """Mean absolute difference of the logarithms (base 10) of mean power spectra of windows, mean taken out.

    Columns that never move within a real window have no spectrum, and are left out.

    Raises:
        MetricError: No column moves.
    """
    moving = np.flatnonzero(np.ptp(data.train, axis=1).max(axis=0) > 0)
    if not len(moving):
        raise MetricError("no column moves within a window")
    real, made = spectra(data.train[..., moving]), spectra(data.synthetic[..., moving])
    gaps = np.abs(real - made).mean(axis=0).tolist()
    parts = {data.names[j]: gap for j, gap in zip(moving, gaps, strict=True)}
    value = float(np.mean(list(parts.values())))
    return [
        Figure("series/spectrum", value, "lower", high=None, detail=worst_first(parts, "lower"), n=len(data.synthetic))
    ]


@metric("series/clustering", evenly=True)
def clustering(data: SeriesSets) -> list[Figure]:
    """Mean absolute difference of autocorrelations of the absolute changes: whether calm and wild times last.

    Volatility clustering (Cont, 2001, https://doi.org/10.1080/713665670, section 2), over all lags up to half a window.

    Raises:
        MetricError: Windows of two steps have a single change.
    """
    if data.train.shape[1] < LEAST_STEPS:
        raise MetricError(f"windows of {data.train.shape[1]} steps have a single change")
    real, made = (autocorrelations(np.abs(np.diff(part, axis=1))) for part in (data.train, data.synthetic))
    gaps = np.abs(real - made).mean(axis=0)
    parts = worst_first(dict(zip(data.names, gaps.tolist(), strict=True)), "lower")
    return [Figure("series/clustering", float(gaps.mean()), "lower", high=2.0, detail=parts, n=len(data.synthetic))]


@metric("series/tails", evenly=True)
def tails(data: SeriesSets) -> list[Figure]:
    """Mean absolute difference of the extreme value indices of changes, of the lower and of the upper tail.

    1 / alpha by Hill's estimator (1975, https://doi.org/10.1214/aos/1176343247) on the outermost twentieth of changes
    about their median: 0.5 where the chance of a change beyond x falls as x^-2, 0.32 for Laplace's law, 0.21
    for a normal one. A change of scale does not move it; synthetic changes that are nearly all the same have none: 0.

    Raises:
        MetricError: No column of real windows has changes on a scale that has tails.
    """
    parts = {}
    for j, name in enumerate(data.names):
        changes = [np.diff(part[..., j], axis=1).ravel() for part in (data.train, data.synthetic)]
        pairs = [[tail_index(sign * (x - np.median(x))) for x in changes] for sign in (-1.0, 1.0)]
        gaps = [abs(real - (0.0 if made is None else made)) for real, made in pairs if real is not None]
        if gaps and not _is_switch(data.train[..., j]):
            parts[name] = float(np.mean(gaps))
    if not parts:
        raise MetricError("no column has changes with tails: of fewer than twenty values, or the same at most steps")
    value = float(np.mean(list(parts.values())))
    left = len(data.names) - len(parts)
    note = f"{counted(left, 'column')} without tails left out" if left else ""
    detail = worst_first(parts, "lower")
    return [Figure("series/tails", value, "lower", high=None, detail=detail, n=len(data.synthetic), note=note)]


@metric("series/lengths", decides=False)
def lengths(data: SeriesSets) -> list[Figure]:
    """Kolmogorov-Smirnov distance of the lengths of sequences."""
    if not data.lengths:
        raise MetricError("sequences are cut into windows, or there is a single one")
    real, made = data.lengths["train"], data.lengths[data.part]
    if real.min() == real.max():
        raise MetricError("all sequences are of one length")
    return [Figure("series/lengths", distance(real.astype(float), made.astype(float)), "lower", n=len(made))]


@metric("privacy/closer_to_train", decides=False)
def nearest(data: SeriesSets) -> list[Figure]:
    """Share of synthetic windows that lie closer to a training window than to an unseen one, of equally many.

    Training windows beyond as many as there are unseen ones are left out, so that copies of these are near to neither:
    the note says what a model that only copies would score.
    """
    train, test, made = data.scaled()
    if data.is_real:  # of real windows: one half of the unseen ones beside the other
        made, test = test[: len(test) // 2], test[len(test) // 2 :]
    n = min(len(train), len(test))
    own, other = (_nearest(_some(made, NEAREST), _some(part, n)) for part in (train, test))
    share = float((own < other).mean() + 0.5 * (own == other).mean())
    note = f"a copier would score about {0.5 + 0.5 * n / len(train):.2f}"
    return [Figure("privacy/closer_to_train", share, "lower", ideal=0.5, n=len(own), is_share=True, note=note)]


@metric("privacy/copies", decides=False)
def copies(data: SeriesSets) -> list[Figure]:
    """Share of synthetic windows that are a training window to the last digit, wherever in its sequence that begins."""
    made = data.test[: len(data.test) // 2] if data.is_real else data.synthetic
    share = float(
        np.isin(_marks(data, *_of_windows(made)), _marks(data, *(data.whole or _of_windows(data.train)))).mean()
    )
    return [Figure("privacy/copies", share, "lower", n=len(made), is_share=True)]


def _of_windows(part: Floats) -> tuple[Floats, Floats]:
    """Steps of windows (n, T, C) one behind the other, and the first of each."""
    return part.reshape(-1, part.shape[2]), np.arange(len(part)) * part.shape[1]


def _marks(data: SeriesSets, rows: Floats, first: Floats) -> Floats:
    """A number of 64 bits for the window that begins at each of these rows (N, C), the same for the same values."""
    low, high = data.train.min(axis=(0, 1)), data.train.max(axis=(0, 1))
    known = pd.DataFrame(((rows - low) / np.where(high > low, high - low, 1.0)).round(DIGITS) + 0.0)
    of_rows = pd.util.hash_pandas_object(known, index=False).to_numpy()
    marks = np.zeros(len(first), dtype=np.uint64)
    for step in range(data.train.shape[1]):  # a polynomial in an odd number: the order of the steps counts
        marks = marks * np.uint64(0x9E3779B97F4A7C15) + of_rows[first + step]
    return marks


def _some(part: Floats, n: int) -> Floats:
    """So many of the windows at most, evenly spread."""
    return part[np.linspace(0, len(part) - 1, min(n, len(part))).round().astype(int)]


@metric("series/coverage", evenly=True)
def coverage(data: SeriesSets) -> list[Figure]:
    """Share of unseen windows that have a synthetic one within reach of their fifth neighbour (Naeem et al., 2020).

    https://arxiv.org/abs/2002.09797, eq. 5, of windows in training ranges. Neighbours share no step: a window moved by
    one step is no other, and would leave every window a reach of its own. Of real windows training ones stand in.
    """
    train, test, made = data.scaled()
    made = spread(train, len(test)) if data.is_real else made
    test = test[(at := np.linspace(0, len(test) - 1, min(NEAREST, len(test))).round().astype(int))]
    origin = data.origins["test"][at] if "test" in data.origins else np.stack([at, at * 0], axis=1)
    apart = (origin[:, None, 0] != origin[:, 0]) | (np.abs(origin[:, None, 1] - origin[:, 1]) >= test.shape[1])
    within = np.where(apart, _squares(test, test), np.inf)
    k = min(NEIGHBOURS, int(apart.sum(axis=1).min()))
    if k == 0:
        raise MetricError("unseen windows all share a step with another; keep more of the series aside")
    reach = np.partition(within, k - 1, axis=1)[:, k - 1]
    share = float((_squares(test, made).min(axis=1) <= reach).mean())
    note = "" if k == NEIGHBOURS else f"reach of neighbour {k}: unseen windows have no more that share no step"
    return [Figure("series/coverage", share, "higher", n=len(test), note=note)]


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances of windows, (len(a), len(b))."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T, 0.0)


def _nearest(made: Floats, real: Floats) -> Floats:
    """Root mean squared distance to the nearest window, (n,)."""
    a, b = made.reshape(len(made), -1), real.reshape(len(real), -1)
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    at = square.argmin(axis=1)
    return np.sqrt(((a - b[at]) ** 2).mean(axis=1))  # anew: the difference of squares loses digits


def distance(real: Floats, made: Floats) -> float:
    """Kolmogorov-Smirnov distance of two samples (n,) and (m,)."""
    at = np.concatenate([real, made])
    r, s = np.sort(real), np.sort(made)
    gaps = np.searchsorted(r, at, side="right") / len(r) - np.searchsorted(s, at, side="right") / len(s)
    return float(np.abs(gaps).max())


def autocorrelations(x: Floats) -> Floats:
    """Of lags 1 to T / 2, about the mean of all windows, (lags, C)."""
    x = x - x.mean(axis=(0, 1))
    power = (x**2).mean(axis=(0, 1)) + TINY
    most = max(x.shape[1] // 2, 1)
    return np.stack([(x[:, lag:] * x[:, :-lag]).mean(axis=(0, 1)) / power for lag in range(1, most + 1)])


def spread_lags(steps: int) -> list[int]:
    """At most twelve lags from 1 to half a window, nearly in even ratios."""
    most = max(steps // 2, 1)
    return sorted({int(lag) for lag in np.geomspace(1, most, min(LAGS, most)).round()})


def tail_index(x: Floats) -> float | None:
    """Hill's 1 / alpha of the largest twentieth of some numbers; None where these are few or not above 0."""
    k = int(TAIL * len(x))
    if k < LEAST_TAIL:
        return None
    largest = np.partition(x, len(x) - k - 1)[len(x) - k - 1 :]
    low, rest = largest[0], largest[1:]  # the smallest stands first, and is what the others lie beyond
    return float(np.log(rest / low).mean()) if low > TINY * rest.max() else None


def _is_switch(x: Floats) -> bool:
    """Whether a column has too few values for its changes to have tails."""
    return len(np.unique(x)) < LEAST_TAIL


def _correlation_gap(data: SeriesSets, lag: int) -> float:
    """Mean absolute difference of the correlations of different columns so many steps apart."""
    real, made = _correlations(data.train, lag), _correlations(data.synthetic, lag)
    return float(np.abs(real - made)[~np.eye(len(real), dtype=bool)].mean())


def _correlations(x: Floats, lag: int) -> Floats:
    a = x[:, : x.shape[1] - lag].reshape(-1, x.shape[2])
    b = x[:, lag:].reshape(-1, x.shape[2])
    a, b = ((part - part.mean(axis=0)) / (part.std(axis=0) + TINY) for part in (a, b))
    return a.T @ b / len(a)


def spectra(x: Floats) -> Floats:
    """Logarithm of the mean power of windows (n, T, C), mean taken out, at frequencies 1 / T to 1 / 2, (F, C)."""
    size = 1.0 + (x**2).mean(axis=(0, 1))  # of each column by itself: prices stand beside volumes
    x = x - x.mean(axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(x, axis=1)) ** 2).mean(axis=0)[1:]
    return np.log10(power + TINY * (power.max(axis=0) + TINY * size))
