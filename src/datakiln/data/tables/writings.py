"""The same values in another writing: dates day first or month first, 1 and 1.0 and True, decimal commas.

A table that another tool wrote is read cell by cell as the column of the real table would be, so that equal values are
equal. What could be read in two ways that differ, or in none, is refused: a low figure would blame the generator for
its pen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from datakiln.data.tables.facts import fitting
from datakiln.data.tables.signs import NumberEvidence, is_money
from datakiln.durations import DURATIONS
from datakiln.errors import UserError
from datakiln.schema import Field, Schema
from datakiln.writings import dates_of, is_text, number_writing, numbers_of

MOST_UNREAD = 0.5  # a larger share of cells that are no numbers or dates is a writing, not a few faults
TRUTHS = {"true": True, "yes": True, "y": True, "t": True, "on": True} | {
    "false": False,
    "no": False,
    "n": False,
    "f": False,
    "off": False,
}
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
GAPS = "' \u00a0\u202f"
WRITINGS = (
    *(("numbers with thousands marked", f"#{gap}##0.#") for gap in f",{GAPS}"),
    ("numbers with decimal commas", "0,#"),
    *(("numbers with thousands marked and decimal commas", f"#{gap}##0,#") for gap in f".{GAPS}"),
)
SHARES = (0.0, 1.0)


class _UnreadError(Exception):
    """A column that cannot be read as the real one is; the message says why."""


def alike(made: pd.DataFrame, real: pd.DataFrame, schema: Schema, name: str) -> tuple[pd.DataFrame, list[str]]:
    """A table with its cells as the real table writes them, and a line for each column that was written otherwise.

    Arguments:
        made: A table with the columns of the schema.
        real: The real table.
        schema: Its columns.
        name: What errors call the other table.

    Raises:
        UserError: Columns are written in a way that cannot be told from another or is not known; all are named.
    """
    columns, lines, unread = {}, [], []
    for field in schema.fields:
        cells = made[field.name]
        try:
            read, how = _column(cells, real[field.name], field)
        except _UnreadError as error:
            unread.append(f"{field.name!r} ({error})")
            continue
        columns[field.name] = read
        if how:
            lines.append(f"column {field.name!r} is written otherwise than in the real table: read as {how}")
    if unread:
        are = "column is" if len(unread) == 1 else "columns are"
        raise UserError(
            f"{name}: {len(unread)} {are} written otherwise than in the real table and cannot be read for certain: "
            f"{', '.join(unread)}; write them in both tables alike, or leave them out of both"
        )
    return pd.DataFrame(columns, index=made.index), lines


def _column(cells: pd.Series, real: pd.Series, field: Field) -> tuple[pd.Series, str]:
    if not cells.notna().any():
        return cells, ""
    if field.type == "datetime":
        return _dates(cells, real, field)
    if field.is_numeric:
        return _numbers(cells, real, field)
    return _choices(cells, real, field) if field.is_choice else (cells, "")


def _dates(cells: pd.Series, real: pd.Series, field: Field) -> tuple[pd.Series, str]:
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return cells, "" if field.format is None else "dates"
    words = cells.dropna().map(_digits).astype(str).str.strip()
    share = 0.0 if field.format is None else float(dates_of(words, field.format).notna().mean())
    if share == 1.0:
        return (cells, "") if is_text(cells) else (_filled(cells, words), str(field.format))
    known = dates_of(real, field.format)
    low, high = known.min(), known.max()
    found: dict[str, tuple[float, pd.Series]] = {}
    for format in (*fitting(words), *(extra for extra in ("%Y%m%d",) if dates_of(words, extra).notna().all())):
        dates = dates_of(words, format)
        found[format] = (float(dates.between(low, high).mean()), dates)
    if not found and share > MOST_UNREAD:
        return cells, ""  # a few faults, which are counted as missing and said
    if not found:
        raise _UnreadError(f"such as {words.iloc[0]!r}, dates like {str(real.dropna().iloc[0])!r} are wanted")
    best = max(share for share, _ in found.values())
    likely = {format: dates for format, (share, dates) in found.items() if share == best}
    format, dates = next(iter(likely.items()))
    for other, others in likely.items():
        if not others.equals(dates):
            raise _UnreadError(f"such as {words.iloc[0]!r}, which may be {format} or {other}")
    return dates.reindex(cells.index), f"dates in the form {format}"


def _numbers(cells: pd.Series, real: pd.Series, field: Field) -> tuple[pd.Series, str]:
    if pd.api.types.is_bool_dtype(cells.dtype):
        return cells.astype("float64"), "1 for true and 0 for false"
    if pd.api.types.is_numeric_dtype(cells.dtype) or pd.api.types.is_timedelta64_dtype(cells.dtype):
        return cells, ""
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        raise _UnreadError(f"dates, numbers like {real.dropna().iloc[0]} are wanted")
    words = cells.dropna().astype(str).str.strip()
    own = _read(words, field)
    if own.notna().all():
        return own.reindex(cells.index), ""
    ways = dict(_ways(words, field))
    if not ways and own.notna().mean() > MOST_UNREAD:
        return cells, ""  # a few faults, which are counted as missing and said
    if not ways:
        raise _UnreadError(f"such as {words[own.isna()].iloc[0]!r}, numbers like {real.dropna().iloc[0]} are wanted")
    numbers = numbers_of(real, field)
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    shares = {how: float(read.between(low, high).mean()) for how, read in ways.items()}
    likely = [how for how in ways if shares[how] == max(shares.values())]
    if any(not np.allclose(ways[how], ways[likely[0]]) for how in likely):
        raise _UnreadError(f"such as {words[own.isna()].iloc[0]!r}, which may be {' or '.join(likely)}")
    return ways[likely[0]].reindex(cells.index), likely[0]


def _ways(words: pd.Series, field: Field) -> Iterator[tuple[str, pd.Series]]:
    """The ways to read all of these words as numbers, with what the person is told."""
    known = NumberEvidence.of(words)
    found = known.writing() if known is not None else None
    signed = [(f"numbers written as {found[0]}", found[0])] if found is not None and _is_same(found[0], field) else []
    for how, template in (("plain numbers", None), *WRITINGS, *signed):
        read = _read(words, replace(field, format=template))
        if read.notna().all():
            yield how, read
    truths = words.str.lower().map(TRUTHS)
    if truths.notna().all():
        yield "1 for true and 0 for false", truths.astype("float64")


def _read(words: pd.Series, field: Field) -> pd.Series:
    return pd.Series(numbers_of(words.astype("str"), field), index=words.index)


def _is_same(template: str, field: Field) -> bool:
    """Whether signs in a writing leave the number what it is in the real table: money does, a unit need not."""
    if template in DURATIONS:
        return field.format in DURATIONS
    signs = {"".join(number_writing(template).above).strip("+ ")}
    if field.format is not None and field.format not in DURATIONS:
        signs.add("".join(number_writing(field.format).above).strip("+ "))
    return len(signs - {""}) < 2 and all(sign == "" or field.format is not None or is_money(sign) for sign in signs)


def _choices(cells: pd.Series, real: pd.Series, field: Field) -> tuple[pd.Series, str]:
    wanted = list(pd.unique(real.dropna().astype(object)))
    given = list(pd.unique(cells.dropna().astype(object)))
    same = {_typed(value): value for value in wanted}
    strange = [value for value in given if _typed(value) not in same]
    if not strange:
        return _mapped(cells, same, real), ""
    for key, how in _keys(wanted, given):
        known = {key(value): value for value in wanted}
        read = {_typed(value): known[key(value)] for value in strange if key(value) in known}
        if read and len(known) == len(wanted):  # else two categories would become one
            return _mapped(cells, same | read, real), how
    if field.type == "boolean" and len(strange) == len(given):
        raise _UnreadError(f"such as {str(given[0])!r}, {_list(wanted)} are wanted")
    return cells, ""


def _mapped(cells: pd.Series, table: dict[Any, Any], real: pd.Series) -> pd.Series:
    """Cells by their value in the real table, others as they are."""
    if cells.dtype == real.dtype and not isinstance(cells.dtype, pd.CategoricalDtype) and not is_text(cells):
        return cells
    return cells.astype(object).map(lambda value: table.get(_typed(value), value), na_action="ignore")


def _keys(wanted: list[Any], given: list[Any]) -> Iterator[tuple[Callable[[Any], Hashable], str]]:
    """Ways to see two categories as one, the surest first, with what the person is told."""
    yield _text, "the same words"
    yield _number, "the same numbers"
    if None not in [_truth(value) for value in (*wanted, *given)]:
        yield _truth, _list(wanted)


def _typed(value: Any) -> tuple[str, Any]:  # noqa: ANN401 (a cell)
    """A category as metrics tell them apart: numbers and truth values by value, words as they are."""
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        return "number", float(value)
    return "word", value


def _text(value: Any) -> Hashable:  # noqa: ANN401 (a cell)
    return str(value).strip()


def _number(value: Any) -> Hashable:  # noqa: ANN401 (a cell)
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        return float(value)
    text = str(value).strip()
    return float(text) if PLAIN.fullmatch(text) else text


def _truth(value: Any) -> bool | None:  # noqa: ANN401 (a cell)
    number = _number(value)
    if number in SHARES:
        return bool(number)
    return TRUTHS.get(str(value).strip().lower())


def _digits(value: Any) -> Any:  # noqa: ANN401 (a cell)
    """20210301.0, as a column with missing cells holds it, without its point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _filled(cells: pd.Series, words: pd.Series) -> pd.Series:
    read = pd.Series(None, index=cells.index, dtype=object)
    read[words.index] = words
    return read


def _list(values: list[Any]) -> str:
    return " and ".join(str(value) for value in sorted(values, key=str)[:2])
