"""Numbers as categories: few distinct values as they are, many as bins of equal count with a density inside each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from datakiln.codecs.tables.scaling import NumericEncoder
from datakiln.spec import Block

FEW = 20  # up to this many distinct values count as few even where each has two rows only
REPEATS = 5  # rows a distinct value must have on average to be kept as it is, where there are more of them
BIN_ROWS = 8  # a bin stands for at least this many training rows
STEP_ROWS = 4  # and each step of its density for this many, so that no step gives a single row away


def _most(rows: int) -> int:
    """Codes of a column of so many rows: as many as each of them then has rows, for what goes with a code is learnt."""
    return max(FEW, math.isqrt(rows))


class Bins(NumericEncoder):
    """A number as one of finitely many codes, ordered by value.

    A column with few distinct values has a code for each. Any other is cut into bins of equal count; a value that
    alone fills a bin (a spike) gets a code of its own. Inside a bin, values are drawn from the empirical quantile
    function, linear between knots that are several training rows apart: no training value is ever copied.

    Arguments:
        distinct: Most distinct values that are kept as they are; never more than the square root of the rows, or 20.
        bins: Most bins of a column with more of them; limited likewise.
        steps: Pieces of the quantile function inside a bin.
    """

    wants_spikes = False
    knots: np.ndarray  # quantiles inside each code, shape (codes, steps + 1); all the same for a single value
    edges: np.ndarray  # between neighbouring bins
    bin_codes: np.ndarray  # code of each bin
    points: np.ndarray  # values with a code of their own
    point_codes: np.ndarray

    def __init__(self, distinct: int = 256, bins: int = 128, steps: int = 8) -> None:
        """See the class."""
        if min(distinct, bins, steps) < 1:
            raise ValueError(f"distinct={distinct}, bins={bins} and steps={steps} must be at least 1")
        self.distinct, self.bins, self.steps = distinct, bins, steps

    def fit(self, values: np.ndarray) -> None:
        """Learns values, spikes and bins."""
        values = values if len(values) else np.zeros(1)
        self.neutral = float(np.median(values))
        points, counts = np.unique(values, return_counts=True)
        repeats = 2 if len(points) <= FEW else REPEATS
        most = min(self.distinct, _most(len(values)))
        if len(points) == 1 or (len(points) <= most and len(values) >= repeats * len(points)):
            self._fit_points(points)
        else:
            self._fit_bins(values, points, counts)

    def _fit_points(self, points: np.ndarray) -> None:
        self.points, self.knots = points, np.repeat(points[:, None], 2, axis=1)
        self.point_codes = self.bin_codes = np.arange(len(points))
        self.edges = (points[1:] + points[:-1]) / 2  # a value not seen in training takes the nearest code

    def _fit_bins(self, values: np.ndarray, points: np.ndarray, counts: np.ndarray) -> None:
        bins = int(np.clip(len(values) // BIN_ROWS, 1, min(self.bins, _most(len(values)))))
        spikes = points[counts >= max(len(values) / bins, BIN_ROWS)]
        rest = np.sort(values[~np.isin(values, spikes)])
        bins = int(np.clip(len(rest) // BIN_ROWS, 1, bins))
        steps = int(np.clip(len(rest) // (bins * STEP_ROWS), 1, self.steps))
        grid = np.quantile(rest, np.linspace(0.0, 1.0, bins * steps + 1)) if len(rest) else np.zeros(bins * steps + 1)
        starts = np.arange(bins)[:, None] * steps
        inner = grid[starts + np.arange(steps + 1)]
        inner = inner[(inner[:, -1] > inner[:, 0]) | (np.arange(bins) == 0)]  # ties make bins without width
        knots = np.concatenate([inner, np.repeat(spikes[:, None], steps + 1, axis=1)])
        order = np.argsort(knots.mean(axis=1), kind="stable")
        codes = np.empty(len(order), dtype=np.int64)
        codes[order] = np.arange(len(order))
        self.knots, self.edges, self.points = knots[order], inner[1:, 0], spikes
        self.bin_codes, self.point_codes = codes[: len(inner)], codes[len(inner) :]

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.knots)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The code of each value, shape (n,)."""
        codes = self.bin_codes[np.searchsorted(self.edges, values, side="right")]
        if len(self.points):
            at = np.minimum(np.searchsorted(self.points, values), len(self.points) - 1)
            codes = np.where(self.points[at] == values, self.point_codes[at], codes)
        return codes

    def from_codes(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value for each code, drawn from the density inside it."""
        place = rng.random(len(codes)) * (self.knots.shape[1] - 1)
        step = place.astype(np.int64)
        low, high = self.knots[codes, step], self.knots[codes, step + 1]
        return low + (place - step) * (high - low)

    def blocks(self, start: int, gate: int | None) -> tuple[Block, ...]:
        """One choice among the codes."""
        return (Block(start, start + self.size, "choice", gate),)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """One-hot codes, shape (n, size)."""
        return np.eye(self.size, dtype=np.float32)[self.codes(values)]

    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value drawn inside the most probable code."""
        return self.from_codes(x.argmax(axis=1), rng)

    def state(self) -> dict[str, Any]:
        """Knots and edges."""
        arrays = ("knots", "edges", "bin_codes", "points", "point_codes")
        return {"neutral": self.neutral, **{name: getattr(self, name).tolist() for name in arrays}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Bins:
        """Inverse of `state`."""
        encoder = cls()
        encoder.neutral = state["neutral"]
        for name in ("knots", "edges", "points"):
            setattr(encoder, name, np.asarray(state[name], dtype=np.float64))
        for name in ("bin_codes", "point_codes"):
            setattr(encoder, name, np.asarray(state[name], dtype=np.int64))
        return encoder
