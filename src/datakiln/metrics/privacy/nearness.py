"""How far the distance to the nearest synthetic row tells training rows from others: the simplest attack on members."""

from __future__ import annotations

import math

import numpy as np

from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.tables.columns import tables
from datakiln.metrics.tables.nearest import nearest
from datakiln.metrics.tables.space import Space

ROWS = 5_000  # of train and of holdout, at most


def distance_attack(data: EvalData, rows: int = ROWS) -> tuple[float, float]:
    """AUC of the guess that of two real rows the one nearer to the synthetic ones was trained on; ties count half.

    0.5 shows no memory, 1 tells every member. The standard error is that of rows which nothing tells apart (Mann and
    Whitney, 1947): sqrt((n + m + 1) / (12 n m)).

    Arguments:
        data: The tables.
        rows: Of train and of holdout, at most; the synthetic ones all count.

    Returns:
        The AUC and its standard error.

    Raises:
        MetricError: No training or no unseen row.
    """
    t = tables(data)
    rng = np.random.default_rng([data.seed, 22])
    train, holdout = (part.take(rng.permutation(len(part))[:rows]) for part in (t.train, t.holdout))
    n, m = len(train), len(holdout)
    if not n or not m:
        raise MetricError("it needs rows that were trained on and others that were not")
    space = Space.by_range(t)
    base = space.points(t.synthetic)
    seen, unseen = (nearest(space, space.points(part), base).first for part in (train, holdout))
    order = np.sort(unseen)
    further = m - np.searchsorted(order, seen, side="right")
    ties = m - further - np.searchsorted(order, seen, side="left")
    value = float((further + 0.5 * ties).sum() / (n * m))
    return value, math.sqrt((n + m + 1) / (12.0 * n * m))
