"""Values that several rows share though they lie on no grid: logarithms of whole prices, ratios, numbers of places.

Inside a code that stands for many values, each part of its training rows that shares a value has a part of the code's
width that is as large (the empirical quantile function): what is drawn there becomes this very value. A value of one or
two rows is never repeated, for it could tell who they are; between shared values anything may lie, evenly, where such
rows lay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datakiln.codecs.tables.values import all_numbers

ROWS = 3  # training rows that share a value, at least
SHARE = 0.4  # of the rows in codes of many values; where fewer share values, none is looked at
MOST = 4096  # values of a column, those of most rows
BELOW = 1.0 - 2.0**-12  # a place that float32 still tells from the next code's
DENSE = 0.5  # of the steps of a grid that occur, in the middle nine tenths: more, and the grid says where values lie


@dataclass(frozen=True)
class Atoms:
    """What lies where in those codes of a number that stand for many values: K parts of them, rising.

    Attributes:
        start: Coordinate (code and share of its rows) at which each part begins, shape (K,).
        stop: At which it ends.
        low: Value there; of a part that is a shared value, this.
        high: Value at its end.
    """

    start: np.ndarray
    stop: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def find(cls, values: np.ndarray, codes: np.ndarray, knots: np.ndarray) -> Atoms | None:
        """Those of training values (n,) in their codes (n,); None where hardly any rows share a value.

        Arguments:
            values: Finite.
            codes: Of each.
            knots: Of the codes, see `Bins`.
        """
        free = (knots[:, -1] > knots[:, 0])[codes]
        order = np.lexsort((values[free], codes[free]))
        values, codes = values[free][order], codes[free][order]
        if not len(values):
            return None
        first = np.flatnonzero(np.r_[True, (np.diff(values) != 0) | (np.diff(codes) != 0)])
        rows = np.diff(np.r_[first, len(values)])
        least = max(ROWS, int(np.sort(rows)[-MOST]) + 1) if (rows >= ROWS).sum() > MOST else ROWS
        is_shared = rows >= least
        if rows[is_shared].sum() < SHARE * len(values):
            return None
        own = codes[first]
        # shared values alone, and runs of the others together
        begins = np.r_[True, is_shared[1:] | is_shared[:-1] | (np.diff(own) != 0)]
        code, shared, value, begin = own[begins], is_shared[begins], values[first][begins], first[begins]
        total = np.bincount(codes, minlength=len(knots))
        before = np.cumsum(total) - total
        start = code + (begin - before[code]) / total[code]
        stop = code + (np.r_[begin[1:], len(values)] - before[code]) / total[code]
        is_same = np.diff(code) == 0
        low = np.where(np.r_[False, is_same], np.r_[0.0, value[:-1]], knots[code, 0])
        high = np.where(np.r_[is_same, False], np.r_[value[1:], 0.0], knots[code, -1])
        low, high = np.where(shared, value, low), np.where(shared, value, high)
        return cls(start, stop, low, np.maximum(low, high))

    def values(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The value at each coordinate, (n,), of codes that stand for many, and whether it is a shared one."""
        at = np.clip(np.searchsorted(self.start, coordinates, side="right") - 1, 0, len(self.start) - 1)
        share = np.clip((coordinates - self.start[at]) / (self.stop[at] - self.start[at]), 0.0, 1.0)
        return self.low[at] + share * (self.high[at] - self.low[at]), self.low[at] == self.high[at]

    def coordinates(self, values: np.ndarray, inside: np.ndarray | float = 0.5) -> np.ndarray:
        """Inverse of `values`: a shared value lies anywhere in its part, as `inside` in [0, 1) says.

        A value that lies between two parts is taken for the nearer one.
        """
        at = np.clip(np.searchsorted(self.low, values, side="right") - 1, 0, len(self.low) - 1)
        after = np.minimum(at + 1, len(self.low) - 1)
        is_beyond = (values > self.high[at]) & (self.low[after] - values < values - self.high[at])
        at = np.where(is_beyond, after, at)
        shared = np.flatnonzero(self.low == self.high)
        equal = shared[np.clip(np.searchsorted(self.low[shared], values), 0, len(shared) - 1)]
        at = np.where(self.low[equal] == values, equal, at)
        width = self.high[at] - self.low[at]
        share = np.where(width > 0, (values - self.low[at]) / np.where(width > 0, width, 1.0), inside)
        return self.start[at] + np.clip(share, 0.0, BELOW) * (self.stop[at] - self.start[at])

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name).tolist() for name in ("start", "stop", "low", "high")}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Atoms:
        """Inverse of `state`; raises `ValueError` for what is no state of shared values."""
        parts = [np.asarray(all_numbers(state[name]), dtype=np.float64) for name in ("start", "stop", "low", "high")]
        start, stop, low, high = parts
        if len({len(part) for part in parts}) > 1 or not len(start) or not (stop > start).all() or (high < low).any():
            raise ValueError("shared values and their places do not agree")
        return cls(start, stop, low, high)


def is_sparse(values: np.ndarray, step: float) -> bool:
    """Whether a grid of that step, 0 for none, hardly says where these values lie."""
    if not step:
        return True
    low, high = np.quantile(values, [0.05, 0.95])
    there = np.unique(values[(values >= low) & (values <= high)])
    return len(there) < DENSE * ((high - low) / step + 1)
