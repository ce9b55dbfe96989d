"""What holds between static columns, and between a step's columns and its time, holds in all that is drawn."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from datakiln.api.config import composed
from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.relations.expressions import column, extreme
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.constraints import Expression
from datakiln.data.series.relations import _share_of_same, _where_steady
from datakiln.data.series.series import SeriesData
from datakiln.errors import UserError
from datakiln.jobs.announce import announce_relations
from datakiln.sampling.series import forecast_file, score_file, write_endless
from datakiln.sampling.series_filling import fill_file
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Field, Schema
from datakiln.spec import PLAIN
from tests.later import later
from tests.series.test_data import made
from tests.test_conformance import MODELS, kinds, trained_by

COUNTRY = {"Berlin": "DE", "Hamburg": "DE", "Paris": "FR", "Lyon": "FR", "Rome": "IT"}


def panel(entities: int = 180, steps: int = 8, apart: str = "1D") -> pd.DataFrame:
    """Entities of a city and its country; days with their weekday and month, and what is computed of the month."""
    rng = np.random.default_rng(0)
    city = rng.choice(list(COUNTRY), entities, p=[0.5, 0.1, 0.2, 0.1, 0.1])
    start = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, entities), unit="D")
    frame = pd.DataFrame(
        {
            "who": np.repeat([f"p{i}" for i in range(entities)], steps),
            "date": np.concatenate([pd.date_range(day, periods=steps, freq=apart).to_numpy() for day in start]),
            "city": np.repeat(city, steps),
            "country": np.repeat([COUNTRY[name] for name in city], steps),
            "price": rng.integers(1, 50, entities * steps),
        }
    )
    return dated(frame)


def dated(frame: pd.DataFrame) -> pd.DataFrame:
    days = pd.to_datetime(frame["date"]).dt
    return frame.assign(weekday=days.day_name(), month=days.month, total=frame["price"] * days.month)


def hourly(rows: int = 900) -> pd.DataFrame:
    """One series whose load is high in the morning."""
    rng = np.random.default_rng(1)
    date = pd.Series(pd.date_range("2021-03-01", periods=rows, freq="h"))
    hour = date.dt.hour
    return pd.DataFrame({"date": date, "hour": hour, "load": (hour < 12) * 5.0 + rng.normal(size=rows).round(2)})


def check_panel(frame: pd.DataFrame) -> None:
    assert (frame["city"].map(COUNTRY) == frame["country"]).all()
    computed = dated(frame)
    for name in ("weekday", "month", "total"):
        assert frame[name].astype(str).tolist() == computed[name].astype(str).tolist(), name


def drawn(data: SeriesData, n: int = 40) -> pd.DataFrame:
    """Rows of tensors that are no real sequences: every position of every step is drawn."""
    shape = (n, *data.spec.shape)
    return data.codec.decode(torch.rand(shape, generator=torch.Generator().manual_seed(0)), np.random.default_rng(0))


def test_relations_of_static_columns_and_of_the_time_are_found_and_kept():
    data = made(panel(), time="date", entity="who")
    told = {str(relation) for relation in data.codec.relations}
    assert told == {"city -> country", "weekday(date) -> weekday", "month = month(date)", "total = price * month"}
    check_panel(drawn(data))
    shown = Console(file=io.StringIO(), width=120)
    announce_relations(data, shown)
    assert all(text in shown.file.getvalue() for text in told)
    again = SeriesCodec.from_state(data.codec.state())
    x = torch.rand(5, *data.spec.shape)
    assert again.decode(x, np.random.default_rng(0)).equals(data.codec.decode(x, np.random.default_rng(0)))


def test_what_stays_as_it_is_in_a_sequence_is_evidence_once():
    """One entity varies, so that age and sex are columns of a step: people tell of them once each, not each step."""
    rng = np.random.default_rng(0)
    steps, people = 14, 40
    age = rng.permutation(np.arange(20, 20 + people))
    frame = pd.DataFrame(
        {
            "who": np.repeat([f"p{i}" for i in range(people)], steps),
            "date": np.tile(pd.date_range("2021-01-01", periods=steps), people),
            "age": np.repeat(age, steps),
            "sex": np.repeat(np.where(rng.random(people) < 0.5, "F", "M"), steps),
            "city": rng.choice(list(COUNTRY), people * steps),
            "v": rng.normal(size=people * steps).round(2),
        }
    )
    frame.loc[:4, ["age", "sex"]] = [61, "X"]
    frame["country"] = frame["city"].map(COUNTRY)
    assert {str(relation) for relation in made(frame, time="date", entity="who").codec.relations} == {"city -> country"}


def test_codecs_of_before_load_and_strange_ones_do_not():
    state = made(panel(), time="date", entity="who").codec.state()
    calendar = state.pop("calendar")
    assert not SeriesCodec.from_state(state).calendar.relations
    strange = copy.deepcopy(calendar)
    strange[0]["target"] = "city"
    with pytest.raises(ValueError, match="no column of a step that follows from its time"):
        SeriesCodec.from_state({**state, "calendar": strange})


def test_uneven_steps_have_the_columns_of_their_times():
    frame = panel()
    gaps = np.random.default_rng(3).integers(0, 4, len(frame)).cumsum()
    frame = dated(frame.assign(date=frame["date"] + pd.to_timedelta(gaps, unit="D")))
    data = made(frame, time="date", entity="who")
    assert not data.codec.clock.is_even
    check_panel(drawn(data))


def test_windows_begin_where_what_was_drawn_says_so():
    """The hour of a window goes with its time, and its content with the hour."""
    data = made(hourly(), time="date", window=6)
    frame = drawn(data)
    assert (frame["hour"] == frame["date"].dt.hour).all()
    real = data.frames["train"]
    begins = data.examples["train"][::10, 0].tolist()
    x = torch.cat([data.codec.encode(real.iloc[i : i + 6]) for i in begins])
    back = data.codec.decode(x, np.random.default_rng(0))
    assert (back["hour"] == back["date"].dt.hour).all()
    assert back["hour"].tolist() == [hour for i in begins for hour in real["hour"].iloc[i : i + 6]]
    assert back["date"].nunique() > 0.3 * len(back), "starts differ"


def test_columns_that_are_held_to_a_constraint_are_not_computed():
    """Nor are those that hang together with such a column: a step is held to it before its time is known."""
    options = {"time": "date", "entity": "who", "constraints": [Expression("total <= 600")]}
    codec = made(panel(), **options).codec
    assert list(codec.calendar.made) == ["weekday"] and codec.plan.relations
    options["constraints"] = [Expression("month <= 12")]
    assert list(made(panel(), **options).codec.calendar.made) == ["weekday"]
    with pytest.raises(UserError, match="data.constraints hold month in each step"):
        made(panel(), **options, relations=["date -> month"])


def test_a_told_country_is_that_of_the_cities():
    codec = made(panel(), time="date", entity="who").codec
    rng = np.random.default_rng(0)

    def cities(**condition: str) -> pd.Series:
        x = codec.told(condition, 400, rng)[:, 0].nan_to_num(0.0)
        frame = codec.static.decode(x[:, : codec.static.spec.shape[0]], rng)
        assert (frame["city"].map(COUNTRY) == frame["country"]).all()
        return frame["city"].value_counts(normalize=True)

    shares = cities(country="DE")
    assert set(shares.index) == {"Berlin", "Hamburg"} and shares["Berlin"] > 0.7, "as often as in training"
    assert list(cities(city="Rome").index) == ["Rome"] and list(cities(city="Rome", country="IT").index) == ["Rome"]
    with pytest.raises(UserError, match="condition.city=Rome condition.country=DE: in every training sequence"):
        codec.told({"city": "Rome", "country": "DE"}, 1, rng)


def test_a_told_sum_asks_for_its_parts():
    rng = np.random.default_rng(2)
    frame = panel(180, 3)
    one, two = (np.repeat(rng.integers(0, 90, 180), 3) for _ in range(2))
    codec = made(frame.assign(one=one, two=two, both=one + two), time="date", entity="who").codec
    assert "both = one + two" in {str(relation) for relation in codec.static.plan.relations}
    with pytest.raises(UserError, match="condition.both: it hangs on one .both = one . two.; say condition.one= too"):
        codec.told({"both": 90}, 1, rng)
    assert not codec.told({"both": 90, "one": 40, "two": 50}, 1, rng).isnan().all()


def test_declared_relations_go_to_the_columns_that_they_are_about():
    texts = ["city -> country", "date -> weekday", "total = price * month"]
    data = made(panel(), time="date", entity="who", relations=texts)
    assert [len(part) for part in (data.codec.plan.relations, data.codec.static.plan.relations)] == [1, 1]
    assert list(data.codec.calendar.made) == ["weekday"]
    assert not made(panel(), time="date", entity="who", relations="none").codec.relations
    for text, why in {
        "city -> weekday": "city is static and weekday is not",
        "total <= date": "keeps only what follows from it alone|reckons with",
        "date -> price": "does not hold",
    }.items():
        with pytest.raises(UserError, match=why):
            made(panel(), time="date", entity="who", relations=[text])


FIRST = ("block_bootstrap", "wavenet")
OTHERS = later(*(name for name in MODELS if "series" in kinds(name) and name not in FIRST))


@pytest.mark.parametrize("model", [*FIRST, *OTHERS])
def test_every_model_keeps_them(model, tmp_path):
    """Samples, those of a country, an endless series, forecasts and filled holes, as far as a model makes them."""
    path = tmp_path / "panel.csv"
    panel().to_csv(path, index=False)
    words = [f"model={model}", "data=csv", f"data.path={path}", "data.time=date", "data.entity=who"]
    with composed([*words, "output_dir=unused", "epochs=1", "batch_size=50"]) as cfg:
        _, _, folder, _ = trained_by(cfg)
    synthesizer = Synthesizer.load(folder)
    check_panel(synthesizer.sample(20, {}, 0))
    if synthesizer.model.conditioning == "columns":
        frame = synthesizer.sample(20, {"country": "FR"}, 0)
        assert (frame["country"] == "FR").all()
        check_panel(frame)
        assert (synthesizer.sample(20, {"city": "Rome"}, 0)["country"] == "IT").all()
    if synthesizer.model.can_unroll:
        write_endless(synthesizer, 1, 40, tmp_path / "endless.csv", {}, 0, PLAIN)
        check_panel(pd.read_csv(tmp_path / "endless.csv", parse_dates=["date"]))
        history = panel(2)
        history.drop(columns="country").to_csv(tmp_path / "history.csv", index=False)
        forecast_file(synthesizer, str(tmp_path / "history.csv"), tmp_path / "ahead.csv", 40, 3, 0, PLAIN)
        ahead = pd.read_csv(tmp_path / "ahead_paths.csv", parse_dates=["date"])
        assert ahead["month"].nunique() > 1
        check_panel(ahead)
        history.drop(columns="city").to_csv(tmp_path / "history.csv", index=False)
        with pytest.raises(UserError, match="the column 'city' is not there"):
            forecast_file(synthesizer, str(tmp_path / "history.csv"), tmp_path / "ahead.csv", 4, 3, 0, PLAIN)


def test_holes_are_filled_by_the_time_of_their_row_and_by_what_is_static(tmp_path):
    """And a row that breaks what is static, or what follows from its time, is impossible."""
    path = tmp_path / "panel.csv"
    panel().to_csv(path, index=False)
    words = ["model=tsar", "data=csv", f"data.path={path}", "data.time=date", "data.entity=who", "output_dir=unused"]
    with composed([*words, "epochs=1", "batch_size=50"]) as cfg:
        _, _, folder, _ = trained_by(cfg)
    holes = panel(4)
    holes["weekday"] = holes["weekday"].where(holes.index % 3 > 0)
    holes["country"] = holes["country"].where(holes["who"] != "p1")
    holes.loc[holes["who"] == "p2", ["city", "country"]] = None
    holes.to_csv(tmp_path / "holes.csv", index=False)
    synthesizer = Synthesizer.load(folder)
    fill_file(synthesizer, str(tmp_path / "holes.csv"), tmp_path / "filled.csv", 0, PLAIN)
    filled = pd.read_csv(tmp_path / "filled.csv", parse_dates=["date"])
    check_panel(filled)
    assert (filled["city"] == panel(4)["city"])[filled["who"] != "p2"].all()
    broken = panel(2)
    broken.loc[broken["who"] == "p1", "country"] = next(c for c in ("DE", "IT") if c != broken["country"].iloc[-1])
    broken.loc[0, "weekday"] = broken.loc[1, "weekday"]
    broken.to_csv(tmp_path / "rows.csv", index=False)
    score_file(synthesizer, str(tmp_path / "rows.csv"), tmp_path / "scored.csv")
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert scored["broken_relation"].dropna().to_dict() == {
        0: "weekday(date) -> weekday",
        **dict.fromkeys(range(8, 16), "city -> country"),
    }
    assert np.isneginf(scored["log_prob"]).tolist() == scored["broken_relation"].notna().tolist()


def test_the_distance_of_a_meter_that_is_read_too_often_is_not_learnt():
    """It repeats what it said, its distance from others does not; where both do or neither does, it stays learnt."""
    rng = np.random.default_rng(0)
    n = 800
    x = np.cumsum(rng.normal(0.0, 0.1, n))
    one, two = np.repeat(x[::4], 4) + rng.uniform(0.5, 1.0, n), np.repeat(x[::4], 4) + rng.uniform(0.5, 1.0, n)
    frame = pd.DataFrame({"meter": np.repeat(x[::4], 4), "one": one, "two": two, "free": x, "above": x + one - x.min()})
    schema = Schema(tuple(Field(name, "numeric", "float64") for name in frame))
    group = np.repeat([0, 1], n // 2)
    below = Relation("order", "meter", extreme("min", ["one", "two"]), "shifted", tests=9, below=True)
    found = _where_steady(below, frame, group, schema)
    assert [str(r) for r in found] == ["meter <= one", "meter <= two"]
    assert all((r.form, r.mode, r.tests) == ("order", "checked", 9) for r in found)
    above = Relation("order", "meter", column("free"), "shifted")
    assert [str(r) for r in _where_steady(above, frame, group, schema)] == ["free <= meter"]
    free = Relation("order", "above", column("free"), "shifted")
    for kept in (free, replace(below, text="meter <= min(one, two)"), replace(below, mode="checked")):
        assert _where_steady(kept, frame, group, schema) == [kept]
    assert _share_of_same(np.array([1.0, 1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])) == 0.5
