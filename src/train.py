"""`python -m src.train model=vae data=adhd latent_dim=5`: data, spec, model, fit, synthetic data, figures, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.checks import check_arguments, check_pairing, check_reach, check_side, check_trainer, check_values, check_watch
from src.cli import run_hydra

if TYPE_CHECKING:
    from src.run import Run


def train(cfg: DictConfig) -> float | None:
    """Runs one training job and returns the figure named by `objective`."""
    check_values(cfg)
    check_pairing(cfg)
    check_reach(cfg)
    check_watch(cfg)
    check_side(cfg)
    check_trainer(cfg)
    check_arguments(cfg, only_ours=True)
    # torch and Lightning take seconds to import; a wrong option or --help should not wait for them
    from src.run import Run

    return complete(Run(cfg))


def complete(run: Run) -> float | None:
    """Every phase of a job in order; returns the figure named by `objective`."""
    import torch

    threads = torch.get_num_threads()
    try:
        run.check()
        run.load_data()
        run.fit()
        run.synthesize()
        run.prove()
        return run.finish()
    finally:
        torch.set_num_threads(threads)  # a small net takes one: the next job of a sweep may be large


def compare(arguments: list[str]) -> None:
    """The table that ends a sweep."""
    from src.report import main

    main(arguments)


if __name__ == "__main__":
    run_hydra(train, "train", compare)
