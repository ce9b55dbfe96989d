"""The classifier of random patches: its filters, what it tells, and that it leaves random numbers alone."""

import pytest
import torch

from datakiln.studies.patches import patch_classes, patch_features, patch_filters


def bars(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures in [-1, 1] of one bar at any place, lying or standing, in noise: the mean pictures are alike."""
    generator = torch.Generator().manual_seed(seed)
    x, y = 0.2 * torch.randn(n, 1, 12, 12, generator=generator) - 0.8, torch.arange(n) % 2
    for i, at in enumerate(torch.randint(2, 10, (n,), generator=generator).tolist()):
        if y[i]:
            x[i, 0, at, 2:10] = 1.0
        else:
            x[i, 0, 2:10, at] = 1.0
    return x, y


def test_filters_are_patches_of_mean_nought_and_norm_one():
    x, _ = bars(30, 0)
    filters = patch_filters(x, 3)
    assert filters.shape == (64, 1, 5, 5) and torch.equal(filters, patch_filters(x, 3))
    assert filters.mean(dim=(1, 2, 3)).abs().max() < 1e-6
    assert torch.allclose(filters.flatten(1).norm(dim=1), torch.ones(64), atol=1e-5)
    assert patch_features(x, filters).shape == (30, 64 * 9)
    assert patch_filters(x[:, :, :3], 0).shape == (64, 1, 3, 3), "small pictures have small patches"


def test_what_a_linear_reader_of_pixels_cannot_tell_is_told_and_chance_is_not():
    (x, y), (test, truth) = bars(100, 1), bars(300, 2)
    filters, state = patch_filters(x, 0), torch.random.get_rng_state()
    said = patch_classes(x, y, test, filters, 0)
    assert (said == truth).double().mean() > 0.97
    assert torch.equal(state, torch.random.get_rng_state()) and torch.equal(said, patch_classes(x, y, test, filters, 0))
    mixed = y[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    wrong = patch_classes(x, mixed, test, filters, 0)
    assert (wrong == truth).double().mean() == pytest.approx(0.5, abs=0.2)
