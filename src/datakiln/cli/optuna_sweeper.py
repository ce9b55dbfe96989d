"""Sweeps whose jobs Optuna chooses: a sweeper for Hydra on current Optuna, which goes on after a kill and can prune.

One trial is one job: its number is in the name of the job's folder and in the trial's attribute "job". A job that
failed is tried again, when the sweep goes on, as a second trial of that number.
"""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from datakiln.callbacks.pruning import PRUNED, Judge
from datakiln.cli.calling import with_extra
from datakiln.cli.search_space import EXAMPLE, SearchSpace
from datakiln.errors import UserError, near

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "cmaes": "CmaEsSampler", "gp": "GPSampler"}
PRUNERS = {"median": "MedianPruner", "hyperband": "HyperbandPruner"}
DIRECTIONS = {"min": "minimize", "max": "maximize"}
BEST = "optimization_results.yaml"  # the name that Hydra's own plugin for Optuna gives it


@dataclass(frozen=True)
class Settings:
    """What `conf/hydra/sweeper/optuna.yaml` sets, where each is explained.

    Raises:
        UserError: A value that cannot be.
    """

    direction: str | None
    n_trials: int
    n_jobs: int | None
    sampler: str | Mapping[str, Any]
    seed: int
    pruner: str | Mapping[str, Any] | None
    prune_after: int
    storage: str | None
    study_name: str | None
    params: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        """Checks all that needs no Optuna."""
        for name, low, may_be_null in (("n_trials", 1, 0), ("n_jobs", 1, 1), ("seed", 0, 0), ("prune_after", 0, 0)):
            value = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= low
            if not is_whole and not (value is None and may_be_null):
                null = " or null" if may_be_null else ""
                raise UserError(f"hydra.sweeper.{name}={value} must be a whole number of at least {low}{null}")
        for name in ("storage", "study_name"):
            value = getattr(self, name)
            if not isinstance(value, str | None) or value == "":
                raise UserError(f"hydra.sweeper.{name}={value!r} must be text or null; put it in quotes: '\"{value}\"'")
        if not isinstance(self.params, Mapping | None):
            raise UserError(f"hydra.sweeper.params={self.params} must name options, like {EXAMPLE}")
        _check_choice("direction", self.direction, [*DIRECTIONS.values(), None])
        _check_choice("sampler", self.sampler, list(SAMPLERS))
        _check_choice("pruner", self.pruner, [*PRUNERS, "none", None])
        if self.sampler == "cmaes" and importlib.util.find_spec("cmaes") is None:
            raise UserError(f"hydra.sweeper.sampler=cmaes needs the extra [sweep]: {with_extra('sweep')}")

    @classmethod
    def of(cls, node: DictConfig) -> Settings:
        """The settings of a composed `hydra.sweeper`."""
        values = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise UserError(
                    f"hydra.sweeper.{name} is no option of hydra/sweeper=optuna{near(name, known)}; "
                    f"known: {', '.join(known)}"
                )
        for name in known:
            if name not in values:
                raise UserError(f"hydra.sweeper.{name} was taken away; give it a value, or leave it as it is")
        return cls(**values)

    @property
    def prunes(self) -> bool:
        """Whether jobs may be ended early."""
        return self.pruner not in (None, "none")

    def direction_of(self, cfg: DictConfig) -> str:
        """Which way is better; where it is not said, as for the monitor, until the first job's result tells."""
        return self.direction or DIRECTIONS[cfg.mode]

    def build_sampler(self, job: int) -> BaseSampler:
        """The sampler that chooses for this job and no other.

        Each has a seed of its own: a sampler that goes on after a kill would draw its first random numbers again.
        """
        import numpy as np
        import optuna

        node = dict(self.sampler) if isinstance(self.sampler, Mapping) else {}
        base = int(node.get("seed", self.seed) or 0)
        seed = int(np.random.SeedSequence([base, job]).generate_state(1)[0])
        if not node:
            # trials chosen together must differ, which TPE brings about by taking those that still run for bad ones
            more = {"constant_liar": True} if self.sampler == "tpe" else {}
            return getattr(optuna.samplers, SAMPLERS[str(self.sampler)])(seed=seed, **more)
        return _instantiate("sampler", {**node, "seed": seed} if "seed" in node else node)

    def build_pruner(self, epochs: int) -> BasePruner:
        """The pruner.

        Arguments:
            epochs: How many a job has that nobody ends.
        """
        import optuna

        if not self.prunes:
            return optuna.pruners.NopPruner()
        if self.pruner == "median":
            return optuna.pruners.MedianPruner(n_warmup_steps=self.prune_after)
        if self.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner(min(max(1, self.prune_after), epochs), max_resource=epochs)
        assert isinstance(self.pruner, Mapping)
        return _instantiate("pruner", self.pruner)

    def open_storage(self, folder: Path) -> BaseStorage:
        """Where the trials are kept: a file that many processes may write to.

        Raises:
            UserError: It cannot be opened.
        """
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self.storage is not None and "://" in self.storage:
                return RDBStorage(self.storage)
            return JournalStorage(JournalFileBackend(str(self.journal(folder))))
        except (OSError, ImportError, ValueError, SQLAlchemyError) as error:
            reason = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error).splitlines()[0]
            way_out = "give sqlite:///FILE.db or FILE in a folder that can be written to, or null for the sweep's own"
            raise UserError(f"hydra.sweeper.storage={self.storage} cannot be opened ({reason}); {way_out}") from None

    def journal(self, folder: Path) -> Path:
        """The file of the trials, where they are in no database."""
        return folder / "study.journal" if self.storage is None else Path(self.storage)

    def name(self, folder: Path) -> str:
        """The study's name: in a file of its own it stays the same when the sweep's folder is moved."""
        return self.study_name or ("sweep" if self.storage is None else "/".join(folder.resolve().parts[-2:]))


