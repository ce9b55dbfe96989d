"""The time of a series: even steps are counted, uneven ones are a column of their own, the logarithm of the step."""

from __future__ import annotations

import dataclasses
import math
from calendar import day_name
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import all_numbers, from_numbers, to_numbers
from datakiln.codecs.tables.zones import DAY, instants, shown, zone_of
from datakiln.schema import Field

Unit = Literal["plain", "months", "month ends"]
Lattice = Literal["", Unit]
EVEN = 1e-6  # share of a step that even ones may differ by
EXACT = 2.0**53  # from here on floats are whole whatever was meant, and multiples of much by chance
CHANCE = 1000.0  # once in so many times, starts may all be multiples of more than their grain by chance
EPOCH = np.datetime64("1970-01-05")  # a Monday


@dataclass(frozen=True)
class Clock:
    """How the times of a sequence follow from its start.

    Its times are numbers as `to_numbers` gives them, or what the clocks of the column's zone show: where summer time
    begins or ends, days there are no even steps otherwise. Where some days of the week have none, the others count,
    and a Monday comes a day after a Friday.

    Attributes:
        field: The column of times.
        unit: What `step` counts: the numbers themselves (seconds for dates), months, or ends of months.
        step: The step of even series; None where steps are uneven.
        low: Earliest start.
        high: Latest start.
        grain: Distance of the grid that all times lie on, from `low`; 0 for none.
        is_modelled: Whether the start is a static column of its own, and not drawn between `low` and `high`.
        is_local: Whether times are those of the column's zone.
        lattice: What training starts lie on, from `low` in steps of `spacing`, if they are modelled; "" for nothing.
        spacing: See `lattice`; in what it counts.
        weekdays: Days of the week that count, from Monday, such as "1111100"; "" for all.
    """

    field: Field
    unit: Unit = "plain"
    step: float | None = None
    low: float = 0.0
    high: float = 0.0
    grain: float = 0.0
    is_modelled: bool = False
    is_local: bool = False
    lattice: Lattice = ""
    spacing: float = 0.0
    weekdays: str = ""

    @classmethod
    def fit(cls, times: pd.Series, field: Field, group: np.ndarray, starts: tuple[float, float] | None) -> Clock:
        """Learns the step from the training rows.

        Arguments:
            times: In order within each group.
            field: Their column.
            group: Sequence of each row, (n,), those of one sequence together.
            starts: Earliest and latest start, where it is drawn between them; None where it is to be modelled.
        """
        values, zone = to_numbers(times, field), zone_of(field.dtype)
        made = cls._fitted(values, field, group, starts)
        if zone:
            steps = np.diff(values)[group[1:] == group[:-1]]
            every = min(float(np.median(steps)), DAY) if len(steps) else DAY
            usual = float(pd.Series(shown(values, zone) % every).mode()[0])
            there = _local(values, zone, usual, every)
            ends = None if starts is None else (*_local(np.array(starts), zone, usual, every).tolist(),)
            local = cls._fitted(there, field, group, ends)
            if local.grain == DAY or (local.is_even and not made.is_even):
                made, values, starts = dataclasses.replace(local, is_local=True), there, ends  # type: ignore[assignment]
        weekdays = "" if made.is_even or field.type != "datetime" else _weekdays(values)
        if not weekdays:
            return made
        ends = None if starts is None else (*_counted(np.array(starts), weekdays).tolist(),)
        counted = cls._fitted(_counted(values, weekdays), field, group, ends, is_dated=False)
        return dataclasses.replace(counted, is_local=made.is_local, weekdays=weekdays)

    @classmethod
    def _fitted(
        cls,
        values: np.ndarray,
        field: Field,
        group: np.ndarray,
        starts: tuple[float, ...] | None,
        is_dated: bool = True,
    ) -> Clock:
        is_dated = is_dated and field.type == "datetime"
        inside = group[1:] == group[:-1]
        steps = np.diff(values)[inside]
        first = values[np.r_[True, ~inside]]
        unit: Unit = "plain"
        step = float(np.median(steps)) if len(steps) else 1.0
        if len(steps) and np.abs(steps - step).max() > EVEN * step:
            unit, found = _calendar(values, inside) if is_dated else ("plain", None)
            step = found if found is not None else float("nan")
        low, high = starts if starts is not None else (float(first.min()), float(first.max()))
        is_modelled = starts is None and low < high
        lattice, spacing = _lattice(first, is_dated) if is_modelled else ("", 0.0)
        return cls(
            field,
            unit,
            None if np.isnan(step) else step,
            low,
            high,
            _grain(values),
            is_modelled,
            False,
            lattice,
            spacing,
        )

    @property
    def is_even(self) -> bool:
        """Whether all steps are the same."""
        return self.step is not None

    @property
    def days_off(self) -> list[str]:
        """Names of the days of the week that do not count, such as "Sundays"."""
        return [f"{day}s" for day, counts in zip(day_name, self.weekdays, strict=False) if counts == "0"]

    def starts(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Starts drawn between the earliest and the latest, on the grid of the times or of the steps, (n,)."""
        if self.unit != "plain":
            last = round((_months(np.array([self.high]))[0] - _months(np.array([self.low]))[0]) / float(self.step or 1))
            return self._after(np.full(n, self.low), rng.integers(0, last + 1, n).astype(float))
        grain = self.step or self.grain
        if not grain:
            return rng.uniform(self.low, self.high, n)
        return self.low + grain * rng.integers(0, round((self.high - self.low) / grain) + 1, n)

    def snapped(self, starts: np.ndarray) -> np.ndarray:
        """Each start as the nearest that training starts could have had, such as the first of a month."""
        if not self.lattice:
            return starts
        if self.lattice == "plain":
            made = self.low + np.round((starts - self.low) / self.spacing) * self.spacing
        else:
            before = np.floor((_months(starts) - _months(np.array([self.low]))) / self.spacing)
            low = np.full(len(starts), self.low)
            near = np.stack([_shifted(low, (before + k) * self.spacing, self.lattice) for k in (-1, 0, 1)])
            made = np.take_along_axis(near, np.abs(near - starts).argmin(axis=0)[None], axis=0)[0]
        return np.clip(made, self.low, self.high)

    def times(self, starts: np.ndarray, at: np.ndarray, steps: np.ndarray | None, first: int = 0) -> np.ndarray:
        """Times of rows.

        Arguments:
            starts: Of the sequence of each row; where steps are uneven, the time of the row before if `first` is not 0.
            at: Place of each row behind `first`, from 0; those of one sequence together and in order.
            steps: Logarithm of the step before each row, where steps are uneven; those of first rows do not count.
            first: Place in its sequence of the row at 0.
        """
        if steps is None:
            return self._after(starts, at + first)
        wide = np.exp(steps)
        if self.grain:
            wide = np.maximum(np.round(wide / self.grain), 1.0) * self.grain
        begins = at == 0
        wide = wide if first else np.where(begins, 0.0, wide)
        total = np.cumsum(wide)
        begin = np.maximum.accumulate(np.where(begins, np.arange(len(at)), 0))
        return starts + total - (total - wide)[begin]

    def _after(self, starts: np.ndarray, at: np.ndarray) -> np.ndarray:
        assert self.step is not None
        if self.unit == "plain":
            return starts + at * self.step
        return _shifted(starts, at * self.step, self.unit)

    def log_steps(self, values: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Logarithm of the step before each row; the usual step before the first of a group."""
        inside = group[1:] == group[:-1]
        steps = np.diff(values)
        if self.weekdays:  # a day that does not count is the next one that does, which may be there as well
            steps = np.maximum(steps, self.grain or 1.0)
        usual = float(np.median(steps[inside])) if inside.any() else 1.0
        return np.log(np.r_[usual, np.where(inside, steps, usual)])

    def numbers(self, cells: pd.Series) -> np.ndarray:
        """Cells of the column as times."""
        values = to_numbers(cells, self.field)
        if self.is_local:
            every = min(self.step, DAY) if self.step and self.unit == "plain" else DAY
            values = _local(values, zone_of(self.field.dtype), self.low, every)
        return _counted(values, self.weekdays) if self.weekdays else values

    def cells(self, values: np.ndarray) -> pd.Series:
        """Inverse of `numbers`; an hour that a clock shows twice is the first, one that it leaves out the next."""
        values = _dated(values, self.weekdays) if self.weekdays else values
        values = instants(values, zone_of(self.field.dtype)) if self.is_local else values
        return from_numbers(values, self.field)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any], field: Field) -> Clock:
        """Inverse of `state`; raises `ValueError` for what is no state of a clock."""
        all_numbers([state[name] for name in ("low", "high", "grain")] + [state.get("spacing", 0.0)])
        if state["step"] is not None:
            all_numbers([state["step"]])
        if state["unit"] not in get_args(Unit) or not isinstance(state["is_modelled"], bool):
            raise ValueError(f"{state['unit']!r} is no unit of times, or {state['is_modelled']!r} no truth value")
        lattice, is_local = state.get("lattice", ""), state.get("is_local", False)  # not in checkpoints of before
        if lattice not in ("", *get_args(Unit)) or (lattice and state["spacing"] <= 0):
            raise ValueError(f"{lattice!r} in steps of {state['spacing']!r} is nothing that starts lie on")
        weekdays = state.get("weekdays", "")
        if not isinstance(weekdays, str) or (weekdays and (len(weekdays) != 7 or {*weekdays} != {"0", "1"})):
            raise ValueError(f"weekdays={weekdays!r} must be seven of 0 and 1")
        if not isinstance(is_local, bool) or (is_local and "," not in field.dtype):
            raise ValueError(f"is_local={is_local!r} for times of {field.dtype}")
        return cls(**{**state, "field": field})


