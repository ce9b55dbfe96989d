"""Classifier two-sample tests: can a classifier tell synthetic from unseen real rows? (Lopez-Paz and Oquab, 2017).

The figure is the mean AUC over the folds of a stratified cross-validation, with as many rows of one kind as of the
other. 0.5 means that it cannot, 1 that it always can. The real rows are those of the holdout: beside the training rows
a generator that repeats them would look better than real data does. `n` is the number of rows of each kind, that of the
holdout at most. The ceiling is real rows beside other real rows, the floor real rows with each column shuffled. Whether
a generator repeats its training rows is not seen here but by the figures of privacy. A linear model sees columns one by
one, so the floor fools it: gradient boosting, which sees relations, is the one to trust. What it needs many cuts for,
that one number equals another or is less, `boosting_relations` shows it in columns of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from datakiln.metrics.base import EvalData, Figure, MetricError, metric
from datakiln.metrics.tables.columns import Coded, Ints, tables
from datakiln.metrics.tables.derived import PAIRS, Derived, Screen
from datakiln.metrics.tables.learners import Learner, fit_classifier
from datakiln.metrics.tables.manifold import equal_samples
from datakiln.metrics.tables.references import Unseen

FEW = 100  # rows of each kind; with fewer, the AUC of real data strays by 0.08 and more
FEWEST_FEATURES = 12  # of pairs and dates, where a table has few columns
TOLD = 3


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


@metric("twosample/boosting_relations", plan=Unseen(2, 1))
def boosting_relations(data: EvalData, folds: int = 3, rows: int = 50_000, pairs: int = PAIRS) -> list[Figure]:
    """AUC of gradient boosting that is also shown differences, ratios and equality of numbers, and parts of dates.

    Which pairs, is chosen on training rows; which features of them, on the rows that each fold is fitted on: twice as
    many as there are columns. The note names what told most, where anything did.

    Arguments:
        data: The tables.
        folds: Parts of the cross-validation; fewer than those of `boosting`, since there is more to look at.
        rows: Most rows of each kind.
        pairs: Most pairs of numbers.

    Raises:
        MetricError: Fewer rows of a kind than folds, or neither two numbers nor a date.
    """
    name = "twosample/boosting_relations"
    both, labels = _mixed(data, name, folds, rows)
    derived = candidates(data, pairs)
    if not derived.features:
        raise MetricError("the table has neither two numbers nor a date: `boosting` sees all there is", name)
    screen = Screen.of(derived, both, np.random.default_rng([data.seed, 12]))
    most = max(FEWEST_FEATURES, 2 * (both.numbers.shape[1] + both.codes.shape[1]))
    gains: dict[int, float] = {}

    def fold(fit: Ints) -> Coded:
        best = screen.best(fit, labels, most)
        for i, gain in best.items():
            gains[i] = gains.get(i, 0.0) + max(gain, 0.0) / folds
        return screen.extend(both, list(best))

    figure = _figure(name, data, labels, folds, lambda fit: (fold(fit), "boosting"))
    telling = [i for i in sorted(gains, key=lambda i: -gains[i]) if gains[i] > 0][:TOLD]
    if telling and figure.value - 0.5 > 2 * (figure.noise or 0.0):
        told = ", ".join(derived.features[i].name(derived.quantities.names) for i in telling)
        figure = replace(figure, note="; ".join(filter(None, [figure.note, f"most telling: {told}"])))
    return [figure]


def candidates(data: EvalData, pairs: int = PAIRS) -> Derived:
    """Features of `boosting_relations`, chosen once: real rows in place of the synthetic are judged by the same."""
    key = f"derived {pairs}"
    if key not in data.cache:
        t = tables(data)
        data.cache[key] = Derived.choose(data.schema, t.numeric, t.train, data.seed, pairs)
    return data.cache[key]  # type: ignore[no-any-return]


def _auc(data: EvalData, learner: Learner, folds: int, rows: int) -> Figure:
    name = "twosample/boosting_auc" if learner == "boosting" else "twosample/logistic_auc"
    both, labels = _mixed(data, name, folds, rows)
    return _figure(name, data, labels, folds, lambda fit: (both, learner))


def _mixed(data: EvalData, name: str, folds: int, rows: int) -> tuple[Coded, Ints]:
    """As many unseen real rows as synthetic ones, and which is which."""
    t = tables(data)
    if len(data.holdout) == 0:
        raise MetricError("it needs real rows that the generator has not seen, and there is no holdout", name)
    real, synthetic = equal_samples(t.holdout, t.synthetic, rows, data.seed)
    n = len(real)
    if n < folds:
        raise MetricError(f"{n} rows of each kind are fewer than folds={folds}", name)
    both = Coded(np.concatenate([real.numbers, synthetic.numbers]), np.concatenate([real.codes, synthetic.codes]))
    return both, np.repeat([0, 1], n)


def _figure(
    name: str, data: EvalData, labels: Ints, folds: int, features: Callable[[Ints], tuple[Coded, Learner]]
) -> Figure:
    """The cross-validated AUC.

    Arguments:
        name: Of the figure.
        data: The tables.
        labels: Of the rows, as many 0 as 1.
        folds: Parts of the cross-validation.
        features: The rows as a fold sees them, and its learner, given those that it is fitted on.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    parts = {}
    splits = StratifiedKFold(folds, shuffle=True, random_state=data.seed).split(labels, labels)
    for i, (fit, test) in enumerate(splits, start=1):
        both, learner = features(fit)
        model = fit_classifier(learner, both.take(fit), labels[fit], 2, data.seed)
        parts[f"fold {i}"] = float(roc_auc_score(labels[test], model.probabilities(both.take(test))[:, 1]))
    n = len(labels) // 2
    value = float(np.mean(list(parts.values())))
    note = f"{n} rows of each kind say little" if n < FEW else ""
    # of an AUC of n against n rows that nothing tells apart (Mann and Whitney, 1947): sqrt((2n + 1) / (12 n^2))
    noise = math.sqrt((2 * n + 1) / 12) / n
    return Figure(name, value, "lower", detail=parts, ideal=0.5, n=n, note=note, noise=noise)
