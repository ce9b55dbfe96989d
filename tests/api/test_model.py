"""From a DataFrame to a model and back: dtypes, conditions, filling, scores, checkpoints, messages."""

from __future__ import annotations

import datetime
import decimal
import tempfile

import numpy as np
import pandas as pd
import pytest

import datakiln as dk
from datakiln.storage import CONF
from tests.api.small import FEW_FIGURES, people


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return people()


@pytest.fixture(scope="module")
def model(frame) -> dk.Model:
    return dk.fit(frame, model="mixture", target="income", epochs=1)


def test_samples_have_the_dtypes_of_the_input(frame, model):
    rows = model.sample(60, seed=1)
    pd.testing.assert_series_equal(rows.dtypes, frame.dtypes)
    assert list(rows.columns) == list(frame.columns) and len(rows) == 60
    assert (rows["since"] == rows["since"].dt.normalize()).all(), "dates stay dates"
    pd.testing.assert_frame_equal(rows, model.sample(60, seed=1))
    assert not rows.equals(model.sample(60, seed=2))


@pytest.mark.parametrize("name", ["copula", "vae", "bootstrap"])
def test_dtypes_of_other_families(frame, name):
    rows = dk.fit(frame, model=name, epochs=1).sample(30)
    pd.testing.assert_series_equal(rows.dtypes, frame.dtypes)


def test_dtypes_of_arrow():
    frame = people().loc[:, ["age", "weight", "since", "town"]]
    frame = frame.astype({"age": "int16[pyarrow]", "weight": "float[pyarrow]", "town": "string[pyarrow]"})
    rows = dk.fit(frame, model="mixture", epochs=1).sample(20)
    pd.testing.assert_series_equal(rows.dtypes, frame.dtypes)


def test_conditions(model):
    rows = model.sample(30, condition={"age": ">60", "income": "high", "grade": ["a", "b"]})
    assert (rows["age"] > 60).all() and (rows["income"] == "high").all() and rows["grade"].isin(["a", "b"]).all()
    counts = model.sample(40, balance="income")["income"].value_counts()
    assert counts["low"] == counts["high"] == 20


def test_filling_never_changes_a_given_cell(frame, model):
    holes = frame.head(40).copy()
    rng = np.random.default_rng(1)
    holes = holes.astype({"age": "float64", "owner": "object"})
    for name in holes:
        holes[name] = holes[name].mask(rng.random(len(holes)) < 0.3)
    holes.iloc[0, 0] = 33.5  # an age that no training row could have had: still a given cell
    holes["note"] = "mine"
    before = holes.copy()
    filled = model.fill(holes)
    pd.testing.assert_frame_equal(holes, before)
    assert list(filled.columns) == list(holes.columns) and filled.index.equals(holes.index)
    for name in holes:
        given = holes[name].notna()
        assert list(filled[name][given]) == list(holes[name][given]), name
    assert filled["age"].iloc[0] == 33.5
    for name in ("income", "grade", "since", "weight"):
        assert filled[name].notna().all() and filled[name].dtype == frame[name].dtype, name


def test_scores(frame, model):
    scores = model.log_prob(frame.tail(20))
    assert scores.index.equals(frame.tail(20).index) and np.isfinite(scores).all()
    strange = frame.tail(20).assign(town="Oslo")
    assert (model.log_prob(strange) == -np.inf).all()
    shuffled = frame.tail(20)[list(frame.columns[::-1])]
    np.testing.assert_allclose(model.log_prob(shuffled), scores)


def test_a_checkpoint_is_read_again_here_and_by_the_command(model, tmp_path, capsys):
    from datakiln.cli.sample import main

    model.save(tmp_path / "new" / "m.ckpt")
    again = dk.load(tmp_path / "new" / "m.ckpt")
    pd.testing.assert_frame_equal(again.sample(20), model.sample(20))
    main([f"run={tmp_path}/new/m.ckpt", "n=20", f"out={tmp_path}/rows.parquet"])
    assert len(pd.read_parquet(tmp_path / "rows.parquet")) == 20
    again.save(tmp_path / "copy.ckpt")
    assert (tmp_path / "copy.ckpt").read_bytes() == (tmp_path / "new" / "m.ckpt").read_bytes()
    for wanted in ("report", "history"):
        with pytest.raises(dk.Error, match="checkpoint"):
            getattr(again, wanted)
    with pytest.raises(dk.Error, match="is a folder"):
        model.save(tmp_path)


def test_it_tells_of_itself(frame, model):
    told = repr(model)
    assert told.startswith("Model mixture of a DataFrame of 200 rows and 13 columns")
    assert "140 rows of 13 columns (age, income," in told and "log_prob, fill" in told
    assert model.name == "mixture" and model.kind == "table"
    assert "<table>" in model._repr_html_() and "mixture" in model._repr_html_()
    assert {"epoch", "val/loss"} <= set(model.history.columns)


@pytest.mark.journey
def test_nothing_of_the_frame_is_in_what_is_stored(frame, tmp_path):
    folder = tmp_path / "run"
    kept = dk.fit(frame, model="copula", folder=folder, n_synthetic=50, options=FEW_FIGURES)
    config = (folder / "config" / "config.yaml").read_text()
    assert "sha256:" in config and "Ulm" not in config
    assert (folder / "report.html").exists() and "fidelity/shape" in kept.report.figures.index
    assert kept.report.plot("age") is not None
    again = dk.load(folder)
    assert again.report.result.data == "frame"
    pd.testing.assert_frame_equal(again.report.figures, kept.report.figures)
    assert "correlations" in again.report._drawn()
    with pytest.raises(dk.Error, match="holds a finished run"):
        dk.fit(frame, model="copula", folder=folder)


