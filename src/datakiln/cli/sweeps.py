"""Many jobs from one command: what each says, what happens when one fails, what is printed at the end."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from datakiln.cli.calling import shim
from datakiln.cli.explain import explain
from datakiln.cli.run_folders import SWEEP_VARIABLE, identity
from datakiln.errors import UserError

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
        started: When, in seconds since the epoch.
    """

    argv: Sequence[str]
    folder: Path | None = None
    total: int = 0
    figures: Sequence[str] = ()
    started: float = field(default_factory=time.time)
    current: ClassVar[Sweep | None] = None  # the one of this process, for Hydra's callback

    def run(self, task: Task, cfg: DictConfig) -> float | None:
        """One job: its output goes to log.txt in its folder, one line to the terminal; None if it failed."""
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        folder, told = Path(hydra.runtime.output_dir), self._told(hydra)
        (folder / "error.txt").unlink(missing_ok=True)
        _share_cores(hydra.launcher)
        start = time.perf_counter()
        try:
            if cfg.get("ckpt_path") == "last" and _is_finished(folder, hydra.overrides.task):
                return self._finished(folder, hydra, told, "finished before")
            with (folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log):
                task(cfg)
            return self._finished(folder, hydra, told, f"{time.perf_counter() - start:.1f} s")
        except Exception as error:
            if hasattr(error, "exit_code"):  # somebody asked to stop, and meant the sweep
                way_on = f"for the whole sweep with hydra.sweep.dir={folder.parent}"
                raise SweepEnded(f"{explain(error)}, {way_on}", error.exit_code) from None
            _keep(error, folder, " ".join(hydra.overrides.task))
            print(f"{told}failed: {explain(error, hydra.overrides.task)}", file=sys.stderr, flush=True)
            return None

    def close(self, compare: Compare) -> None:
        """Prints the comparison of all jobs.

        Raises:
            UserError: Some jobs failed, with their names.
        """
        assert self.folder is not None
        results = [json.loads(file.read_text(encoding="utf-8")) for file in self.folder.glob("*/result.json")]
        measured = {score["name"] for result in results for score in [*result["figures"], result["objective"]]}
        # a preset may name what this model does not have, or only how a figure's path begins
        shown = [
            name
            for name in self.figures
            if name.startswith("cost/") or any(f"{full}/".startswith(f"{name}/") for full in measured)
        ]
        compare([str(self.folder), *([f"figures={','.join(shown)}"] if shown else [])])
        best = self.folder / "optimization_results.yaml"
        if best.exists():
            found = OmegaConf.to_container(OmegaConf.load(best))
            assert isinstance(found, dict)
            chosen = " ".join(f"{name}={value}" for name, value in (found.get("best_params") or {}).items())
            print(f"best of {self.total} trials: {chosen} ({found.get('best_value')})")
        if failed := self.failed():
            listed = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
            raise UserError(f"{len(failed)} of {self.total} jobs failed ({listed}); see error.txt in their folders")

    def failed(self) -> list[str]:
        """Folder names of the jobs of this sweep that failed."""
        files = [] if self.folder is None else self.folder.glob("*/error.txt")
        found = [f.parent.name for f in files if f.stat().st_mtime >= self.started - 1]
        return sorted(found, key=lambda name: (len(name.partition("-")[0]), name))  # 2-vae-iris before 10-vae-iris

    def _told(self, hydra: Any) -> str:  # noqa: ANN401 (Hydra's config node)
        fixed = {word.lower() for word in self.argv}  # Hydra writes true as True
        own = [override for override in hydra.overrides.task if override.lower() not in fixed]
        width = len(str(self.total))
        return f"[{hydra.job.num + 1:>{width}}/{self.total}] {' '.join(own)}  "

    def _finished(self, folder: Path, hydra: Any, told: str, remark: str) -> float | None:  # noqa: ANN401
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        objective = result["objective"]
        _check_direction(hydra.sweeper.get("direction"), objective)
        value = "has no value" if objective["value"] is None else f"{objective['value']:.5g}"
        stand_in = ", stand-in data" if result["stand_in"] else ""
        print(f"{told}{objective['name']} {value}  ({remark}{stand_in})", flush=True)
        return objective["value"]


class Announce(Callback):
    """Hydra's notice that a sweep begins: counts its jobs and says where they go."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401 (Hydra's interface)
        """Completes `Sweep.current`."""
        sweep = Sweep.current
        assert sweep is not None
        sweep.folder = Path(config.hydra.sweep.dir)
        os.environ[SWEEP_VARIABLE] = str(sweep.folder)  # also where the person has chosen the folder
        sweep.total, sweep.figures = _count(config), list(config.get("sweep_figures") or [])
        for name in ("hydra_plugins.hydra_optuna_sweeper._impl", "optuna.study", "optuna.storages"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # they repeat what our lines say
        _bring_clone_along(config.hydra.launcher)
        signal.signal(signal.SIGTERM, _end)  # ending by itself would leave parallel workers behind, at work
        print(f"{sweep.total} jobs, each with its log.txt, go to {sweep.folder}", flush=True)


def _end(number: int, frame: Any) -> None:  # noqa: ANN401 (a frame)
    raise SweepEnded(f"sweep stopped by {signal.Signals(number).name}", 128 + number)


def _count(config: DictConfig) -> int:
    """Number of jobs: of trials if a sampler chooses, of combinations otherwise."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    sweeper = config.hydra.sweeper
    if "n_trials" in sweeper:
        return int(sweeper.n_trials)
    words = [f"{name}={value}" for name, value in (sweeper.params or {}).items()] + list(config.hydra.overrides.task)
    return len(BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)[0])


def _share_cores(launcher: DictConfig) -> None:
    """Keeps threads times processes within the cores when jobs run side by side."""
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


def _check_direction(direction: Any, objective: dict[str, Any]) -> None:  # noqa: ANN401 (Optuna's enum, or text)
    """A sampler that maximises a loss wastes every trial, so the first one ends the sweep."""
    right = {"lower": "minimize", "higher": "maximize"}.get(objective["direction"])
    given = getattr(direction, "name", direction)
    if isinstance(given, str) and right is not None and given != right:
        raise SweepEnded(
            f"objective={objective['name']} is better {objective['direction']}, but hydra.sweeper.direction={given}; "
            f"add hydra.sweeper.direction={right}"
        )


def _keep(error: Exception, folder: Path, overrides: str) -> None:
    details = "".join(traceback.format_exception(error))
    (folder / "error.txt").write_text(f"{overrides}\n{explain(error)}\n\n{details}", encoding="utf-8")
