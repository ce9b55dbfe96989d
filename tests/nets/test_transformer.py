"""The transformers of pictures and series: shapes, what they are told, and that layers begin as nothing."""

from __future__ import annotations

import pytest
import torch

from datakiln.nets.transformer import PictureTransformer, TransformerLayer


def woken(net: PictureTransformer) -> PictureTransformer:
    """One whose layers no longer do nothing."""
    for part in net.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=0.1)
    return net


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 9), (1, 28), (3, 31), (3, 64), (4, 16)])
def test_any_side_comes_out_as_it_went_in(channels, side):
    net = PictureTransformer((channels, side, side), width=8, depth=2, classes=3)
    x, t, y = torch.randn(2, channels, side, side), torch.rand(2), torch.tensor([0, -1])
    assert net(x, t, y).shape == x.shape
    assert max(net.grid) <= 8 and max(net.grid) * net.patch >= side


def test_it_begins_as_nothing_and_each_layer_as_its_shortcut():
    torch.manual_seed(0)
    net = PictureTransformer((1, 12, 12), width=8, depth=2, classes=3)
    x = torch.randn(3, 1, 12, 12)
    assert not net(x, torch.rand(3), torch.tensor([0, 2, -1])).any()
    layer, h = TransformerLayer(16, told=8), torch.randn(2, 5, 16)
    assert torch.equal(layer(h, torch.randn(2, 8)), h)


def test_each_picture_has_its_own_time_and_class():
    torch.manual_seed(0)
    net = woken(PictureTransformer((1, 12, 12), width=8, depth=2, classes=3))
    x, t, y = torch.randn(3, 1, 12, 12), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 2, -1])
    whole = net(x, t, y)
    for i in range(3):
        assert torch.allclose(net(x[i : i + 1], t[i : i + 1], y[i : i + 1]), whole[i : i + 1], atol=1e-4)
    assert not torch.allclose(net(x, t, torch.tensor([1, 1, 1])), whole, atol=1e-3)
    assert not torch.allclose(net(x, 1 - t, y), whole, atol=1e-3)


def test_every_pixel_reaches_every_other_and_patches_know_their_place():
    torch.manual_seed(0)
    net = woken(PictureTransformer((1, 16, 16), width=8, depth=1)).double()
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.5], dtype=torch.float64)
    (reach,) = torch.autograd.grad(net(x, t)[0, 0, 0, 0], x)
    assert (reach != 0).all()
    moved = net(x.roll(2 * net.patch, dims=3), t).roll(-2 * net.patch, dims=3)
    assert not torch.allclose(moved, net(x, t), atol=1e-4)
    with torch.no_grad():
        net.place.zero_()
    moved = net(x.roll(2 * net.patch, dims=3), t).roll(-2 * net.patch, dims=3)
    assert torch.allclose(moved, net(x, t), atol=1e-9), "without a place, patches are a set"


@pytest.mark.parametrize("options", [{"width": 12}, {"width": 0}, {"depth": 0}])
def test_what_makes_no_net_is_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        PictureTransformer((1, 8, 8), **options)
