"""The fast linear layer: equal to torch's, its gradients and their gradients too, wherever it is used."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from datakiln.nets import linear as module
from datakiln.nets.linear import Linear, linear


@pytest.fixture(params=["as here", "fast"])
def kernels(request, monkeypatch):
    """As this processor chooses, and with oneDNN for every size."""
    if request.param == "fast":
        if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.backends.mkldnn.is_available():
            pytest.skip("torch without oneDNN")
        monkeypatch.setattr(module, "LARGE", 1)
        monkeypatch.setattr(module, "_has_better_kernels", lambda: True)


def tensors(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*shape, dtype=dtype).requires_grad_() for shape in ((300, 120), (150, 120), (150,))]


def test_it_equals_torch(kernels):
    x, weight, bias = tensors()
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        linear(x.view(3, 100, 120), weight), F.linear(x.view(3, 100, 120), weight), rtol=1e-5, atol=1e-4
    )


def test_gradients(kernels):
    def gradients(function):
        given = tensors()
        return torch.autograd.grad(function(*given).tanh().square().sum(), given)

    for ours, exact in zip(gradients(linear), gradients(F.linear), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-3)


def test_gradients_of_gradients(kernels):
    def penalty(function):
        x, weight, bias = given = tensors()
        (slope,) = torch.autograd.grad(function(x, weight, bias).tanh().sum(), x, create_graph=True)
        return torch.autograd.grad((slope.norm(dim=1) - 1).square().mean(), given[:2])

    for ours, exact in zip(penalty(linear), penalty(F.linear), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-3, atol=1e-3)


def test_other_types_are_left_to_torch(kernels):
    x, weight, bias = tensors(torch.float64)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    x, weight, bias = tensors()
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16


def test_nothing_is_computed_for_what_needs_no_gradient(kernels):
    x, weight, bias = tensors()
    linear(x.detach(), weight, bias).sum().backward()
    assert x.grad is None and weight.grad is not None


def test_the_layer_has_torchs_weights(kernels):
    layer, theirs = Linear(120, 150), torch.nn.Linear(120, 150)
    layer.load_state_dict(theirs.state_dict())
    x = tensors()[0]
    torch.testing.assert_close(layer(x), theirs(x), rtol=1e-5, atol=1e-4)
