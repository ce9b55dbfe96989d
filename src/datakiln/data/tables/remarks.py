"""What a person should know of the types that were found for a table: whatever may have been meant otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.generators import ADDRESS, is_personal
from datakiln.data.tables.cells import EXACT, zeros_kept
from datakiln.data.tables.centuries import HUNDRED
from datakiln.data.tables.detection import is_swapped
from datakiln.data.tables.facts import FORMATS, Facts, SeriesFacts, is_placeholder, parses, stands_for_none
from datakiln.data.tables.signs import looks_measured, looks_paired
from datakiln.schema import Field, Schema
from datakiln.wording import counted
from datakiln.writings import CENTURY, cells_of, dates_of, is_text, numbers_of, write_dates

SAMPLE = 200
MOST_WRITTEN = 5000  # different numbers that are written again
TRIED = 6  # of which some must be in a format that most cells are in
DATED = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-/. ]\d{1,2}(?!\d)|\d{1,2}(?:st|nd|rd|th)?[-/., ]+(?:de |of )?[^\W\d]{3,12}\.?[-/., ]+"
    r"(?:de |of )?(?:19|20)?\d\d(?!\d)|[^\W\d]{3,12}\.? \d{1,2}(?:st|nd|rd|th)?,? (?:19|20)\d\d|[0-2]?\d:[0-5]\d(?!\d))"
)
MOSTLY = 0.8  # of the cells: then the others are worth a word


def remarks(
    schema: Schema, frame: pd.DataFrame, wanted: Mapping[str, Any], facts: Mapping[str, Facts] | None = None
) -> list[str]:
    """One line for each.

    Arguments:
        schema: Of the table.
        frame: The table, or a sample of its rows, as it was read.
        wanted: Types that a person has set: nothing is said of these columns.
        facts: Of the whole columns, where `frame` is a sample.
    """
    lines: list[str] = []
    for field in schema.fields:
        lines += _placeholders(field, frame[field.name])
        if field.name not in wanted:
            lines += _of(field, frame[field.name], (facts or {}).get(field.name), field.name == schema.label)
    return lines


def true_of(notes: Iterable[str], dates: Iterable[str]) -> list[str]:
    """The notes of reading a file but for those that columns of dates are kept as text."""
    untrue = {zeros_kept(name) for name in dates}
    return [note for note in notes if note not in untrue]


def _placeholders(field: Field, series: pd.Series) -> Iterator[str]:
    for word, _ in field.placeholders:
        if word:
            count = int((series.astype(str) == word).sum())
            cell = word if is_text(series) or isinstance(series.dtype, pd.CategoricalDtype) else int(word)
            told = f"column {field.name!r} has {counted(count, 'cell')} {cell!r}, which is no date"
            yield f"{told}: modelled as missing, and written so again"


def _of(field: Field, series: pd.Series, facts: Facts | None, is_label: bool) -> Iterator[str]:
    name = field.name
    if field.type == "datetime" and field.format is not None:
        known = facts or SeriesFacts(series)
        other = next((format for format in known.formats[1:] if is_swapped(format, field.format)), None)
        if other is not None:
            way_out = f"data.types.{name}={{type: datetime, format: '{other}'}}"
            told = f"column {name!r} is read as {field.format}, but {other} fits all cells too"
            yield f"{told}; if it is meant, say {way_out}"
        yield from _of_two_digits(field, series)
        if "%z" in field.format:
            yield f"column {name!r} has several offsets from UTC: its instants are kept and given back in UTC"
        elif field.format == "ISO8601":
            yield f"column {name!r} has ISO dates of several resolutions: given back as Python writes them"
        elif is_text(series):
            yield from _rewritten(name, field.format, series)
    elif field.is_numeric and field.format is not None and is_text(series):
        yield from _renumbered(field, series)
    elif field.type in ("id", "text", "category") and pd.api.types.is_integer_dtype(series.dtype):
        present = series.dropna()
        if len(present) and max(abs(int(present.min())), abs(int(present.max()))) >= EXACT:
            what = "categories" if field.type == "category" else "keys, which are made anew"
            told = f"column {name!r} has whole numbers too long to reckon with: taken for {what}"
            yield f"{told}; say data.types.{name}=integer to have them to 16 digits"
    elif is_text(series) and field.type in ("id", "text", "category"):
        sample = series.dropna().iloc[:: max(1, series.notna().sum() // SAMPLE)].astype(str)
        if is_label and sample.str.contains(DATED).mean() >= MOSTLY:
            yield f"column {name!r} is the label: each of its dates is a class"
        else:
            yield from _of_words(field, sample)


def _of_two_digits(field: Field, series: pd.Series) -> Iterator[str]:
    """Which years are meant by two digits, and how to have others."""
    format = str(field.format)
    plain = CENTURY.sub("%y", format)
    years = dates_of(series, format).dt.year.dropna() if "%y" in plain else pd.Series([], dtype="float64")
    if not len(years):
        return
    other = f"%{int(years.min()) - HUNDRED}y" if plain == format else "%y"
    way_out = f"data.types.{field.name}={{type: datetime, format: '{plain.replace('%y', other)}'}}"
    told = f"column {field.name!r} has years of two digits: read as {years.min():.0f} to {years.max():.0f}"
    yield f"{told}; if others are meant, say {way_out}"


def _rewritten(name: str, format: str, series: pd.Series) -> Iterator[str]:
    """Dates that come back in another writing, such as in microseconds where they were in nanoseconds."""
    cells = pd.Series(series.dropna().astype(str).unique())
    sample = cells.iloc[:: max(1, len(cells) // SAMPLE)]
    sample = sample[[not stands_for_none(word, format) for word in sample]]
    dates = dates_of(sample, format)
    back = write_dates(dates[dates.notna()], format)
    other = back[back != sample[dates.notna()]]
    if len(other):
        was, now = sample[other.index[0]], other.iloc[0]
        yield f"column {name!r} is read as {format}: cells such as {was!r} are written as {now!r}"


def _renumbered(field: Field, series: pd.Series) -> Iterator[str]:
    """Numbers of which some are made in another writing, such as -0.0% as 0.0%."""
    cells = pd.Series(series.dropna().astype(str).unique(), dtype="str")
    cells = cells.iloc[:: max(1, len(cells) // MOST_WRITTEN)].reset_index(drop=True)
    back = cells_of(numbers_of(cells, field), replace(field, dtype="str"))
    other = np.flatnonzero((back.notna() & (back != cells)).to_numpy())
    if len(other):
        was, now = cells.iloc[other[0]], back.iloc[other[0]]
        yield f"column {field.name!r} is read as {field.format}: cells such as {was!r} are made as {now!r}"


def _of_words(field: Field, sample: pd.Series) -> Iterator[str]:
    fate = "each of its cells is made anew" if field.type in ("id", "text") else "its cells are taken for categories"
    name = field.name
    if field.type != "category" or sample.nunique() > SAMPLE // 4:
        dates = _partly_dates(sample)
        if dates is not None:
            format, stray = dates
            told = f"column {name!r} looks like dates written as {format}, but {stray!r} is none"
            yield f"{told}: {fate}; empty those cells, or say data.types.{name}=category to keep them"
        elif sample.str.contains(DATED).mean() >= MOSTLY:
            told = f"column {name!r} looks like dates or times, such as {sample.iloc[0][:40]!r}, in no known writing"
            way_out = f"data.types.{name}={{type: datetime, format: '%d %b %Y'}}"
            yield f"{told}: {fate}; write them as YYYY-MM-DD, or say how they are, as in {way_out}"
        elif looks_paired(sample):
            told = f"column {name!r} has two numbers in each cell, such as {sample.iloc[0][:20]!r}: {fate}"
            yield f"{told}; write them into two columns to have them learnt as numbers"
        elif not sample.map(lambda cell: ADDRESS.fullmatch(cell) is not None).all() and looks_measured(sample):
            example = sample.iloc[0][:20]
            told = f"column {name!r} looks like numbers with units, such as {example!r}, written in several ways"
            yield f"{told}: {fate}; write them alike, or say data.types.{name}=category to keep them"
        elif field.type == "text" and not field.generator and (people := is_personal(name, sample.tolist())):
            way_out = f"data.types.{name}=category to keep its cells, or =drop to leave it out"
            yield f"column {name!r} has {people}: each of its cells is made up; say {way_out}"
        elif field.type == "text" and not field.generator:
            way_out = f"data.types.{name}=category to keep its cells, or =drop to leave it out"
            yield f"column {name!r} is free text: {fate}; say {way_out}"


def _partly_dates(sample: pd.Series) -> tuple[str, str] | None:
    """A format that most cells are written in, and one of the others."""
    words = [
        word for word in sample if any(c.isdigit() for c in word) and 4 <= len(word) <= 40 and not is_placeholder(word)
    ]
    if len(words) < MOSTLY * len(sample) or not words:
        return None
    cells = pd.Series(words, dtype="str")
    if cells.str.fullmatch(r"\d+").mean() > MOSTLY:
        return None
    for format in FORMATS:
        if not format.startswith("ISO8601") and not any(parses(word, format) for word in words[:TRIED]):
            continue
        share = dates_of(cells, format).notna()
        if share.mean() >= MOSTLY and not share.all():
            return format, str(cells[~share].iloc[0])
    return None
