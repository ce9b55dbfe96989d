"""Two files of series from anywhere: what is said of a copy without a holdout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from datakiln.console import Console
from datakiln.metrics.series import fidelity, judges
from datakiln.proof.series_pair import evaluate_series_files
from datakiln.reports.verdict import judged
from datakiln.results import RunResult


def panel(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(60, 12, 2)).cumsum(axis=1).reshape(-1, 2).round(4)
    who = np.repeat(np.arange(60), 12)
    return pd.DataFrame({"who": who, "t": np.tile(np.arange(12), 60), "a": level[:, 0], "b": level[:, 1]})


def compared(folder: Path, made: pd.DataFrame) -> RunResult:
    panel(0).to_csv(folder / "real.csv", index=False)
    made.to_csv(folder / "made.csv", index=False)
    files = {"real": str(folder / "real.csv"), "synthetic": str(folder / "made.csv"), "holdout": None, "target": None}
    cfg = OmegaConf.create({**files, "seed": 0, "data": {"time": "t", "entity": "who", "window": None}})
    metrics = [fidelity.nearest, fidelity.copies, fidelity.autocorrelation, judges.boosting]
    result, _, _ = evaluate_series_files(cfg, metrics, folder, Console(quiet=True))
    return result


@pytest.mark.parametrize("copied", [True, False])
def test_a_copy_is_like_real_series_and_not_safe_to_share(tmp_path: Path, copied: bool) -> None:
    result = compared(tmp_path, panel(0 if copied else 1))
    claims = {claim.topic: claim for claim in judged(result).claims}
    assert claims["faithful"].tone == "fair", claims["faithful"].sentence
    figures = {score.name: score for score in result.figures}
    assert (
        figures["privacy/closer_to_train"].value is None
        and "without holdout=" in figures["privacy/closer_to_train"].why
    )
    assert (claims["safe"].tone == "bad") == copied
    assert (figures["privacy/copies"].value > 0.7) == copied
    assert (figures["twosample/boosting_auc"].value < 0.4) == copied
