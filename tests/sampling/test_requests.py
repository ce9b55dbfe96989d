"""What a request for rows means where names are ambiguous, and how it ends where rows are hard to find."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from datakiln.cli.sample import main as sample
from datakiln.constraints import Expression
from datakiln.errors import UserError
from datakiln.sampling import rejection
from datakiln.sampling.synthesizer import Synthesizer
from tests.stub_tables import people, redrawing

TWO_LABELS = people().assign(label=lambda f: f.city)  # a column named so, while the target is `kind`


@pytest.fixture
def command(monkeypatch, tmp_path):
    def run(synthesizer: Synthesizer, *words: str) -> pd.DataFrame:
        monkeypatch.setattr(Synthesizer, "load", classmethod(lambda cls, *args, **options: synthesizer))
        sample([f"run={tmp_path}", f"out={tmp_path / 'x.csv'}", "overwrite=true", *words])
        return pd.read_csv(tmp_path / "x.csv")

    return run


def test_the_label_is_the_target_even_beside_a_column_of_that_name(command):
    wanted = {"often": 7, "seldom": 7, "rare": 7}
    for words in ([], ["balance=label"]):
        assert command(redrawing(frame=TWO_LABELS), "per_class=7", *words).kind.value_counts().to_dict() == wanted
    counts = command(redrawing(frame=TWO_LABELS, label=None), "per_class=7", "balance=label").label.value_counts()
    assert len(counts) == TWO_LABELS.label.nunique() and (counts == 7).all(), "without a target it is the column"


@pytest.mark.parametrize(
    "label, told", [(None, "per_class=5: the table has no target"), ("age", "the target age is of type integer")]
)
def test_rows_per_class_need_a_target_of_categories(command, label, told):
    with pytest.raises(UserError, match=told) as error:
        command(redrawing(frame=TWO_LABELS, label=label), "per_class=5")
    assert "\n" not in str(error.value) and "balance=" in str(error.value)


@pytest.mark.parametrize(
    "condition, way_out",
    [({"age": "18", "score": "missing", "day": "2020-01-01"}, "model=tabar or mixture"), ({"kind": "rare"}, "cvae")],
)
def test_nothing_found_in_many_rows_ends_the_search_and_names_a_model(monkeypatch, condition, way_out):
    monkeypatch.setattr(rejection, "LOST", 20_000)
    synthesizer = redrawing()
    synthesizer.model.rows = synthesizer.model.rows[(people().kind != "rare").to_numpy() & (people().age > 20)]
    with pytest.raises(UserError, match=rf"was met by 0 of \d+ rows drawn; ask for less, .*{way_out}"):
        synthesizer.sample(5, condition)
    assert synthesizer.model.drawn < rejection.PATIENCE


@pytest.mark.parametrize("condition", [{}, {"sex": "Female"}])
def test_the_clock_never_ends_a_search(monkeypatch, condition):
    """On a slow machine, or one that slept, hours may pass between two draws."""
    clock = itertools.count(0.0, 3600.0)
    for name in ("monotonic", "perf_counter", "time"):
        monkeypatch.setattr(time, name, lambda: next(clock))
    assert len(redrawing().sample(3 * rejection.PIECE, condition)) == 3 * rejection.PIECE


@pytest.mark.parametrize("conditioning", ["columns", "none"])
def test_a_missing_cell_neither_keeps_nor_breaks_an_equality(conditioning):
    """As often missing as in training, and missing where that is asked for."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"gross": rng.integers(1000, 5000, 400), "tax": rng.integers(100, 900, 400)})
    net = (frame["gross"] - frame["tax"]).astype("float64").where(rng.random(400) > 0.2)
    made = redrawing(
        conditioning,
        frame=frame.assign(net=net, kind=rng.choice(["x", "y"], 400)),
        constraints=[Expression("net == gross - tax")],
    )
    rows = made.sample(500)
    assert abs(rows["net"].isna().mean() - 0.2) < 0.06
    assert (rows["net"] - rows["gross"] + rows["tax"]).dropna().eq(0).all()
    assert made.sample(20, {"net": "missing"})["net"].isna().all()
    assert (made.sample(20, {"net": ">3000"})["net"] > 3000).all()
