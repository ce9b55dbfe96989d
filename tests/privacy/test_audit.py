"""Audits: bounds from guesses never exceed an honest claim, and exceed that of a build without noise or clipping."""

import numpy as np
import pytest
import torch
from torch import nn

from datakiln.privacy import gradients
from datakiln.privacy.accounting import gaussian_epsilon, zcdp_epsilon
from datakiln.privacy.audit import best_guesses, many_runs, one_run, p_value
from datakiln.privacy.cells import PublicColumn
from datakiln.privacy.gradients import PrivateGradients
from datakiln.privacy.marginals import histograms
from datakiln.schema import Field
from datakiln.spec import Batch

CANARIES, DELTA = 1000, 1e-5


@pytest.fixture(autouse=True)
def seeded_noise(monkeypatch):
    """A bound holds for most noise, not for all: that of the system's source would break it once in a while."""
    generator = torch.Generator().manual_seed(0)
    monkeypatch.setattr(gradients, "secure_normal", lambda n: torch.randn(n, generator=generator, dtype=torch.float64))


def audited(sigma, size=1.0, clip=1.0, seed=0):
    """The bound of one training step over canaries with a coordinate each, of which a coin's half was in."""
    rng = np.random.default_rng(seed)
    was_in = rng.random(CANARIES) < 0.5
    net = nn.Linear(CANARIES, 1, bias=False)
    step = PrivateGradients(net, lambda b: -net(b.x).mean(), clip, sigma, 1.0, is_mean=True)
    with torch.no_grad():
        net.weight.zero_()
    step.fill(Batch(size * torch.eye(CANARIES)[torch.from_numpy(was_in)]))
    return best_guesses(-net.weight.grad[0].double().numpy(), was_in, DELTA)


@pytest.mark.parametrize("claim", [1.0, 4.0])
def test_an_honest_build_never_exceeds_its_claim(claim):
    from scipy.optimize import brentq

    sigma = brentq(lambda s: gaussian_epsilon(s, DELTA) - claim, 0.3, 50.0)
    bounds = [audited(sigma, seed=seed) for seed in range(5)]
    assert max(bounds) <= claim
    if claim == 4.0:
        assert max(bounds) > 0.5  # and an audit of so many canaries sees something


def test_a_build_without_noise_or_without_clipping_exceeds_it():
    from scipy.optimize import brentq

    sigma = brentq(lambda s: gaussian_epsilon(s, DELTA) - 1.0, 0.3, 50.0)
    assert audited(0.0) > 4.0
    assert audited(sigma / 100, size=100.0, clip=100.0) > 4.0  # gradients 100 times as long, noise as for the clip


def test_the_bound_of_one_run():
    assert one_run(1000, 1000, 500, 0.0) == 0.0  # guesses as good as a coin's
    assert one_run(1000, 1000, 1000, 0.0) == pytest.approx(-np.log(0.05 ** (-1 / 1000) - 1), rel=1e-6)  # q^1000 = 0.05
    assert one_run(1000, 1000, 900, 0.0) > one_run(1000, 1000, 900, 1e-4) > 0
    assert p_value(100, 100, 80, 1.0, 0.0) < p_value(100, 100, 80, 1.0, 1e-3) <= 1.0


def test_a_guess_at_random_is_rarely_taken_for_a_leak():
    rng = np.random.default_rng(1)
    found = [best_guesses(rng.random(200), rng.random(200) < 0.5, 1e-6) > 0 for _ in range(100)]
    assert np.mean(found) <= 0.12


@pytest.mark.journey
def test_an_audit_of_many_runs_of_the_histograms_comes_close():
    column = PublicColumn(Field("c", "category", "str"), tuple(f"v{i}" for i in range(5000)))
    rho, delta = 0.02, 1e-5
    canaries = np.arange(0, 5000, 2)[:, None]  # a row in every second category
    runs = [histograms(canaries, [column], rho)[0][0] for _ in range(120)]
    without, within = (np.concatenate([run[start::2] for run in runs]) for start in (1, 0))
    claim = zcdp_epsilon(rho, delta)
    bound = many_runs(without, within, delta)
    assert 0.8 * claim < bound <= claim
    assert many_runs(without, within + 1.0, delta) > claim  # rows that count twice what was paid for
