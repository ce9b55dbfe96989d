"""Cells of a table column to floats or plain Python values, and back to the column's own dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from datakiln.schema import Field
from datakiln.writings import cells_of, numbers_of


def to_numbers(series: pd.Series, field: Field) -> np.ndarray:
    """A numeric or datetime column as float64 with NaN for missing; dates as seconds since 1970."""
    return numbers_of(series, field)


def from_numbers(values: np.ndarray, field: Field) -> pd.Series:
    """Inverse of `to_numbers`, rounded to the field's decimals."""
    return cells_of(values, field)


def with_columns(frame: pd.DataFrame, cells: Mapping[Any, Any]) -> pd.DataFrame:
    """A copy of the frame with these columns; `DataFrame.assign` cannot be given one called "self"."""
    made = frame.assign()
    for name, column in cells.items():
        made[name] = column
    return made


def choice_dtype(field: Field, values: list[Any]) -> Any:  # noqa: ANN401 (a dtype or its name)
    """The dtype of a choice column; a categorical one knows all categories, so that chunks of a sample agree."""
    if field.dtype != "category":
        return field.dtype
    if field.categories:
        return pd.CategoricalDtype(list(field.categories), ordered=bool(field.order))
    return pd.CategoricalDtype(in_order(values, field.order), ordered=bool(field.order))


def choice_array(values: list[Any], dtype: Any) -> Any:  # noqa: ANN401 (numpy or pandas array)
    """Categories, None for missing, as an array that codes can be taken from."""
    known: Any = pd.api.types.pandas_dtype(dtype)
    if isinstance(known, np.dtype) and known.kind in "biuf" and all(value is not None for value in values):
        return np.asarray(values, dtype=known)
    try:
        return pd.array(values, dtype=known)
    except (TypeError, ValueError):
        return pd.array(values, dtype=object)


def in_order(values: list[Any], order: tuple[str, ...]) -> list[Any]:
    """Categories in the order given, or sorted within each Python type."""
    if not order:
        return sorted(values, key=lambda value: (str(type(value)), value))
    places = {text: i for i, text in enumerate(order)}
    return sorted(values, key=lambda value: places.get(str(value), len(places)))


def plain_cells(series: pd.Series) -> pd.Series:
    """Dates that serve as categories or constants as text, which a checkpoint can hold; other cells as they are."""
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        return series
    return series.map(lambda date: date.isoformat(), na_action="ignore").astype(object)


def plain_value(value: Any) -> Any:  # noqa: ANN401 (any cell value)
    """A NumPy scalar as a Python number."""
    return value.item() if isinstance(value, np.generic) else value


def all_numbers(values: Any) -> list[float]:  # noqa: ANN401 (part of a checkpoint, whatever it is)
    """The values of a list from a checkpoint, all of them numbers; raises `ValueError` for anything else."""
    if not isinstance(values, list | tuple):
        raise ValueError(f"{type(values).__name__} is no list of numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{type(value).__name__} is no number")
    return [float(value) for value in values]
