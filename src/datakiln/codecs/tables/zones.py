"""What the clocks of a time zone show at an instant, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

DAY = 86_400.0
FIRST, LAST = -62_135_596_800.0, 253_402_300_799.0  # the years 1 to 9999, which is all that clocks can be asked for


def zone_of(dtype: str) -> str:
    """The time zone of a dtype of dates, "" for UTC and where there is none; raises `ValueError` for an unknown one."""
    if not dtype.startswith("datetime64") or "," not in dtype:
        return ""
    try:
        known: Any = pd.DatetimeTZDtype.construct_from_string(dtype)
    except TypeError as error:
        raise ValueError(f"{dtype}: what is behind the comma is no time zone") from error
    return "" if str(known.tz) == "UTC" else str(known.tz)


def shown(seconds: np.ndarray, zone: str) -> np.ndarray:
    """Seconds since 1970, (n,), as the clocks of a zone show them; NaN stays NaN."""
    if not zone:
        return seconds
    asked, is_asked = _within(seconds, FIRST + DAY, LAST - DAY)
    local = _seconds_of(_stamps(asked).tz_localize("UTC").tz_convert(zone).tz_localize(None))
    return np.where(is_asked, local, seconds + (local - asked))


def instants(local: np.ndarray, zone: str) -> np.ndarray:
    """Inverse of `shown`, (n,), within the years 1 to 9999 of these clocks and of UTC.

    Of two alike it is the first, and of what clocks leave out the next that they show.
    """
    if not zone:
        return local
    local = np.clip(local, FIRST, LAST)
    asked, is_asked = _within(local, FIRST + DAY, LAST - DAY)
    twice = np.ones(len(asked), dtype=bool)
    there = _stamps(asked).tz_localize(zone, ambiguous=twice, nonexistent="shift_forward").tz_convert("UTC")
    seconds = _seconds_of(there.tz_localize(None))
    return np.clip(np.where(is_asked, seconds, local + (seconds - asked)), FIRST, LAST)


def _within(seconds: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds that a clock can be asked for, and which of them are as they were."""
    asked = np.clip(np.where(np.isnan(seconds), 0.0, seconds), low, high)
    return asked, asked == seconds


def _stamps(seconds: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.round(seconds * 1e6).astype(np.int64).astype("datetime64[us]"))


def _seconds_of(stamps: pd.DatetimeIndex) -> np.ndarray:
    return np.asarray(stamps.to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6)
