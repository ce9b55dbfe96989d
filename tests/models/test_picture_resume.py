"""Models of pictures with one loss: killed inside an epoch and gone on with, they end as if never killed."""

from __future__ import annotations

import functools

import pytest
import torch

from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.models.autoregressive.pixelcnn import PixelCNN
from datakiln.models.autoregressive.pixelrnn import PixelRNN
from datakiln.models.diffusion.ddpm import DDPM
from datakiln.models.diffusion.flow_matching import FlowMatching
from datakiln.models.diffusion.latent_diffusion import LatentDiffusion
from datakiln.models.flow.glow import Glow
from datakiln.models.flow.realnvp import RealNVP
from tests.models.resuming import check_killed_and_gone_on_with

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
MODELS = {
    "flow_matching": functools.partial(FlowMatching, width=8, middle=1),
    "flow_matching_transformer": functools.partial(FlowMatching, width=8, depth=2, dropout=0.1),
    "ddpm": functools.partial(DDPM, width=8, middle=1),
    "latent_diffusion": functools.partial(LatentDiffusion, width=8, middle=1, vae_width=8, vae_share=0.6),
    "pixelcnn": functools.partial(PixelCNN, width=8, layers=4),
    "pixelrnn": functools.partial(PixelRNN, width=8, layers=1),
    "realnvp": functools.partial(RealNVP, width=8, steps=2),
    "glow": functools.partial(Glow, width=8, steps=2),
}


def made(name):
    data = ImageData(SklearnDigits(), batch_size=32)
    data.setup("fit")
    return data, MODELS[name](data.spec, optimizer=ADAM)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_killed_and_gone_on_with(name, tmp_path):
    check_killed_and_gone_on_with(functools.partial(made, name), tmp_path, "val/loss")
