"""Exact nearest neighbours in mixed tables, in bounded memory.

Trees do not help (a k-d tree over the one-hot columns of a census table is slower than looking at every row), and
one-hot matrix products lose the exact zeros of equal rows. So every row is looked at, in two ways that give the same
answer: all distances, or, where categories tell most rows apart, fewest mismatches first. Categories are bytes and
quick to compare, and a row with k mismatches is at least k times their cost away. Numbers are only compared for the
rows with so few mismatches that they can be the nearest, and queries for which that was too few are asked again with
more.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.tables.columns import Ints
from datakiln.metrics.tables.space import (
    BLOCK,
    Distances,
    Mismatches,
    Points,
    Space,
    in_threads,
    mismatches,
    over_blocks,
    powered,
)

FEW = 0.05  # share of rows below which looking at the mismatches first pays


@dataclass(frozen=True)
class Nearest:
    """The base rows nearest to each query.

    Attributes:
        first: Distance to the nearest, shape (n,).
        second: Distance to the second nearest; infinite if the base has one row.
        index: Which row is nearest, the first such.
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
    search = _TwoNearest(len(queries), exclude_self)
    _run(search, space, queries, base)
    return Nearest(search.first, search.second, search.index)


def windowed(space: Space, queries: Points, base: Points, size: int, starts: Ints) -> Distances:
    """Distance to the nearest of `size` successive base rows (round the end), for every start; shape (starts, n)."""
    search = _Windows(len(queries), len(base), size, starts)
    _run(search, space, queries, base)
    return search.minima


class _Search(abc.ABC):
    """What is wanted of the distances of each query."""

    @abc.abstractmethod
    def mask(self, rows: Ints, count: Mismatches) -> None:
        """Makes impossible base rows differ more than any other."""

    @abc.abstractmethod
    def fewest(self, count: Mismatches) -> Mismatches:
        """Mismatches to allow at first, shape (queries,): at least one base row wherever one is wanted."""

    @abc.abstractmethod
    def from_block(self, at: slice, block: Distances) -> None:
        """Writes the answers from all distances; may spoil the block."""

    @abc.abstractmethod
    def from_pairs(self, rows: Ints, starts: Ints, query: Ints, base: Ints, distance: Distances) -> Distances:
        """Writes the answers from some distances and returns the largest each relies on, shape (queries,).

        Arguments:
            rows: Which queries, shape (queries,).
            starts: Where the pairs of each begin, shape (queries,).
            query: Place in `rows` of each pair, in order, shape (pairs,).
            base: Base row of each pair, in order within a query.
            distance: Of each pair; may be spoilt.
        """


class _TwoNearest(_Search):
    def __init__(self, n: int, exclude_self: bool) -> None:
        self.first, self.second = np.empty((2, n), dtype=np.float32)
        self.index = np.empty(n, dtype=np.int64)
        self.exclude_self = exclude_self

    def mask(self, rows: Ints, count: Mismatches) -> None:
        if self.exclude_self:
            count[np.arange(len(rows)), rows] = np.iinfo(count.dtype).max

    def fewest(self, count: Mismatches) -> Mismatches:
        least: Mismatches = count.min(axis=1)
        return least

    def from_block(self, at: slice, block: Distances) -> None:
        row = np.arange(len(block))
        if self.exclude_self:
            block[row, row + at.start] = np.inf
        self.index[at] = best = block.argmin(axis=1)
        self.first[at] = block[row, best]
        block[row, best] = np.inf
        self.second[at] = block.min(axis=1)

    def from_pairs(self, rows: Ints, starts: Ints, query: Ints, base: Ints, distance: Distances) -> Distances:
        first = np.minimum.reduceat(distance, starts)
        hits = np.flatnonzero(distance == first[query])
        best = hits[np.searchsorted(query[hits], np.arange(len(rows)))]
        self.first[rows], self.index[rows] = first, base[best]
        distance[best] = np.inf
        second: Distances = np.minimum.reduceat(distance, starts)
        self.second[rows] = second
        return second


