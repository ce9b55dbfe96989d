"""The UNet of pictures, and the paths and samplers it works with, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from datakiln.nets.paths import (
    Cosine,
    LogitNormal,
    Straight,
    between,
    ddim,
    euler,
    heun,
    midpoint,
    preconditioning,
    stratified,
)
from datakiln.nets.unet import UNet, layout


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 9), (1, 28), (3, 31), (3, 64), (1, 128)])
def test_any_side_comes_out_as_it_went_in(channels, side):
    net = UNet((channels, side, side), width=8, classes=3)
    x, t, y = torch.randn(2, channels, side, side), torch.rand(2), torch.tensor([0, -1])
    assert net(x, t, y).shape == x.shape
    assert net(x[:, :, :, : side - 1], t, y).shape == (2, channels, side, side - 1)


def test_maps_stay_small():
    assert [layout(side) for side in (8, 16, 28, 32, 64, 128)] == [(1, 1), (1, 2), (2, 2), (2, 2), (4, 2), (4, 3)]


@pytest.mark.parametrize(("side", "cells"), [(8, 8**2), (28, 14**2), (29, 15**2), (64, 16**2)])
def test_its_largest_map_is_counted(side, cells):
    assert UNet((1, side, side), width=16).activations == 16 * cells


def test_each_picture_has_its_own_time_and_class():
    torch.manual_seed(0)
    net = UNet((1, 12, 12), width=16, classes=3)
    torch.nn.init.normal_(net.leave.weight)
    for block in net.middle:
        torch.nn.init.normal_(block.second.weight)
    x, t, y = torch.randn(3, 1, 12, 12), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 2, -1])
    whole = net(x, t, y)
    for i in range(3):
        assert torch.allclose(net(x[i : i + 1], t[i : i + 1], y[i : i + 1]), whole[i : i + 1], atol=1e-4)
    assert not torch.allclose(net(x, t, torch.tensor([1, 1, 1])), whole, atol=1e-3)
    assert not torch.allclose(net(x, 1 - t, y), whole, atol=1e-3)


def test_paths_end_at_noise_and_at_data():
    ends = torch.tensor([0.0, 1.0])
    assert Straight().alpha(ends).tolist() == [0.0, 1.0] and Straight().sigma(ends).tolist() == [1.0, 0.0]
    path, t = Cosine(), torch.linspace(0, 1, 50)
    assert torch.allclose(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones(50))
    assert path.alpha(ends)[0] < 1e-3 and path.alpha(ends)[1] > 0.9999
    middle = math.cos((0.5 * 0.9999 + 0.008) / 1.008 * math.pi / 2)  # eq. 17 of the paper, by hand
    assert path.alpha(torch.tensor(0.5)) == pytest.approx(middle, abs=1e-6)
    x_1, x_0 = torch.ones(2, 3), torch.zeros(2, 3)
    assert between(Straight(), x_1, x_0, torch.tensor([0.25, 1.0]))[:, 0].tolist() == [0.25, 1.0]


def test_times_have_the_quantiles_of_their_logit():
    times = LogitNormal(0.5, 2.0)(torch.tensor([0.5, 0.975]))
    assert times[0] == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-5)
    assert times[1] == pytest.approx(1 / (1 + math.exp(-0.5 - 2 * 1.959964)), abs=1e-5)
    ranks = stratified(10, torch.device("cpu")).sort().values
    assert ((ranks * 10).floor() == torch.arange(10)).all()


@pytest.mark.parametrize(("solve", "order"), [(euler, 1), (heun, 2), (midpoint, 2)])
def test_solvers_have_their_order(solve, order):
    """On dx/dt = x cos t, of which the solution is x exp(sin t), half the step leaves 1 / 2^order of the error."""

    def error(steps: int) -> float:
        times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        x = solve(lambda x, t: x * t.cos(), torch.ones(1, dtype=torch.float64), times)
        return abs(float(x) - math.exp(math.sin(1.0)))

    assert error(16) / error(32) == pytest.approx(2**order, rel=0.15)


def gaussian(mean: float, deviation: float, path):
    """Mean of the noise given x_t, in closed form, for data N(mean, deviation^2)."""

    def noise(x, t):
        alpha, sigma = path.alpha(t), path.sigma(t)
        return sigma * (x - alpha * mean) / (alpha**2 * deviation**2 + sigma**2)

    return noise


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_turns_noise_to_the_data_it_is_told_of(eta):
    torch.manual_seed(0)
    path = Cosine()
    x = torch.randn(20_000, dtype=torch.float64)
    made = ddim(gaussian(0.3, 0.1, path), path, x, torch.linspace(0, 1, 201, dtype=torch.float64), eta)
    assert made.mean() == pytest.approx(0.3, abs=0.01) and made.std() == pytest.approx(0.1, abs=0.01)


def test_the_velocity_of_a_gaussian_leads_to_it():
    """E[x_1 - x_0 | x_t] of data N(0.3, 0.1^2): Heun's method in 16 steps has the mean and the deviation."""
    torch.manual_seed(0)

    def velocity(x, t):
        total = t**2 * 0.01 + (1 - t) ** 2
        return 0.3 + (t * 0.01 - (1 - t)) / total * (x - t * 0.3)

    made = heun(velocity, torch.randn(20_000, dtype=torch.float64), torch.linspace(0, 1, 17, dtype=torch.float64))
    assert made.mean() == pytest.approx(0.3, abs=0.01) and made.std() == pytest.approx(0.1, rel=0.05)


def test_fresh_noise_is_as_warm_as_the_first():
    path, times = Cosine(), torch.linspace(0, 1, 11)
    x = torch.zeros(4, 1, 2, 2)

    def drawn(temperature):
        torch.manual_seed(0)
        return ddim(lambda x, t: torch.zeros_like(x), path, x, times, 1.0, math.inf, temperature)

    assert not drawn(0.0).any() and drawn(1.0).any()
    assert torch.allclose(drawn(0.5), 0.5 * drawn(1.0), atol=1e-6), "a linear field"


@pytest.mark.parametrize(
    ("path", "target"), [(Straight(), (1.0, -1.0)), (Cosine(), (0.0, 1.0)), (Cosine(), (1.0, 0.0))]
)
@pytest.mark.parametrize("deviation", [0.5, 2.0])
def test_preconditioning_leaves_the_net_what_a_line_cannot_say(path, target, deviation):
    """Of normal data: nothing that goes with x_t, of variance 1, as what it is shown."""
    torch.manual_seed(0)
    x_1, x_0 = deviation * torch.randn(200_000), torch.randn(200_000)
    for time in (0.05, 0.5, 0.9):
        t = torch.tensor([time])
        skip, enter, leave = preconditioning(path, target, deviation, t)
        x = between(path, x_1, x_0, t.expand(200_000))
        left = (target[0] * x_1 + target[1] * x_0 - skip * x) / leave
        assert (enter * x).var() == pytest.approx(1.0, abs=0.02)
        assert left.var() == pytest.approx(1.0, abs=0.02)
        assert (left * x).mean().abs() < 0.02 * deviation


def test_a_map_in_half_precision_is_normalised_and_mixed_as_in_single():
    torch.manual_seed(0)
    net = UNet((1, 16, 16), width=8, middle=1)
    for parameter in net.parameters():
        if not parameter.abs().sum():
            torch.nn.init.normal_(parameter, 0, 0.1)
    x, t = torch.randn(4, 1, 16, 16), torch.rand(4)
    exact = net(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x, t)
    assert (exact - rough.float()).abs().max() < 0.05 * exact.abs().max()
