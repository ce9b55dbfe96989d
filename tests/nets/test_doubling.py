"""Convolutions of maps that are doubled before or halved behind them; values that find back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from datakiln.nets.conv import LEAST_SLOPE, bound
from datakiln.nets.resized import SMALL, DoublingConv, HalvingConv, doubled_smoothly


@pytest.mark.parametrize("side", [1, 7, 8, 9, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_a_convolution_of_the_doubled_map(side, bias):
    torch.manual_seed(0)
    conv = DoublingConv(3, 5, bias).double()
    assert (side**2 > SMALL) == (side > 8)  # both ways are tried
    x = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0), conv.weight, conv.bias, padding=1)
    made = conv(x)
    torch.testing.assert_close(made, plain, rtol=0, atol=1e-12)
    upstream = torch.randn_like(made)
    wanted = torch.autograd.grad(plain, [x, *conv.parameters()], upstream)
    torch.testing.assert_close(torch.autograd.grad(made, [x, *conv.parameters()], upstream), wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("side", [2, 8, 14])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_means_of_a_convolution(side, bias):
    torch.manual_seed(0)
    conv = HalvingConv(3, 5, bias).double()
    x = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    plain = F.avg_pool2d(F.conv2d(x, conv.weight, conv.bias, padding=1), 2)
    made = conv(x)
    torch.testing.assert_close(made, plain, rtol=0, atol=1e-12)
    upstream = torch.randn_like(made)
    wanted = torch.autograd.grad(plain, [x, *conv.parameters()], upstream)
    torch.testing.assert_close(torch.autograd.grad(made, [x, *conv.parameters()], upstream), wanted, rtol=0, atol=1e-11)


def test_it_is_a_convolution_of_the_smoothly_doubled_map_but_at_the_border():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="bilinear"), weight, padding=1)
    made = doubled_smoothly(x, weight)
    assert made.shape == plain.shape
    torch.testing.assert_close(made[..., 2:-2, 2:-2], plain[..., 2:-2, 2:-2], rtol=0, atol=1e-12)
    framed = F.pad(x, (2, 2, 2, 2))  # nothing lies beyond the border, and what is beyond it has no border of its own
    wide = F.conv2d(F.interpolate(framed, scale_factor=2.0, mode="bilinear"), weight, padding=1)
    torch.testing.assert_close(made, wide[..., 4:-4, 4:-4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [DoublingConv, HalvingConv])
def test_its_weights_are_those_of_a_plain_convolution(kind):
    plain, resizing = nn.Conv2d(3, 5, 3, padding=1), kind(3, 5)
    resizing.load_state_dict(plain.state_dict())
    assert torch.equal(plain.weight, resizing.weight)
    assert spectral_norm(plain).state_dict().keys() == spectral_norm(resizing).state_dict().keys()


def test_values_beyond_the_bounds_find_back_and_go_no_further():
    x = torch.tensor([-9.0, -9.0, -0.5, -0.5, 9.0, 9.0], dtype=torch.float64, requires_grad=True)
    upstream = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    made = bound(x)
    assert torch.equal(made, torch.tanh(x))
    (slope,) = torch.autograd.grad(made, x, upstream)
    own = 1 - torch.tanh(torch.tensor(0.5, dtype=torch.float64)).item() ** 2
    wanted = torch.tensor([0.0, -LEAST_SLOPE, own, -own, LEAST_SLOPE, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        slope, wanted, rtol=0, atol=1e-6
    )  # descent goes against it: outwards as the tangent does
    inner = torch.linspace(-0.9, 0.9, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bound, inner) and torch.autograd.gradgradcheck(bound, inner)
