"""Exponential moving average of the weights that draw samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel


class Ema(L.Callback):
    """Averages the weights of `model.averaged()`; validation, samples and figures use the average, training does not.

    Lightning's own averaging swaps the whole module; an adversarial model wants only its generator averaged.
    The average starts as a plain mean: its decay at update t is min(decay, (1 + t) / (10 + t)), so that it never lags
    behind by more than the run is long.

    Arguments:
        decay: Share of the old average kept at each update.
    """

    def __init__(self, decay: float = 0.999) -> None:
        """See the class."""
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"ema={decay} must lie in [0, 1)")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._step = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins with the weights as they are, but for those of which a checkpoint gave an average."""
        for name, value in _weights(pl_module).items():  # a checkpoint of before may lack some
            if name not in self.average:
                self.average[name] = value.detach().clone()
        device = pl_module.device
        self.average = {name: value.to(device) for name, value in self.average.items()}
        self._step = _steps(pl_module)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:  # noqa: ANN401
        """One update, if an optimizer has moved."""
        if _steps(pl_module) == self._step:
            return
        self._step = _steps(pl_module)
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = _weights(pl_module)
        floats = [name for name, value in weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floats], [weights[n] for n in floats], 1.0 - decay)
        for name in weights.keys() - set(floats):
            self.average[name].copy_(weights[name])

    @contextmanager
    def swapped(self, module: L.LightningModule) -> Iterator[None]:
        """Within the block the module holds the average."""
        weights = _weights(module)
        raw = {name: value.detach().clone() for name, value in weights.items()}
        _copy(self.average, weights)
        try:
            yield
        finally:
            _copy(raw, weights)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validates the average."""
        if trainer.training or trainer.validating:
            self._swap = self.swapped(pl_module)
            self._swap.__enter__()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Back to the raw weights; what a model has made of its average to validate it stays with the average."""
        _copy(_weights(pl_module), self.average)
        self._swap.__exit__(None, None, None)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the average beside the raw weights."""
        checkpoint["averaged"] = {name: value.detach().clone() for name, value in self.average.items()}
        checkpoint["ema_updates"] = self.updates

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Goes on with the stored average.

        Raises:
            UserError: There is none.
        """
        if "averaged" not in checkpoint or "ema_updates" not in checkpoint:
            raise UserError(f"ema={self.decay}: the checkpoint holds no average; go on with ema=null, as it began")
        self.average = checkpoint["averaged"]
        self.updates = checkpoint["ema_updates"]


def _weights(module: L.LightningModule) -> dict[str, Tensor]:
    """Weights and buffers of the averaged part, by their names inside it."""
    assert isinstance(module, GenerativeModel)
    return module.averaged().state_dict()


def _steps(module: L.LightningModule) -> int:
    assert isinstance(module, GenerativeModel)
    return module.steps


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])
