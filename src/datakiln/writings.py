"""How the cells of a column are written: what number or date each of them is, and back to the same writing.

A number's writing is told as spreadsheets tell it, with the sign of what is below zero behind a semicolon where it is
not a plain minus in front: `$#,##0.00`, `0.0#`, `#.##0,00 €`, `0%`, `+0.0;-0.0`, `(…)`. Signs such as % or $ do not
change the number: 12.5% is 12.5. `[=1]0 day;0 days` writes 1 day and 2 days, `#,##,##0` counts in lakhs, `0.00E+00`
gives a power of ten. A date's writing is told as `strptime` tells it, with `%-d` for days, months and hours without
their zero, `%P` for am and pm in small letters, `%^b` and `%~b` for months in capitals and in small letters, `%q` for
quarters, `%3f` for milliseconds, `%1950y` for two digits of the years from 1950 to 2049, and "ISO8601" (in UTC
"ISO8601%z") where the resolution of cells differs. A duration's is one of `durations.DURATIONS`, its number is seconds.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from datakiln.durations import DURATIONS, duration_seconds, write_duration
from datakiln.errors import UserError
from datakiln.schema import Field

TEMPLATE = re.compile(
    r"(?P<prefix>[^#0;]*?)"
    r"(?P<whole>\#(?P<group>[,.' \u00a0\u202f\u2019\u2009])(?P<lakh>\#\#(?P=group))?\#\#0|0|\#(?=[.,]0))"
    r"(?:(?P<point>[.,])(?P<places>0*\#*))?(?P<power>[Ee]\+00)?"
    r"(?P<suffix>[^#0;]*)"
)
SINGLE = "[=1]"  # before what 1 is written as, where it is written otherwise
MOST_PLACES = 15  # digits after the point that a float can tell


def is_text(series: pd.Series) -> bool:
    """Whether cells are strings (or a mixture of Python values, which is treated as such)."""
    return isinstance(series.dtype, pd.StringDtype) or series.dtype == object


@dataclass(frozen=True)
class NumberWriting:
    """How numbers are written.

    Attributes:
        above: What stands before and behind a number from zero.
        below: The same for the magnitude of a number below zero.
        group: Between groups of three digits; "" for nothing.
        point: Before the decimals.
        least: Decimals that are always there.
        most: Decimals that there can be.
        bare: Whether the zero before the point is left out.
        lakh: Whether groups before the last one have two digits, as in India.
        power: "E+00" or "e+00" where one digit stands before the point and a power of ten behind; else "".
        one: What stands before and behind 1 where it is not as `above`, such as ("", " day"); None for the same.
    """

    above: tuple[str, str] = ("", "")
    below: tuple[str, str] = ("-", "")
    group: str = ""
    point: str = "."
    least: int = 0
    most: int = 0
    bare: bool = False
    lakh: bool = False
    power: str = ""
    one: tuple[str, str] | None = None

    @classmethod
    def of(cls, template: str) -> NumberWriting:
        """The writing that a template tells; raises `UserError` for one that tells none."""
        parts = template.split(";")
        single = TEMPLATE.fullmatch(parts.pop(0).removeprefix(SINGLE)) if template.startswith(SINGLE) else None
        if template.startswith(SINGLE) and (single is None or not parts):
            parts = [SINGLE]
        found = TEMPLATE.fullmatch(parts[0])
        other = TEMPLATE.fullmatch(parts[1]) if len(parts) == 2 else found
        if len(parts) > 2 or found is None or other is None or (found["group"] and found["group"] == found["point"]):
            raise UserError(
                f"format={template!r} is no writing of numbers; write one such as '$#,##0.00', '0.0%' or '0,00'"
            )
        places, above = found["places"] or "", (found["prefix"], found["suffix"])
        below = (other["prefix"], other["suffix"]) if len(parts) == 2 else (f"-{above[0]}", above[1])
        bare, least = found["whole"] == "#", places.count("0")
        lakh, power = bool(found["lakh"]), found["power"] or ""
        one = None if single is None else (single["prefix"], single["suffix"])
        group, point = found["group"] or "", found["point"] or "."
        return cls(above, below, group, point, least, len(places), bare, lakh, power, one)

    def __str__(self) -> str:
        """The template."""
        lakh = f"##{self.group}" if self.lakh else ""
        whole = f"#{self.group}{lakh}##0" if self.group else "#" if self.bare else "0"
        places = "0" * self.least + "#" * (self.most - self.least)
        body = f"{whole}{self.point}{places}{self.power}" if places else f"{whole}{self.power}"
        single = "" if self.one is None else f"{SINGLE}{self.one[0]}{body}{self.one[1]};"
        first = f"{single}{self.above[0]}{body}{self.above[1]}"
        if self.below == (f"-{self.above[0]}", self.above[1]):
            return first
        return f"{first};{self.below[0]}{body}{self.below[1]}"

    def _pattern(self, affixes: tuple[str, str]) -> str:
        group = re.escape(self.group)
        whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)" if group else r"\d+"
        whole = rf"(?:\d{{1,2}}(?:{group}\d\d)*{group}\d{{3}}|\d+)" if self.lakh else whole
        point, power = re.escape(self.point), r"(?:[eE][+-]?\d+)?" if self.power else ""
        return rf"^{re.escape(affixes[0])}(?:{whole}(?:{point}\d*)?|{point}\d+){power}{re.escape(affixes[1])}$"

    def read(self, cells: pd.Series) -> np.ndarray:
        """Text cells as float64; NaN where one is missing or written otherwise. Affixes may be left out."""
        text = pa.array(cells.astype(object), type=pa.string(), from_pandas=True)
        coded = text.dictionary_encode()
        words = coded.dictionary
        made = np.full(len(words) + 1, np.nan)  # the last is for missing cells
        shapes = [(self.below, -1.0), (self.above, 1.0), *([] if self.one is None else [(self.one, 1.0)])]
        if self.above != ("", "") or self.below != ("-", ""):
            shapes += [(("-", ""), -1.0), (("", ""), 1.0)]
        for (before, behind), sign in shapes:
            fits = pc.match_substring_regex(words, self._pattern((before, behind)))
            at = np.flatnonzero(fits.to_numpy(zero_copy_only=False) & np.isnan(made[:-1]))
            if len(at):
                body = pc.utf8_slice_codeunits(words.take(pa.array(at)), len(before), -len(behind) or None)
                made[at] = sign * _floats(body, self.group, self.point)
        places = (
            coded.indices.to_numpy(zero_copy_only=False) if not coded.indices.null_count else _filled(coded.indices)
        )
        return made[places.astype(np.int64)]

    def write(self, values: np.ndarray) -> list[str | None]:
        """Numbers as text, None for NaN; rounded to the decimals that there can be.

        A zero below zero keeps its sign, as `-0.0%` that a file has; what is rounded to zero here has none.
        """
        kept = values if self.power else np.round(values, min(self.most, MOST_PLACES))
        kept = np.where((kept == 0) & (values != 0), 0.0, kept)
        return [None if value != value else self._one(value) for value in kept.tolist()]

    def _one(self, value: float) -> str:
        digits = f"{abs(value):{',' if self.group else ''}.{self.most}{'e' if self.power else 'f'}}"
        digits, _, power = digits.partition("e")
        whole, _, places = digits.partition(".")
        places = places[: self.least] + places[self.least :].rstrip("0")
        whole = _in_lakhs(whole) if self.lakh else whole
        whole = whole.replace(",", self.group) if self.group else whole
        if self.bare and whole == "0" and places:
            whole = ""
        before, behind = self.below if math.copysign(1.0, value) < 0 else self.above
        before, behind = self.one if self.one is not None and value == 1 else (before, behind)
        power = f"{self.power[0]}{power}" if power else ""
        return f"{before}{whole}{self.point if places else ''}{places}{power}{behind}"


def _in_lakhs(whole: str) -> str:
    """1,234,567 as 12,34,567."""
    digits = whole.replace(",", "")
    return re.sub(r"(?<=\d)(?=(?:\d\d)+$)", ",", digits[:-3]) + f",{digits[-3:]}" if len(digits) > 3 else digits


def _filled(indices: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(indices.cast(pa.int64()), -1))


def _floats(body: pa.Array, group: str, point: str) -> np.ndarray:
    if group:
        body = pc.replace_substring(body, group, "")
    if point != ".":
        body = pc.replace_substring(body, point, ".")
    return pc.cast(body, pa.float64()).to_numpy(zero_copy_only=False)


@functools.lru_cache(maxsize=512)
def number_writing(template: str) -> NumberWriting:
    """See `NumberWriting.of`."""
    return NumberWriting.of(template)


FRACTION = re.compile(r"%(\d)f")
CASED = re.compile(r"%([~^])([abAB])")
CENTURY = re.compile(r"%(\d{4})y")
# marks in what strftime is given, since it knows no such tokens everywhere
UNPADDED, SHORT, LOWER, UPPER, QUARTER = "\x01", "\x02", "\x03", "\x04", "\x05"


def plain_format(format: str) -> str:
    """A date's writing as `strptime` knows it, but for quarters and weeks; see `_of_periods`."""
    format = CENTURY.sub("%y", FRACTION.sub("%f", format))
    return CASED.sub(r"%\2", format.replace("%-", "%").replace("%P", "%p"))


