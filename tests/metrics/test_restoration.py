"""Figures of restored pictures against what is known of them."""

from __future__ import annotations

import pytest
import torch

from datakiln.metrics.pictures.restoration import bicubic, consistency, feature_distance, psnr, ssim


def noise(seed: int, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 3, side, side), generator=generator, dtype=torch.uint8)


def test_psnr_of_a_known_error():
    flat = torch.full((2, 1, 8, 8), 100, dtype=torch.uint8)
    assert psnr(flat, flat).tolist() == [100.0, 100.0]
    assert psnr(flat + 10, flat)[0].item() == pytest.approx(20 * torch.log10(torch.tensor(25.5)).item(), abs=1e-6)


@pytest.mark.parametrize("side", [8, 11, 32])
def test_ssim_of_what_is_known(side):
    x = noise(0, side)
    assert torch.allclose(ssim(x, x), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(ssim(x, noise(1, side)), ssim(noise(1, side), x))
    assert ssim(x, noise(1, side)).max() < 0.3
    # of flat pictures only the first factor is left: (2 a b + c1) / (a^2 + b^2 + c1)
    a, b, c1 = 100.0, 150.0, (0.01 * 255) ** 2
    flat = (torch.full((1, 1, side, side), level, dtype=torch.uint8) for level in (100, 150))
    assert ssim(*flat).item() == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1))


def test_consistency_of_blocks_is_nothing_and_of_a_shift_the_shift():
    small = noise(0, 8)
    large = small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert consistency(large, small).max() == 0
    low = (small.clamp(max=200) + 7).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(consistency(low, small.clamp(max=200)), torch.full((3,), 7.0, dtype=torch.float64))


def test_bicubic_keeps_what_is_flat_and_features_of_one_direction_are_near():
    flat = torch.full((1, 1, 4, 6), 77, dtype=torch.uint8)
    assert torch.equal(bicubic(flat, 2), torch.full((1, 1, 8, 12), 77, dtype=torch.uint8))
    rows = torch.tensor([[1.0, 2.0], [1.0, 0.0]])
    assert torch.allclose(
        feature_distance(rows, torch.tensor([[2.0, 4.0], [0.0, 1.0]])), torch.tensor([0.0, 1.0]).double()
    )
