"""Classifier two-sample tests: can a classifier tell synthetic from unseen real rows? (Lopez-Paz and Oquab, 2017).

The figure is the mean AUC over the folds of a stratified cross-validation, with as many rows of one kind as of the
other. 0.5 means that it cannot, 1 that it always can. The real rows are those of the holdout: beside the training rows
a generator that repeats them would look better than real data does. `n` is the number of rows of each kind, that of the
holdout at most. The ceiling is real rows beside other real rows, the floor real rows with each column shuffled. Whether
a generator repeats its training rows is not seen here but by the figures of privacy. A linear model sees columns one by
one, so the floor fools it: gradient boosting, which sees relations, is the one to trust.
"""

from __future__ import annotations

import math

import numpy as np

from datakiln.metrics.base import EvalData, Figure, MetricError, metric
from datakiln.metrics.tables.columns import Coded, tables
from datakiln.metrics.tables.learners import Learner, fit_classifier
from datakiln.metrics.tables.manifold import equal_samples
from datakiln.metrics.tables.references import Unseen

FEW = 100  # rows of each kind; with fewer, the AUC of real data strays by 0.08 and more


@metric("twosample/boosting_auc", plan=Unseen(2, 1))
def boosting(data: EvalData, folds: int = 5, rows: int = 50_000) -> list[Figure]:
    """AUC of gradient boosting, with categories and missing cells as such; see `logistic` for the arguments."""
    return [_auc(data, "boosting", folds, rows)]


@metric("twosample/logistic_auc", plan=Unseen(4, 2))
def logistic(data: EvalData, folds: int = 5, rows: int = 50_000) -> list[Figure]:
    """AUC of a logistic regression on standardised numbers and one-hot categories.

    Arguments:
        data: The tables.
        folds: Parts of the cross-validation.
        rows: Most rows of each kind.

    Raises:
        MetricError: Fewer rows of a kind than folds.
    """
    return [_auc(data, "linear", folds, rows)]


def _auc(data: EvalData, learner: Learner, folds: int, rows: int) -> Figure:
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    name = "twosample/boosting_auc" if learner == "boosting" else "twosample/logistic_auc"
    t = tables(data)
    if len(data.holdout) == 0:
        raise MetricError("it needs real rows that the generator has not seen, and there is no holdout", name)
    real, synthetic = equal_samples(t.holdout, t.synthetic, rows, data.seed)
    n = len(real)
    if n < folds:
        raise MetricError(f"{n} rows of each kind are fewer than folds={folds}", name)
    both = Coded(np.concatenate([real.numbers, synthetic.numbers]), np.concatenate([real.codes, synthetic.codes]))
    labels = np.repeat([0, 1], n)
    parts = {}
    splits = StratifiedKFold(folds, shuffle=True, random_state=data.seed).split(labels, labels)
    for i, (fit, test) in enumerate(splits, start=1):
        model = fit_classifier(learner, both.take(fit), labels[fit], 2, data.seed)
        parts[f"fold {i}"] = float(roc_auc_score(labels[test], model.probabilities(both.take(test))[:, 1]))
    value = float(np.mean(list(parts.values())))
    note = f"{n} rows of each kind say little" if n < FEW else ""
    # of an AUC of n against n rows that nothing tells apart (Mann and Whitney, 1947): sqrt((2n + 1) / (12 n^2))
    noise = math.sqrt((2 * n + 1) / 12) / n
    return Figure(name, value, "lower", detail=parts, ideal=0.5, n=n, note=note, noise=noise)
