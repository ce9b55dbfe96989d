"""Flows of pictures: the way back, the Jacobian, a density that integrates to one, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from datakiln.errors import UserError
from datakiln.models.flow.glow import Glow
from datakiln.models.flow.realnvp import RealNVP
from datakiln.nets.couplings import ActNorm, Coupling, InvertibleConv
from datakiln.spec import Batch, DataSpec

FLOWS = (RealNVP, Glow)


def built(model, side: int, channels: int = 1, classes: int = 0, **options):
    """A flow that moves: couplings begin as the identity."""
    torch.manual_seed(0)
    names = tuple("abc"[:classes])
    spec = DataSpec("image", (channels, side, side), classes=names, class_shares=(1 / 3,) * classes)
    net = model(spec, **{"steps": 4, "width": 8, **options}).eval()
    for module in net.modules():
        if isinstance(module, Coupling):
            torch.nn.init.normal_(module.leave.weight, 0, 0.1)
        if isinstance(module, ActNorm):
            torch.nn.init.normal_(module.log_scale, 0, 0.2)
            torch.nn.init.normal_(module.shift, 0, 0.2)
    return net.requires_grad_(False)


@pytest.mark.parametrize(("side", "channels", "classes"), [(8, 1, 3), (28, 1, 0), (16, 3, 3), (10, 1, 0), (13, 3, 0)])
@pytest.mark.parametrize("model", FLOWS)
def test_it_leads_back(model, side, channels, classes):
    net = built(model, side, channels, classes)
    even = side + side % 2
    v = 2.0 * torch.randn(4, channels, even, even)
    y = torch.tensor([0, 1, 2, -1]) if classes else None
    z, _ = net.forwards(v, y)
    assert z.shape == (4, channels * even * even) and net.latent_dim == z.shape[1]
    assert (net.backwards(z, y) - v).abs().max() < 1e-4
    assert (z - v.flatten(1)).abs().max() > 0.1


@pytest.mark.parametrize(("side", "classes"), [(8, 3), (13, 0)])
@pytest.mark.parametrize("model", FLOWS)
def test_latents_of_a_picture_give_it_back_to_the_level(model, side, classes):
    net = built(model, side, 1, classes)
    x = torch.randint(0, 256, (6, 1, side, side)) / 127.5 - 1.0
    y = torch.tensor([0, 1, 2, 0, 1, 2]) if classes else None
    assert torch.allclose(net.walk(net.latents_of(Batch(x, y)), y), x, atol=1e-5)


@pytest.mark.parametrize("model", FLOWS)
def test_the_determinant_is_that_of_the_jacobian(model):
    net = built(model, 4, channels=3, classes=3).double()
    v, y = torch.randn(1, 3, 4, 4, dtype=torch.float64), torch.tensor([1])
    jacobian = torch.autograd.functional.jacobian(lambda v: net.forwards(v, y)[0].flatten(), v).view(48, 48)
    assert net.forwards(v, y)[1].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)


def test_the_determinant_of_the_noise_is_that_of_its_jacobian():
    noise = built(Glow, 4, width=16).noise.double()
    x, eps = torch.zeros(1, 1, 4, 4, dtype=torch.float64), torch.randn(1, 4, 2, 2, dtype=torch.float64)
    context = noise.look(torch.nn.functional.pixel_unshuffle(x, 2))
    jacobian = torch.autograd.functional.jacobian(lambda e: noise.flow(e, None, context)[0].flatten(), eps).view(16, 16)
    assert noise.flow(eps, None, context)[1].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item())


@pytest.mark.parametrize("model", FLOWS)
def test_the_density_of_a_tiny_picture_integrates_to_one(model):
    """Two by two pixels, by importance sampling from a wider normal density: mean and error of 400,000 weights."""
    net = built(model, 2)
    v = 3.0 * torch.randn(400_000, 1, 2, 2)
    log_q = (-0.5 * (v / 3.0).square() - math.log(3.0 * math.sqrt(2 * math.pi))).flatten(1).sum(dim=1)
    weights = (net.log_density(v, None) - log_q).exp()
    error = weights.std().item() / len(v) ** 0.5
    assert error < 0.02 and weights.mean().item() == pytest.approx(1.0, abs=4 * error)


@pytest.mark.parametrize(("level", "edge"), [(100, 0.05), (100, 1e-5), (0, 1e-5), (255, 1e-5)])
@pytest.mark.parametrize("model", FLOWS)
def test_the_bound_of_an_even_density_is_that_of_even_levels(model, level, edge):
    """Where the flow leaves everything as it is, p(v) is the normal density of a logit: by quadrature over u."""
    net = built(model, 2, dequantise="uniform", edge=edge)
    for module in net.modules():
        if isinstance(module, Coupling):
            torch.nn.init.zeros_(module.leave.weight)
        if isinstance(module, ActNorm):
            torch.nn.init.zeros_(module.log_scale), torch.nn.init.zeros_(module.shift)
        if isinstance(module, InvertibleConv):
            module.permutation.copy_(torch.eye(4))
            for part in (module.lower, module.upper, module.log_diagonal):
                torch.nn.init.zeros_(part)
            module.sign.fill_(1)
    x = torch.full((50_000, 1, 2, 2), level / 127.5 - 1)
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    inside = edge + (1 - 2 * edge) * (level + u) / 256
    density = (
        -0.5 * inside.logit().square()
        - 0.5 * math.log(2 * math.pi)
        + math.log((1 - 2 * edge) / 256)
        - (inside * (1 - inside)).log()
    )
    drawn = net.bound(x, None)
    error = drawn.std().item() / len(drawn) ** 0.5
    assert drawn.mean().item() == pytest.approx(4 * density.mean().item(), abs=max(1e-3, 4 * error))


@pytest.mark.parametrize("edge", [0.0, 0.3, float("nan")])
def test_an_edge_that_is_none_is_refused(edge):
    with pytest.raises(ValueError, match=f"edge={edge} must be between"):
        built(Glow, 8, edge=edge)


def test_the_first_batch_decides_where_channels_begin():
    norm = ActNorm(3)
    norm.is_learning = True
    z, _ = norm(5.0 + 2.0 * torch.randn(64, 3, 4, 4), None, None)
    assert z.mean(dim=(0, 2, 3)).abs().max() < 1e-4 and (z.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("model", FLOWS)
def test_losses_outside_training_compare(model):
    net = built(model, 8, classes=3)
    batch = Batch(torch.randint(0, 256, (5, 1, 8, 8)) / 127.5 - 1, torch.arange(5) % 3)
    assert net.losses(batch)["loss"] == net.losses(batch)["loss"]
    net.train()
    assert net.losses(batch)["loss"] != net.losses(batch)["loss"]


def test_what_it_cannot_model_is_refused():
    with pytest.raises(UserError, match="model.dequantise=none: pictures have 256 levels.*variational or uniform"):
        Glow(DataSpec("image", (1, 8, 8)), dequantise="none")


@pytest.mark.parametrize("dequantise", ["uniform", "variational"])
@pytest.mark.parametrize("model", FLOWS)
def test_probabilities_of_all_pictures_of_an_odd_side_sum_to_one_at_most(model, dequantise, monkeypatch):
    """One pixel of four levels: the mean of exp(bound) over draws is p(x) exactly, and p sums to one."""
    monkeypatch.setattr("datakiln.models.flow.pictures.LEVELS", 4)
    monkeypatch.setattr("datakiln.models.flow.pictures.HALF", 1.5)
    net = built(model, 1, dequantise=dequantise)
    for module in net.modules():  # weights of little variance, so that few draws tell
        if isinstance(module, ActNorm):
            module.log_scale *= 0.2
        if isinstance(module, Coupling):
            module.leave.weight *= 0.3
    levels = torch.arange(4)[:, None, None, None] / 1.5 - 1.0
    weights = torch.stack([net.bound(levels.repeat(5_000, 1, 1, 1), None).exp().view(-1, 4) for _ in range(8)])
    p, error = weights.flatten(0, 1).mean(dim=0), weights.flatten(0, 1).std(dim=0) / 40_000**0.5
    assert error.max() < 0.02 and p.min() > 0.01
    outside = 0.95  # of the logit's mass, some lies beyond the levels, at the edges
    assert p.sum().item() <= 1.0 + 4 * error.sum().item() and p.sum().item() > outside - 0.35
    assert net.sample(3).shape == (3, 1, 1, 1)
