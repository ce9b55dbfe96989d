"""Stamps that no two training rows share are shared by no two synthetic ones: repeated ones move to a free one nearby.

Parts of one sample are made apart and know nothing of each other, so each has stamps of its own: those whose multiple
of the golden ratio, modulo 1, falls into its share. A stamp moves within its hour first, then by weeks,
then by days, so that the hours and weekdays of the rows stay as they were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import from_numbers, to_numbers
from datakiln.sampling.conditions import Conditions

HOUR, DAY, WEEK = 3_600.0, 86_400.0, 604_800.0
GOLDEN = 0.6180339887498949
ROUNDS = 200  # places looked at in each direction, for each unit
MOST_FREE = 2_000_000  # stamps of a range that are listed, to find those that are left
MOST_ROWS = 5_000_000  # of a sample: what was taken is kept in memory
MOST_LEFT = 20_000  # rows that look through that list
Fits = Callable[[np.ndarray], np.ndarray]  # which of the slots may be taken


class Stamps:
    """One column of unique stamps, counted in steps from an offset: slots.

    Arguments:
        codec: Fitted.
        name: Of the column.
        conditions: What is asked of the rows.
        rng: Which direction is tried first.
        part: Which part of a sample it is for.
        parts: Of so many.
    """

    def __init__(
        self, codec: TableCodec, name: str, conditions: Conditions, rng: np.random.Generator, part: int, parts: int
    ) -> None:
        """See the class."""
        self.field, (self.step, self.offset) = codec.schema[name], codec.unique[name]
        column = codec.by_name()[name]
        limits = column.limits if isinstance(column, NumberColumn) else None
        low, high = (-np.inf, np.inf) if limits is None else limits
        self.low, self.high = float(self._slots(np.array(low))), float(self._slots(np.array(high)))
        self.conditions, self.rng, self.part, self.parts = conditions, rng, part, parts

    def _slots(self, seconds: np.ndarray) -> np.ndarray:
        return np.round((seconds - self.offset) / self.step)

    def _seconds(self, slots: np.ndarray) -> np.ndarray:
        return slots * self.step + self.offset

    def apart(self, cells: pd.Series, taken: np.ndarray) -> tuple[pd.Series, np.ndarray, np.ndarray]:
        """The cells, the slots that they take beside those taken (sorted) before, and which of them repeat one.

        Arguments:
            cells: Stamps as they were drawn; missing ones stay.
            taken: Slots of earlier rows, which none may have; in ascending order.
        """
        seconds = to_numbers(cells, self.field)
        there = np.flatnonzero(~np.isnan(seconds))
        drawn = self._slots(seconds[there])
        slots, left, before = drawn.copy(), np.arange(len(drawn)), taken
        sign = self.rng.choice((-1.0, 1.0), len(drawn))
        for moved, stays in self._moves():
            if not len(left):
                break
            wanted = drawn[left] + sign[left] * moved
            good = self._fits(wanted) & ~_are_in(wanted, taken)
            if stays:
                good &= np.floor(self._seconds(wanted) / HOUR) == np.floor(self._seconds(drawn[left]) / HOUR)
            at = np.flatnonzero(good)
            at = at[np.unique(wanted[at], return_index=True)[1]]
            slots[left[at]] = wanted[at]
            taken, left = np.union1d(taken, wanted[at]), np.delete(left, at)
        if len(left):
            taken, left = self._last(drawn, slots, left, taken)
        seconds[there] = np.where(slots == drawn, seconds[there], self._seconds(slots))
        repeats = np.zeros(len(cells), dtype=bool)
        repeats[there[left]] = True
        return from_numbers(seconds, self.field), np.setdiff1d(taken, before), repeats

    def _moves(self) -> Iterator[tuple[float, bool]]:
        """By how many slots to move in turn, and whether only within the hour."""
        yield 0.0, False
        span = self.high - self.low
        units = [self.step] if self.step < HOUR else []
        units += [unit for unit in (WEEK, DAY) if unit > self.step and not unit % self.step] + [self.step]
        for i, unit in enumerate(units):
            stays, size = i == 0 and self.step < HOUR, unit / self.step
            most = min(ROUNDS, HOUR / self.step) if stays else min(ROUNDS, span / size)
            for k in range(1, int(most) + 1):
                yield k * size, stays
                yield -k * size, stays

    def _fits(self, slots: np.ndarray) -> np.ndarray:
        """Which slots are of the range, of this part, and as asked for."""
        fits = (slots >= self.low) & (slots <= self.high)
        if self.parts > 1:
            fits &= np.floor(slots * GOLDEN % 1.0 * self.parts) == self.part
        region = self.conditions.regions.get(self.field.name)
        if region is not None and fits.any():
            cells = from_numbers(self._seconds(slots[fits]), self.field)
            fits[fits] = self.conditions.domains[self.field.name].holds(region, cells)
        return fits

    def _last(
        self, drawn: np.ndarray, slots: np.ndarray, left: np.ndarray, taken: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gives rows for which nothing near is free the nearest of all that are, in place; those that get none."""
        if self.high - self.low >= MOST_FREE or len(left) > MOST_LEFT:
            return taken, left
        free = np.arange(self.low, self.high + 1)
        free = free[self._fits(free) & ~_are_in(free, taken)]
        up, down = {len(free): len(free)}, {-1: -1}  # of places that were given away: where the next free one may be
        served, unserved = left[: len(free)], left[len(free) :]
        for row, place in zip(served, np.searchsorted(free, drawn[served]).tolist(), strict=True):
            above, below = _free(up, place), _free(down, place - 1)
            is_above = below < 0 or (above < len(free) and free[above] - drawn[row] <= drawn[row] - free[below])
            at = above if is_above else below
            slots[row], up[at], down[at] = free[at], at + 1, at - 1
        return np.union1d(taken, slots[served]), unserved


def _free(onward: dict[int, int], place: int) -> int:
    """The first place from this one onward that was not given away; the way there is short from then on."""
    passed = []
    while onward.get(place, place) != place:
        passed.append(place)
        place = onward[place]
    onward.update(dict.fromkeys(passed, place))
    return place


def _are_in(slots: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Which slots are among those taken, which ascend."""
    if not len(taken):
        return np.zeros(len(slots), dtype=bool)
    return taken[np.searchsorted(taken, slots).clip(max=len(taken) - 1)] == slots
