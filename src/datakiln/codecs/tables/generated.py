"""Columns that carry no signal to learn: constants, ids and free text, which are made anew and take no position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.values import choice_dtype, plain_cells, plain_value
from datakiln.schema import Field
from datakiln.spec import Block


class GeneratedColumn(ColumnCodec):
    """A column without signal: constants repeat, ids and free text become new unique values, never copies.

    Arguments:
        field: The column in user units.
        constant: The value of a constant column (None where it is missing throughout).
        next_id: First unused number of an integer id; None for textual ids.
    """

    kind = "generated"

    def __init__(self, field: Field, constant: Any, next_id: int | None) -> None:  # noqa: ANN401 (any cell value)
        """See the class."""
        super().__init__(field)
        self.constant = constant
        self.next_id = next_id

    @classmethod
    def fit(cls, field: Field, series: pd.Series) -> GeneratedColumn:
        """Learns the constant or the first unused id."""
        present = series.dropna()
        if field.type == "constant":
            return cls(field, plain_value(plain_cells(present).iloc[0]) if len(present) else None, None)
        numeric = pd.api.types.is_numeric_dtype(series.dtype) and len(present) > 0
        return cls(field, None, int(present.max()) + 1 if numeric else None)

    def blocks(self, start: int) -> tuple[Block, ...]:
        """None."""
        return ()

    def encode(self, series: pd.Series) -> np.ndarray:
        """Nothing, shape (n, 0)."""
        return np.zeros((len(series), 0), dtype=np.float32)

    def decode(self, x: np.ndarray, rng: np.random.Generator, first_row: int) -> pd.Series:
        """Constants, or new ids."""
        n = len(x)
        if self.field.type == "constant":
            values = pd.Series([self.constant] * n if self.constant is None else self.constant, index=range(n))
        elif self.next_id is not None:
            values = pd.Series(np.arange(n, dtype=np.int64) + self.next_id + first_row)
        else:
            words = rng.integers(0, 2**63, size=n, dtype=np.int64)
            values = pd.Series([f"{self.field.name}-{first_row + i:x}-{word:016x}" for i, word in enumerate(words)])
        known = [] if self.constant is None else [self.constant]
        dtype: Any = choice_dtype(self.field, known) if self.field.type == "constant" else self.field.dtype
        return values.rename(self.field.name).astype(dtype)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"constant": self.constant, "next_id": self.next_id}

    @classmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> GeneratedColumn:
        """Inverse of `state`."""
        return cls(field, state["constant"], state["next_id"])
