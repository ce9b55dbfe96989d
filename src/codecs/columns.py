"""One column between user units and its positions in the encoded row.

A number column is a value, gated by a state where it can also be missing or sit on a spike (a single value that holds a
large share of the rows, such as the 92 % zeros of a capital gain). A choice column is a one-hot vector.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from src.codecs.encoders import ENCODERS
from src.codecs.scaling import NumericEncoder
from src.codecs.values import choice_array, choice_dtype, from_numbers, in_order, plain_cells, plain_value, to_numbers
from src.schema import Field
from src.spec import Block

SPIKE_SHARE = 0.25  # a value held by this share of the rows is a spike
SPIKE_DISTINCT = 20  # in columns with fewer distinct values every value is common, none is a spike
CLOCK_STEPS = (86_400.0, 3_600.0, 60.0, 1.0)  # seconds; dates come back as whole days, hours, ... if all of them are


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

    @classmethod
    @abc.abstractmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> ColumnCodec:
        """Inverse of `state`."""


class NumberColumn(ColumnCodec):
    """A numeric, integer or datetime column.

    Arguments:
        field: The column in user units.
        encoder: How finite values become model-space positions; fitted.
        spikes: Values with a state of their own.
        missing: Whether missing is one of the states.
        limits: Lowest and highest training value, for clipping; None to leave values free.
        step: Seconds that all training dates are multiples of; 0 for numbers and for dates without such a step.
    """

    kind = "number"

    def __init__(
        self,
        field: Field,
        encoder: NumericEncoder,
        spikes: list[float],
        missing: bool,
        limits: tuple[float, float] | None,
        step: float = 0.0,
    ) -> None:
        """See the class."""
        super().__init__(field)
        self.encoder = encoder
        self.spikes = spikes
        self.missing = missing
        self.limits = limits
        self.step = step
        self.states = 1 + len(spikes) + missing
        self.state_width = self.states if self.states > 1 else 0

    @classmethod
    def fit(cls, field: Field, series: pd.Series, encoder: NumericEncoder, clip: bool, spikes: bool) -> NumberColumn:
        """Learns spikes, missingness, limits and the encoder's parameters from the training rows."""
        values = to_numbers(series, field)
        missing = bool(np.isnan(values).any())
        finite = values[~np.isnan(values)]
        found: list[float] = []
        if spikes and encoder.wants_spikes:
            distinct, counts = np.unique(finite, return_counts=True)
            if len(distinct) > SPIKE_DISTINCT:
                found = distinct[counts >= SPIKE_SHARE * len(values)].tolist()
        free = finite[~np.isin(finite, found)] if found else finite
        encoder.fit(free if len(free) else finite)
        limits = (float(finite.min()), float(finite.max())) if clip and len(finite) else None
        steps = CLOCK_STEPS if field.type == "datetime" and len(finite) else ()
        step = next((step for step in steps if not (finite % step).any()), 0.0)
        return cls(field, encoder, found, missing, limits, step)

    def blocks(self, start: int) -> tuple[Block, ...]:
        """A choice block for the state where there is more than one, then the encoder's blocks, gated by it."""
        inner = self.encoder.blocks(start + self.state_width, gate=start if self.state_width else None)
        return (Block(start, start + self.state_width, "choice"), *inner) if self.state_width else inner

    def encode(self, series: pd.Series) -> np.ndarray:
        """State one-hot and encoded value; the value's positions are 0 where it is not observed."""
        values = to_numbers(series, self.field)
        state = np.zeros(len(values), dtype=np.int64)
        for i, spike in enumerate(self.spikes, start=1):
            state[values == spike] = i
        unknown = np.isnan(values)
        # a missing cell in a column that had none in training cannot be encoded as such: it takes the lowest value
        values = np.where(unknown, self.encoder.neutral, values)
        if self.missing:
            state[unknown] = self.states - 1
        body = self.encoder.encode(values)
        if not self.state_width:
            return body
        body = body * (state == 0)[:, None]
        return np.concatenate([np.eye(self.states, dtype=np.float32)[state], body], axis=1)

    def decode(self, x: np.ndarray, rng: np.random.Generator, first_row: int) -> pd.Series:
        """Inverse of `encode`, clipped to the limits and rounded as the input was."""
        values = self.encoder.decode(x[:, self.state_width :], rng)
        if self.step:
            values = np.round(values / self.step) * self.step
        if self.limits is not None:
            np.clip(values, *self.limits, out=values)
        if self.state_width:
            state = x[:, : self.state_width].argmax(axis=1)
            for i, spike in enumerate(self.spikes, start=1):
                values[state == i] = spike
            if self.missing:
                values[state == self.states - 1] = np.nan
        return from_numbers(values, self.field)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "encoder": {"kind": type(self.encoder).__name__, **self.encoder.state()},
            "spikes": self.spikes,
            "missing": self.missing,
            "limits": None if self.limits is None else list(self.limits),
            "step": self.step,
        }

    @classmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> NumberColumn:
        """Inverse of `state`."""
        inner = dict(state["encoder"])
        encoder = ENCODERS[inner.pop("kind")].from_state(inner)
        limits = None if state["limits"] is None else (state["limits"][0], state["limits"][1])
        return cls(field, encoder, list(state["spikes"]), state["missing"], limits, state["step"])


