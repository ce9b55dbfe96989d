"""What goes with a rare category, so that rows made for it can be compared with it.

A model that has not learnt what a class of a dozen rows goes with gives all rows' shares beside it, which look like any
others. Of each such class the one category that all say most of is kept, with its shares; whoever asks for the class is
told where the rows made do not have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.values import all_numbers

LEAST, MOST = 5, 50  # rows of a category, for it to be rare and yet to tell anything
CATEGORIES = 64  # most of a column that is looked at
COLUMNS = 64  # that are looked at
GAIN = 8.0  # nats that the class tells of its companion, over all its rows
FAR = 0.3  # least distance between the shares of a companion among the class and among all rows


@dataclass(frozen=True)
class Companion:
    """A category and one of another column that goes with it.

    Attributes:
        column: Name of the column of the rare category.
        value: The category, as text.
        rows: Training rows that had it.
        other: Name of the other column.
        with_it: Its category that goes with it, as text.
        share: Of these rows that have it.
        base: Of all rows.
    """

    column: str
    value: str
    rows: int
    other: str
    with_it: str
    share: float
    base: float

    def told(self, made: pd.Series) -> str | None:
        """One line where cells of the other column, made for the category, lie nearer to all rows; else None."""
        found = float((made.astype(str) == self.with_it).mean())
        if 2 * found >= self.share + self.base:
            return None
        return (
            f"condition.{self.column}={self.value}: {self.other}={self.with_it} is in {found:.0%} of the rows made, in "
            f"{self.share:.0%} of the {self.rows} training rows that had it and in {self.base:.0%} of all: the model "
            f"has not learnt what goes with it; train for longer, or another model such as tabar"
        )

    def state(self) -> list[Any]:
        """Plain values."""
        return list(astuple(self))

    @classmethod
    def from_state(cls, state: Any) -> Companion:  # noqa: ANN401 (part of a checkpoint, whatever it is)
        """Inverse of `state`; raises `ValueError` for what is none."""
        column, value, rows, other, with_it, share, base = state
        if not all(isinstance(text, str) for text in (column, value, other, with_it)):
            raise ValueError("a rare category and what goes with it are no texts")
        counted, *shares = all_numbers([rows, share, base])
        return cls(column, value, int(counted), other, with_it, *shares)


def find(columns: Sequence[ChoiceColumn], frame: pd.DataFrame) -> list[Companion]:
    """What goes with the rare categories of these columns among the training rows."""
    looked = [column for column in columns if not column.pool and column.width <= CATEGORIES][:COLUMNS]
    codes = [column.codes(frame[column.field.name]) for column in looked]
    shares = [
        np.bincount(code[code >= 0], minlength=c.width) / len(frame) for c, code in zip(looked, codes, strict=True)
    ]
    found = []
    for i, column in enumerate(looked):
        counts = np.bincount(codes[i][codes[i] >= 0], minlength=column.width)[: len(column.values)]
        for place in np.flatnonzero((counts >= LEAST) & (counts < MOST)):
            at = np.flatnonzero(codes[i] == place)
            others = {j: _companion(codes[j][at], shares[j]) for j in range(len(looked)) if j != i}
            gain, j, k = max(((gain, j, k) for j, (gain, k) in others.items()), default=(0.0, 0, 0))
            share = float((codes[j][at] == k).mean())
            if gain > GAIN and k < len(looked[j].values) and share - shares[j][k] > FAR:
                told = (str(column.values[place]), len(at), looked[j].field.name, str(looked[j].values[k]))
                found.append(Companion(column.field.name, *told, share, float(shares[j][k])))
    return found


def _companion(codes: np.ndarray, shares: np.ndarray) -> tuple[float, int]:
    """The most frequent of the codes, and the nats that knowing of these rows, one left out, tells of it in them."""
    counts = np.bincount(codes[codes >= 0], minlength=len(shares))
    k = int(counts.argmax())
    if counts[k] < 2:
        return 0.0, k
    return float(counts[k] * np.log((counts[k] - 1) / (len(codes) - 1) / shares[k])), k
