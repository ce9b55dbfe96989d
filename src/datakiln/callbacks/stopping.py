"""What happens when somebody asks a program to stop. Imports nothing heavy."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datakiln.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Interrupted):
    """A run left on request; says whether there is anything to go on from."""

    def __init__(self, reason: str, path: Path) -> None:
        """Arguments: reason: name of the signal; path: where the state is, if there is any."""
        super().__init__(reason, way_on(path))


def way_on(path: Path) -> str:
    """What is left of a run that ends too early, and what goes on from there.

    Arguments:
        path: Its last checkpoint, if there is any.
    """
    if (path.parent.parent / "result.json").exists():
        return f"the run in {path.parent.parent} is finished"
    if not path.exists():
        return "nothing was trained yet; the same command begins anew"
    return f"everything is saved in {path}; ckpt_path=last goes on from there"


def on_termination(stop: Callable[[str], None]) -> None:
    """Calls `stop` with the signal's name at SIGTERM or the first Ctrl-C; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        return  # a notebook's or launcher's worker: the owner of the process handles it

    def handle(number: int, frame: Any) -> None:  # noqa: ANN401 (a frame)
        signal.signal(number, signal.SIG_DFL)
        stop(signal.Signals(number).name)

    for number in SIGNALS:
        signal.signal(number, handle)


@contextmanager
def stopping(stop: Callable[[str], None]) -> Iterator[None]:
    """Inside, `on_termination`; afterwards what was before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    on_termination(stop)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # one that was not set from Python cannot be set from it again
                    signal.signal(number, handler)


def interrupt(reason: str) -> None:
    """Leaves whatever is being done."""
    raise Interrupted(reason)
