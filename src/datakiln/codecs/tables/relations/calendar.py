"""Parts of dates: year, month, weekday, hour and so on, of days since 1970; by their own clock or that of a place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

DAY = 86_400.0

PARTS: dict[str, Callable[[pd.DatetimeIndex], np.ndarray]] = {
    # coarse ones first: a column that follows from several of them follows from the first
    "half": lambda dates: (dates.month.to_numpy() > 6) + 1,
    "quarter": lambda dates: dates.quarter.to_numpy(),
    "weekday": lambda dates: dates.day_of_week.to_numpy(),
    "year": lambda dates: dates.year.to_numpy(),
    "month": lambda dates: dates.month.to_numpy(),
    "hour": lambda dates: dates.hour.to_numpy(),
    "day": lambda dates: dates.day.to_numpy(),
    "week": lambda dates: dates.isocalendar().week.to_numpy(dtype=np.float64, na_value=np.nan),
    "minute": lambda dates: dates.minute.to_numpy(),
    "second": lambda dates: dates.second.to_numpy(),
    "year_quarter": lambda dates: dates.year.to_numpy() * 10 + dates.quarter.to_numpy(),
    "year_month": lambda dates: dates.year.to_numpy() * 100 + dates.month.to_numpy(),
    "dayofyear": lambda dates: dates.day_of_year.to_numpy(),
    "minute_of_day": lambda dates: dates.hour.to_numpy() * 60 + dates.minute.to_numpy(),
    "hour_minute": lambda dates: dates.hour.to_numpy() * 100 + dates.minute.to_numpy(),
    "year_month_day": lambda dates: (dates.year * 10_000 + dates.month * 100 + dates.day).to_numpy(),
    "date": lambda dates: dates.normalize().to_numpy().astype("datetime64[D]").astype(np.int64),
}


MOMENTS: dict[str, Callable[[pd.DatetimeIndex], np.ndarray]] = {  # parts that are dates or times of day, in days
    "time": lambda dates: _days(dates) % 1,
    "time_to_minute": lambda dates: _days(dates.floor("min")) % 1,
    "date": lambda dates: _days(dates.normalize()),
    "hour_start": lambda dates: _days(dates.floor("h")),
    "minute_start": lambda dates: _days(dates.floor("min")),
    "week_start": lambda dates: _days(dates.normalize()) - dates.day_of_week.to_numpy(),
    "month_start": lambda dates: _days(dates.normalize()) - dates.day.to_numpy() + 1,
    "quarter_start": lambda dates: dates.to_period("Q").to_timestamp().to_numpy().astype("datetime64[D]").astype(float),
}


def _days(dates: pd.DatetimeIndex) -> np.ndarray:
    return dates.to_numpy().astype("datetime64[us]").astype(np.int64) / (DAY * 1e6)


# one for nearly each way to set clocks that is in use today; of those that are alike the first is told
PLACES = (
    "America/New_York", "America/Chicago", "America/Los_Angeles", "America/Denver", "America/Phoenix",
    "America/Toronto", "America/Halifax", "America/St_Johns", "America/Anchorage", "Pacific/Honolulu",
    "America/Mexico_City", "America/Bogota", "America/Sao_Paulo", "America/Argentina/Buenos_Aires",
    "America/Santiago", "Europe/London", "Europe/Berlin", "Europe/Paris", "Europe/Athens", "Europe/Istanbul",
    "Europe/Moscow", "Europe/Lisbon", "Africa/Cairo", "Asia/Jerusalem", "Asia/Tehran", "Australia/Sydney",
    "Australia/Adelaide", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Chatham",
)  # fmt: skip
QUARTERS = sorted(range(-12 * 4, 14 * 4 + 1), key=lambda quarter: quarter % 4 != 0)  # whole hours ahead of UTC first
OFFSETS = {f"UTC{'-' if q < 0 else '+'}{abs(q) // 4:02d}:{abs(q) % 4 * 15:02d}": q / 96 for q in QUARTERS if q}  # days
CLOCKS = (*OFFSETS, *PLACES)
BEHIND = " in "  # between a part and the clock it is read from


def clock_of(days: np.ndarray, clock: str) -> np.ndarray:
    """Days since 1970 in UTC as a clock shows them; raises `ValueError` for one that is not among `CLOCKS`."""
    if clock in OFFSETS:
        return days + OFFSETS[clock]
    if clock not in PLACES:
        raise ValueError(f"{clock} is none of the known clocks")
    there = np.isfinite(days)
    stamps = np.round(np.where(there, days, 0.0) * DAY * 1e6).astype(np.int64).astype("datetime64[us]")
    different, at = np.unique(stamps, return_inverse=True)
    local = pd.DatetimeIndex(different).tz_localize("UTC").tz_convert(clock).tz_localize(None)
    shown = local.to_numpy().astype("datetime64[us]").astype(np.int64)[at] / (DAY * 1e6)
    return np.where(there, shown, np.nan)


def part_of(days: np.ndarray, name: str) -> np.ndarray:
    """That part of each date as a float, NaN for a missing date; "hour in Europe/Berlin" is read from that clock."""
    name, _, clock = name.partition(BEHIND)
    days = clock_of(np.asarray(days, dtype=np.float64), clock) if clock else days
    values = np.asarray(days, dtype=np.float64)
    missing = ~np.isfinite(values)
    stamps = np.round(np.where(missing, 0.0, values) * DAY * 1e6).astype(np.int64).astype("datetime64[us]")
    found = np.asarray({**MOMENTS, **PARTS}[name](pd.DatetimeIndex(stamps)), dtype=np.float64)
    return np.where(missing, np.nan, found)
