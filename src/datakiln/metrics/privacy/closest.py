"""The nearest rows of one matrix for every row of another, exact, in bounded memory.

Squared distances of blocks come from matrix products, which is fast; only the candidates found by them are measured
again cell by cell, since a product is rounded and would not know a copy from a near row. Of each block, the smallest
value of every run of columns is found first: the k nearest lie in the k runs with the smallest ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
BLOCK = 1 << 21  # distances held at once, 8 MB
RUN = 64
SPARE = 4  # more candidates than are wanted, which rounding might have put in another order


@dataclass(frozen=True)
class Closest:
    """The k nearest base rows of each query, nearest first.

    Attributes:
        distance: Euclidean, shape (n, k).
        index: Which base rows, shape (n, k).
    """

    distance: Matrix
    index: NDArray[np.int64]


def closest(queries: Matrix, base: Matrix, k: int) -> Closest:
    """The k nearest rows of the base for every query.

    Arguments:
        queries: Shape (n, d).
        base: Shape (m, d), with m at least k.
        k: How many.
    """
    centre = base.mean(axis=0, dtype=np.float64).astype(np.float32)  # products of rows far from 0 lose digits
    queries, base = queries - centre, base - centre
    wanted = min(k + SPARE, len(base))
    half = 0.5 * np.einsum("ij,ij->i", base, base)
    runs = -(-len(base) // RUN)
    rows = max(1, min(BLOCK // len(base), len(queries)))
    padded = np.full((rows, runs * RUN), np.inf, dtype=np.float32)
    distance = np.empty((len(queries), k), dtype=np.float32)
    index = np.empty((len(queries), k), dtype=np.int64)
    turned = np.ascontiguousarray(base.T)
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        block = padded[: len(part)]
        np.subtract(half, part @ turned, out=block[:, : len(base)])
        found = _candidates(block, runs, wanted)
        found = np.minimum(found, len(base) - 1)
        gap = part[:, None, :] - base[found]
        exact = np.einsum("ijk,ijk->ij", gap, gap)
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        distance[start : start + rows] = np.sqrt(np.take_along_axis(exact, order, axis=1))
        index[start : start + rows] = np.take_along_axis(found, order, axis=1)
    return Closest(distance, index)


def _candidates(block: Matrix, runs: int, wanted: int) -> NDArray[np.int64]:
    """Columns of the smallest values of each row, shape (rows, wanted), in no order."""
    if runs <= wanted + 1:
        return np.argpartition(block, wanted - 1, axis=1)[:, :wanted]
    cells = block.reshape(len(block), runs, RUN)
    best = np.argpartition(cells.min(axis=2), wanted - 1, axis=1)[:, :wanted]
    inside = np.take_along_axis(cells, best[:, :, None], axis=1).reshape(len(block), -1)
    at = np.argpartition(inside, wanted - 1, axis=1)[:, :wanted]
    return np.take_along_axis(best, at // RUN, axis=1) * RUN + at % RUN
