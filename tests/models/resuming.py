"""A model that is killed and goes on: both ways end at the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch

from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.ema import Ema

Made = Callable[[], tuple[L.LightningDataModule, L.LightningModule]]


class Kill(L.Callback):
    """Ends training without any clean-up before a given batch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.place = epoch, batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == self.place:
            raise SystemExit("killed")


def ends(made: Made, folder: Path, monitor: str, kill=None, resume=False, averages=True, **limits):
    """Trains with a checkpoint after every step; raw and averaged weights at the end, None where it was killed.

    Limits are the trainer's, such as `max_epochs`; without `averages` no weights are averaged.
    """
    L.seed_everything(0, verbose=False)
    (data, model), ema = made(), Ema(0.9)
    bundle = Bundle(folder, {}, monitor, every_seconds=0.0)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        use_distributed_sampler=False, **limits,
        callbacks=[*([ema] if averages else []), *([kill] if kill else []), bundle],
    )  # fmt: skip
    try:
        trainer.fit(model, datamodule=data, ckpt_path=str(bundle.last_path) if resume else None, weights_only=True)
    except SystemExit:
        return None
    return model.state_dict(), ema.average if averages else {}


def check_killed_and_gone_on_with(
    made: Made, folder: Path, monitor: str, batches: int = 3, averages: bool = True
) -> None:
    """Two epochs of pictures; killed in the second or never, to the bit."""
    limits = {"max_epochs": 2, "limit_train_batches": batches, "limit_val_batches": 1, "averages": averages}
    whole, average = ends(made, folder / "whole", monitor, **limits)
    assert ends(made, folder / "killed", monitor, Kill(1, 1), **limits) is None
    again, average_again = ends(made, folder / "killed", monitor, resume=True, **limits)
    for one, other in ((whole, again), (average, average_again)):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
