"""Operations on all choice blocks of a row at once, against a plain loop over the blocks."""

import pytest
import torch
from torch.nn import functional as F

from datakiln.nets.segments import MODERATE, Segments
from datakiln.spec import Block

BLOCKS = [Block(0, 3, "choice"), Block(3, 4, "value"), Block(4, 6, "choice"), Block(6, 11, "choice", 4)]
CHOICES = [block for block in BLOCKS if block.kind == "choice"]


def rows(n):
    """One-hot rows whose last block is empty in every third row, and a value."""
    x = torch.zeros(n, 11)
    for block in CHOICES:
        x.scatter_(1, torch.randint(block.start, block.stop, (n, 1)), 1.0)
    x[::3, 6:] = 0.0
    x[:, 3] = torch.randn(n)
    return x


def looped(logits, x):
    parts = [F.log_softmax(logits[:, b.start : b.stop], dim=1) * x[:, b.start : b.stop] for b in CHOICES]
    return torch.cat(parts, dim=1).sum(dim=1)


@pytest.mark.parametrize("scale", [1.0, 10 * MODERATE])
def test_likelihood_and_its_gradient_equal_a_loop_over_the_blocks(scale):
    torch.manual_seed(0)
    segments, x = Segments(BLOCKS), rows(200)
    logits = (scale * torch.randn(200, 11)).requires_grad_(True)
    found, expected = segments.log_likelihood(logits, x), looped(logits, x)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-4)
    weight = torch.randn(200)
    gradients = [torch.autograd.grad((weight * value).sum(), logits)[0] for value in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 10 * MODERATE])
def test_softmax_equals_a_loop_over_the_blocks(scale):
    torch.manual_seed(0)
    segments, logits = Segments(BLOCKS), scale * torch.randn(200, 11)
    expected = torch.cat([logits[:, b.start : b.stop].softmax(dim=1) for b in CHOICES], dim=1)
    assert torch.allclose(segments.softmax(segments.take(logits)), expected, atol=1e-6)


def test_draws_follow_their_weights():
    torch.manual_seed(0)
    segments = Segments(BLOCKS)
    weights = torch.tensor([[1.0, 0.0, 3.0, 0.5, 0.5, 0.0, 2.0, 0.0, 2.0, 4.0]]).expand(20_000, -1)
    drawn = segments.draw(weights)
    for column, (first, width) in enumerate(((0, 3), (3, 2), (5, 5))):
        shares = torch.bincount(drawn[:, column], minlength=width) / 20_000
        expected = weights[0, first : first + width] / weights[0, first : first + width].sum()
        assert torch.allclose(shares, expected, atol=0.015)  # four standard errors of a share of one half
        assert (shares[expected == 0] == 0).all()
