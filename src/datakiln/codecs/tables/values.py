"""Cells of a table column to floats or plain Python values, and back to the column's own dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from datakiln.schema import Field


def to_numbers(series: pd.Series, field: Field) -> np.ndarray:
    """A numeric or datetime column as float64 with NaN for missing; dates as seconds since 1970."""
    if field.type != "datetime":
        return pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    dates = pd.to_datetime(series, format=field.format, errors="coerce")
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    seconds = dates.to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6
    return np.where(dates.isna(), np.nan, seconds)


def from_numbers(values: np.ndarray, field: Field) -> pd.Series:
    """Inverse of `to_numbers`, rounded to the field's decimals."""
    dtype: Any = field.dtype
    if field.decimals is not None:
        values = np.round(values, field.decimals)
    if field.type != "datetime":
        is_plain = isinstance(pd.api.types.pandas_dtype(field.dtype), np.dtype)
        if is_plain and pd.api.types.is_integer_dtype(field.dtype) and np.isfinite(values).all():
            return pd.Series(_to_integers(values, np.dtype(field.dtype)), name=field.name)
        return pd.Series(values, name=field.name).astype(dtype)
    dates = pd.Series(pd.to_datetime(values, unit="s"), name=field.name)
    if field.format is not None:
        return dates.dt.strftime(field.format).astype(dtype)
    if "," in field.dtype:  # datetime64[us, Europe/Paris]
        return dates.dt.tz_localize("UTC").astype(dtype)
    return dates.astype(dtype)


def _to_integers(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Whole numbers in an integer dtype; what is outside its range takes the nearest end instead of wrapping round."""
    limits = np.iinfo(dtype)
    over = values >= float(limits.max)  # for 64 bits the float is one above the limit: it must not be cast
    whole = np.where(over, 0.0, np.maximum(values, float(limits.min))).astype(dtype)
    return np.where(over, dtype.type(limits.max), whole)


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
