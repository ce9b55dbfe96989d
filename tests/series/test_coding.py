"""What stands before the first update: smooth bins, and how far references are trusted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datakiln.codecs.tables.bins import Bins
from datakiln.nets.codes import Codes
from datakiln.nets.numbers import LEAST_OF_CODES, Numbers
from datakiln.nets.references import Reference, closest_first, find, keep
from datakiln.spec import Block

CODES = 20


def test_smooth_bins_are_as_wide_as_their_neighbours_and_bridge_gaps():
    rng = np.random.default_rng(0)
    walk = np.exp(0.02 * rng.normal(size=3000).cumsum())
    walk = np.r_[walk, walk.max() * 1.6 + rng.random(1000)]  # nothing in between
    plain, smooth = Bins(), Bins(smooth=True)
    plain.fit(walk)
    smooth.fit(walk)
    assert smooth.knots.min() == walk.min() and smooth.knots.max() == walk.max()
    assert np.allclose(smooth.knots[1:, 0], smooth.knots[:-1, -1])
    widths = [np.log(np.maximum(np.diff(b.knots, axis=1).ravel(), 1e-12)) for b in (plain, smooth)]
    rough = [np.abs(np.diff(wide)).max() for wide in widths]
    assert rough[1] < 0.3 * rough[0]
    at = smooth.coordinates(walk)
    back = smooth.at(at.astype(int), at - at.astype(int))
    assert np.allclose(back, walk, rtol=1e-3)


@pytest.mark.parametrize(("stray", "scale"), [(0.05, 0.1), (0.3, 0.5)])
def test_a_reference_is_trusted_as_often_as_it_is_right(stray, scale):
    """Of numbers that follow another by a logistic, but for strays that lie anywhere, both are found."""
    knots = tuple((k / CODES, (k + 1) / CODES) for k in range(CODES))
    blocks = []
    for j in range(2):
        blocks += [
            Block(2 * j, 2 * j + 1, "code", size=CODES, ordered=CODES, knots=knots),
            Block(2 * j + 1, 2 * j + 2, "place"),
        ]
    numbers = Numbers(Codes(blocks, ["x", "before"]), 8)
    numbers.set_shares(torch.full((2 * CODES,), 1.0 / CODES))
    generator = torch.Generator().manual_seed(0)
    before = 2 + (CODES - 4) * torch.rand(5000, generator=generator)
    noise = scale * torch.logit(torch.rand(5000, generator=generator).clamp(1e-4, 1 - 1e-4))
    anywhere = CODES * torch.rand(5000, generator=generator)
    is_stray = torch.rand(5000, generator=generator) < stray
    x = torch.where(is_stray, anywhere, (before + noise).clamp(0, CODES - 0.01))
    coordinates, known = torch.stack([x, before], dim=1), torch.ones(5000, 2, dtype=torch.bool)
    keep(numbers, find(numbers, coordinates, known, 1), [1, 0])
    assert numbers.reference[0, 0].tolist() == [1, -1] and (numbers.reference[1] == -1).all()
    codes = coordinates.floor().long().clamp(max=CODES - 1) + numbers.codes.first
    untouched = numbers.bias[1].clone()
    left = numbers.set_weights(coordinates, codes, known, torch.tensor([1, 0]))
    assert float(left[0].exp()) == pytest.approx(max(stray, LEAST_OF_CODES[0]), rel=0.25)
    assert float(numbers.bias[0, 0].detach().exp()) == pytest.approx(1.0 - float(left[0].exp()), rel=0.05)
    is_straight = bool(numbers.straight[0, 0])
    found = numbers.start[0, 0].exp() * (numbers.spread[0] * CODES if is_straight else 1.0)
    assert float(found) == pytest.approx(scale, rel=0.5)  # of the widths that were tried
    assert torch.equal(numbers.bias[1], untouched) and float(left[1]) == 0.0  # what has no reference stays


def test_numbers_come_in_the_order_in_which_those_before_tell_most():
    def near(loss: float, *columns: int) -> Reference:
        return Reference(loss, columns, (1.0,) * len(columns), 0.0, False, 1.0)

    lag = 4
    found = [
        [near(-3.0, 1), near(-0.5, lag)],  # close to 1, which the step before tells
        [near(-2.0, 0), near(-1.0, lag)],
        [],  # told by nothing: it comes last
        [near(-4.0, 0, 1)],  # two tell of it together, once both are there
    ]
    assert closest_first(found, [lag]) == [1, 0, 3, 2]
    assert closest_first(found, []) == [0, 1, 3, 2]
    assert closest_first([], [lag]) == []
