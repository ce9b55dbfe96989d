"""Which rows are still wanted while they are drawn, and what became of those drawn so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from src.constraints import Constraint, Unique

FEWEST = 1024  # rows drawn at a time, after the first


@dataclass
class Account:
    """What has been drawn so far.

    Attributes:
        wanted: Rows of each class still to be found.
        hits: Rows of each class that met conditions and constraints.
        drawn: Rows drawn.
        met: Rows that met the conditions.
        broken: Rows that met the conditions but broke a constraint, by constraint.
        seen: Keys of the rows that were kept, for each constraint that forbids to repeat them.
    """

    wanted: np.ndarray
    hits: np.ndarray
    drawn: int = 0
    met: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    seen: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, n: int, first_row: int, classes: int) -> Account:
        """For rows first_row to first_row + n, when row i is of class i modulo their number."""
        place = np.arange(classes)
        wanted = (first_row + n - place + classes - 1) // classes - (first_row - place + classes - 1) // classes
        return cls(wanted, np.zeros(classes, dtype=np.int64))

    def size(self, most: int) -> int:
        """Rows to draw: first as many as are wanted, then so many more as the share that was kept asks for."""
        wanted = int(self.wanted.sum())
        if self.drawn:
            wanted = max(FEWEST, round(wanted * (self.drawn + 1) / (int(self.hits.sum()) + 1)))
        return min(most, wanted)

    def blame(self, constraint: Constraint, rows: int) -> None:
        """Counts rows that a constraint alone kept out."""
        self.broken[str(constraint)] = self.broken.get(str(constraint), 0) + rows

    def take(self, at: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The first rows of each class, up to what is wanted of it.

        Arguments:
            at: Rows that met conditions and constraints, shape (n,).
            places: Class of each, -1 for none.
        """
        at, places = at[places >= 0], places[places >= 0]
        self.hits += np.bincount(places, minlength=len(self.hits))
        earlier = pd.Series(places).groupby(places).cumcount().to_numpy()
        is_wanted = earlier < self.wanted[places]
        self.wanted = self.wanted - np.bincount(places[is_wanted], minlength=len(self.hits))
        return at[is_wanted]

    def not_seen(self, frame: pd.DataFrame, at: np.ndarray, unique: Sequence[Unique]) -> np.ndarray:
        """Without rows that repeat another where the constraints forbid it."""
        self.seen = self.seen or [np.zeros(0, dtype=np.uint64) for _ in unique]
        for constraint, seen in zip(unique, self.seen, strict=True):
            keys, counts = constraint.keys(frame.take(at))
            is_new = ~pd.Series(keys).duplicated().to_numpy() & ~np.isin(keys, seen)
            self.blame(constraint, int((counts & ~is_new).sum()))
            at = at[is_new | ~counts]
        return at

    def remember(self, frame: pd.DataFrame, at: np.ndarray, unique: Sequence[Unique]) -> None:
        """Keeps the keys of rows that were kept."""
        for i, constraint in enumerate(unique):
            keys, counts = constraint.keys(frame.take(at))
            self.seen[i] = np.concatenate([self.seen[i], keys[counts]])
