"""The beats of an endless series in NumPy; see `Beats` and `Stride`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datakiln.models.autoregressive.stride_columns import Array, Number, array
from datakiln.nets.beats import BETWEEN, CLOCKS, EARLY, KEPT, NEAR, NOW, UNKNOWN, Beats

if TYPE_CHECKING:
    from datakiln.models.autoregressive.walk import Walk


class StrideBeat:
    """When numbers change course, from what a walk has heard on.

    Arguments:
        beats: Of the model.
        walk: Which has told its states.
    """

    def __init__(self, beats: Beats, walk: Walk) -> None:
        """See the class."""
        self.clocks, self.bends = beats.clock.tolist(), beats.bends.tolist()
        self.odds, self.period = array(beats.odds), np.maximum(array(beats.period), 1)
        self.votes, self.enough, self.at = array(walk.votes), array(beats.enough()), walk.at

    def has(self, number: Number) -> bool:
        """See `Beat.has`."""
        return bool(self.clocks[number.number] >= 0)

    def begin(self) -> None:
        """See `Beats.time`."""
        is_now = np.where(self.votes.argmax(axis=2) == self.at % self.period, NOW, BETWEEN)
        self.time = np.where(self.votes.max(axis=2) >= self.enough, is_now, UNKNOWN + min(self.at, EARLY))
        self.changed = np.zeros(self.time.shape, np.float32)

    def end(self) -> None:
        """See `Beats.heard`."""
        self.votes *= np.float32(KEPT)
        self.votes[:, np.arange(CLOCKS), self.at % self.period] += self.changed
        self.at += 1

    def added(self, number: Number, may: Array) -> Array:
        """See `Beat.added`, of the kinds that there are, which may be, (n, kinds)."""
        clock = self.clocks[number.number]
        states = self.time[:, clock]
        states = np.where((states >= UNKNOWN) & (self.changed[:, clock] > 0), NOW, states)
        is_closed = ~may[:, number.held.index(1)] if 1 in number.held else np.ones(len(may), bool)
        found: Array = self.odds[states, is_closed.astype(np.int64), number.number][:, number.held]
        return found

    def hear(self, number: Number, may: Array, before: Array, ahead: Array, value: Array, there: Array) -> None:
        """See `changes`, of n rows: what the number was, where its line leads, what it is, and whether it is there."""
        stay, line = (may[:, number.held.index(k)] if k in number.held else np.zeros(len(may), bool) for k in (0, 1))
        is_usable, told = stay, before
        if self.bends[number.number]:
            is_usable, told = line | (stay & (np.abs(ahead - before) <= np.float32(NEAR))), ahead
        self.changed[:, self.clocks[number.number]] += there & is_usable & (np.abs(value - told) > np.float32(NEAR))
