"""Text cells that are numbers with signs, such as `$1,234.50`, `12.5%`, `69,41`, `3 kg` or `1:30:00`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from datakiln.durations import DURATIONS, duration_seconds, write_duration
from datakiln.writings import NumberWriting

CELL = re.compile(r"(?P<before>[^\d,.]*)(?P<body>\d(?:[\d,.'\u2019 \u00a0\u202f\u2009]*\d)?|[.,]\d+)(?P<behind>\D*)")
SEPARATORS = (  # between groups of three digits, and before the decimals
    ("", "."), (",", "."), ("", ","), (".", ","), (" ", ","), ("\u00a0", ","), ("\u202f", ","), (" ", "."),
    ("'", "."), ("\u2019", "."), ("\u202f", "."), ("\u2009", ","), ("\u2009", "."), ("'", ","), ("\u2019", ","),
)  # fmt: skip
CURRENCY = re.compile(
    r"[$€£¥₹₽₩₺₫₴₦₱฿₪]|(?:US|CA|AU|NZ|HK|R|C|A)\$|USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|RMB|INR|SEK|NOK|DKK|PLN|CZK|HUF|RON|"
    r"RUB|BRL|MXN|ZAR|TRY|KRW|SGD|HKD|THB|ILS|kr\.?|Rs\.?|zł|Kč|Ft|euros?|dollars?",
    re.IGNORECASE,
)
SHARE = re.compile(r"[%‰]|percent|pct\.?", re.IGNORECASE)
UNIT = re.compile(r"[a-zµμ°Ω²³/·^]{1,8}\.?(?: [a-zµμ°Ω²³/·^]{1,8}\.?)?", re.IGNORECASE)  # also `sq ft`, `° N`
WORD = 3  # letters of a unit that is no abbreviation
MINUS = ("-", "\u2212")
PHONE_DIGITS = 7  # whole numbers so long that always begin with + are numbers to be called


class _Places:
    """What one pair of separators makes of the decimals."""

    def __init__(self, group: str, point: str, lakh: bool = False) -> None:
        self.group, self.point, self.lakh = group, point, lakh
        parts = rf"[1-9]\d{{0,2}}(?:{re.escape(group)}\d{{3}})+|[1-9]\d{{0,2}}|0" if group else r"0|[1-9]\d*"
        parts = r"[1-9]\d?(?:,\d\d)*,\d{3}|[1-9]\d{0,2}|0" if lakh else parts
        self.pattern = re.compile(rf"({parts}|(?={re.escape(point)}))(?:{re.escape(point)}(\d+))?")
        self.least, self.most, self.ended, self.digits = 99, 0, 0, 0
        self.grouped = self.whole = self.is_bare = False
        self.threes = True  # whatever stands behind a separator is three digits

    def fits(self, body: str) -> bool:
        found = self.pattern.fullmatch(body)
        if found is None:
            return False
        places = found[2] or ""
        self.least, self.most = min(self.least, len(places)), max(self.most, len(places))
        self.ended = max(self.ended, len(places)) if places.endswith("0") else self.ended
        self.grouped |= bool(self.group) and self.group in found[1]
        self.whole |= not places
        self.is_bare |= not found[1]
        self.digits = max(self.digits, len(found[1]))
        self.threes &= len(places) in (0, 3)
        return True


class NumberEvidence:
    """What the cells of a text column say of numbers, gathered piece by piece.

    Attributes:
        seen: Whether any cell has been looked at.
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.seen = False
        self._places = [*(_Places(*pair) for pair in SEPARATORS), _Places(",", ".", lakh=True)]
        self._above: set[tuple[str, str]] = set()
        self._one: set[tuple[str, str]] = set()  # around 1, which may be a day where others are days
        self._below: set[tuple[str, str]] = set()
        self._zero: set[tuple[str, str]] = set()
        self._minus_zero: set[tuple[str, str]] = set()  # what rounding leaves of small numbers below zero
        self._durations = list(DURATIONS)

    @classmethod
    def of(cls, values: pd.Series) -> NumberEvidence | None:
        """What all these cells say; None where one of them is no such number."""
        made = cls().updated(values)
        return made if made is not None and made.seen else None

    def updated(self, values: pd.Series) -> NumberEvidence | None:
        """Itself after further cells (none missing), or None once a cell is neither such a number nor a duration."""
        for value in values.unique():
            self.seen = True
            text = str(value)
            self._durations = [w for w in self._durations if _is_duration(text, w)]
            if not self._see(text):
                self._places = []
            if not self._places and not self._durations:
                return None
        return self

    def _see(self, text: str) -> bool:
        found = CELL.fullmatch(text) if len(text) <= 40 and self._places else None
        if found is None:
            return False
        affixes = (found["before"], found["behind"])
        self._places = [places for places in self._places if places.fits(found["body"])]
        if not found["body"].strip("0.,"):
            (self._zero if _magnitude(affixes) is None else self._minus_zero).add(affixes)
        elif _magnitude(affixes) is not None:
            self._below.add(affixes)
        else:
            (self._one if found["body"] == "1" else self._above).add(affixes)
        return bool(self._places) and max(len(self._above), len(self._below), len(self._one)) <= 1

    def writing(self) -> tuple[str, bool, bool] | None:
        """The template, whether all numbers are whole, and whether the sign is a unit of measurement; None if none."""
        found = self._number_writing()
        return (self._durations[0], False, False) if found is None and self._durations else found

    def _number_writing(self) -> tuple[str, bool, bool] | None:
        places = self._chosen()
        if places is None:
            return None
        above, one = next(iter(self._above or self._one or self._zero), None), next(iter(self._one), None)
        if above is None or one is None or one == above:
            one = None
        elif not (_kind(one) == _kind(above) == "unit" and _is_plural(one[1].strip(), above[1].strip())):
            return None
        below = next(iter(self._below or self._minus_zero), None)
        signed = above is not None and above[0].startswith("+")
        plain = (above[0].removeprefix("+"), above[1]) if above is not None else None
        magnitude = None if below is None else _magnitude(below)
        if plain is None or (magnitude is not None and plain != magnitude):
            if magnitude is None or plain is not None:
                return None
            plain = magnitude
        if not {below} >= self._minus_zero:
            return None
        if self._above and not {(f"{'+' if signed else ''}{plain[0]}", plain[1]), plain} >= self._zero:
            return None
        kind = _kind(plain)
        if kind is None or (signed and below is None and places.most == 0 and places.digits >= PHONE_DIGITS):
            return None
        if kind == "" and not (places.grouped or places.point == "," or signed or (below and below[0] != "-")):
            return None  # as plain as numbers are: whatever made it text is not known here
        writing = NumberWriting(
            (f"{'+' if signed else ''}{plain[0]}", plain[1]),
            below or (f"-{plain[0]}", plain[1]),
            places.group if places.grouped else "",
            places.point,
            places.least,
            places.most,
            places.is_bare,
            places.lakh,
            one=one,
        )
        return str(writing), places.most == 0, kind == "unit"

    def _chosen(self) -> _Places | None:
        """The separators: where `1,234` can be two numbers, groups if the comma may stand between them."""
        left = [p for p in self._places if p.ended <= p.least or p.most == 0] or self._places
        grouped = [p for p in left if p.grouped]
        plain = [p for p in left if not p.grouped]
        if grouped and plain:
            is_likely = plain[0].point == "," or plain[0].whole
            return grouped[0] if is_likely and plain[0].threes else plain[0]
        return (grouped or plain or [None])[0]  # type: ignore[list-item]


