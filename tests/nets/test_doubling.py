"""A convolution of a map that is doubled first, without ever making the large map; values that find back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from datakiln.nets.conv import LEAST_SLOPE, SMALL, DoublingConv, bound


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


def test_its_weights_are_those_of_a_plain_convolution():
    plain, doubling = nn.Conv2d(3, 5, 3, padding=1), DoublingConv(3, 5)
    doubling.load_state_dict(plain.state_dict())
    assert torch.equal(plain.weight, doubling.weight)
    assert spectral_norm(plain).state_dict().keys() == spectral_norm(doubling).state_dict().keys()


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
