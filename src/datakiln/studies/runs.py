"""Studies of a run: its data, its synthetic rows or pictures, and generators of the same recipe on fewer rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from datakiln.console import Console
from datakiln.data.base import GenerativeData
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.studies.base import Material, Result, Wish, run_study
from datakiln.studies.generators import Recipe, table_trainer

PAID = (
    "study= trains learners on the real rows and tells what they reach, which privacy= does not pay for; leave out "
    "study=, or study files: src.evaluate real=... holdout=... synthetic=... with figures that you keep to yourself"
)


def study_data(
    wish: Wish, data: GenerativeData, synthesizer: Synthesizer, n: int, seed: int, folder: Path, console: Console,
    recipe: Recipe,
) -> Result:  # fmt: skip
    """A study of a run's data and model.

    Arguments:
        wish: What is asked.
        data: After `setup`.
        synthesizer: The trained model.
        n: Synthetic examples.
        seed: Of them and of the study.
        folder: Where the study lies.
        console: Where to say how far it is.
        recipe: How further generators are trained.

    Raises:
        UserError: The data has nothing to learn, or the model makes nothing by itself.
    """
    if not synthesizer.model.can_draw:
        raise UserError(f"{type(synthesizer.model).__name__} draws nothing by itself; study= needs a model that does")
    if data.privacy.is_on:
        raise UserError(PAID)
    if data.kind == "series":
        raise UserError(f"study={wish.name} is for tables and pictures, not for series")
    if not isinstance(data, TableData):
        from datakiln.data.pictures.pictures import ImageData

        if not isinstance(data, ImageData):
            raise UserError(f"study={wish.name} is for tables and pictures, not for {data.kind}")
        from datakiln.studies.pictures import check_pictures, study_pictures

        check_pictures(wish, data, synthesizer.model.conditioning == "label")
        if wish.name == "augmentation":
            from datakiln.studies.few_pictures import study_few_pictures

            return study_few_pictures(wish, data, recipe, seed, folder, console)
        return study_pictures(wish, data, synthesizer, n, seed, folder, console)
    if data.stream is not None:
        raise UserError(
            "study= is for tables in memory, this one is on disk; set data.streaming=false, or study a part"
        )
    frames = data.frames

    def sampler(n: int, condition: dict[str, Any], seed: int) -> pd.DataFrame:
        made: pd.DataFrame = synthesizer.sample(n, condition, seed)
        return made

    made = sampler(n, {}, seed)
    trainer = None
    if wish.name == "augmentation":
        trainer = table_trainer(recipe, data)
    material = Material(data.schema, frames["train"], frames["test"], made, seed, sampler, trainer)
    return run_study(wish, material, folder, console)


def preview_of(run: Path) -> pd.DataFrame | None:
    """The first synthetic rows of a run of rows, for its report."""
    path = run / "synthetic.csv"
    return pd.read_csv(path, nrows=10, dtype=str) if path.exists() else None
