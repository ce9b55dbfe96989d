"""What is public of a column, and the cells that its values are counted in: nothing here has looked at a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.schema import Field
from datakiln.writings import numbers_of

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST = 512  # cells of a number; with as many values or fewer each has a cell of its own
DAY = 86_400.0
STEPS = 8  # pieces of the quantile function inside a bin


@dataclass(frozen=True)
class PublicColumn:
    """A column as a person has declared it.

    Attributes:
        field: How it is read and written.
        categories: What a category can be; empty for other columns.
        low: Lowest value of a number, dates in seconds since 1970.
        high: Highest value.
        missing: Whether a cell may be missing; where not, a missing cell counts nowhere.
    """

    field: Field
    categories: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    missing: bool = False

    @property
    def unit(self) -> float:
        """What numbers are multiples of, counted from the lowest."""
        if self.field.type == "datetime":
            return 1.0 if any(part in str(self.field.format) for part in ("%H", "%I", "%S", "ISO")) else DAY
        return float(10.0 ** -(self.field.decimals or 0))

    @property
    def values(self) -> int:
        """How many values a number can have."""
        return round((self.high - self.low) / self.unit) + 1

    @property
    def is_modelled(self) -> bool:
        """Whether it takes part in any marginal; ids and texts are made anew."""
        return self.field.is_numeric or self.field.is_choice

    @property
    def size(self) -> int:
        """Cells, that of missing among them."""
        inner = len(self.categories) if self.field.is_choice else len(self.starts) - 1
        return inner + self.missing

    @property
    def starts(self) -> Ints:
        """The first value of each cell of a number, counted from the lowest, and one past the last value.

        Evenly wide ones, and a cell of their own for both bounds and for zero, where spikes tend to be.
        """
        if self.values <= MOST:
            return np.arange(self.values + 1, dtype=np.int64)
        inner = np.round(np.linspace(1, self.values - 1, MOST - 1)).astype(np.int64)
        zero = round(-self.low / self.unit)
        own = [0, self.values - 1, self.values, *((zero, zero + 1) if 0 < zero < self.values else ())]
        return np.unique(np.concatenate([inner, np.array(own, dtype=np.int64)]))

    def cells(self, series: pd.Series) -> Ints:
        """The cell of each value, shape (n,), -1 for one that was not declared; numbers are put inside the bounds."""
        if self.field.is_choice:
            codes = pd.Index(self.categories, dtype=object).get_indexer(pd.Index(series.astype(object)))
            absent = series.isna().to_numpy()
        else:
            numbers = numbers_of(series, self.field)
            absent = np.isnan(numbers)
            inside = np.clip(np.where(absent, self.low, numbers), self.low, self.high)
            steps = np.round((inside - self.low) / self.unit).astype(np.int64)
            codes = np.searchsorted(self.starts, steps, side="right") - 1
        return np.where(absent, self.size - 1 if self.missing else -1, codes).astype(np.int64)

    def at(self, steps: NDArray[Any]) -> Floats:
        """Numbers at so many units from the lowest."""
        found = self.low + np.asarray(steps, dtype=np.float64) * self.unit
        return found if self.field.decimals is None else np.round(found, max(self.field.decimals, 0) + 1)


@dataclass(frozen=True)
class Bins:
    """A number's cells put together into bins by noisy counts, which costs nothing more.

    Attributes:
        column: Of the cells.
        first: The first cell of each bin, and one past the last; that of missing is no bin.
        shares: How the rows of a bin are spread over its cells, shape (cells,).
    """

    column: PublicColumn
    first: Ints
    shares: Floats

    @classmethod
    def of(cls, column: PublicColumn, counts: Floats, wanted: int) -> Bins:
        """At most about `wanted` bins of equal noisy count; a cell that fills one alone has it alone.

        Arguments:
            column: A number.
            counts: Rows of each cell but that of missing, none negative.
            wanted: Bins.
        """
        least = max(counts.sum(), 1.0) / wanted
        first, held = [0], 0.0
        for cell, count in enumerate(counts):
            if count >= least and first[-1] != cell:
                first.append(cell)
                held = 0.0
            held += count
            if held >= least:
                first.append(cell + 1)
                held = 0.0
        if first[-1] != len(counts):
            first.append(len(counts))
        if len(first) > 2 and counts[first[-2] :].sum() < least / 4:
            del first[-2]
        return cls(column, np.array(first, dtype=np.int64), counts)

    def __len__(self) -> int:
        """How many."""
        return len(self.first) - 1

    def codes(self, cells: Ints) -> Ints:
        """The bin of each cell; missing comes last, and -1 stays."""
        inner = len(self.shares)
        codes = np.searchsorted(self.first, cells, side="right") - 1
        return np.where(cells >= inner, len(self), np.where(cells < 0, -1, codes)).astype(np.int64)

    @property
    def knots(self) -> Floats:
        """Values at even steps through each bin, shape (bins, STEPS + 1); all the same in a bin of a single value."""
        starts = self.column.starts
        rows = []
        for low, high in zip(self.first[:-1], self.first[1:], strict=True):
            if starts[high] - starts[low] == 1:
                rows.append(np.repeat(self.column.at(starts[low : low + 1]), STEPS + 1))
                continue
            # a little everywhere, so that no share of 0 makes a step that stands still
            share = self.shares[low:high] + 1e-6 * max(self.shares[low:high].sum(), 1e-6) / (high - low)
            ends = np.concatenate([[0.0], np.cumsum(share / share.sum())])
            edges = self.column.low + (starts[low : high + 1] - 0.5) * self.column.unit
            rows.append(np.interp(np.linspace(0.0, 1.0, STEPS + 1), ends, edges))
        return np.array(rows)


def onto_simplex(counts: Floats, total: float) -> Floats:
    """The nearest counts that are not negative and add up to the total (Duchi et al., 2008): noise made plausible."""
    falling = np.sort(counts)[::-1]
    over = np.cumsum(falling) - total
    last = np.flatnonzero(falling - over / np.arange(1, len(counts) + 1) > 0)[-1]
    return np.asarray(np.maximum(counts - over[last] / (last + 1), 0.0))
