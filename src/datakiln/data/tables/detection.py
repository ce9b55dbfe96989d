"""What a column is, found from its values, and why."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from datakiln.codecs.tables.generators import is_personal
from datakiln.data.tables.cells import EXACT
from datakiln.data.tables.facts import (
    FEW_PERIODS,
    Facts,
    SeriesFacts,
    find_decimals,
    is_coarse,
    stand_ins,
)
from datakiln.durations import DURATIONS
from datakiln.errors import UserError
from datakiln.schema import ColumnType, Field
from datakiln.writings import CENTURY, is_text, number_writing, numbers_of

FEW = 2  # distinct amounts, such as two prices, are categories
LABEL_CLASSES = 20  # a numeric label with at most this many values is a category
LABEL_REPEATS = 3  # and if each value occurs this often on average
COUNTED_ROWS = 100  # below this many rows unique numbers may well be ages or years
COUNTED_SPREAD = 1.2  # numbers without repeats that fill their range up to this factor are counted
SORTED_SPREAD = 100  # sorted ones may have left out more
MANY_DISTINCT = 0.9  # text that differs in this share of the rows is no category
LONG_TEXT = 40  # characters on average; long text may repeat more
LONG_DISTINCT = 0.5
SAMPLE = 1000
ID_NAME = re.compile(
    r"(?:^|[^a-z])(?:ids?|key|uuid|guid|identifier|ssn|isbn|sku|serial|ref|reference|no|nr|num|number)(?:$|[^a-z])|"
    r"[a-z](?:Id|ID)$|"
    r"(?:account|cust(?:omer)?|emp(?:loyee)?|invoice|member|order|patient|policy|ticket|user)[ _.-]?"
    r"(?:no|nr|num|number)$",
    re.ASCII,
)
MAIL = r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"
PERSONAL_CELL = re.compile("@")
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
        return Finding(Field(name, "constant", dtype, **declared_categories(series)), 0, "no values at all")
    if distinct == 1:
        if not facts.missing:
            return Finding(Field(name, "constant", dtype, **declared_categories(series)), 1, "a single value")
        return Finding(Field(name, "category", dtype, **declared_categories(series)), 1, "a single value, or missing")
    if pd.api.types.is_bool_dtype(series.dtype):
        return Finding(Field(name, "boolean", dtype), distinct, "true or false")
    if isinstance(series.dtype, pd.CategoricalDtype):
        kind: ColumnType = "ordinal" if series.dtype.ordered else "category"
        why = "an ordered categorical" if series.dtype.ordered else f"{distinct} distinct, a categorical"
        return Finding(Field(name, kind, dtype, **declared_categories(series)), distinct, why)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return Finding(Field(name, "datetime", dtype), distinct, "dates")
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        decimals = find_decimals(present.dt.total_seconds())
        return Finding(Field(name, "numeric", dtype, decimals=decimals), distinct, "durations, in seconds")
    if is_text(series):
        return _words(name, dtype, present, facts, is_label)
    if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_complex_dtype(series.dtype):
        raise UserError(f"column {name!r} holds {dtype}, which is no number, category, text or date; convert it first")
    return _numbers(name, series, facts, is_label)


def declared_categories(series: pd.Series) -> dict[str, Any]:
    """What a categorical dtype says beyond the values that are there: all categories, and their order if it has one."""
    if not isinstance(series.dtype, pd.CategoricalDtype):
        return {}
    declared = tuple(value.item() if isinstance(value, np.generic) else value for value in series.dtype.categories)
    return {"order": tuple(map(str, declared)) if series.dtype.ordered else (), "categories": declared}


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
    if facts.format is not None and not is_label:
        gone = stand_ins(series.dropna().unique().astype(np.float64))
        if not len(gone) or (pd.api.types.is_integer_dtype(series.dtype) and not facts.missing):
            places = tuple((str(int(value)), 1.0) for value in gone)
            field = Field(name, "datetime", dtype, format=facts.format, placeholders=places)
            return Finding(field, distinct, _dates(facts))
    if pd.api.types.is_integer_dtype(series.dtype) and max(abs(int(facts.low)), abs(int(facts.high))) >= EXACT:
        kind, why = _kind_of_words(series.dropna(), facts, is_label)
        return Finding(Field(name, kind, dtype), distinct, f"{why}, of more digits than can be reckoned with")  # type: ignore[arg-type]
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
    if facts.format is not None and not is_label and not (is_coarse(facts.format) and facts.distinct < FEW_PERIODS):
        return Finding(
            with_places(Field(name, "datetime", dtype, format=facts.format), facts),
            facts.distinct,
            _dates(facts),
        )
    signed = facts.numbers.writing() if facts.numbers is not None else None
    if signed is not None and facts.distinct > (LABEL_CLASSES if is_label or signed[2] else FEW):
        writing, is_whole, _ = signed
        kind, decimals = ("integer", 0) if is_whole else ("numeric", _places(writing, present))
        field = Field(name, kind, dtype, decimals=decimals, format=writing)  # type: ignore[arg-type]
        return Finding(field, facts.distinct, f"{facts.distinct} distinct numbers written as {writing}")
    if signed is not None and facts.distinct <= FEW:
        return Finding(Field(name, "category", dtype), facts.distinct, f"{facts.distinct} distinct amounts")
    kind, why = _kind_of_words(present, facts, is_label)
    return Finding(Field(name, kind, dtype), facts.distinct, why)  # type: ignore[arg-type]


def _places(writing: str, present: pd.Series) -> int | None:
    """Decimals that numbers in a writing are rounded to."""
    if writing in DURATIONS:
        return find_decimals(pd.Series(numbers_of(present, Field("", "numeric", "str", format=writing))).dropna())
    return number_writing(writing).most


def _dates(facts: Facts) -> str:
    """Why a column is one of dates; which other reading would do as well."""
    other = next((format for format in facts.formats[1:] if is_swapped(format, facts.formats[0])), None)
    return f"dates written as {facts.format}" + (f" ({other} would fit too)" if other else "")


def is_swapped(one: str, other: str) -> bool:
    """Whether two formats differ in the order of day, month and year."""
    formats = (CENTURY.sub("%y", format).replace("%-", "%") for format in (one, other))
    one, other = (format.replace("%d", "%m").replace("%y", "%m") for format in formats)
    return one == other


def with_places(field: Field, facts: Facts) -> Field:
    """With the words among its dates that stand for a missing one."""
    words = facts.words(str(field.format))
    if not words:
        return field
    whole = float(sum(words.values()) + facts.missing)
    shares = [(word, count / whole) for word, count in words.items()]
    return replace(field, placeholders=tuple([*shares, ("", facts.missing / whole)] if facts.missing else shares))


def _kind_of_words(present: pd.Series, facts: Facts, is_label: bool) -> tuple[str, str]:
    distinct, share = facts.distinct, facts.distinct / facts.present
    sample = present.iloc[:: max(1, len(present) // SAMPLE)].astype(str)
    if share < LONG_DISTINCT:
        people = is_personal(str(present.name), sample.tolist()) if distinct > LABEL_CLASSES and not is_label else ""
        if people:
            return "text", f"{people}, {distinct} distinct"
        return "category", f"{distinct} distinct in {facts.present} rows"
    numbers = sample.str.fullmatch(NUMBER).mean()
    if 0.5 <= numbers < 1:
        return "category", f"{distinct} distinct, numbers mixed with words"
    if distinct == facts.present:
        if PERSONAL_CELL.search(str(sample.iloc[0])) and sample.str.fullmatch(MAIL).all():
            return "id", "unique e-mail addresses"
        keys = (~sample.str.contains(r"\s") & sample.str.contains(r"\d")).mean()
        return ("id", "unique keys") if keys > MANY_DISTINCT else ("text", "every cell differs")
    if share >= MANY_DISTINCT:
        return "text", f"{share:.0%} of the cells differ"
    if sample.str.len().mean() >= LONG_TEXT:
        return "text", f"long, and {share:.0%} of the cells differ"
    return "category", f"{distinct} distinct in {facts.present} rows"
