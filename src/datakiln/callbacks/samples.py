"""Grids of samples over the epochs, always of the same latents."""

from __future__ import annotations

import time
from pathlib import Path

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datakiln.callbacks.making import examples_of
from datakiln.data.pictures.pictures import ImageData
from datakiln.models.base import GenerativeModel
from datakiln.plots.grids import ACROSS, save_animation, save_grid
from datakiln.storage import replacing


class SampleGrids(L.Callback):
    """Writes `samples/epoch-0001.png` and so on, and at the end of training `samples/training.gif` of them all.

    A conditional model shows one class a column, in order. Averaged weights are used where there are any.

    Arguments:
        data: Gives the codec.
        grids: How many grids a run leaves, about; the first and the last epoch are always among them.
        seed: Of the latents.
    """

    def __init__(self, data: ImageData, grids: int = 20, seed: int = 0) -> None:
        """See the class."""
        if grids < 1:
            raise ValueError(f"grids={grids} must be at least 1; for none at all use watch.image.samples=null")
        self.data, self.codec, self.grids, self.seed = data, data.codec, grids, seed
        self.seconds = 0.0

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws, if it is this epoch's turn; training's own random numbers are left untouched."""
        assert isinstance(pl_module, GenerativeModel)
        if not trainer.state.fn == "fit" or not self._is_due(trainer):
            return
        start = time.perf_counter()
        device = pl_module.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            x = examples_of(pl_module, self.data, ACROSS * ACROSS, self._classes(pl_module))
        pictures = self.codec.decode(x, np.random.default_rng(self.seed))
        epoch = trainer.current_epoch + 1
        path = save_grid(pictures, _folder(trainer) / f"epoch-{epoch:04d}.png", f"Samples after epoch {epoch}.", ACROSS)
        for logger in trainer.loggers:
            if hasattr(logger, "log_pictures"):
                logger.log_pictures([_latest(path)], trainer.current_epoch)
        self.seconds += time.perf_counter() - start

    def _is_due(self, trainer: L.Trainer) -> bool:
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs or 0
        return epoch in (1, last) or epoch % max(1, round(last / self.grids)) == 0

    def _classes(self, model: GenerativeModel) -> Tensor | None:
        if model.conditioning != "label":
            return None
        columns = torch.arange(ACROSS * ACROSS, device=model.device)
        return columns % ACROSS % len(self.codec.spec.classes)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts all grids of the run, also those from before it was resumed, into one animation."""
        files = sorted(_folder(trainer).glob("epoch-*.png"))
        if files:
            save_animation([Image.open(file) for file in files], _folder(trainer) / "training.gif")


def _folder(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "samples"


def _latest(path: Path) -> Path:
    """A copy under one name for all epochs, which loggers take for the name of the picture."""
    latest = path.with_name("samples.png")
    with replacing(latest) as partial:
        partial.write_bytes(path.read_bytes())
    return latest
