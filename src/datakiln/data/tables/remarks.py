"""What a person should know of the types that were found for a table: whatever may have been meant otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from datakiln.codecs.tables.generators import is_personal
from datakiln.data.tables.detection import is_swapped
from datakiln.data.tables.facts import FORMATS, Facts, SeriesFacts, is_placeholder, parses
from datakiln.data.tables.signs import looks_measured
from datakiln.schema import Field, Schema
from datakiln.wording import counted
from datakiln.writings import dates_of, is_text

SAMPLE = 200
TRIED = 6  # of which some must be in a format that most cells are in
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
            lines += _of(field, frame[field.name], (facts or {}).get(field.name))
    return lines


def _placeholders(field: Field, series: pd.Series) -> Iterator[str]:
    for word, _ in field.placeholders:
        if word:
            count = int((series.astype(str) == word).sum())
            told = f"column {field.name!r} has {counted(count, 'cell')} {word!r}, which is no date"
            yield f"{told}: modelled as missing, and written so again"


def _of(field: Field, series: pd.Series, facts: Facts | None) -> Iterator[str]:
    name = field.name
    if field.type == "datetime" and field.format is not None:
        known = facts or SeriesFacts(series)
        other = next((format for format in known.formats[1:] if is_swapped(format, field.format)), None)
        if other is not None:
            way_out = f"data.types.{name}={{type: datetime, format: '{other}'}}"
            told = f"column {name!r} is read as {field.format}, but {other} fits all cells too"
            yield f"{told}; if it is meant, say {way_out}"
        if "%z" in field.format:
            yield f"column {name!r} has several offsets from UTC: its instants are kept and given back in UTC"
        elif field.format == "ISO8601":
            yield f"column {name!r} has ISO dates of several resolutions: given back as Python writes them"
    elif is_text(series) and field.type in ("id", "text", "category"):
        sample = series.dropna().iloc[:: max(1, series.notna().sum() // SAMPLE)].astype(str)
        yield from _of_words(field, sample)


def _of_words(field: Field, sample: pd.Series) -> Iterator[str]:
    fate = "each of its cells is made anew" if field.type in ("id", "text") else "its cells are taken for categories"
    name = field.name
    if field.type != "category" or sample.nunique() > SAMPLE // 4:
        dates = _partly_dates(sample)
        if dates is not None:
            format, stray = dates
            told = f"column {name!r} looks like dates written as {format}, but {stray!r} is none"
            yield f"{told}: {fate}; empty those cells, or say data.types.{name}=category to keep them"
        elif looks_measured(sample):
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
        word for word in sample if any(c.isdigit() for c in word) and 6 <= len(word) <= 40 and not is_placeholder(word)
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
