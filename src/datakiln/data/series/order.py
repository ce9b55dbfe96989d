"""Rows of a series put in order: entities together, time rising, static columns found and checked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from datakiln.codecs.tables.values import to_numbers
from datakiln.data.tables.detection import LABEL_CLASSES, Finding, find
from datakiln.errors import UserError, near
from datakiln.schema import Schema

OnTime = Literal["sort", "error"]


def check_columns(names: Sequence[str], time: str | None, entity: str | None, static: Sequence[str] | None) -> None:
    """Raises `UserError` for a role that no column, or the same column twice, is to have."""
    named = [("data.time", time), ("data.entity", entity), *(("data.static", name) for name in static or ())]
    seen: dict[str, str] = {}
    for option, name in named:
        if name is None:
            continue
        if name not in names:
            known = ", ".join(map(str, names[:20])) + (", ..." if len(names) > 20 else "")
            raise UserError(f"{option}={name} is not a column ({known}){near(name, names)}")
        if name in seen:
            raise UserError(f"{option}={name} is {seen[name]} already; name another column")
        seen[name] = option


def types_of(frame: pd.DataFrame, time: str | None, entity: str | None) -> dict[str, str]:
    """Types by column that follow from what columns are for: steps counted from 0 or 1 would pass for ids of rows."""
    types = {} if entity is None else {entity: "id"}
    if time is not None and time != entity and is_numeric_dtype(frame[time]) and not is_bool_dtype(frame[time]):
        types[time] = "integer" if is_integer_dtype(frame[time]) else "numeric"
    return types


def ids_of_entities(
    frame: pd.DataFrame, schema: Schema, entity: str, taken: Collection[str], asked: Collection[str]
) -> dict[str, Finding]:
    """Columns whose cells would be ids or free text in a table of one row an entity, such as its insurance number.

    Arguments:
        frame: All rows, in any order.
        schema: Of the whole columns.
        entity: The column that names sequences.
        taken: Columns whose type is set.
        asked: Columns that are static because a person says so: their cells are content, unless they are ids.
    """
    found = {}
    for field in schema.fields:
        if field.name in {*taken, entity, schema.label} or not (field.is_choice or field.type == "integer"):
            continue
        pairs = frame[[entity, field.name]].dropna().drop_duplicates()
        if len(pairs) < 2 or pairs[entity].duplicated().any():
            continue
        finding = find(pairs[field.name])
        is_text = finding.field.type == "text" and finding.distinct > LABEL_CLASSES and field.name not in asked
        if finding.field.type == "id" or is_text:
            found[field.name] = finding
    return found


def in_order(
    frame: pd.DataFrame, schema: Schema, time: str | None, entity: str | None, on_time: OnTime
) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Rows with those of an entity together and in order of time, the entity of each, and how many were moved.

    Raises:
        UserError: A time or an entity is missing, a time repeats within an entity, or rows are not in order where
            `on_time` is "error".
    """
    group = np.zeros(len(frame), dtype=np.int64)
    if entity is not None:
        group, names = pd.factorize(frame[entity])
        if (group < 0).any():
            raise UserError(
                f"data.entity={entity}: row {int(np.argmax(group < 0)) + 1} has none; fill it or leave it out"
            )
        order = np.argsort(group, kind="stable")
        frame, group = frame.iloc[order].reset_index(drop=True), group[order].astype(np.int64)
    if time is None:
        return frame, group, 0
    field = schema[time]
    if not field.is_numeric:
        told = f"data.time={time} is of type {field.type}, with values such as {str(frame[time].iloc[0])!r}"
        raise UserError(f"{told}; times are numbers or dates (data.types.{time}=datetime says so)")
    values = to_numbers(frame[time], field)
    if np.isnan(values).any():
        at = int(np.argmax(np.isnan(values)))
        raise UserError(
            f"data.time={time} is missing in a row{_where(frame, entity, at)}; fill it or leave the row out"
        )
    order = np.lexsort((values, group))
    sorted_values, sorted_group = values[order], group[order]
    same = (np.diff(sorted_values) == 0) & (np.diff(sorted_group) == 0)
    if same.any():
        at = int(order[int(np.argmax(same))])
        told = f"data.time={time}: {frame[time].iloc[at]} repeats{_where(frame, entity, at)}"
        way = "leave one of the rows out" if entity else "name the column that tells series apart, data.entity=COLUMN"
        raise UserError(f"{told}; {way}")
    moved = order != np.arange(len(order))
    if moved.any() and on_time == "error":
        inside = (np.diff(values) < 0) & (np.diff(group) == 0)
        at = int(np.argmax(inside)) + 1
        pair = f"{frame[time].iloc[at]} comes after {frame[time].iloc[at - 1]}"
        raise UserError(f"data.time={time}: {pair}{_where(frame, entity, at)}; data.on_time=sort puts rows in order")
    return frame.iloc[order].reset_index(drop=True), sorted_group, int(moved.sum())


def _where(frame: pd.DataFrame, entity: str | None, at: int) -> str:
    return "" if entity is None else f" ({entity}={frame[entity].iloc[at]})"


def varying(frame: pd.DataFrame, group: np.ndarray, name: str) -> int | None:
    """A row whose value is another than that of the row before, in the same entity; None if there is none."""
    codes = pd.factorize(frame[name], use_na_sentinel=True)[0]
    changed = (np.diff(codes) != 0) & (np.diff(group) == 0)
    return int(np.argmax(changed)) + 1 if changed.any() else None


def varied(frame: pd.DataFrame, group: np.ndarray, name: str, entity: str | None) -> str | None:
    """Where the cells of a column that are there differ within an entity, in words; None where they do not."""
    known = frame[name].notna().to_numpy()
    cells = frame[known].reset_index(drop=True)
    at = varying(cells, group[known], name) if known.any() else None
    return None if at is None else _pair(cells, name, entity, at)


def _pair(frame: pd.DataFrame, name: str, entity: str | None, at: int) -> str:
    return f"varies{_where(frame, entity, at)}: {frame[name].iloc[at - 1]} and then {frame[name].iloc[at]}"


def static_columns(
    frame: pd.DataFrame, group: np.ndarray, schema: Schema, wanted: Sequence[str] | None, taken: set[str | None]
) -> tuple[str, ...]:
    """Columns that hold for the whole of each entity: those named, or those found.

    Raises:
        UserError: A column that is named varies within an entity.
    """
    entity = next((name for name in taken if name is not None), None)
    if wanted is not None:
        for name in wanted:
            if (at := varying(frame, group, name)) is not None:
                raise UserError(
                    f"data.static={name} {_pair(frame, name, entity, at)}; leave it out there, or mend the rows"
                )
        return tuple(name for name in schema.names if name in wanted)
    if group.max() == 0:
        return ()
    several = np.bincount(group).max() > 1
    names = [field.name for field in schema.fields if field.name not in taken and field.type != "constant"]
    return tuple(name for name in names if several and varying(frame, group, name) is None)
