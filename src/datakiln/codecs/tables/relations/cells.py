"""Columns as the floats that relations reckon with, and back to the column's own dtype."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.calendar import DAY
from datakiln.codecs.tables.values import choice_dtype, from_numbers, plain_cells, to_numbers
from datakiln.schema import Field
from datakiln.writings import plain_format

CLOCK_MARKS = frozenset("HIMSfp")  # of hours, minutes, seconds, am and pm
CLOCK_DAY = -25_567.0  # 1900-01-01, the day of times that are read without one
INSTANT = 1e-5 / DAY  # dates that differ by less are equal: floats hold no less


def is_reckoned(field: Field) -> bool:
    """Whether the column holds numbers or dates, whatever it is modelled as."""
    if field.is_numeric:
        return True
    if not field.is_choice or field.dtype == "category":
        return False
    dtype = pd.api.types.pandas_dtype(field.dtype)
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def is_clock(field: Field) -> bool:
    """Whether it holds times of day without a date, or durations written as such."""
    marks = set(re.findall("%(.)", plain_format(field.format or "")))
    return field.type == "datetime" and bool(marks) and marks <= CLOCK_MARKS


def is_date(field: Field) -> bool:
    """Whether it holds dates, with a time of day or without."""
    return field.type == "datetime" and not is_clock(field)


def in_days(limits: tuple[float, float], field: Field) -> tuple[float, float]:
    """Limits of a column in the numbers that relations reckon with."""
    low, high = limits
    if field.type != "datetime":
        return low, high
    first = first_day(field) * DAY
    return (low - first) / DAY, (high - first) / DAY


def first_day(field: Field) -> float:
    """The day since 1970 that the numbers which relations reckon with count from."""
    return CLOCK_DAY if is_clock(field) else 0.0


def is_zoned(field: Field) -> bool:
    """Whether it holds dates with a time zone, whose clock jumps twice a year."""
    return field.type == "datetime" and "," in field.dtype


def numbers_of(series: pd.Series, field: Field) -> np.ndarray:
    """Floats with NaN for missing; dates as days since 1970 by the column's own clock, times as parts of a day."""
    if is_zoned(field) and series.dtype == object:  # as columns are whose holes are being filled
        dtype: Any = pd.api.types.pandas_dtype(field.dtype)
        series = pd.to_datetime(series, utc=True, errors="coerce").dt.tz_convert(dtype.tz)
    if is_zoned(field) and isinstance(series.dtype, pd.DatetimeTZDtype):
        local = series.dt.tz_localize(None)
        return to_numbers(local, Field(field.name, "datetime", str(local.dtype))) / DAY
    if field.type == "datetime":
        return (to_numbers(series, field) - first_day(field) * DAY) / DAY
    return to_numbers(series, field if field.is_numeric else Field(field.name, "numeric", field.dtype))


class Numbered(dict[str, pd.Series]):
    """Columns by name, the numbers of each worked out once: dates kept as text take long to read."""

    def __init__(self, cells: Mapping[str, pd.Series]) -> None:
        """Arguments: cells: by name."""
        super().__init__(cells)
        self.known: dict[str, np.ndarray] = {}

    def __setitem__(self, name: str, cells: pd.Series) -> None:
        """Takes other cells for a column."""
        self.known.pop(name, None)
        super().__setitem__(name, cells)

    def numbers(self, field: Field) -> np.ndarray:
        """See `numbers_of`."""
        if field.name not in self.known:
            self.known[field.name] = numbers_of(self[field.name], field)
        return self.known[field.name]


def cells_of(frame: pd.DataFrame | Mapping[str, pd.Series], fields: Iterable[Field]) -> dict[str, np.ndarray]:
    """The reckoned columns among the fields."""
    return {field.name: numbers_of(frame[field.name], field) for field in fields if is_reckoned(field)}


def series_of(values: np.ndarray, field: Field) -> pd.Series:
    """Inverse of `numbers_of`, rounded to the field's decimals; whole numbers with a missing cell stay floats.

    What is no time of a day is missing in a column of such times.
    """
    if np.isnan(values).any() and _is_whole(field):
        return pd.Series(np.round(values), name=field.name)
    if field.type == "datetime":
        seconds = np.round(values * DAY, 6)
        if is_clock(field):
            seconds = np.where((seconds >= 0) & (seconds < DAY), seconds + CLOCK_DAY * DAY, np.nan)
        return from_numbers(seconds, field)
    if field.is_numeric:
        return from_numbers(values, field)
    dtype = pd.api.types.pandas_dtype(field.dtype)
    if pd.api.types.is_integer_dtype(dtype):
        values = np.round(values)
    return pd.Series(values, name=field.name).astype(field.dtype)  # type: ignore[call-overload]


def _is_whole(field: Field) -> bool:
    """Whether it is kept in a dtype that knows no missing cells."""
    dtype = None if field.type == "datetime" or field.dtype == "category" else pd.api.types.pandas_dtype(field.dtype)
    return isinstance(dtype, np.dtype) and dtype.kind in "iu"


def keys_of(series: pd.Series) -> pd.Series:
    """Cells as plain Python values, what the tables of functions are looked up by."""
    return plain_cells(series).astype(object)


def chosen(values: Sequence[Any], codes: np.ndarray, field: Field) -> pd.Series:
    """The value of each code in the column's own dtype, missing where the code is negative."""
    table = np.empty(len(values) + 1, dtype=object)
    table[: len(values)] = values
    table[-1] = None
    made = table[codes]
    if field.is_numeric:
        return series_of(made.astype(np.float64), field)
    if (codes >= 0).all() and all(value is not None for value in values):
        return pd.Series(made, name=field.name).astype(choice_dtype(field, list(values)))
    dtype: Any = choice_dtype(field, [value for value in values if value is not None])
    is_plain = isinstance(pd.api.types.pandas_dtype(dtype), np.dtype)
    return pd.Series(made, name=field.name, dtype=object) if is_plain else pd.Series(made, name=field.name, dtype=dtype)


def tolerance(field: Field) -> float:
    """By how much cells of the column may miss what they are computed as: half of their last digit."""
    if field.type == "datetime":
        return INSTANT
    if field.is_numeric:
        return 0.0 if field.decimals is None else 0.5 * 10.0**-field.decimals * (1 + 1e-6)
    return 1e-9


def slack(field: Field) -> float:
    """Relative error of cells that are not rounded to decimals, and of reckoning."""
    if field.dtype.lower() in ("float32", "float16"):
        return 2e-6 if field.dtype == "float32" else 2e-3
    is_fine = field.decimals is not None or not field.is_numeric or field.type == "datetime"
    return 1e-13 if is_fine else 1e-8  # of the days since 1970, 1e-8 is half a minute
