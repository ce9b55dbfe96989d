"""A person's files of series beside a model: columns that lack, and relations and holes in what is made of them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from datakiln.cli.sample import main
from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.values import from_numbers
from datakiln.constraints import Expression
from datakiln.data.series.series import SeriesFile
from datakiln.errors import UserError
from datakiln.sampling import series_filling
from datakiln.sampling.agreeing import Agreeing
from datakiln.sampling.filling import BROKEN, SCORE
from datakiln.sampling.imputing import FILL_TRIES
from datakiln.sampling.series import _draw_fan, _write, forecast_file, score_file
from datakiln.sampling.series_filling import fill_file
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN
from tests.series.test_data import panel
from tests.series.test_sampling import repeating
from tests.stub_series import STEPS, orders, redrawing_steps
from tests.test_conformance import trained


def given(rows: pd.DataFrame, folder) -> str:
    rows.to_csv(folder / "given.csv", index=False)
    return str(folder / "given.csv")


def test_a_forecast_of_a_city_that_was_never_seen(tmp_path):
    """It comes back as it is, though the model knows of no such city."""
    rows = orders().head(2 * STEPS).assign(city="Rome")
    forecast_file(redrawing_steps(), given(rows, tmp_path), tmp_path / "ahead.csv", 3, 4, 1, PLAIN)
    paths = pd.read_csv(tmp_path / "ahead_paths.csv")
    assert len(paths) == 24 and paths["shop"].nunique() == 2
    assert (paths["city"] == "Rome").all()


def test_cells_that_training_never_had_are_told_of_a_history(tmp_path):
    rows = orders().head(2 * STEPS)
    rows.loc[rows.index[-3:], "price"] = 500.0
    path, out = given(rows.assign(city="Rome"), tmp_path), tmp_path / "ahead.csv"
    told = "19 cells never seen in training or far outside its range (city 16, price 3): numbers count as the nearest"
    assert told in forecast_file(redrawing_steps(), path, out, 3, 4, 1, PLAIN)
    assert "outside" not in forecast_file(redrawing_steps(), given(orders().head(9), tmp_path), out, 3, 4, 1, PLAIN)
    path = given(rows.assign(mood=None), tmp_path)
    assert "range (price 3): numbers count" in fill_file(redrawing_steps(), path, tmp_path / "filled.csv", 1, PLAIN)


@pytest.mark.parametrize("work", ["forecast", "fill", "score"])
def test_what_was_the_same_throughout_may_not_vary(work, tmp_path):
    rows = orders().head(2 * STEPS)
    rows.loc[1, "city"] = None
    rows.loc[3, "city"] = "Bonn"
    path, out, made = given(rows, tmp_path), tmp_path / "x.csv", redrawing_steps()
    command = {
        "forecast": lambda: forecast_file(made, path, out, 3, 4, 1, PLAIN),
        "fill": lambda: fill_file(made, path, out, 1, PLAIN),
        "score": lambda: score_file(made, path, out),
    }[work]
    with pytest.raises(
        UserError, match=rf"{work}=.*: city varies \(shop=s000\): Ulm and then Bonn; in training it was"
    ):
        command()
    assert not out.exists()


def test_a_forecast_that_memory_cannot_hold_is_refused_before_it_is_drawn(tmp_path):
    path = given(orders().head(STEPS), tmp_path)
    with pytest.raises(UserError, match=r"horizon=10000000 and paths=10000000 of 1 sequence would take about .* PB"):
        forecast_file(redrawing_steps(), path, tmp_path / "x.csv", 10**7, 10**7, 1, PLAIN)


def test_a_fan_of_steps_that_miss_in_every_path_is_drawn_in_silence(tmp_path, recwarn):
    made = redrawing_steps()
    paths = pd.DataFrame({name: [np.nan] * 6 for name in ("price", "qty", "first", "total", "last")})
    _draw_fan(made.codec, orders().head(STEPS), paths.astype(float), 3, tmp_path / "ahead.csv")
    assert (tmp_path / "ahead.png").exists() and not [w for w in recwarn if "NaN" in str(w.message)]


def test_filled_cells_keep_the_relations_with_those_that_are_given(tmp_path):
    frame = orders(seed=1).head(3 * STEPS)
    at = np.arange(len(frame))
    rows = frame.assign(
        qty=frame["qty"].where(at % 3 > 0), total=frame["total"].where(at % 5 > 0), last=frame["last"].where(at % 2 > 0)
    )
    fill_file(redrawing_steps(), given(rows, tmp_path), tmp_path / "filled.csv", 1, PLAIN)
    filled = pd.read_csv(tmp_path / "filled.csv")
    assert np.allclose(filled["total"], filled["price"] * filled["qty"], atol=0.006)
    follows = rows["qty"].notna() | rows["total"].notna()
    assert (filled["qty"] == frame["qty"])[follows].all() and filled["qty"].dtype == "int64"
    assert (filled["first"] <= filled["last"]).all()
    for name in rows:
        there = rows[name].notna()
        assert (filled[name] == frame[name])[there].all()


def test_what_sources_can_be_is_listed_once_for_all_sequences(tmp_path, monkeypatch):
    listed, whole = [], Agreeing._listed
    monkeypatch.setattr(Agreeing, "_listed", lambda self, sources: listed.append(sources) or whole(self, sources))
    monkeypatch.setattr(series_filling, "FILL_TRIES", 4)
    rows = orders(seed=1).head(3 * STEPS).assign(qty=np.nan, price=np.nan)
    fill_file(redrawing_steps(), given(rows, tmp_path), tmp_path / "filled.csv", 1, PLAIN)
    assert listed and len(set(listed)) == len(listed)


def test_filled_steps_meet_the_constraints(tmp_path):
    frame = orders()
    rows = frame.head(2 * STEPS).assign(price=np.nan, total=np.nan, first=np.nan, last=np.nan, mood=None)
    synthesizer = redrawing_steps([Expression("price + 2 >= qty")])
    met = []
    for rules in (synthesizer.rules, type(synthesizer.rules)([], synthesizer.rules.schema)):
        synthesizer.rules = rules
        fill_file(synthesizer, given(rows, tmp_path), tmp_path / "filled.csv", 1, PLAIN)
        filled = pd.read_csv(tmp_path / "filled.csv")
        met.append((filled["price"] + 2 >= filled["qty"]).all())
        assert (filled["qty"] == frame["qty"].head(2 * STEPS)).all()
    assert met == [True, False]


def test_static_holes_are_filled_and_what_is_left_is_told(tmp_path):
    synthesizer = redrawing_steps()
    rows = orders().head(2 * STEPS)
    rows["city"] = rows["city"].where((rows.index >= STEPS) & (rows.index != STEPS))  # of the second shop's first day
    rows["mood"] = None
    said = fill_file(synthesizer, given(rows, tmp_path), tmp_path / "filled.csv", 1, PLAIN)
    filled = pd.read_csv(tmp_path / "filled.csv")
    cities = filled.groupby("shop")["city"].unique()
    assert cities.iloc[0][0] in ("Ulm", "Bonn") and [len(found) for found in cities] == [1, 1]
    assert cities.iloc[1][0] == "Bonn", "it is told by the other days"
    assert filled.notna().all(axis=None) and synthesizer.model.draws <= 2 * FILL_TRIES
    holes = 2 * STEPS + STEPS + 1
    assert said == f"{holes} of {holes} missing cells filled in 2 sequences;"
    mood = synthesizer.codec.steps.by_name()["mood"]
    at = synthesizer.codec.spec.columns[[c.name for c in synthesizer.codec.spec.columns].index("mood")].blocks[0].start
    synthesizer.model.rows[:, at] = float(len(mood.values))  # as if no day ever had a mood
    said = fill_file(synthesizer, given(rows, tmp_path), tmp_path / "filled.csv", 1, PLAIN)
    told = f"{STEPS + 1} of {holes} missing cells filled in 2 sequences; {2 * STEPS} are left missing, as the model"
    assert said.startswith(told) and pd.read_csv(tmp_path / "filled.csv")["mood"].isna().all()


def test_steps_that_cannot_be_score_minus_infinity(tmp_path):
    rows = orders().head(3 * STEPS).astype({"total": "float64", "mood": object})
    rows.loc[2, "total"] += 5.0
    rows.loc[STEPS, "mood"] = "odd"
    rows.loc[STEPS + 1, ["first", "last"]] = 900
    said = score_file(redrawing_steps(), given(rows, tmp_path), tmp_path / "scored.csv")
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert np.flatnonzero(np.isneginf(scored[SCORE])).tolist() == [2, STEPS, STEPS + 1]
    assert (scored[SCORE][np.isfinite(scored[SCORE])] == -1.0).all()
    assert np.isneginf(scored["mean_log_prob"]).tolist() == [True] * 2 * STEPS + [False] * STEPS
    assert scored[BROKEN].notna().to_numpy().nonzero()[0].tolist() == [2]
    assert scored[BROKEN][2] == "total = price * qty"
    told = "24 steps of 3 sequences scored; 3 steps impossible, of minus infinity; 1 step breaks a relation, such as"
    assert said.startswith(told)
    said = score_file(redrawing_steps(), given(orders().head(8), tmp_path), tmp_path / "scored.csv")
    assert said == "8 steps of 1 sequence scored;" and BROKEN not in pd.read_csv(tmp_path / "scored.csv")


def test_no_row_is_scored_by_where_a_file_ends(tmp_path):
    """All training sequences that are as long end there: a last row is not stranger for that."""
    model, data, _, _ = trained("tsar", "series")
    model.eval()
    synthesizer = Synthesizer(model, data.codec)
    rows = data.frames["test"][data.group["test"] == 0]
    assert data.spec.ends and len(rows) > 6
    scores = []
    for length in (len(rows), 6):
        score_file(synthesizer, given(rows.head(length), tmp_path), tmp_path / "scored.csv")
        scores.append(pd.read_csv(tmp_path / "scored.csv")[SCORE].to_numpy())
    assert np.allclose(scores[0][:5], scores[1][:5], atol=1e-3), "earlier rows are scored as going on"
    x = data.codec.encode_whole(rows.head(6))
    with torch.no_grad():
        goes_on = float(model.log_probs(x)[0, 5])
        x[0, 5, -1] = 1.0
        ends = float(model.log_probs(x)[0, 5])
    assert scores[1][5] == pytest.approx(np.logaddexp(goes_on, ends), abs=1e-3)


def test_a_series_model_without_likelihood_is_told_which_have_one(monkeypatch, tmp_path):
    synthesizer = redrawing_steps()
    monkeypatch.setattr(type(synthesizer.model), "likelihood", "none")
    monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: synthesizer)
    with pytest.raises(UserError, match="has no likelihood; train model=tsar or wavenet"):
        main(["run=any", "score=rows.csv", f"out={tmp_path / 'x.csv'}"])


def test_a_parquet_file_of_sequences_has_the_types_of_the_training_file(tmp_path):
    """Dates, decimals, whole numbers with holes, and durations in whole seconds."""
    rng, n = np.random.default_rng(0), 120
    columns = {
        "who": pa.array([f"p{i // 6}" for i in range(n)]),
        "day": pa.array([date(2021, 3, 1 + i % 6) for i in range(n)], pa.date32()),
        "price": pa.array(
            [Decimal(int(cents)).scaleb(-2) for cents in rng.integers(100, 9000, n)], pa.decimal128(9, 2)
        ),
        "count": pa.array([None if i % 7 == 0 else int(i * 37 % 1000) for i in range(n)], pa.int32()),
        "time": pa.array(rng.integers(10, 9000, n) * 1000, pa.duration("ms")),
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    data = SeriesFile(str(tmp_path / "x.parquet"), SeriesCodec(), time="day", entity="who", seed=0)
    data.setup("fit")
    x = data.codec.encode(data.frames["train"])
    out = tmp_path / "new.parquet"
    assert _write(out, (data.codec.decode(x, np.random.default_rng(0)) for _ in range(2)), data.codec) == 2 * 14 * 6
    made = pq.read_table(out)
    assert made.schema.types == pq.read_schema(tmp_path / "x.parquet").types
    noise = np.random.default_rng(0).random(50) * 9000
    seconds = data.codec.steps.by_name()["time"].field
    assert (from_numbers(noise, seconds).dt.total_seconds() % 1 == 0).all() and seconds.decimals == 0


def test_what_is_wrong_with_a_history_is_named(tmp_path):
    """Its option, and the first cell that is written otherwise than the training table's."""
    frame = panel().assign(day=lambda rows: rows["day"].dt.strftime("%d.%m.%Y"))
    frame["until"] = pd.Series(pd.date_range("2022-01-01", periods=72)).dt.strftime("%m/%d/%y")
    synthesizer = repeating(frame, time="day", entity="who")
    rows, out = frame.head(6), tmp_path / "out.csv"
    with pytest.raises(UserError, match=r"^forecast=nope.csv: there is no such file"):
        forecast_file(synthesizer, "nope.csv", out, 3, 2, 0, PLAIN)
    told = r"column 'day' has '2021-03-31' in row 6, which is no date written as %d.%m.%Y as in the training table"
    days = [*rows["day"][:5], "2021-03-31"]
    with pytest.raises(UserError, match=f"^forecast=.*: {told}"):
        forecast_file(synthesizer, given(rows.assign(day=days), tmp_path), out, 3, 2, 0, PLAIN)
    with pytest.raises(UserError, match=r"^fill=.*'until' has 'soon' in row 1, which is no date written as %m/%d/%y"):
        fill_file(synthesizer, given(rows.assign(until=["soon", None, *rows["until"][2:]]), tmp_path), out, 0, PLAIN)
    fill_file(synthesizer, given(rows.assign(until=[None, *rows["until"][1:]]), tmp_path), out, 0, PLAIN)


