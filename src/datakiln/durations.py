"""How durations are written: 36:30:00, 1:24:10.915, 2:35.87, 3 days 04:00:00, PT1H30M, 1h 30m. Their number is seconds.

A clock's writing is told as spreadsheets tell it: `[h]:mm:ss` counts hours beyond a day, `[hh]` with two digits at
least, `[m]:ss.00` minutes with hundredths of a second, and `[h:]mm:ss` leaves out the hours where there are none.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

DAYS_WORD = re.compile(r"(-?\d+) days?,? (?:\+)?(\d\d):(\d\d):(\d\d(?:\.\d+)?)")
ISO = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
WHOLE_ISO = re.compile(r"(-?)PT(\d+)H(\d+)M(\d+(?:\.\d+)?)S")
UNITS = re.compile(r"(-?)(\d+)h (\d+)m(?: (\d+)s)?")
CLOSE_UNITS = re.compile(r"(-?)(\d+)h(\d\d)m?")
MINUTES_ISO = re.compile(r"(-?)PT(\d+)M(\d+(?:\.\d+)?)S")
HOURS_ISO = re.compile(r"(-?)PT(\d+)H(\d+)M")
ONE_ISO = re.compile(r"(-?)PT(\d+(?:\.\d+)?)([HMS])")
ISO_SECONDS = {"H": 3600, "M": 60, "S": 1}
PYTHON = re.compile(r"(?:(-?\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
CLOCKS = ("[h]:mm:ss", "[hh]:mm:ss", "[m]:ss", "[mm]:ss", "[h:]mm:ss", "[h:]m:ss")
DURATIONS = (
    *(f"{clock}.{'0' * places}" for places in range(1, 7) for clock in CLOCKS),
    "[h]:mm:ss", "[h]:mm", "d days hh:mm:ss", "PnDTnHnMnS", "PTnHnMnS", "[h]h [m]m", "d days, h:mm:ss",
    "[h]h [m]m [s]s", "[h]h[mm]m", "[h]h[mm]", "PT[m]M[s]S", "[h]h [mm]m", "[h]h [mm]m [ss]s", "PT[h]HnMnS", "PTnHnM",
    "PT[m]M", "PT[s]S", "[hh]:mm:ss", "[hh]:mm", "[h:]mm:ss", "[h:]m:ss",
)  # fmt: skip
CLOCK = re.compile(r"\[(hh?|mm?|h:)\](:?)(mm?|)(:ss|ss|)(?:\.(0+))?")


class _Clock(NamedTuple):
    """Numbers with colons between them.

    Attributes:
        first: What the writing begins with: "h", "hh", "m", "mm", or "h:" for hours that may be left out.
        width: Digits of minutes at least, where no hours stand before them.
        has_seconds: Whether seconds end it.
        places: Decimals of the seconds; None for as many as there are.
    """

    first: str
    width: int
    has_seconds: bool
    places: int | None

    def read(self, text: str) -> float:
        """See `duration_seconds`."""
        fraction = r"(?:\.\d+)?" if self.places is None else rf"\.\d{{{self.places}}}"
        ends = rf"[0-5]\d{fraction}" if self.has_seconds else r"[0-5]\d"
        found = re.fullmatch(rf"(-?)((?:\d+:)*)({ends})", text)
        if found is None:
            return float("nan")
        parts = [*(int(part) for part in found[2].split(":") if part), float(found[3])]
        wanted = 2 if not self.has_seconds or self.first.startswith("m") else 3
        if len(parts) != wanted and not (self.first == "h:" and len(parts) == wanted - 1):
            return float("nan")
        total = 0.0
        for part in parts:
            total = 60.0 * total + part
        total = total if self.has_seconds else 60.0 * total
        return -total if found[1] else total

    def write(self, seconds: float) -> str:
        """See `write_duration`; rounded to the decimals."""
        unit = 60.0 if not self.has_seconds else 10.0 ** -(6 if self.places is None else self.places)
        size = round(abs(seconds) / unit)
        sign = "-" if seconds < 0 and size else ""
        if not self.has_seconds:
            return f"{sign}{size // 60:0{len(self.first)}d}:{size % 60:02d}"
        whole, rest = divmod(size, round(1 / unit))
        minutes, second = divmod(whole, 60)
        digits = 6 if self.places is None else self.places
        fraction = f".{rest:0{digits}d}" if digits else ""
        ends = f"{second:02d}{fraction.rstrip('0').rstrip('.') if self.places is None else fraction}"
        if self.first.startswith("m") or (self.first == "h:" and minutes < 60):
            return f"{sign}{minutes:0{self.width}d}:{ends}"
        hours, minutes = divmod(minutes, 60)
        return f"{sign}{hours:0{2 if self.first == 'hh' else 1}d}:{minutes:02d}:{ends}"


@functools.lru_cache(maxsize=128)
def _clock(writing: str) -> _Clock | None:
    """The writing as a clock's; None for another."""
    found = CLOCK.fullmatch(writing)
    if found is None:
        return None
    first, width = found[1], len(found[3]) if found[1] == "h:" else len(found[1])
    return _Clock(first, width, "ss" in writing, len(found[5]) if found[5] else None)


