"""What only all training cells of a column can tell a codec, gathered in pieces and bounded in size.

A codec that is fitted on a uniform sample knows densities and quantiles well: of m rows, the rank of a quantile is off
by about 0.5 / sqrt(m). A sample does not know what is rare: the smallest and largest number, a category of ten rows,
whether any cell is missing. These are taken from all rows, exactly up to the limits below.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import plain_cells, to_numbers
from datakiln.errors import UserError
from datakiln.schema import Field

MOST_COUNTED = 1 << 16  # categories whose rows are counted; of twice as many, the rarer half is let go
MOST_POINTS = 1 << 10  # distinct numbers that are all shown to the encoder
STEPS = (86_400.0, 3_600.0, 60.0, 1.0)  # seconds: one date that is no multiple tells as much as all of them


class Tally:
    """Counts of a choice column; of any other, the cells a sample must not lack.

    Attributes:
        rows: Cells so far.
        counts: Rows of each category; once `is_pruned`, only of frequent ones, from where they were kept for good.
        is_pruned: Whether there were too many categories to count all of them.
        n_missing: Cells that are missing.
    """

    def __init__(self, field: Field) -> None:
        """Arguments: field: the column."""
        self.field = field
        self.rows, self.n_missing, self.is_pruned = 0, 0, False
        self.counts = pd.Series(dtype=np.int64)
        self._cells: list[pd.Series] = []  # witnesses: extremes, cells off the steps of a clock, distinct numbers
        self._numbers = np.zeros(0)  # theirs
        self._few = True  # distinct numbers have been few so far

    @property
    def has_missing(self) -> bool:
        """Whether any cell is."""
        return self.n_missing > 0

    def update(self, series: pd.Series) -> None:
        """Looks at further cells; raises `UserError` for one that its declared type cannot hold."""
        if self.field.is_choice:
            self._count(series)
        elif self.field.is_numeric:
            self._see(series, to_numbers(series, self.field))
        elif not self._cells or self.field.type == "id":
            self._see_generated(series.dropna())
        is_missing = series.isna()
        if not self.has_missing and is_missing.any():
            self._missing = series[is_missing].iloc[:1]
        self.n_missing += int(is_missing.sum())
        self.rows += len(series)

    def _count(self, series: pd.Series) -> None:
        counts = plain_cells(series).value_counts(sort=False)
        counts.index = counts.index.astype(object)
        self.counts = self.counts.add(counts[counts > 0], fill_value=0).astype(np.int64) if self.rows else counts
        if len(self.counts) > 2 * MOST_COUNTED:
            self.is_pruned = True
            self.counts = self.counts.nlargest(MOST_COUNTED)

    def _see(self, series: pd.Series, values: np.ndarray) -> None:
        wrong = np.isnan(values) & series.notna().to_numpy()
        if wrong.any():
            name, kind, cell = self.field.name, self.field.type, str(series[wrong].iloc[0])[:24]
            raise UserError(f"data.types.{name}={kind}, but {cell!r} is none; say data.types.{name}=category")
        finite = np.flatnonzero(~np.isnan(values))
        if not len(finite):
            return
        found, first = np.unique(values[finite], return_index=True)
        places = finite[first]
        shown = {0, len(found) - 1}
        if self._few:
            self._few = len(found) <= MOST_POINTS
            shown = set(range(len(found))) if self._few else shown
        if self.field.type == "datetime":
            off = [np.flatnonzero(found % step) for step in STEPS]
            shown |= {int(place[0]) for place in off if len(place)}
        at = places[sorted(shown)]
        self._show(series.iloc[at], values[at])

    def _show(self, cells: pd.Series, numbers: np.ndarray) -> None:
        """Keeps witnesses that are new; once distinct numbers are too many, only the extremes and those off a step."""
        is_new = ~np.isin(numbers, self._numbers)
        if not is_new.any():
            return
        kept = pd.concat([*self._cells, cells[is_new]], ignore_index=True)
        self._numbers = np.concatenate([self._numbers, numbers[is_new]])
        if len(self._numbers) > MOST_POINTS:
            self._few = False
            keep = {int(self._numbers.argmin()), int(self._numbers.argmax())}
            if self.field.type == "datetime":
                keep |= {int(p[0]) for p in (np.flatnonzero(self._numbers % step) for step in STEPS) if len(p)}
            kept, self._numbers = kept.iloc[sorted(keep)], self._numbers[sorted(keep)]
        self._cells = [kept]

    def _see_generated(self, present: pd.Series) -> None:
        if not len(present):
            return
        if self.field.type == "id" and pd.api.types.is_numeric_dtype(present.dtype):
            present = pd.concat([*self._cells, present]).sort_values(ascending=False)
        self._cells = [present.iloc[:1]]

    def completed(self, sample: pd.Series) -> pd.Series:
        """The sample and the witnesses it lacks; their number is bounded, so that shares hardly move."""
        lacking = self._cells
        if lacking and self.field.is_numeric:
            lacking = [lacking[0][~np.isin(self._numbers, to_numbers(sample, self.field))]]
        if self.has_missing and not sample.isna().any():
            lacking = [*lacking, self._missing]
        return pd.concat([sample, *lacking], ignore_index=True) if lacking else sample
