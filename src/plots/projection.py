"""Two directions to look along, for data of more than two dimensions."""

from __future__ import annotations

import numpy as np

from src.plots.marginals import Floats


def principal_axes(x: Floats, count: int = 2) -> tuple[Floats, Floats, Floats]:
    """Principal components of the rows of x, shape (n, d), by an eigendecomposition of their covariance.

    Returns:
        The mean, shape (d,); the axes as columns, shape (d, count), each with its largest entry positive so that a
        picture does not flip between runs; and the share of the variance along each, shape (count,).
    """
    mean = x.mean(0)
    centred = x - mean
    variance, axes = np.linalg.eigh(centred.T @ centred / max(len(x) - 1, 1))
    axes = axes[:, ::-1][:, :count]
    axes = axes * np.where(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0)[0] < 0, -1.0, 1.0)
    return mean, axes, variance[::-1][:count].clip(min=0) / max(variance.clip(min=0).sum(), 1e-300)
