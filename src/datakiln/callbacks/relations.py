"""Whether relations of pairs of columns hold in a table model's samples, measured seldom while it trains."""

from __future__ import annotations

import lightning as L
import pandas as pd

from datakiln.callbacks.table_watch import TableWatch
from datakiln.data.tables.tables import TableData
from datakiln.metrics.base import EvalData
from datakiln.metrics.tables.derived import PAIR_ROWS
from datakiln.metrics.tables.twosample import FEW, boosting_relations, candidates


class TableRelations(TableWatch):
    """Logs `val/boosting_relations` (0.5 is perfect, 1 the worst) every k epochs: a two-sample test on validation rows.

    A test costs about a second. Where there are fewer than 100 validation rows its chance is too large to learn
    anything, and where there is neither a pair of numbers nor a date, `val/fidelity` sees as much: it then is not
    measured.

    Arguments:
        data: Gives the codec, the training rows that pairs are chosen on, and the validation rows.
        every: Epochs between two measurements; the last epoch is always measured.
        rows: Most rows of each kind.
        folds: Parts of the cross-validation.
        seed: Of the draws, the same at every measurement, so that a change is the model's.
    """

    figures: tuple[str, ...] = ("val/boosting_relations",)

    def __init__(self, data: TableData, every: int = 100, rows: int = 1000, folds: int = 2, seed: int = 0) -> None:
        """See the class; raises ValueError for a number that is too small."""
        for name, value, least in (("every", every, 1), ("rows", rows, FEW), ("folds", folds, 2)):
            if value < least:
                raise ValueError(f"watch.table.relations.{name}={value} must be at least {least}")
        super().__init__(data, every, seed)
        self.rows, self.folds = rows, folds
        self.train, self.real = self.few("train", PAIR_ROWS), self.few("val", rows)
        self.derived = candidates(EvalData(data.codec.schema, self.train, self.real, self.real, seed))
        if len(self.real) < FEW or not self.derived.features:
            self.figures = ()  # never measured, and so no monitor to choose

    @property
    def drawn(self) -> int:
        """As many as there are validation rows."""
        return len(self.real)

    def measure(self, made: pd.DataFrame, trainer: L.Trainer) -> dict[str, float]:
        """The AUC of the two-sample test."""
        data = EvalData(self.codec.schema, self.train, self.real, made, self.seed)
        return {"boosting_relations": boosting_relations(data, self.folds, self.rows)[0].value}
