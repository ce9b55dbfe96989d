"""A model of pictures that is killed and goes on: both ways end at the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch

from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.ema import Ema
from tests.models.test_resume import Kill

Made = Callable[[], tuple[L.LightningDataModule, L.LightningModule]]


def ends(made: Made, folder: Path, monitor: str, batches: int, kill=None, resume=False):
    """Two epochs with a checkpoint after every step; raw and averaged weights at the end, None where it was killed."""
    L.seed_everything(0, verbose=False)
    (data, model), ema = made(), Ema(0.9)
    bundle = Bundle(folder, {}, monitor, every_seconds=0.0)
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, limit_train_batches=batches, limit_val_batches=1,
        callbacks=[ema, *([kill] if kill else []), bundle],
    )  # fmt: skip
    try:
        trainer.fit(model, datamodule=data, ckpt_path=str(bundle.last_path) if resume else None, weights_only=True)
    except SystemExit:
        return None
    return model.state_dict(), ema.average


def check_killed_and_gone_on_with(made: Made, folder: Path, monitor: str, batches: int = 3) -> None:
    """Killed in its second epoch or never, to the bit."""
    whole, average = ends(made, folder / "whole", monitor, batches)
    assert ends(made, folder / "killed", monitor, batches, Kill(1, 1)) is None
    again, average_again = ends(made, folder / "killed", monitor, batches, resume=True)
    for one, other in ((whole, again), (average, average_again)):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
