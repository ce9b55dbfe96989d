"""What the arms of a study have reached, read from its cells: figures, differences, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datakiln.studies.scores import BETTER, Array, interval
from datakiln.wording import number

Cells = Mapping[str, Mapping[str, Any]]
FIGURES = {
    "auc": "ROC-AUC", "average_precision": "average precision", "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy", "f1": "macro F1", "calibration_error": "calibration error", "brier": "Brier score",
    "r2": "R2", "rmse": "RMSE",
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A figure or a difference of two, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether chance does not explain it: only then is a difference called one."""
        return self.low > 0 or self.high < 0

    @property
    def text(self) -> str:
        """Such as "0.912 [0.905, 0.918]"."""
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


def replicates(cells: Cells, learner: str, arm: str, figure: str) -> Array | None:
    """A figure and its bootstrap, mean over the repeats that have ended; None where none has."""
    found = [cell["figures"][figure] for name, cell in cells.items() if name.rpartition("/")[0] == f"{learner}/{arm}"]
    if not found:
        return None
    return np.asarray(np.mean(np.array(found, dtype=np.float64), axis=0))


def measured(cells: Cells, learner: str, arm: str, figure: str) -> Measured | None:
    """A figure of an arm."""
    values = replicates(cells, learner, arm, figure)
    return None if values is None else Measured(*interval(values))


def difference(cells: Cells, learner: str, arm: str, other: str, figure: str) -> Measured | None:
    """How much better an arm is than another on the same test rows; positive is better, whatever the figure."""
    values, others = (replicates(cells, learner, name, figure) for name in (arm, other))
    if values is None or others is None:
        return None
    sign = 1.0 if BETTER[figure] == "higher" else -1.0
    return Measured(*interval(sign * (values - others)))
