"""What a column of categories can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import plain_cells
from datakiln.domains.base import MISSING, Domain, Region
from datakiln.domains.numbers import float_in
from datakiln.errors import UserError, near
from datakiln.schema import Field

SHOWN = 20  # categories that a message names


class ChoiceDomain(Domain):
    """One of the categories of the training rows; a constant is the only category of its column.

    Arguments:
        field: The column.
        values: Categories.
        missing: Whether a cell can be missing.
    """

    def __init__(self, field: Field, values: list[Any], missing: bool) -> None:
        """See the class."""
        super().__init__(field)
        self.values = values
        self.places = {str(value): i for i, value in enumerate(values)}
        self.everything = Region(positions=frozenset(range(len(values))), missing=missing)
        is_truth = bool(values) and all(isinstance(value, bool) for value in values)
        self.numbers = None if is_truth else _numbers(values)
        self.truths: dict[bool | None, int] = {}  # positions of true and false in a column of truths
        if field.type == "boolean" or is_truth:
            self.truths = {_truth(value): i for i, value in enumerate(values) if _truth(value) is not None}

    def find(self, text: str) -> Region | None:
        """A category by its name; numbers also written otherwise (1 for 1.0), truths as true, TRUE or 1."""
        if text in self.places:
            return Region(positions=frozenset({self.places[text]}))
        if (truth := _truth(text)) is not None and truth in self.truths:
            return Region(positions=frozenset({self.truths[truth]}))
        if text == MISSING:
            return Region(missing=True)
        number = float_in(text)
        if self.numbers is None or number is None:
            return None
        equal = frozenset(np.flatnonzero(self.numbers == number).tolist())
        return Region(positions=equal) if equal else None

    def compare(self, sign: str, text: str) -> Region:
        """Categories other than the one given; where they have an order, those on one side of it."""
        if sign == "!=":
            return Region(positions=self.everything.positions - self._value(text).positions)
        ranks, limit = self._ranks(text)
        side = {"<": ranks < limit, "<=": ranks <= limit, ">": ranks > limit, ">=": ranks >= limit}[sign]
        return Region(positions=frozenset(np.flatnonzero(side).tolist()))

    def _ranks(self, text: str) -> tuple[np.ndarray, float]:
        order = self.field.order
        if text in order:
            return np.array([order.index(str(value)) for value in self.values]), order.index(text)
        number = float_in(text)
        if self.numbers is not None and number is not None:
            return self.numbers, number
        if order:
            raise self.refuse(text)
        name = self.field.name
        raise UserError(f"condition.{name}: {name} is a category without an order; ask for {name}=..., !=... or a|b")

    def holds(self, region: Region, series: pd.Series) -> np.ndarray:
        """Which cells are one of the categories, or are missing if that is in the region."""
        inside = plain_cells(series).isin([self.values[i] for i in sorted(region.positions)]).to_numpy(dtype=bool)
        return inside | series.isna().to_numpy() if region.missing else inside

    def single(self, region: Region) -> pd.Series | None:
        """The category, if there is but one."""
        if len(region.positions) + region.missing != 1:
            return None
        return pd.Series([self.values[i] for i in region.positions] or [None], name=self.field.name, dtype=object)

    def describe(self) -> str:
        """The first categories."""
        if not self.places:
            return "missing in every training row"
        return f"one of ({self._shown()}), {'or missing' if self.everything.missing else 'never missing'}"

    def _shown(self) -> str:
        return ", ".join([*self.places][:SHOWN]) + (", ..." if len(self.places) > SHOWN else "")

    def refuse(self, text: str) -> UserError:
        """No training row had this."""
        asked = f"condition.{self.field.name}={text}"
        if not self.places:
            return UserError(f"{asked}: the column is missing in every training row")
        return UserError(f"{asked} is not among the training values ({self._shown()}){near(text, self.places)}")


def _truth(value: object) -> bool | None:
    """Whether a cell of a boolean column says true or false; None if neither."""
    return {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(str(value).lower())


def _numbers(values: list[Any]) -> np.ndarray | None:
    """The categories as floats if all of them are numbers."""
    if not values or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return np.array(values, dtype=np.float64)
