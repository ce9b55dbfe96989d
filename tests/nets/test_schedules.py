"""Learning rates that change with the epochs."""

from __future__ import annotations

import pytest
import torch

from datakiln.nets.schedules import Falling


def rates(epochs, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=6.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, Falling(epochs, **options))
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*found, optimizer.param_groups[0]["lr"]]


def test_a_rate_stays_and_falls_to_nothing():
    assert rates(9) == pytest.approx([6.0] * 7 + [4.0, 2.0, 0.0])
    assert rates(4, share=1.0) == pytest.approx([6.0, 4.5, 3.0, 1.5, 0.0])
    assert rates(1) == pytest.approx([6.0, 0.0])


def test_refuses_a_share_that_is_none():
    with pytest.raises(ValueError, match="share=0"):
        rates(4, share=0)
