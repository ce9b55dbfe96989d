"""The state of one training job, from its config to its figures: what every phase reads and adds to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig

from datakiln.callbacks.budget import Budget
from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.chosen import Chosen
from datakiln.callbacks.clock import Clock
from datakiln.callbacks.log import RunLog, kept_log
from datakiln.callbacks.private import PrivateTraining
from datakiln.console import Console
from datakiln.data.base import GenerativeData
from datakiln.jobs.affordable import Affordable
from datakiln.jobs.lengths import budget_seconds
from datakiln.models.base import GenerativeModel
from datakiln.proof.base import Proof
from datakiln.results import Score, Study
from datakiln.sampling.synthesizer import Synthesizer


class Job:
    """The state of one job.

    Arguments:
        cfg: The composed config of a job.
        console: Where to say what happens.
    """

    data: GenerativeData
    model: GenerativeModel
    proof: Proof
    bundle: Bundle
    protection: PrivateTraining
    trainer: L.Trainer
    loggers: list[Any]
    synthesizer: Synthesizer
    synthetic: Any
    figures: list[Score]
    plots: list[Path]
    studies: list[Study]

    def __init__(self, cfg: DictConfig, console: Console | None = None) -> None:
        """See the class."""
        self.cfg, self.console = cfg, console or Console()
        self.folder = Path(cfg.output_dir)
        self.log: RunLog | None = None
        self.chosen: Chosen | None = None  # in the second of two fits, what the first has left to it
        seconds = budget_seconds(cfg.get("budget"))
        self.budget = None if seconds is None else Budget(seconds)
        self.clock = Clock()
        self.affordable: Affordable | None = None  # where the budget makes training shorter
        self.studies = []
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Keeps `log.txt` of all phases inside."""
        with kept_log(self.folder / "log.txt", self.console) as self.log:
            yield

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times one phase, also one that is left early."""
        start, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 3)
            self.cpu_seconds[name] = round(time.process_time() - cpu, 3)
