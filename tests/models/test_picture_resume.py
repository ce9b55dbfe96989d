"""Models of pictures with one loss: killed inside an epoch and gone on with, they end as if never killed."""

from __future__ import annotations

import functools

import lightning as L
import pytest
import torch

from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.ema import Ema
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.models.autoregressive.pixelcnn import PixelCNN
from datakiln.models.autoregressive.pixelrnn import PixelRNN
from datakiln.models.diffusion.ddpm import DDPM
from datakiln.models.diffusion.flow_matching import FlowMatching
from datakiln.models.diffusion.latent_diffusion import LatentDiffusion
from datakiln.models.flow.glow import Glow
from datakiln.models.flow.realnvp import RealNVP
from tests.models.test_resume import Kill

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
MODELS = {
    "flow_matching": functools.partial(FlowMatching, width=8, middle=1),
    "ddpm": functools.partial(DDPM, width=8, middle=1),
    "latent_diffusion": functools.partial(LatentDiffusion, width=8, middle=1, vae_width=8, vae_share=0.6),
    "pixelcnn": functools.partial(PixelCNN, width=8, layers=4),
    "pixelrnn": functools.partial(PixelRNN, width=8, layers=1),
    "realnvp": functools.partial(RealNVP, width=8, steps=2),
    "glow": functools.partial(Glow, width=8, steps=2),
}


def run(name, folder, kill=None, resume=False):
    """Trains two epochs of three batches with a checkpoint after every step; raw and averaged weights at the end."""
    L.seed_everything(0, verbose=False)
    data = ImageData(SklearnDigits(), batch_size=32)
    data.setup("fit")
    model, ema = MODELS[name](data.spec, optimizer=ADAM), Ema(0.9)
    bundle = Bundle(folder, {}, "val/loss", every_seconds=0.0)
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, limit_train_batches=3, limit_val_batches=1,
        callbacks=[ema, *([kill] if kill else []), bundle],
    )  # fmt: skip
    try:
        trainer.fit(model, datamodule=data, ckpt_path=str(bundle.last_path) if resume else None, weights_only=True)
    except SystemExit:
        return None
    return model.state_dict(), ema.average


@pytest.mark.parametrize("name", sorted(MODELS))
def test_killed_and_gone_on_with(name, tmp_path):
    whole, average = run(name, tmp_path / "whole")
    assert run(name, tmp_path / "killed", Kill(1, 1)) is None
    again, average_again = run(name, tmp_path / "killed", resume=True)
    for one, other in ((whole, again), (average, average_again)):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
