"""The naive generator of pictures: a Gaussian mixture on principal components."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from torch import Tensor

from datakiln.metrics.pictures.naive import CHUNK, COMPONENTS, NaivePictures, fit_pictures


def blobs(n: int, channels: int = 1, side: int = 12, seed: int = 0) -> Tensor:
    """Pictures of two kinds: a bright left or a bright right half, and noise."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(n) % 2
    x = 100 + 8 * torch.randn(n, channels, side, side, generator=generator)
    x[kind == 0, :, :, : side // 2] += 120
    x[kind == 1, :, :, side // 2 :] += 120
    return x.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_learns_kinds_and_pixels(channels: int) -> None:
    real = blobs(2000, channels)
    made = NaivePictures(fit_pictures(real.split(256)), 1000, 12, seed=0)[:1000].float()
    left, right = made[..., :6].flatten(1).mean(1), made[..., 6:].flatten(1).mean(1)
    assert made.shape == (1000, channels, 12, 12)
    assert ((left - right).abs() > 90).all(), "each is of one kind: independent pixels would be of none"
    assert abs(float((left > right).float().mean()) - 0.5) < 0.08  # standard error 0.016
    torch.testing.assert_close(made.mean(0), real.float().mean(0), atol=12, rtol=0)  # standard error 2 to 3


def test_pieces_are_the_same_however_they_are_asked_for() -> None:
    mixture = fit_pictures(blobs(300).split(64))
    pictures = NaivePictures(mixture, 600, 12, seed=3)
    whole = pictures[:600]
    assert torch.equal(torch.cat([pictures[:100], pictures[100:500], pictures[500:600]]), whole)
    assert torch.equal(pictures.first(300)[250:300], whole[250:300]) and len(pictures.first(300)) == 300
    assert not torch.equal(NaivePictures(mixture, 600, 12, seed=4)[:600], whole)
    assert pictures[5:5].shape == (0, 1, 12, 12)


@pytest.mark.parametrize(("n", "side"), [(2, 8), (5, 40), (COMPONENTS + 3, 16)])
def test_few_pictures_and_any_side(n: int, side: int) -> None:
    made = NaivePictures(fit_pictures(blobs(n, 3, side).split(2)), 10, side, 0)[:10]
    assert made.shape == (10, 3, side, side) and made.dtype == torch.uint8


def test_pictures_all_alike_are_drawn_as_they_are() -> None:
    made = NaivePictures(fit_pictures([torch.full((50, 1, 8, 8), 77, dtype=torch.uint8)]), 20, 8, 0)[:20]
    assert (made == 77).all()


def test_memory_does_not_grow_with_the_number_of_pictures() -> None:
    mixture = fit_pictures(blobs(300, 3, 32).split(64))
    asked: list[int] = []

    def batches():  # as many as there may be: no more than needed are read
        for _ in range(10_000):
            asked.append(256)
            yield blobs(256, 3, 8)

    fit_pictures(batches())
    assert sum(asked) < 30_000
    pictures = NaivePictures(mixture, 10**9, 64, 0)
    tracemalloc.start()
    assert len(pictures[10**8 : 10**8 + CHUNK]) == CHUNK
    assert tracemalloc.get_traced_memory()[1] < 5e6  # of Python's own; the tensors are of one chunk
    tracemalloc.stop()
