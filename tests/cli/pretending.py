"""Jobs for tests of sweeps: they leave a result without training. Light, since parallel workers import it too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from datakiln.callbacks.pruning import Pruned, current_judge
from datakiln.results import Objective, RunResult, Score, Source

BEST = 9  # latent size


def pretend(cfg: DictConfig) -> float:
    """A job that fails for latent_dim=5 and otherwise leaves the result of a run."""
    from hydra.core.hydra_config import HydraConfig

    print(f"training {cfg.latent_dim}")
    if cfg.latent_dim == 5:
        raise ValueError("five does not work")
    hydra, value = HydraConfig.get(), float((cfg.latent_dim - BEST) ** 2 + 0.1 * cfg.seed)
    result = RunResult(
        model=hydra.runtime.choices.model, data=hydra.runtime.choices.data, seed=cfg.seed,
        overrides=list(hydra.overrides.task), provenance=Source("embedded", "nothing", "0" * 64),
        objective=Objective(cfg.objective, value, "higher" if cfg.objective == "quality" else "lower"),
        figures=[Score("test/kl", float(cfg.latent_dim)), Score("test/loss", value, "lower")],
        versions={"threads": os.environ.get("THREADS", "")},
    )  # fmt: skip
    result.save(Path(cfg.output_dir) / "result.json")
    return value


def pretend_with_threads(cfg: DictConfig) -> float:
    """The same, and says how many threads a job of a parallel sweep has."""
    import torch

    os.environ["THREADS"] = f"{torch.get_num_threads()} in {os.getpid()}"
    return pretend(cfg)


def pretend_to_learn(cfg: DictConfig) -> float:
    """The same after some epochs, each measured and judged, as `Bundle` does it."""
    judge, value = current_judge(), float((cfg.latent_dim - BEST) ** 2)
    for epoch in range(1, cfg.epochs + 1):
        if judge is not None and judge(epoch, value + 1 / epoch):
            raise Pruned(f"pruned after epoch {epoch}: val/loss {value + 1 / epoch:.5g}")
    return pretend(cfg)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))}
