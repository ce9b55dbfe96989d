"""The one strptime format that a column of dates in text is written in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

DAYS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%m/%d/%Y",  # before day first: where a column fits both, the person is told and can say otherwise
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
)
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
ZONES = ("", "Z", "+00:00")  # written as they are; other time zones stay text
FORMATS = (
    *DAYS,
    *(f"{day} {time}" for day in DAYS for time in TIMES),
    *(f"{DAYS[0]}{gap}{time}{zone}" for gap in "T " for time in TIMES[:3] for zone in ZONES if gap == "T" or zone),
    "%Y-%m",
)
SAMPLE = 50


def find_format(values: pd.Series) -> str | None:
    """The first of `FORMATS` that every value (text, none missing) is written in, or None."""
    return next(fitting(values), None)


def fitting(values: pd.Series, formats: Iterable[str] = FORMATS) -> Iterator[str]:
    """Those of the formats that every value (text, none missing) is written in."""
    distinct = pd.Series(values.unique()).astype(object)
    first = "" if distinct.empty else str(distinct.iloc[0])
    if not 6 <= len(first) <= 40 or not any(c.isdigit() for c in first):  # spares most text columns all the trials
        return
    sample = distinct.iloc[:: max(1, len(distinct) // SAMPLE)]
    for format in formats:
        if _fits(sample.iloc[:1], format) and _fits(sample, format) and _fits(distinct, format):
            yield format


def _fits(values: pd.Series, format: str) -> bool:
    return bool(pd.to_datetime(values, format=format, errors="coerce").notna().all())
