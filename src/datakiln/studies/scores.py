"""Figures of predictions on test rows, with intervals: every figure at once for many reweightings of the rows.

A row of `weights` holds how often each test row was drawn (Efron, 1979); the first one holds ones, so that the first
value of every figure is the figure itself and the others are its bootstrap. Two models that are judged on the same rows
with the same weights are compared pair by pair, which takes out what the rows have in common.

Classes of fewer than five test rows are left out of means, unless all are so rare: one row right or wrong would move
the mean by more than all others, and the bootstrap, which draws that row or not, would not show it. With two classes
the second one, the rarer in training, is the positive one of AUC, average precision and calibration; with more, each is
that against the rest, and their mean counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Figures = dict[str, Array]
DRAWS = 200
BINS = 10
FEWEST_OF_CLASS = 5
LEVELS = np.linspace(0.0, 1.0, 26)  # of recall, at which a precision-recall curve is kept
BETTER = {"auc": "higher", "average_precision": "higher", "balanced_accuracy": "higher", "accuracy": "higher",
          "f1": "higher", "calibration_error": "lower", "brier": "lower", "r2": "higher", "rmse": "lower"}  # fmt: skip


def weights(n: int, seed: int, draws: int = DRAWS) -> NDArray[np.float32]:
    """How often each of n rows is drawn, shape (1 + draws, n); the first row holds ones."""
    rng = np.random.default_rng([seed, 12])
    drawn = rng.multinomial(n, np.full(n, 1.0 / n), size=draws)
    return np.concatenate([np.ones((1, n)), drawn]).astype(np.float32)


def classification(truth: NDArray[np.int64], probabilities: Array, drawn: NDArray[np.float32]) -> Figures:
    """Every figure of a classifier, each of shape (len(drawn),).

    Arguments:
        truth: Class of each row, shape (n,).
        probabilities: Shape (n, classes), rows summing to 1.
        drawn: See `weights`.
    """
    present = telling_classes(truth)
    positive = present[-1:] if len(present) == 2 and probabilities.shape[1] == 2 else present
    ranks = [ranking(truth == c, probabilities[:, c], drawn) for c in positive]
    guess = probabilities.argmax(axis=1)
    right, hits = drawn @ (guess == truth), []
    f1s = []
    for c in present:
        of_class, said = drawn @ (truth == c), drawn @ (guess == c)
        both = drawn @ ((truth == c) & (guess == c))
        hits.append(_ratio(both, of_class))
        f1s.append(np.where(of_class > 0, 2 * both / np.maximum(of_class + said, 1e-9), np.nan))
    hot = truth[:, None] == np.arange(probabilities.shape[1])
    return {
        "auc": _mean([auc for auc, _ in ranks]),
        "average_precision": _mean([precision for _, precision in ranks]),
        "balanced_accuracy": _mean(hits),
        "accuracy": right / drawn.sum(axis=1),
        "f1": _mean(f1s),
        "calibration_error": _mean([calibration_error(truth == c, probabilities[:, c], drawn) for c in positive]),
        "brier": drawn @ ((probabilities - hot) ** 2).sum(axis=1) / drawn.sum(axis=1),
    }


def telling_classes(truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """The classes of at least `FEWEST_OF_CLASS` rows; all that there are, if fewer than two are left."""
    present, counts = np.unique(truth, return_counts=True)
    telling = present[counts >= FEWEST_OF_CLASS]
    return telling if len(telling) > 1 else present


def regression(truth: Array, guess: Array, drawn: NDArray[np.float32]) -> Figures:
    """R2 and root mean square error in the target's unit, each of shape (len(drawn),)."""
    shift, scale = truth.mean(), truth.std() or 1.0  # sums of squares of dates would not fit single precision
    y, error, total = (truth - shift) / scale, (truth - guess) / scale, drawn.sum(axis=1)
    squared = (drawn.astype(np.float64) @ error**2) / total
    mean = (drawn.astype(np.float64) @ y) / total
    variance = (drawn.astype(np.float64) @ y**2) / total - mean**2
    return {"r2": 1.0 - _ratio(squared, variance), "rmse": np.sqrt(squared) * scale}


def ranking(is_positive: NDArray[np.bool_], score: Array, drawn: NDArray[np.float32]) -> tuple[Array, Array]:
    """ROC-AUC and average precision, ties counted half; NaN where a draw has one class only."""
    order = np.argsort(score, kind="stable")
    sorted_score = score[order]
    starts = np.flatnonzero(np.r_[True, sorted_score[1:] != sorted_score[:-1]])
    both = drawn[:, order].astype(np.float64)
    positive = np.add.reduceat(both * is_positive[order], starts, axis=1)
    negative = np.add.reduceat(both, starts, axis=1) - positive
    n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
    below = np.cumsum(negative, axis=1) - negative
    auc = _ratio(((below + negative / 2) * positive).sum(axis=1), n_positive * n_negative)
    hits, misses = np.cumsum(positive[:, ::-1], axis=1), np.cumsum(negative[:, ::-1], axis=1)
    precision = hits / np.maximum(hits + misses, 1e-9)
    return auc, _ratio((precision * positive[:, ::-1]).sum(axis=1), n_positive)


def calibration_error(is_positive: NDArray[np.bool_], score: Array, drawn: NDArray[np.float32]) -> Array:
    """Expected calibration error over ten bins of equal width (Naeini et al., 2015)."""
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    total = np.zeros(len(drawn))
    for b in np.unique(bins):
        total += np.abs(drawn[:, bins == b] @ (score - is_positive)[bins == b])
    return np.asarray(total / drawn.sum(axis=1))


def curves(is_positive: NDArray[np.bool_], score: Array) -> dict[str, list[float]]:
    """Precision at even levels of recall; and of ten bins of scores the mean, the share of positives, the rows."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(is_positive[order])
    ends = np.flatnonzero(np.r_[score[order][1:] != score[order][:-1], True])
    precision, recall = hits[ends] / (ends + 1), hits[ends] / max(hits[-1], 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.minimum(np.searchsorted(recall, LEVELS, side="left"), len(best) - 1)
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    parts = [bins == b for b in np.unique(bins)]
    return {
        "precision": [round(float(value), 4) for value in best[at]],
        "said": [round(float(score[part].mean()), 4) for part in parts],
        "happened": [round(float(is_positive[part].mean()), 4) for part in parts],
        "rows": [float(part.sum()) for part in parts],
    }


def interval(values: Array) -> tuple[float, float, float]:
    """A figure with its 95 % bootstrap interval (percentiles); draws in which it is not defined are left out."""
    drawn = values[1:][~np.isnan(values[1:])]
    if len(drawn) < 2:
        return float(values[0]), float("nan"), float("nan")
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(values[0]), float(low), float(high)


def _ratio(above: Array, below: Array) -> Array:
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))


def _mean(parts: list[Array]) -> Array:
    """Mean over the classes that a draw has; NaN where it has none of them."""
    stacked = np.stack(parts)
    count = (~np.isnan(stacked)).sum(axis=0)
    return _ratio(np.nansum(stacked, axis=0), count.astype(np.float64))
