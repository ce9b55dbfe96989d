"""One Rich progress bar for training, redrawn a few times a second at most; silent in a log file."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datakiln.console import Console

REDRAW_SECONDS = 0.25


def figures_text(trainer: L.Trainer, monitor: str, every_loss: bool = False) -> str:
    """The monitor as it was last measured, whatever kind of model it is of, and the losses, in one line.

    Arguments:
        trainer: Of the run.
        monitor: The figure that decides which epoch is best.
        every_loss: All losses of training and validation; else the one that is minimised.
    """
    known = trainer.callback_metrics
    losses = [name for name in known if name.endswith("loss") and name.startswith(("train/", "val/", "refit/"))]
    shown = [monitor, *(losses if every_loss else ["train/loss", "refit/loss"])]
    return "  ".join(f"{name} {float(known[name]):.4g}" for name in dict.fromkeys(shown) if name in known)


class TrainingBar(L.Callback):
    """Shows epochs done, time left, the monitor and the latest loss.

    Arguments:
        console: Where to draw; nothing is drawn when it is not a terminal.
        monitor: The figure that decides which epoch is best.
    """

    def __init__(self, console: Console, monitor: str = "val/loss") -> None:
        """See the class."""
        self.console, self.monitor = console, monitor
        self._bar: Progress | None = None
        self._drawn_at = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar."""
        if not self.console.is_terminal:
            return
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[figures]}", markup=False), console=self.console)
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self._task = self._bar.add_task("training", total=total, figures="", completed=trainer.current_epoch)
        self._bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Moves within an epoch, which may be long."""
        if self._bar is not None and time.monotonic() - self._drawn_at > REDRAW_SECONDS:
            batches = max(int(trainer.num_training_batches), 1)
            inside = trainer.fit_loop.epoch_loop.batch_progress.current.ready / batches
            self._bar.update(self._task, completed=trainer.current_epoch + min(inside, 1.0))
            self._drawn_at = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows the monitor and the loss."""
        if self._bar is not None:
            text = figures_text(trainer, self.monitor)
            self._bar.update(self._task, completed=trainer.current_epoch + 1, figures=text)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Closes the bar before the error is shown."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