class _Windows(_Search):
    def __init__(self, n: int, n_base: int, size: int, starts: Ints) -> None:
        self.minima = np.empty((len(starts), n), dtype=np.float32)
        self.inside = (np.arange(n_base) - starts[:, None]) % n_base < size
        ends = [(start, start + size, start + size - n_base) for start in starts.tolist()]
        self.pieces = [[slice(a, b), *([slice(0, over)] if over > 0 else [])] for a, b, over in ends]

    def mask(self, rows: Ints, count: Mismatches) -> None:
        pass

    def _least(self, block: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        parts = [
            [block[:, piece].min(axis=1) for piece in pieces if piece.stop > piece.start] for pieces in self.pieces
        ]
        return [np.minimum.reduce(part) for part in parts]

    def fewest(self, count: Mismatches) -> Mismatches:
        most: Mismatches = np.maximum.reduce(self._least(count))
        return most

    def from_block(self, at: slice, block: Distances) -> None:
        self.minima[:, at] = self._least(block)

    def from_pairs(self, rows: Ints, starts: Ints, query: Ints, base: Ints, distance: Distances) -> Distances:
        found = [np.minimum.reduceat(np.where(inside[base], distance, np.inf), starts) for inside in self.inside]
        self.minima[:, rows] = found
        worst: Distances = np.maximum.reduce(found)
        return worst


def _run(search: _Search, space: Space, queries: Points, base: Points) -> None:
    if _pays(search, queries, base):
        in_threads(lambda rows: _fewest_first(search, space, queries, base, rows), np.arange(len(queries)))
    else:
        over_blocks(space, queries, base, search.from_block)


def _pays(search: _Search, queries: Points, base: Points) -> bool:
    """Whether few rows have the fewest mismatches, judged on up to 64 queries spread over all."""
    rows = np.unique(np.linspace(0, len(queries) - 1, 64).astype(np.int64))
    few = [(count <= search.fewest(count)[:, None]).mean() for _, count in _masked(search, queries, base, rows)]
    return len(base) > 100 and float(np.mean(few)) < FEW


def _masked(search: _Search, queries: Points, base: Points, rows: Ints) -> Iterator[tuple[Ints, Mismatches]]:
    for here, count in mismatches(queries, base, rows, max(1, BLOCK // max(len(base), 1))):
        search.mask(here, count)
        yield here, count


def _fewest_first(search: _Search, space: Space, queries: Points, base: Points, rows: Ints) -> None:
    """Answers the queries in rounds, each with as many mismatches as the last answer shows to be needed."""
    columns = len(base.codes)
    allowed: Ints | None = None
    while len(rows):
        needed = np.empty(len(rows))
        limits = np.empty(len(rows), dtype=np.int64)
        done = 0
        for here, count in _masked(search, queries, base, rows):
            at = slice(done, done + len(here))
            limits[at] = search.fewest(count) if allowed is None else allowed[at]
            needed[at] = search.from_pairs(here, *_pairs(space, queries, base, here, count, limits[at]))
            done = at.stop
        # a row with one mismatch more than allowed is at least this far away
        is_open = (needed >= (limits + 1) * space.mismatch) & (limits < columns)
        reach = np.where(np.isfinite(needed), needed / space.mismatch, limits + 1.0)
        rows, allowed = rows[is_open], np.minimum(reach, columns).astype(np.int64)[is_open]


def _pairs(
    space: Space, queries: Points, base: Points, rows: Ints, count: Mismatches, limits: Ints
) -> tuple[Ints, Ints, Ints, Distances]:
    """Pairs of rows with at most so many mismatches: starts, query, base and distance as `from_pairs` takes them."""
    query, other = np.divmod(np.flatnonzero(count <= limits.astype(count.dtype)[:, None]), len(base))
    distance = count[query, other] * np.float32(space.mismatch)
    for x, y in zip(queries.numbers, base.numbers, strict=True):
        distance += powered(x[rows][query] - y[other], space)
    return np.searchsorted(query, np.arange(len(rows))), query, other, distance
