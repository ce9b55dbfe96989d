"""Whether relations of pairs of columns hold in a table model's samples, measured seldom while it trains."""

from __future__ import annotations

import time

import lightning as L
import numpy as np
import pandas as pd
import torch

from datakiln.callbacks.making import examples_of
from datakiln.data.tables.tables import TableData
from datakiln.metrics.base import EvalData
from datakiln.metrics.tables.derived import PAIR_ROWS
from datakiln.metrics.tables.twosample import FEW, boosting_relations, candidates
from datakiln.models.base import GenerativeModel


class TableRelations(L.Callback):
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
        self.data, self.codec = data, data.codec
        self.every, self.rows, self.folds, self.seed = every, rows, folds, seed
        self.seconds = 0.0
        self.train, self.real = self._few("train", PAIR_ROWS), self._few("val", rows)
        self.derived = candidates(EvalData(data.codec.schema, self.train, self.real, self.real, seed))
        if len(self.real) < FEW or not self.derived.features:
            self.figures = ()  # never measured, and so no monitor to choose

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measures, if it is this epoch's turn; training's own random numbers are left untouched."""
        assert isinstance(pl_module, GenerativeModel)
        epoch = trainer.current_epoch + 1
        if not self.figures or trainer.state.fn != "fit" or (epoch % self.every and epoch != trainer.max_epochs):
            return
        start = time.perf_counter()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            x = examples_of(pl_module, self.data, len(self.real))
        synthetic = self.codec.decode(x, np.random.default_rng(self.seed))
        data = EvalData(self.codec.schema, self.train, self.real, synthetic, self.seed)
        pl_module.publish("val", {"boosting_relations": boosting_relations(data, self.folds, self.rows)[0].value})
        self.seconds += time.perf_counter() - start

    def _few(self, name: str, most: int) -> pd.DataFrame:
        frame = self.data.frames[name]
        rows = np.random.default_rng([self.seed, len(frame)]).permutation(len(frame))[:most]
        return frame.iloc[np.sort(rows)]
