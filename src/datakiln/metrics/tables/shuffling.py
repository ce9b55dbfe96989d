"""Rows with strange cells, and how well a score tells them: anomalies whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.metrics.tables.columns import Tables
from datakiln.metrics.tables.nearest import nearest
from datakiln.metrics.tables.space import Space


def with_shuffled_cells(rows: pd.DataFrame, names: list[str], share: float, seed: int) -> pd.DataFrame:
    """Rows of which each cell stands, with a probability, where another row has it: all margins stay as they are.

    Arguments:
        rows: Real rows.
        names: Columns whose cells are moved.
        share: Probability of each cell; one cell of every row is moved at least.
        seed: Of the choice.
    """
    rng = np.random.default_rng([seed, 32])
    moved = rng.random((len(rows), len(names))) < share
    moved[np.arange(len(rows)), rng.integers(len(names), size=len(rows))] = True
    made = rows.reset_index(drop=True).copy()
    for i, name in enumerate(names):
        at = np.flatnonzero(moved[:, i])
        cells = made[name].take(rng.integers(len(rows), size=len(at)))
        column = made[name].copy()
        column.iloc[at] = cells.to_numpy() if not isinstance(cells.dtype, pd.CategoricalDtype) else cells.array
        made[name] = column
    return made


def auc(usual: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    """Probability that a strange example scores higher than a usual one, ties counted half; NaN counts as lowest."""
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([usual, strange])
    known = np.isfinite(scores)
    lowest = float(scores[known].min()) - 1.0 if known.any() else 0.0
    highest = float(scores[known].max()) + 1.0 if known.any() else 0.0
    scores = np.where(scores == np.inf, highest, np.where(known, scores, lowest))
    return float(roc_auc_score(np.r_[np.zeros(len(usual)), np.ones(len(strange))], scores))


def distances_to_train(t: Tables) -> list[NDArray[np.float64]]:
    """Distance of every row of the tables behind the first to its nearest row there: the plain score of strangeness."""
    space = Space.by_spread(t)
    base = space.points(t.train)
    return [np.sqrt(nearest(space, space.points(part), base).first.astype(np.float64)) for part in t.parts[1:]]
