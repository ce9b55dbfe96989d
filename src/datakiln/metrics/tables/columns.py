"""Tables as arrays, encoded once for all metrics: numbers as float64, categories as integers in one common numbering.

Ids, free text and constants (`GENERATED_TYPES`) carry nothing to compare and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.metrics.base import EvalData, MetricError
from datakiln.schema import Field, Schema
from datakiln.writings import numbers_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Coded:
    """One table.

    Attributes:
        numbers: Numeric columns, shape (n, columns), NaN for missing; dates in seconds.
        codes: Choice columns, shape (n, columns); categories numbered from 0 by falling frequency in the first table,
            -1 for missing.
    """

    numbers: Floats
    codes: Ints

    def __len__(self) -> int:
        """Rows."""
        return len(self.codes)

    def take(self, rows: Ints | slice) -> Coded:
        """Some of the rows."""
        return Coded(self.numbers[rows], self.codes[rows])

    def sample(self, n: int, rng: np.random.Generator) -> Coded:
        """Rows without replacement in random order; all of them, as they are, if there are no more than n."""
        return self if len(self) <= n else self.take(rng.permutation(len(self))[:n])


@dataclass(frozen=True)
class Tables:
    """Several tables in one numbering.

    Attributes:
        numeric: Names of the columns of `numbers`.
        choices: Names of the columns of `codes`.
        categories: Values of each choice column over all tables, in the order of their codes.
        known: Categories of each choice column in the first table; their codes come first.
        parts: The tables.
    """

    numeric: tuple[str, ...]
    choices: tuple[str, ...]
    categories: tuple[pd.Index, ...]
    known: tuple[int, ...]
    parts: tuple[Coded, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of categories of each choice column over all tables."""
        return tuple(len(values) for values in self.categories)

    @property
    def train(self) -> Coded:
        """The first table."""
        return self.parts[0]

    @property
    def holdout(self) -> Coded:
        """The second table of three, as `tables` lays them."""
        return self.parts[1]

    @property
    def synthetic(self) -> Coded:
        """The last table."""
        return self.parts[-1]


def tables(data: EvalData) -> Tables:
    """Train, holdout and synthetic as arrays, encoded once per `EvalData`.

    Raises:
        MetricError: No column that could be compared.
    """
    if "tables" not in data.cache:
        data.cache["tables"] = encode(data.schema, (data.train, data.holdout, data.synthetic))
    return data.cache["tables"]  # type: ignore[no-any-return]


def encode(schema: Schema, frames: Sequence[pd.DataFrame]) -> Tables:
    """Frames as arrays; the first one numbers the categories."""
    numeric, choices = schema.numeric, schema.choices
    if not numeric and not choices:
        raise MetricError("no column to compare: all are ids, text or constant; set data.types to say what they are")
    columns = [category_codes([frame[name] for frame in frames]) for name in choices]
    parts = tuple(_part(schema, frame, [codes[i] for codes, _, _ in columns]) for i, frame in enumerate(frames))
    categories, known = tuple(values for _, values, _ in columns), tuple(known for _, _, known in columns)
    return Tables(tuple(numeric), tuple(choices), categories, known, parts)


def renumbered(t: Tables, parts: tuple[Coded, ...]) -> Tables:
    """Other parts with the codes of `t`, numbered anew by the first of them."""
    columns = [part.codes.copy() for part in parts]
    categories, known = [], []
    for i, values in enumerate(t.categories):
        first = parts[0].codes[:, i]
        counts = np.bincount(first[first >= 0], minlength=len(values))
        order = np.argsort(-counts, kind="stable")
        rank = np.empty(len(values) + 1, dtype=np.int64)
        rank[order] = np.arange(len(values))
        rank[-1] = -1  # where code -1, missing, looks itself up
        for codes in columns:
            codes[:, i] = rank[codes[:, i]]
        categories.append(values[order])
        known.append(int((counts > 0).sum()))
    made = tuple(Coded(part.numbers, codes) for part, codes in zip(parts, columns, strict=True))
    return replace(t, categories=tuple(categories), known=tuple(known), parts=made)


def _part(schema: Schema, frame: pd.DataFrame, codes: list[Ints]) -> Coded:
    numbers = [as_numbers(frame[name], schema[name]) for name in schema.numeric]
    n = len(frame)
    # transposed, not stacked: metrics read whole columns
    return Coded(
        np.array(numbers, dtype=np.float64).T if numbers else np.empty((n, 0)),
        np.array(codes, dtype=np.int64).T if codes else np.empty((n, 0), dtype=np.int64),
    )


def as_numbers(series: pd.Series, field: Field) -> Floats:
    """A numeric column as float64, dates in seconds since 1970; missing and infinite cells are NaN."""
    values = numbers_of(series, field)
    return np.where(np.isfinite(values), values, np.nan)


def category_codes(columns: Sequence[pd.Series]) -> tuple[list[Ints], pd.Index, int]:
    """One choice column of several tables as integers.

    Returns:
        Codes per table; the values they stand for; how many of these, the first ones, occur in the first table.
    """
    lengths = [len(column) for column in columns]
    # tables without rows have dtypes of no meaning, and categoricals of different tables do not concatenate
    codes, values = pd.factorize(pd.concat([c.astype(object) if _is_categorical(c) else c for c in columns if len(c)]))
    first = codes[: lengths[0]]
    counts = np.bincount(first[first >= 0], minlength=len(values))
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(values) + 1, dtype=np.int64)
    rank[order] = np.arange(len(values))
    rank[-1] = -1  # where code -1, missing, looks itself up
    return np.split(rank[codes], np.cumsum(lengths)[:-1]), pd.Index(values)[order], int((counts > 0).sum())


def row_keys(part: Coded) -> NDArray[Any]:
    """Every row as one value that is equal exactly where all cells are."""
    numbers = np.where(np.isnan(part.numbers), np.nan, part.numbers + 0.0)  # one kind of NaN, and no negative zero
    cells = np.ascontiguousarray(np.concatenate([numbers, part.codes.astype(np.float64)], axis=1))
    return cells.view(np.dtype((np.void, cells.dtype.itemsize * cells.shape[1]))).ravel()


def _is_categorical(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype)
