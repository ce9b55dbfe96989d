"""`model=auto budget=5m`: tries the models that fit a table, each in a run of its own, and chooses one of them.

A candidate is judged by rows that it has not learnt from, those of validation: how well gradient boosting tells its
samples from them (a classifier two-sample test, Lopez-Paz and Oquab, 2017), and whether its samples are nearer to
training rows than to them. What is chosen goes on as a run of that model does, so that nothing else need know of this.
"""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from datakiln import strictjson
from datakiln.callbacks.log import kept_log
from datakiln.callbacks.stopping import stopping
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.jobs.affordable import REFIT
from datakiln.jobs.announce import announce_trials
from datakiln.jobs.lengths import budget_seconds
from datakiln.jobs.outcome import overrides
from datakiln.jobs.run import Run
from datakiln.metrics.base import EvalData, Figure, MetricError
from datakiln.metrics.privacy.nearness import distance_attack
from datakiln.metrics.privacy.privacy import copies
from datakiln.metrics.tables.twosample import boosting, boosting_relations
from datakiln.results import TRIED, Candidate, candidates_of
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.storage import CONF

JUDGED, LENGTH = "trial.json", "config/affordable.json"
OWN = ("model=", "model.", "budget=", "ckpt_path=", "hydra.", "hydra/", "sweep=", "debug=", "output_dir=")
REMEMBERS = 0.55  # AUC of the distance attack that is let pass
MADE = 10_000  # samples that are judged, at most; of the two-sample test as many as there are unseen rows
SURE = 3.0  # standard errors beyond it


