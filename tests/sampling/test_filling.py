"""Files whose missing cells are filled and whose rows are scored, as `src.sample fill=` and `score=` do it."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.cli.commands import options
from datakiln.cli.sample import _check, main
from datakiln.codecs.tables.scaling import Standard
from datakiln.constraints import Expression
from datakiln.errors import UserError
from datakiln.models.flow.nsf import NSF
from datakiln.models.statistical.mixture import Mixture
from datakiln.sampling.filling import SCORE, as_trained, fill_file, score_file
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.serve.streams import escaped
from datakiln.spec import NOUNS
from tests.code_tables import data_of, related, train
from tests.stub_tables import redrawing
from tests.toy_tables import toy_data


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
    pd.DataFrame({"twine": ["a"]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match="a.csv has no column of the training table, such as 'kind'"):
        fill_file(synthesizer, str(tmp_path / "a.csv"), str(tmp_path / "x.csv"), 0)
    related(20).assign(size="much").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(UserError, match="b.csv: column 'size' is not integer as in the training table"):
        score_file(synthesizer, str(tmp_path / "b.csv"), str(tmp_path / "x.csv"))
    for name, of in (("fill", lambda *words: fill_file(*words, 0)), ("score", score_file)):
        with pytest.raises(UserError, match=f"^{name}=.*none.csv: there is no such file"):
            of(synthesizer, str(tmp_path / "none.csv"), str(tmp_path / "x.csv"))
    with pytest.raises(UserError, match=r"out=.*x\.xls must end in"):
        score_file(synthesizer, _written(tmp_path), str(tmp_path / "x.xls"))
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    "words", [["fill=a.csv", "n=3"], ["fill=a.csv", "score=b.csv"], ["score=a.csv", "condition.x=1"]]
)
def test_options_that_contradict_each_other(words, tmp_path):
    with pytest.raises(UserError, match="works on what is in there; leave out"):
        _check(options(["run=r", f"out={tmp_path}/x.csv", *words], "sample"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["length=9", "forecast=a.csv"], "forecast=a.csv works on what is in there; leave out length="),
        (["length=9", "score=a.csv"], "score=a.csv works on what is in there; leave out length="),
        (["horizon=9"], "horizon=9 is of forecast=; give forecast=FILE too, or leave it out"),
        (["paths=9", "n=3"], "paths=9 is of forecast=; give forecast=FILE too, or leave it out"),
    ],
)
def test_options_of_series_that_would_change_nothing(words, told, tmp_path):
    with pytest.raises(UserError, match=told):
        _check(options(["run=r", f"out={tmp_path}/x.csv", *words], "sample"))


def test_a_single_row_is_enough(synthesizer, tmp_path):
    (tmp_path / "one.csv").write_text("kind,twin,size,noise\nb,,,0.5\n")
    assert fill_file(synthesizer, str(tmp_path / "one.csv"), str(tmp_path / "x.csv"), 0).startswith("2 of 2 missing")
    filled = pd.read_csv(tmp_path / "x.csv")
    assert filled["twin"].tolist() == ["c"] and filled["size"].dtype == "int64" and filled["kind"].tolist() == ["b"]
    said = score_file(synthesizer, str(tmp_path / "x.csv"), str(tmp_path / "y.csv"))
    assert said.startswith("1 row scored") and np.isfinite(pd.read_csv(tmp_path / "y.csv")[SCORE]).all()
    (tmp_path / "none.csv").write_text("kind,twin,size,noise\n")
    with pytest.raises(UserError, match="no rows; at least 1 row is needed"):
        fill_file(synthesizer, str(tmp_path / "none.csv"), str(tmp_path / "x.csv"), 0)


def test_what_the_model_does_not_use_is_not_demanded_and_what_it_uses_may_be_unknown(tmp_path):
    torch.manual_seed(0)
    table = related(2000).assign(person=[f"P-{i:05}" for i in range(2000)], constant="x", member=lambda f: f.kind < "b")
    data = data_of(table, "kind", relations="auto")
    assert data.schema["person"].type == "id"
    told = Synthesizer(train(Mixture(data.spec, classes=[8], smoothing=[1.0]), data, 8), data.codec)
    rows = related(50, seed=3)[["kind", "size"]].assign(person="anybody", extra=1.5, member="")
    rows.loc[:9, "member"] = "False"
    rows.to_csv(tmp_path / "some.csv", index=False)
    said = fill_file(told, str(tmp_path / "some.csv"), str(tmp_path / "x.csv"), 0)
    assert said == "140 of 140 missing cells filled in 50 rows; the file lacks twin, noise: filled"
    filled = pd.read_csv(tmp_path / "x.csv")
    assert list(filled.columns) == ["kind", "size", "person", "extra", "member", "twin", "noise"]
    assert (filled["person"] == "anybody").all() and (filled["extra"] == 1.5).all()
    assert not filled["member"][:10].any() and (filled["member"] == (filled["kind"] == "a"))[10:].mean() > 0.9
    assert (filled["twin"] == related(50, seed=3)["twin"])[10:].mean() > 0.9
    said = score_file(told, str(tmp_path / "some.csv"), str(tmp_path / "y.csv"))
    assert said.endswith("the file lacks twin, noise: counted as unknown")
    scored = pd.read_csv(tmp_path / "y.csv")
    full = told.log_prob(table.head(50))
    possible = scored[SCORE][np.isfinite(scored[SCORE])]  # a given cell may break member = (kind == "a")
    assert len(scored) == 50 and len(possible) >= 40 and possible.mean() > full.mean() + 1.0, "unknown costs nothing"
    assert scored["broken_relation"].notna().sum() == 50 - len(possible)


def test_rows_with_impossible_cells_come_first(synthesizer, tmp_path):
    frame = related(60, seed=6)
    frame.loc[17, "kind"], frame.loc[23, "noise"], frame.loc[41, "twin"] = "never", 1e6, None
    frame.loc[23, "twin"] = "neither"
    edge = frame["noise"].drop(23).idxmax()
    frame.loc[edge, "noise"] = float(related(2000)["noise"].max()) + 0.02  # a little beyond is no wonder
    frame.to_csv(tmp_path / "rows.csv", index=True, index_label="row")
    said = score_file(synthesizer, str(tmp_path / "rows.csv"), str(tmp_path / "scored.csv"))
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert set(scored["row"][:2]) == {17, 23} and np.isneginf(scored[SCORE]).sum() == 2
    assert sorted(said.split("(")[1].split(")")[0].split(", ")) == ["kind 1", "noise 1", "twin 1"]
    assert said.endswith("kept as they are") and "3 cells never seen in training" in said
    said = fill_file(synthesizer, str(tmp_path / "rows.csv"), str(tmp_path / "filled.csv"), 0)
    filled = pd.read_csv(tmp_path / "filled.csv")
    assert "1 of 1 missing cells filled" in said and said.endswith("kept as they are")
    assert filled.loc[17, "kind"] == "never" and filled.loc[23, "noise"] == 1e6 and filled.loc[23, "twin"] == "neither"
    pd.testing.assert_frame_equal(filled.drop(columns="twin"), pd.read_csv(tmp_path / "rows.csv").drop(columns="twin"))


def _written(folder):
    related(20).to_csv(folder / "c.csv", index=False)
    return str(folder / "c.csv")


def test_a_model_of_whole_rows_scores_them_and_says_what_it_cannot(tmp_path):
    """A flow has a likelihood and cannot be told columns: two abilities."""
    torch.manual_seed(0)
    data = toy_data(Standard)
    scorer = Synthesizer(NSF(data.spec, conditional=False).eval(), data.codec)
    frame = data.frames["test"].head(20)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    said = score_file(scorer, str(tmp_path / "rows.csv"), str(tmp_path / "scored.csv"))
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert said.startswith("20 rows scored") and scored[SCORE].is_monotonic_increasing
    known = next(c.field.name for c in data.codec.columns if getattr(c, "missing", True) is False)
    frame.assign(**{known: frame[known].mask(frame.index == frame.index[3])}).to_csv(tmp_path / "gap.csv", index=False)
    said = score_file(scorer, str(tmp_path / "gap.csv"), str(tmp_path / "scored.csv"))
    assert "19 rows scored" in said and "1 row with missing cells cannot be scored and stand last" in said
    assert pd.read_csv(tmp_path / "scored.csv")[SCORE].isna().tolist() == [False] * 19 + [True]
    frame.drop(columns=known).to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(UserError, match=f"lacks the column '{known}', and NSF scores whole rows"):
        score_file(scorer, str(tmp_path / "less.csv"), str(tmp_path / "scored.csv"))
    with pytest.raises(UserError, match="NSF cannot be told columns"):
        fill_file(scorer, str(tmp_path / "rows.csv"), str(tmp_path / "filled.csv"), seed=0)


def test_a_kind_without_writers_is_refused_by_name_until_it_is_there(monkeypatch, tmp_path, synthesizer):
    monkeypatch.setattr(type(synthesizer.codec), "kind", "sound")
    monkeypatch.setitem(NOUNS, "sound", "sound")
    monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: synthesizer)
    for words, told in (
        ([], "sampling is not there for sounds; it is for rows and pictures and sequences"),
        (["fill=x.csv"], "fill=x.csv is not there for sounds; it is for rows"),
    ):
        with pytest.raises(UserError, match=told):
            main(["run=any", f"out={tmp_path / 'x.csv'}", *words])


def test_filled_rows_meet_the_constraints_where_the_given_cells_allow_it():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.integers(0, 9, 900), "b": rng.integers(0, 9, 900), "kind": rng.choice(["x", "y"], 900)}
    )
    frame = frame[(frame["a"] <= frame["b"]) | (rng.random(900) < 0.3)].reset_index(drop=True)
    holes = frame.head(200).astype({"b": "float64"})
    holes.loc[holes.index % 3 > 0, "b"] = None
    holes.loc[holes.index % 3 == 2, "kind"] = None
    free = redrawing("columns", frame=frame).impute(holes, seed=3)
    made = redrawing("columns", frame=frame, constraints=[Expression("a <= b")]).impute(holes, seed=3)
    given = holes["b"].notna()
    assert (free["a"] > free["b"])[~given].any() and not (made["a"] > made["b"])[~given].any()
    assert (made["b"][given] == holes["b"][given]).all() and (made["a"] > made["b"])[given].any()  # never changed
    met = (free["a"] <= free["b"]) | given
    assert made[met].equals(free[met])


def test_a_column_may_be_called_self(tmp_path):
    frame = pd.DataFrame({"self": [k % 7 if k % 5 else None for k in range(300)], "kind": ["x", "=y", "z"] * 100})
    made = redrawing("columns", frame=frame)
    frame.head(20).to_csv(tmp_path / "holes.csv", index=False)
    for out in ("filled.csv", "filled.parquet"):
        assert "20 rows" in fill_file(made, str(tmp_path / "holes.csv"), str(tmp_path / out), 0)
    filled = pd.read_csv(tmp_path / "filled.csv")
    given = frame["self"].head(20)
    assert filled["self"][given.notna()].tolist() == given.dropna().tolist()
    assert escaped(filled.rename(columns={"kind": "self", "self": "kind"}))["self"][1] == "'=y"


@pytest.mark.parametrize("dtype", ["uint8", "Int16", "int64"])
def test_numbers_that_the_training_column_could_not_hold_stay_as_they_were_given(dtype, tmp_path):
    frame = pd.DataFrame({"many": np.arange(200) % 90, "kind": ["x", "y"] * 100}).astype({"many": dtype})
    made = redrawing("columns", frame=frame)
    for given in ([300, 44], [-1, 255], [3.7, 3.0], ["70000", "4"]):
        column = next(c for c in made.codec.columns if c.field.name == "many")
        rows = as_trained(pd.DataFrame({"many": given}), [column], "x.csv")
        assert rows["many"].tolist() == [float(cell) for cell in given]
    pd.DataFrame({"many": [300, 44], "kind": ["x", None]}).to_csv(tmp_path / "x.csv", index=False)
    told = fill_file(made, str(tmp_path / "x.csv"), str(tmp_path / "y.csv"), 0)
    assert "never seen in training or far outside its range (many 1)" in told
    assert pd.read_csv(tmp_path / "y.csv")["many"].tolist() == [300, 44]


@pytest.mark.parametrize("out", ["made.csv", "made.parquet"])
def test_an_id_that_lacks_or_has_gaps_is_left_so_and_counted(tmp_path, out):
    ids, x = [f"K{i:04}" for i in range(300)], np.arange(300) % 7
    frame = pd.DataFrame({"id": ids, "x": x, "kind": ["a", "b", "c"] * 100})
    made = redrawing("columns", frame=frame)
    holes = frame.head(30).assign(note=None).astype({"x": "float64"})
    holes.loc[:4, "x"] = None
    holes.loc[:9, "id"] = None
    holes.to_csv(tmp_path / "holes.csv", index=False)
    said = fill_file(made, str(tmp_path / "holes.csv"), str(tmp_path / out), 0)
    assert said.startswith("5 of 5 missing cells filled in 30 rows; 40 more stay empty")
    assert said.endswith("in columns that the model does not make (id 10, note 30)")
    holes.drop(columns=["id", "note"]).to_csv(tmp_path / "holes.csv", index=False)
    fill_file(made, str(tmp_path / "holes.csv"), str(tmp_path / out), 0)
    filled = pd.read_csv(tmp_path / out) if out.endswith("csv") else pd.read_parquet(tmp_path / out)
    assert list(filled) == ["x", "kind"] and filled.notna().all(axis=None)
