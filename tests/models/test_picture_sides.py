"""Models of pictures with one loss, of any side, grey and colour, told the class and not: losses, samples, bits."""

from __future__ import annotations

import functools

import pytest
import torch

from datakiln.models.autoregressive.pixelcnn import PixelCNN
from datakiln.models.autoregressive.pixelrnn import PixelRNN
from datakiln.models.diffusion.ddpm import DDPM
from datakiln.models.diffusion.flow_matching import FlowMatching
from datakiln.models.diffusion.latent_diffusion import LatentDiffusion
from datakiln.models.flow.glow import Glow
from datakiln.models.flow.realnvp import RealNVP
from datakiln.spec import Batch, DataSpec, Sampling
from tests.later import later

UNET = {"width": 8, "middle": 1, "sampling_steps": 1}
MODELS = {
    "flow_matching": functools.partial(FlowMatching, **UNET),
    "flow_matching_transformer": functools.partial(FlowMatching, depth=1, **UNET),
    "ddpm": functools.partial(DDPM, **UNET),
    "latent_diffusion": functools.partial(LatentDiffusion, vae_width=8, **UNET),
    "pixelcnn": functools.partial(PixelCNN, width=4, layers=5, components=2),
    "pixelrnn": functools.partial(PixelRNN, width=4, layers=1, components=2),
    "pixelrnn_diagonal": functools.partial(PixelRNN, kind="diagonal", width=4, layers=1, components=2),
    "realnvp": functools.partial(RealNVP, width=8, steps=2),
    "glow": functools.partial(Glow, width=8, steps=2),
}
FORMS = [(8, 1, 3), (8, 3, 0), (13, 3, 3), (13, 1, 0), (28, 1, 3), (32, 3, 0)]  # side, channels, classes
SLOW_TO_DRAW = 13  # pixel by pixel, pictures of more are left to other tests


def built(name: str, side: int, channels: int, classes: int):
    torch.manual_seed(0)
    names = tuple("abc"[:classes])
    shape = (channels, side, side)
    return MODELS[name](DataSpec("image", shape, classes=names, class_shares=(0.5, 0.3, 0.2)[:classes]))


@pytest.mark.parametrize(("side", "channels", "classes"), [*FORMS[:2], *later(*FORMS[2:4]), *FORMS[4:]])
@pytest.mark.parametrize("name", MODELS)
def test_it_learns_draws_and_tells(name, side, channels, classes):
    model = built(name, side, channels, classes)
    x = torch.randint(0, 256, (3, channels, side, side)) / 127.5 - 1
    y = torch.arange(3) if classes else None
    loss = model.losses(Batch(x, y))["loss"]
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert model.conditioning == ("label" if classes else "none")
    if model.likelihood != "none":
        nats = model.eval().log_prob(x)
        assert nats.shape == (3,) and (nats < 0).all()
        assert model.losses(Batch(x, y))["bits_per_dim"] > 0
    if side <= SLOW_TO_DRAW or not name.startswith("pixel"):
        options = Sampling(temperature=0.5)
        made = model.sample(2, torch.tensor([2, 0]) if classes else None, options)
        assert made.shape == (2, channels, side, side) and made.abs().max() <= 1


@pytest.mark.parametrize("name", ["flow_matching", "ddpm"])
@pytest.mark.parametrize(("side", "smaller"), [(8, 4), (28, 7), (13, 1)])
def test_a_picture_is_drawn_that_is_as_given_when_made_smaller(name, side, smaller):
    model, factor = built(name, side, 3, 3).eval(), side // smaller
    given = 2 * torch.rand(4, 3, smaller, smaller) - 1  # up to black and white, where pixels come to their bounds
    with torch.no_grad():
        made = model.enlarge(given, torch.tensor([0, 1, 2, 0]), Sampling(steps=3))
        again = model.enlarge(given, None, Sampling(steps=3))
    assert made.shape == again.shape == (4, 3, side, side)
    means = torch.nn.functional.avg_pool2d(made, factor)
    assert (means - given).abs().max() < 1e-5 and made.abs().max() <= 1 and model.can_enlarge
    assert made.std() > given.std() and not torch.equal(made, again)
    assert not built("latent_diffusion", side, 3, 3).can_enlarge
