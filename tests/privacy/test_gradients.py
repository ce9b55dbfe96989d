"""Gradients are clipped one example at a time, hidden in noise, and sampled by Poisson."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from datakiln.errors import UserError
from datakiln.models.diffusion.tabddpm import TabDDPM
from datakiln.models.vae.tvae import TVAE
from datakiln.models.vae.vae import VAE
from datakiln.privacy.gradients import PrivateGradients, check_layers, poisson, secure_normal
from datakiln.spec import Batch, Block, Column, DataSpec

BLOCKS = (Block(0, 1, "value"), Block(1, 3, "choice"), Block(3, 4, "value", gate=1), Block(4, 8, "choice"))
SPEC = DataSpec("table", (8,), tuple(Column(f"c{i}", (b,)) for i, b in enumerate(BLOCKS)), size=100)


def rows(n):
    x = torch.randn(n, 8)
    x[:, 1:3] = nn.functional.one_hot(torch.randint(0, 2, (n,)), 2).float()
    x[:, 4:] = nn.functional.one_hot(torch.randint(0, 4, (n,)), 4).float()
    return x


@pytest.fixture
def noise(monkeypatch):
    """The noise of each row's latents, the same whether it comes alone or in a batch."""
    drawn, at = torch.randn(6, 5), slice(None)

    def like(x, **_):
        return drawn[place[0]]

    place = [at]
    monkeypatch.setattr(torch, "randn_like", like)
    return place


@pytest.mark.parametrize("make", [VAE, TVAE])
@pytest.mark.parametrize("clip", [1e-2, 3.0, 1e6])
def test_every_row_is_clipped_by_itself(make, clip, noise):
    torch.manual_seed(0)
    model = make(SPEC, latent_dim=5, hidden=[7, 6], **({"bf16": False, "conditional": False} if make is TVAE else {}))
    x = rows(6)
    x[2] *= 50  # one row that would lead the others by far
    gradients = PrivateGradients(model, lambda batch: model.losses(batch)["loss"], clip, 0.0, 6.0, is_mean=True)
    assert gradients.is_kept
    with model.muted():
        found = gradients.clipped(Batch(x))
    wanted = [torch.zeros_like(p) for p in gradients.parameters.values()]
    for i in range(6):
        noise[0] = slice(i, i + 1)
        model.zero_grad()
        with model.muted():
            model.losses(Batch(x[i : i + 1]))["loss"].backward()
        own = [p.grad for p in gradients.parameters.values()]
        norm = torch.stack([g.norm() for g in own]).norm()
        for whole, part in zip(wanted, own, strict=True):
            whole += part * min(1.0, clip / float(norm))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * min(clip, 100))


def test_a_diffusion_model_is_a_mean_over_rows():
    model = TabDDPM(SPEC)
    gradients = PrivateGradients(model, lambda batch: model.losses(batch)["loss"], 1e9, 0.0, 6.0, is_mean=True)
    x = rows(6)
    with model.muted():
        torch.manual_seed(1)
        found = gradients.clipped(Batch(x))
        torch.manual_seed(1)
        model.losses(Batch(x))["loss"].backward()
    assert gradients.is_kept
    for a, p in zip(found, gradients.parameters.values(), strict=True):
        torch.testing.assert_close(a, 6 * p.grad, rtol=1e-4, atol=1e-5)


def test_mapping_and_keeping_books_agree():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2))

    def loss(batch):
        return net(batch.x).square().sum(dim=1).mean()

    x = rows(20)
    made = [PrivateGradients(net, loss, 0.5, 0.0, 20.0, is_mean=kept).clipped(Batch(x)) for kept in (True, False)]
    for a, b in zip(*made, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert torch.stack([a.norm() for a in made[0]]).norm() <= 20 * 0.5


def test_a_row_changes_a_sum_by_no_more_than_the_clip():
    torch.manual_seed(0)
    net = nn.Linear(8, 3)

    def loss(batch):
        return net(batch.x).square().sum(dim=1).mean()

    gradients = PrivateGradients(net, loss, 0.7, 0.0, 10.0, is_mean=True)
    x = rows(10)
    extreme = torch.cat([x, torch.full((1, 8), 1e6)])
    broken = torch.cat([x, torch.full((1, 8), torch.nan)])
    base = gradients.clipped(Batch(x))
    for other in (extreme, broken):
        moved = torch.stack([(a - b).norm() for a, b in zip(gradients.clipped(Batch(other)), base, strict=True)]).norm()
        assert float(moved) <= 0.7 * (1 + 1e-4)


def trained(sigma, steps=150):
    torch.manual_seed(0)
    net, truth = nn.Linear(4, 1), torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    x = torch.randn(400, 4)
    y = x @ truth.T

    def loss(batch):
        return (net(batch.x[:, :4]) - batch.x[:, 4:]).square().mean()

    gradients = PrivateGradients(net, loss, 1.0, sigma, 100.0, is_mean=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    both = torch.cat([x, y], dim=1)
    for _ in range(steps):
        gradients.fill(Batch(both[poisson(400, 0.25)]))
        optimizer.step()
    return float(loss(Batch(both)).detach())


def test_little_noise_learns_and_huge_noise_destroys():
    untrained = 1 + 4 + 0.25 + 9
    assert trained(0.1) < 0.1 * untrained
    assert trained(3000.0) > 10 * untrained


def test_an_empty_batch_is_a_step_of_noise_alone():
    net = nn.Linear(3, 2)
    gradients = PrivateGradients(net, lambda b: net(b.x).mean(), 1.0, 2.0, 5.0, is_mean=True)
    gradients.fill(Batch(torch.zeros(0, 3)))
    found = torch.cat([p.grad.flatten() for p in net.parameters()])
    assert torch.isfinite(found).all() and 0 < float(found.std()) < 2.0  # 2 * 1 / 5


def test_normal_numbers_are_normal_and_never_repeat():
    torch.manual_seed(0)
    x = secure_normal(20_001)
    assert len(x) == 20_001 and kstest(x.numpy(), "norm").pvalue > 1e-5
    torch.manual_seed(0)
    assert not torch.equal(x, secure_normal(20_001))


def test_sampling_is_by_row_with_one_rate():
    sizes = np.array([len(poisson(1000, 0.1)) for _ in range(300)])
    assert sizes.mean() == pytest.approx(100, abs=4) and sizes.std() == pytest.approx(np.sqrt(90), rel=0.25)


@pytest.mark.parametrize(
    "layer, word",
    [(nn.BatchNorm1d(3), "BatchNorm"), (nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)), "spectral norm")],
)
def test_layers_in_which_examples_mix_are_refused(layer, word):
    net = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(UserError, match=word):
        check_layers(list(net.named_modules()), "net")
