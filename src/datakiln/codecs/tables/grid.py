"""What the numbers of a column look like: multiples of a step, endings such as .99, a few significant digits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datakiln.codecs.tables.values import all_numbers

CLOCK_STEPS = (86_400.0, 3_600.0, 60.0, 1.0)  # seconds; dates come back as whole days, hours, ... if all of them are
DISTINCT = 20  # values from which any common step counts; with fewer, powers of ten only
ENDED = 200  # values from which endings are looked at
WINDOWS = (100, 10)  # steps that endings are told apart in: cents of a price, tens of a year
SPREAD = 8  # windows that the middle nine tenths of the values must span: else an ending tells of the value itself
UNEVEN = 3.0  # times the even share, for an ending that is one
COMMON = 0.01  # share of the rows of a single value that says nothing about endings
DIGITS = range(1, 9)


@dataclass(frozen=True)
class Grid:
    """Where the values of a column lie.

    Attributes:
        step: They are multiples of it, counted from the offset; 0 where there is no step.
        offset: A value in [0, step).
        is_rough: Whether the step says more than the column's decimals: whether decoded values are put on it.
        endings: How often they end on each step of a window of so many, cumulated up to 1; empty where evenly.
        digits: Significant digits that they are rounded to; 0 where they are not.
    """

    step: float = 0.0
    offset: float = 0.0
    is_rough: bool = False
    endings: tuple[float, ...] = ()
    digits: int = 0

    def dequantise(self, values: np.ndarray, inside: np.ndarray | float = 0.5) -> np.ndarray:
        """Values somewhere within what is rounded to them: repeated ones are no spikes of a density.

        Where they have endings, a frequent ending takes a large part of its window, a rare one a small part.

        Arguments:
            values: On the grid.
            inside: Where within it, in [0, 1); the middle unless told.
        """
        if not self.step:
            return values
        if not self.endings:
            return values + self.step * (inside - 0.5)
        window, ending = np.divmod(np.round((values - self.offset) / self.step), len(self.endings))
        at = ending.astype(np.int64)
        ends = np.array((0.0, *self.endings))
        return self.offset + (window + ends[at] + inside * (ends[at + 1] - ends[at])) * self._window

    def put(self, values: np.ndarray) -> np.ndarray:
        """Inverse of `dequantise`: the value that stands for each."""
        if self.endings:
            window, share = np.divmod((values - self.offset) / self._window, 1.0)
            ending = np.searchsorted(self.endings, share, side="right").clip(max=len(self.endings) - 1)
            return self.offset + (window * len(self.endings) + ending) * self.step
        if self.is_rough:
            return np.round((values - self.offset) / self.step) * self.step + self.offset
        return _to_digits(values, self.digits) if self.digits else values

    @property
    def _window(self) -> float:
        return self.step * len(self.endings)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "step": self.step,
            "offset": self.offset,
            "is_rough": self.is_rough,
            "endings": list(self.endings),
            "digits": self.digits,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Grid:
        """Inverse of `state`; raises `ValueError` for what is no state of a grid."""
        step, offset, digits = all_numbers([state[name] for name in ("step", "offset", "digits")])
        if not isinstance(state["is_rough"], bool):
            raise ValueError("is_rough of a grid is neither true nor false")
        return cls(step, offset, state["is_rough"], tuple(all_numbers(state["endings"])), int(digits))


def find(values: np.ndarray, decimals: int | None, is_date: bool) -> Grid:
    """The grid of finite training values.

    Arguments:
        values: Of one column, dates in seconds.
        decimals: Digits after the point that they are rounded to; None for unrounded ones.
        is_date: Whether they are dates.
    """
    if not values.any():
        return Grid()
    if is_date:
        step = next((step for step in CLOCK_STEPS if not (values % step).any()), 0.0)
        points = np.unique(np.round(values / step).astype(np.int64)) if step else np.zeros(0, dtype=np.int64)
        if len(points) < DISTINCT:
            return Grid(step, is_rough=bool(step))
        steps, offset = _step(points)  # quarters of an hour, every other Monday
        return Grid(steps * step, offset * step, is_rough=True)
    if decimals is None:
        return Grid(digits=_digits(values))
    counts = np.round(values * 10.0**decimals)
    if np.abs(counts).max() >= 2**52:
        return Grid()
    whole = counts.astype(np.int64)
    points, rows = np.unique(whole, return_counts=True)
    step, offset = _step(points)
    grid = Grid(step / 10.0**decimals, offset / 10.0**decimals, step > 1)
    usual = points[rows < max(COMMON * len(whole), 2)]
    left = whole[np.isin(whole, usual)]
    return replace(grid, endings=_endings((left - offset) // step)) if len(left) >= ENDED else grid


def _step(points: np.ndarray) -> tuple[int, int]:
    """The largest step between all the values, and where they begin."""
    step = int(np.gcd.reduce(points))
    if len(points) < DISTINCT:
        while step > 1 and step % 10 == 0 and str(step).strip("0") != "1":
            step //= 10
        is_power = step >= 10 and str(step).strip("0") == "1"
        power = 10 ** (len(str(step)) - 1)
        return (step if is_power else power if step and step % power == 0 else 1), 0
    step = max(int(np.gcd.reduce(points - points[0])), 1)
    return step, int(points[0]) % step


def _endings(counts: np.ndarray) -> tuple[float, ...]:
    """Cumulated shares of the endings of whole numbers in the widest window in which they are uneven."""
    low, high = np.quantile(counts, [0.05, 0.95])
    for window in WINDOWS:
        if high - low < SPREAD * window:
            continue
        rows = np.bincount(counts % window, minlength=window)
        even = len(counts) / window
        if rows.max() > UNEVEN * even + 5 * np.sqrt(even):
            return tuple((rows.cumsum() / len(counts)).tolist())
    return ()


def _to_digits(values: np.ndarray, digits: int) -> np.ndarray:
    size = np.floor(np.log10(np.abs(values), out=np.zeros_like(values), where=values != 0.0))
    scale = 10.0 ** np.abs(digits - 1 - size)  # whole, so that a power below one adds no error of its own
    return np.where(digits - 1 >= size, np.round(values * scale) / scale, np.round(values / scale) * scale)


def _digits(values: np.ndarray) -> int:
    """The least number of significant digits that tells all values; 0 where they have many."""
    for digits in DIGITS:
        if all(np.allclose(_to_digits(part, digits), part, rtol=1e-14, atol=0.0) for part in (values[:100], values)):
            return digits
    return 0
