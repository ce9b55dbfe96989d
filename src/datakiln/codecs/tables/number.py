"""Number columns: a value, gated by a state where it can also be missing or sit on a spike.

A spike is a single value that holds a large share of the rows, such as the 92 % zeros of a capital gain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.atoms import Atoms, is_sparse
from datakiln.codecs.tables.bins import BELOW_ONE, EVERYWHERE, Bins
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.codecs.tables.grid import Grid
from datakiln.codecs.tables.grid import find as find_grid
from datakiln.codecs.tables.modes import Modes
from datakiln.codecs.tables.scaling import MinMax, NumericEncoder, Quantile, Standard
from datakiln.codecs.tables.values import all_numbers, from_numbers, to_numbers
from datakiln.errors import UserError
from datakiln.schema import Field
from datakiln.spec import Block

ENCODERS: dict[str, type[NumericEncoder]] = {
    cls.__name__: cls for cls in (MinMax, Standard, Quantile, Dequantised, Modes, Bins)
}


LARGEST = 1e37  # beyond which sums of 32-bit floats overflow
SPIKE_SHARE = 0.25  # a value held by this share of the rows is a spike
SPIKE_DISTINCT = 20  # in columns with fewer distinct values every value is common, none is a spike


class NumberColumn(ColumnCodec):
    """A numeric, integer or datetime column.

    Arguments:
        field: The column in user units.
        encoder: How finite values become model-space positions; fitted.
        spikes: Values with a state of their own.
        missing: Whether missing is one of the states.
        limits: Lowest and highest training value, for clipping; None to leave values free.
        grid: Where the training values lie.
        atoms: Values that several rows share, of an encoder with codes; None where hardly any do.
    """

    kind = "number"

    def __init__(
        self,
        field: Field,
        encoder: NumericEncoder,
        spikes: list[float],
        missing: bool,
        limits: tuple[float, float] | None,
        grid: Grid = EVERYWHERE,
        atoms: Atoms | None = None,
    ) -> None:
        """See the class."""
        super().__init__(field)
        self.encoder = encoder
        self.spikes = spikes
        self.missing = missing
        self.limits = limits
        self.grid = grid
        self.atoms = atoms
        self.states = 1 + len(spikes) + missing
        self.state_width = self.states if self.states > 1 else 0

    @classmethod
    def fit(cls, field: Field, series: pd.Series, encoder: NumericEncoder, clip: bool, spikes: bool) -> NumberColumn:
        """Learns spikes, missingness, limits and the encoder's parameters from the training rows.

        Raises:
            UserError: A number is too large to reckon with.
        """
        values = to_numbers(series, field)
        missing = bool(np.isnan(values).any())
        finite = values[~np.isnan(values)]
        size = float(np.abs(finite[np.isfinite(finite)]).max(initial=0.0))
        if size > LARGEST:
            told = (
                f"column {field.name!r} holds numbers up to {size:.3g} in size, models reckon with {LARGEST:g} at most"
            )
            raise UserError(f"{told}; write it in a larger unit, or leave it out with data.types.{field.name}=drop")
        found: list[float] = []
        if spikes and encoder.wants_spikes:
            distinct, counts = np.unique(finite, return_counts=True)
            if len(distinct) > SPIKE_DISTINCT:
                found = distinct[counts >= SPIKE_SHARE * len(values)].tolist()
        free = finite[~np.isin(finite, found)] if found else finite
        free = free if len(free) else finite
        limits = (float(finite.min()), float(finite.max())) if clip and len(finite) else None
        grid = find_grid(finite, field.decimals, field.type == "datetime")
        if not isinstance(encoder, Bins):
            encoder.fit(free)
            return cls(field, encoder, found, missing, limits, grid)
        atoms = None
        if is_sparse(free, grid.step):
            encoder.fit(free, grid, shared=True)
            atoms = Atoms.find(free, encoder.codes(free), encoder.knots)
        if atoms is None:
            encoder.fit(free, grid)
        return cls(field, encoder, found, missing, limits, grid, atoms)

    @property
    def step(self) -> float:
        """What all training values are multiples of, where that is more than their decimals say; else 0."""
        return self.grid.step if self.grid.is_rough else 0.0

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

    def _inside(self, codes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Values at places of codes; those of codes that stand for many are put where the training values lie."""
        assert isinstance(self.encoder, Bins)
        values = self.encoder.at(codes, places)
        if self.atoms is not None:
            put, is_shared = self.atoms.values(codes + np.clip(places, 0.0, BELOW_ONE))
            put = np.where(is_shared, put, replace(self.grid, endings=()).put(put))
        else:
            put = self.grid.put(values)
        return self._clipped(np.where(self.encoder.is_single[codes], values, put))

    def _tidied(self, values: np.ndarray) -> np.ndarray:
        return self._clipped(replace(self.grid, endings=()).put(values))

    def _clipped(self, values: np.ndarray) -> np.ndarray:
        return values if self.limits is None else np.clip(values, *self.limits)

    @property
    def pieces(self) -> tuple[tuple[float, float, float, float], ...]:
        """Where values are shared among the coordinates, codes of single ones among them; see `Block`."""
        if self.atoms is None or not isinstance(self.encoder, Bins):
            return ()
        single = np.flatnonzero(self.encoder.is_single)
        value = self.encoder.knots[single, 0]
        own = (single, single + 1, value, value)
        parts = (self.atoms.start, self.atoms.stop, self.atoms.low, self.atoms.high)
        pairs = zip(parts, own, strict=True)
        start, stop, low, high = (np.concatenate([part, more]).astype(np.float64) for part, more in pairs)
        order = np.argsort(start, kind="stable")
        return tuple(zip(*(part[order].tolist() for part in (start, stop, low, high)), strict=True))

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
        code = np.where(is_missing, 0, codes)
        values = (
            self._inside(code, rng.random(len(code)))
            if isinstance(self.encoder, Bins)
            else self._tidied(self.encoder.from_codes(code, rng))
        )
        return from_numbers(np.where(is_missing, np.nan, values), self.field)

    def places(self, series: pd.Series, inside: np.ndarray | float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """The code of each cell as `codes` has it, and its coordinate: the code and the place inside it, from 0.

        The coordinate is NaN where the cell is missing; for `inside` see `Grid.dequantise`.
        """
        assert isinstance(self.encoder, Bins)
        values, codes = to_numbers(series, self.field), self.codes(series)
        there = ~np.isnan(values)
        filled = np.where(there, values, self.encoder.neutral)
        found = self.encoder.coordinates(filled, self.grid, inside)
        if self.atoms is not None:
            is_single = self.encoder.is_single[self.encoder.codes(filled)]
            found = np.where(is_single, found, self.atoms.coordinates(filled, inside))
        coordinates = np.where(there, found, np.nan)
        return np.where(there, np.floor(np.where(there, coordinates, 0.0)), codes).astype(np.int64), coordinates

    def from_places(self, codes: np.ndarray, coordinates: np.ndarray) -> pd.Series:
        """Inverse of `places`, for cells that are missing or lie inside one of the encoder's codes."""
        assert isinstance(self.encoder, Bins)
        is_missing = (codes == self.encoder.size) & self.missing
        inside = np.where(is_missing | np.isnan(coordinates), 0.0, coordinates)
        code = np.clip(np.floor(inside), 0, self.encoder.size - 1).astype(np.int64)
        values = self._inside(code, inside - code)
        return from_numbers(np.where(is_missing, np.nan, values), self.field)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "encoder": {"kind": type(self.encoder).__name__, **self.encoder.state()},
            "spikes": self.spikes,
            "missing": self.missing,
            "limits": None if self.limits is None else list(self.limits),
            "grid": self.grid.state(),
            "atoms": None if self.atoms is None else self.atoms.state(),
        }

    @classmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> NumberColumn:
        """Inverse of `state`; raises `ValueError` for what is no state of a number column."""
        inner = dict(state["encoder"])
        encoder = ENCODERS[inner.pop("kind")].from_state(inner)
        spikes, limits = all_numbers(state["spikes"]), state["limits"]
        if not isinstance(state["missing"], bool):
            raise ValueError(f"missing of {field.name} is neither true nor false")
        if limits is not None:
            low, high = all_numbers(limits)
            limits = (low, high)
        atoms = state.get("atoms")  # not in checkpoints of before
        repeated = None if atoms is None else Atoms.from_state(atoms)
        return cls(field, encoder, spikes, state["missing"], limits, Grid.from_state(state["grid"]), repeated)
