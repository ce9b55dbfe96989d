"""Is synthetic data good for what people do with data? Learn the label from it and be judged on real, unseen rows.

`tstr` trains on synthetic and tests on real rows (Esteban et al., 2017), on as many rows as there are training rows at
most, unless it is told otherwise; its ceiling is the same learner trained on as many real training rows, its floor on
columns resampled independently. `augmented` trains on real and synthetic rows together; its ceiling stands for real
rows alone, which a useful generator passes. All are tested on the same holdout rows (`n`). Chance is that of learning
from one half of the training rows or the other.

The floor's AUC scatters widely around 0.5: where there is no relation to learn, some column still ranks the rows.

A label of classes is judged by AUC (one against the rest, mean over the holdout's classes), accuracy and F1 (mean over
the holdout's classes); a class that the training rows lack is never predicted and its AUC is 0.5, as it should be. A
numeric label is judged by R2 and root mean square error in the label's own unit (seconds for dates). Rows without label
are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from datakiln.metrics.base import EvalData, Figure, MetricError, metric, worst_first
from datakiln.metrics.tables.columns import Coded, Floats, Ints, Tables, tables
from datakiln.metrics.tables.learners import Learner, Model, fit_classifier, fit_regressor
from datakiln.metrics.tables.references import Lessons

MAX_CLASSES = 50  # boosting grows a tree for each of them, a hundred times


@metric("utility/tstr_auc", plan=Lessons())
def tstr(data: EvalData, learner: Learner = "boosting", rows: int | None = None) -> list[Figure]:
    """Train on synthetic rows, test on the holdout.

    Arguments:
        data: The tables.
        learner: "boosting", or "linear" for logistic or ridge regression, whose figures carry that word.
        rows: Synthetic rows to learn from, at most; None for as many as there are training rows. More than that is what
            a generator has to offer beyond the table, of which the ceiling has no more.

    Raises:
        MetricError: No label, no other column, or a holdout without rows or with one class only; or no rows asked for.
    """
    if rows is not None and rows < 1:
        raise MetricError(f"rows={rows} must be at least 1, or null", *_names(data, _stem("tstr", learner)))
    found = _learn(
        data, "tstr", learner, lambda t: t.synthetic.sample(rows or len(t.train), np.random.default_rng([data.seed, 8]))
    )
    used = min(rows or 0, len(data.synthetic))
    return [replace(figure, note=f"learnt from {used:,} rows") for figure in found] if rows is not None else found


@metric("utility/augmented_auc", plan=Lessons(is_added=True))
def augmented(data: EvalData, learner: Learner = "boosting") -> list[Figure]:
    """Train on real and synthetic rows together, test on the holdout; see `tstr`."""
    return _learn(data, "augmented", learner, lambda t: _joined(t.train, t.synthetic))


def _learn(data: EvalData, prefix: str, learner: Learner, pick: Callable[[Tables], Coded]) -> list[Figure]:
    t = tables(data)
    names = _names(data, _stem(prefix, learner))
    if data.schema.label is None:
        raise MetricError("no label; name one with target= (of a training, data.target=)", *names)
    if len(t.numeric) + len(t.choices) < 2:
        raise MetricError("no column but the label", *names)
    judge = _regression if data.schema.label in t.numeric else _classification
    return judge(t, data, names, learner, pick(t))


def _stem(prefix: str, learner: Learner) -> str:
    return f"utility/{prefix}" + ("_linear" if learner == "linear" else "")


def _names(data: EvalData, stem: str) -> tuple[str, ...]:
    is_numeric = data.schema.label in data.schema.numeric
    return tuple(f"{stem}_{figure}" for figure in (("r2", "rmse") if is_numeric else ("auc", "accuracy", "f1")))


def _classification(t: Tables, data: EvalData, names: tuple[str, ...], learner: Learner, fit: Coded) -> list[Figure]:
    from sklearn.metrics import accuracy_score, f1_score

    column = _position(t.choices, data.schema.label, names)
    x, y = _split(fit, "codes", column)
    test, truth = _split(t.holdout, "codes", column)
    present = np.unique(truth)
    if len(t.categories[column]) > MAX_CLASSES:
        raise MetricError(
            f"{len(t.categories[column])} classes are more than the {MAX_CLASSES} it is computed for", *names
        )
    if len(y) == 0 or len(present) < 2:
        raise MetricError(_lacking(len(y), len(truth), "one class only"), *names)
    model = _fitted(data, learner, lambda: fit_classifier(learner, x, y, len(t.categories[column]), data.seed))
    probabilities = model.probabilities(test)
    guess = probabilities.argmax(axis=1)
    aucs = _aucs(truth, probabilities, present)
    detail = (
        {str(t.categories[column][c]): auc for c, auc in zip(present, aucs, strict=True)} if len(present) > 2 else None
    )
    f1 = f1_score(truth, guess, labels=present, average="macro", zero_division=0.0)
    values = (float(np.mean(aucs)), float(accuracy_score(truth, guess)), float(f1))
    details = (detail and worst_first(detail, "higher"), None, None)
    return [
        Figure(name, value, "higher", detail=parts, n=len(truth))
        for name, value, parts in zip(names, values, details, strict=True)
    ]


def _regression(t: Tables, data: EvalData, names: tuple[str, ...], learner: Learner, fit: Coded) -> list[Figure]:
    column = t.numeric.index(str(data.schema.label))
    x, y = _split(fit, "numbers", column)
    test, truth = _split(t.holdout, "numbers", column)
    if len(y) < 2 or len(truth) < 2 or np.ptp(truth) == 0:
        raise MetricError(_lacking(len(y) - 1, len(truth), "one value only"), *names)
    guess = _fitted(data, learner, lambda: fit_regressor(learner, x, y, data.seed)).values(test)
    error = float(np.mean((truth - guess) ** 2))
    r2 = Figure(names[0], 1.0 - error / float(truth.var()), "higher", low=None, n=len(truth))
    return [r2, Figure(names[1], float(np.sqrt(error)), "lower", high=None, n=len(truth))]


def _fitted(data: EvalData, learner: Learner, fit: Callable[[], Model]) -> Model:
    """The fitted learner, once where several metrics learn from the same rows."""
    fits: dict[str, Model] = data.cache.get("fits", {})
    if learner not in fits:
        fits[learner] = fit()
    return fits[learner]


def _position(choices: tuple[str, ...], label: str | None, names: tuple[str, ...]) -> int:
    if label not in choices:
        raise MetricError(f"the label {label} is an id, text or constant", *names)
    return choices.index(label)


def _lacking(fit: int, test: int, same: str) -> str:
    if fit <= 0:
        return "no row with a label to train on"
    return f"{test} holdout rows have {same}; keep more rows aside" if test else "no holdout row has a label"


def _split(part: Coded, kind: Literal["numbers", "codes"], column: int) -> tuple[Coded, Any]:
    """Features and label of the rows that have one."""
    values = getattr(part, kind)
    label = values[:, column]
    seen = np.flatnonzero(label >= 0 if kind == "codes" else ~np.isnan(label))
    features = replace(part, **{kind: np.delete(values, column, axis=1)})
    return features.take(seen), label[seen]


def _aucs(truth: Ints, probabilities: Floats, classes: Ints) -> list[float]:
    from sklearn.metrics import roc_auc_score

    return [float(roc_auc_score(truth == c, probabilities[:, c])) for c in classes]


def _joined(first: Coded, second: Coded) -> Coded:
    return Coded(np.concatenate([first.numbers, second.numbers]), np.concatenate([first.codes, second.codes]))
