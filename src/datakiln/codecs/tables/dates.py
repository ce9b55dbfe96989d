"""Dates that are learnt as parts: a calendar unit, the day in it, and the time of day.

As a single number a date tells neither the weekday nor the hour: bins of two years are days wide, and what lies inside
a bin hardly hangs on anything. As columns of their own, parts go with each other and with all else in the row. Weeks
and weekdays are the units, or months and days of the month, whichever the dates of the training rows keep to. Parts of
dates with a time zone are those that its clocks show: what begins at midnight there begins at two times of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import all_numbers, from_numbers, to_numbers
from datakiln.codecs.tables.zones import DAY, instants, shown, zone_of
from datakiln.schema import Field

Unit = Literal["day", "week", "month"]
MONDAY = 3  # the weekday of day 0, 1 January 1970, counted from Monday
FEW = 60  # different dates that codes of their own can stand for
SPAN = 56  # days: of eight weeks, weekdays can be told
CLEAR = 5.0  # standard deviations of chance beyond which days of the month are uneven
DECIMALS = (0, 3, 6)  # of seconds
LAST = 31  # the day of the month that stands for its last one, whichever that is
ENDED = 0.2  # share of rows on the last day of a month, six times the even one, from which it is a day of its own
LEAST_UNIQUE, UNIQUE = 50, 0.999  # stamps, and the share of them that differ, for a column whose stamps are unique
MET = 5.0  # pairs that would share a day by chance, from which it tells something that none does
EQUAL = 0.8  # share of rows in which another column is the day of the month, so that months are the unit


@dataclass(frozen=True)
class Dates:
    """How the dates of one column are taken apart, and how they are put together.

    The first part is the number of the unit since 1970 and has the column's name. Days of the month count from 1, as in
    a column that names them, weekdays from Monday, 0.

    Attributes:
        name: Of the column.
        unit: What the first part counts.
        day: Name of the column of the day within the unit; "" for the unit of days.
        time: Name of the column of the seconds since midnight; "" where there is none.
        decimals: Of these seconds.
        usual: Day and time that stand beside a missing date; the time is that of all dates where none is learnt.
        ends: Whether the last day of each month is one and the same day, as where accounts are closed.
        zone: Whose clocks show the parts; "" for UTC, or the column's own clock.
    """

    name: str
    unit: Unit
    day: str
    time: str
    decimals: int
    usual: tuple[int, float]
    ends: bool = False
    zone: str = ""

    @property
    def fields(self) -> list[Field]:
        """Of the parts, in order."""
        parts = [Field(self.name, "integer", "float64", decimals=0)]
        parts += [Field(self.day, "integer", "float64", decimals=0)] if self.day else []
        parts += [Field(self.time, "numeric", "float64", decimals=self.decimals)] if self.time else []
        return parts

    def apart(self, series: pd.Series, field: Field) -> dict[str, pd.Series]:
        """The parts of each cell; beside a missing date the usual day and time."""
        seconds = to_numbers(series, field)
        there = ~np.isnan(seconds)
        days, time = np.divmod(shown(np.where(there, seconds, 0.0), self.zone), DAY)
        number, day = _numbered(days.astype(np.int64), self.unit, self.ends)
        parts = [np.where(there, number, np.nan)]
        parts += [np.where(there, day, self.usual[0])] if self.day else []
        parts += [np.where(there, time, self.usual[1])] if self.time else []
        return {part.name: from_numbers(values, part) for part, values in zip(self.fields, parts, strict=True)}

    def together(self, parts: Mapping[str, pd.Series], field: Field, limits: tuple[float, float] | None) -> pd.Series:
        """Inverse of `apart`; a date that leaves the limits within the first or last unit moves to the next inside."""
        number, *others = (to_numbers(parts[part.name], part) for part in self.fields)
        there = ~np.isnan(number)
        whole = np.round(np.where(there, number, 0.0)).astype(np.int64)
        day = np.round(np.nan_to_num(others[0])).astype(np.int64) if self.day else np.zeros_like(whole)
        time = np.nan_to_num(others[-1]) if self.time else self.usual[1]
        seconds = instants(_days(whole, day, self.unit) * DAY + time, self.zone)
        if limits is not None:
            for outside, step in ((seconds < limits[0], 1), (seconds > limits[1], -1)):
                moved = instants(_days(whole + step, day, self.unit) * DAY + time, self.zone)
                seconds = np.where(outside, moved, seconds)
            seconds = np.clip(seconds, *limits)
        return from_numbers(np.where(there, seconds, np.nan), field)

    def began(self, number: np.ndarray) -> np.ndarray:
        """When the unit of that number began, in seconds since 1970."""
        whole = np.floor(np.asarray(number, dtype=np.float64)).astype(np.int64)
        return instants(_days(whole, np.full_like(whole, self.unit == "month"), self.unit) * DAY, self.zone)

    def __str__(self) -> str:
        """Such as week, weekday and time of day."""
        day = {"day": [], "week": ["weekday"], "month": ["day"]}[self.unit]
        return _listed([self.unit, *day, *(["time of day"] if self.time else [])])

    def state(self) -> dict[str, Any]:
        """Plain values, without the name."""
        return {
            "unit": self.unit,
            "day": self.day,
            "time": self.time,
            "decimals": self.decimals,
            "usual": list(self.usual),
            "ends": self.ends,
            "zone": self.zone,
        }

    @classmethod
    def from_state(cls, name: str, state: Mapping[str, Any]) -> Dates:
        """Inverse of `state`; raises `ValueError` for what is no state of dates."""
        unit, parts, decimals = state["unit"], (state["day"], state["time"]), state["decimals"]
        zone = state.get("zone", "")  # in checkpoints of before, parts are of UTC
        if not isinstance(zone, str) or (zone and zone_of(f"datetime64[us, {zone}]") != zone):
            raise ValueError(f"{zone!r} is no time zone")
        if unit not in get_args(Unit) or not all(isinstance(part, str) for part in parts) or not any((*parts, zone)):
            raise ValueError(f"{unit!r} with {parts!r} is no way to take dates apart")
        if bool(parts[0]) != (unit != "day") or decimals not in DECIMALS:
            raise ValueError(f"a {unit} with the day {parts[0]!r}, or times of {decimals!r} decimals")
        if not isinstance(ends := state.get("ends", False), bool):  # not in checkpoints of before
            raise ValueError("ends of dates is neither true nor false")
        day, seconds = all_numbers(state["usual"])
        return cls(name, unit, *parts, decimals, (int(day), seconds), ends, zone)


def taken_apart(field: Field, frame: pd.DataFrame, fields: tuple[Field, ...]) -> Dates | None:
    """How a column of dates is taken apart, by its training rows; None where a single number says as much.

    Arguments:
        field: The column.
        frame: The training rows, or a sample of them.
        fields: All columns of the table, whose names the parts do not take.
    """
    seconds = to_numbers(frame[field.name], field)
    there = ~np.isnan(seconds)
    seconds = seconds[there]
    zone = zone_of(field.dtype)
    days, times = np.divmod(shown(seconds, zone), DAY)
    # one time by the clocks there and several of UTC, between which other hours lie
    is_local = len(np.unique(times)) == 1 and len(np.unique(seconds % DAY)) > 1
    if len(np.unique(seconds)) <= FEW and not is_local:
        return None
    days = days.astype(np.int64)
    is_day = _is_a_column(days, frame[there], fields)
    unit = _unit(days, is_day)
    has_time = len(np.unique(times)) > 1 and np.ptp(days) > 1
    if unit == "day" and not has_time and not is_local:
        return None
    taken = {other.name for other in fields}
    day = "" if unit == "day" else _free(f"{field.name} ({'weekday' if unit == 'week' else 'day'})", taken)
    time = _free(f"{field.name} (time)", taken) if has_time else ""
    ends = unit == "month" and not is_day and _is_last(days).mean() > ENDED
    usual = (int(np.bincount(_numbered(days, unit, bool(ends))[1]).argmax()), _most_common(times))
    decimals = next((digits for digits in DECIMALS if (times == np.round(times, digits)).all()), DECIMALS[-1])
    return Dates(field.name, unit, day, time, decimals, usual, bool(ends), zone)


def unique_step(field: Field, cells: pd.Series) -> tuple[float, float] | None:
    """The resolution of stamps that no two rows share, in seconds, and where it begins; None where rows share them.

    Arguments:
        field: A column of dates.
        cells: Of all training rows.
    """
    seconds = to_numbers(cells, field)
    seconds = seconds[~np.isnan(seconds)]
    if len(seconds) < LEAST_UNIQUE or len(np.unique(seconds)) < UNIQUE * len(seconds):
        return None
    digits = next((digits for digits in DECIMALS if (seconds == np.round(seconds, digits)).all()), DECIMALS[-1])
    scale = 10.0**digits
    whole = np.round(seconds * scale).astype(np.int64)
    step = int(np.gcd.reduce(whole - whole[0]))
    pairs = len(whole) ** 2 / 2 / (np.ptp(whole) / step + 1)
    if step / scale >= DAY and pairs < MET:  # such as birthdays of a hundred persons; finer stamps seldom meet anyway
        return None
    return step / scale, int(whole[0] % step) / scale


def _unit(days: np.ndarray, is_day: bool) -> Unit:
    different = np.unique(days)
    if len(different) <= FEW or np.ptp(days) < SPAN:
        return "day"
    if is_day:
        return "month"
    span = np.arange(days.min(), days.max() + 1)
    (weekday, _), (month, chance) = (_unevenness(_numbered(days, unit)[1], _numbered(span, unit)[1]) for unit in UNEVEN)
    return "month" if month > max(weekday, CLEAR * chance) else "week"


UNEVEN: tuple[Unit, ...] = ("week", "month")


def _unevenness(found: np.ndarray, even: np.ndarray) -> tuple[float, float]:
    """Pearson's chi-squared distance from even days beyond what chance gives, for each row; its standard deviation."""
    counts = np.bincount(found, minlength=int(even.max()) + 1).astype(np.float64)
    expected = np.bincount(even, minlength=len(counts)) / len(even) * len(found)
    is_there = expected > 0
    degrees = int(is_there.sum()) - 1
    distance = float(((counts - expected)[is_there] ** 2 / expected[is_there]).sum())
    return (distance - degrees) / len(found), float(np.sqrt(2 * degrees)) / len(found)


