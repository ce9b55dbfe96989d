"""How faithful a table model's samples are, measured on the validation rows while it trains."""

from __future__ import annotations

import time

import lightning as L
import numpy as np
import torch

from datakiln.callbacks.making import examples_of
from datakiln.data.tables.tables import TableData
from datakiln.metrics.tables.fidelity import quick_fidelity
from datakiln.models.base import GenerativeModel


class TableFidelity(L.Callback):
    """Logs `val/shape`, `val/trend` and their mean `val/fidelity` (higher is better, 1 is perfect) every k epochs.

    Where no validation row has a value in a number or a category, there is nothing to measure.

    Arguments:
        data: Gives the codec, and the validation rows in user units.
        every: Epochs between two measurements; the last epoch is always measured.
        rows: Rows drawn for each.
        seed: Of the draws, the same at every measurement, so that a change is the model's.
    """

    figures: tuple[str, ...] = ("val/shape", "val/trend", "val/fidelity")

    def __init__(self, data: TableData, every: int = 25, rows: int = 1000, seed: int = 0) -> None:
        """See the class."""
        self.data, self.codec, self.real = data, data.codec, data.frames["val"]
        self.every, self.rows, self.seed = every, rows, seed
        self.seconds = 0.0
        judged = [field.name for field in self.codec.schema.fields if field.is_numeric or field.is_choice]
        if not self.real[judged].notna().any(axis=None):
            self.figures = ()  # never measured: no validation row has a value

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measures, if it is this epoch's turn; training's own random numbers are left untouched."""
        assert isinstance(pl_module, GenerativeModel)
        epoch = trainer.current_epoch + 1
        if not self.figures or trainer.state.fn != "fit" or (epoch % self.every and epoch != trainer.max_epochs):
            return
        start = time.perf_counter()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            x = examples_of(pl_module, self.data, self.rows)
        synthetic = self.codec.decode(x, np.random.default_rng(self.seed))
        pl_module.publish("val", quick_fidelity(self.codec.schema, self.real, synthetic))
        self.seconds += time.perf_counter() - start
