"""How the pruner of a sweep, whatever library it is from, reaches the training loop of one of its jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

Judge = Callable[[int, float], bool]  # from the epochs done and the monitor after them to whether the job shall end

PRUNED: Final = "pruned"  # what a job returns in place of its objective
_current: ContextVar[Judge | None] = ContextVar("judge", default=None)


class Pruned(Exception):
    """A run that its sweep's pruner has ended: no failure, and nothing to go on with."""


@contextmanager
def judged_by(judge: Judge | None) -> Iterator[None]:
    """Runs that are started inside ask this judge after each measurement of their monitor; None: nobody."""
    token = _current.set(judge)
    try:
        yield
    finally:
        _current.reset(token)


def current_judge() -> Judge | None:
    """The judge of the run that is about to start."""
    return _current.get()