def _is_a_column(days: np.ndarray, frame: pd.DataFrame, fields: tuple[Field, ...]) -> bool:
    """Whether another column is the day of the month, but for a few rows such as those of another time zone."""
    day = _numbered(days, "month")[1]
    whole = [other for other in fields if other.type == "integer"]
    return any(float((to_numbers(frame[other.name], other) == day).mean()) > EQUAL for other in whole)


def _is_last(days: np.ndarray) -> np.ndarray:
    """Whether each day since 1970 is the last of its month."""
    months = (days + np.array([[0], [1]])).astype("datetime64[D]").astype("datetime64[M]")
    return months[0] != months[1]  # type: ignore[no-any-return]


def _numbered(days: np.ndarray, unit: Unit, ends: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The unit that each day since 1970 lies in, and which day of it that is; the last of a month `LAST` if asked."""
    if unit == "day":
        return days, np.zeros_like(days)
    if unit == "week":
        week, weekday = np.divmod(days + MONDAY, 7)
        return week, weekday
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    day = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
    return months.astype(np.int64), np.where(_is_last(days), LAST, day) if ends else day


def _days(number: np.ndarray, day: np.ndarray, unit: Unit) -> np.ndarray:
    """Inverse of `_numbered`; a day that a month lacks is its last."""
    if unit == "day":
        return number
    if unit == "week":
        return number * 7 + day - MONDAY
    first, end = ((number + more).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for more in (0, 1))
    return np.minimum(first + day - 1, end - 1)


def _most_common(values: np.ndarray) -> float:
    different, counts = np.unique(values, return_counts=True)
    return float(different[counts.argmax()])


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    taken.add(name)
    return name


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