@pytest.mark.slow
def test_the_frame_of_another_program_is_said_to_be_elsewhere(frame, tmp_path):
    from datakiln.cli.evaluate import main

    dk.fit(frame, model="copula", folder=tmp_path / "run", n_synthetic=50)
    with pytest.raises(dk.Error, match="was a DataFrame of a Python program"):
        main([f"run={tmp_path}/run", f"out={tmp_path}/out"])


@pytest.mark.journey
def test_files_and_names(tmp_path, frame):
    table = frame[["age", "town", "weight", "income"]]
    table.to_csv(tmp_path / "a table (1).csv", index=False)
    model = dk.fit(tmp_path / "a table (1).csv", target="income", model="copula")
    assert list(model.sample(5).columns) == list(table.columns)
    table.to_parquet(tmp_path / "t.parquet")
    assert dk.fit(str(tmp_path / "t.parquet"), model="copula").sample(5)["income"].dtype == "category"
    assert dk.fit("iris", model="copula").sample(3).shape == (3, 5)


def test_objects_that_are_dates_or_decimals():
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i % 50) for i in range(100)]
    frame = pd.DataFrame({"day": days, "price": [decimal.Decimal(f"{i}.5") for i in range(100)]})
    rows = dk.fit(frame, model="copula").sample(5)
    assert pd.api.types.is_datetime64_any_dtype(rows["day"]) and rows["price"].dtype == "float64"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.rename(columns={"age": 3}), "a column named 3, which is no text; rename it"),
        (lambda f: f.rename(columns={"age": "town"}), "2 columns named 'town'; rename all but one"),
        (lambda f: pd.concat({"a": f}, axis=1), "columns of 2 levels; make them one"),
        (lambda f: f.head(0), "the DataFrame has no row; at least 10 are needed"),
        (lambda f: f.head(4), "the DataFrame has 4 rows; at least 10 are needed"),
        (lambda f: f[[]], "has no columns"),
        (lambda f: f.assign(age=np.inf), "column 'age' has 200 infinite cells"),
        (lambda f: f.assign(age=[[1]] * len(f)), "column 'age' holds values of type list"),
        (lambda f: f.assign(age=pd.cut(f["age"], 3)), "column 'age' has categories of type Interval; make them text"),
        (lambda f: {"age": [1]}, "data is of type dict; give a pandas DataFrame"),
        (lambda f: "no_such.csv", "there is no such file or folder"),
        (lambda f: "iriss", "no file, no folder and no data set; did you mean 'iris'?"),
    ],
)
def test_data_that_cannot_be_used(frame, change, told):
    with pytest.raises(dk.Error) as caught:
        dk.fit(change(frame), model="copula")
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"target": "incom"}, "did you mean 'income'?"),
        ({"model": "tabarr"}, "model=tabarr is not known; did you mean 'tabar'?"),
        ({"modle": "vae"}, "unknown option 'modle'; did you mean 'model'?"),
        ({"model": "vae", "latent_dmi": 3}, "unknown option 'latent_dmi'; did you mean 'latent_dim'?"),
        ({"latent_dim": 3}, "latent_dim is no option of model=tabar; model= with it: "),
        ({"options": {"model.widht": 3}}, "unknown option 'model.widht'; did you mean 'model.width'?"),
        ({"options": {"epochs": 3}}, "epochs has an argument of its own"),
        ({"options": {"batch_size": 3}, "batch_size": 4}, "batch_size is given twice"),
        ({"options": ["batch_size=3"]}, "must be a dictionary"),
        ({"sweep": "latent"}, "sweep= is an option of the command line alone"),
        ({"epochs": 0}, "epochs=0 must be a whole number of at least 1"),
        ({"model": "dcgan"}, "model DCGAN is for image data"),
    ],
)
def test_options_that_are_wrong(frame, given, told):
    with pytest.raises(dk.Error) as caught:
        dk.fit(frame, **given)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda m: m.sample(0), "n=0 must be a whole number of at least 1"),
        (lambda m: m.sample(2.5), "n=2.5 must be a whole number"),
        (lambda m: m.sample(3, {"agee": 3}), "did you mean 'age'?"),
        (lambda m: m.sample(3, "age>3"), "must be a dictionary"),
        (lambda m: m.sample(3, temprature=2), "no option 'temprature'; did you mean 'temperature'?"),
        (lambda m: m.sample(3, steps=2), "steps=2 changes nothing"),
        (lambda m: m.sample(3, balance="incom"), "did you mean 'income'?"),
        (lambda m: m.log_prob({"age": 3}), "rows are of type dict"),
        (lambda m: m.fill(pd.DataFrame({"agee": [1]})), "no column of the training table"),
    ],
)
def test_requests_that_are_wrong(model, ask, told):
    with pytest.raises(dk.Error) as caught:
        ask(model)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_options_reach_the_model(frame):
    model = dk.fit(frame, model="vae", epochs=1, latent_dim=3, batch_size=64, options={"model.beta": "5e-1"})
    assert model.synthesizer.model.latent_dim == 3
    assert model.measure is not None
    assert dk.fit(frame, model="cvae", target="income", epochs=1).synthesizer.model.conditioning == "label"


def test_quiet_by_default(frame, capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dk.fit(frame, model="vae", epochs=1).sample(3)
    assert capfd.readouterr() == ("", "")
    dk.fit(frame, model="vae", epochs=2, progress=True)
    out, told = capfd.readouterr()
    assert out == "" and told.startswith("trained: 2 epochs in ") and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [] and CONF.exists()
