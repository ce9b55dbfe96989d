"""Two tables, or two folders of pictures, measured from Python: the figures of the command, as a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import datakiln as dk
from tests.api.small import people


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    return people(200), people(150, seed=1)


@contextmanager
def few_figures(*names: str) -> Iterator[None]:
    """Only these metrics, where it is not the figures that are tested: all of them take ten seconds."""
    from datakiln.cli import evaluate

    whole = evaluate.default_metrics
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "default_metrics", lambda kind: [m for m in whole(kind) if m.func.__name__ in names])
        yield


@pytest.fixture(scope="module")
def report(tables) -> dk.Report:
    with few_figures("shape", "trend", "coverage", "copies", "tstr"):
        return dk.evaluate(*tables, target="income")


@pytest.mark.slow
def test_figures_are_those_of_the_command(tables, report, tmp_path, monkeypatch):
    from datakiln.cli.evaluate import main

    assert report.figures.loc["fidelity/shape", "value"] > 0.9
    assert list(report.figures.columns) == ["value", "better", "floor", "ceiling", "standing", "n", "why"]
    assert (report.result.n_train, report.result.n_holdout, report.result.n_synthetic) == (200, 0, 150)
    plain = [frame[["age", "owner", "weight", "since"]] for frame in tables]
    for name, frame in zip(("real", "made"), plain, strict=True):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    main([f"real={tmp_path}/real.parquet", f"synthetic={tmp_path}/made.parquet", f"out={tmp_path}/out"])
    told = {
        score["name"]: score["value"] for score in json.loads((tmp_path / "out/result.json").read_text())["figures"]
    }
    found = dk.evaluate(*plain).figures["value"]
    from_files = dk.evaluate(tmp_path / "real.parquet", plain[1]).figures["value"]
    assert {name: value for name, value in found.items() if value == value} == pytest.approx(
        {name: value for name, value in told.items() if value is not None}
    )
    pd.testing.assert_series_equal(from_files, found)


def test_with_a_holdout_all_of_real_is_what_was_learnt_from(tables):
    real, holdout = tables[0].iloc[:120], tables[0].iloc[120:]
    with few_figures("copies"):
        copies = dk.evaluate(real, real.sample(100, random_state=0), holdout=holdout)
    assert (copies.result.n_train, copies.result.n_holdout) == (120, 80)
    assert copies.figures.loc["privacy/copies", "value"] == 1.0


@pytest.mark.journey
def test_it_is_shown_saved_and_drawn(report, tmp_path, capsys):
    report.show()
    assert "fidelity/shape" in capsys.readouterr().out
    assert "fidelity/shape" in repr(report) and "more figures in .figures" in repr(report)
    assert "<table>" in report._repr_html_()
    report.save(tmp_path / "new" / "r.html"), report.save(tmp_path / "r.json")
    page = (tmp_path / "new" / "r.html").read_text()
    assert page.count("data:image/png") >= 3 and "fidelity/<wbr>shape" in page
    assert len(json.loads((tmp_path / "r.json").read_text())["figures"]) == len(report.figures)
    assert report.detail("fidelity/shape").index.tolist()
    for name in ("age", "income", None, "embedding"):
        figure = report.plot(name)
        assert isinstance(figure, Figure) and figure._repr_png_()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda r: r.plot("agee"), "is no column and no picture of this report; did you mean 'age'?"),
        (lambda r: r.plot("same"), "column 'same' has no picture: it is of type constant"),
        (lambda r: r.save("r.pdf"), "must end in .html for a page or in .json"),
        (lambda r: r.detail("fidelity/shap"), "did you mean 'fidelity/shape'?"),
        (lambda r: dk.evaluate(people(), people().drop(columns="age")), "synthetic has no column 'age'"),
        (lambda r: dk.evaluate(people(), people(), holdout=people()[["age"]]), "holdout has no column 'income'"),
        (lambda r: dk.evaluate(people(), people(), target="incom"), "did you mean 'income'?"),
        (lambda r: dk.evaluate(people(), "no.csv"), "synthetic='no.csv' does not exist"),
        (lambda r: dk.evaluate(people(), [1]), "synthetic is of type list"),
        (lambda r: dk.evaluate(people(), "."), "two tables or two folders of pictures"),
        (lambda r: dk.evaluate(".", ".", target="x"), "target='x' is for tables"),
        (lambda r: dk.evaluate(people().head(0), people()), "real has no row"),
    ],
)
def test_what_is_wrong(report, ask, told):
    with pytest.raises(dk.Error) as caught:
        ask(report)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def pictures(folder, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for i in range(count):
        shade = rng.integers(0, 200)
        pixels = np.full((16, 16), shade, dtype=np.uint8)
        pixels[4:12, 4:12] = 255
        target = folder / ("light" if shade > 100 else "dark")
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target / f"{i}.png")


@pytest.mark.slow
def test_pictures_from_folder_to_report(tmp_path, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))
    pictures(tmp_path / "real", 60, 0), pictures(tmp_path / "made", 40, 1)
    model = dk.fit(tmp_path / "real", epochs=2, options={"data.side": 16})
    assert model.name == "vae" and model.kind == "image" and "16 x 16 px, grey, 2 classes" in repr(model)
    made = model.sample(5)
    assert made.shape == (5, 16, 16, 1) and made.dtype == np.uint8
    assert isinstance(model.report.plot(), Figure) and len(model.report.figures)
    with pytest.raises(dk.Error, match="trained on pictures"):
        model.log_prob(people())
    report = dk.evaluate(tmp_path / "real", tmp_path / "made")
    report.save(tmp_path / "r.html")
    assert isinstance(report.plot("neighbours"), Figure)
    with pytest.raises(dk.Error, match="'neighbors' is no picture of this report; did you mean 'neighbours'"):
        report.plot("neighbors")
    assert not (tmp_path / "cache").exists(), "nothing is left on disk, in the cache neither"
