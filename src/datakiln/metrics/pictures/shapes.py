"""How figures on a dark ground lean, and how wide, thick and bright they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def slant(pictures: Pixels) -> NDArray[np.float64]:
    """Angle of each picture's brightness from the upright, in degrees, positive to the right, (n,); NaN where dark.

    Arguments:
        pictures: Shape (n, C, H, W), uint8.
    """
    _, vertical, across = _moments(pictures)
    return np.degrees(np.arctan(-across / vertical))


def width(pictures: Pixels) -> NDArray[np.float64]:
    """Standard deviation of each picture's brightness from its leaning axis, in pixels, (n,); NaN where dark.

    Arguments:
        pictures: Shape (n, C, H, W), uint8.
    """
    horizontal, vertical, across = _moments(pictures)
    return np.sqrt(np.maximum(horizontal - across**2 / vertical, 0.0))


def _moments(pictures: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Variances along columns and rows, and their covariance, of brightness above the darkest pixel."""
    light = pictures.astype(np.float64).mean(axis=1)
    light = light - light.min(axis=(1, 2), keepdims=True)
    total = light.sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        light = light / total[:, None, None]
        y, x = np.arange(light.shape[1])[:, None], np.arange(light.shape[2])[None]
        y = y - (light * y).sum(axis=(1, 2))[:, None, None]
        x = x - (light * x).sum(axis=(1, 2))[:, None, None]
        vertical = (light * y**2).sum(axis=(1, 2))
        return (
            (light * x**2).sum(axis=(1, 2)),
            np.where(vertical > 0, vertical, np.nan),
            (light * x * y).sum(axis=(1, 2)),
        )


def thickness(pictures: Pixels) -> NDArray[np.float64]:
    """Thickness of each picture's strokes: twice the brightness over its total variation, in pixels, (n,); NaN if dark.

    By the coarea formula the total variation is the length of all outlines, weighted by brightness: a long stroke of
    thickness t and length L has an area t L and an outline of about 2 L. Beyond its sides a picture is dark.

    Arguments:
        pictures: Shape (n, C, H, W), uint8.
    """
    light = pictures.astype(np.float64).mean(axis=1)
    light = np.pad(light - light.min(axis=(1, 2), keepdims=True), ((0, 0), (2, 2), (2, 2)))
    down, right = np.diff(light[:, :, 1:-1], axis=1) ** 2, np.diff(light[:, 1:-1], axis=2) ** 2
    # the mean over both differences of a pixel each way: one alone would take leaning edges for longer than others
    pairs = [(y, x) for y in (down[:, :-1], down[:, 1:]) for x in (right[:, :, :-1], right[:, :, 1:])]
    variation = np.mean([np.sqrt(y + x).sum(axis=(1, 2)) for y, x in pairs], axis=0)
    return 2.0 * light.sum(axis=(1, 2)) / np.where(variation > 0, variation, np.nan)


def mass(pictures: Pixels) -> NDArray[np.float64]:
    """Mean brightness of each picture, in grey levels, (n,).

    Arguments:
        pictures: Shape (n, C, H, W), uint8.
    """
    return pictures.reshape(len(pictures), -1).mean(axis=1).astype(np.float64)