def _from_year(dates: pd.Series, first: int) -> pd.Series:
    """Dates of years of two digits moved by centuries into the hundred years from the first; missing where no such day.

    There is no 29 February 1900, though one of 2000.
    """
    stamps = dates.to_numpy(dtype="datetime64[us]")
    months = stamps.astype("datetime64[M]")
    years = dates.dt.year.to_numpy(dtype=np.float64, na_value=np.nan)
    moved = np.nan_to_num(first + (years - first) % 100 - years).astype(np.int64)
    made = (months + 12 * moved).astype("datetime64[us]") + (stamps - months.astype("datetime64[us]"))
    made[made.astype("datetime64[M]") != months + 12 * moved] = np.datetime64("NaT")
    return pd.Series(made, index=dates.index, name=dates.name)


def _of_periods(series: pd.Series, format: str) -> tuple[pd.Series, str]:
    """Quarters and weeks as the day that they begin with: Q2 as Q04, the month, and 2021-W18 as 2021-W18-1."""
    if "%q" in format:
        text = series.astype("str").str.replace(r"Q([1-4])(?!\d)", lambda m: f"Q{3 * int(m[1]) - 2:02d}", regex=True)
        return text.where(text.str.contains(r"Q\d\d", na=False)), format.replace("%q", "%m")
    if "%V" in format and "%u" not in format:
        return series.astype("str") + "-1", f"{format}-%u"
    return series, format