def _is_duration(text: str, writing: str) -> bool:
    seconds = duration_seconds(text, writing)
    return seconds == seconds and write_duration(seconds, writing) == text


def _magnitude(affixes: tuple[str, str]) -> tuple[str, str] | None:
    """What is left before and behind a number below zero without its sign; None for one that is not below."""
    before, behind = affixes
    if before.count("(") == 1 == behind.count(")"):  # a sign may stand within the brackets or beside them
        return before.replace("(", ""), behind.replace(")", "")
    for sign in MINUS:
        if sign in before and len(before.replace(sign, "", 1)) == len(before) - 1:
            return before.replace(sign, "", 1), behind
        if behind.endswith(sign) and SHARE.search(behind) is None:
            return before, behind.removesuffix(sign)
    return None


def _kind(affixes: tuple[str, str]) -> str | None:
    """What the signs around a number are: "", "money", "share", "unit"; None for anything else."""
    before, behind = (part.strip() for part in affixes)
    if not before and not behind:
        return ""
    if before and not behind:
        return "money" if CURRENCY.fullmatch(before) else "share" if before == "%" else None
    if before:
        return None
    if CURRENCY.fullmatch(behind):
        return "money"
    if SHARE.fullmatch(behind):
        return "share"
    return "unit" if UNIT.fullmatch(behind) else None


def _is_plural(one: str, many: str) -> bool:
    """Whether two units are a word and its plural, as far as looks tell: not kg and km."""
    return many in (f"{one}s", f"{one}es") or (min(len(one), len(many)) >= WORD and one[0] == many[0])


def is_money(sign: str) -> bool:
    """Whether a sign beside a number is that of a currency."""
    return CURRENCY.fullmatch(sign) is not None


MEASUREMENT = re.compile(
    rf"[(<>~≈]?\s?[+-]?(?:(?:{CURRENCY.pattern})\s?)?[+-]?\d+(?:[.,'\u2019]\d+)*(?:e[+-]?\d+)?\s?"
    r"(?:[a-zµμ°Ω²³/%€$£]{1,8}\.?)?(?:\s?\d+\s?(?:[a-z\"']{0,4}))?[)-]?|-",
    re.IGNORECASE,
)
MOSTLY, SOME = 0.8, 0.2


PAIR = re.compile(r"\d+(?:[.,]\d+)?\s?[/|x×:;–-]\s?\d+(?:[.,]\d+)?")


def looks_paired(sample: Iterable[str]) -> bool:
    """Whether most cells are two numbers each, such as 120/80."""
    cells = [PAIR.fullmatch(cell.strip()) is not None for cell in sample]
    return bool(cells) and sum(cells) >= MOSTLY * len(cells)


def looks_measured(sample: Iterable[str]) -> bool:
    """Whether most cells are numbers, some with a sign or a unit, though not written alike."""
    cells = [cell.strip() for cell in sample]
    numbers = [cell for cell in cells if MEASUREMENT.fullmatch(cell) and not re.fullmatch(r"\d+[a-z]+\d\w*", cell)]
    bare = re.compile(r"[+-]?\d+(?:\.\d+)?|(?!\d+[a-zµ]{1,3}$)[^\W_]+", re.IGNORECASE)
    signed = [cell for cell in numbers if not bare.fullmatch(cell)]
    return bool(cells) and len(numbers) >= MOSTLY * len(cells) and len(signed) >= SOME * len(cells)
