"""Uniform samples and splits of rows by a hash of their numbers: the same whatever pieces the rows come in."""

from __future__ import annotations

import numpy as np
import pandas as pd

SCALE = 2.0**-53


def hashed(places: np.ndarray, seed: int, purpose: int) -> np.ndarray:
    """A number in [0, 1) for each row number: splitmix64 (Steele et al., 2014) of row, seed and purpose."""
    with np.errstate(over="ignore"):
        start = np.uint64((seed * 0x9E3779B97F4A7C15 + purpose * 0xD1B54A32D192ED03 + 1) % 2**64)
        z = (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ start
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * SCALE


class RowSample:
    """The rows whose numbers have the smallest hashes: a uniform sample without replacement, of bounded size.

    Arguments:
        size: Most rows.
        seed: Another seed, another sample.
    """

    PURPOSE = 1

    def __init__(self, size: int, seed: int) -> None:
        """See the class."""
        self.size, self.seed = size, seed
        self._frames: list[pd.DataFrame] = []  # indexed by row number
        self._hashes: list[np.ndarray] = []
        self._bound = 1.0

    def update(self, frame: pd.DataFrame, places: np.ndarray) -> None:
        """Offers rows with their numbers."""
        found = hashed(places, self.seed, self.PURPOSE)
        taken = found < self._bound
        self._frames.append(frame[taken].set_axis(places[taken], axis=0))
        self._hashes.append(found[taken])
        if sum(map(len, self._hashes)) > 2 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        hashes = np.concatenate(self._hashes)
        if len(hashes) > self.size:
            self._bound = float(np.partition(hashes, self.size)[self.size])
            self._frames = [f[h < self._bound] for f, h in zip(self._frames, self._hashes, strict=True)]
            hashes = hashes[hashes < self._bound]
        self._frames, self._hashes = [pd.concat(self._frames)], [hashes]

    @property
    def frame(self) -> pd.DataFrame:
        """The sample in the order of the table, indexed by row number."""
        self._shrink()
        return self._frames[0].sort_index()
