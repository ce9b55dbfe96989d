"""Numbers through their own distribution function to normal ones, repeated values spread over their share of ranks."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from datakiln.codecs.tables.scaling import NumericEncoder

KNOTS = 1000  # quantiles that stand for more distinct values than these
ATOM = 3  # occurrences from which on a value is one that repeats
TAIL = 1e-4  # ranks are kept this far from 0 and 1, so that the normal scores stay finite


class Dequantised(NumericEncoder):
    """The randomised probability integral transform (Brockwell, 2007), then a normal score divided by 3.

    A value that repeats owns an interval of ranks and is encoded as a uniform draw from it, so that a density model
    sees a continuous column and a sampled rank gives the value back exactly; between values that do not repeat, ranks
    are interpolated. The draws come from a generator seeded with the values: the same column always has the same code.
    """

    values: np.ndarray  # each knot twice: where its interval of ranks begins and where it ends
    ranks: np.ndarray

    def fit(self, values: np.ndarray) -> None:
        """Learns the distribution function."""
        if not len(values):
            values = np.zeros(1)
        knots, low, high = _intervals(values)
        self.values, self.ranks = np.repeat(knots, 2), np.stack([low, high], axis=1).ravel()
        self.neutral = float(np.median(values))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Normal score / 3 of a rank drawn between the ranks below and at the value."""
        knots, low, high = self.values[::2], self.ranks[::2], self.ranks[1::2]
        at = np.clip(np.searchsorted(knots, values), 0, len(knots) - 1)
        between = np.interp(values, self.values, self.ranks)
        rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(values).tobytes()))
        drawn = low[at] + rng.random(len(values)) * (high[at] - low[at])
        rank = np.where(knots[at] == values, drawn, between)
        return (ndtri(np.clip(rank, TAIL, 1 - TAIL)) / 3.0).astype(np.float32)[:, None]

    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The quantile of the rank; never outside the training range."""
        return np.interp(ndtr(x[:, 0].astype(np.float64) * 3.0), self.ranks, self.values)

    def state(self) -> dict[str, Any]:
        """The distribution function."""
        return {"values": self.values.tolist(), "ranks": self.ranks.tolist(), "neutral": self.neutral}


def _intervals(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knots with the rank at which each begins and ends; one and the same where a value does not repeat."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) > KNOTS:
        grid = np.linspace(0.0, 1.0, KNOTS)
        knots, first, ties = np.unique(np.quantile(values, grid), return_index=True, return_counts=True)
        return knots, grid[first], grid[first + ties - 1]
    above = np.cumsum(counts) / len(values)
    below = above - counts / len(values)
    middle = (above + below) / 2
    single = counts < ATOM
    low, high = np.where(single, middle, below), np.where(single, middle, above)
    low[0], high[-1] = 0.0, 1.0
    return distinct, low, high
