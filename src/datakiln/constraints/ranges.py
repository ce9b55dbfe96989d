"""Constraints on numbers and dates: between two limits, and in order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import to_numbers
from datakiln.constraints.base import Constraint
from datakiln.domains import day_in, number_in
from datakiln.domains.intervals import Interval, Order
from datakiln.domains.numbers import DAY
from datakiln.errors import UserError
from datakiln.schema import Field, Schema


class Range(Constraint):
    """A number or date between `low` and `high`, which belong to it.

    Arguments:
        column: Its name.
        low: Lowest value; None for no limit. Dates as text.
        high: Highest value; None for no limit.
    """

    def __init__(self, column: str, low: float | str | None = None, high: float | str | None = None) -> None:
        """Raises `UserError` without a limit, or with limits the wrong way round."""
        self.columns, self.low, self.high = (column,), low, high
        if low is None and high is None:
            raise UserError(f"constraint Range on {column} needs low, high or both")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise UserError(f"constraint Range on {column}: low={low} is above high={high}")

    def check(self, schema: Schema) -> None:
        """Also refuses columns that are no numbers or dates, and limits that are none."""
        super().check(schema)
        check_numbers(self, schema)
        if self.interval(schema).is_empty:
            raise UserError(f"constraint '{self}': low={self.low} is above high={self.high}")

    def interval(self, schema: Schema) -> Interval:
        """The values it allows; dates in seconds since 1970."""
        field = schema[self.columns[0]]
        ends = [None if end is None else number_in(str(end), field) for end in (self.low, self.high)]
        for key, given, read in zip(("low", "high"), (self.low, self.high), ends, strict=True):
            if given is not None and read is None:
                raise UserError(f"constraint Range on {field.name}: {key}={given} is no {field.type} value")
        low = -math.inf if ends[0] is None else ends[0]
        day = None if self.high is None else day_in(str(self.high), field)
        if day is not None:  # at any time of it
            return Interval(low, day + DAY, open_high=True)
        return Interval(low, math.inf if ends[1] is None else ends[1])

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Also where missing."""
        values = numbers(frame, self.columns[0], schema)
        return self.interval(schema).holds(values) | np.isnan(values)

    def arguments(self) -> dict[str, Any]:
        """As given."""
        return {"column": self.columns[0], "low": self.low, "high": self.high}

    def __str__(self) -> str:
        """Such as 0 <= age <= 120."""
        low, high = "" if self.low is None else f"{self.low} <= ", "" if self.high is None else f" <= {self.high}"
        return f"{low}{self.columns[0]}{high}"


class Inequality(Constraint):
    """One column is at most as large as another.

    Arguments:
        low: Column of the smaller number or date.
        high: Column of the larger.
        strict: Whether they may not be equal.
    """

    def __init__(self, low: str, high: str, strict: bool = False) -> None:
        """Raises `UserError` for a column compared with itself."""
        self.columns, self.strict = (low, high), strict
        if low == high:
            raise UserError(f"constraint Inequality compares {low} with itself")

    def check(self, schema: Schema) -> None:
        """Also refuses columns that are no numbers or dates, and one of each."""
        super().check(schema)
        check_numbers(self, schema)
        if len({schema[name].type == "datetime" for name in self.columns}) > 1:
            raise UserError(f"constraint '{self}' compares a date with a number")

    @property
    def order(self) -> Order:
        """What it says."""
        return Order(self.columns[0], self.columns[1], self.strict)

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Also where either is missing."""
        low, high = (numbers(frame, name, schema) for name in self.columns)
        met = low < high if self.strict else low <= high
        return met | np.isnan(low) | np.isnan(high)

    def arguments(self) -> dict[str, Any]:
        """As given."""
        return {"low": self.columns[0], "high": self.columns[1], "strict": self.strict}

    def __str__(self) -> str:
        """Such as min_pay <= max_pay."""
        return f"{self.columns[0]} {'<' if self.strict else '<='} {self.columns[1]}"


def check_numbers(constraint: Constraint, schema: Schema) -> None:
    """Raises `UserError` for a column that holds neither numbers nor dates."""
    for name in constraint.columns:
        field = schema[name]
        if not field.is_numeric and not _has_numbers(field):
            raise UserError(f"constraint '{constraint}' is for numbers and dates, but {name} is of type {field.type}")


def numbers(frame: pd.DataFrame, name: str, schema: Schema) -> np.ndarray:
    """A column as floats, dates in seconds since 1970, NaN for missing."""
    field = schema[name]
    return to_numbers(frame[name], field if field.is_numeric else Field(name, "numeric", field.dtype))


def _has_numbers(field: Field) -> bool:
    """Whether a category or constant is stored as a number."""
    dtype = None if field.dtype == "category" else pd.api.types.pandas_dtype(field.dtype)
    return dtype is not None and pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
