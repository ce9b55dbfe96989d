"""`study=utility` in a run: the study after training, in a folder of its own inside the run's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from datakiln.data.pictures.pictures import ImageData
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.results import Score, Study
from datakiln.studies.base import Wish, finish
from datakiln.studies.fairness import groups_of
from datakiln.studies.generators import Recipe
from datakiln.studies.runs import PAID, study_data

if TYPE_CHECKING:
    from datakiln.jobs.job import Job


def wish_of(job: Job) -> Wish:
    """What is asked; raises `UserError` for what cannot be meant."""
    protected = getattr(job.data, "protected", None)
    name = str(job.cfg.study)
    return Wish(name, job.cfg.study_budget, protected=protected if name == "fairness" else None).check()


def check_study(job: Job) -> None:
    """Refuses, before training, a study that the data has nothing for, and options of none; raises `UserError`."""
    protected = getattr(job.data, "protected", None)
    if job.cfg.study != "fairness" and protected is not None:
        raise UserError(f"data.protected={protected} is for study=fairness; leave it out")
    if job.cfg.study is None:
        if job.cfg.study_budget is not None:
            raise UserError(f"study_budget={job.cfg.study_budget} is for studies; add study=utility")
        return
    wish = wish_of(job)
    if job.data.privacy.is_on:
        raise UserError(PAID)
    if isinstance(job.data, ImageData):
        from datakiln.studies.pictures import check_pictures

        check_pictures(wish, job.data, job.model.conditioning == "label")
        return
    if not isinstance(job.data, TableData):
        raise UserError(f"study={wish.name} is for tables and pictures; leave it out for {job.data.kind}")
    if job.data.schema.label is None:
        raise UserError(f"study={wish.name} needs a column to learn; name it with data.target=COLUMN")
    if job.data.stream is not None:
        raise UserError(f"study={wish.name} is for tables in memory; set data.streaming=false, or leave it out")
    if wish.protected is not None:
        groups_of(job.data.schema, wish.protected, job.data.frames["train"], job.data.frames["test"])


def study_job(job: Job) -> tuple[Study, list[Score]]:
    """The study of a run that has been trained and measured."""
    from hydra.utils import instantiate

    wish, folder = wish_of(job), job.folder / f"study-{job.cfg.study}"
    model = OmegaConf.to_container(job.cfg.model, resolve=True)
    assert isinstance(model, dict)
    named = {str(key): value for key, value in model.items()}
    recipe = Recipe(lambda: instantiate(job.cfg.data, _convert_="all"), named, int(job.cfg.epochs), job.cfg.ema)
    n, seed = int(job.cfg.n_synthetic or job.data.n_synthetic), int(job.cfg.seed)
    study, figures, pictures = study_data(wish, job.data, job.synthesizer, n, seed, folder, job.console, recipe)
    job.console.print(study.sentence, soft_wrap=True)
    return finish(study, pictures, job.folder), figures
