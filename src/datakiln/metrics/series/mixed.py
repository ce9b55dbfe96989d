"""Figures of what the numbers of a step do not show: states and their transitions, static columns, steps of time."""

from __future__ import annotations

import numpy as np

from datakiln.metrics.base import Figure, MetricError, metric, worst_first
from datakiln.metrics.series.fidelity import distance
from datakiln.metrics.series.sets import Floats, SeriesSets, spread

EVEN = 1e-6  # share of a step that even ones may differ by
LEAST_SEQUENCES = 8  # that an association of sequences is told from
TINY = 1e-9


@metric("series/transitions", evenly=True)
def transitions(data: SeriesSets) -> list[Figure]:
    """Total variation of the first-order transition probabilities of categories, mean over columns.

    sum_i p_i / 2 sum_j |P_ij - Q_ij| with P of training windows and p the share of their steps in state i; a state
    that no synthetic step leaves counts as all wrong. Rare states beyond the eight most frequent are one.

    Raises:
        MetricError: No column of a step holds categories, or none ever changes in real windows.
    """
    places = {name: at for name, at in data.choices.items() if name not in data.static}
    if not places:
        raise MetricError("no column of a step holds categories")
    parts = {}
    for name, at in places.items():
        real, made = (transition_counts(states(part, at), len(at) + 1) for part in (data.train, data.synthetic))
        if (real - np.diag(np.diag(real))).any():
            parts[name] = transition_distance(real, made)
    if not parts:
        raise MetricError("no column of categories ever changes within real windows")
    value = float(np.mean(list(parts.values())))
    return [Figure("series/transitions", value, "lower", detail=worst_first(parts, "lower"), n=len(data.synthetic))]


@metric("series/static_association")
def static_association(data: SeriesSets) -> list[Figure]:
    """Mean absolute difference of correlations of static columns with what sequences do.

    Of every static number and category, as 0 or 1, with the mean and the mean absolute change of every other column
    over a sequence; each sequence counts once, and there are as many synthetic ones as unseen.

    Raises:
        MetricError: There are no static columns, or fewer than eight sequences.
    """
    own = [j for j, name in enumerate(data.sources) if name in data.static]
    others = [j for j in range(len(data.names)) if j not in own]
    if not own or not others:
        raise MetricError("no static columns" if not own else "no columns but static ones")
    sides = [_sequences(data, name, own, others) for name in ("train", "test", data.part)]
    n = min(len(sides[1]), len(sides[2]))
    if n < LEAST_SEQUENCES:
        raise MetricError(f"{n} sequences with a whole window are fewer than {LEAST_SEQUENCES}")
    real, made = (_associations(side, len(own)) for side in (sides[0], spread(sides[2], n)))
    parts = {}
    for i, static in enumerate(own):
        for k, j in enumerate(others):
            gap = np.abs(real[i, k :: len(others)] - made[i, k :: len(others)])
            parts[f"{data.names[static]} / {data.names[j]}"] = float(gap.mean())
    value = float(np.mean(list(parts.values())))
    detail = worst_first(parts, "lower")
    return [Figure("series/static_association", value, "lower", high=2.0, detail=detail, n=n)]


@metric("series/time_steps", decides=False)
def time_steps(data: SeriesSets) -> list[Figure]:
    """Kolmogorov-Smirnov distance of the time between rows that follow each other.

    Raises:
        MetricError: There is no column of times, or all real and synthetic steps are the same.
    """
    if not data.gaps:
        raise MetricError("no column of times in all parts of the data")
    real, made = data.gaps["train"], data.gaps[data.part]
    if min(len(real), len(made)) == 0:
        raise MetricError("no row follows another one")
    usual = float(np.median(real))
    if all(np.abs(data.gaps[part] - usual).max() <= EVEN * abs(usual) for part in ("train", "synthetic")):
        raise MetricError("times are in even steps, real and synthetic ones")
    return [Figure("series/time_steps", distance(real, made), "lower", n=len(made))]


def states(windows: Floats, places: tuple[int, ...]) -> Floats:
    """State of each step, int (n, T): the number of the 0-or-1 column that is 1, from 1; 0 where none is."""
    shown = windows[..., list(places)] > 0.5
    return np.where(shown.any(axis=-1), shown.argmax(axis=-1) + 1, 0)


def transition_counts(found: Floats, count: int) -> Floats:
    """How often state j follows i, (count, count)."""
    pairs = found[:, :-1] * count + found[:, 1:]
    return np.bincount(pairs.ravel(), minlength=count**2).reshape(count, count).astype(float)


def transition_distance(real: Floats, made: Floats) -> float:
    """Total variation of the rows of transition matrices, given as counts, weighted by how often real steps leave i."""
    left, own = real.sum(axis=1), made.sum(axis=1)
    p, q = (part / np.maximum(total, 1.0)[:, None] for part, total in ((real, left), (made, own)))
    gaps = np.where(own > 0, 0.5 * np.abs(p - q).sum(axis=1), 1.0)
    return float((left * gaps).sum() / left.sum())


def _sequences(data: SeriesSets, part: str, own: list[int], others: list[int]) -> Floats:
    """Of each sequence with a whole window its static cells and means over windows, (n, own + 2 * others)."""
    windows = {"train": data.train, "test": data.test}.get(part, data.synthetic)
    moving = windows[..., others]
    found = [windows[:, 0, own], moving.mean(axis=1), np.abs(np.diff(moving, axis=1)).mean(axis=1)]
    cells = np.concatenate(found, axis=1)
    origin = data.origins.get("synthetic" if part == "naive" else part)
    if origin is None:
        return cells
    _, of, counts = np.unique(origin[:, 0], return_inverse=True, return_counts=True)
    total = np.zeros((len(counts), cells.shape[1]))
    np.add.at(total, of, cells)
    return total / counts[:, None]


def _associations(x: Floats, own: int) -> Floats:
    """Correlations of the first columns with the others, (own, others); 0 where either is constant."""
    x = x - x.mean(axis=0)
    scale = x.std(axis=0)
    x = x / np.where(scale > TINY, scale, 1.0)
    return x[:, :own].T @ x[:, own:] / len(x)
