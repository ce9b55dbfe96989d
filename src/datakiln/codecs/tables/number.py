"""Number columns: a value, gated by a state where it can also be missing or sit on a spike.

A spike is a single value that holds a large share of the rows, such as the 92 % zeros of a capital gain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.codecs.tables.modes import Modes
from datakiln.codecs.tables.scaling import MinMax, NumericEncoder, Quantile, Standard
from datakiln.codecs.tables.values import from_numbers, to_numbers
from datakiln.schema import Field
from datakiln.spec import Block

ENCODERS: dict[str, type[NumericEncoder]] = {
    cls.__name__: cls for cls in (MinMax, Standard, Quantile, Dequantised, Modes, Bins)
}


SPIKE_SHARE = 0.25  # a value held by this share of the rows is a spike
SPIKE_DISTINCT = 20  # in columns with fewer distinct values every value is common, none is a spike
CLOCK_STEPS = (86_400.0, 3_600.0, 60.0, 1.0)  # seconds; dates come back as whole days, hours, ... if all of them are
ROUND_STEPS = tuple(10.0**k for k in range(12, 0, -1))  # numbers as whole thousands, hundreds, tens likewise


def grid_of(field: Field, step: float) -> float:
    """What the values of a column are rounded to, 0 where they are not."""
    if step:
        return step
    return 0.0 if field.decimals is None else 10.0**-field.decimals


class NumberColumn(ColumnCodec):
    """A numeric, integer or datetime column.

    Arguments:
        field: The column in user units.
        encoder: How finite values become model-space positions; fitted.
        spikes: Values with a state of their own.
        missing: Whether missing is one of the states.
        limits: Lowest and highest training value, for clipping; None to leave values free.
        step: What all training values are multiples of: a power of ten from 10, or seconds of dates; 0 without one.
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
        free = free if len(free) else finite
        limits = (float(finite.min()), float(finite.max())) if clip and len(finite) else None
        steps = (CLOCK_STEPS if field.type == "datetime" else ROUND_STEPS) if finite.any() else ()
        step = next((step for step in steps if not (finite % step).any()), 0.0)
        if isinstance(encoder, Bins):
            encoder.fit(free, grid_of(field, step))
        else:
            encoder.fit(free)
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
        values = self._tidied(self.encoder.decode(x[:, self.state_width :], rng))
        if self.state_width:
            state = x[:, : self.state_width].argmax(axis=1)
            for i, spike in enumerate(self.spikes, start=1):
                values[state == i] = spike
            if self.missing:
                values[state == self.states - 1] = np.nan
        return from_numbers(values, self.field)

    def _tidied(self, values: np.ndarray) -> np.ndarray:
        if self.step:
            values = np.round(values / self.step) * self.step
        return values if self.limits is None else np.clip(values, *self.limits)

    @property
    def size(self) -> int | None:
        """Codes of the encoder, and one for missing."""
        return None if self.encoder.size is None else self.encoder.size + self.missing

    @property
    def ordered(self) -> int:
        """All codes but that for missing."""
        return self.encoder.size or 0

    def codes(self, series: pd.Series) -> np.ndarray:
        """The encoder's codes; missing is the last, or -1 where no training row missed."""
        values = to_numbers(series, self.field)
        codes = self.encoder.codes(np.where(np.isnan(values), self.encoder.neutral, values))
        assert self.encoder.size is not None
        return np.where(np.isnan(values), self.encoder.size if self.missing else -1, codes)

    def from_codes(self, codes: np.ndarray, rng: np.random.Generator) -> pd.Series:
        """Values clipped to the limits and rounded as the input was."""
        assert self.encoder.size is not None
        is_missing = codes >= self.encoder.size
        values = self._tidied(self.encoder.from_codes(np.where(is_missing, 0, codes), rng))
        return from_numbers(np.where(is_missing, np.nan, values), self.field)

    def places(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """The code of each cell as `codes` has it, and its coordinate: the code and the place inside it, from 0.

        What is rounded lies anywhere within its grid. The coordinate is NaN where the cell is missing.
        """
        assert isinstance(self.encoder, Bins)
        values, codes = to_numbers(series, self.field), self.codes(series)
        there = ~np.isnan(values)
        coordinates = np.full(len(values), np.nan)
        coordinates[there] = self.encoder.coordinates(values[there], grid_of(self.field, self.step))
        return np.where(there, np.floor(np.where(there, coordinates, 0.0)), codes).astype(np.int64), coordinates

    def from_places(self, codes: np.ndarray, coordinates: np.ndarray) -> pd.Series:
        """Inverse of `places`, for cells that are missing or lie inside one of the encoder's codes."""
        assert isinstance(self.encoder, Bins)
        is_missing = (codes == self.encoder.size) & self.missing
        inside = np.where(is_missing | np.isnan(coordinates), 0.0, coordinates)
        code = np.clip(np.floor(inside), 0, self.encoder.size - 1).astype(np.int64)
        values = self._tidied(self.encoder.at(code, inside - code))
        return from_numbers(np.where(is_missing, np.nan, values), self.field)

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
