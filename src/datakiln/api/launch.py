"""Training from Python instead of a shell: what notebooks and tests call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datakiln.api.config import composed
from datakiln.api.process import as_it_was
from datakiln.cli.checks import check
from datakiln.cli.train import complete
from datakiln.console import Console
from datakiln.jobs.run import Run
from datakiln.jobs.trials import decided, is_auto

WIDTH = 100  # characters of the default console


def train(overrides: Sequence[str], folder: str | Path, console: Console | None = None) -> Run:
    """Does in this process what `datakiln train` does with the same overrides.

    Arguments:
        overrides: As on the command line, such as `["model=vae", "data=iris", "epochs=100"]`.
        folder: Where the run is left; it must hold no other.
        console: Where to say what happens; None for plain text on the standard output.

    Returns:
        The finished run, with its `data`, `model`, `synthesizer`, `synthetic` data, `figures` and `plots`.

    Raises:
        UserError: An option is unknown or misspelt, or what `datakiln.cli.checks` and `datakiln.jobs.run` refuse.
    """
    with as_it_was(), composed(overrides) as cfg:
        cfg.output_dir = str(folder)
        check(cfg)
        console = console or _plain_console()
        run = Run(decided(cfg, console) if is_auto(cfg) else cfg, console)
        complete(run)
    return run


def _plain_console() -> Console:
    """A notebook may pass for a terminal but keeps every redrawn line; Rich's own display there needs ipywidgets."""
    return Console(force_terminal=False, force_jupyter=False, width=WIDTH)
