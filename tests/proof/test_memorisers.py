"""Whole runs of a model that learns its rows by heart: the report says so, loudly, however small the holdout."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from datakiln.cli import run_folders  # noqa: F401 (its resolvers)
from datakiln.console import Console
from datakiln.data.sets.adult import AdultTable
from datakiln.jobs.run import Run
from datakiln.reports.verdict import judged
from datakiln.results import RunResult, Score
from datakiln.storage import CONF

LONG = (
    "data.target=income", "data.split=[.98,.01,.01]", "epochs=100", "patience=null", "model.dropout=0",
    "model.width=192", "model.optimizer.weight_decay=0",
)  # fmt: skip
BATTERY = "{m: {_target_: datakiln.metrics.privacy.membership.membership, _partial_: true}}"

pytestmark = pytest.mark.slow


def trained(folder: Path, frame: pd.DataFrame, *options: str) -> tuple[Run, Score]:
    """A run of tabar whose validation rows are trained on, measured by the battery alone."""
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / "t.csv", index=False)
    words = [
        "model=tabar", "data=csv", f"data.path={folder}/t.csv", "data.validation=shared", "trainer.accelerator=cpu",
        f"output_dir={folder}/run", "plots=false", f"root={folder}", *options,
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["~metrics.table", f"+metrics.table={BATTERY}", *words])
    run = Run(cfg, Console(file=io.StringIO(), width=200))
    for phase in (run.check, run.load_data, run.fit, run.synthesize, run.prove, run.finish):
        phase()
    return run, next(score for score in run.figures if score.name == "privacy/membership_auc")


def assert_told(run: Run, score: Score) -> None:
    """Membership is a leak, in the figure, in the verdict and in the report."""
    assert score.finding == "leak", score.note
    page = (run.folder / "report.html").read_text()
    assert "Do not release" in page and "Membership can be told: warning" in page
    claim = judged(RunResult.load(run.folder / "result.json"), "rows").claims[2]
    assert claim.tone == "bad"


def test_two_thousand_rows_of_adult_beside_twenty_held_out(tmp_path, data_dir) -> None:
    frame = AdultTable()(str(data_dir)).frame.sample(2000, random_state=0)
    run, score = trained(tmp_path, frame, *LONG)
    assert_told(run, score)
    on_all = {trial.name: trial.figures["AUC"][0] for trial in score.trials if trial.group == "all records"}
    assert on_all["likelihood of the model"] > 0.9


def test_a_table_of_distinct_numbers_trained_far_too_long(tmp_path) -> None:
    rng = np.random.default_rng(0)
    n = 2000
    group = rng.integers(0, 5, n)
    frame = pd.DataFrame(
        {
            "amount": rng.permutation(10**6)[:n] / 100,
            "x": (group + rng.normal(size=n)).round(4),
            "y": rng.normal(size=n).round(4),
            "z": rng.gamma(2, 3, n).round(4),
            "group": [f"g{i}" for i in group],
        }
    )
    assert_told(*trained(tmp_path, frame, "epochs=60", "patience=null"))
