"""Rendered shapes whose factors are known: what a latent space holds of them can be told exactly.

In the manner of dSprites (Matthey et al., 2017, https://github.com/google-deepmind/dsprites-dataset), drawn anew: a
shape, its size, angle and place vary by themselves, and nothing else does.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from datakiln.data.base import Provenance
from datakiln.data.pictures.sources import Pictures, RawImages, pictures_sha256, resize_report, resized
from datakiln.errors import UserError

SHAPES = ("square", "ellipse", "triangle")
FACTORS = ("shape", "size", "angle", "across", "down")
LEVELS = (3, 4, 6, 8, 8)  # values of each factor
COMBINATIONS = 3 * 4 * 6 * 8 * 8
SIDE, FINE = 16, 4  # pixels, and points of each along a side
SIZES = (1.5, 2.0, 2.5, 3.0)  # half a square's side, in pixels: turned, the largest still lies inside
TURN, FIRST, STEP = 15.0, 4.5, 1.0  # degrees of an angle's step; the first place of a centre, and from one to the next


class Shapes:
    """Squares, ellipses and triangles of 4 sizes, 6 angles and 64 places, white on black; no picture comes twice.

    Angles are below 90 degrees, so that no two of them give the same square.

    Arguments:
        pictures: How many of the 4,608 that there are.
        seed: Of which.
    """

    factors = FACTORS

    def __init__(self, pictures: int = 4000, seed: int = 0) -> None:
        """Raises `UserError` for too few, or more than there are."""
        if not 100 <= pictures <= COMBINATIONS:
            raise UserError(f"data.source.pictures={pictures} must be at least 100 and at most {COMBINATIONS:,}")
        self.pictures, self.seed = pictures, seed

    def __call__(self, data_dir: str | None = None, side: int | None = None) -> RawImages:
        """Draws the pictures, their class is the shape; `data_dir` is not needed."""
        x, factors = self.known(self.pictures, self.seed)
        y = torch.from_numpy(factors[:, 0])
        detail = f"{self.pictures} rendered shapes, seed {self.seed}"
        source = Provenance("generated", detail, pictures_sha256(x, y))
        return RawImages(Pictures(resized(x, side), y), None, SHAPES, source, resize_report(x, side))

    def known(self, n: int, seed: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
        """That many different pictures, uint8 (n, 1, 16, 16), and the factors of each, (n, 5)."""
        at = np.random.default_rng(seed).permutation(COMBINATIONS)[:n]
        factors = np.stack(np.unravel_index(at, LEVELS), axis=1).astype(np.int64)
        return torch.from_numpy(rendered(factors)), factors


def rendered(factors: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pictures of factors (n, 5), uint8 (n, 1, 16, 16): each pixel holds the share of it that the shape covers."""
    points = (np.arange(SIDE * FINE) + 0.5) / FINE
    kind, size, angle, across, down = factors.T[:, :, None, None]
    half = np.asarray(SIZES)[size]
    turn = np.deg2rad(TURN * angle)
    x = points[None, None, :] - (FIRST + STEP * across)
    y = points[None, :, None] - (FIRST + STEP * down)
    u, v = (np.cos(turn) * x + np.sin(turn) * y) / half, (np.cos(turn) * y - np.sin(turn) * x) / half
    square = np.maximum(np.abs(u), np.abs(v)) <= 1.0
    ellipse = u**2 / 1.2**2 + v**2 / 0.6**2 <= 1.0
    triangle = (v >= -0.7) & (np.sqrt(3.0) * np.abs(u) + v <= 1.4)
    inside = np.where(kind == 0, square, np.where(kind == 1, ellipse, triangle))
    shares = inside.reshape(len(factors), SIDE, FINE, SIDE, FINE).mean(axis=(2, 4))
    return np.rint(255.0 * shares)[:, None].astype(np.uint8)