class ChoiceColumn(ColumnCodec):
    """A boolean, category or ordinal column.

    Arguments:
        field: The column in user units.
        values: Categories with a position of their own, as plain Python values.
        missing: Whether missing is a further category.
        pool: Rare categories that share one last position, drawn back by `pool_shares`.
        pool_shares: Their relative frequencies.
    """

    kind = "choice"

    def __init__(
        self, field: Field, values: list[Any], missing: bool, pool: list[Any], pool_shares: list[float]
    ) -> None:
        """See the class."""
        super().__init__(field)
        self.values = values
        self.missing = missing
        self.pool = pool
        self.pool_shares = pool_shares
        self.width = len(values) + missing + bool(pool)
        self._dtype = choice_dtype(field, [*values, *pool])
        self._take = choice_array([*values, *([None] if missing else [])], self._dtype)

    @classmethod
    def fit(cls, field: Field, series: pd.Series, limit: int) -> ChoiceColumn:
        """Learns the categories of the training rows; beyond `limit` of them the rarest share one position."""
        counts = plain_cells(series).value_counts(sort=True)
        counts = counts[counts > 0]  # a categorical counts the categories that no row has, too
        values = [plain_value(value) for value in counts.index]
        keep = values if len(values) <= limit else values[: limit - 1]
        keep = in_order(keep, field.order)
        pool = values[len(keep) :] if len(values) > limit else []
        shares = counts.to_numpy(dtype=float)[len(values) - len(pool) :]
        return cls(field, keep, bool(series.isna().any()), pool, (shares / shares.sum()).tolist() if pool else [])

    def blocks(self, start: int) -> tuple[Block, ...]:
        """One choice block."""
        return (Block(start, start + self.width, "choice"),)

    def codes(self, series: pd.Series) -> np.ndarray:
        """Position of each cell's category, -1 for one never seen in training."""
        series = plain_cells(series)
        codes = pd.Index(self.values, dtype=object).get_indexer(pd.Index(series.astype(object)))
        if self.pool:
            pooled = series.isin(self.pool).to_numpy()
            codes[pooled] = self.width - 1
        missing = series.isna().to_numpy()
        codes[missing] = len(self.values) if self.missing else -1
        return codes

    def encode(self, series: pd.Series) -> np.ndarray:
        """One-hot rows; a category never seen in training is a row of zeros, which no likelihood counts."""
        table = np.vstack([np.eye(self.width, dtype=np.float32), np.zeros((1, self.width), dtype=np.float32)])
        return table[self.codes(series)]

    def decode(self, x: np.ndarray, rng: np.random.Generator, first_row: int) -> pd.Series:
        """The category of the largest position."""
        codes = x.argmax(axis=1)
        if not self.pool:
            return pd.Series(self._take.take(codes), name=self.field.name, dtype=self._take.dtype)
        is_pool = codes == self.width - 1
        values = self._take.take(np.where(is_pool, 0, codes)).astype(object)
        drawn = rng.choice(len(self.pool), size=int(is_pool.sum()), p=self.pool_shares)
        values[is_pool] = np.asarray(self.pool, dtype=object)[drawn]
        return pd.Series(values, name=self.field.name, dtype=object).astype(self._dtype)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "values": self.values,
            "missing": self.missing,
            "pool": self.pool,
            "pool_shares": self.pool_shares,
        }

    @classmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> ChoiceColumn:
        """Inverse of `state`."""
        return cls(field, state["values"], state["missing"], state["pool"], state["pool_shares"])


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
        dtype: Any = self.field.dtype
        return values.rename(self.field.name).astype(dtype)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"constant": self.constant, "next_id": self.next_id}

    @classmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> GeneratedColumn:
        """Inverse of `state`."""
        return cls(field, state["constant"], state["next_id"])


COLUMN_KINDS: dict[str, type[ColumnCodec]] = {cls.kind: cls for cls in (NumberColumn, ChoiceColumn, GeneratedColumn)}
