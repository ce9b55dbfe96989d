"""Static columns that a person tells, where some follow from others: a model is told those that they follow from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.relations.cells import chosen, keys_of, numbers_of, series_of, tolerance
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import from_numbers
from datakiln.errors import UserError
from datakiln.schema import Field

MISSING = "missing"  # what a person writes for a cell without a value, unless it is a category


def cells_told(static: TableCodec | None, label: str | None, condition: Mapping[str, Any]) -> dict[str, pd.Series]:
    """One cell of each column that a condition is on.

    Arguments:
        static: Codec of the static columns; None where there is none.
        label: The column that "class" stands for.
        condition: Values by column.

    Raises:
        UserError: A column that is not static, or a value that no training sequence has.
    """
    known = {} if static is None else static.by_name()
    cells: dict[str, pd.Series] = {}
    for name, value in condition.items():
        name = str(label) if name == "class" and label else name
        if name not in known:
            there = ", ".join(known) or "there is none"
            raise UserError(f"condition.{name}={value}: conditions are on static columns ({there})")
        codec = known[name]
        is_missing = value is None or str(value) == MISSING
        if isinstance(codec, ChoiceColumn):
            found = next((v for v in codec.values if str(v) == str(value)), None)
            if found is None and not (is_missing and codec.missing):
                seen = ", ".join(str(v) for v in codec.values[:20])
                told = f"condition.{name}={value} is not among the training values ({seen})"
                raise UserError(f"{told}; one of them is told, no range and no list")
            cells[name] = pd.Series([found], dtype=object if found is None else None)
        elif is_missing and isinstance(codec, NumberColumn) and codec.missing:
            cells[name] = from_numbers(np.array([np.nan]), codec.field)
        else:
            cells[name] = _number_cell(value, codec.field)
    return cells


def _number_cell(value: Any, field: Field) -> pd.Series:  # noqa: ANN401 (what a person typed)
    """A number or date that a person gave, as a cell of the column."""
    try:
        return pd.Series(pd.to_datetime([value]) if field.type == "datetime" else [float(value)])
    except (ValueError, TypeError):
        what = "a date" if field.type == "datetime" else "a number"
        raise UserError(f"condition.{field.name}={value} must be {what}, since ranges are not told to series") from None


def settled(
    static: TableCodec, told: Mapping[str, pd.Series], n: int, rng: np.random.Generator
) -> dict[str, pd.Series]:
    """Cells of n sequences of the told columns and of those they follow from, which are drawn as often as in training.

    Arguments:
        static: Codec of the static columns.
        told: One cell of each column.
        n: Sequences.
        rng: Of the draws.

    Raises:
        UserError: Columns do not go together, or it is open which others a told one follows from.
    """
    cells = {name: cell.take(np.zeros(n, dtype=int)).reset_index(drop=True) for name, cell in told.items()}
    for relation in reversed(static.plan.relations):
        lacking = [name for name in relation.columns if name not in cells]
        is_open = relation.target in cells if relation.mode != "checked" else len(lacking) < len(relation.columns)
        if not (lacking and is_open):
            continue
        if relation.form != "function" or relation.tree[0] == "part":
            one = next(name for name in relation.columns if name in cells)
            way = f"say condition.{lacking[0]}= too, or train with data.relations=none"
            raise UserError(f"condition.{one}: it hangs on {lacking[0]} ({relation}); {way}")
        cells |= _sources(static, relation, cells, rng)
    for relation, broken in static.plan.broken(cells):
        if broken.any():
            given = " ".join(f"condition.{name}={cell.iloc[0]}" for name, cell in told.items())
            raise UserError(f"{given}: in every training sequence {relation}; leave one of them out")
    return cells


def _sources(
    static: TableCodec, relation: Relation, cells: Mapping[str, pd.Series], rng: np.random.Generator
) -> dict[str, pd.Series]:
    """Cells of what a function's target follows from, each drawn by its training rows among those with its value."""
    schema, at = static.schema, np.arange(len(relation.keys))
    keys = relation.keys if relation.tree[0] == "pair" else [[key] for key in relation.keys]
    listed = {name: _cells([key[i] for key in keys], schema[name]) for i, name in enumerate(relation.sources)}
    weights = np.prod([_rows(static, name, column) for name, column in listed.items()], axis=0)
    listed[relation.target] = chosen(relation.values, at, schema[relation.target])
    met = np.ones((len(cells[relation.target]), len(at)), dtype=bool)
    for name, column in listed.items():
        if name in cells:
            met &= _equal(cells[name], column, schema[name])
    if not met.any(axis=1).all():
        given = " ".join(f"condition.{name}={cells[name].iloc[0]}" for name in relation.columns if name in cells)
        raise UserError(f"{given}: no training sequence has that; leave one out, or choose another value")
    shares = np.cumsum(met * weights, axis=1)
    drawn = (shares > rng.random((len(met), 1)) * shares[:, -1:]).argmax(axis=1)
    return {name: listed[name].take(drawn).reset_index(drop=True) for name in relation.sources}


def _cells(keys: list[object], field: Field) -> pd.Series:
    if field.is_numeric:
        return series_of(np.asarray(keys, dtype=np.float64), field)
    return chosen(keys, np.arange(len(keys)), field)


def _rows(static: TableCodec, name: str, cells: pd.Series) -> np.ndarray:
    """Training rows of each cell, 1 where nobody has counted."""
    codec = static.by_name()[name]
    if not isinstance(codec, ChoiceColumn) or not codec.rows:
        return np.ones(len(cells))
    known = dict(zip(map(str, [*codec.values, *codec.pool]), codec.rows, strict=True))
    return np.array([known.get(str(key), 1) for key in keys_of(cells)], dtype=np.float64)


def _equal(told: pd.Series, listed: pd.Series, field: Field) -> np.ndarray:
    """Which told cells are which listed ones, (n, k)."""
    if field.is_numeric:
        far = np.abs(numbers_of(told, field)[:, None] - numbers_of(listed, field))
        return np.asarray(far <= tolerance(field) + 1e-9)
    one, two = (keys_of(cells).astype(str).to_numpy() for cells in (told, listed))
    return np.asarray(one[:, None] == two)