class Auto:
    """What `model=auto` tries, and how.

    Arguments:
        candidates: Names of `model=`, in the order that they are tried in.
        least: Share of its usual length that a candidate must be able to train for; the first one is tried anyway.
        rows: Rows of each kind that judge, at most.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"table"})

    def __init__(self, candidates: list[str], least: float = 0.25, rows: int = 2000) -> None:
        """See the class; raises `UserError` for candidates, shares or rows that make no sense."""
        if not candidates or len({*candidates}) < len(candidates):
            raise UserError(f"model.candidates={candidates} must name a model or more, each of them once")
        if not 0.0 <= least <= 1.0:
            raise UserError(f"model.least={least} must be a share of a usual length, from 0 to 1")
        if rows < 100:
            raise UserError(f"model.rows={rows} must be at least 100: fewer rows say little")
        self.candidates, self.least, self.rows = candidates, least, rows


def is_auto(cfg: DictConfig) -> bool:
    """Whether a run is to find its model first."""
    return str(cfg.model.get("_target_")) == f"{Auto.__module__}.{Auto.__qualname__}"


def decided(cfg: DictConfig, console: Console | None = None) -> DictConfig:
    """The config of the run that goes on with what was chosen, in the same folder.

    What is in `candidates/` of the folder already, of a run that was killed, is not done again.

    Arguments:
        cfg: The composed config of `model=auto`.
        console: Where to say what happens.

    Raises:
        UserError: No candidate could be trained; with the reason of each.
    """
    return _Search(cfg, console or Console()).run()


class _Search:
    """The candidates of one run; see `decided`."""

    def __init__(self, cfg: DictConfig, console: Console) -> None:
        self.cfg, self.console, self.folder = cfg, console, Path(cfg.output_dir)
        self.plan: Auto = instantiate(cfg.model, _convert_="all")
        self.budget = budget_seconds(cfg.get("budget")) or math.inf
        if cfg.get("ckpt_path") not in (None, "last"):
            raise UserError(f"ckpt_path={cfg.ckpt_path}: model=auto goes on with ckpt_path=last alone")
        if cfg.data.get("validation") == "shared":
            raise UserError("data.validation=shared leaves model=auto no unseen rows to judge by; use refit or apart")

    def run(self) -> DictConfig:
        """Tries, chooses, and hands over."""
        with kept_log(self.folder / "log.txt", self.console) as log:
            Run(self.cfg, self.console).check()
            if (self.folder / "candidates").exists() and self.cfg.get("ckpt_path") is None:
                told = f"{self.folder} holds an unfinished run; go on with ckpt_path=last or choose another one"
                raise UserError(told)
            log.begin()
            trials = candidates_of(self.folder) or self._tried_all()
            announce_trials(trials, self.console)
        best = next(trial for trial in trials if trial.is_chosen)
        place, own = self._place(best.model), self.folder / "checkpoints" / "last.ckpt"
        made = self._config(best.model, self.folder, "last" if own.exists() else str(place / "checkpoints" / own.name))
        if (place / LENGTH).exists():
            shutil.copy2(place / LENGTH, self.folder / LENGTH)
        if not math.isinf(self.budget):  # a second fit, on all rows, has what the others have left
            others = sum(trial.cpu_seconds for trial in trials if trial is not best)
            made.budget = f"{max(self.budget - others, 1.0):.6g}s"
        return made

    def _tried_all(self) -> list[Candidate]:
        trials: list[Candidate] = []
        for name in self.plan.candidates:
            trials.append(self._trial(name, trials))
        trials = choose(trials)
        strictjson.write([asdict(trial) for trial in trials], self.folder / TRIED)
        return trials

    def _trial(self, name: str, before: Sequence[Candidate]) -> Candidate:
        """One candidate, trained and judged; or what is known of it already."""
        place = self._place(name)
        if (place / JUDGED).exists():
            return Candidate.load(place / JUDGED)
        whole = self.budget / (REFIT if self.cfg.data.get("validation") == "refit" else 1.0)
        share = max(whole - _spent(before), 0.0) / (len(self.plan.candidates) - len(before))
        trial = self._tried(name, place, share, is_first=not before)
        gc.collect()  # Lightning's cycles would keep the candidate's rows
        place.mkdir(parents=True, exist_ok=True)
        strictjson.write(trial, place / JUDGED)
        return trial

    def _tried(self, name: str, place: Path, share: float, is_first: bool) -> Candidate:
        if share <= 0.0:
            return Candidate(name, why="nothing of the budget is left")
        last = place / "checkpoints" / "last.ckpt"
        cfg = self._config(name, place, "last" if last.exists() else None)
        cfg.budget = None if math.isinf(share) else f"{share:.6g}s"
        cfg.data.validation = "apart"
        cfg.logger = {"csv": cfg.logger.csv} if "csv" in cfg.logger else {}
        run = Run(cfg, Console(quiet=True))
        run.least = 0.0 if is_first else self.plan.least
        threads, start = torch.get_num_threads(), time.process_time()
        try:
            with stopping(run.ask_to_stop), self.console.work(f"trying {name}"):
                run.check()
                run.load_data()  # what is wrong with the data is so for every candidate, and ends all of it
                try:
                    run.fit()
                except UserError as error:
                    return Candidate(name, why=str(error), cpu_seconds=round(time.process_time() - start, 3))
                judged = self._judged(name, run)
        finally:
            torch.set_num_threads(threads)
        seconds = run.cpu_seconds["fit"] if run.budget is None else run.budget.spent
        return replace(judged, cpu_seconds=round(seconds, 3), epochs=run.trainer.current_epoch)

    def _judged(self, name: str, run: Run) -> Candidate:
        """How samples of the candidate stand beside validation rows and beside training rows."""
        best = run.bundle.best_path if run.bundle.best_path.exists() else run.bundle.last_path
        frames, seed = run.data.frames, int(run.cfg.seed)  # type: ignore[attr-defined]
        holdout = _few(frames["val"], self.plan.rows, seed)
        train = frames["train"]
        n = min(max(len(train), len(holdout)), MADE)
        synthetic = Synthesizer.load(best, device=str(run.model.device)).sample(n, seed=seed)
        data = EvalData(run.data.schema, train, holdout, synthetic, seed)  # type: ignore[attr-defined]
        plain = boosting(data)[0]
        try:
            related: Figure | None = boosting_relations(data)[0]
        except MetricError:  # neither two numbers nor a date
            related = None
        memory, noise = distance_attack(data)
        return Candidate(
            name,
            twosample=plain.value,
            with_relations=None if related is None else related.value,
            noise=plain.noise,
            memory=memory,
            memory_noise=noise,
            copies=copies(data)[0].value,
            rows=len(holdout),
        )

    def _place(self, name: str) -> Path:
        return self.folder / "candidates" / name

    def _config(self, name: str, folder: Path, ckpt_path: str | None) -> DictConfig:
        """The config of a run with that model, otherwise as the person has it."""
        words = [word for word in overrides() if not word.lstrip("+~").startswith(OWN)]
        path = [] if ckpt_path is None else [f"ckpt_path={_quoted(ckpt_path)}"]
        words = [f"model={name}", *words, f"output_dir={_quoted(str(folder))}", *path]
        if GlobalHydra.instance().is_initialized():
            made = compose("train", overrides=words)
        else:  # inside another program
            with initialize_config_dir(str(CONF), version_base="1.3"):
                made = compose("train", overrides=words)
        with open_dict(made):
            made.root, made.chosen_model = self.cfg.root, name
            if OmegaConf.is_config(self.cfg.data.get("source")):
                made.data.source = self.cfg.data.source  # rows in memory, which no option can name
        return made


def choose(trials: Sequence[Candidate]) -> list[Candidate]:
    """The trials, each with why it is chosen or not: the best, or one as good within chance that remembers less.

    Raises:
        UserError: None of them could be trained.
    """
    judged = [trial for trial in trials if trial.score is not None]
    if not judged:
        told = "; ".join(f"{trial.model}: {trial.why}" for trial in trials)
        raise UserError(f"model=auto: no candidate could be trained ({told}); give a larger budget= or a model=")
    sound = [trial for trial in judged if not remembers(trial)]
    pool = sound or judged
    best = min(pool, key=lambda trial: trial.score or 0.0)
    same = [trial for trial in pool if (trial.score or 0.0) - (best.score or 0.0) <= (best.noise or 0.0)]
    winner = min(same, key=lambda trial: ((trial.memory or 0.0) > REMEMBERS, trial.score))
    whys = [trial.why or _why(trial, winner, best, bool(sound)) for trial in trials]
    return [replace(trial, is_chosen=trial is winner, why=why) for trial, why in zip(trials, whys, strict=True)]


def remembers(trial: Candidate) -> bool:
    """Whether samples stand nearer to training rows than to others, beyond chance and what is let pass."""
    return trial.memory is not None and trial.memory - REMEMBERS > SURE * (trial.memory_noise or 0.0)


def _why(trial: Candidate, winner: Candidate, best: Candidate, is_sound: bool) -> str:
    if trial is winner:
        told = "told from unseen rows least"
        told = told if trial is best else f"as good as {best.model} within chance, and remembers less"
        return told if is_sound else f"{told}; all candidates remember training rows"
    if remembers(trial):
        return "remembers training rows"
    if (trial.score or 0.0) - (best.score or 0.0) <= (best.noise or 0.0):
        return f"no better than {winner.model}, beyond chance"
    return f"told from unseen rows better than {best.model}"


def _spent(trials: Sequence[Candidate]) -> float:
    return sum(trial.cpu_seconds for trial in trials)


def _few(frame: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    rows = np.random.default_rng([seed, 21]).permutation(len(frame))[:most]
    return frame.iloc[np.sort(rows)].reset_index(drop=True)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", r"\${")
    return f'"{escaped}"'
