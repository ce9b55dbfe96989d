"""`python -m src.train model=vae data=adhd latent_dim=5`: data, spec, model, fit, synthetic data, figures, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.cli import run_hydra

if TYPE_CHECKING:
    from src.run import Run


def train(cfg: DictConfig) -> float | None:
    """Runs one training job and returns the figure named by `objective`."""
    # torch and Lightning take seconds to import; a wrong option or --help should not wait for them
    from src.run import Run

    run = Run(cfg)
    run.check()
    run.load_data()
    run.fit()
    run.synthesize()
    run.prove()
    return run.finish()


if __name__ == "__main__":
    run_hydra(train, "train")
