"""LSTMs over pictures: who sees whom, and the skew that makes columns of diagonals."""

from __future__ import annotations

import pytest
import torch

from datakiln.nets.pixel_lstm import PixelLSTM, skewed, straightened

SIDE = 6


@pytest.mark.parametrize("kind", ["row", "diagonal"])
def test_a_pixel_sees_none_after_it_and_the_diagonal_kind_all_before(kind):
    torch.manual_seed(0)
    net = PixelLSTM(1, kind, 8, 2, 0, 5).double()
    x = torch.rand(1, 1, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    out = net(x, None)
    for r in range(SIDE):
        for c in range(SIDE):
            (gradient,) = torch.autograd.grad(out[0, :, r, c].square().sum(), x, retain_graph=True)
            sees, at = gradient[0].abs().sum(dim=0).flatten(), r * SIDE + c
            assert (sees[at:] == 0).all(), f"({r}, {c}) sees what comes after it"
            if kind == "diagonal":
                assert (sees[:at] > 0).all(), f"a blind spot of ({r}, {c})"
            assert at == 0 or sees[at - 1] > 0 or c == 0


@pytest.mark.parametrize(("height", "wide"), [(4, 4), (3, 7), (1, 5)])
def test_rows_are_shifted_by_their_number(height, wide):
    x = torch.arange(height * wide, dtype=torch.float32).view(1, 1, height, wide) + 1
    skew = skewed(x)
    assert skew.shape == (1, 1, height, wide + height - 1)
    for r in range(height):
        assert (skew[0, 0, r, r : r + wide] == x[0, 0, r]).all()
        assert skew[0, 0, r, :r].sum() == 0 and skew[0, 0, r, r + wide :].sum() == 0
    assert torch.equal(straightened(skew, wide), x)


@pytest.mark.parametrize("kind", ["row", "diagonal"])
@pytest.mark.parametrize(("height", "wide"), [(SIDE, SIDE), (7, 4), (3, 9)])
def test_pixel_by_pixel_is_as_at_once(kind, height, wide):
    torch.manual_seed(0)
    net, y = PixelLSTM(3, kind, 8, 2, 2, 5).double(), torch.tensor([0, 1])
    x = torch.rand(2, 3, height, wide, dtype=torch.float64)
    with torch.no_grad():
        whole, walker = net(x, y), net.walker(2, (height, wide), y)
        for r in range(height):
            walker.start(r, wide)
            for c in range(wide):
                assert torch.allclose(walker.at(c), whole[:, :, r, c], atol=1e-12)
                walker.put(r, c, x[:, :, r, c])
