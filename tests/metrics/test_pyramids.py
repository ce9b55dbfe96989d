"""The sliced Wasserstein distance on Laplacian pyramids: against closed forms, and on pictures that differ."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from datakiln.metrics.base import MetricError
from datakiln.metrics.pictures.pyramids import distance, enlarged, pyramid, swd
from datakiln.metrics.pictures.sets import ImageSets


def noise(n: int, side: int, seed: int, channels: int = 1) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, channels, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def test_shifted_patches_are_as_far_as_the_shift_seen_from_each_direction():
    """Of values moved by c along each of 49 axes, a direction d sees c |sum of d|, for unit deviation."""
    torch.manual_seed(0)
    real = torch.randn(20_000, 1, 7, 7)
    directions = torch.randn(49, 64)
    directions /= directions.norm(dim=0)
    wanted = 0.5 * directions.sum(dim=0).abs().mean()
    assert distance(real, real + 0.5 * real.std(), directions) == pytest.approx(wanted.item(), rel=1e-3)
    assert distance(real, real, directions) == 0.0


def test_wider_patches_are_as_far_as_the_mean_of_a_half_normal():
    torch.manual_seed(0)
    directions = torch.eye(49)
    found = distance(torch.randn(50_000, 1, 7, 7), 1.5 * torch.randn(50_000, 1, 7, 7), directions)
    assert found == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.02)


def test_levels_add_up_to_the_picture():
    x = torch.rand(2, 3, 64, 64)
    levels = pyramid(x)
    assert [level.shape[2] for level in levels] == [64, 32, 16]
    y = levels[-1]
    for level in reversed(levels[:-1]):
        y = level + enlarged(y, level.shape[2:])
    assert torch.allclose(y, x, atol=1e-6)
    flat = pyramid(torch.full((1, 1, 64, 64), 0.3))
    assert all(level.abs().max() < 1e-6 for level in flat[:-1])


@pytest.mark.parametrize("side", [64, 65])
def test_a_ramp_has_no_structure_of_any_one_size(side):
    """But at the edges, where the reflected ramp turns back: every level is in register with the one below."""
    ramp = torch.arange(side, dtype=torch.float32).expand(1, 1, side, side)
    for picture in (ramp, ramp.transpose(2, 3)):
        finest = pyramid(picture)[0]
        assert finest[:, :, 4:-4, 4:-4].abs().max() < 1e-4


def sets_of(train: torch.Tensor, judged: torch.Tensor) -> ImageSets:
    return ImageSets(lambda n: train[:n].split(64), len(train), judged)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 1), (40, 3)])
def test_others_of_the_same_kind_are_near_and_blurred_ones_far(side, channels):
    real, same = noise(200, side, 0, channels), noise(200, side, 1, channels)
    blurred = torch.nn.functional.avg_pool2d(same.float(), 3, 1, 1).to(torch.uint8)
    measure = functools.partial(swd, patches=16, projections=32)
    near, far = (measure(sets_of(real, judged))[0] for judged in (same, blurred))
    assert near.value < 0.2 * far.value and far.better == "lower"
    assert measure(sets_of(real, same))[0].value == near.value


def test_pictures_smaller_than_a_patch_have_none():
    with pytest.raises(MetricError, match="5 px are smaller than the 7 px"):
        swd(sets_of(noise(20, 5, 0), noise(20, 5, 1)))
