"""Series as people bring them: times, order, static columns, splits without leaks, and what is wrong in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.series.clock import Clock
from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.values import to_numbers
from datakiln.data.base import Provenance
from datakiln.data.series.series import SeriesData
from datakiln.data.series.splits import NAMES, by_entity, by_time
from datakiln.data.sets.series import Sines, ToySeries
from datakiln.data.tables.sources import RawTable
from datakiln.errors import UserError
from datakiln.schema import Field

DAY = Field("day", "datetime", "datetime64[ns]")


@pytest.mark.parametrize(
    ("freq", "start", "unit"),
    [
        ("D", "2020-01-30", "plain"),
        ("10min", "2020-01-30", "plain"),
        ("MS", "2020-01-01", "months"),
        ("ME", "2020-01-31", "month ends"),
        ("QE", "2020-03-31", "month ends"),
        ("YS", "2020-01-01", "months"),
        ("B", "2020-01-30", "plain"),
        ("h", "2020-01-30", None),
    ],
)
def test_times_come_back_from_their_start(freq, start, unit):
    """Even steps, also those of the calendar, are counted; uneven ones come back from their logarithms."""
    days = pd.Series(pd.date_range(start, periods=60, freq=freq))
    days = days.drop([7, 30]).reset_index(drop=True) if unit is None else days
    clock = Clock.fit(days, DAY, group := np.zeros(len(days), dtype=int), None)
    assert clock.is_even == (unit is not None) and (unit is None or clock.unit == unit)
    values = clock.numbers(days)
    steps = None if clock.is_even else clock.log_steps(values, group)
    assert np.array_equal(clock.times(np.full(len(days), values[0]), np.arange(len(days)), steps), values)
    assert clock.cells(values).tolist() == days.tolist()


def test_drawn_starts_lie_among_real_ones():
    days = pd.Series(pd.date_range("2020-01-01", periods=100, freq="6h"))
    values = to_numbers(days, DAY)
    clock = Clock.fit(days, DAY, np.zeros(100, dtype=int), (values[0], values[60]))
    drawn = clock.starts(500, np.random.default_rng(0))
    assert set(drawn) <= set(values[:61]) and len(set(drawn)) > 50


@pytest.mark.parametrize(("rows", "window"), [(3685, 24), (19_735, 256), (60, 8), (600, 50)])
def test_no_window_reaches_across_a_border(rows, window):
    """Between rows of different parts lies one window, and every part has windows."""
    runs = by_time(rows, window, (0.7, 0.15, 0.15), 3)
    spans = sorted((start, stop, name) for name, parts in runs.items() for start, stop in parts)
    for one, two in zip(spans, spans[1:], strict=False):
        assert two[0] - one[1] >= (window if one[2] != two[2] else 0)
    assert all(max(stop - start for start, stop in runs[name]) >= window for name in NAMES)


def test_entities_are_whole_in_their_part():
    group = np.repeat(np.arange(20), 5)
    parts = by_entity(group, (0.7, 0.15, 0.15), 0, "who")
    seen = [set(group[at]) for at in parts.values()]
    assert sum(map(len, seen)) == 20 and not seen[0] & seen[1] and not seen[1] & seen[2] and not seen[0] & seen[2]
    with pytest.raises(UserError, match="data.entity=who has 1 value"):
        by_entity(np.zeros(9, dtype=int), (0.7, 0.15, 0.15), 0, "who")


@pytest.mark.parametrize(
    ("rows", "window", "told"),
    [
        (8, 2, "8 rows are too few .*; at least 15 are needed"),
        (14, 5, "14 rows are too few .*; at least 15 are needed"),
        (15, 5, "data.window=5 and 15 rows: .*; choose data.window=2 or less"),
    ],
)
def test_a_series_too_short_to_be_split_says_what_would_do(rows, window, told):
    with pytest.raises(UserError, match=told):
        by_time(rows, window, (0.7, 0.15, 0.15), 0)
    with pytest.raises(UserError, match="has 2 values, too few .*; bring more"):
        by_entity(np.arange(2), (0.7, 0.15, 0.15), 0, "who")
    assert all(by_time(15, 2, (0.7, 0.15, 0.15), 0).values())


def made(frame: pd.DataFrame, label: str | None = None, **options) -> SeriesData:
    data = SeriesData(
        lambda _: RawTable(frame, label, Provenance("generated", "a test", "0")), SeriesCodec(), seed=0, **options
    )
    data.setup("fit")
    return data


def panel(entities: int = 12, steps: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = entities * steps
    return pd.DataFrame(
        {
            "who": np.repeat([f"p{i}" for i in range(entities)], steps),
            "day": np.tile(pd.date_range("2021-03-01", periods=steps), entities),
            "sex": np.repeat(np.where(rng.random(entities) < 0.5, "F", "M"), steps),
            "x": rng.normal(size=n).round(3),
            "y": rng.normal(size=n).cumsum().round(2),
        }
    )


def test_static_columns_are_found_and_rows_come_back():
    data = made(panel(), time="day", entity="who")
    assert data.roles.static == ("sex",) and data.spec.static == 1 and not data.spec.ends
    frame = data.frames["test"]
    back = data.codec.decode(data.codec.encode(frame), np.random.default_rng(0))
    assert list(back.columns) == list(frame.columns)
    assert back["sex"].tolist() == frame["sex"].tolist() and back["day"].tolist() == frame["day"].tolist()
    low, high = data.frames["train"]["x"].agg(["min", "max"])
    assert np.allclose(back["x"], frame["x"].clip(low, high), atol=1e-3)
    assert not set(back["who"]) & set(panel()["who"]), "names are made anew"


def test_lengths_are_kept_by_an_end():
    data = SeriesData(ToySeries(40), SeriesCodec(), time="date", entity="patient", seed=0)
    data.setup("fit")
    frame = data.frames["test"]
    assert data.spec.ends
    x = data.codec.encode(frame)
    assert data.codec.sizes(x).tolist() == np.minimum(np.bincount(data.group["test"]), data.length).tolist()
    back = data.codec.decode(x, np.random.default_rng(0))
    assert back["date"].tolist() == frame["date"].tolist() and back["state"].tolist() == frame["state"].tolist()
    again = SeriesCodec.from_state(data.codec.state())
    assert again.spec == data.codec.spec
    assert again.decode(x, np.random.default_rng(0)).equals(back)


def test_windows_of_one_series():
    frame = panel(1, 400).drop(columns=["who", "sex"])
    data = made(frame, time="day", window=10)
    assert data.spec.shape[0] == 10 and len(data.examples["train"]) > 100
    batch = next(iter(data.train_dataloader()))
    assert batch.x.shape[1:] == data.spec.shape
    back = data.codec.decode(batch.x, np.random.default_rng(0))
    assert list(back.columns) == ["window", "day", "x", "y"] and back["window"].nunique() == len(batch.x)


@pytest.mark.parametrize("step", [1, 0.5])
def test_steps_that_are_counted_are_times(step):
    """They are different in every row of one long series, and yet no ids of rows."""
    frame = panel(1, 400).drop(columns=["who", "sex"]).assign(day=np.arange(400) * step)
    data = made(frame, time="day", window=10)
    assert data.codec.clock.step == step
    back = data.codec.decode(next(iter(data.train_dataloader())).x, np.random.default_rng(0))
    assert (back.groupby("window")["day"].diff().dropna() == step).all() and back["day"].dtype == frame["day"].dtype


DAYS = list(pd.date_range("2021-03-01", periods=12))
WRONG = {
    "comes after": (lambda f: f.iloc[[1, 0, *range(2, len(f))]], {}),
    "repeats": (lambda f: pd.concat([f, f.iloc[[3]]]), {"on_time": "sort"}),
    "varies .who=p0.": (lambda f: f, {"static": ["x"]}),
    "window=7 is longer than the longest who, of 6 rows": (lambda f: f, {"window": 7}),
    "every sequence has one row": (lambda f: f.drop_duplicates("who", keep="first").assign(day=DAYS), {}),
    "no val sequence has 12 rows; choose data.window=6 or less": (
        lambda _: panel(3, 12)[lambda f: f.groupby("who").cumcount() < f["who"].map({"p0": 6, "p1": 9, "p2": 12})],
        {},
    ),
    "has 1 value": (lambda f: f.assign(who="p"[0]).drop_duplicates("day"), {}),
    "is missing in a row": (lambda f: f.assign(day=f["day"].where(f.index != 3)), {}),
    "is not a column": (lambda f: f.drop(columns="day"), {}),
}


@pytest.mark.parametrize("told", WRONG)
def test_what_is_wrong_is_told_in_one_line(told):
    change, options = WRONG[told]
    with pytest.raises(UserError, match=told) as caught:
        made(change(panel()).reset_index(drop=True), time="day", entity="who", **options)
    assert "\n" not in str(caught.value)


def test_rows_can_be_put_in_order():
    frame = panel().sample(frac=1.0, random_state=0).reset_index(drop=True)
    data = made(frame, time="day", entity="who", on_time="sort")
    for part in data.frames.values():
        assert part.groupby("who")["day"].is_monotonic_increasing.all()


def test_sines_are_those_of_the_paper():
    frame = Sines(20, 24, 5)(None).frame
    waves = frame.drop(columns="wave").to_numpy().reshape(20, 24, 5)
    angle = np.arcsin(waves * 2 - 1)
    assert np.allclose(np.diff(angle[:, :8], n=2, axis=1), 0.0, atol=1e-8), "angles rise evenly"
    assert waves.min() >= 0.5 and (np.diff(angle, axis=1)[:, 0] <= 0.1).all()


def test_a_series_in_which_nothing_changes_from_step_to_step_is_refused_by_name():
    frame = panel().drop(columns=["x", "y"])
    with pytest.raises(UserError, match=r"no column is left that changes from step to step \(who, day, sex\)"):
        made(frame, time="day", entity="who", static=["sex"])


def test_what_names_each_entity_is_made_anew_as_ids_of_rows_are():
    """One number and one key a patient, some of them missing, are no categories; a city is one."""
    rng = np.random.default_rng(0)
    frame = panel(40).rename(columns={"who": "patient"})
    at = np.repeat(np.arange(40), 6)
    numbers = np.array([f"{chr(65 + i % 26)}{rng.integers(10**8, 10**9)}" for i in range(40)])
    frame["insurance"], frame["city"] = numbers[at], np.array(["Ulm", "Bonn", "Kiel"])[at % 3]
    frame["file"] = np.where(rng.random(240) < 0.2, None, np.char.add("F-", numbers)[at])
    frame["policy_no"] = (np.arange(40) * 977 + 1013)[at]
    data = made(frame, time="day", entity="patient")
    assert {name: data.schema[name].type for name in ("insurance", "file", "policy_no", "city")} == {
        "insurance": "id", "file": "id", "policy_no": "id", "city": "category",
    }  # fmt: skip
    assert data.reasons["insurance"] == "unique keys, of each patient"
    back = data.codec.decode(data.codec.encode(data.frames["train"]), np.random.default_rng(0))
    assert not set(back["insurance"]) & set(numbers) and back["insurance"].str.fullmatch(r"[A-Z]\d{9}").all()
    assert (back.groupby("patient")["insurance"].nunique() == 1).all() and back["insurance"].nunique() > 20
    assert made(frame, time="day", entity="patient", types={"insurance": "category"}).reasons.keys() == {
        "file", "policy_no",
    }  # fmt: skip


def test_free_text_of_each_entity_stays_where_a_person_asks_for_it_and_ids_do_not():
    """City names that are those of no other entity are content; insurance numbers among the static columns are none."""
    frame = panel(25)
    at = np.repeat(np.arange(25), 6)
    frame["city"] = np.array([f"{first}{last}" for first in "ABDKL" for last in ("ach", "erg", "orf", "ing", "hal")])[
        at
    ]
    frame["insurance"] = np.array([f"{chr(65 + i)}{i * 977 + 10**8}" for i in range(25)])[at]
    static = ["sex", "city", "insurance"]
    types = {
        name: made(frame, time="day", entity="who", static=asked).schema
        for name, asked in {"found": None, "asked": static}.items()
    }
    assert [types["found"][name].type for name in static] == ["category", "text", "id"]
    assert [types["asked"][name].type for name in static] == ["category", "category", "id"]
