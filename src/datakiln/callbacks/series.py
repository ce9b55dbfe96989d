"""How alike windows of samples and of validation sequences are, measured while a model of series trains."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch

from datakiln.callbacks.making import examples_of
from datakiln.callbacks.turns import check_turns, is_due
from datakiln.data.series.series import SeriesData
from datakiln.metrics.series.quick import quick_distances
from datakiln.metrics.series.sets import matrix, names_of, windows
from datakiln.models.base import GenerativeModel

LEAST = 3  # steps of a window


class SeriesFidelity(L.Callback):
    """Logs `val/marginals`, `val/changes`, `val/autocorrelation` and their mean `val/distance` every k epochs.

    Arguments:
        data: Gives the codec, and the validation rows in user units.
        every: Epochs between two measurements; the last epoch is always measured.
        sequences: Sequences drawn for each.
        seed: Of the draws, the same at every measurement, so that a change is the model's.
        times: Measurements in all, in place of `every`.
    """

    figures = ("val/marginals", "val/changes", "val/autocorrelation", "val/distance")

    def __init__(
        self, data: SeriesData, every: int = 25, sequences: int = 200, seed: int = 0, times: int | None = None
    ) -> None:
        """See the class."""
        check_turns("watch.series.fidelity", every, times)
        self.data, self.every, self.sequences, self.seed, self.times = data, every, sequences, seed, times

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measures, if it is this epoch's turn; training's own random numbers are left untouched."""
        assert isinstance(pl_module, GenerativeModel)
        if not is_due(trainer, self.every, self.times):
            return
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            x = examples_of(pl_module, self.data, self.sequences)
        made = self.data.codec.decode(x.cpu(), np.random.default_rng(self.seed))
        data, real = self.data, self.data.frames["val"]
        groups = (data.group["val"], data.codec.groups(made))
        length = max(min(int(np.bincount(group).min()) for group in groups), LEAST)
        out = [data.roles.entity, data.roles.time]
        parts = [
            windows(matrix(frame, data.schema, out, real), group, min(length, data.length))
            for frame, group in zip((real, made), groups, strict=True)
        ]
        if min(map(len, parts)) == 0:
            return
        pl_module.publish("val", quick_distances(names_of(data.schema, out, real), parts[0], parts[1]))
