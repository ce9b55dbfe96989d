"""Many jobs from one command: what each says, what happens when one fails, what is printed at the end."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from datakiln.callbacks.pruning import PRUNED, Judge, Pruned, judged_by
from datakiln.callbacks.stopping import SIGNALS
from datakiln.cli.calling import shim
from datakiln.cli.explain import explain, is_mistake
from datakiln.cli.optuna_sweeper import OptunaSweeper, check, judge_of
from datakiln.cli.run_folders import (
    PRUNED_FILE,
    SWEEP_VARIABLE,
    identity,
    jobs_done,
    stored_yaml,
    sweep_overrides,
    unfinished_sweep,
)
from datakiln.cli.survey_sweeper import SurveySweeper, announced, jobs_of
from datakiln.cli.sweepers import is_chosen
from datakiln.errors import Interrupted, UserError
from datakiln.loggers.about import varied_by
from datakiln.saying import say

Task = Callable[[DictConfig], float | None]
Compare = Callable[[list[str]], None]


class SweepEnded(BaseException):
    """A reason to end the whole sweep and not just a job; no Exception, so that Hydra lets it through."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        """Arguments: message: one line; exit_code: of the process."""
        super().__init__(message, exit_code)
        self.exit_code = exit_code

    def __str__(self) -> str:
        """The message alone."""
        return str(self.args[0])


@dataclass
class Sweep:
    """A sweep as its jobs know it; it travels to worker processes.

    Attributes:
        argv: The command line; what a job has beyond it tells the job from the others.
        folder: Where the jobs' folders are; None until the sweep has begun.
        total: Number of jobs.
        figures: What the table at the end shows; empty for the main figures.
        is_survey: Whether it is `sweep=survey`, which has a page of its own.
        direction: Whether the objective is to "minimize" or "maximize", None where nothing depends on it.
        started: When, in seconds since the epoch.
    """

    argv: Sequence[str]
    folder: Path | None = None
    total: int = 0
    figures: Sequence[str] = ()
    direction: str | None = None
    is_survey: bool = False
    started: float = field(default_factory=time.time)
    current: ClassVar[Sweep | None] = None  # the one of this process, for Hydra's callback

    def begin(self, config: DictConfig) -> None:
        """Chooses the folder, before there are jobs, and says how many of them go there.

        Raises:
            UserError: Nothing to go on with, or options that the sweeper cannot follow.
        """
        go_on, folders = config.get("ckpt_path") == "last", OmegaConf.to_container(config.hydra.sweep, resolve=False)
        assert isinstance(folders, dict)
        if is_chosen(OptunaSweeper, config.hydra.sweeper):
            settings = check(config, GlobalHydra.instance().config_loader())
            self.total, self.direction = settings.n_trials, settings.direction_of(config)
        elif is_chosen(SurveySweeper, config.hydra.sweeper):
            self.total, self.is_survey = len(jobs_of(config)), True
            announced(config)
        else:
            self.total = _combinations(config)
        self.figures = list(config.get("sweep_figures") or [])
        overrides = config.hydra.overrides
        if go_on and "${sweep_dir:" in str(folders["dir"]):  # and the person has chosen none
            found = unfinished_sweep(Path(config.root), [*overrides.task, *overrides.hydra], self.total)
            os.environ[SWEEP_VARIABLE] = str(found)
        self.folder = Path(config.hydra.sweep.dir)
        os.environ[SWEEP_VARIABLE] = str(self.folder)  # also where the person has chosen the folder
        if go_on and self.folder.is_dir():
            with flag_override(config, "readonly", False):
                overrides.task = _in_the_order_of(sweep_overrides(self.folder), overrides.task)
            done = len(jobs_done(self.folder))
            say(f"going on in {self.folder}: {done} of {self.total} jobs are finished")
        else:
            say(f"{self.total} jobs, each with its log.txt, go to {self.folder}")

    def run(self, task: Task, cfg: DictConfig) -> float | str | None:
        """One job: its output goes to log.txt in its folder, one line to the terminal.

        Returns:
            The objective; None if the job failed or the objective has no value; `PRUNED` if a pruner has ended it.
        """
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        folder, told = Path(hydra.runtime.output_dir), self._told(hydra)
        has_failed = (folder / "error.txt").exists()
        (folder / "error.txt").unlink(missing_ok=True)
        _share_cores(hydra.launcher, alone=is_chosen(SurveySweeper, hydra.sweeper))
        start = time.perf_counter()
        try:
            if cfg.get("ckpt_path") == "last":
                if (folder / PRUNED_FILE).exists():
                    say(f"{told}pruned before")
                    return PRUNED
                if _is_finished(folder, hydra.overrides.task):
                    if not has_failed:
                        return self._finished(folder, hydra, told, "finished before")
                    (folder / "result.json").unlink()  # it failed after this was written: what is missing is done again
            with (folder / "log.txt").open("a", buffering=1, encoding="utf-8") as log, redirect_stdout(log):
                with judged_by(self._judge(hydra, cfg)), varied_by(self._own(hydra)):
                    task(cfg)
            return self._finished(folder, hydra, told, f"{time.perf_counter() - start:.1f} s")
        except Pruned as sentence:
            (folder / PRUNED_FILE).write_text(f"{' '.join(hydra.overrides.task)}\n{sentence}\n", encoding="utf-8")
            say(f"{told}{sentence}  ({time.perf_counter() - start:.1f} s)")
            return PRUNED
        except Interrupted as stop:  # somebody asked to stop, and meant the sweep
            raise SweepEnded(_ended_by(stop.reason), stop.exit_code) from None
        except Exception as error:
            _keep(error, folder, " ".join(hydra.overrides.task))
            say(f"{told}failed: {explain(error, hydra.overrides.task)}", error=True)
            return None

    def close(self, compare: Compare) -> None:
        """Prints the comparison of all jobs.

        Raises:
            UserError: Some jobs failed, with their names; or a pruner has left none to compare.
        """
        assert self.folder is not None
        pruned = len(list(self.folder.glob(f"*/{PRUNED_FILE}")))
        if pruned == self.total:
            raise UserError(f"all {pruned} jobs were pruned; let them train longer, or add hydra.sweeper.pruner=none")
        results = [json.loads(file.read_text(encoding="utf-8")) for file in self.folder.glob("*/result.json")]
        measured = {score["name"] for result in results for score in [*result["figures"], result["objective"]]}
        # a preset may name what this model does not have, or only how a figure's path begins
        shown = [
            name
            for name in self.figures
            if name.startswith("cost/") or any(f"{full}/".startswith(f"{name}/") for full in measured)
        ]
        study = ["study=survey"] if self.is_survey and results else []
        compare([str(self.folder), *([f"figures={','.join(shown)}"] if shown else []), *study])
        best = self.folder / "optimization_results.yaml"
        if best.exists():
            found = stored_yaml(best)
            chosen = " ".join(f"{name}={value}" for name, value in (found.get("best_params") or {}).items())
            told = f"{self.total} trials" + (f", {pruned} of them pruned" if pruned else "")
            say(f"best of {told}: {chosen} ({found.get('best_value')})")
        if failed := self.failed():
            listed = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
            raise UserError(f"{len(failed)} of {self.total} jobs failed ({listed}); see error.txt in their folders")

    def failed(self) -> list[str]:
        """Folder names of the jobs of this sweep that failed."""
        files = [] if self.folder is None else self.folder.glob("*/error.txt")
        found = [f.parent.name for f in files if f.stat().st_mtime >= self.started - 1]
        return sorted(found, key=lambda name: (len(name.partition("-")[0]), name))  # 2-vae-iris before 10-vae-iris

    def _judge(self, hydra: Any, cfg: DictConfig) -> Judge | None:  # noqa: ANN401 (Hydra's config node)
        if not is_chosen(OptunaSweeper, hydra.sweeper):
            return None
        assert self.folder is not None
        return judge_of(hydra.sweeper, self.folder, int(hydra.job.num), cfg)

    def _told(self, hydra: Any) -> str:  # noqa: ANN401 (Hydra's config node)
        width = len(str(self.total))
        return f"[{hydra.job.num + 1:>{width}}/{self.total}] {' '.join(self._own(hydra))}  "

    def _own(self, hydra: Any) -> list[str]:  # noqa: ANN401 (Hydra's config node)
        """What tells a job from the others."""
        fixed = {word.lower() for word in self.argv}  # Hydra writes true as True
        return [override for override in hydra.overrides.task if override.lower() not in fixed]

    def _finished(self, folder: Path, hydra: Any, told: str, remark: str) -> float | None:  # noqa: ANN401
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        objective = result["objective"]
        _check_direction(self.direction, objective)
        value = "has no value" if objective["value"] is None else f"{objective['value']:.5g}"
        stand_in = ", stand-in data" if result["stand_in"] else ""
        say(f"{told}{objective['name']} {value}  ({remark}{stand_in})")
        return objective["value"]


class Announce(Callback):
    """Hydra's notice that a sweep begins."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401 (Hydra's interface)
        """Completes `Sweep.current`."""
        sweep = Sweep.current
        assert sweep is not None
        try:
            sweep.begin(config)
        except Exception as error:  # Hydra would warn of it and go on
            code = 2 if is_mistake(error) else 1
            raise SweepEnded(f"error: {explain(error, sweep.argv)}", code) from error
        _bring_clone_along(config.hydra.launcher)
        for number in SIGNALS:  # ending by itself would leave parallel workers behind, at work
            signal.signal(number, _end)


