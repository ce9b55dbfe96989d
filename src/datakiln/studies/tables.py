"""What is learnt from a table, and from which rows: one encoding for real, synthetic and test rows.

Only what categories there are is taken from all rows, so that equal cells have equal codes; scales, medians and which
categories are common are each learner's own, from the rows of its arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.errors import UserError
from datakiln.metrics.base import MetricError
from datakiln.metrics.tables.columns import Coded, encode
from datakiln.schema import Schema

FEWEST = 20  # rows to learn from and to test on: a study of fewer says nothing
MAX_CLASSES = 50


@dataclass(frozen=True)
class Part:
    """Rows to learn from or to test on.

    Attributes:
        x: The columns but the target.
        y: The target: class indices as floats, or numbers; shape (n,).
        weight: How much each row counts, shape (n,), or None for all alike.
    """

    x: Coded
    y: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(self.y)

    def take(self, rows: NDArray[np.int64] | slice) -> Part:
        """Some of the rows."""
        return Part(self.x.take(rows), self.y[rows], None if self.weight is None else self.weight[rows])

    def sample(self, n: int, rng: np.random.Generator) -> Part:
        """Rows without replacement in random order, n at most."""
        return self.take(rng.permutation(len(self))[:n])

    def __add__(self, other: Part) -> Part:
        """Rows of both."""
        x = Coded(*(np.concatenate([a, b]) for a, b in zip(_arrays(self), _arrays(other), strict=True)))
        return Part(x, np.concatenate([self.y, other.y]))


def _arrays(part: Part) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return part.x.numbers, part.x.codes


@dataclass(frozen=True)
class Task:
    """A target to be learnt.

    Attributes:
        target: Its column.
        columns: The others, numbers first.
        classes: Number of classes; 0 for a number.
        names: Of the classes, in the order of their indices.
        train: Real rows that the generator may have seen.
        test: Real rows that nothing else sees.
        made: Synthetic tables, in the order they were given.
        cores: Processor cores that learners may use.
        learners: What the learners are called, by their short names; empty for those of tables.
        leading: The figure that leads; empty for ROC-AUC, or R2 of a number.
    """

    target: str
    columns: tuple[str, ...]
    classes: int
    names: tuple[str, ...]
    train: Part
    test: Part
    made: tuple[Part, ...]
    cores: int
    learners: Mapping[str, str] = field(default_factory=dict)
    leading: str = ""

    @property
    def main(self) -> str:
        """The figure that leads."""
        return self.leading or ("auc" if self.classes else "r2")


def task_of(schema: Schema, train: pd.DataFrame, test: pd.DataFrame, made: Sequence[pd.DataFrame]) -> Task:
    """The schema's label as what is to be learnt from all other columns.

    Raises:
        UserError: No target, one that cannot be learnt, nothing to learn it from, too few rows, or one class only.
    """
    from joblib import cpu_count

    target = schema.label
    if target is None:
        raise UserError(
            "study= needs a column to learn; name it with target=COLUMN (data.target= or data.source.label= in a run)"
        )
    if not (schema[target].is_numeric or schema[target].is_choice):
        raise UserError(
            f"target={target} is {schema[target].type}, which cannot be learnt; choose a number or a category"
        )
    try:
        t = encode(schema, (train, test, *made))
    except MetricError as error:
        raise UserError(f"study=: {error}") from None
    is_choice = schema[target].is_choice
    position = (t.choices if is_choice else t.numeric).index(target)
    parts = [_part(coded, position, is_choice) for coded in t.parts]
    columns = tuple(name for name in (*t.numeric, *t.choices) if name != target)
    names = tuple(str(value) for value in t.categories[position]) if is_choice else ()
    if not columns:
        raise UserError(f"target={target} is the only column; a study needs others to learn it from")
    if len(names) > MAX_CLASSES:
        raise UserError(f"target={target} has {len(names)} classes; a study learns {MAX_CLASSES} at most")
    for what, part in zip(("training", "holdout", *["synthetic"] * len(made)), parts, strict=True):
        if len(part) < FEWEST:
            told = f"{len(part)} {what} rows with a value of {target} are too few for a study"
            raise UserError(f"{told}; {FEWEST} are the least, some hundred tell something")
        if what != "synthetic" and len(np.unique(part.y)) < 2:
            raise UserError(f"the {what} rows have one value of {target} only; there is nothing to learn")
    return Task(target, columns, len(names), names, parts[0], parts[1], tuple(parts[2:]), cpu_count())


def _part(coded: Coded, position: int, is_choice: bool) -> Part:
    """Features and target of the rows that have one."""
    y = coded.codes[:, position].astype(np.float64) if is_choice else coded.numbers[:, position]
    known = y >= 0 if is_choice else ~np.isnan(y)
    numbers = coded.numbers if is_choice else np.delete(coded.numbers, position, axis=1)
    codes = np.delete(coded.codes, position, axis=1) if is_choice else coded.codes
    return Part(Coded(numbers[known], codes[known]), y[known])
