"""One column's type from its values alone, with the reason in a few words.

A wrong guess costs: an id taken for a measurement teaches noise, a measurement taken for an id is lost. So a column of
numbers is an id only if it is unique and also looks counted or is named so; a measurement that never repeats is not.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.data.facts import Facts, SeriesFacts
from src.data.rounding import is_text
from src.errors import UserError
from src.schema import Field

LABEL_CLASSES = 20  # a numeric label with at most this many values is a category
LABEL_REPEATS = 3  # and if each value occurs this often on average
COUNTED_ROWS = 100  # below this many rows unique numbers may well be ages or years
COUNTED_SPREAD = 1.2  # numbers without repeats that fill their range up to this factor are counted
SORTED_SPREAD = 100  # sorted ones may have left out more
MANY_DISTINCT = 0.9  # text that differs in this share of the rows is no category
LONG_TEXT = 40  # characters on average; long text may repeat more
LONG_DISTINCT = 0.5
SAMPLE = 1000
ID_NAME = re.compile(r"(?:^|[^a-z])(?:ids?|key|uuid|guid|identifier)(?:$|[^a-z])|[a-z](?:Id|ID)$", re.ASCII)
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


class Finding(NamedTuple):
    """A column's field, its number of distinct values, and why it is what it is."""

    field: Field
    distinct: int
    why: str


def find(series: pd.Series, is_label: bool = False, facts: Facts | None = None) -> Finding:
    """The type of one column; raises `UserError` for values that no type can hold.

    Arguments:
        series: The column, or a sample of its cells.
        is_label: Whether classes are taken from it.
        facts: Of the whole column, where `series` is a sample.
    """
    name, dtype = str(series.name), str(series.dtype)
    present = series.dropna()
    facts = facts or SeriesFacts(series)
    distinct = facts.distinct
    if distinct == 0:
        return Finding(Field(name, "constant", dtype), 0, "no values at all")
    if distinct == 1:
        if not facts.missing:
            return Finding(Field(name, "constant", dtype), 1, "a single value")
        return Finding(Field(name, "category", dtype), 1, "a single value, or missing")
    if pd.api.types.is_bool_dtype(series.dtype):
        return Finding(Field(name, "boolean", dtype), distinct, "true or false")
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _categorical(name, series.dtype, distinct)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return Finding(Field(name, "datetime", dtype), distinct, "dates")
    if is_text(series):
        return _words(name, dtype, present, facts, is_label)
    if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_complex_dtype(series.dtype):
        raise UserError(f"column {name!r} holds {dtype}, which is no number, category, text or date; convert it first")
    return _numbers(name, series, facts, is_label)


def float_values(series: pd.Series) -> np.ndarray:
    """A numeric column, or numbers in text, as floats, NaN where missing."""
    numbers = pd.to_numeric(series.astype(object), errors="coerce") if is_text(series) else series
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def _categorical(name: str, dtype: pd.CategoricalDtype, distinct: int) -> Finding:
    if dtype.ordered:
        order = tuple(str(value) for value in dtype.categories)
        return Finding(Field(name, "ordinal", "category", order=order), distinct, "an ordered categorical")
    return Finding(Field(name, "category", "category"), distinct, f"{distinct} distinct, a categorical")


def _numbers(name: str, series: pd.Series, facts: Facts, is_label: bool) -> Finding:
    dtype, distinct = str(series.dtype), facts.distinct
    decimals = 0 if pd.api.types.is_integer_dtype(series.dtype) else facts.decimals
    if distinct == 2:
        kind, why = (
            ("boolean", "only 0 and 1") if (facts.low, facts.high) == (0, 1) else ("category", "2 distinct values")
        )
        return Finding(Field(name, kind, dtype), distinct, why)  # type: ignore[arg-type]
    if is_label and distinct <= LABEL_CLASSES and LABEL_REPEATS * distinct <= facts.present:
        return Finding(Field(name, "category", dtype), distinct, f"the label, {distinct} distinct")
    if decimals == 0:
        reason = None if is_label else _id_reason(name, series, facts)
        if reason is not None:
            return Finding(Field(name, "id", dtype), distinct, reason)
        return Finding(Field(name, "integer", dtype, decimals=0), distinct, f"{distinct} distinct, all integers")
    rounding = "" if decimals is None else f", {decimals} {'decimal' if decimals == 1 else 'decimals'}"
    return Finding(Field(name, "numeric", dtype, decimals=decimals), distinct, f"{distinct} distinct numbers{rounding}")


def _id_reason(name: str, series: pd.Series, facts: Facts) -> str | None:
    if facts.distinct < facts.rows or not pd.api.types.is_integer_dtype(series.dtype):
        return None
    if ID_NAME.search(name) or ID_NAME.search(name.lower()):
        return "unique, and named as an id"
    low, spread = int(facts.low), int(facts.high) - int(facts.low)
    if facts.is_increasing and low in (0, 1) and spread == facts.rows - 1:
        return f"counts the rows from {low}"
    if facts.rows < COUNTED_ROWS:
        return None
    if spread <= COUNTED_SPREAD * facts.rows:
        return "unique, nearly without gaps"
    is_sorted = facts.is_increasing or facts.is_decreasing
    return "unique and sorted" if is_sorted and spread <= SORTED_SPREAD * facts.rows else None


def _words(name: str, dtype: str, present: pd.Series, facts: Facts, is_label: bool) -> Finding:
    if facts.distinct == 2 and {str(value).lower() for value in present.unique()} == {"true", "false"}:
        return Finding(Field(name, "boolean", dtype), 2, "true, false or missing" if facts.missing else "true or false")
    format = facts.format
    if format is not None and not is_label:
        return Finding(Field(name, "datetime", dtype, format=format), facts.distinct, f"dates written as {format}")
    kind, why = _kind_of_words(present, facts)
    return Finding(Field(name, kind, dtype), facts.distinct, why)  # type: ignore[arg-type]


def _kind_of_words(present: pd.Series, facts: Facts) -> tuple[str, str]:
    distinct, share = facts.distinct, facts.distinct / facts.present
    sample = present.iloc[:: max(1, len(present) // SAMPLE)].astype(str)
    if share < LONG_DISTINCT:
        return "category", f"{distinct} distinct in {facts.present} rows"
    numbers = sample.str.fullmatch(NUMBER).mean()
    if 0.5 <= numbers < 1:
        return "category", f"{distinct} distinct, numbers mixed with words"
    if distinct == facts.present:
        keys = (~sample.str.contains(r"\s") & sample.str.contains(r"\d")).mean()
        return ("id", "unique keys") if keys > MANY_DISTINCT else ("text", "every cell differs")
    if share >= MANY_DISTINCT:
        return "text", f"{share:.0%} of the cells differ"
    if sample.str.len().mean() >= LONG_TEXT:
        return "text", f"long, and {share:.0%} of the cells differ"
    return "category", f"{distinct} distinct in {facts.present} rows"
