"""Exact nearest neighbours in mixed tables, by brute force in bounded memory.

The distance is a sum over columns: numbers contribute their scaled difference (absolute or squared), choices a fixed
cost where they differ. Trees do not help (a k-d tree over the one-hot columns of a census table is slower than looking
at every row), and one-hot matrix products lose the exact zeros of equal rows; a block of rows against one column after
another stays in the cache and takes about 2 seconds per thousand million pairs of 15 columns on one core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.metrics.columns import Coded, Floats, Ints, Tables

Distances = NDArray[np.float32]
BLOCK = 1 << 17  # distances held at once: half a megabyte


@dataclass(frozen=True)
class Space:
    """How the rows of a table become points.

    Attributes:
        shift: Subtracted from every number, shape (numbers,).
        scale: Divides every number; infinite for a column to leave out.
        fill: Scaled value of a missing number, which also differs from every present one as a category does.
        power: 1 for the sum of absolute differences, 2 for that of squares.
        mismatch: What two different categories cost.
    """

    shift: Floats
    scale: Floats
    fill: Floats
    power: int = 1
    mismatch: float = 1.0

    @classmethod
    def by_range(cls, t: Tables, power: int = 1, mismatch: float = 1.0) -> Space:
        """Numbers scaled to [0, 1] over train; a column constant there is left out, missing is train's median."""
        low, high, middle = _column_wise(t.train.numbers, (np.min, np.max, np.median))
        return cls._of(low, high - low, middle, power, mismatch)

    @classmethod
    def by_spread(cls, t: Tables, power: int = 2, mismatch: float = 1.0) -> Space:
        """Numbers in standard deviations of train; a column constant there is left out, missing is train's median."""
        mean, spread, middle = _column_wise(t.train.numbers, (np.mean, np.std, np.median))
        return cls._of(mean, spread, middle, power, mismatch)

    @classmethod
    def _of(cls, shift: Floats, scale: Floats, middle: Floats, power: int, mismatch: float) -> Space:
        scale = np.where(scale > 0, scale, np.inf)
        return cls(shift, scale, (middle - shift) / scale, power, mismatch)

    def points(self, part: Coded) -> Points:
        """A table's rows in this space."""
        missing = np.isnan(part.numbers)
        numbers = np.where(missing, self.fill, (part.numbers - self.shift) / self.scale)
        codes = np.concatenate([part.codes + 1, missing[:, np.isfinite(self.scale)]], axis=1)
        small = codes.max(initial=0) < 256
        return Points(
            np.ascontiguousarray(numbers.T, dtype=np.float32),
            np.ascontiguousarray(codes.T, dtype=np.uint8 if small else np.int32),
        )


@dataclass(frozen=True)
class Points:
    """Rows as points, columns first: numbers (columns, n) and codes (columns, n)."""

    numbers: Distances
    codes: NDArray[np.generic]

    def __len__(self) -> int:
        """Rows."""
        return int(self.codes.shape[1])


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
    differ = np.empty((rows, len(base)), dtype=bool)
    count = np.empty((rows, len(base)), dtype=np.uint16)
    for start in range(at.start, at.stop, rows):
        here = slice(start, min(start + rows, at.stop))
        k = here.stop - start
        count[:k] = 0
        for a, b in zip(queries.codes, base.codes, strict=True):
            np.not_equal(a[here, None], b, out=differ[:k])
            np.add(count[:k], differ[:k].view(np.uint8), out=count[:k])
        np.multiply(count[:k], np.float32(space.mismatch), out=out[:k])
        for x, y in zip(queries.numbers, base.numbers, strict=True):
            np.subtract(x[here, None], y, out=work[:k])
            if space.power == 1:
                np.abs(work[:k], out=work[:k])
            else:
                np.multiply(work[:k], work[:k], out=work[:k])
            np.add(out[:k], work[:k], out=out[:k])
        yield here, out[:k]


def over_blocks(space: Space, queries: Points, base: Points, take: Callable[[slice, Distances], None]) -> None:
    """Hands every block of the distance matrix to `take`, from as many threads as there are cores to use.

    `take` writes what it makes of a block to rows of its own, so that the result depends neither on threads nor on
    blocks.
    """
    threads = min(_cores(), 1 + len(queries) // 256)
    bounds = [len(queries) * i // threads for i in range(threads + 1)]

    def walk(start: int, stop: int) -> None:
        for at, block in distances(space, queries, base, slice(start, stop)):
            take(at, block)

    if threads == 1:
        walk(0, len(queries))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(walk, bounds[:-1], bounds[1:]))  # list: a thread's exception is raised here


@dataclass(frozen=True)
class Nearest:
    """The base rows nearest to each query.

    Attributes:
        first: Distance to the nearest, shape (n,).
        second: Distance to the second nearest; infinite if the base has one row.
        index: Which row is nearest.
    """

    first: Distances
    second: Distances
    index: Ints


def nearest(space: Space, queries: Points, base: Points, exclude_self: bool = False) -> Nearest:
    """The two nearest rows of the base for every query.

    Arguments:
        space: Where distances are measured.
        queries: Points, n of them.
        base: Points to search, at least one (two with `exclude_self`).
        exclude_self: Whether queries and base are the same rows, and a row is no neighbour of its own.
    """
    first, second = np.empty((2, len(queries)), dtype=np.float32)
    index = np.empty(len(queries), dtype=np.int64)

    def take(at: slice, block: Distances) -> None:
        row = np.arange(len(block))
        if exclude_self:
            block[row, row + at.start] = np.inf
        index[at] = best = block.argmin(axis=1)
        first[at] = block[row, best]
        block[row, best] = np.inf
        second[at] = block.min(axis=1)

    over_blocks(space, queries, base, take)
    return Nearest(first, second, index)


def windowed(space: Space, queries: Points, base: Points, size: int, starts: Ints) -> Distances:
    """Distance to the nearest of `size` successive base rows (round the end), for every start; shape (starts, n)."""
    result = np.empty((len(starts), len(queries)), dtype=np.float32)

    def take(at: slice, block: Distances) -> None:
        for i, start in enumerate(starts):
            best = block[:, start : start + size].min(axis=1)
            over = start + size - len(base)
            result[i, at] = np.minimum(best, block[:, :over].min(axis=1)) if over > 0 else best

    over_blocks(space, queries, base, take)
    return result


def _cores() -> int:
    from joblib import cpu_count  # heeds containers and affinity, as scikit-learn does

    wish = os.environ.get("OMP_NUM_THREADS", "")
    return int(wish) if wish.isdigit() and wish != "0" else int(cpu_count())


def _column_wise(numbers: Floats, statistics: tuple[object, ...]) -> list[Floats]:
    columns = [column[~np.isnan(column)] for column in numbers.T]
    return [np.array([s(c) if len(c) else 0.0 for c in columns], dtype=np.float64) for s in statistics]  # type: ignore[operator]
