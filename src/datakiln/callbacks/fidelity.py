"""How faithful a table model's samples are, measured on the validation rows while it trains."""

from __future__ import annotations

import lightning as L
import pandas as pd

from datakiln.callbacks.table_watch import TableWatch
from datakiln.callbacks.turns import check_turns
from datakiln.data.tables.tables import TableData
from datakiln.metrics.tables.fidelity import quick_fidelity


class TableFidelity(TableWatch):
    """Logs `val/shape`, `val/trend` and their mean `val/fidelity` (higher is better, 1 is perfect) every k epochs.

    Where no validation row has a value in a number or a category, there is nothing to measure.

    Arguments:
        data: Gives the codec, and the validation rows in user units.
        every: Epochs between two measurements; the last epoch is always measured.
        rows: Rows drawn for each.
        seed: Of the draws, the same at every measurement, so that a change is the model's.
        times: Measurements in all, in place of `every`.
    """

    figures: tuple[str, ...] = ("val/shape", "val/trend", "val/fidelity")

    def __init__(
        self, data: TableData, every: int = 25, rows: int = 1000, seed: int = 0, times: int | None = None
    ) -> None:
        """See the class."""
        check_turns("watch.table.fidelity", every, times)
        super().__init__(data, every, seed, times)
        self.real, self.rows = data.frames["val"], rows
        judged = [field.name for field in self.codec.schema.fields if field.is_numeric or field.is_choice]
        if not self.real[judged].notna().any(axis=None):
            self.figures = ()  # never measured: no validation row has a value

    @property
    def drawn(self) -> int:
        """See `rows`."""
        return self.rows

    def measure(self, made: pd.DataFrame, trainer: L.Trainer) -> dict[str, float]:
        """Shape, trend and their mean."""
        return quick_fidelity(self.codec.schema, self.real, made)