def _end(number: int, frame: Any) -> None:  # noqa: ANN401 (a frame)
    raise SweepEnded(_ended_by(signal.Signals(number).name), 128 + number)


def _ended_by(reason: str) -> str:
    return f"sweep stopped by {reason}; ckpt_path=last with the same options goes on"


def _combinations(config: DictConfig) -> int:
    """Number of jobs, where no sampler chooses them."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    words = [f"{name}={value}" for name, value in (config.hydra.sweeper.params or {}).items()]
    overrides = parser.parse_overrides([*words, *config.hydra.overrides.task])
    for override in overrides:
        if override.is_interval_sweep():
            raise UserError(f"{override.input_line}: an interval has no end of values; sweep=optuna chooses among them")
    return len(BasicSweeper.split_arguments(overrides, None)[0])


def _in_the_order_of(stored: Sequence[str], words: Sequence[str]) -> list[str]:
    """The words as they were put when the sweep began: in another order its jobs would have other numbers."""
    return sorted(words, key=lambda word: stored.index(word) if word in stored else len(stored))


def _share_cores(launcher: DictConfig, alone: bool = False) -> None:
    """Keeps threads times processes within the cores when jobs run side by side; `alone`: one core a job."""
    if alone:
        import torch

        torch.set_num_threads(1)
        return
    if "n_jobs" not in launcher:
        return
    import joblib
    import torch

    side_by_side = joblib.effective_n_jobs(launcher.n_jobs)
    torch.set_num_threads(max(1, min(torch.get_num_threads(), joblib.cpu_count() // side_by_side)))


def _bring_clone_along(launcher: DictConfig) -> None:
    """Parallel workers start as bare interpreters: those of `python -m src.train` first import `src`, as it did.

    So they run this clone's code and not whatever `datakiln` is installed, if any.
    """
    if "n_jobs" in launcher and shim():
        from joblib.externals.loky.backend.context import set_start_method

        set_start_method("loky_init_main", force=True)


def _is_finished(folder: Path, overrides: Sequence[str]) -> bool:
    """Whether an earlier start of this sweep has done this very job."""
    file = folder / "result.json"
    if not file.exists():
        return False
    return identity(json.loads(file.read_text(encoding="utf-8"))["overrides"]) == identity(overrides)


def _check_direction(direction: str | None, objective: dict[str, Any]) -> None:
    """A sampler that maximises a loss wastes every trial, so the first one ends the sweep."""
    right = {"lower": "minimize", "higher": "maximize"}.get(objective["direction"])
    if None not in (direction, right) and direction != right:
        raise SweepEnded(
            f"objective={objective['name']} is better {objective['direction']}, but hydra.sweeper.direction="
            f"{direction}; add hydra.sweeper.direction={right}"
        )


def _keep(error: Exception, folder: Path, overrides: str) -> None:
    details = "".join(traceback.format_exception(error))
    (folder / "error.txt").write_text(f"{overrides}\n{explain(error)}\n\n{details}", encoding="utf-8")
