"""Training from Python instead of a shell: what notebooks and tests call."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from rich.console import Console

from datakiln.cli.checks import check
from datakiln.cli.explain import explain
from datakiln.cli.free_names import spell_out
from datakiln.cli.run_folders import forget
from datakiln.cli.train import complete
from datakiln.errors import UserError
from datakiln.jobs.run import Run
from datakiln.storage import CONF

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
    with _composed(overrides) as cfg, _signals_kept():
        cfg.output_dir = str(folder)
        check(cfg)
        run = Run(cfg, console or _plain_console())
        complete(run)
    return run


def _plain_console() -> Console:
    """A notebook may pass for a terminal but keeps every redrawn line; Rich's own display there needs ipywidgets."""
    return Console(force_terminal=False, force_jupyter=False, width=WIDTH)


@contextmanager
def _composed(overrides: Sequence[str]) -> Iterator[DictConfig]:
    """The config of a command line; while it is in use, Hydra's `hydra:` values are those of this run."""
    forget()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", overrides=spell_out(overrides), return_hydra_config=True)
    except HydraException as error:
        raise UserError(explain(error, overrides)) from None
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(cfg.copy())
    with open_dict(cfg):
        del cfg["hydra"]
    try:
        yield cfg
    finally:
        hydra.cfg = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Gives a notebook its interrupt key back: a run that trains takes SIGINT and SIGTERM for itself."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
