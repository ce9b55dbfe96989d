"""What a column of numbers or dates can hold."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import reduce

import numpy as np
import pandas as pd

from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.relations.cells import is_clock
from datakiln.codecs.tables.values import from_numbers, to_numbers
from datakiln.domains.base import MISSING, Domain, Region
from datakiln.domains.intervals import Interval
from datakiln.durations import DURATIONS
from datakiln.errors import UserError
from datakiln.schema import Field
from datakiln.writings import dates_of, numbers_of


class NumberDomain(Domain):
    """A number or date between the lowest and highest of the training rows, unless the codec does not clip.

    Arguments:
        column: Fitted.
    """

    def __init__(self, column: NumberColumn) -> None:
        """See the class."""
        super().__init__(column.field)
        limits = Interval() if column.limits is None else Interval(*column.limits)
        self.everything = Region((limits,), missing=column.missing)
        self.offset = 0.0
        if column.field.type == "datetime":
            self.per_unit, self.offset = 1.0 / column.step if column.step else None, column.grid.offset
        else:
            self.per_unit = None if column.field.decimals is None else 10.0**column.field.decimals

    def find(self, text: str) -> Region | None:
        """A number, a date, or "missing"."""
        if text == MISSING:
            return Region(missing=True)
        number = self.number(text)
        if number is None:
            return None
        if self._has_times and day_in(text, self.field) is not None:  # at any time of it
            return self._snapped(Interval(number, number + DAY, open_high=True))
        return self._snapped(Interval(number, number))

    @property
    def _has_times(self) -> bool:
        is_fine = self.per_unit is None or self.per_unit > 1 / DAY
        return self.field.type == "datetime" and (is_fine or self.offset % DAY > 0)

    def number(self, text: str) -> float | None:
        """The number or date that the text says, dates in seconds since 1970."""
        return number_in(text, self.field)

    def compare(self, sign: str, text: str) -> Region:
        """The numbers on one side, or on both, of the one given."""
        number = self.number(text)
        if number is None:
            raise self.refuse(text)
        day = day_in(text, self.field)
        end = number if day is None or sign not in ("<=", ">", "!=") else day + DAY  # of the day, which is all of it
        below = Interval(high=end if sign == "<=" else number, open_high=sign != "<=" or end != number)
        above = Interval(low=end if sign != ">=" else number, open_low=sign != ">=" and end == number)
        parts = {"<": (below,), "<=": (below,), ">": (above,), ">=": (above,), "!=": (below, above)}[sign]
        return reduce(Region.__or__, map(self._snapped, parts))

    def _snapped(self, interval: Interval) -> Region:
        """Without what rounding to the column's decimals, or to its days or hours, never gives."""
        snapped = interval if self.per_unit is None else interval.on_grid(self.per_unit, self.offset)
        return Region(() if snapped.is_empty else (snapped,))

    def holds(self, region: Region, series: pd.Series) -> np.ndarray:
        """Which cells lie in one of the intervals, or are missing if that is in the region."""
        values = to_numbers(series, self.field)
        inside = np.isnan(values) if region.missing else np.zeros(len(values), dtype=bool)
        return reduce(np.logical_or, (interval.holds(values) for interval in region.intervals), inside)

    def single(self, region: Region) -> pd.Series | None:
        """The number, if the region is a single point, or missing."""
        ends = {end for interval in region.intervals for end in (interval.low, interval.high)}
        if len(ends) + region.missing != 1:
            return None
        return from_numbers(np.array([ends.pop() if ends else np.nan]), self.field)

    def describe(self) -> str:
        """Range and rounding."""
        (limits,) = self.everything.intervals
        low, high = self._shown(limits.low), self._shown(limits.high)
        known = "never missing" if not self.everything.missing else "or missing"
        kind = "date" if self.field.type == "datetime" else "number"
        between = f"any {kind}" if math.isinf(limits.low) else f"between {low} and {high}"
        digits = {None: "", 0: " in whole numbers"}.get(self.field.decimals, f" with {self.field.decimals} decimals")
        return f"{between}{digits if self.field.type != 'datetime' else ''}, {known}"

    def _shown(self, number: float) -> str:
        if self.field.type != "datetime" or math.isinf(number):
            return f"{number:.15g}"
        return pd.Timestamp(number, unit="s").isoformat(sep=" ").removesuffix(" 00:00:00")

    def refuse(self, text: str) -> UserError:
        """The text is no number."""
        is_span = self.field.dtype.startswith("timedelta64") or self.field.format in DURATIONS
        kind, example = ("date", "2020-01-31") if self.field.type == "datetime" else ("number", "60")
        kind = "time of day" if is_clock(self.field) else "duration" if is_span else kind
        (limits,) = self.everything.intervals
        if math.isfinite(limits.low) and (self.field.type == "datetime" or is_span or self.field.format is not None):
            cell = from_numbers(np.array([limits.low]), self.field).iloc[0]  # in the column's own writing
            is_time = isinstance(cell, pd.Timestamp | pd.Timedelta)
            example = self._plainly(cell) if is_time else example if kind == "number" else str(cell)
        name = self.field.name
        told = f"write one, or a comparison such as '>{example}'"
        return UserError(f"condition.{name}={text}: {name} is a {kind}; {told}")

    @staticmethod
    def _plainly(cell: pd.Timestamp | pd.Timedelta) -> str:
        """Without a midnight and a time zone that nobody writes."""
        if isinstance(cell, pd.Timedelta):
            return str(cell).removeprefix("0 days ")
        return cell.tz_localize(None).isoformat(sep=" ").removesuffix(" 00:00:00")


DAY = 86_400.0  # seconds


def day_in(text: str, field: Field) -> float | None:
    """The first second of a day that a text names without a time, since 1970; None for anything else."""
    if field.type != "datetime" or ":" in text or not DAY_WRITING.search(text):
        return None
    return number_in(text, field)


DAY_WRITING = re.compile(r"\d\D+\w+\D+\d|\d{8}|\D\d+\D+\d{2,4}")  # a day, a month and a year


def number_in(text: str, field: Field) -> float | None:
    """The number in a text, or for a date column the date, in seconds since 1970; None if there is none."""
    if field.type != "datetime":
        number = float_in(text)
        if number is None and field.format is not None:
            read = float(numbers_of(pd.Series([text], dtype="str"), replace(field, dtype="str"))[0])
            return None if math.isnan(read) else read
        return _span_in(text) if number is None and field.dtype.startswith("timedelta64") else number
    for writing in () if field.format is None else (field.format, *(CLOCKS if is_clock(field) else ())):
        dates = dates_of(pd.Series([text], dtype="str"), writing)
        if dates.notna().all():
            return float(to_numbers(dates, Field(field.name, "datetime", str(dates.dtype)))[0])
    try:
        date = pd.to_datetime(pd.Series([text]), format="ISO8601")
    except (ValueError, OverflowError):
        date = None
    if date is not None:
        if "," in field.dtype and date.dt.tz is None:  # datetime64[us, Europe/Paris]: the column's own clock
            date = date.dt.tz_localize(field.dtype.rpartition(", ")[2].rstrip("]"))
        return float(to_numbers(date, Field(field.name, "datetime", str(date.dtype)))[0])
    return None


CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p")  # what people write of a time of day


def _span_in(text: str) -> float | None:
    """The seconds of a duration such as 12:00:00, 2 days or PT3H; None if it is none."""
    try:
        span = pd.Timedelta(text)
    except ValueError:
        return None
    return None if pd.isna(span) else float(span.total_seconds())


def float_in(text: str) -> float | None:
    """The number that a text is, None if it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) or "_" in text else number