def duration_seconds(text: str, writing: str) -> float:
    """The seconds of a duration in one of `DURATIONS`; NaN if it is written otherwise."""
    if (clock := _clock(writing)) is not None:
        return clock.read(text)
    if writing == "d days hh:mm:ss" and (found := DAYS_WORD.fullmatch(text)):
        return int(found[1]) * 86400 + int(found[2]) * 3600 + int(found[3]) * 60 + float(found[4])
    if (
        writing in ("PnDTnHnMnS", "PT[h]HnMnS")
        and len(text) > 2
        and not text.endswith("T")
        and (found := ISO.fullmatch(text))
    ):
        days, hours, minutes = (int(found[i] or 0) for i in (2, 3, 4))
        return (-1.0 if found[1] else 1.0) * (days * 86400 + hours * 3600 + minutes * 60 + float(found[5] or 0))
    if writing == "PTnHnMnS" and (found := WHOLE_ISO.fullmatch(text)):
        return (-1.0 if found[1] else 1.0) * (int(found[2]) * 3600 + int(found[3]) * 60 + float(found[4]))
    if writing in ("[h]h [m]m", "[h]h [m]m [s]s", "[h]h [mm]m", "[h]h [mm]m [ss]s") and (
        found := UNITS.fullmatch(text)
    ):
        return (-1.0 if found[1] else 1.0) * (int(found[2]) * 3600 + int(found[3]) * 60 + int(found[4] or 0))
    if writing in ("[h]h[mm]m", "[h]h[mm]") and (found := CLOSE_UNITS.fullmatch(text)):
        return (-1.0 if found[1] else 1.0) * (int(found[2]) * 3600 + int(found[3]) * 60)
    if writing == "PTnHnM" and (found := HOURS_ISO.fullmatch(text)):
        return (-1.0 if found[1] else 1.0) * (int(found[2]) * 3600 + int(found[3]) * 60)
    if writing in ("PT[m]M", "PT[s]S") and (found := ONE_ISO.fullmatch(text)) and found[3] == writing[-1]:
        return (-1.0 if found[1] else 1.0) * float(found[2]) * ISO_SECONDS[found[3]]
    if writing == "PT[m]M[s]S" and (found := MINUTES_ISO.fullmatch(text)):
        return (-1.0 if found[1] else 1.0) * (int(found[2]) * 60 + float(found[3]))
    if writing == "d days, h:mm:ss" and (found := PYTHON.fullmatch(text)):
        return int(found[1] or 0) * 86400 + int(found[2]) * 3600 + int(found[3]) * 60 + float(found[4])
    return float("nan")


def write_duration(seconds: float, writing: str) -> str:
    """Inverse of `duration_seconds`, to the microsecond."""
    if (clock := _clock(writing)) is not None:
        return clock.write(seconds)
    micros = round(seconds * 1e6)
    sign, size = ("-", -micros) if micros < 0 else ("", micros)
    if writing == "d days hh:mm:ss":  # days carry the sign, as in pandas
        days, rest = divmod(micros, 86_400_000_000)
        hours, rest = divmod(rest, 3_600_000_000)
        return f"{days} days {hours:02d}:{rest // 60_000_000:02d}:{_seconds(rest % 60_000_000, 2)}"
    if writing == "d days, h:mm:ss":  # as Python's own
        days, rest = divmod(micros, 86_400_000_000)
        hours, rest = divmod(rest, 3_600_000_000)
        before = f"{days} day{'' if abs(days) == 1 else 's'}, " if days else ""
        micro = f".{rest % 1_000_000:06d}" if rest % 1_000_000 else ""
        return f"{before}{hours}:{rest // 60_000_000:02d}:{rest // 1_000_000 % 60:02d}{micro}"
    if writing == "PT[m]M[s]S":
        return f"{sign}PT{size // 60_000_000}M{_seconds(size % 60_000_000, 1)}S"
    if writing == "PT[s]S":
        return f"{sign}PT{_seconds(size, 1)}S"
    if writing in ("PnDTnHnMnS", "PT[h]HnMnS"):
        days, rest = divmod(size, 86_400_000_000) if writing == "PnDTnHnMnS" else (0, size)
        hours, rest = divmod(rest, 3_600_000_000)
        minutes, rest = divmod(rest, 60_000_000)
        parts = [(hours, f"{hours}H"), (minutes, f"{minutes}M"), (rest, f"{_seconds(rest, 1)}S")]
        time = "".join(text for number, text in parts if number)
        day = f"{days}D" if days else ""
        return f"{sign}P{day}{'T' + time if time else ''}" if day or time else "PT0S"
    hours, rest = divmod(size, 3_600_000_000)
    if writing == "PTnHnMnS":  # the parts that are 0 as well
        return f"{sign}PT{hours}H{rest // 60_000_000}M{_seconds(rest % 60_000_000, 1)}S"
    if writing == "PTnHnM":
        return f"{sign}PT{hours}H{rest // 60_000_000}M"
    if writing == "PT[m]M":
        return f"{sign}PT{size // 60_000_000}M"
    if writing.startswith("[h]h ["):
        width = 2 if "[mm]" in writing else 1
        second = f" {rest // 1_000_000 % 60:0{width}d}s" if writing.endswith("s") else ""
        return f"{sign}{hours}h {rest // 60_000_000:0{width}d}m{second}"
    if writing in ("[h]h[mm]m", "[h]h[mm]"):
        return f"{sign}{hours}h{rest // 60_000_000:02d}{writing[8:]}"
    raise ValueError(writing)


def _seconds(micros: int, width: int) -> str:
    whole, rest = divmod(micros, 1_000_000)
    return f"{whole:0{width}d}" + (f".{rest:06d}".rstrip("0") if rest else "")
