"""Whether a table model's samples begin to tell its training rows from validation rows, while it trains."""

from __future__ import annotations

import time

import lightning as L
import numpy as np
import pandas as pd
import torch

from datakiln.callbacks.making import examples_of
from datakiln.data.tables.tables import TableData
from datakiln.metrics.privacy.games import LEAST
from datakiln.metrics.privacy.membership import simplest_game
from datakiln.models.base import GenerativeModel


class TableMembership(L.Callback):
    """Logs `val/membership` every k epochs: AUC of the distance game, training against validation rows; 0.5 is a guess.

    It is the simplest game, by few samples: an AUC above one half is memory, one of a half no proof of none. Where
    validation rows are trained on, or are fewer than 20, there are no non-members, and it is not measured.

    Arguments:
        data: Gives the codec, and training and validation rows in user units.
        every: Epochs between two measurements; the last epoch is always measured.
        rows: Most rows of each kind, and samples.
        stop: Training ends when the lower end of the AUC's interval is above this; null: it never does.
        seed: Of the draws, the same at every measurement, so that a change is the model's.
    """

    figures: tuple[str, ...] = ("val/membership",)

    def __init__(
        self, data: TableData, every: int = 5, rows: int = 2000, stop: float | None = None, seed: int = 0
    ) -> None:
        """See the class; raises ValueError for a number out of range."""
        for name, value, least in (("every", every, 1), ("rows", rows, LEAST)):
            if value < least:
                raise ValueError(f"watch.table.membership.{name}={value} must be at least {least}")
        if stop is not None and not 0.5 <= stop < 1.0:
            raise ValueError(f"watch.table.membership.stop={stop} must be from 0.5 to below 1, or null")
        self.data, self.every, self.rows, self.stop, self.seed = data, every, rows, stop, seed
        self.seconds = 0.0
        self.members, self.others = self._few("train"), self._few("val")
        if data.validation == "shared" or min(len(self.members), len(self.others)) < LEAST:
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
            x = examples_of(pl_module, self.data, len(self.members))
        made = self.data.codec.decode(x, np.random.default_rng(self.seed))
        game = simplest_game(self.data.codec.schema, self.members, self.others, made, self.seed)
        pl_module.publish("val", {"membership": game.auc})
        if self.stop is not None and game.low > self.stop:
            trainer.should_stop = True
        self.seconds += time.perf_counter() - start

    def _few(self, name: str) -> pd.DataFrame:
        frame = self.data.frames[name]
        rows = np.random.default_rng([self.seed, len(frame), 26]).permutation(len(frame))[: self.rows]
        return frame.iloc[np.sort(rows)]
