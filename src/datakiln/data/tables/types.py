"""What the columns of a table are: found from their values, overridable by the person, and shown with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import with_columns
from datakiln.data.tables.detection import find
from datakiln.data.tables.facts import Facts, SeriesFacts
from datakiln.data.tables.overrides import Override, overridden, wanted_of
from datakiln.durations import DURATIONS
from datakiln.errors import UserError, near
from datakiln.schema import Field, Schema
from datakiln.wording import counted
from datakiln.writings import is_text, number_writing, numbers_of

if TYPE_CHECKING:
    from datakiln.data.tables.sources import RawTable

MAX_CLASSES = 1000  # of a label: each takes a position in every encoded row
DROP = "drop"  # in place of a type: the column is left out


def unplaced(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The table with missing cells where a column of dates has a word that stands for none."""
    masked = {}
    for field in schema.fields:
        if field.placeholders and field.name in frame:
            masked[field.name] = frame[field.name].mask(
                frame[field.name].isin([word for word, _ in field.placeholders])
            )
    return with_columns(frame, masked)


class ColumnRow(NamedTuple):
    """One line of the table that a person sees before training; ids and free text give no example."""

    column: str
    type: str
    missing: int
    distinct: int
    example: str
    why: str


def infer_schema(
    frame: pd.DataFrame,
    label: str | None,
    overrides: Mapping[str, Override],
    facts: Mapping[str, Facts] | None = None,
    writings: Mapping[str, str] | None = None,
    storage: Mapping[str, str] | None = None,
) -> Schema:
    """The type of every column of `frame`, in order.

    Arguments:
        frame: The table, or a sample of its rows.
        label: Column that classes are taken from, or None. With few distinct values it is a category, even in numbers.
        overrides: {column: type}, or with more to say {column: {type: ordinal, order: [low, high]}},
            {column: {type: datetime, format: "%d/%m/%Y"}} or {column: {type: numeric, decimals: 2}}.
        facts: Of the whole columns, where `frame` is a sample.
        writings: How a text file had the numbers that `frame` has as floats.
        storage: The types of the columns in a Parquet file.

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
            fields.append(overridden(frame[name], wanted_of(str(name), overrides[name])))
        else:
            fields.append(find(frame[name], name == label, known.get(name)).field)
        writing, kind = (writings or {}).get(name), (storage or {}).get(name, "")
        fields[-1] = _stored(fields[-1], writing, kind, name in overrides)
    if label is not None:
        _check_label(known.get(label) or SeriesFacts(frame[label]), fields[list(frame.columns).index(label)])
    return Schema(tuple(fields), label)


def without_dropped(raw: RawTable, types: Mapping[str, Override]) -> RawTable:
    """The table without the columns whose type is "drop"; raises `UserError` for one that it does not have."""
    dropped = [name for name, kind in types.items() if kind == DROP]
    for name in dropped:
        if name not in raw.frame.columns:
            raise UserError(f"data.types.{name}=drop: the table has no such column{near(name, raw.frame.columns)}")
        if name == raw.label:
            raise UserError(f"data.types.{name}=drop: it is the target; choose another with data.target")
    return raw.only([name for name in raw.frame.columns if name not in dropped]) if dropped else raw


def _stored(field: Field, writing: str | None, storage: str, is_told: bool = False) -> Field:
    """With what only the file knows; `is_told` says that a person has set the type."""
    if writing is not None and field.format is None and field.dtype.startswith(("float", "Float")):
        is_power = writing not in DURATIONS and bool(number_writing(writing).power)
        if not is_power:
            field = replace(field, format=writing)
        elif field.type == "numeric" or (field.type == "integer" and not is_told):  # digits count there, not decimals
            field = replace(field, type="numeric", format=writing, decimals=None)
    return replace(field, storage=storage) if storage else field


def describe(
    schema: Schema,
    frame: pd.DataFrame,
    facts: Mapping[str, Facts] | None = None,
    reasons: Mapping[str, str] | None = None,
) -> list[ColumnRow]:
    """One row a column, for the table shown before training; arguments as for `infer_schema`.

    `reasons` say why columns are what they are, where their cells alone do not.
    """
    rows = []
    for field in schema.fields:
        series = frame[field.name]
        known = (facts or {}).get(field.name) or SeriesFacts(series)
        found = find(series, field.name == schema.label, known)
        likely = _stored(found.field, field.format, "").type
        why = found.why if likely == field.type else f"set, not found (its values look {likely})"
        if field.format is not None and found.field.format != field.format and not field.dtype.startswith("float"):
            why = f"{why}, {field.format}"
        why = (reasons or {}).get(field.name, why)
        example = _example(series, field)
        rows.append(ColumnRow(field.name, field.type, known.missing, found.distinct, example, why))
    return rows


def _example(series: pd.Series, field: Field) -> str:
    present = series.dropna()
    if present.empty or field.type in {"id", "text"}:
        return ""
    if field.type in {"numeric", "integer"} and is_text(series):
        numbers = numbers_of(present, field)
        low, high = np.nanargmin(numbers), np.nanargmax(numbers)
        return f"{present.iloc[low]} to {present.iloc[high]}"
    if field.type in {"numeric", "integer"}:
        numbers = numbers_of(present, field)
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
        told = counted(distinct, "distinct value")
        raise UserError(f"data.target={field.name} has {told}, so there is nothing to label by")
    raise UserError(
        f"data.target={field.name} is of type {field.type} ({distinct} distinct values in {facts.rows} rows), so it"
        f" cannot be the label; choose another, or say what it is with data.types.{field.name}=category"
    )
