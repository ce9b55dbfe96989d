"""Dropout by bytes: the share that is left out, the scale, and nothing left out where nothing is learnt."""

from __future__ import annotations

import pytest
import torch

from datakiln.nets.dropout import Dropout


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_so_large_a_share_is_left_out_and_the_mean_stays(share):
    torch.manual_seed(0)
    x = torch.ones(401, 997, requires_grad=True)
    y = Dropout(share)(x)
    y.sum().backward()
    assert float((y == 0).float().mean()) == pytest.approx(share, abs=0.004)
    assert x.grad is not None and torch.equal(x.grad, y.detach())
    if share < 0.9:
        assert float(y.detach().mean()) == pytest.approx(1.0, abs=0.01)


def test_it_repeats_by_seed_and_rests_in_evaluation():
    layer, x = Dropout(0.4), torch.randn(3, 5)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(layer(x))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(layer.eval()(x), x)
