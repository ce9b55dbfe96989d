"""What a column's type depends on: looked up in all its cells at once, or gathered from pieces in bounded memory."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from datakiln.data.tables.centuries import in_century, years_of
from datakiln.data.tables.signs import NumberEvidence
from datakiln.writings import CASED, CENTURY, FRACTION, WIDTHS, dates_of, is_text, plain_format, write_dates

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
    "%d.%m.%y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%Y.%m.%d",
    "%m-%d-%y",
    "%d-%m-%y",
    "%y-%m-%d",
    "%y/%m/%d",
    "%d%b%Y",
    "%Y年%m月%d日",
)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
WEEKDAYS = ("%a %d %b %Y", "%a, %d %b %Y", "%a, %b %d, %Y", "%A, %d %B %Y", "%A, %B %d, %Y")  # Wed 26 Jan 2022
COMPACT = ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m", "%y%m%d")  # a date as bare digits
COARSE = (  # months, quarters, weeks: categories where there are few of them
    "%Y-%m", "%b %Y", "%B %Y", "%m/%Y", "%Y/%m", "%m.%Y", "%m-%Y", "%b-%Y", "%b-%y", "%b %y", "%Y%m", "%YQ%q",
    "%Y-Q%q", "%Y Q%q", "Q%q %Y", "Q%q-%Y", "Q%q/%Y", "%G-W%V", "%GW%V",
)  # fmt: skip
FEW_PERIODS = 12
ZONES = ("", "Z", "%z")
FORMATS = (
    *DAYS,
    *(f"{day} {time}" for day in DAYS for time in CLOCKS),
    *(f"{DAYS[0]}{gap}{time}{zone}" for gap in "T " for time in CLOCKS[:3] for zone in ZONES if gap == "T" or zone),
    *(f"{day}, {time}" for day in DAYS[2:5] for time in CLOCKS),
    *CLOCKS,
    *(f"{day}{time}" for day in WEEKDAYS for time in ("", " %H:%M:%S", " %H:%M:%S GMT")),
    *(f"%d{gap}%b{gap}%Y:%H:%M:%S" for gap in ("", "/")),
    "%a %b %d %H:%M:%S %Y",
    "%Y-%m-%d %H:%M:%S,%f",
    "%G-W%V-%u",
    *COARSE,
    "%Y-%j",  # after the months, which it reads as the first days of the year
    *(format for format in COMPACT if format not in COARSE),
    "%Y%m%dT%H%M%S",
    "%Y%m%dT%H%M%SZ",
    "ISO8601",
    "ISO8601%z",
)
SAMPLE = 50
FEW_DAYS, MANY_DAYS = 3, 50  # distinct digits that must all be days: of eight, of six
NANOSECONDS = re.compile(r"(\.\d{6})\d+")
OFFSET = re.compile(r"[+-]\d\d:?\d\d$")
ZONE = re.compile(r"(?<=[\d.])(?: ?[+-]\d\d(?::?\d\d)?| ?[A-Z]{3,5}| ?Z)$")  # behind a time of day
DIGIT = re.compile(r"\d")
STRANGE = 3  # words without a digit that may stand among dates for one that is not there
PLACEHOLDER = re.compile(
    r"[\W_]*|0{8}|(?:0{2,4}[\W_]){2}0{2,4}(?:[ T]00:00(?::00)?)?|unknown|unk|n/?a|none|null|nil|nan|missing|never|open|"
    r"not (?:known|available|applicable)|ongoing|present|pending|tb[adc]|current|infinity|empty",
    re.IGNORECASE,
)

FOR_EVER = re.compile(r"9999[-/.]?12[-/.]?31(?:[ T].*)?|31[-/.]12[-/.]9999(?: .*)?|12[-/.]31[-/.]9999(?: .*)?")


def is_placeholder(word: str) -> bool:
    """Whether a word among dates stands for one that is not there, such as 0000-00-00 or unknown."""
    return PLACEHOLDER.fullmatch(word.strip()) is not None


def stands_for_none(word: str, format: str) -> bool:
    """Whether a word in a column of dates of that format is a placeholder: a last day that is written otherwise too."""
    if FOR_EVER.fullmatch(word.strip()) is not None:
        return bool(dates_of(pd.Series([word]), format).isna().all())
    return is_placeholder(word) or not _has_digit(word)


def _has_digit(word: str) -> bool:
    return DIGIT.search(word) is not None


def is_coarse(format: str) -> bool:
    """Whether it tells months, quarters or weeks."""
    return CASED.sub(r"%\2", CENTURY.sub("%y", format)) in COARSE


def find_format(values: pd.Series) -> str | None:
    """The first of `FORMATS` that every value (text, none missing) is written in, or None."""
    return next(fitting(values), None)


def fitting(values: pd.Series, formats: Iterable[str] | None = None) -> Iterator[str]:
    """Those of the formats that every value (text, none missing) is written in, placeholders left out.

    A format that fits comes as what gives the cells back: without zeros before days, with milliseconds, or with the one
    offset from UTC that all cells have. Without formats given, all are tried.
    """
    distinct = pd.Series(values.unique()).astype(object).astype(str)
    few = [word for word in distinct.iloc[:SAMPLE] if not is_placeholder(word)]
    told = [word for word in few if _has_digit(word)]
    if len(few) - len(told) > STRANGE or any(not 4 <= len(word) <= 40 for word in told[:1]):
        return  # spares most columns of text all the trials
    distinct = distinct[[not is_placeholder(word) for word in distinct]]
    words = [word for word in distinct if not _has_digit(word)]
    if len(words) > STRANGE or (words and len(distinct) < 10 * len(words)):
        return
    distinct = distinct[~distinct.isin(words)]
    if not len(distinct) or not 4 <= len(distinct.iloc[0]) <= 40:
        return
    near = distinct[[FOR_EVER.fullmatch(word) is None for word in distinct]]
    found = False
    for format in _fitting(distinct, formats):
        found = True
        yield format
    if not found and 0 < len(near) < len(distinct):
        yield from _fitting(near, formats)


def _fitting(distinct: pd.Series, formats: Iterable[str] | None) -> Iterator[str]:
    """See `fitting`; different cells without placeholders."""
    first = str(distinct.iloc[0]) if len(distinct) else ""
    sample = distinct.iloc[:: max(1, len(distinct) // SAMPLE)]
    zone = ZONE.search(first) if formats is None and ":" in first else None
    if zone is not None and distinct.str.endswith(zone[0]).all():
        bare = distinct.str[: -len(zone[0])]
        found = [format for format in _fitting(bare, None) if not format.startswith("ISO8601")]
        if found:
            yield from (f"{format}{zone[0]}" for format in found)
            return
    for format in FORMATS if formats is None else formats:
        if not _is_likely(format, first, len(distinct)):
            continue
        if _fits(sample.iloc[:1], format) and _fits(sample, format) and _fits(distinct, format):
            if formats is None:
                yield from _dressed(distinct, format)
            elif gives_back(distinct, format) or not _is_exact(format):
                yield format


def _is_likely(format: str, first: str, distinct: int) -> bool:
    """Whether a format is worth a trial: bare digits look like days by chance."""
    if format in COMPACT:
        if not first.isdigit() or len(first) != WIDTHS[format]:
            return False
        return distinct >= _least(format)
    if format.startswith("ISO8601"):
        return (
            format.endswith("%z") == (OFFSET.search(first[10:]) is not None or first.endswith("Z"))
            and len(first) >= 10
            and first[4] == "-"
            and first[7] == "-"
        )
    return not first.isdigit() and ((":" in first) == (":" in format) or "T%H%M%S" in format) and parses(first, format)


def _least(format: str) -> int:
    """Distinct digits that must all be such dates."""
    return FEW_PERIODS if format in COARSE else MANY_DAYS if WIDTHS[format] == 6 else FEW_DAYS


def parses(word: str, format: str) -> bool:
    """Whether a word can be in a format, as far as Python's own reader tells: it is a hundred times faster."""
    if "%q" in format:
        return re.search(r"Q[1-4](?!\d)", word) is not None
    if "%V" in format and "%u" not in format:
        word, format = f"{word}-1", f"{format}-%u"
    try:
        datetime.strptime(NANOSECONDS.sub(r"\1", word), plain_format(format))
    except ValueError:
        return False
    return True


