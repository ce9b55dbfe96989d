"""Missing cells of a table drawn given the others of their row, in keeping with its relations and constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from datakiln.codecs.tables.table import TableCodec
from datakiln.constraints import Rules
from datakiln.sampling.agreeing import Agreeing, is_within
from datakiln.sampling.related import beside_given, completed_frame

FILL_TRIES = 20  # draws for a cell that is to be filled, until one is not missing again
PICKED = 5  # draws of a row that breaks a rule, before its sources are picked from the values that fit
EACH, AT_ONCE = 32, 4096  # rows drawn for one that breaks a rule, and for all of them, in one of these draws
ANY = 1024  # rows drawn to see which times of day dates have


class Imputing:
    """How the holes of a table are filled.

    Arguments:
        codec: Fitted.
        rules: Constraints that rows meet as well.
        draw: Whole rows, given such with holes of shape (n, ...) and the seeds of one draw.
    """

    def __init__(
        self, codec: TableCodec, rules: Rules, draw: Callable[[pd.DataFrame, tuple[int, int, int]], pd.DataFrame]
    ) -> None:
        """See the class."""
        self.codec, self.rules, self.draw = codec, rules, draw

    def filled(self, given: pd.DataFrame, seed: int) -> pd.DataFrame:
        """The rows with their holes filled; of several draws for one that breaks a rule the first that does not.

        So for a row with a computed cell outside of the training range.
        """
        told, agreeing = completed(self.codec, self.rules, given), Agreeing(self.codec, lambda: self._any(given, seed))
        filled = self._drawn(told, seed, 0)
        is_fixed, is_open = told.notna(), given.isna().any(axis=1) & ~breaks(self.codec, self.rules, given)
        faults = self._faults(filled, is_fixed)
        for turn in range(1, FILL_TRIES):
            at = np.flatnonzero(is_open & (faults > 0))
            if not len(at):
                break
            rows = np.repeat(at, max(1, min(2 ** (turn - 1), EACH, max(AT_ONCE, len(filled)) // len(at))))
            again = told.iloc[rows].reset_index(drop=True)
            if turn >= PICKED:
                rng = np.random.default_rng([abs(seed), turn])
                picked = agreeing.picked(given.iloc[rows].reset_index(drop=True), rng)
                again = completed(self.codec, self.rules, picked)
            again = self._drawn(again, seed, turn)
            found = self._faults(again, is_fixed.iloc[rows])
            order = np.lexsort((found, rows))
            row, first = np.unique(rows[order], return_index=True)
            is_better = found[order[first]] < faults[row]
            row, best = row[is_better], order[first][is_better]
            faults[row] = found[best]
            place = np.arange(len(filled))
            place[row] = len(filled) + np.arange(len(row))
            both = pd.concat([filled, again.iloc[best]], ignore_index=True)
            filled = both.take(place).reset_index(drop=True)
        return filled

    def _faults(self, rows: pd.DataFrame, is_fixed: pd.DataFrame) -> np.ndarray:
        """2 for a row that breaks a rule, 1 for one with a computed cell outside of the training range, else 0.

        Arguments:
            rows: Without holes.
            is_fixed: Cells that are given, or follow from those that are.
        """
        outside = np.zeros(len(rows), dtype=bool)
        for name in sorted({name for relation in self.codec.plan.made.values() for name in relation.columns}):
            if name in rows and not is_fixed[name].all():
                outside |= ~is_fixed[name].to_numpy() & ~is_within(self.codec, name, rows[name])
        return np.where(breaks(self.codec, self.rules, rows), 2, outside.astype(np.int64))

    def _any(self, given: pd.DataFrame, seed: int) -> pd.DataFrame:
        """Rows of which nothing is given."""
        nothing = pd.DataFrame(None, index=range(ANY), columns=given.columns, dtype=object)
        return self.draw(nothing, (seed, FILL_TRIES, 0))

    def _drawn(self, given: pd.DataFrame, seed: int, turn: int) -> pd.DataFrame:
        """The rows with their holes drawn, again and again where what is drawn is missing."""
        filled = given.copy()
        for i in range(FILL_TRIES):
            at = np.flatnonzero(filled.isna().any(axis=1))
            if not len(at):
                break
            gaps = filled.iloc[at].reset_index(drop=True)
            drawn = self.draw(gaps, (seed, turn, i))
            if self.codec.plan.relations:
                drawn = beside_given(self.codec, gaps, drawn)
            for name in gaps.columns[gaps.isna().any()]:
                column = gaps[name].where(gaps[name].notna(), drawn[name])
                filled.loc[at, name] = column.to_numpy()
        return filled


def completed(codec: TableCodec, rules: Rules, given: pd.DataFrame) -> pd.DataFrame:
    """The rows with what follows from their cells, but for those in which it cannot all be true.

    A price that a rounded share of it leaves two values takes the wrong one where its total tells them apart.
    """
    if not codec.plan.relations:
        return given
    told = completed_frame(codec, given)
    wrong = breaks(codec, rules, told) & ~breaks(codec, rules, given)
    return told.mask(np.broadcast_to(wrong[:, None], told.shape), given) if wrong.any() else told


def breaks(codec: TableCodec, rules: Rules, rows: pd.DataFrame) -> np.ndarray:
    """Rows that break a constraint, or a relation of every training row, of those whose columns are all there."""
    bad = np.zeros(len(rows), dtype=bool)
    for _, those in broken(codec, rules, rows):
        bad |= those
    return bad


def broken(codec: TableCodec, rules: Rules, rows: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Each of these rules with the rows that break it, none of which lacks a cell of its columns."""
    for constraint in rules.rowwise:
        if set(constraint.columns) <= set(rows):
            bad = rows[list(constraint.columns)].notna().all(axis=1).to_numpy(copy=True)
            bad[bad] = ~constraint.holds(rows[bad].infer_objects(), rules.schema)
            yield str(constraint), bad
    for relation in codec.plan.relations:
        if (relation.is_exact or relation.mode == "checked") and set(relation.columns) <= set(rows):
            yield str(relation), relation.breaks(rows, codec.schema)
