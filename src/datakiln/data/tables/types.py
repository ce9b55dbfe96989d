"""What the columns of a table are: found from their values, overridable by the person, and shown with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from datakiln.data.tables.facts import Facts, SeriesFacts, find_decimals, find_format, is_text
from datakiln.errors import UserError, near
from datakiln.schema import COLUMN_TYPES, NUMERIC_TYPES, ColumnType, Field, Schema

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
        return Finding(Field(name, "constant", dtype, **_declared(series)), 0, "no values at all")
    if distinct == 1:
        if not facts.missing:
            return Finding(Field(name, "constant", dtype, **_declared(series)), 1, "a single value")
        return Finding(Field(name, "category", dtype, **_declared(series)), 1, "a single value, or missing")
    if pd.api.types.is_bool_dtype(series.dtype):
        return Finding(Field(name, "boolean", dtype), distinct, "true or false")
    if isinstance(series.dtype, pd.CategoricalDtype):
        kind: ColumnType = "ordinal" if series.dtype.ordered else "category"
        why = "an ordered categorical" if series.dtype.ordered else f"{distinct} distinct, a categorical"
        return Finding(Field(name, kind, dtype, **_declared(series)), distinct, why)
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


def _declared(series: pd.Series) -> dict[str, Any]:
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


Override = str | Mapping[str, Any]
MAX_CLASSES = 1000  # of a label: each takes a position in every encoded row
OVERRIDE_KEYS = ("type", "order", "format", "decimals")


class ColumnRow(NamedTuple):
    """One line of the table that a person sees before training; ids and free text give no example."""

    column: str
    type: str
    missing: int
    distinct: int
    example: str
    why: str


@dataclass(frozen=True)
class _Wanted:
    """An override, checked."""

    type: str
    order: tuple[str, ...] = ()
    format: str | None = None
    decimals: int | None = None


def infer_schema(
    frame: pd.DataFrame,
    label: str | None,
    overrides: Mapping[str, Override],
    facts: Mapping[str, Facts] | None = None,
) -> Schema:
    """The type of every column of `frame`, in order.

    Arguments:
        frame: The table, or a sample of its rows.
        label: Column that classes are taken from, or None. With few distinct values it is a category, even in numbers.
        overrides: {column: type}, or with more to say {column: {type: ordinal, order: [low, high]}},
            {column: {type: datetime, format: "%d/%m/%Y"}} or {column: {type: numeric, decimals: 2}}.
        facts: Of the whole columns, where `frame` is a sample.

    Raises:
        UserError: For an unknown column, type or key, and for a type or label that the values cannot bear.
    """
    if label is not None and label not in frame.columns:
        raise UserError(f"data.target={label} is not a column of the table{near(label, frame.columns)}")
    unknown = next((name for name in overrides if name not in frame.columns), None)
    if unknown is not None:
        raise UserError(f"data.types.{unknown}: the table has no such column{near(unknown, frame.columns)}")
    fields, known = [], facts or {}
    for name in frame.columns:
        if name in overrides:
            fields.append(_overridden(frame[name], _wanted(str(name), overrides[name])))
        else:
            fields.append(find(frame[name], name == label, known.get(name)).field)
    if label is not None:
        _check_label(known.get(label) or SeriesFacts(frame[label]), fields[list(frame.columns).index(label)])
    return Schema(tuple(fields), label)


def describe(schema: Schema, frame: pd.DataFrame, facts: Mapping[str, Facts] | None = None) -> list[ColumnRow]:
    """One row a column, for the table shown before training; arguments as for `infer_schema`."""
    rows = []
    for field in schema.fields:
        series = frame[field.name]
        known = (facts or {}).get(field.name) or SeriesFacts(series)
        found = find(series, field.name == schema.label, known)
        why = found.why if found.field.type == field.type else f"set, not found (its values look {found.field.type})"
        if field.format is not None and found.field.format != field.format:
            why = f"{why}, {field.format}"
        example = _example(series, field)
        rows.append(ColumnRow(field.name, field.type, known.missing, found.distinct, example, why))
    return rows


def _example(series: pd.Series, field: Field) -> str:
    present = series.dropna()
    if present.empty or field.type in {"id", "text"}:
        return ""
    if field.type in {"numeric", "integer"}:
        numbers = float_values(present)
        style = ".0f" if field.type == "integer" else ".6g"
        return f"{np.nanmin(numbers):{style}} to {np.nanmax(numbers):{style}}"
    if field.type == "datetime" and field.format is None:
        return f"{present.min():%Y-%m-%d} to {present.max():%Y-%m-%d}"
    values = list(present.iloc[:1000].unique()) if field.is_choice else list(present.iloc[:1])
    return ", ".join(str(value)[:24] for value in values[:3])


def _check_label(facts: Facts, field: Field) -> None:
    distinct = facts.distinct
    if field.type in {"numeric", "integer"} or (field.is_choice and distinct <= MAX_CLASSES):
        return
    if field.is_choice:
        raise UserError(f"data.target={field.name} has {distinct} classes; a label may have {MAX_CLASSES} at most")
    if field.type == "constant":
        raise UserError(f"data.target={field.name} has {distinct} distinct values, so there is nothing to label by")
    raise UserError(
        f"data.target={field.name} is of type {field.type} ({distinct} distinct values in {facts.rows} rows), so it"
        f" cannot be the label; choose another, or say what it is with data.types.{field.name}=category"
    )


def _wanted(name: str, override: Override) -> _Wanted:
    given: dict[str, Any] = dict(override) if isinstance(override, Mapping) else {"type": override}
    for key in given:
        if key not in OVERRIDE_KEYS:
            known = ", ".join(OVERRIDE_KEYS)
            raise UserError(f"data.types.{name}.{key} is not one of {known}{near(str(key), OVERRIDE_KEYS)}")
    kind = str(given.get("type"))
    if kind not in COLUMN_TYPES:
        raise UserError(f"data.types.{name}={kind} is not one of {', '.join(COLUMN_TYPES)}{near(kind, COLUMN_TYPES)}")
    order = tuple(str(value) for value in given.get("order") or ())
    if order and kind != "ordinal":
        raise UserError(f"data.types.{name}.order is for type: ordinal, not {kind}")
    return _Wanted(kind, order, given.get("format"), given.get("decimals"))


def _overridden(series: pd.Series, wanted: _Wanted) -> Field:
    name, dtype = str(series.name), str(series.dtype)
    if wanted.type == "constant" and series.nunique() > 1:
        raise UserError(f"data.types.{name}=constant, but the column has {series.nunique()} distinct values")
    if wanted.type == "ordinal":
        return Field(name, "ordinal", dtype, order=_order(series, wanted.order))
    if wanted.type == "datetime":
        return Field(name, "datetime", dtype, format=_format(series, wanted.format))
    if wanted.type in NUMERIC_TYPES:
        return _number(series, wanted)
    if wanted.type in {"id", "text"} and (pd.api.types.is_datetime64_any_dtype(series.dtype) or dtype == "bool"):
        raise UserError(f"data.types.{name}={wanted.type}, but new ones cannot be made up for a column of {dtype}")
    declared = _declared(series) if wanted.type in {"category", "constant"} else {}
    return Field(name, wanted.type, dtype, **declared)  # type: ignore[arg-type]


def _order(series: pd.Series, order: tuple[str, ...]) -> tuple[str, ...]:
    values = list(series.dropna().unique())
    if not order:
        if is_text(series) or isinstance(series.dtype, pd.CategoricalDtype):
            example = ", ".join(sorted(str(value) for value in values)[:5])
            raise UserError(
                f"data.types.{series.name}=ordinal needs an order: "
                f"data.types.{series.name}={{type: ordinal, order: [{example}]}}"
            )
        return tuple(str(value) for value in sorted(values))
    left_out = [str(value) for value in values if str(value) not in order]
    if left_out:
        raise UserError(
            f"data.types.{series.name}.order leaves out {left_out[0]!r}{near(left_out[0], order)};"
            f" it must name all {len(values)} values"
        )
    return order


def _format(series: pd.Series, format: str | None) -> str | None:
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return None
    values = series.dropna()
    if format is None:
        format = find_format(values) if is_text(series) else None
        if format is None:
            raise UserError(
                f"data.types.{series.name}=datetime: no single date format fits the values;"
                f" name it, as in data.types.{series.name}={{type: datetime, format: '%d/%m/%Y'}}"
            )
        return format
    wrong = pd.to_datetime(values, format=format, errors="coerce").isna()
    if wrong.any():
        raise UserError(f"data.types.{series.name}.format={format} does not fit {str(values[wrong].iloc[0])!r}")
    return format


def _number(series: pd.Series, wanted: _Wanted) -> Field:
    name, dtype = str(series.name), str(series.dtype)
    values = pd.to_numeric(series.astype(object), errors="coerce") if is_text(series) else series
    if pd.api.types.is_datetime64_any_dtype(series.dtype) or isinstance(series.dtype, pd.CategoricalDtype):
        raise UserError(f"data.types.{name}={wanted.type}, but the column holds {dtype}, no numbers")
    wrong = values.isna() & series.notna()
    if wrong.any():
        raise UserError(
            f"data.types.{name}={wanted.type}, but {int(wrong.sum())} cells are no numbers"
            f" (such as {str(series[wrong].iloc[0])[:20]!r})"
        )
    if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype):
        dtype = "int64" if wanted.type == "integer" and not series.isna().any() else "float64"
    found = find_decimals(pd.Series(float_values(series)).dropna()) if wanted.decimals is None else wanted.decimals
    return Field(name, wanted.type, dtype, decimals=0 if wanted.type == "integer" else found)  # type: ignore[arg-type]
