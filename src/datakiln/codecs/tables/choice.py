"""Choice columns: one-hot vectors, with a few shared positions for the rarest of very many categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.clusters import Clusters
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.values import choice_array, choice_dtype, in_order, plain_cells, plain_value
from datakiln.schema import Field
from datakiln.spec import Block


class ChoiceColumn(ColumnCodec):
    """A boolean, category or ordinal column.

    Arguments:
        field: The column in user units.
        values: Categories with a position of their own, as plain Python values.
        missing: Whether missing is a further category.
        pool: Rare categories that share one last position, drawn back by `pool_shares`.
        pool_shares: Their relative frequencies.
        open_pool: Whether every other category counts as one of the pool, because there were too many to list.
        clusters: Of the pool, each with a position of its own; None for one position of all.
        rows: Training rows of each of the categories and then of the pool; empty where nobody has counted.
    """

    kind = "choice"

    def __init__(
        self,
        field: Field,
        values: list[Any],
        missing: bool,
        pool: list[Any],
        pool_shares: list[float],
        open_pool: bool = False,
        clusters: Clusters | None = None,
        rows: Sequence[int] = (),
    ) -> None:
        """See the class."""
        super().__init__(field)
        self.values = values
        self.missing = missing
        self.pool = pool
        self.pool_shares = pool_shares
        self.open_pool = open_pool
        self.clusters = clusters
        self.rows = list(rows)
        self.width = len(values) + missing + (bool(pool) if clusters is None else clusters.count)
        self._dtype = choice_dtype(field, [*values, *pool])
        self._take = choice_array([*values, *([None] if missing else [])], self._dtype)

    @classmethod
    def fit(cls, field: Field, series: pd.Series, limit: int) -> ChoiceColumn:
        """Learns the categories of the training rows; beyond `limit` of them the rarest share one position."""
        counts = plain_cells(series).value_counts(sort=True)
        return cls.from_counts(field, counts, bool(series.isna().any()), limit)

    @classmethod
    def from_counts(
        cls,
        field: Field,
        counts: pd.Series,
        missing: bool,
        limit: int,
        is_complete: bool = True,
        clusters: Clusters | None = None,
    ) -> ChoiceColumn:
        """The same from the number of rows of each category, the most frequent first.

        Arguments:
            field: The column in user units.
            counts: Rows by category.
            missing: Whether any cell is missing.
            limit: Categories that have a position of their own; beyond, the rarest share one.
            is_complete: Whether all categories are there, or the rarest ones were left out.
            clusters: Of the rarest categories.
        """
        counts = counts[counts > 0]  # a categorical counts the categories that no row has, too
        values = [plain_value(value) for value in counts.index]
        own = len(values) - len(clusters.cluster) if clusters is not None else limit - 1
        keep = values if len(values) <= limit else values[:own]
        keep = in_order(keep, field.order)
        pool = values[len(keep) :] if len(values) > limit else []
        shares = counts.to_numpy(dtype=float)[len(values) - len(pool) :]
        known = dict(zip(values, counts.tolist(), strict=True))
        rows = [int(known[value]) for value in (*keep, *pool)]
        pooled = (shares / shares.sum()).tolist() if pool else []
        return cls(field, keep, missing, pool, pooled, not is_complete, clusters, rows)

    def blocks(self, start: int) -> tuple[Block, ...]:
        """One choice block."""
        return (Block(start, start + self.width, "choice"),)

    def codes(self, series: pd.Series) -> np.ndarray:
        """Position of each cell's category, -1 for one never seen in training."""
        series = plain_cells(series)
        codes = pd.Index(self.values, dtype=object).get_indexer(pd.Index(series.astype(object)))
        if self.pool:
            place = pd.Index(self.pool, dtype=object).get_indexer(pd.Index(series.astype(object)))
            pooled = (codes < 0) if self.open_pool else place >= 0
            shared = np.zeros(len(self.pool), dtype=int) if self.clusters is None else self.clusters.cluster
            codes[pooled] = self._first_shared + shared[np.maximum(place, 0)][pooled]
        missing = series.isna().to_numpy()
        codes[missing] = len(self.values) if self.missing else -1
        return codes

    def encode(self, series: pd.Series) -> np.ndarray:
        """One-hot rows; a category never seen in training is a row of zeros, which no likelihood counts."""
        table = np.vstack([np.eye(self.width, dtype=np.float32), np.zeros((1, self.width), dtype=np.float32)])
        return table[self.codes(series)]

    def decode(self, x: np.ndarray, rng: np.random.Generator, first_row: int) -> pd.Series:
        """The category of the largest position."""
        return self.from_codes(x.argmax(axis=1), rng)

    @property
    def size(self) -> int:
        """Number of positions."""
        return self.width

    @property
    def _first_shared(self) -> int:
        return len(self.values) + self.missing

    def shared_code(self, place: int) -> int:
        """The position of the category at that place of the pool."""
        return self._first_shared + (0 if self.clusters is None else int(self.clusters.cluster[place]))

    def from_codes(self, codes: np.ndarray, rng: np.random.Generator) -> pd.Series:
        """The category of each code; one of the pool is drawn by its share."""
        if not self.pool:
            return pd.Series(self._take.take(codes), name=self.field.name, dtype=self._take.dtype)
        if self.clusters is not None:
            return self.settled(codes, np.full((len(codes), len(self.clusters.features)), np.nan), rng)
        is_pool = codes == self.width - 1
        return self._filled(codes, is_pool, rng.choice(len(self.pool), size=int(is_pool.sum()), p=self.pool_shares))

    def settled(self, codes: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> pd.Series:
        """The same, where the pool is in clusters: drawn by what else is in the row, (n, F), see `Clusters.settle`."""
        assert self.clusters is not None
        is_pool = codes >= self._first_shared
        shared, shares = codes[is_pool] - self._first_shared, np.asarray(self.pool_shares)
        return self._filled(codes, is_pool, self.clusters.settle(shared, seen[is_pool], shares, rng))

    def _filled(self, codes: np.ndarray, is_pool: np.ndarray, drawn: np.ndarray) -> pd.Series:
        values = self._take.take(np.where(is_pool, 0, codes)).astype(object)
        values[is_pool] = np.asarray(self.pool, dtype=object)[drawn]
        return pd.Series(values, name=self.field.name, dtype=object).astype(self._dtype)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "values": self.values,
            "missing": self.missing,
            "pool": self.pool,
            "pool_shares": self.pool_shares,
            "open_pool": self.open_pool,
            "clusters": None if self.clusters is None else self.clusters.state(),
            "rows": self.rows,
        }

    @classmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> ChoiceColumn:
        """Inverse of `state`."""
        clusters = state.get("clusters")
        return cls(
            field,
            state["values"],
            state["missing"],
            state["pool"],
            state["pool_shares"],
            state.get("open_pool", False),
            None if clusters is None else Clusters.from_state(clusters),
            state.get("rows", ()),
        )
