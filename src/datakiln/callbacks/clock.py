"""How long the fit of a run took and how much memory it held, also one that was broken off and went on."""

from __future__ import annotations

import time
from typing import Any

import lightning as L

from datakiln.results import peak_memory_mb

KEY, MEMORY = "fit_cpu_seconds", "peak_memory_mb"


class Clock(L.Callback):
    """Keeps CPU time and peak memory of training in its checkpoints; one instance serves all fits of a run.

    Attributes:
        earlier: CPU-seconds of the processes that this one goes on from.
        own: Of this process, up to the end of its last fit.
        memory: Most memory that an earlier process has held, in MB.
    """

    earlier = own = memory = 0.0

    def __init__(self) -> None:
        """See the class."""
        self._start: float | None = None

    @property
    def spent(self) -> float:
        """CPU-seconds so far, of all processes."""
        return self.earlier + self.own + (0.0 if self._start is None else time.process_time() - self._start)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The clock runs."""
        self._start = time.process_time()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The clock stands."""
        self.own, self._start = self.spent - self.earlier, None

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds what is spent, and the most that was held."""
        checkpoint[KEY], checkpoint[MEMORY] = self.spent, max(self.memory, peak_memory_mb())

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes it up again: the clock of this process begins at 0."""
        self.earlier = max(self.earlier, float(checkpoint.get(KEY, 0.0)))
        self.memory = max(self.memory, float(checkpoint.get(MEMORY, 0.0)))
