"""All constraints of a table together: do they fit each other and the data, and which rows meet them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.constraints.base import Constraint
from datakiln.constraints.formula import Expression
from datakiln.constraints.groups import FixedCombinations, OneHot, Unique
from datakiln.constraints.ranges import Inequality, Range
from datakiln.domains.intervals import Interval, impossible
from datakiln.errors import UserError
from datakiln.schema import Schema

KINDS: dict[str, type[Constraint]] = {
    kind.__name__: kind for kind in (Range, Inequality, OneHot, FixedCombinations, Unique, Expression)
}


class Rules:
    """The constraints of a table.

    Arguments:
        constraints: As declared.
        schema: Of the table.

    Raises:
        UserError: One that cannot be asked of these columns, or several that exclude one another.
    """

    def __init__(self, constraints: Sequence[Constraint], schema: Schema) -> None:
        """See the class."""
        declared = constraints if isinstance(constraints, list | tuple) else [constraints]  # yaml can hold anything
        self.constraints, self.schema = tuple(declared), schema
        for constraint in self.constraints:
            if not isinstance(constraint, Constraint):
                example = "{_target_: datakiln.constraints.Range, column: age, low: 0}"
                raise UserError(f"data.constraints: {constraint} is no constraint; write a list such as [{example}]")
            constraint.check(schema)
        self.orders = [c.order for c in self.constraints if isinstance(c, Inequality)]
        name = self.impossible({})
        if name is not None:
            raise UserError(f"the constraints {self.limiting} exclude one another: no value is left for {name}")

    @property
    def limiting(self) -> str:
        """Those that `impossible` goes by, as a person would write them."""
        return ", ".join(f"'{c}'" for c in self.constraints if isinstance(c, Range | Inequality))

    def impossible(self, wanted: Mapping[str, Interval]) -> str | None:
        """A column that ranges and inequalities leave no value for, if columns must also lie in the intervals given."""
        bounds = dict(wanted)
        for constraint in self.constraints:
            if isinstance(constraint, Range):
                (name,) = constraint.columns
                bounds[name] = bounds.get(name, Interval()) & constraint.interval(self.schema)
        return impossible(bounds, self.orders)

    def fit(self, train: pd.DataFrame) -> list[tuple[Constraint, int]]:
        """Learns what there is to learn; for each constraint the number of training rows that break it.

        Raises:
            UserError: No training row meets them all, or most rows break one.
        """
        left, broken = np.ones(len(train), dtype=bool), []
        for i, constraint in enumerate(self.constraints):
            constraint.fit(train, self.schema)
            met = constraint.holds(train, self.schema)
            _check_present(constraint, met, train)
            left &= met
            broken.append((constraint, int((~met).sum())))
            if not left.any():
                others = ", ".join(f"'{other}'" for other in self.constraints[:i])
                raise UserError(f"no training row meets the constraint '{constraint}' together with {others}")
        for constraint, count in broken:
            _check_broken(constraint, count, len(train))
        return broken

    def solve(self, frame: pd.DataFrame, fixed: Collection[str]) -> pd.DataFrame:
        """Rows that meet the equalities among them, by setting columns that are not fixed.

        Arguments:
            frame: Drawn rows.
            fixed: Columns that something was asked of.
        """
        settled = set(fixed)
        for constraint in self.constraints:
            if isinstance(constraint, Expression):
                frame, done = constraint.solved(frame, self.schema, settled)
                if done:
                    settled |= set(constraint.columns)  # else a later one would undo it
        return frame

    @property
    def rowwise(self) -> tuple[Constraint, ...]:
        """Those that a row meets or not whatever the other rows are."""
        return tuple(constraint for constraint in self.constraints if not isinstance(constraint, Unique))

    @property
    def unique(self) -> tuple[Unique, ...]:
        """Those that compare rows, except where new ids make all rows differ."""
        return tuple(c for c in self.constraints if isinstance(c, Unique) and not c.is_given(self.schema))

    def state(self) -> list[dict[str, Any]]:
        """Plain values for a checkpoint."""
        return [{"kind": type(constraint).__name__, **constraint.arguments()} for constraint in self.constraints]

    @classmethod
    def from_state(cls, state: Sequence[Mapping[str, Any]], schema: Schema) -> Rules:
        """Inverse of `state`; raises `UserError` for a kind of constraint that this program does not have."""
        made = []
        for entry in state:
            arguments = dict(entry)
            kind = KINDS.get(str(arguments.pop("kind")))
            if kind is None:
                raise UserError(f"the checkpoint has a constraint of unknown kind {entry['kind']!r}")
            made.append(kind(**arguments))
        return cls(made, schema)


MOST_BROKEN = 0.5  # share of the training rows that may break a constraint: beyond, it is not what the table is like


def _check_broken(constraint: Constraint, count: int, rows: int) -> None:
    """Raises `UserError` for a rule that a model of this table would seldom meet; what repeats, it need not repeat."""
    if count > MOST_BROKEN * rows and not isinstance(constraint, Unique):
        told = f"constraint '{constraint}' is broken by {count} of {rows} training rows"
        raise UserError(f"{told}, so that most rows made would have to be thrown away; mend it, or leave it out")


def _check_present(constraint: Constraint, met: np.ndarray, train: pd.DataFrame) -> None:
    """Raises `UserError` for a range or order that only rows with a missing cell meet: no other could be made."""
    is_tolerant = isinstance(constraint, Range | Inequality)
    present = train[list(constraint.columns)].notna().all(axis=1).to_numpy() if is_tolerant else np.ones_like(met)
    if present.any() and not (met & present).any():
        count = int(present.sum())
        raise UserError(f"constraint '{constraint}' is met by none of the {count} training rows with values")
