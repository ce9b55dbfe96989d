"""The other processes of a run that trains in several: started, waited for, and what one of them does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

import datakiln
from datakiln import processes
from datakiln.callbacks.chosen import Chosen
from datakiln.callbacks.ema import Ema
from datakiln.console import Console
from datakiln.errors import Interrupted, UserError
from datakiln.jobs.run import Run
from datakiln.jobs.shared import Shared
from datakiln.processes import Place

POLL = 0.1  # seconds
GRACE = 30.0  # seconds that the others have to end by themselves


def several(cfg: DictConfig) -> Place | None:
    """The place of this process among those that are to train together; None for a run in one process.

    Raises:
        UserError: A count that is not that of `torchrun` or SLURM, GPUs that are not there.
    """
    told, place = cfg.trainer.get("devices"), processes.started_as()
    devices = 1 if OmegaConf.is_list(told) else int(told or 1)  # a list names the one device
    if place is not None:
        if devices not in (1, place.count):
            told = f"trainer.devices={devices}: torchrun or srun has started {place.count} processes"
            raise UserError(f"{told}; leave trainer.devices out")
        return place
    if devices == 1:
        return None
    if _on_gpus(cfg) and devices > torch.cuda.device_count():
        told = f"trainer.devices={devices}: there are {torch.cuda.device_count()} GPUs, and each takes one process"
        raise UserError(f"{told}; or take trainer.accelerator=cpu")
    return Place(0, devices, 0, "")


def _on_gpus(cfg: DictConfig) -> bool:
    return str(cfg.trainer.get("accelerator")) in ("gpu", "cuda", "auto") and torch.cuda.is_available()


def device_of(cfg: DictConfig, place: Place) -> torch.device:
    """Where a process computes."""
    return torch.device("cuda", place.local) if _on_gpus(cfg) else torch.device("cpu")


class SharedRun(Run):
    """The phases of a job whose training several processes share; this one is the first of them."""

    def __init__(self, cfg: DictConfig, place: Place, console: Console | None = None) -> None:
        """Arguments: cfg, console: see `Job`; place: of this process."""
        super().__init__(cfg, console)
        self.place = place
        self.started: list[subprocess.Popen[bytes]] = []
        self.logs: tempfile.TemporaryDirectory[str] | None = None

    def check(self) -> None:
        """Claims the run's folder, then starts the others, which read the data meanwhile."""
        super().check()
        if not self.place.meeting:
            self._start()
        self.console.print(
            f"  training in {self.place.count} processes, each with its share of every batch", style="dim"
        )

    def _start(self) -> None:
        self.logs = tempfile.TemporaryDirectory(prefix="datakiln-processes-")
        folder, count = Path(self.logs.name), self.place.count
        self.place = Place(0, count, 0, processes.meeting_in(folder))
        threads = str(max((os.cpu_count() or count) // count, 1))
        packages = os.pathsep.join(
            filter(None, (str(Path(datakiln.__file__).parents[1]), os.environ.get("PYTHONPATH")))
        )
        environment = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": packages}
        config = folder / "config.yaml"
        OmegaConf.save(self.cfg, config, resolve=True)
        for rank in range(1, count):
            words = [sys.executable, "-m", "datakiln.jobs.companions", str(config), str(rank), str(count)]
            with (folder / f"{rank}.log").open("wb") as log:
                self.started.append(
                    subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
                )

    def fit(self) -> None:
        """Trains together; afterwards this process is by itself again."""
        try:
            self._meet()
            super().fit()
            processes.leave()
            for process in self.started:
                process.wait(GRACE)
        except RuntimeError as error:
            raise self._explained(error) from error
        finally:
            self.end()

    def _meet(self) -> None:
        """Waits until every process has read the data: one that could not would be waited for in vain."""
        folder = None if self.logs is None else Path(self.logs.name)
        while folder is not None and not all(
            (folder / f"{rank}.ready").exists() for rank in range(1, self.place.count)
        ):
            if any(process.poll() is not None for process in self.started):
                raise self._explained(RuntimeError("a process has ended"))
            time.sleep(POLL)
        processes.join(self.place, _on_gpus(self.cfg))

    def end(self) -> None:
        """Ends the others, if they have not by themselves."""
        for process in self.started:
            process.kill()
            process.wait()
        self.started = []
        if self.logs is not None:
            self.logs.cleanup()

    def _explained(self, error: RuntimeError) -> BaseException:
        """What a process that has ended too early said last."""
        for rank, process in enumerate(self.started, 1):
            try:
                code = process.wait(2.0)
            except subprocess.TimeoutExpired:
                continue
            if code and self.logs is not None:
                said = (Path(self.logs.name) / f"{rank}.log").read_text(errors="replace").strip().splitlines()
                return UserError(
                    f"process {rank + 1} of {self.place.count} has ended: {said[-1] if said else f'code {code}'}"
                )
        return error

    def _start_from(self) -> str | None:
        return processes.told(super()._start_from())

    def _choose(self) -> Chosen:
        return processes.told(super()._choose())

    def trainer_options(self) -> dict[str, Any]:
        """See `Run`."""
        device = device_of(self.cfg, self.place)
        return {
            "devices": 1,
            "num_nodes": 1,
            "accelerator": device.type.replace("cuda", "gpu"),
            "strategy": Shared(device),
        }


class Companion(SharedRun):
    """A further process: the same data, the same model and the same steps; it says nothing and keeps nothing."""

    ready: Path | None = None  # what tells the first process that this one has come so far

    def _meet(self) -> None:
        if self.ready is not None:
            self.ready.touch()
        processes.join(self.place, _on_gpus(self.cfg))

    def check(self) -> None:
        """The first process has claimed the folder."""

    def _start_from(self) -> str | None:
        return processes.told(None)

    def _choose(self) -> Chosen:
        said: Any = processes.told(None)
        return said  # type: ignore[no-any-return]

    def _callbacks(self) -> list[Any]:
        self.bundle.writes = False
        averaging = [] if self.cfg.ema is None else [Ema(self.cfg.ema)]
        return [*averaging, self.bundle]


def share_in(cfg: DictConfig, place: Place, ready: Path | None = None) -> None:
    """What a process does that is not the first; `ready` appears when it has read the data."""
    own = cfg.copy()
    OmegaConf.set_readonly(own, False)
    own.logger = {}
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        run = Companion(own, place, Console(file=nowhere))
        run.ready = ready
        run.load_data()
        run.fit()


def choose(cfg: DictConfig) -> Run:
    """The run of a config: in one process, or the first of several."""
    place = several(cfg)
    if place is None:
        return Run(cfg)
    model: Any = get_object(str(cfg.model._target_))
    if why := getattr(model, "alone", ""):
        if place.meeting:
            raise UserError(
                f"{model.__name__} is trained in one process, since {why}; start it without torchrun or srun"
            )
        run = Run(_alone(cfg))
        run.console.print(f"note: {model.__name__} is trained in one process, since {why}", style="yellow")
        return run
    return SharedRun(cfg, place)


def _alone(cfg: DictConfig) -> DictConfig:
    alone = cfg.copy()
    alone.trainer.devices = 1
    return alone


def main(config: str, rank: str, count: str) -> None:
    """A process that another has started."""
    cfg = OmegaConf.load(config)
    assert isinstance(cfg, DictConfig)
    place = Place(int(rank), int(count), int(rank), processes.meeting_in(Path(config).parent))
    try:
        share_in(cfg, place, Path(config).with_name(f"{rank}.ready"))
    except (UserError, Interrupted) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(*sys.argv[1:])