@dataclass(frozen=True)
class Job:
    """A trial that is to run: the number of its job and of itself, and the chosen values."""

    number: int
    trial: int
    values: Mapping[str, Any]


class OptunaSweeper(Sweeper):
    """Asks Optuna for trials, a few at a time, lets Hydra's launcher run them, and tells what they gave."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 (see Settings)
        """Arguments: settings: those of `Settings`."""
        self.settings = Settings(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's way of handing over what the sweep needs."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs what is missing of `n_trials` jobs and leaves the best values in the sweep's folder."""
        assert self.config is not None and self.hydra_context is not None
        folder = Path(self.config.hydra.sweep.dir)
        space = SearchSpace.read(self.settings.params or {}, arguments, self.hydra_context.config_loader)
        self.validate_batch_is_legal(list(space.probes()))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        study = self._study(folder)
        jobs = self._jobs(study, space, folder)
        while batch := list(itertools.islice(jobs, self._side_by_side())):
            for row in _consecutive(batch):
                self._run(study, space, row)
        _keep_best(study, folder)

    def _study(self, folder: Path) -> Study:
        """The study of this folder: a new one, or that which the sweep goes on with."""
        optuna = import_optuna()
        assert self.config is not None
        goes_on, name = self.config.get("ckpt_path") == "last", self.settings.name(folder)
        if goes_on and self.settings.storage is None:  # another file may be in use by others
            _mend(self.settings.journal(folder))
        where = {"study_name": name, "storage": self.settings.open_storage(folder)}
        pruner = self.settings.build_pruner(int(self.config.epochs))
        if name in optuna.get_all_study_names(where["storage"]):
            if not goes_on:
                told = f"the study {name} is in {self.settings.storage or folder} already"
                raise UserError(f"{told}; go on with it by ckpt_path=last, or choose another hydra.sweeper.study_name")
            found = optuna.load_study(**where, pruner=pruner)
            began, now = found.direction.name.lower(), self.settings.direction_of(self.config)
            if began != now:
                raise UserError(
                    f"hydra.sweeper.direction={now}, but the study {name} began with {began}; start a sweep anew"
                )
            return found
        if list(folder.glob("*/config")):
            told = f"{folder} holds jobs, but the study {name} is not in {self.settings.storage or 'it'}"
            raise UserError(f"{told}; put its file back, or start anew without ckpt_path=last")
        return optuna.create_study(**where, pruner=pruner, direction=self.settings.direction_of(self.config))

    def _jobs(self, study: Study, space: SearchSpace, folder: Path) -> Iterator[Job]:
        """Jobs that a kill has interrupted, jobs that failed, then new ones, each chosen when it is asked for."""
        from optuna.trial import TrialState, create_trial

        newest = {}
        for trial in study.get_trials():
            if "job" in trial.user_attrs:
                newest[int(trial.user_attrs["job"])] = trial
            elif trial.state == TrialState.RUNNING:  # killed between its birth and its number: it never ran
                study.tell(trial.number, state=TrialState.FAIL)
        for number, trial in sorted(newest.items()):
            if trial.state == TrialState.RUNNING:
                yield Job(number, trial.number, trial.params)
            elif trial.state == TrialState.FAIL and list(folder.glob(f"{number}-*/error.txt")):
                again = create_trial(
                    state=TrialState.RUNNING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={"job": number},
                )
                study.add_trial(again)
                yield Job(number, study.get_trials(deepcopy=False)[-1].number, trial.params)
        for number in range(max(newest, default=-1) + 1, self.settings.n_trials):
            study.sampler = self.settings.build_sampler(number)
            asked = study.ask(dict(space.chosen))
            asked.set_user_attr("job", number)
            yield Job(number, asked.number, asked.params)

    def _run(self, study: Study, space: SearchSpace, jobs: Sequence[Job]) -> None:
        from optuna.trial import TrialState

        words = [space.overrides(job.values) for job in jobs]
        returned = self.launcher.launch(words, initial_job_idx=jobs[0].number)  # type: ignore[union-attr]
        for job, result in zip(jobs, returned, strict=True):
            value = result.return_value
            if value == PRUNED:
                study.tell(job.trial, state=TrialState.PRUNED)
            elif value is None:
                study.tell(job.trial, state=TrialState.FAIL)
            else:
                study.tell(job.trial, float(value))

    def _side_by_side(self) -> int:
        if self.settings.n_jobs is not None:
            return self.settings.n_jobs
        assert self.config is not None
        if "n_jobs" not in self.config.hydra.launcher:
            return 1
        import joblib

        return int(joblib.effective_n_jobs(self.config.hydra.launcher.n_jobs))


