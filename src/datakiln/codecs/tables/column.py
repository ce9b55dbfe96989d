"""The interface of one column between user units and its positions in the encoded row."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from datakiln.schema import Field
from datakiln.spec import Block


class ColumnCodec(abc.ABC):
    """One column: `encode` gives (n, width) float32, `decode` gives a pandas Series of the field's dtype."""

    kind: ClassVar[str]

    def __init__(self, field: Field) -> None:
        """Arguments: field: the column in user units."""
        self.field = field

    @abc.abstractmethod
    def blocks(self, start: int) -> tuple[Block, ...]:
        """The blocks of this column when its first position is `start`; empty for a generated column."""

    @abc.abstractmethod
    def encode(self, series: pd.Series) -> np.ndarray:
        """User units to model space, shape (n, width)."""

    @abc.abstractmethod
    def decode(self, x: np.ndarray, rng: np.random.Generator, first_row: int) -> pd.Series:
        """Model space to user units; `first_row` is the number of rows made before, so that ids never repeat."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint, without the field."""

    @property
    def size(self) -> int | None:
        """Number of codes of a column whose every cell is one of finitely many; None for any other column."""
        return None

    @property
    def ordered(self) -> int:
        """How many of the codes, from the first, stand for rising numbers."""
        return 0

    def codes(self, series: pd.Series) -> np.ndarray:
        """The code of each cell, -1 for one without; only where `size` is a number."""
        raise TypeError(f"{self.field.name} has no codes")

    def from_codes(self, codes: np.ndarray, rng: np.random.Generator) -> pd.Series:
        """Inverse of `codes`; `rng` draws what a code leaves open."""
        raise TypeError(f"{self.field.name} has no codes")

    @classmethod
    @abc.abstractmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> ColumnCodec:
        """Inverse of `state`."""
