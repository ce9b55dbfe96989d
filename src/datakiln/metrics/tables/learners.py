"""Classifiers and regressors that judge tables, and how they see rows: gradient boosting and a linear model.

Whatever an encoding learns (medians, scales, which categories are common) it learns from the rows its model is fitted
on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.tables.columns import Coded, Floats, Ints

Learner = Literal["boosting", "linear"]
MAX_CATEGORIES = 253  # scikit-learn's boosting takes 255 codes a column: these, missing, and one for all others
ONE_HOT_CATEGORIES = 64  # a linear model sees this many categories of a column, the rest together
# of few rows in many columns, boosting spends its time on bins that hold a row or two: there they hold ten at least
WIDE, ROWS_OF_BIN, BINS = 50, 10, (63, 255)


@dataclass(frozen=True)
class Encoding:
    """Rows as a matrix for one learner, fitted on some rows.

    Attributes:
        learner: "boosting" (numbers with NaN, integer categories) or "linear" (standardised numbers, one-hot
            categories).
        known: Which numbers have a value in the fitted rows; the others say nothing and are 0.
        fill: Median of every number.
        mean: Mean of every number after filling.
        scale: Standard deviation of it, 1 where there is none.
        widths: Codes of every category column: missing, the known ones, and last the others, rare or never seen.
    """

    learner: Learner
    known: NDArray[np.bool_]
    fill: Floats
    mean: Floats
    scale: Floats
    widths: tuple[int, ...]

    @classmethod
    def fit(cls, learner: Learner, part: Coded) -> Encoding:
        """Learns medians, scales and the number of categories."""
        known = np.asarray((~np.isnan(part.numbers)).any(axis=0))
        fill = np.array(
            [np.median(c[~np.isnan(c)]) if there else 0.0 for c, there in zip(part.numbers.T, known, strict=True)]
        )
        filled = np.where(np.isnan(part.numbers), fill, part.numbers)
        spread = filled.std(axis=0)
        most = MAX_CATEGORIES if learner == "boosting" else ONE_HOT_CATEGORIES
        widths = tuple(min(int(codes.max(initial=-1)) + 1, most) + 2 for codes in part.codes.T)
        return cls(learner, known, fill, filled.mean(axis=0), np.where(spread > 0, spread, 1.0), widths)

    @property
    def is_category(self) -> NDArray[np.bool_]:
        """Which columns of the boosting matrix hold categories."""
        return np.arange(len(self.fill) + len(self.widths)) >= len(self.fill)

    def __call__(self, part: Coded) -> NDArray[np.float32]:
        """Rows to a matrix, shape (n, features)."""
        codes = [np.minimum(c + 1, width - 1) for c, width in zip(part.codes.T, self.widths, strict=True)]
        numbers = np.where(self.known, part.numbers, 0.0)
        missing = np.isnan(numbers)
        scaled = (numbers - self.mean) / self.scale
        if self.learner == "boosting":
            return np.column_stack([scaled, *codes]).astype(np.float32)
        scaled = np.where(missing, (self.fill - self.mean) / self.scale, scaled)
        hot = [np.eye(width, dtype=np.float32)[c] for c, width in zip(codes, self.widths, strict=True)]
        return np.concatenate([scaled.astype(np.float32), missing.astype(np.float32), *hot], axis=1)


@dataclass(frozen=True)
class Model:
    """A fitted learner with its encoding; a class that it has never seen has probability 0."""

    encoding: Encoding
    estimator: Any
    classes: int

    def probabilities(self, part: Coded) -> Floats:
        """Class probabilities, shape (n, classes)."""
        result = np.zeros((len(part), self.classes))
        result[:, self.estimator.classes_] = self.estimator.predict_proba(self.encoding(part))
        return result

    def values(self, part: Coded) -> Floats:
        """Predicted numbers, shape (n,)."""
        return np.asarray(self.estimator.predict(self.encoding(part)), dtype=np.float64)


def fit_classifier(learner: Learner, part: Coded, labels: Ints, classes: int, seed: int) -> Model:
    """A classifier of rows; labels in [0, classes). With one class only it always answers that class."""
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    encoding = Encoding.fit(learner, part)
    if len(np.unique(labels)) == 1:
        estimator: Any = DummyClassifier(strategy="prior")
    elif learner == "boosting":
        options = _boosting(encoding, len(part), seed)
        # stopping early holds out a tenth of every class, so there must be something to hold out
        options["early_stopping"] = len(part) > 10_000 and np.unique(labels, return_counts=True)[1].min() > 1
        estimator = HistGradientBoostingClassifier(**options)
    else:
        estimator = LogisticRegression(max_iter=300, tol=1e-3)
    return Model(encoding, _fitted(estimator, encoding(part), labels), classes)


def fit_regressor(learner: Learner, part: Coded, values: Floats, seed: int) -> Model:
    """A regressor of a number on rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge

    encoding = Encoding.fit(learner, part)
    estimator = (
        HistGradientBoostingRegressor(**_boosting(encoding, len(part), seed)) if learner == "boosting" else Ridge()
    )
    return Model(encoding, _fitted(estimator, encoding(part), values), 0)


def _boosting(encoding: Encoding, rows: int, seed: int) -> dict[str, Any]:
    # scikit-learn's 20 rows a leaf would let a table of forty rows grow no tree at all
    leaf = int(np.clip(rows // 20, 5, 20))
    options = {"categorical_features": encoding.is_category, "min_samples_leaf": leaf, "random_state": seed}
    if len(encoding.is_category) > WIDE:  # a category takes a bin whatever it holds
        options["max_bins"] = int(np.clip(max(rows // ROWS_OF_BIN, *encoding.widths, 0), *BINS))
    return options


def _fitted(estimator: Any, x: NDArray[np.float32], y: Ints | Floats) -> Any:  # noqa: ANN401 (scikit-learn is untyped)
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # a logistic model that separates the classes has no finite optimum: its last step is as good a judge
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, y)
