"""The time of a series: even steps are counted, uneven ones are a column of their own, the logarithm of the step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import all_numbers, from_numbers, to_numbers
from datakiln.schema import Field

Unit = Literal["plain", "months", "month ends"]
EVEN = 1e-6  # share of a step that even ones may differ by
DAY = 86_400.0


@dataclass(frozen=True)
class Clock:
    """How the times of a sequence follow from its start.

    Attributes:
        field: The column of times.
        unit: What `step` counts: the numbers themselves (seconds for dates), months, or ends of months.
        step: The step of even series; None where steps are uneven.
        low: Earliest start.
        high: Latest start.
        grain: Distance of the grid that all times lie on, from `low`; 0 for none.
        is_modelled: Whether the start is a static column of its own, and not drawn between `low` and `high`.
    """

    field: Field
    unit: Unit = "plain"
    step: float | None = None
    low: float = 0.0
    high: float = 0.0
    grain: float = 0.0
    is_modelled: bool = False

    @classmethod
    def fit(cls, times: pd.Series, field: Field, group: np.ndarray, starts: tuple[float, float] | None) -> Clock:
        """Learns the step from the training rows.

        Arguments:
            times: In order within each group.
            field: Their column.
            group: Sequence of each row, (n,), those of one sequence together.
            starts: Earliest and latest start, where it is drawn between them; None where it is to be modelled.
        """
        values = to_numbers(times, field)
        inside = group[1:] == group[:-1]
        steps = np.diff(values)[inside]
        first = values[np.r_[True, ~inside]]
        unit: Unit = "plain"
        step = float(np.median(steps)) if len(steps) else 1.0
        if len(steps) and np.abs(steps - step).max() > EVEN * step:
            unit, found = _calendar(values, inside) if field.type == "datetime" else ("plain", None)
            step = found if found is not None else float("nan")
        low, high = starts if starts is not None else (float(first.min()), float(first.max()))
        return cls(
            field, unit, None if np.isnan(step) else step, low, high, _grain(values), starts is None and low < high
        )

    @property
    def is_even(self) -> bool:
        """Whether all steps are the same."""
        return self.step is not None

    def starts(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Starts drawn between the earliest and the latest, on the grid of the times or of the steps, (n,)."""
        if self.unit != "plain":
            last = round((_months(np.array([self.high]))[0] - _months(np.array([self.low]))[0]) / float(self.step or 1))
            return self._after(np.full(n, self.low), rng.integers(0, last + 1, n).astype(float))
        grain = self.step or self.grain
        if not grain:
            return rng.uniform(self.low, self.high, n)
        return self.low + grain * rng.integers(0, round((self.high - self.low) / grain) + 1, n)

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
        day = starts.astype("datetime64[s]")
        month = day.astype("datetime64[M]") + np.round(at * self.step).astype(np.int64)
        last = (month + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
        clock = day - day.astype("datetime64[D]")
        if self.unit == "month ends":
            made = last.astype("datetime64[s]") + clock
        else:
            within = (day.astype("datetime64[D]") - day.astype("datetime64[M]").astype("datetime64[D]")).astype(int)
            made = np.minimum(month.astype("datetime64[D]") + within, last).astype("datetime64[s]") + clock
        return made.astype(np.int64).astype(np.float64)

    def log_steps(self, values: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Logarithm of the step before each row; the usual step before the first of a group."""
        inside = group[1:] == group[:-1]
        steps = np.diff(values)
        usual = float(np.median(steps[inside])) if inside.any() else 1.0
        return np.log(np.r_[usual, np.where(inside, steps, usual)])

    def cells(self, values: np.ndarray) -> pd.Series:
        """Times as cells of the column."""
        return from_numbers(values, self.field)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any], field: Field) -> Clock:
        """Inverse of `state`; raises `ValueError` for what is no state of a clock."""
        all_numbers([state[name] for name in ("low", "high", "grain")])
        if state["step"] is not None:
            all_numbers([state["step"]])
        if state["unit"] not in get_args(Unit) or not isinstance(state["is_modelled"], bool):
            raise ValueError(f"{state['unit']!r} is no unit of times, or {state['is_modelled']!r} no truth value")
        return cls(**{**state, "field": field})


def _months(values: np.ndarray) -> np.ndarray:
    return values.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)


def _calendar(values: np.ndarray, inside: np.ndarray) -> tuple[Unit, float | None]:
    """The step in months of dates on one day of the month, or on the last one; None for others."""
    stamps = values.astype("datetime64[s]")
    months = np.diff(_months(values))[inside]
    if not len(months) or months.min() < 1 or months.min() != months.max():
        return "plain", None
    days = stamps.astype("datetime64[D]")
    clock = (stamps - days).astype(np.int64)
    if (clock != clock[0]).any():
        return "plain", None
    is_last = (days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")
    if is_last.all():
        return "month ends", float(months[0])
    within = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    return ("months", float(months[0])) if (within == within[0]).all() else ("plain", None)


def _grain(values: np.ndarray) -> float:
    """The distance of the grid that times lie on: days, hours, minutes, seconds or whole numbers; 0 for none."""
    apart = values - values.min()
    for grain in (DAY, 3600.0, 60.0, 1.0):
        if (np.abs(apart / grain - np.round(apart / grain)) < EVEN).all():
            return grain
    return 0.0
