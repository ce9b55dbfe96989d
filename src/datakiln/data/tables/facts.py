"""What a column's type depends on: looked up in all its cells at once, or gathered from pieces in bounded memory."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

DAYS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%m/%d/%Y",  # before day first: where a column fits both, the person is told and can say otherwise
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
)
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
ZONES = ("", "Z", "+00:00")  # written as they are; other time zones stay text
FORMATS = (
    *DAYS,
    *(f"{day} {time}" for day in DAYS for time in TIMES),
    *(f"{DAYS[0]}{gap}{time}{zone}" for gap in "T " for time in TIMES[:3] for zone in ZONES if gap == "T" or zone),
    "%Y-%m",
)
SAMPLE = 50


def find_format(values: pd.Series) -> str | None:
    """The first of `FORMATS` that every value (text, none missing) is written in, or None."""
    return next(fitting(values), None)


def fitting(values: pd.Series, formats: Iterable[str] = FORMATS) -> Iterator[str]:
    """Those of the formats that every value (text, none missing) is written in."""
    distinct = pd.Series(values.unique()).astype(object)
    first = "" if distinct.empty else str(distinct.iloc[0])
    if not 6 <= len(first) <= 40 or not any(c.isdigit() for c in first):  # spares most text columns all the trials
        return
    sample = distinct.iloc[:: max(1, len(distinct) // SAMPLE)]
    for format in formats:
        if _fits(sample.iloc[:1], format) and _fits(sample, format) and _fits(distinct, format):
            yield format


def _fits(values: pd.Series, format: str) -> bool:
    return bool(pd.to_datetime(values, format=format, errors="coerce").notna().all())


MAX_DECIMALS = 10
SAMPLE = 1000


def is_text(series: pd.Series) -> bool:
    """Whether cells are strings (or a mixture of Python values, which is treated as such)."""
    return isinstance(series.dtype, pd.StringDtype) or series.dtype == object


def find_decimals(present: pd.Series) -> int | None:
    """Digits after the point that all values are rounded to, at most 10; None for unrounded ones and huge ones."""
    values = present.to_numpy(dtype=present.dtype if isinstance(present.dtype, np.dtype) else np.float64)
    if len(values) == 0 or np.abs(values).max() >= 2**53:
        return None
    sample = values[:: max(1, len(values) // SAMPLE)]
    for decimals in range(MAX_DECIMALS + 1):
        if _is_rounded(sample, decimals) and _is_rounded(values, decimals):
            return decimals
    return None


def _is_rounded(values: np.ndarray, decimals: int) -> bool:
    # scaling and dividing back may miss by a few units in the last place
    return bool((np.abs(values - np.round(values, decimals)) <= 4 * np.spacing(np.abs(values))).all())


HASHES = 1 << 14  # distinct values that are counted exactly; more are estimated, to about 1 %


class Facts(abc.ABC):
    """Counts and extremes of a column.

    Attributes:
        rows: Cells.
        missing: How many of them are missing.
        distinct: Different cells, missing ones left out.
        low: Smallest and `high` the largest number; only for columns of numbers.
        is_increasing: Whether integers never fall from row to row.
        is_decreasing: Whether they never rise.
        decimals: Digits after the point that all numbers are rounded to; None for unrounded ones.
        format: The date format that all cells of text are written in, if there is one.
    """

    rows: int
    missing: int
    distinct: int
    low: Any
    high: Any
    is_increasing: bool
    is_decreasing: bool
    decimals: int | None
    format: str | None

    @property
    def present(self) -> int:
        """Cells that are not missing."""
        return self.rows - self.missing


class SeriesFacts(Facts):
    """Facts of a column in memory, each worked out when it is asked for."""

    def __init__(self, series: pd.Series) -> None:
        """Arguments: series: all cells."""
        self.series, self._present = series, series.dropna()
        self.rows, self.missing = len(series), len(series) - len(self._present)

    @cached_property
    def distinct(self) -> int:  # type: ignore[override]
        """See `Facts`."""
        return int(self._present.nunique())

    @cached_property
    def low(self) -> Any:  # type: ignore[override]  # noqa: ANN401
        """See `Facts`."""
        return self._present.min()

    @cached_property
    def high(self) -> Any:  # type: ignore[override]  # noqa: ANN401
        """See `Facts`."""
        return self._present.max()

    @cached_property
    def is_increasing(self) -> bool:  # type: ignore[override]
        """See `Facts`."""
        return bool(self.series.is_monotonic_increasing)

    @cached_property
    def is_decreasing(self) -> bool:  # type: ignore[override]
        """See `Facts`."""
        return bool(self.series.is_monotonic_decreasing)

    @cached_property
    def decimals(self) -> int | None:  # type: ignore[override]
        """See `Facts`."""
        return find_decimals(self._present)

    @cached_property
    def format(self) -> str | None:  # type: ignore[override]
        """See `Facts`."""
        return find_format(self._present)


class GatheredFacts(Facts):
    """Facts of a column that comes in pieces.

    Distinct values are counted by the smallest of their hashes (Bar-Yossef et al., 2002): exactly up to `HASHES`, then
    estimated from how densely the smallest lie. Each of them is counted in all rows, so that a column passes for unique
    only if none of these thousands of values, drawn from all of them by chance, occurs twice.
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.rows = self.missing = 0
        self.low = self.high = None
        self.is_increasing = self.is_decreasing = True
        self.decimals: int | None = 0
        self._formats: list[str] | None = None
        self._hashes, self._counts = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
        self._last: Any = None

    def update(self, series: pd.Series) -> None:
        """Looks at further cells."""
        counts = series.value_counts(sort=False)
        counts = counts[counts > 0]
        self.rows, self.missing = self.rows + len(series), self.missing + len(series) - int(counts.sum())
        if not len(counts):
            return
        values = pd.Series(counts.index)
        self._add_hashes(pd.util.hash_pandas_object(values, index=False).to_numpy(), counts.to_numpy())
        if is_text(series):
            self._formats = list(fitting(values) if self._formats is None else fitting(values, self._formats))
        elif pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
            self._see_numbers(series, values)

    def _see_numbers(self, series: pd.Series, values: pd.Series) -> None:
        low, high = values.min(), values.max()
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)
        if pd.api.types.is_integer_dtype(series.dtype):
            cells = series if self._last is None else pd.concat([pd.Series([self._last]), series])
            self.is_increasing = self.is_increasing and bool(cells.is_monotonic_increasing)
            self.is_decreasing = self.is_decreasing and bool(cells.is_monotonic_decreasing)
            self._last = series.iloc[-1]
        elif self.decimals is not None:
            found = find_decimals(values)
            self.decimals = None if found is None else max(found, self.decimals)

    def _add_hashes(self, hashes: np.ndarray, counts: np.ndarray) -> None:
        if len(self._hashes) == HASHES:
            near = hashes <= self._hashes[-1]
            hashes, counts = hashes[near], counts[near]
        merged, place = np.unique(np.concatenate([self._hashes, hashes]), return_inverse=True)
        total = np.bincount(place, weights=np.concatenate([self._counts, counts])).astype(np.int64)
        self._hashes, self._counts = merged[:HASHES], total[:HASHES]

    @property
    def is_exact(self) -> bool:
        """Whether `distinct` is no estimate."""
        return len(self._hashes) < HASHES

    @property
    def distinct(self) -> int:  # type: ignore[override]
        """See `Facts`; an estimate has three digits."""
        if self.is_exact:
            return len(self._hashes)
        if self._counts.max() == 1:
            return self.present
        estimate = (HASHES - 1) / (float(self._hashes[-1]) / 2.0**64)
        digits = max(len(str(int(estimate))) - 3, 0)
        return min(round(estimate, -digits).__int__(), self.present - 1)

    @property
    def format(self) -> str | None:  # type: ignore[override]
        """See `Facts`."""
        return self._formats[0] if self._formats else None
