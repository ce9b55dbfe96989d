"""Real and synthetic records as an attacker compares them: matrices of features, whatever the records are.

For a table, a number is its place among the real rows, in [0, 1], so that no tail hides the rest; two different
categories are 1 apart, and so are a number and a missing one. For pictures and series, features are what an extractor
makes of them. The unit of a game is an entity where records share one (a person with several rows): its score is the
mean of those of its records, and whole entities are dealt to the two halves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.privacy.closest import Matrix
from datakiln.metrics.tables.columns import Coded, Floats, Ints, Tables

WIDE = (16, 128)  # dimensions that categories of one column take at most, where there are many such columns and few
DIMENSIONS = 1_024  # of all of them together, where that leaves 16 for each


@dataclass(frozen=True)
class Records:
    """Records of one kind.

    Attributes:
        space: Features in which Euclidean distances have a meaning, shape (n, d).
        plain: The same records for a learner that splits on single features, shape (n, c); None where `space` serves.
        entity: Whose each record is, shape (n,); None where each is of its own.
    """

    space: Matrix
    plain: Matrix | None = None
    entity: Ints | None = None

    def __len__(self) -> int:
        """Records."""
        return len(self.space)

    def take(self, rows: Ints | NDArray[np.bool_]) -> Records:
        """Some of them."""
        plain = None if self.plain is None else self.plain[rows]
        return Records(self.space[rows], plain, None if self.entity is None else self.entity[rows])

    @property
    def units(self) -> Ints:
        """Number of the entity of each record, from 0, shape (n,)."""
        if self.entity is None:
            return np.arange(len(self))
        return np.unique(self.entity, return_inverse=True)[1].astype(np.int64)

    @property
    def learnt(self) -> Matrix:
        """What a learner that splits on single features is shown."""
        return self.space if self.plain is None else self.plain


def joined(parts: list[Records]) -> Records:
    """Several, one below the other; entities are dropped."""
    plain = None if any(p.plain is None for p in parts) else np.concatenate([p.learnt for p in parts])
    return Records(np.concatenate([p.space for p in parts]), plain)


@dataclass(frozen=True)
class TableSpace:
    """How rows of a table become `Records`, fitted on real rows, members and others alike.

    Attributes:
        sorted_numbers: Of each numeric column, the real values in order.
        gaps: Which numeric columns have a missing cell in any table.
        codes: Of each choice column, the point of each category, missing first, shape (categories + 1, dimensions).
    """

    sorted_numbers: tuple[Floats, ...]
    gaps: NDArray[np.bool_]
    codes: tuple[Matrix, ...]

    @classmethod
    def fit(cls, t: Tables, real: list[Coded], seed: int = 0) -> TableSpace:
        """Learns the places of numbers.

        Arguments:
            t: Says how many categories there are.
            real: Coded real rows.
            seed: Of the points of categories where a column has more of them than it can have dimensions.
        """
        numbers = np.concatenate([part.numbers for part in real])
        gaps = np.stack([np.isnan(part.numbers).any(axis=0) for part in t.parts]).any(axis=0)
        places = tuple(np.sort(column[~np.isnan(column)]) for column in numbers.T)
        rng = np.random.default_rng([seed, 22])
        most = int(np.clip(DIMENSIONS // max(len(t.sizes), 1), *WIDE))
        return cls(places, np.asarray(gaps), tuple(_points(size + 1, most, rng) for size in t.sizes))

    def __call__(self, part: Coded) -> Records:
        """Rows as records."""
        missing = np.isnan(part.numbers)
        columns = []
        for i, (values, known) in enumerate(zip(part.numbers.T, self.sorted_numbers, strict=True)):
            columns.append(np.where(missing[:, i], 0.5, _place(np.where(missing[:, i], 0.0, values), known)))
        marks = missing[:, self.gaps].astype(np.float64)
        points = [table[codes + 1] for table, codes in zip(self.codes, part.codes.T, strict=True)]
        scaled = np.stack(columns, axis=1) if columns else np.empty((len(part), 0))
        space = np.concatenate([scaled, marks, *points], axis=1).astype(np.float32)
        plain = np.concatenate([np.where(missing, np.nan, part.numbers), part.codes], axis=1).astype(np.float32)
        return Records(space, plain)


def _place(values: Floats, known: Floats) -> Floats:
    """Place of each value among the known ones, ties in their middle, in [0, 1]; between two known ones in proportion.

    A value outside their range is on beyond 0 or 1, by its distance in ranges: an outlier is not moved to the edge.
    """
    if len(known) == 0:
        return np.zeros(len(values))
    distinct, first, counts = np.unique(known, return_index=True, return_counts=True)
    if len(distinct) == 1:
        return np.asarray((values != distinct[0]).astype(np.float64))
    middles = (first + 0.5 * (counts - 1)) / (len(known) - 1)
    placed = np.interp(values, distinct, middles)
    reach = distinct[-1] - distinct[0]
    beyond = np.where(values > distinct[-1], (values - distinct[-1]) / reach, 0.0)
    beyond = np.where(values < distinct[0], (values - distinct[0]) / reach, beyond)
    return np.asarray(placed + np.clip(beyond, -1.0, 1.0))


def _points(size: int, most: int, rng: np.random.Generator) -> Matrix:
    """A point for each category, two of them 1 apart; of more than `most`, random signs, 1 apart on average."""
    if size <= 2:
        return np.arange(size, dtype=np.float32)[:, None]
    if size <= most:
        return np.eye(size, dtype=np.float32) / np.float32(np.sqrt(2.0))
    signs = rng.integers(0, 2, (size, most)).astype(np.float32)
    return signs * np.float32(np.sqrt(2.0 / most))