def test_conditions_on_static_cells_that_are_missing(tmp_path):
    """A category and a number that some training sequences lack, as tables take them; what none lacks is refused."""
    at = np.repeat(np.arange(30), 6)
    frame = panel(30).assign(
        town=np.array(["Ulm", None, "Bonn"], dtype=object)[at % 3], age=np.where(at % 4 == 0, np.nan, 20.5 + at)
    )
    codec = repeating(frame, time="day", entity="who").codec
    x = codec.told({"town": "missing", "age": None}, 5, np.random.default_rng(0))
    rows = codec.decode_steps(x.nan_to_num(), np.ones(5, dtype=int), np.random.default_rng(0), np.zeros(5))[0]
    assert rows["town"].isna().all() and rows["age"].isna().all() and len(rows) == 5
    with pytest.raises(
        UserError, match="condition.sex=missing is not among the training values .*; one of them is told"
    ):
        codec.told({"sex": "missing"}, 1, np.random.default_rng(0))


def test_filled_steps_keep_the_relations_of_a_step(tmp_path):
    """A total with neither its price nor its quantity, an order of which one side is told: none was kept before."""
    whole = orders(seed=4).head(48)
    holes = whole.astype({"qty": "float64", "first": "float64"})
    holes.loc[holes.index % 3 == 0, ["price", "qty"]] = None
    holes.loc[holes.index % 4 == 1, "first"] = None
    holes.to_csv(tmp_path / "holes.csv", index=False)
    synthesizer = redrawing_steps()
    assert "rules" not in fill_file(synthesizer, str(tmp_path / "holes.csv"), tmp_path / "filled.csv", 0, PLAIN)
    filled = pd.read_csv(tmp_path / "filled.csv")
    assert np.allclose(filled["total"], whole["total"]) and (filled["last"] == whole["last"]).all()
    assert (abs(filled["total"] - filled["price"] * filled["qty"]) < 0.0051).all()
    assert (filled["first"] <= filled["last"]).all()
