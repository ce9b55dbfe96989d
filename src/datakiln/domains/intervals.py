"""Sets of numbers that comparisons describe, and what orders between columns leave possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """The numbers between `low` and `high`; an open end does not belong to it."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no number lies in it."""
        return self.low > self.high or (self.low == self.high and (self.open_low or self.open_high))

    def __and__(self, other: Interval) -> Interval:
        """The numbers in both."""
        low, open_low = max((self.low, self.open_low), (other.low, other.open_low))
        high, closed = min((self.high, not self.open_high), (other.high, not other.open_high))
        return Interval(low, high, open_low, not closed)

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Which values lie in it; NaN does not."""
        above = values > self.low if self.open_low else values >= self.low
        return above & (values < self.high if self.open_high else values <= self.high)

    def on_grid(self, per_unit: float, offset: float = 0.0) -> Interval:
        """The smallest closed interval with the same multiples of 1 / `per_unit` from the offset, possibly empty."""
        # six digits absorb what floating point adds to a multiple, such as 0.07 * 100
        low, high = round((self.low - offset) * per_unit, 6), round((self.high - offset) * per_unit, 6)
        first = low if math.isinf(low) else math.floor(low) + 1 if self.open_low else math.ceil(low)
        last = high if math.isinf(high) else math.ceil(high) - 1 if self.open_high else math.floor(high)
        return Interval(first / per_unit + offset, last / per_unit + offset)


@dataclass(frozen=True)
class Order:
    """`low` <= `high` for two named quantities, or < if strict."""

    low: str
    high: str
    strict: bool


def impossible(bounds: Mapping[str, Interval], orders: Iterable[Order]) -> str | None:
    """A quantity that no number is left for once all orders are followed, or None.

    Bounds are handed along the orders until nothing can change: n rounds for n quantities. A circle with a strict order
    in it leaves nothing for any of its quantities, whatever their bounds.
    """
    orders = list(orders)
    left = dict(bounds)
    for _ in range(2 * len(orders)):
        for order in orders:
            low, high = left.get(order.low, Interval()), left.get(order.high, Interval())
            left[order.high] = high & Interval(low=low.low, open_low=low.open_low or order.strict)
            left[order.low] = low & Interval(high=high.high, open_high=high.open_high or order.strict)
    circle = next((order.low for order in orders if order.strict and order.low in _above(order.high, orders)), None)
    return next((name for name, interval in left.items() if interval.is_empty), circle)


def _above(name: str, orders: list[Order]) -> set[str]:
    """The quantity itself and all that orders say is at least as large."""
    found, new = {name}, {name}
    while new:
        new = {order.high for order in orders if order.low in new} - found
        found |= new
    return found
