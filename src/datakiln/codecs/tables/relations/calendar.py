"""Parts of dates: year, month, weekday, hour and so on, of days since 1970."""

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


def part_of(days: np.ndarray, name: str) -> np.ndarray:
    """That part of each date as a float, NaN for a missing date."""
    values = np.asarray(days, dtype=np.float64)
    missing = ~np.isfinite(values)
    stamps = np.round(np.where(missing, 0.0, values) * DAY * 1e6).astype(np.int64).astype("datetime64[us]")
    found = np.asarray(PARTS[name](pd.DatetimeIndex(stamps)), dtype=np.float64)
    return np.where(missing, np.nan, found)
