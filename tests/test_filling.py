"""Files whose missing cells are filled and whose rows are scored, as `src.sample fill=` and `score=` do it."""

import pandas as pd
import pytest
import torch
from code_tables import data_of, related, train

from src.cli import options
from src.errors import UserError
from src.filling import fill_file, score_file
from src.models.mixture import Mixture
from src.sample import _check
from src.synthesizer import Synthesizer


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    torch.manual_seed(0)
    data = data_of(related(2000), "kind")
    return Synthesizer(train(Mixture(data.spec, classes=[8], smoothing=[1.0]), data, 8), data.codec)


@pytest.fixture
def holes() -> pd.DataFrame:
    frame = related(200, seed=5).assign(remark="as it was")
    frame.loc[frame.index % 4 == 0, "twin"] = None
    frame.loc[frame.index % 5 == 0, "size"] = None
    return frame


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_is_filled_and_keeps_what_it_had(synthesizer, holes, tmp_path, suffix):
    holes.to_csv(tmp_path / "holes.csv", index=False)
    out = tmp_path / "new" / f"filled.{suffix}"
    said = fill_file(synthesizer, str(tmp_path / "holes.csv"), str(out), seed=1)
    assert said == "90 of 90 missing cells filled in 200 rows"
    filled = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert list(filled.columns) == list(holes.columns) and (filled["remark"] == "as it was").all()
    assert filled.notna().all(axis=None)
    assert filled["size"].astype(str).str.fullmatch(r"\d+").all(), "whole numbers stay whole"
    there = holes["twin"].notna()
    assert (filled.loc[there, "twin"] == holes.loc[there, "twin"]).all()
    right = related(200, seed=5)["twin"]
    assert (filled.loc[~there, "twin"] == right[~there]).mean() > 0.9, "the twin follows from the kind"


def test_the_strangest_rows_stand_first(synthesizer, tmp_path):
    frame = related(100, seed=6)
    frame.loc[[17, 60], "twin"] = frame.loc[[17, 60], "kind"]  # never so in training
    frame.to_csv(tmp_path / "rows.csv", index=True, index_label="row")
    said = score_file(synthesizer, str(tmp_path / "rows.csv"), str(tmp_path / "scored.csv"))
    assert said.startswith("100 rows scored")
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert {17, 60} <= set(scored["row"][:6]), "beside what is rare of itself"
    assert scored["log_prob"].is_monotonic_increasing


def test_what_cannot_be_is_said_in_one_line(synthesizer, tmp_path):
    related(20).drop(columns="twin").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match="lacks the column 'twin'"):
        fill_file(synthesizer, str(tmp_path / "a.csv"), str(tmp_path / "x.csv"), 0)
    related(20).assign(size="much").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(UserError, match="b.csv: column 'size' is not integer as in the training table"):
        score_file(synthesizer, str(tmp_path / "b.csv"), str(tmp_path / "x.csv"))
    with pytest.raises(UserError, match=r"out=.*x\.xls must end in"):
        score_file(synthesizer, _written(tmp_path), str(tmp_path / "x.xls"))
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    "words", [["fill=a.csv", "n=3"], ["fill=a.csv", "score=b.csv"], ["score=a.csv", "condition.x=1"]]
)
def test_options_that_contradict_each_other(words, tmp_path):
    with pytest.raises(UserError, match="works on the rows of that file; leave out"):
        _check(options(["run=r", f"out={tmp_path}/x.csv", *words], "sample"))


def _written(folder):
    related(20).to_csv(folder / "c.csv", index=False)
    return str(folder / "c.csv")