def dates_of(series: pd.Series, format: str | None) -> pd.Series:
    """Cells as datetimes without time zone, in UTC where they have one; missing where a cell is written otherwise.

    Arguments:
        series: Text, whole numbers such as 20211210, or real dates.
        format: See the module; None for real dates, or for text that pandas can read.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.dtype.categories.dtype)
    if pd.api.types.is_numeric_dtype(series.dtype) and format is not None:
        series = _digits(series, format)
    if format is not None and is_text(series):
        series, format = _of_periods(series, format)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        dates = series
    elif format is None:
        dates = pd.to_datetime(series, errors="coerce", utc=True)
    elif format.startswith("ISO8601") or "%z" in format:
        told = "ISO8601" if format.startswith("ISO8601") else plain_format(format)
        dates = pd.to_datetime(series, format=told, errors="coerce", utc=True)
    else:
        dates = pd.to_datetime(series, format=plain_format(format), errors="coerce")
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    first = CENTURY.search(format or "")
    return dates if first is None else _from_year(dates, int(first[1]))


WIDTHS = {"%Y%m%d": 8, "%d%m%Y": 8, "%m%d%Y": 8, "%y%m%d": 6, "%Y%m%d%H%M": 12, "%Y%m%d%H%M%S": 14, "%Y%m": 6}


def _digits(series: pd.Series, format: str) -> pd.Series:
    """Whole numbers as the digits of a date; those that a file keeps without their first zero get it back."""
    whole = series.astype("Int64") if not (series.dropna() % 1).any() else series.where(series % 1 == 0).astype("Int64")
    return whole.astype("str").str.zfill(WIDTHS.get(CENTURY.sub("%y", format), 0)).where(whole.notna())


def write_dates(dates: pd.Series, format: str) -> pd.Series:
    """Datetimes as text in the writing, missing where they are."""
    if format.startswith("ISO8601"):
        zone = "+00:00" if format.endswith("%z") else ""
        return dates.map(lambda date: f"{date.isoformat()}{zone}", na_action="ignore").astype("str")
    told = FRACTION.sub(lambda found: "%f" + SHORT * (6 - int(found[1])), CENTURY.sub("%y", format))
    told = told.replace("%-", f"{UNPADDED}%").replace("%z", "+00:00").replace("%P", f"{LOWER}%p{LOWER}")
    marks = {"~": LOWER, "^": UPPER}
    told = CASED.sub(lambda found: f"{marks[found[1]]}%{found[2]}{marks[found[1]]}", told)
    made = dates.dt.strftime(told.replace("%q", f"{QUARTER}%m"))
    if "%q" in told:
        made = made.str.replace(f"{QUARTER}(\\d\\d)", lambda found: str((int(found[1]) + 2) // 3), regex=True)
    if UPPER in told:
        made = made.str.replace(f"{UPPER}(.*?){UPPER}", lambda found: found[1].upper(), regex=True)
    if LOWER in told:
        made = made.str.replace(f"{LOWER}(.*?){LOWER}", lambda found: found[1].lower(), regex=True)
    if UNPADDED in told:
        made = made.str.replace(f"{UNPADDED}0", "", regex=False).str.replace(UNPADDED, "", regex=False)
    for length in {len(found) for found in re.findall(f"{SHORT}+", told)}:
        made = made.str.replace(rf"\d{{{length}}}{SHORT}{{{length}}}", "", regex=True)
    return made


def numbers_of(series: pd.Series, field: Field) -> np.ndarray:
    """A numeric or datetime column as float64 with NaN for missing; dates since 1970 and durations in seconds."""
    if field.type == "datetime":
        dates = dates_of(series, field.format)
        stamps = dates.to_numpy(dtype="datetime64[us]")
        return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / 1e6)
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return series.dt.total_seconds().to_numpy(dtype=np.float64)
    if field.format is None or not is_text(series):
        return pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if field.format in DURATIONS:
        writing = field.format
        read = {text: duration_seconds(str(text), writing) for text in series.dropna().unique()}
        return series.astype(object).map(read, na_action="ignore").to_numpy(dtype=np.float64, na_value=np.nan)
    if series.dtype != object:
        return number_writing(field.format).read(series)
    is_word = series.map(lambda cell: isinstance(cell, str))  # others are numbers already
    numbers = pd.to_numeric(series.mask(is_word), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(is_word, number_writing(field.format).read(series.where(is_word)), numbers)


def cells_of(values: np.ndarray, field: Field) -> pd.Series:
    """Inverse of `numbers_of`, rounded to the decimals, in the dtype and writing of the field; no zero has a sign."""
    dtype: Any = field.dtype
    values = (values if field.decimals is None else np.round(values, field.decimals)) + 0.0
    if field.type == "datetime":
        return _date_cells(values, field)
    if field.dtype.startswith("timedelta64"):
        stamps = np.where(np.isnan(values), np.iinfo(np.int64).min, np.round(np.nan_to_num(values) * 1e6))
        return pd.Series(stamps.astype(np.int64).view("timedelta64[us]"), name=field.name).astype(dtype)
    if field.format is not None and _holds_text(field):
        return pd.Series(written(values, field.format), name=field.name, dtype=dtype)
    is_plain = isinstance(pd.api.types.pandas_dtype(field.dtype), np.dtype)
    if is_plain and pd.api.types.is_integer_dtype(field.dtype) and np.isfinite(values).all():
        return pd.Series(to_integers(values, np.dtype(field.dtype)), name=field.name)
    return pd.Series(values, name=field.name).astype(dtype)


def written(values: np.ndarray, format: str) -> list[str | None]:
    """Numbers as text in a writing of numbers or durations, None for NaN."""
    if format in DURATIONS:
        return [None if value != value else write_duration(value, format) for value in values.tolist()]
    return number_writing(format).write(values)


def _holds_text(field: Field) -> bool:
    if field.dtype == "category":
        return False
    dtype = pd.api.types.pandas_dtype(field.dtype)
    return isinstance(dtype, pd.StringDtype) or pd.api.types.is_object_dtype(dtype)


def _date_cells(values: np.ndarray, field: Field) -> pd.Series:
    dtype: Any = field.dtype
    known = np.isfinite(values)
    micros = np.where(known, np.round(np.where(known, values, 0.0) * 1e6), np.iinfo(np.int64).min).astype(np.int64)
    dates = pd.Series(micros.view("datetime64[us]"), name=field.name)
    if field.format is not None:
        text = write_dates(dates, field.format)
        if _holds_text(field):
            return text.astype(dtype)
        whole = text.astype("Int64")
        if field.placeholders:  # digits such as 0 that stand for no date
            whole, known = whole.fillna(int(field.placeholders[0][0])), np.ones(len(known), dtype=bool)
        return whole.astype(dtype) if known.all() or not dtype.startswith(("int", "uint")) else whole
    if "," in field.dtype:  # datetime64[us, Europe/Paris]
        return dates.dt.tz_localize("UTC").astype(dtype)
    return dates.astype(dtype)


def to_integers(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Whole numbers in an integer dtype; what is outside its range takes the nearest end instead of wrapping round."""
    limits = np.iinfo(dtype)
    over = values >= float(limits.max)  # for 64 bits the float is one above the limit: it must not be cast
    whole = np.where(over, 0.0, np.maximum(values, float(limits.min))).astype(dtype)
    return np.where(over, dtype.type(limits.max), whole)
