"""Constraints on several columns together: one-hot groups, fixed combinations, no two rows alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import plain_cells, plain_value
from datakiln.constraints.base import Constraint, several
from datakiln.errors import UserError, near
from datakiln.schema import Schema


class OneHot(Constraint):
    """Exactly one of several columns is 1 or true, the others 0 or false.

    Arguments:
        columns: At least two.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        """Raises `UserError` for fewer than two columns."""
        self.columns = several(type(self).__name__, columns)

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Not where one is missing or anything but 0, 1, true and false."""
        cells = np.stack([_truths(frame[name]) for name in self.columns])
        return np.isin(cells, (0.0, 1.0)).all(axis=0) & (cells.sum(axis=0) == 1)

    def combinations(self, schema: Schema) -> pd.DataFrame | None:
        """A row for each column that can be the one; None where truths are written as text."""
        dtypes = [pd.api.types.pandas_dtype(schema[name].dtype) for name in self.columns]
        if not all(pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype) for dtype in dtypes):
            return None
        rows = pd.DataFrame(np.eye(len(self.columns)), columns=list(self.columns))
        return rows.astype(dict(zip(self.columns, dtypes, strict=True)))

    def arguments(self) -> dict[str, Any]:
        """As given."""
        return {"columns": list(self.columns)}

    def __str__(self) -> str:
        """Such as exactly one of (a, b, c)."""
        return f"exactly one of ({', '.join(self.columns)})"


class FixedCombinations(Constraint):
    """Several columns take only values together that they take together in a training row, such as city and country.

    Arguments:
        columns: At least two.
        known: The combinations, one list a row, None for missing; learnt by `fit`.
    """

    def __init__(self, columns: Sequence[str], known: Sequence[Sequence[Any]] | None = None) -> None:
        """Raises `UserError` for fewer than two columns."""
        self.columns = several(type(self).__name__, columns)
        self.known = None if known is None else [list(row) for row in known]

    def fit(self, frame: pd.DataFrame, schema: Schema) -> None:
        """Notes the combinations of the training rows."""
        rows = pd.DataFrame({name: plain_cells(frame[name]).astype(object) for name in self.columns}).drop_duplicates()
        self.known = [
            [None if pd.isna(cell) else plain_value(cell) for cell in row] for row in rows.to_numpy(dtype=object)
        ]

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Column by column, the combination so far is looked up among those of the known rows; -1 once it is none."""
        assert self.known is not None
        known, rows = np.zeros(len(self.known), dtype=np.int64), np.zeros(len(frame), dtype=np.int64)
        for i, name in enumerate(self.columns):
            values = pd.Index(pd.Series([row[i] for row in self.known], dtype=object).dropna().unique(), dtype=object)
            old = _places(values, pd.Series([row[i] for row in self.known], dtype=object))
            new = _places(values, plain_cells(frame[name]).astype(object))
            pairs, known = np.unique(known * (len(values) + 1) + old, return_inverse=True)
            wanted = np.where((rows < 0) | (new < 0), -1, rows * (len(values) + 1) + new)
            at = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
            rows = np.where(pairs[at] == wanted, at, -1)
        return rows >= 0

    def combinations(self, schema: Schema) -> pd.DataFrame:
        """The training rows' combinations."""
        return pd.DataFrame(self.known, columns=list(self.columns), dtype=object)

    def arguments(self) -> dict[str, Any]:
        """As given, and as learnt."""
        return {"columns": list(self.columns), "known": self.known}

    def __str__(self) -> str:
        """Such as (city, country) as in a training row."""
        return f"({', '.join(self.columns)}) as in a training row"


class Unique(Constraint):
    """No two rows are equal in these columns; rows with a missing cell among them are left in peace.

    The columns' hashes of all rows of a sample are kept, 8 bytes a row.

    Arguments:
        columns: At least one.
    """

    def __init__(self, columns: Sequence[str] | str) -> None:
        """Raises `UserError` without a column."""
        self.columns = (columns,) if isinstance(columns, str) else tuple(columns)
        if not self.columns:
            raise UserError("constraint Unique needs at least one column")

    def check(self, schema: Schema) -> None:
        """Ids may be among the columns: new ones are unique by themselves."""
        for name in self.columns:
            if name not in schema.names:
                raise UserError(f"constraint '{self}': no column {name!r}{near(name, schema.names)}")

    def is_given(self, schema: Schema) -> bool:
        """Whether an id among the columns makes all rows differ."""
        return any(schema[name].type in ("id", "text") for name in self.columns)

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """False for rows that repeat an earlier one of the frame."""
        columns = list(self.columns)
        return ~frame.duplicated(columns).to_numpy() | frame[columns].isna().any(axis=1).to_numpy()

    def keys(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """A hash of each row's columns, uint64, and whether it counts (no cell is missing)."""
        part = pd.DataFrame({name: plain_cells(frame[name]).astype(object) for name in self.columns})
        return pd.util.hash_pandas_object(part, index=False).to_numpy(), part.notna().all(axis=1).to_numpy()

    def arguments(self) -> dict[str, Any]:
        """As given."""
        return {"columns": list(self.columns)}

    def __str__(self) -> str:
        """Such as unique (name, birthday)."""
        return f"unique ({', '.join(self.columns)})"


def _truths(series: pd.Series) -> np.ndarray:
    """0 and 1 for false and true in any dtype; NaN for what is missing or no number."""
    cells = series.astype(object).replace({"True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0})
    return pd.to_numeric(cells.astype(object), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _places(values: pd.Index, cells: pd.Series) -> np.ndarray:
    """Position of each cell among the values, len(values) for missing, -1 for another value."""
    return np.where(cells.isna(), len(values), values.get_indexer(pd.Index(cells, dtype=object)))
