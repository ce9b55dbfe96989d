"""Columns of true, false and nothing: found as boolean, asked for in any writing, written as they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datakiln.cli.sample import main as sample
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.types import infer_schema
from datakiln.sampling.synthesizer import Synthesizer
from tests.stub_tables import redrawing

SMOKES = pd.array([True, False, None, True, False, False] * 20, dtype="boolean")
TABLE = pd.DataFrame({"smoker": SMOKES, "age": np.arange(120) % 47, "kind": ["a", "b"] * 60})


def read(folder, suffix: str) -> pd.DataFrame:
    path = folder / f"table.{suffix}"
    TABLE.to_csv(path, index=False) if suffix == "csv" else TABLE.to_parquet(path, index=False)
    return read_table_file(path).frame


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_truths_with_missing_cells_are_booleans_and_stay_so(tmp_path, monkeypatch, suffix):
    frame = read(tmp_path, suffix)
    assert infer_schema(frame, None, {})["smoker"].type == "boolean"
    synthesizer = redrawing(label="kind", frame=frame)
    monkeypatch.setattr(Synthesizer, "load", classmethod(lambda cls, *args, **options: synthesizer))
    sample([f"run={tmp_path}", f"out={tmp_path}/x.parquet", "n=300"])
    made = pq.read_table(tmp_path / "x.parquet").column("smoker")
    assert pa.types.is_boolean(made.type) and 0 < made.null_count < 200
    sample([f"run={tmp_path}", f"out={tmp_path}/x.csv", "n=300"])
    assert set(pd.read_csv(tmp_path / "x.csv", dtype=str, keep_default_na=False).smoker) == {"True", "False", ""}


@pytest.mark.parametrize("values", [[True, False], ["True", "False"], ["true", "false"], [1, 0], [1.0, 0.0]])
@pytest.mark.parametrize("asked", ["true", "True", "TRUE", True, "1", 1])
def test_truths_are_asked_for_in_any_writing(values, asked):
    frame = TABLE.assign(smoker=[values[0], values[1], values[1]] * 40)
    assert infer_schema(frame, None, {})["smoker"].type == "boolean"
    assert (redrawing(label="kind", frame=frame).sample(20, {"smoker": asked}).smoker == values[0]).all()
