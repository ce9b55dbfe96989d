"""What the callbacks that measure a table model's samples while it trains have in common: when, and of what."""

from __future__ import annotations

import abc
import time

import lightning as L
import numpy as np
import pandas as pd
import torch

from datakiln.callbacks.making import examples_of
from datakiln.callbacks.turns import is_due
from datakiln.data.tables.tables import TableData
from datakiln.models.base import GenerativeModel


class TableWatch(L.Callback, abc.ABC):
    """Draws samples every k epochs, and at the last one, and has them measured.

    Arguments:
        data: Gives the codec, and rows in user units.
        every: Epochs between two measurements.
        seed: Of the draws, the same at every measurement, so that a change is the model's.
        times: See `is_due`.
    """

    figures: tuple[str, ...]  # what is published; () where it cannot be measured, and so is no monitor to choose

    def __init__(self, data: TableData, every: int, seed: int, times: int | None = None) -> None:
        """See the class."""
        self.data, self.codec, self.every, self.times, self.seed = data, data.codec, every, times, seed
        self.seconds = 0.0

    @property
    @abc.abstractmethod
    def drawn(self) -> int:
        """How many rows are drawn for a measurement."""

    @abc.abstractmethod
    def measure(self, made: pd.DataFrame, trainer: L.Trainer) -> dict[str, float]:
        """Figures of these synthetic rows, in user units, by their names behind `val/`."""

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measures, if it is this epoch's turn; training's own random numbers are left untouched."""
        assert isinstance(pl_module, GenerativeModel)
        if not self.figures or not is_due(trainer, self.every, self.times):
            return
        start = time.perf_counter()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            x = examples_of(pl_module, self.data, self.drawn)
        made = self.codec.decode(x, np.random.default_rng(self.seed))
        pl_module.publish("val", self.measure(made, trainer))
        self.seconds += time.perf_counter() - start

    def few(self, name: str, most: int, *stream: int) -> pd.DataFrame:
        """At most so many rows of a part of the table, the same ones at every measurement."""
        frame = self.data.frames[name]
        rows = np.random.default_rng([self.seed, len(frame), *stream]).permutation(len(frame))[:most]
        return frame.iloc[np.sort(rows)]
