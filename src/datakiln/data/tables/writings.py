"""The same values in another writing: dates day first or month first, 1 and 1.0 and True, decimal commas.

A table that another tool wrote is read cell by cell as the column of the real table would be, so that equal values are
equal. What could be read in two ways that differ, or in none, is refused: a low figure would blame the generator for
its pen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from datakiln.data.tables.facts import fitting, is_text
from datakiln.errors import UserError
from datakiln.schema import Field, Schema

MOST_UNREAD = 0.5  # a larger share of cells that are no numbers or dates is a writing, not a few faults
TRUTHS = {"true": True, "yes": True, "y": True, "t": True, "on": True} | {
    "false": False,
    "no": False,
    "n": False,
    "f": False,
    "off": False,
}
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}([,' \u00a0\u202f]\d{3})+(\.\d*)?")  # 1,234.50
COMMA = re.compile(r"[+-]?(\d{1,3}([.' \u00a0\u202f]\d{3})*|\d+),\d+")  # 1234,5 and 1.234,5
WHOLE = re.compile(r"[+-]?(\d{1,3}([.' \u00a0\u202f]\d{3})*|\d+)")  # and 1.234 beside them
GAPS = r"[,' \u00a0\u202f]"
POINTS = r"[.' \u00a0\u202f]"
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
        return _numbers(cells, real)
    return _choices(cells, real, field) if field.is_choice else (cells, "")


def _dates(cells: pd.Series, real: pd.Series, field: Field) -> tuple[pd.Series, str]:
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return cells, "" if field.format is None else "dates"
    words = cells.dropna().map(_digits).astype(str).str.strip()
    share = 0.0 if field.format is None else _readable(words, field.format)
    if share == 1.0:
        return (cells, "") if is_text(cells) else (_filled(cells, words), str(field.format))
    known = pd.to_datetime(real, format=field.format, errors="coerce")
    low, high = _naive(known).min(), _naive(known).max()
    found: dict[str, tuple[float, pd.Series]] = {}
    for format in (*fitting(words), *(extra for extra in ("%Y%m%d",) if _readable(words, extra) == 1.0)):
        dates = _naive(pd.to_datetime(words, format=format))
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
    read = pd.Series(pd.NaT, index=cells.index, dtype="datetime64[ns]")
    read[dates.index] = dates.astype("datetime64[ns]") if _fits_nanoseconds(dates) else dates
    return read, f"dates in the form {format}"


def _fits_nanoseconds(dates: pd.Series) -> bool:
    return bool(dates.between(pd.Timestamp.min, pd.Timestamp.max).all())


def _naive(dates: pd.Series) -> pd.Series:
    return dates if dates.dt.tz is None else dates.dt.tz_convert("UTC").dt.tz_localize(None)


def _readable(words: pd.Series, format: str) -> float:
    return float(pd.to_datetime(words, format=format, errors="coerce").notna().mean())


def _numbers(cells: pd.Series, real: pd.Series) -> tuple[pd.Series, str]:
    if pd.api.types.is_bool_dtype(cells.dtype):
        return cells.astype("float64"), "1 for true and 0 for false"
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells, ""
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        raise _UnreadError(f"dates, numbers like {real.dropna().iloc[0]} are wanted")
    words = cells.dropna().astype(str).str.strip()
    plain = words.str.fullmatch(PLAIN)
    if plain.all():
        return cells, ""
    ways: dict[str, pd.Series] = {}
    if (plain | words.str.fullmatch(THOUSANDS)).all():
        ways["numbers with thousands marked"] = pd.to_numeric(words.str.replace(GAPS, "", regex=True))
    if (words.str.fullmatch(WHOLE) | words.str.fullmatch(COMMA)).all():
        pointed = words.str.replace(POINTS, "", regex=True).str.replace(",", ".", regex=False)
        ways["numbers with decimal commas"] = pd.to_numeric(pointed)
    truths = words.str.lower().map(TRUTHS)
    if truths.notna().all():
        ways["1 for true and 0 for false"] = truths.astype("float64")
    if not ways and plain.mean() > MOST_UNREAD:
        return cells, ""
    if not ways:
        raise _UnreadError(f"such as {words[~plain].iloc[0]!r}, numbers like {real.dropna().iloc[0]} are wanted")
    numbers = pd.to_numeric(real.astype(object), errors="coerce").astype("float64")
    shares = {how: float(read.between(numbers.min(), numbers.max()).mean()) for how, read in ways.items()}
    likely = [how for how in ways if shares[how] == max(shares.values())]
    if any(not ways[how].equals(ways[likely[0]]) for how in likely):
        raise _UnreadError(f"such as {words[~plain].iloc[0]!r}, which may be {' or '.join(likely)}")
    read = pd.Series(np.nan, index=cells.index)
    read[words.index] = ways[likely[0]]
    return read, likely[0]


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