def check(config: DictConfig, loader: ConfigLoader) -> Settings:
    """Refuses, before a folder is made, whatever can be told then.

    Arguments:
        config: The composed config with its `hydra` part.
        loader: What knows the choices of the config's groups.

    Raises:
        UserError: The option, its value and the way out.
    """
    import_optuna()
    settings = Settings.of(config.hydra.sweeper)
    settings.build_sampler(0)
    settings.build_pruner(1)
    named = isinstance(settings.pruner, str) and settings.pruner in PRUNERS
    if named and isinstance(config.epochs, int) and settings.prune_after >= config.epochs:
        told = (
            f"hydra.sweeper.prune_after={settings.prune_after} leaves no epoch to end a job of epochs={config.epochs}"
        )
        raise UserError(f"{told}; lower it, or leave hydra.sweeper.pruner at none")
    SearchSpace.read(settings.params or {}, config.hydra.overrides.task, loader)
    if settings.storage is not None:
        settings.open_storage(Path())
    return settings


def judge_of(node: DictConfig, folder: Path, job: int, cfg: DictConfig) -> Judge | None:
    """What a job asks after each measurement of its monitor, in whichever process it runs; None: nobody.

    Arguments:
        node: `hydra.sweeper`.
        folder: The sweep's.
        job: Number of the job.
        cfg: The job's config.
    """
    settings = Settings.of(node)
    if not settings.prunes:
        return None
    optuna = import_optuna()
    study = optuna.load_study(
        study_name=settings.name(folder),
        storage=settings.open_storage(folder),
        sampler=optuna.samplers.RandomSampler(),  # chooses nothing here
        pruner=settings.build_pruner(int(cfg.epochs)),
    )
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    frozen = next(trial for trial in running if trial.user_attrs.get("job") == job)
    trial = optuna.trial.Trial(study, frozen._trial_id)
    # a pruner takes the study's direction for that of the monitor, which may be another figure than the objective
    sign = 1.0 if study.direction.name.lower() == DIRECTIONS[cfg.mode] else -1.0
    reported = set(frozen.intermediate_values)
    last = max(reported, default=0)

    def judge(epochs: int, score: float) -> bool:
        if epochs not in reported:  # after a kill some epochs are trained again, to the same figures
            trial.report(sign * score, epochs)
        return epochs >= last and trial.should_prune()

    return judge


def import_optuna() -> Any:  # noqa: ANN401 (a module)
    """Optuna, told to be quiet: the sweep's own lines say what its log would.

    Raises:
        UserError: It is not installed, or too old.
    """
    try:
        import optuna
        import optuna.storages.journal  # since optuna 4
    except ImportError as error:
        found = "" if error.name == "optuna" else f" ({error})"
        raise UserError(f"hydra/sweeper=optuna needs the extra [sweep]: {with_extra('sweep')}{found}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def _check_choice(name: str, value: Any, known: Sequence[str | None]) -> None:  # noqa: ANN401 (any yaml value)
    own_class = name in ("sampler", "pruner")
    if value in known or (own_class and isinstance(value, Mapping) and "_target_" in value):
        return
    listed = ", ".join(dict.fromkeys("null" if one is None else one for one in known))
    hint = near(str(value), [one for one in known if one is not None])
    more = f", or {{_target_:optuna.{name}s.CLASS}}" if own_class else ""
    if value == "grid":
        hint = "; every combination is tried without sweep=optuna, by -m or hydra.sweeper.params alone"
    raise UserError(f"hydra.sweeper.{name}={value} is not known{hint}; known: {listed}{more}")


def _instantiate(name: Literal["sampler", "pruner"], node: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a class by name)
    import optuna
    from hydra.utils import instantiate

    base = {"sampler": optuna.samplers.BaseSampler, "pruner": optuna.pruners.BasePruner}[name]
    try:
        found = instantiate(dict(node))
    except HydraException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"hydra.sweeper.{name}._target_={node['_target_']}: {reason}") from None
    if not isinstance(found, base):
        raise UserError(f"hydra.sweeper.{name}._target_={node['_target_']} is no {name} of Optuna's")
    return found


def _consecutive(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Rows of jobs with numbers one after another: a launcher counts up from the first."""
    row: list[Job] = []
    for job in sorted(jobs, key=lambda job: job.number):
        if row and job.number != row[-1].number + 1:
            yield row
            row = []
        row.append(job)
    yield row


def _mend(journal: Path) -> None:
    """Takes away what a kill can leave: a lock that nobody holds, and the torn end of a line."""
    if not journal.is_file():
        return
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    with journal.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def _keep_best(study: Study, folder: Path) -> None:
    from optuna.trial import TrialState

    if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        found = {"name": "optuna", "best_params": study.best_params, "best_value": study.best_value}
        OmegaConf.save(OmegaConf.create(found), folder / BEST)
