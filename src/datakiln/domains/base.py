"""How the text of a condition becomes part of what a column can hold."""

from __future__ import annotations

import abc
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from datakiln.domains.intervals import Interval
from datakiln.errors import UserError
from datakiln.schema import Field

MISSING = "missing"  # the word for a cell without a value, unless the column has it as a category
COMPARISON = re.compile(r"(<=|>=|!=|==|=|<|>)\s*(.*)", re.DOTALL)
SIGNS = ("<", ">", "!", "=")
LISTED = re.compile(r"(?:in\s*)?\[(.*)\]", re.DOTALL)


@dataclass(frozen=True)
class Region:
    """Part of what a column can hold: intervals of a number column, positions of a choice column, the missing cell."""

    intervals: tuple[Interval, ...] = ()
    positions: frozenset[int] = frozenset()
    missing: bool = False

    def __or__(self, other: Region) -> Region:
        """What lies in either."""
        both = dict.fromkeys([*self.intervals, *other.intervals])
        return Region(tuple(both), self.positions | other.positions, self.missing or other.missing)

    def __and__(self, other: Region) -> Region:
        """What lies in both."""
        pairs = [a & b for a in self.intervals for b in other.intervals]
        met = tuple(pair for pair in pairs if not pair.is_empty)
        return Region(met, self.positions & other.positions, self.missing and other.missing)

    @property
    def is_empty(self) -> bool:
        """Whether nothing lies in it."""
        return not (self.intervals or self.positions or self.missing)


class Domain(abc.ABC):
    """All that one column can hold.

    Attributes:
        everything: As a region.
    """

    everything: Region

    def __init__(self, field: Field) -> None:
        """Arguments: field: the column."""
        self.field = field

    @abc.abstractmethod
    def find(self, text: str) -> Region | None:
        """The region of a single value written as text, None if it is not the name of one."""

    @abc.abstractmethod
    def compare(self, sign: str, text: str) -> Region:
        """The present cells that are <, <=, >, >= or != a value; raises `UserError` if that is no question here."""

    @abc.abstractmethod
    def holds(self, region: Region, series: pd.Series) -> np.ndarray:
        """Which cells lie in the region."""

    @abc.abstractmethod
    def single(self, region: Region) -> pd.Series | None:
        """The only cell in the region, as a series of one, or None if there are several."""

    @abc.abstractmethod
    def describe(self) -> str:
        """What the column can hold, to follow "is"."""

    @abc.abstractmethod
    def refuse(self, text: str) -> UserError:
        """What is wrong with a value that is not found."""

    def read(self, wanted: Any) -> Region:
        """The region that a condition describes.

        Arguments:
            wanted: A value; a text such as "red", ">60", ">60&<=70", "red|blue", "!=red", "[red, blue]", "missing"; a
                list or set of them, one of which must hold; {sign: value}, all of which must hold; None for missing.
        """
        if isinstance(wanted, Mapping):
            return self._all(f"{sign}{value}" for sign, value in wanted.items())
        if isinstance(wanted, list | tuple | set | frozenset):
            return reduce(Region.__or__, map(self.read, wanted), Region())
        if wanted is None or wanted is pd.NaT or (isinstance(wanted, float) and math.isnan(wanted)):
            return Region(missing=True)
        return self._text(str(wanted).strip())

    def _all(self, parts: Iterable[str]) -> Region:
        return reduce(Region.__and__, map(self._text, parts), self.everything)

    def _text(self, text: str) -> Region:
        """A value by its full name first, since categories such as "<=50K" or "R&D" look like conditions."""
        found = self.find(text)
        if found is not None:
            return found
        if listed := LISTED.fullmatch(text):
            return self.read([part.strip().strip("'\"") for part in listed[1].split(",")])
        for sign, combined in (("|", self.read), ("&", self._all)):
            if sign in text:
                return combined([part.strip() for part in text.split(sign)])
        compared = COMPARISON.fullmatch(text)
        if compared is None:
            raise self.refuse(text)
        if compared[1] in ("=", "=="):
            return self._value(compared[2])
        if compared[1] == "!=" and compared[2] == MISSING:
            return Region(self.everything.intervals, self.everything.positions)
        return self.compare(compared[1], compared[2])

    def _value(self, text: str) -> Region:
        found = self.find(text)
        if found is None:
            raise self.refuse(text)
        return found