def _is_exact(format: str) -> bool:
    return any(mark in format for mark in ("%-", "%P", "%^", "%~")) or FRACTION.search(format) is not None


def _dressed(distinct: pd.Series, format: str) -> Iterator[str]:
    """The format as it gives the cells back; as it is where no variant does."""
    sample = distinct.iloc[:: max(1, len(distinct) // MOST_DRESSED)]
    for variant in _variants(format):
        if gives_back(sample, variant) and (len(sample) == len(distinct) or gives_back(distinct, variant)):
            yield variant
            return
    if format not in CLOCKS:  # what is no time of day as these are written may be a duration
        yield format


WORD = re.compile(r"%([aAbB])")


def _variants(format: str) -> Iterator[str]:
    yield format
    bare = format.replace("%d", "%-d").replace("%m", "%-m").replace("%I", "%-I")
    found = [bare, bare.replace("%H", "%-H"), format.replace("%I", "%-I"), format.replace("%H", "%-H")]
    yield from dict.fromkeys([*found, *(variant.replace("%p", "%P") for variant in (format, *found))])
    for sign in "^~" if WORD.search(format) else "":
        yield from (WORD.sub(rf"%{sign}\1", variant) for variant in (format, bare))
    if "%f" in format:
        yield from (format.replace("%f", f"%{digits}f") for digits in (3, 1, 2, 4, 5))


def gives_back(values: pd.Series, format: str) -> bool:
    """Whether dates read and written in a format are the text they were."""
    dates = dates_of(values, format)
    return bool(dates.notna().all() and (write_dates(dates, format).astype(str) == values.astype(str)).all())


def _fits(values: pd.Series, format: str) -> bool:
    dates = dates_of(values, format)
    if not dates.notna().all():
        return False
    years = dates.dt.year
    return format not in COMPACT or bool((years.between(*YEARS) | (years == 9999)).all())


YEARS = (1500, 2500)  # of dates that are bare digits
MOST_DRESSED = 1000


def fitting_digits(values: np.ndarray, formats: Iterable[str] = COMPACT) -> Iterator[str]:
    """The formats of `COMPACT` that every whole number is a date in; without the first zero of 1 to 9 days too."""
    distinct = np.unique(values)
    distinct = distinct[~np.isin(distinct, stand_ins(distinct))]
    if not len(distinct) or distinct[0] < 10_000 or distinct[-1] >= 10**14 or (distinct % 1).any():
        return
    longest = len(str(int(distinct[-1])))
    for format in formats:
        width = WIDTHS[format]
        least = _least(format)
        lost = 1 if format.startswith(("%d", "%m")) else 0
        if width - longest not in (0, lost) or distinct[0] < 10 ** (width - 1 - lost) or len(distinct) < least:
            continue
        if _fits(pd.Series(distinct.astype(np.int64)), format):
            yield format


def stand_ins(distinct: np.ndarray) -> np.ndarray:
    """The one whole number among dates in bare digits that is none, such as 0 or 99999999; empty for none or several.

    Arguments:
        distinct: Different numbers.
    """
    nines = np.array([10.0**width - 1 for width in sorted({*WIDTHS.values()})])
    found = distinct[(distinct == 0) | np.isin(distinct, nines)]
    return found if len(found) == 1 else found[:0]


MAX_DECIMALS = 10
SAMPLE = 1000


def find_decimals(present: pd.Series) -> int | None:
    """Digits after the point that all values are rounded to, at most 10; None for unrounded ones and huge ones."""
    values = present.to_numpy(dtype=present.dtype if isinstance(present.dtype, np.dtype) else np.float64)
    if len(values) == 0 or np.abs(values).max() >= 2**53:
        return None
    sample = values[:: max(1, len(values) // SAMPLE)]
    for decimals in range(MAX_DECIMALS + 1):
        if _is_rounded(sample, decimals) and _is_rounded(values, decimals):
            return decimals
    return None


def _is_rounded(values: np.ndarray, decimals: int) -> bool:
    # scaling and dividing back may miss by a few units in the last place
    return bool((np.abs(values - np.round(values, decimals)) <= 4 * np.spacing(np.abs(values))).all())


HASHES = 1 << 14  # distinct values that are counted exactly; more are estimated, to about 1 %


class Facts(abc.ABC):
    """Counts and extremes of a column.

    Attributes:
        rows: Cells.
        missing: How many of them are missing.
        distinct: Different cells, missing ones left out.
        low: Smallest and `high` the largest number; only for columns of numbers.
        is_increasing: Whether integers never fall from row to row.
        is_decreasing: Whether they never rise.
        decimals: Digits after the point that all numbers are rounded to; None for unrounded ones.
        formats: The date formats that all cells of text, or of whole numbers, are written in.
        numbers: What the cells of text tell of numbers with signs, None where they are no such numbers.
    """

    rows: int
    missing: int
    distinct: int
    low: Any
    high: Any
    is_increasing: bool
    is_decreasing: bool
    decimals: int | None
    formats: Sequence[str]
    numbers: NumberEvidence | None

    @property
    def format(self) -> str | None:
        """The first of the formats."""
        return next(iter(self.formats), None)

    @abc.abstractmethod
    def words(self, format: str) -> Mapping[str, int]:
        """Words that stand for a missing date in a column of the format, and their cells, the most frequent first."""

    @property
    def present(self) -> int:
        """Cells that are not missing."""
        return self.rows - self.missing


class SeriesFacts(Facts):
    """Facts of a column in memory, each worked out when it is asked for."""

    def __init__(self, series: pd.Series) -> None:
        """Arguments: series: all cells."""
        self.series, self._present = series, series.dropna()
        self.rows, self.missing = len(series), len(series) - len(self._present)

    @cached_property
    def distinct(self) -> int:  # type: ignore[override]
        """See `Facts`."""
        return int(self._present.nunique())

    @cached_property
    def low(self) -> Any:  # type: ignore[override]  # noqa: ANN401
        """See `Facts`."""
        return self._present.min()

    @cached_property
    def high(self) -> Any:  # type: ignore[override]  # noqa: ANN401
        """See `Facts`."""
        return self._present.max()

    @cached_property
    def is_increasing(self) -> bool:  # type: ignore[override]
        """See `Facts`."""
        return bool(self.series.is_monotonic_increasing)

    @cached_property
    def is_decreasing(self) -> bool:  # type: ignore[override]
        """See `Facts`."""
        return bool(self.series.is_monotonic_decreasing)

    @cached_property
    def decimals(self) -> int | None:  # type: ignore[override]
        """See `Facts`."""
        return find_decimals(self._present)

    @cached_property
    def formats(self) -> Sequence[str]:  # type: ignore[override]
        """See `Facts`."""
        if is_text(self.series):
            found = list(fitting(self._present))
        else:
            found = list(fitting_digits(self._present.to_numpy(dtype=np.float64))) if len(self._present) else []
        return [in_century(format, years_of(self._present, format)) for format in found]

    def words(self, format: str) -> Mapping[str, int]:
        """See `Facts`."""
        text = self._present.astype(str)
        found = text[text.map(lambda word: stands_for_none(word, format))].value_counts()
        return {str(word): int(count) for word, count in found.items()}

    @cached_property
    def numbers(self) -> NumberEvidence | None:  # type: ignore[override]
        """See `Facts`."""
        return NumberEvidence.of(self._present) if is_text(self.series) else None


class GatheredFacts(Facts):
    """Facts of a column that comes in pieces.

    Distinct values are counted by the smallest of their hashes (Bar-Yossef et al., 2002): exactly up to `HASHES`, then
    estimated from how densely the smallest lie. Each of them is counted in all rows, so that a column passes for unique
    only if none of these thousands of values, drawn from all of them by chance, occurs twice.
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.rows = self.missing = 0
        self.low = self.high = None
        self.is_increasing = self.is_decreasing = True
        self.decimals: int | None = 0
        self._formats: list[str] | None = None
        self._years: dict[str, set[int]] = {}
        self._words: dict[str, int] = {}
        self._evidence: NumberEvidence | None = NumberEvidence()
        self._hashes, self._counts = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
        self._last: Any = None

    def update(self, series: pd.Series) -> None:
        """Looks at further cells."""
        counts = series.value_counts(sort=False)
        counts = counts[counts > 0]
        self.rows, self.missing = self.rows + len(series), self.missing + len(series) - int(counts.sum())
        if not len(counts):
            return
        values = pd.Series(counts.index)
        self._add_hashes(pd.util.hash_pandas_object(values, index=False).to_numpy(), counts.to_numpy())
        if is_text(series):
            self._formats = list(fitting(values, self._formats))
            for format in self._formats[:1]:
                for word in (word for word in values.astype(str) if stands_for_none(word, format)):
                    self._words[word] = self._words.get(word, 0) + int(counts[word])
            self._evidence = None if self._evidence is None else self._evidence.updated(values)
        elif pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
            self._see_numbers(series, values)
        for format in self._formats or []:
            self._years.setdefault(format, set()).update(years_of(values, format))

    def _see_numbers(self, series: pd.Series, values: pd.Series) -> None:
        low, high = values.min(), values.max()
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)
        if pd.api.types.is_integer_dtype(series.dtype):
            cells = series if self._last is None else pd.concat([pd.Series([self._last]), series])
            self.is_increasing = self.is_increasing and bool(cells.is_monotonic_increasing)
            self.is_decreasing = self.is_decreasing and bool(cells.is_monotonic_decreasing)
            self._last = series.iloc[-1]
            known = COMPACT if self._formats is None else self._formats
            self._formats = list(fitting_digits(values.to_numpy(dtype=np.float64), known)) if known else []
        elif self.decimals is not None:
            found = find_decimals(values)
            self.decimals = None if found is None else max(found, self.decimals)

    def _add_hashes(self, hashes: np.ndarray, counts: np.ndarray) -> None:
        if len(self._hashes) == HASHES:
            near = hashes <= self._hashes[-1]
            hashes, counts = hashes[near], counts[near]
        merged, place = np.unique(np.concatenate([self._hashes, hashes]), return_inverse=True)
        total = np.bincount(place, weights=np.concatenate([self._counts, counts])).astype(np.int64)
        self._hashes, self._counts = merged[:HASHES], total[:HASHES]

    @property
    def is_exact(self) -> bool:
        """Whether `distinct` is no estimate."""
        return len(self._hashes) < HASHES

    @property
    def distinct(self) -> int:  # type: ignore[override]
        """See `Facts`; an estimate has three digits."""
        if self.is_exact:
            return len(self._hashes)
        if self._counts.max() == 1:
            return self.present
        estimate = (HASHES - 1) / (float(self._hashes[-1]) / 2.0**64)
        digits = max(len(str(int(estimate))) - 3, 0)
        return min(round(estimate, -digits).__int__(), self.present - 1)

    @property
    def formats(self) -> Sequence[str]:  # type: ignore[override]
        """See `Facts`."""
        return [in_century(format, self._years.get(format, ())) for format in self._formats or []]

    def words(self, format: str) -> Mapping[str, int]:
        """See `Facts`."""
        return dict(sorted(self._words.items(), key=lambda item: (-item[1], item[0])))

    @property
    def numbers(self) -> NumberEvidence | None:  # type: ignore[override]
        """See `Facts`."""
        return self._evidence if self._evidence is not None and self._evidence.seen else None