def _weekdays(values: np.ndarray) -> str:
    """Days of the week that there are, if that others have none is no chance; "" for all of them."""
    days = np.unique(np.floor(values / DAY).astype(np.int64))
    there = np.bincount((days + 3) % 7, minlength=7) > 0  # day 0 was a Thursday
    lacking = 7 - int(there.sum())
    if not lacking or lacking == 6 or math.comb(7, lacking) * (1.0 - lacking / 7) ** len(days) > 1.0 / CHANCE:
        return ""
    return "".join(str(int(day)) for day in there)


def _counted(values: np.ndarray, weekdays: str) -> np.ndarray:
    """Times in seconds of the days that count alone, from `EPOCH`; see `_dated`."""
    days = np.floor(values / DAY)
    counted = np.busday_count(EPOCH, days.astype(np.int64).astype("datetime64[D]"), weekdays)
    return counted * DAY + (values - days * DAY)


def _dated(values: np.ndarray, weekdays: str) -> np.ndarray:
    """Inverse of `_counted`."""
    days = np.floor(values / DAY)
    dates = np.busday_offset(EPOCH, days.astype(np.int64), "forward", weekdays)
    return dates.astype(np.int64) * DAY + (values - days * DAY)


def _local(values: np.ndarray, zone: str, begin: float, every: float) -> np.ndarray:
    """What clocks show; a time `every` so often from `begin` that they leave out counts as if they had shown it.

    Where summer time begins at midnight, that day begins at one.
    """
    local = shown(values, zone)
    usual = local - (local - begin) % every
    return np.where(instants(usual, zone) == values, usual, local)


