"""What the arms of a study have reached, read from its cells: figures, differences, intervals.

An interval covers two things that might have come out otherwise. Which test rows there are: bootstrap draws, the same
for every arm, so that differences are paired. And which training rows there are: learners fitted again on random halves
of them, drawn anew for each arm's real and synthetic rows. The variance of a statistic over halves drawn without
replacement is what it is over samples of the whole size (the delete-half jackknife; Shao and Wu, 1989,
https://doi.org/10.1214/aos/1176347263), so both are added, and Student's quantile has the degrees of freedom of the
sum (Welch, 1947). Without at least two halves a difference has no interval and is never called one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from datakiln.studies.scores import BETTER, Array, interval
from datakiln.wording import number

Cells = Mapping[str, Mapping[str, Any]]
FIGURES = {
    "auc": "ROC-AUC", "average_precision": "average precision", "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy", "f1": "macro F1", "calibration_error": "calibration error", "brier": "Brier score",
    "r2": "R2", "rmse": "RMSE",
}  # fmt: skip
RANGES = {"r2": (-math.inf, 1.0), "rmse": (0.0, math.inf), "brier": (0.0, 2.0)}  # of the others 0 to 1
HALF = "half"  # the last part of the name of a cell that learnt from half the rows begins with it


@dataclass(frozen=True)
class Measured:
    """A figure or a difference of two, with its 95 % interval; without end where nothing is known of it."""

    value: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def excludes_zero(self) -> bool:
        """Whether chance does not explain it: only then is a difference called one."""
        return self.low > 0 or self.high < 0

    @property
    def text(self) -> str:
        """Such as "0.912 [0.905, 0.918]"."""
        told = f"[{number(self.low)}, {number(self.high)}]" if self.is_known else "[no interval]"
        return f"{number(self.value)} {told}"


def combined(values: Sequence[float] | Array, again: Sequence[float] | Array, means_of: float = 1.0) -> Measured:
    """A statistic with an interval over test rows and training rows together.

    Arguments:
        values: The statistic, then its bootstrap over test rows; draws in which it is not defined are NaN.
        again: The same with other training rows, on the test rows as they are: fitted to halves, or one for each seed.
        means_of: How many of `again` the statistic is the mean of; 1 for halves.
    """
    value, drawn = float(values[0]), np.asarray(values, dtype=np.float64)[1:]
    drawn, found = drawn[~np.isnan(drawn)], np.asarray(again, dtype=np.float64)
    found = found[~np.isnan(found)]
    if len(found) < 2 or math.isnan(value):
        return Measured(value, -math.inf, math.inf)
    trained = float(found.var(ddof=1)) / means_of
    total = trained + (float(drawn.var(ddof=1)) if len(drawn) > 1 else 0.0)
    if total == 0.0:
        return Measured(value, value, value)
    freedom = (len(found) - 1) * (total / trained) ** 2 if trained else math.inf
    half = float(student.ppf(0.975, freedom)) * math.sqrt(total)
    return Measured(value, value - half, value + half)


def replicates(cells: Cells, learner: str, arm: str, figure: str) -> Array | None:
    """A figure and its bootstrap after learning from all rows of an arm; None where that has not ended."""
    cell = cells.get(f"{learner}/{arm}/0")
    return None if cell is None else np.asarray(cell["figures"][figure], dtype=np.float64)


def halves(cells: Cells, learner: str, arm: str, figure: str) -> dict[str, float]:
    """The figure after learning from each half of an arm's rows, by its number."""
    start = f"{learner}/{arm}/{HALF} "
    return {
        name.removeprefix(start): float(np.asarray(cell["figures"][figure], dtype=np.float64)[0])
        for name, cell in cells.items()
        if name.startswith(start)
    }


def measured(cells: Cells, learner: str, arm: str, figure: str) -> Measured | None:
    """A figure of an arm; of an arm without halves the interval is over test rows alone."""
    values = replicates(cells, learner, arm, figure)
    if values is None:
        return None
    found = combined(values, list(halves(cells, learner, arm, figure).values()))
    if not found.is_known:
        return Measured(*interval(values))
    return within_range(found, figure)


def within_range(found: Measured, figure: str) -> Measured:
    """The figure with its interval cut where it cannot be: a normal one of an accuracy near 1 goes beyond."""
    low, high = RANGES.get(figure, (0.0, 1.0))
    return Measured(found.value, max(found.low, low), min(found.high, high)) if found.is_known else found


def difference(cells: Cells, learner: str, arm: str, other: str, figure: str) -> Measured | None:
    """How much better an arm is than another on the same test rows; positive is better, whatever the figure."""
    values, others = (replicates(cells, learner, name, figure) for name in (arm, other))
    if values is None or others is None:
        return None
    sign = 1.0 if BETTER[figure] == "higher" else -1.0
    a, b = (halves(cells, learner, name, figure) for name in (arm, other))
    return combined(sign * (values - others), [sign * (a[k] - b[k]) for k in a if k in b])
