"""What happens when somebody asks a run to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datakiln.errors import UserError


class Stopped(UserError):
    """Training left on request, with everything saved."""

    def __init__(self, reason: str, path: Path) -> None:
        """Arguments: reason: name of the signal; path: where the state is."""
        super().__init__(f"stopped by {reason}; everything is saved in {path}; ckpt_path=last goes on from there")
        self.exit_code = 128 + signal.Signals[reason].value


def on_termination(stop: Callable[[str], None]) -> None:
    """Calls `stop` with the signal's name at SIGTERM or the first Ctrl-C; a second one ends the process at once."""

    def handle(number: int, frame: Any) -> None:  # noqa: ANN401 (a frame)
        signal.signal(number, signal.SIG_DFL)
        stop(signal.Signals(number).name)

    try:
        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)
    except ValueError:
        return  # not in the main thread (a notebook's or launcher's worker): the owner of the process handles it