def _shifted(starts: np.ndarray, months: np.ndarray, unit: Unit) -> np.ndarray:
    """Dates so many months later, on the same day or the last one of the month."""
    day = starts.astype("datetime64[s]")
    month = day.astype("datetime64[M]") + np.round(months).astype(np.int64)
    last = (month + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    clock = day - day.astype("datetime64[D]")
    if unit == "month ends":
        made = last.astype("datetime64[s]") + clock
    else:
        within = (day.astype("datetime64[D]") - day.astype("datetime64[M]").astype("datetime64[D]")).astype(int)
        made = np.minimum(month.astype("datetime64[D]") + within, last).astype("datetime64[s]") + clock
    return made.astype(np.int64).astype(np.float64)


def _months(values: np.ndarray) -> np.ndarray:
    return values.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)


def _calendar(values: np.ndarray, inside: np.ndarray) -> tuple[Unit, float | None]:
    """The step in months of dates on one day of the month, or on the last one; None for others."""
    months = np.diff(_months(values))[inside]
    if not len(months) or months.min() < 1 or months.min() != months.max():
        return "plain", None
    unit = _day_of_month(values)
    return ("plain", None) if unit == "plain" else (unit, float(months[0]))


def _day_of_month(values: np.ndarray) -> Unit:
    """Whether dates lie on one day of the month, "months", or on its last, at one time of day; else "plain"."""
    stamps = values.astype("datetime64[s]")
    days = stamps.astype("datetime64[D]")
    clock = values - days.astype("datetime64[s]").astype(np.int64)
    if (clock != clock[0]).any():
        return "plain"
    if ((days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")).all():
        return "month ends"
    within = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    return "months" if (within == within[0]).all() else "plain"


def _lattice(starts: np.ndarray, is_dated: bool) -> tuple[Lattice, float]:
    """What starts lie on: days of the month, so many months apart, or multiples of a number of seconds or of one."""
    unit = _day_of_month(starts) if is_dated else "plain"
    least = 1.0 if unit != "plain" else _grain(starts)
    if not least:
        return "", 0.0
    found = starts - starts.min() if unit == "plain" else _months(starts) - _months(starts).min()
    whole = np.unique(np.round(found).astype(np.int64))
    if len(whole) == 1:
        return "", 0.0
    times = np.gcd.reduce(whole) / least
    is_chance = (len(whole) - 1) * np.log(times) < np.log(CHANCE)
    return unit, least if is_chance else float(times * least)


def _grain(values: np.ndarray) -> float:
    """The distance of the grid that times lie on: days, hours, minutes, seconds or whole numbers; 0 for none."""
    if np.abs(values).max() >= EXACT:
        return 0.0
    apart = values - values.min()
    for grain in (DAY, 3600.0, 60.0, 1.0):
        if (np.abs(apart / grain - np.round(apart / grain)) < EVEN).all():
            return grain
    return 0.0
