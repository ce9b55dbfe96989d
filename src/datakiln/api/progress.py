"""How far a fit is: a bar in a terminal, one line in a notebook, nothing unless it is asked for."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L

from datakiln.callbacks.progress import TrainingBar, figures_text
from datakiln.console import Console
from datakiln.saying import say, visible
from datakiln.wording import counted, duration

REDRAW_SECONDS = 0.5


def quiet_console() -> Console:
    """One that says nothing."""
    return Console(quiet=True, force_terminal=False, force_jupyter=False)


def progress_of(progress: bool, monitor: str = "val/loss") -> L.Callback:
    """What is shown while training.

    Arguments:
        progress: Whether anything is.
        monitor: The figure that decides which epoch is best.
    """
    if not progress:
        return TrainingBar(quiet_console(), monitor)
    terminal = Console(force_jupyter=False)
    is_bar = terminal.is_terminal and not in_notebook()
    return TrainingBar(terminal, monitor) if is_bar else TrainingLine(monitor)


def in_notebook() -> bool:
    """Whether output goes to a notebook's cell."""
    interactive: Any = sys.modules.get("IPython")
    shell = None if interactive is None else interactive.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class TrainingLine(L.Callback):
    """One line of a notebook that is rewritten in place and stays, tidy; elsewhere, only its last state.

    It is made of a notebook's own display messages and needs no widgets.

    Arguments:
        monitor: The figure that decides which epoch is best.
    """

    def __init__(self, monitor: str = "val/loss") -> None:
        """See the class."""
        self.monitor = monitor
        self._line: Any = None
        self._began = self._drawn_at = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the line."""
        self._began = time.monotonic()
        if in_notebook():
            from IPython.display import display

            self._line = display(_text("training ..."), raw=True, display_id=True)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Rewrites it now and then."""
        if self._line is None or time.monotonic() - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = time.monotonic()
        batches = max(int(trainer.num_training_batches), 1)
        done = trainer.current_epoch + min(trainer.fit_loop.epoch_loop.batch_progress.current.ready / batches, 1.0)
        passed, total = time.monotonic() - self._began, trainer.max_epochs
        if total is not None and total > 0:
            left = passed * (total - done) / max(done, 1e-9)
            self._write(f"training: epoch {trainer.current_epoch + 1} of {total}, {duration(left)} left", trainer)
        else:
            self._write(f"training: epoch {trainer.current_epoch + 1}, {duration(passed)} so far", trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves what the training came to."""
        passed = duration(time.monotonic() - self._began)
        self._write(f"trained: {counted(trainer.current_epoch, 'epoch')} in {passed}", trainer, last=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leaves how far it came."""
        self._write(f"training stopped in epoch {trainer.current_epoch + 1}", trainer, last=True)

    def _write(self, text: str, trainer: L.Trainer, last: bool = False) -> None:
        figures = figures_text(trainer, self.monitor)
        line = f"{text}, {figures}" if figures else text
        if self._line is not None:
            self._line.update(_text(line), raw=True)
        elif last:
            say(line, error=True)


def _text(line: str) -> dict[str, str]:
    return {"text/plain": visible(line)}
