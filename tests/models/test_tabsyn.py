"""TabSyn: two stages in one run, the sampler and the bound where the answer is known, learning, conditions."""

import functools
import math

import lightning as L
import pytest
import torch

from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.models.diffusion.tabsyn import SIGMA_MAX, SIGMA_MIN, TabSyn, noise_levels
from tests.toy_tables import assert_follows_the_label, assert_learns, fit, toy_data

ADAM = functools.partial(torch.optim.Adam, lr=6e-3)
SMALL = {"hidden": (128, 128, 128), "feedforward": 16, "vae_share": 0.35}


@pytest.fixture(scope="module")
def data():
    return toy_data(Dequantised)


def silent(model: TabSyn) -> TabSyn:
    """A score net that adds nothing: exactly right for standard normal latents."""
    with torch.no_grad():
        model.denoiser.leave.weight.zero_()
        model.denoiser.leave.bias.zero_()
    return model.eval()


def test_noise_levels_fall_from_the_highest_to_the_lowest_and_zero():
    sigmas = noise_levels(10)
    assert sigmas[0] == pytest.approx(SIGMA_MAX) and sigmas[-2] == pytest.approx(SIGMA_MIN, rel=1e-3)
    assert sigmas[-1] == 0 and (sigmas[1:] < sigmas[:-1]).all()


def test_denoiser_of_normal_latents_is_the_posterior_mean(data):
    model = silent(TabSyn(data.spec, **SMALL))
    noisy, sigma = torch.randn(50, model.vae.latent_dim), torch.rand(50, 1) * 3
    expected = noisy / (1 + sigma.square())
    assert torch.allclose(model._denoise(noisy, sigma, torch.zeros(50, dtype=torch.long)), expected, atol=1e-6)


def test_bound_of_normal_latents_is_near_their_entropy(data):
    # the exact denoiser leaves only the cut at the lowest noise, far below the latents' scale
    torch.manual_seed(0)
    model = silent(TabSyn(data.spec, **SMALL))
    u = torch.randn(20_000, model.vae.latent_dim)
    with torch.no_grad():
        cost = model._latent_cost(u, torch.zeros(len(u), dtype=torch.long)).mean() / model.vae.latent_dim
    assert float(cost) == pytest.approx(0.5 * (1 + math.log(2 * math.pi)), abs=0.05)


@pytest.mark.journey
def test_sampler_returns_normal_latents_from_their_exact_denoiser(data, monkeypatch):
    torch.manual_seed(0)
    model = silent(TabSyn(data.spec, **SMALL))
    seen = []
    monkeypatch.setattr(model.vae, "decode", lambda z: seen.append(z) or torch.zeros(len(z), model.rows.width))
    with torch.no_grad():
        for model.sampling_steps in (10, 20, 40):
            model.draw(8000, None)
    errors = [abs(float(u.std()) - 1) for u in seen]
    # a method of second order: its error falls about fourfold with twice the steps; 0.003 is noise of the draw
    assert errors[1] < errors[0] / 2 + 0.003 and errors[2] < errors[1] / 2 + 0.003
    assert errors[1] < 0.03


def test_each_stage_moves_its_own_weights_only(data):
    torch.manual_seed(0)
    model = TabSyn(data.spec, **SMALL, optimizer=ADAM)
    watch = Watch()
    fit(model, data, 4, [watch])
    assert watch.moved == [(True, False), (False, True)]


class Watch(L.Callback):
    """Which of the two parts have moved over the first step of the run and over the last."""

    def __init__(self) -> None:
        self.moved: list[tuple[bool, bool]] = []

    def _is_watched(self, trainer) -> bool:
        return trainer.global_step in (0, trainer.max_epochs * trainer.num_training_batches - 1)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.watched = self._is_watched(trainer)
        self.before = [p.detach().clone() for p in (*pl_module.vae.parameters(), *pl_module.denoiser.parameters())]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if not self.watched:
            return
        after = (*pl_module.vae.parameters(), *pl_module.denoiser.parameters())
        changed = [not torch.equal(a, b) for a, b in zip(self.before, after, strict=True)]
        n = len(list(pl_module.vae.parameters()))
        self.moved.append((any(changed[:n]), any(changed[n:])))


@pytest.fixture(scope="module")
def trained(data):
    return assert_learns(lambda: TabSyn(data.spec, **SMALL, optimizer=ADAM), data, epochs=90, ema=0.99)


@pytest.mark.slow
def test_learns_and_delivers_the_label(trained, data):
    assert_follows_the_label(trained, data)


def test_a_run_without_a_second_stage_is_refused(data):
    with pytest.raises(ValueError, match="vae_share=1.0"):
        TabSyn(data.spec, vae_share=1.0)
