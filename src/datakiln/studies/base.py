"""The door to the studies: what each needs, and one call that runs, caps, draws and sums up any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datakiln.console import Console
from datakiln.errors import UserError, near
from datakiln.results import Score, Study
from datakiln.schema import Schema
from datakiln.studies.journal import Journal, run_cells, seconds_of

VERSION = 2  # of what a cell holds: those of another are not gone on with
NAMES = ("utility", "augmentation", "fairness")
Sampler = Callable[[int, dict[str, Any], int], Any]  # n, condition, seed -> synthetic rows
Trainer = Callable[[pd.DataFrame, int], Sampler]  # real rows, seed -> a generator that has seen no others


@dataclass(frozen=True)
class Wish:
    """What a person asks of a study.

    Attributes:
        name: One of `NAMES`.
        budget: Most time for one call, such as "2m"; None for no cap.
        tuning: Settings that every learner tries in every arm; 1 for none.
        repeats: Paired halves of training rows, or paired seeds; None for the study's own number.
        protected: Column whose groups are compared, for fairness.
    """

    name: str
    budget: str | None = None
    tuning: int = 3
    repeats: int | None = None
    protected: str | None = None

    def check(self) -> Wish:
        """Refuses what cannot be meant, before anything is read.

        Raises:
            UserError: An unknown study, a number out of range, or a choice that changes nothing.
        """
        if self.name not in NAMES:
            raise UserError(f"study={self.name} is not known; choose {', '.join(NAMES)}{near(self.name, NAMES)}")
        seconds_of(self.budget)
        if not 1 <= self.tuning <= 4:
            raise UserError(f"tuning={self.tuning} must be 1 (none) to 4 settings of every learner")
        if self.repeats is not None and not 2 <= self.repeats <= 100:
            raise UserError(f"repeats={self.repeats} must be 2 to 100: one alone tells nothing of chance")
        if (self.protected is None) == (self.name == "fairness"):
            if self.protected is None:
                raise UserError("study=fairness needs the column of its groups: data.protected=sex")
            raise UserError(f"data.protected={self.protected} is for study=fairness; leave it out")
        if self.name == "fairness" and self.repeats is not None:
            raise UserError(f"repeats={self.repeats} changes nothing about study=fairness; leave it out")
        return self


@dataclass(frozen=True)
class Material:
    """The tables of a study.

    Attributes:
        schema: Their columns; its label is what is learnt.
        train: Real rows that the generator may have seen.
        test: Real rows that nothing else sees.
        made: Synthetic rows.
        seed: Of all that is drawn.
        sampler: Makes more synthetic rows under a condition, where there is a generator.
        trainer: Trains a new generator on other rows, where that can be done.
    """

    schema: Schema
    train: pd.DataFrame
    test: pd.DataFrame
    made: pd.DataFrame
    seed: int
    sampler: Sampler | None = None
    trainer: Trainer | None = None


Result = tuple[Study, list[Score], list[Path]]


def run_study(wish: Wish, material: Material, folder: Path, console: Console) -> Result:
    """Runs a study of tables in a folder, as far as its budget goes.

    Returns:
        The study, its figures for `result.json`, and its pictures.

    Raises:
        UserError: Tables that it cannot be made of, or a folder that holds another study.
    """
    identity = {"study": wish.name, "version": VERSION, "tuning": wish.tuning, "repeats": wish.repeats,
                "protected": wish.protected, "seed": material.seed, "target": material.schema.label,
                "data": digest((material.train, material.test, material.made))}  # fmt: skip
    if wish.name == "utility":
        from datakiln.studies import utility
        from datakiln.studies.tables import task_of

        task = task_of(material.schema, material.train, material.test, [material.made])
        cells = utility.cells_of(task, material.seed, wish.tuning, wish.repeats or utility.HALVES)
        outcome = run_cells(cells, Journal(folder, identity), seconds_of(wish.budget), console)
        return (
            utility.study_of(task, outcome),
            utility.figures_of(task, outcome.done),
            utility.plots_of(task, outcome.done, folder),
        )
    if wish.name == "fairness":
        from datakiln.studies.fairness import run_fairness

        return run_fairness(wish, material, Journal(folder, identity), folder, console)
    from datakiln.studies.augmentation import run_augmentation

    return run_augmentation(wish, material, Journal(folder, identity), folder, console)


def digest(frames: Sequence[pd.DataFrame]) -> str:
    """A hash of the cells of tables, by which a study knows its own again."""
    found = hashlib.sha256()
    for frame in frames:
        found.update(repr((list(map(str, frame.columns)), len(frame))).encode())
        cells = frame.astype(object).where(frame.notna(), None)
        found.update(np.asarray(pd.util.hash_pandas_object(cells.astype(str), index=False)).tobytes())
    return found.hexdigest()


def finish(study: Study, pictures: Sequence[Path], beside: Path) -> Study:
    """The study with its pictures named from the folder of the report."""
    study.pictures = [path.relative_to(beside).as_posix() for path in pictures]
    return study
