"""The stacks of PixelCNN: who sees whom, pixel by pixel as at once, and the mixture of logistics over levels."""

from __future__ import annotations

import pytest
import torch

from datakiln.errors import UserError
from datakiln.nets.gated import GatedStacks, dilations
from datakiln.nets.levels import MixtureOfLogistics


def stacks(channels: int, side: int, classes: int = 0) -> GatedStacks:
    torch.manual_seed(0)
    return GatedStacks((channels, side, side), 8, dilated(side), classes, 5).double()


def dilated(side: int) -> int:
    return max((side - 2).bit_length(), 2)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 7), (1, 12)])
def test_a_pixel_sees_all_before_it_and_none_after(channels, side):
    x = torch.rand(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    out = stacks(channels, side)(x, None)
    for r in range(side):
        for c in range(side):
            (gradient,) = torch.autograd.grad(out[0, :, r, c].square().sum(), x, retain_graph=True)
            sees, at = gradient[0].abs().sum(dim=0).flatten(), r * side + c
            assert (sees[:at] > 0).all(), f"a blind spot of ({r}, {c})"
            assert (sees[at:] == 0).all(), f"({r}, {c}) sees what comes after it"


@pytest.mark.parametrize(("channels", "side", "classes"), [(1, 8, 3), (3, 7, 0), (1, 28, 0)])
def test_pixel_by_pixel_is_as_at_once(channels, side, classes):
    net = stacks(channels, side, classes).eval()
    x = torch.rand(2, channels, side, side, dtype=torch.float64)
    y = torch.tensor([1, -1]) if classes else None
    with torch.no_grad():
        whole, walker = net(x, y), net.walker(2, (side, side), y)
        for r in range(side):
            walker.start(r, side)
            for c in range(side):
                assert (walker.at(c) - whole[:, :, r, c]).abs().max() < 1e-12
                walker.put(r, c, x[:, :, r, c])


@pytest.mark.parametrize("side", range(4, 129))
def test_dilations_leave_no_holes(side):
    found = dilations(8, side)
    reached = {0}
    for d in found:
        reached |= {at + d for at in reached}
    assert set(range(side - 2)) <= reached


def test_too_few_layers_are_refused():
    with pytest.raises(UserError, match="model.layers=3 see 8 px far in pictures of 28; give 5"):
        dilations(3, 28)
    assert len(dilations(5, 28)) == 5


def test_probabilities_of_all_levels_sum_to_one():
    torch.manual_seed(0)
    grey, levels = MixtureOfLogistics(1, 4), torch.arange(256)[:, None] / 127.5 - 1.0
    parameters = torch.randn(1, grey.width).expand(256, -1)
    assert grey.log_prob(parameters, levels).exp().sum() == pytest.approx(1.0, abs=1e-5)


def test_probabilities_of_two_channels_sum_to_one():
    torch.manual_seed(0)
    head, at = MixtureOfLogistics(2, 3), torch.arange(256) / 127.5 - 1.0
    pixels = torch.cartesian_prod(at, at)
    total = head.log_prob(torch.randn(1, head.width).expand(len(pixels), -1), pixels).exp().sum()
    assert total == pytest.approx(1.0, abs=1e-4)


def test_draws_are_as_often_as_their_probability():
    torch.manual_seed(0)
    head, levels = MixtureOfLogistics(1, 3), torch.arange(256)[:, None] / 127.5 - 1.0
    parameters = 2.0 * torch.randn(1, head.width)
    p = head.log_prob(parameters.expand(256, -1), levels).exp()
    drawn = ((head.draw(parameters.expand(20_000, -1)) + 1) * 127.5).round().long().flatten()
    share = torch.bincount(drawn, minlength=256) / len(drawn)
    assert 0.5 * (share - p).abs().sum() < 0.06  # total variation of 20,000 draws of 256 levels: below 0.05
