"""Rows of a mixed table as points, and blocks of the distances between them.

The distance is a sum over columns: numbers contribute their scaled difference, absolute or squared; choices a fixed
cost where they differ. A block of rows meets one column after another, so that the work stays in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.tables.columns import Coded, Floats, Ints, Tables

Distances = NDArray[np.float32]
Mismatches = NDArray[np.unsignedinteger]
BLOCK = 1 << 17  # distances held at once, half a megabyte


@dataclass(frozen=True)
class Points:
    """Rows as points, column by column.

    Attributes:
        numbers: Shape (columns, n).
        codes: One array of shape (n,) a column, bytes where they suffice.
    """

    numbers: NDArray[np.float32]
    codes: tuple[NDArray[np.integer], ...]

    def __len__(self) -> int:
        """Rows."""
        return int(self.numbers.shape[1])

    def head(self, n: int) -> Points:
        """The first rows."""
        return Points(self.numbers[:, :n], tuple(codes[:n] for codes in self.codes))


@dataclass(frozen=True)
class Space:
    """How the rows of a table become points.

    Attributes:
        shift: Subtracted from every number, shape (numbers,).
        scale: Divides every number; infinite for a column to leave out.
        fill: Scaled value of a missing number, which also differs from every present one as a category does.
        gaps: Numbers of which any table misses a cell; the marks of the others would tell nothing and cost as much.
        power: 1 for the sum of absolute differences, 2 for that of squares.
        mismatch: What two different categories cost.
    """

    shift: Floats
    scale: Floats
    fill: Floats
    gaps: NDArray[np.bool_]
    power: int = 1
    mismatch: float = 1.0

    @classmethod
    def by_range(cls, t: Tables, power: int = 1, mismatch: float = 1.0) -> Space:
        """Numbers scaled to [0, 1] over train; a column constant there is left out, missing is train's median."""
        low, high, middle = _column_wise(t.train.numbers, (np.min, np.max, np.median))
        return cls._of(t, low, high - low, middle, power, mismatch)

    @classmethod
    def by_spread(cls, t: Tables, power: int = 2, mismatch: float = 1.0) -> Space:
        """Numbers in standard deviations of train; a column constant there is left out, missing is train's median."""
        mean, spread, middle = _column_wise(t.train.numbers, (np.mean, np.std, np.median))
        return cls._of(t, mean, spread, middle, power, mismatch)

    @classmethod
    def _of(cls, t: Tables, shift: Floats, scale: Floats, middle: Floats, power: int, mismatch: float) -> Space:
        scale = np.where(scale > 0, scale, np.inf)
        gaps = np.asarray(np.stack([np.isnan(part.numbers).any(axis=0) for part in t.parts]).any(axis=0))
        return cls(shift, scale, (middle - shift) / scale, gaps, power, mismatch)

    def points(self, part: Coded) -> Points:
        """A table's rows in this space."""
        missing = np.isnan(part.numbers)
        used = np.isfinite(self.scale)
        numbers = np.where(missing, self.fill, (part.numbers - self.shift) / self.scale)[:, used]
        codes = np.concatenate([part.codes + 1, missing[:, used & self.gaps]], axis=1)
        columns = tuple(column.astype(np.uint8 if column.max(initial=0) < 256 else np.int32) for column in codes.T)
        return Points(np.ascontiguousarray(numbers.T, dtype=np.float32), columns)


def distances(space: Space, queries: Points, base: Points, at: slice) -> Iterator[tuple[slice, Distances]]:
    """Blocks of the distance matrix, shape (rows, len(base)), with the queries they belong to; valid until the next.

    Arguments:
        space: Where distances are measured.
        queries: Points that have rows in the matrix.
        base: Points that have columns in the matrix.
        at: Which queries to go through.
    """
    rows = min(max(1, BLOCK // max(len(base), 1)), max(at.stop - at.start, 1))
    out, work = np.empty((2, rows, len(base)), dtype=np.float32)
    for here, count in mismatches(queries, base, np.arange(at.start, at.stop), rows):
        k = len(here)
        np.multiply(count, np.float32(space.mismatch), out=out[:k])
        for x, y in zip(queries.numbers, base.numbers, strict=True):
            np.subtract(x[here, None], y, out=work[:k])
            np.add(out[:k], powered(work[:k], space), out=out[:k])
        yield slice(int(here[0]), int(here[-1]) + 1), out[:k]


def over_blocks(space: Space, queries: Points, base: Points, take: Callable[[slice, Distances], None]) -> None:
    """Hands every block of the distance matrix to `take`, from as many threads as there are cores to use.

    `take` writes what it makes of a block to rows of its own, so that neither threads nor blocks change the result.
    """

    def walk(rows: Ints) -> None:
        for at, block in distances(space, queries, base, slice(int(rows[0]), int(rows[-1]) + 1)):
            take(at, block)

    in_threads(walk, np.arange(len(queries)))


def mismatches(queries: Points, base: Points, rows: Ints, block: int) -> Iterator[tuple[Ints, Mismatches]]:
    """Blocks of the number of codes that differ, with the queries they belong to; valid until the next."""
    count = np.empty((block, len(base)), dtype=np.uint8 if len(base.codes) < 255 else np.uint16)
    differ = np.empty((block, len(base)), dtype=bool)
    for start in range(0, len(rows), block):
        here = rows[start : start + block]
        k = len(here)
        count[:k] = 0
        for a, b in zip(queries.codes, base.codes, strict=True):
            np.not_equal(a[here, None], b, out=differ[:k])
            np.add(count[:k], differ[:k].view(np.uint8), out=count[:k])
        yield here, count[:k]


def powered(difference: Distances, space: Space) -> Distances:
    """A column's part of the distance, in place."""
    if space.power == 1:
        return np.abs(difference, out=difference)
    return np.multiply(difference, difference, out=difference)


def in_threads(walk: Callable[[Ints], None], rows: Ints) -> None:
    """Walks over parts of the rows, in as many threads as there are cores to use."""
    parts = [part for part in np.array_split(rows, min(_cores(), 1 + len(rows) // 256)) if len(part)]
    if len(parts) < 2:
        for part in parts:
            walk(part)
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(walk, parts))  # list: a thread's exception is raised here


def _cores() -> int:
    from joblib import cpu_count  # heeds containers and affinity, as scikit-learn does

    wish = os.environ.get("OMP_NUM_THREADS", "")
    return int(wish) if wish.isdigit() and wish != "0" else int(cpu_count())


def _column_wise(numbers: Floats, statistics: tuple[object, ...]) -> list[Floats]:
    columns = [column[~np.isnan(column)] for column in numbers.T]
    return [np.array([s(c) if len(c) else 0.0 for c in columns], dtype=np.float64) for s in statistics]  # type: ignore[operator]
