"""How the finite values of a numeric column become model-space positions, and back."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from datakiln.codecs.tables.values import all_numbers
from datakiln.spec import Block


class NumericEncoder(abc.ABC):
    """Values in user units (dates in seconds) to one or more positions; no missing values come in.

    Attributes:
        wants_spikes: Whether spikes should get a state of their own before the encoder sees the rest.
        neutral: A finite value in user units that stands in where the true one is not observed.
    """

    wants_spikes: ClassVar[bool] = True
    neutral: float = 0.0

    @abc.abstractmethod
    def fit(self, values: np.ndarray) -> None:
        """Learns from finite training values, shape (n,), possibly none at all."""

    @abc.abstractmethod
    def encode(self, values: np.ndarray) -> np.ndarray:
        """Shape (n,) in user units to (n, width) float32 in model space."""

    @abc.abstractmethod
    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shape (n, width) in model space to (n,) float64 in user units."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""

    @property
    def size(self) -> int | None:
        """Number of codes of an encoder that makes categories of numbers; None for any other."""
        return None

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The code of each value, shape (n,); only where `size` is a number."""
        raise TypeError(f"{type(self).__name__} has no codes")

    def from_codes(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value for each code, shape (n,)."""
        raise TypeError(f"{type(self).__name__} has no codes")

    def blocks(self, start: int, gate: int | None) -> tuple[Block, ...]:
        """The blocks of this encoding; one value unless overridden."""
        return (Block(start, start + 1, "value", gate),)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> NumericEncoder:
        """Inverse of `state`; raises `ValueError` for what is no state of such an encoder."""
        encoder = cls()
        arrays = {name for name, kind in cls.__annotations__.items() if kind == "np.ndarray"}
        numbers = ({"neutral", *cls.__annotations__} - arrays) | vars(encoder).keys()  # and what it was built with
        if state.keys() != arrays | numbers:
            raise ValueError(f"{cls.__name__} has {sorted(arrays | numbers)}, not {sorted(map(str, state))}")
        for name in numbers:
            all_numbers([state[name]])
            setattr(encoder, name, state[name])
        for name in arrays:
            setattr(encoder, name, np.asarray(all_numbers(state[name]), dtype=np.float64))
        sizes = {len(state[name]) for name in arrays}
        if len(sizes) > 1 or 0 in sizes:
            raise ValueError(f"{', '.join(sorted(arrays))} of {cls.__name__} are not of one length")
        return encoder


class MinMax(NumericEncoder):
    """Linear from the training range to [-1, 1]."""

    low: float
    high: float

    def fit(self, values: np.ndarray) -> None:
        """Learns the range."""
        self.low, self.high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        self.neutral = self.low

    @property
    def _half(self) -> float:
        return (self.high - self.low) / 2 or 1.0

    def encode(self, values: np.ndarray) -> np.ndarray:
        """To [-1, 1] for values inside the training range."""
        return ((values - self.low) / self._half - 1.0).astype(np.float32)[:, None]

    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """From [-1, 1]."""
        return (x[:, 0].astype(np.float64) + 1.0) * self._half + self.low

    def state(self) -> dict[str, Any]:
        """The range."""
        return {"low": self.low, "high": self.high, "neutral": self.neutral}


class Standard(NumericEncoder):
    """Zero mean and unit variance on the training rows, divided by 3 so that most values lie in [-1, 1]."""

    mean: float
    scale: float

    def fit(self, values: np.ndarray) -> None:
        """Learns mean and standard deviation."""
        self.mean, deviation = (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)
        self.scale = 3.0 * (deviation or 1.0)
        self.neutral = self.mean

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Standardised."""
        return ((values - self.mean) / self.scale).astype(np.float32)[:, None]

    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Inverse of `encode`."""
        return x[:, 0].astype(np.float64) * self.scale + self.mean

    def state(self) -> dict[str, Any]:
        """Mean and scale."""
        return {"mean": self.mean, "scale": self.scale, "neutral": self.neutral}


class Quantile(NumericEncoder):
    """Through the empirical distribution to a normal one, divided by 3; robust to skew and outliers."""

    KNOTS = 1000
    TAIL = 1e-4  # ranks are kept this far from 0 and 1, so that the normal quantiles stay finite

    knots: np.ndarray
    ranks: np.ndarray

    def fit(self, values: np.ndarray) -> None:
        """Learns quantiles, at most `KNOTS`; ties take the middle of their ranks."""
        if not len(values):
            values = np.zeros(1)
        grid = np.linspace(0.0, 1.0, min(self.KNOTS, max(len(values), 2)))
        quantiles = np.quantile(values, grid)
        self.knots, first, counts = np.unique(quantiles, return_index=True, return_counts=True)
        self.ranks = grid[first] + (grid[first + counts - 1] - grid[first]) / 2
        self.neutral = float(np.median(values))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Normal score / 3."""
        rank = np.interp(values, self.knots, self.ranks)
        return (ndtri(np.clip(rank, self.TAIL, 1 - self.TAIL)) / 3.0).astype(np.float32)[:, None]

    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Inverse of `encode`; never outside the training range."""
        return np.interp(ndtr(x[:, 0].astype(np.float64) * 3.0), self.ranks, self.knots)

    def state(self) -> dict[str, Any]:
        """Knots and their ranks."""
        return {"knots": self.knots.tolist(), "ranks": self.ranks.tolist(), "neutral": self.neutral}
