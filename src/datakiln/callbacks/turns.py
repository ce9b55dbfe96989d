"""When a callback that measures now and then has its turn."""

from __future__ import annotations

import lightning as L


def check_turns(option: str, every: int, times: int | None) -> None:
    """Refuses turns that would never come; raises `ValueError` with the full name of the option."""
    for name, value in (("every", every), ("times", times)):
        if value is not None and value < 1:
            raise ValueError(f"{option}.{name}={value} must be at least 1")


def is_due(trainer: L.Trainer, every: int, times: int | None) -> bool:
    """Whether to measure after this epoch of training: every so many of them, or so many times in all, and at the end.

    Arguments:
        trainer: Of the run.
        every: Epochs between two measurements.
        times: Measurements in a run that knows its length, in place of `every`; None: as `every` says.
    """
    if trainer.state.fn != "fit":
        return False
    epoch, length = trainer.current_epoch + 1, trainer.max_epochs or 0
    if times is not None and length > 0:
        every = max(length // times, 1)
    return epoch % every == 0 or epoch == length
