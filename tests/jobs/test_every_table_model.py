"""Every model of tables trains by one command on the full ADHD-200 table, with its holes, and on a person's CSV."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.api.launch import train
from datakiln.console import Console
from tests.sampling.test_table_faults import models

SHAPE = "{_target_:datakiln.metrics.tables.fidelity.shape,_partial_:true}"
FEW = ["epochs=2", "~metrics.table", f"+metrics.table.shape={SHAPE}"]


MODELS = models()


def test_the_models_are_found():
    assert {"tabar", "ctgan", "mixture", "bootstrap", "vae"} <= set(MODELS) and "dcgan" not in MODELS


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_adhd_full(model, data_dir, tmp_path):
    run = train([f"model={model}", "data=adhd_full", f"data_dir={data_dir}", *FEW], tmp_path / "r", Console(quiet=True))
    assert not run.data.provenance.is_stand_in
    assert len(run.synthetic) == run.data.spec.size and list(run.synthetic) == run.data.schema.names
    holes = run.data.frames["train"].isna().mean()
    assert (holes > 0.05).any(), "the table has missing cells"
    assert run.synthetic.isna().any(axis=None), "and so has the synthetic one"


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_csv(model, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 80, 300), "city": rng.choice(["Ulm", "Bern", "Graz"], 300)})
    frame["pay"] = (rng.gamma(2.0, 900.0, 300)).round(2)
    frame.loc[::7, "pay"] = np.nan
    frame["sick"] = np.where(frame["age"] > 50, "yes", "no")
    frame.to_csv(tmp_path / "mine.csv", index=False)
    words = [f"model={model}", "data=csv", f"data.path={tmp_path / 'mine.csv'}", "data.target=sick", *FEW]
    run = train(words, tmp_path / "r", Console(quiet=True))
    assert set(run.synthetic["city"]) <= {"Ulm", "Bern", "Graz"} and run.synthetic["age"].between(18, 80).all()
    assert set(run.synthetic["sick"]) <= {"yes", "no"}
