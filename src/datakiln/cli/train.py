"""`datakiln train model=vae data=adhd latent_dim=5`: data, spec, model, fit, synthetic data, figures, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from datakiln.cli.checks import check, check_arguments
from datakiln.cli.commands import run_hydra
from datakiln.errors import UserError
from datakiln.saying import say
from datakiln.storage import no_room

if TYPE_CHECKING:
    from datakiln.jobs.run import Run


def train(cfg: DictConfig) -> float | None:
    """Runs one training job and returns the figure named by `objective`."""
    check(cfg)
    say(f"into {cfg.output_dir}")
    # torch and Lightning take seconds to import; a wrong option or --help should not wait for them
    from datakiln.jobs.companions import choose, share_in
    from datakiln.jobs.trials import decided, is_auto
    from datakiln.processes import started_as
    from datakiln.results import forget_peak_memory

    forget_peak_memory()  # that of an earlier job of a sweep
    place = started_as()
    if place is not None and place.rank > 0:
        share_in(cfg, place)
        return None
    return complete(choose(decided(cfg) if is_auto(cfg) else cfg))


def complete(run: Run) -> float | None:
    """Every phase of a job in order; returns the figure named by `objective`."""
    import torch

    from datakiln.callbacks.stopping import stopping

    check_arguments(run.cfg)  # those of other packages' classes too, which are imported for it
    threads = torch.get_num_threads()
    try:
        with stopping(run.ask_to_stop), naming_full_disks(run.last_path), run.logged():
            run.check()
            run.load_data()
            run.fit()
            run.synthesize()
            run.prove()
            return run.finish()
    finally:
        run.end()
        torch.set_num_threads(threads)  # a small net takes one: the next job of a sweep may be large


@contextmanager
def naming_full_disks(last: Path) -> Iterator[None]:
    """Says what goes on after the disk was full; raises `UserError` that names the file."""
    from datakiln.callbacks.stopping import way_on

    try:
        yield
    except OSError as error:
        if (told := no_room(error)) is None:
            raise
        raise UserError(f"{told}; make room there: {way_on(last)}") from error


def compare(arguments: list[str]) -> None:
    """The table that ends a sweep."""
    from datakiln.cli.report import main

    main(arguments)


def run() -> None:
    """The command."""
    run_hydra(train, "train", compare)
