"""Times of day that go round: found, told, computed, solved for any of the three columns, never claimed by chance."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.relations.expressions import days_of, reading_of
from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.codecs.tables.relations.plan import Plan
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.sampling.related import beside_given


def flights(n: int = 600, midnight: int = 0, seed: int = 0) -> pd.DataFrame:
    """Planned and actual departures as whole numbers, 2350 for ten to twelve, and the minutes between them."""
    rng = np.random.default_rng(seed)
    planned, late = rng.integers(0, 1440, n), rng.integers(-30, 300, n)
    both = [100 * (m // 60) + m % 60 for m in (planned, (planned + late) % 1440)]
    both = [np.where(time == 0, midnight, time) for time in both]
    return pd.DataFrame({"planned": both[0], "left": both[1], "late": late})


def shifts(n: int = 600, decimals: int = 2, seed: int = 0) -> pd.DataFrame:
    """Shifts as 22:00 to 06:15, and their hours."""
    rng = np.random.default_rng(seed)
    start, minutes = rng.integers(0, 1440, n), rng.integers(60, 700, n)
    begin, end = ([f"{m // 60:02d}:{m % 60:02d}" for m in time] for time in (start, (start + minutes) % 1440))
    return pd.DataFrame({"begin": begin, "end": end, "hours": np.round(minutes / 60, decimals)})


def found_in(frame: pd.DataFrame) -> tuple[Plan, list[str]]:
    schema = infer_schema(frame, None, {})
    relations = find_relations(frame, schema)
    return Plan(relations, schema), [str(relation) for relation in relations]


@pytest.mark.parametrize("midnight", [0, 2400])
def test_whole_numbers_that_are_times_go_round_the_clock(midnight):
    frame = flights(midnight=midnight)
    plan, told = found_in(frame)
    assert told == ["left = planned + late minutes by the clock"]
    made = plan.made["left"].made(frame, plan.schema)
    assert np.array_equal(made, frame["left"])
    assert ((frame["left"] - frame["planned"]).abs() > 1200).any()  # some go past midnight
    broken = frame.assign(left=frame["left"].where(frame.index != 5, (frame["left"] + 100) % 2400))
    assert np.flatnonzero(plan.made["left"].breaks(broken, plan.schema)).tolist() == [5]


@pytest.mark.parametrize("gone", ["planned", "left", "late"])
@pytest.mark.parametrize("midnight", [0, 2400])
def test_what_is_missing_follows_from_the_other_two(gone, midnight):
    frame = flights(midnight=midnight)
    plan, _ = found_in(frame)
    made = plan.completed(frame.drop(columns=gone))
    assert np.array_equal(made[gone].to_numpy(dtype=float), frame[gone].to_numpy(dtype=float))


def test_times_of_day_make_hours_past_midnight_too():
    exact, told = found_in(shifts(decimals=2))  # a hundredth of an hour is less than a minute
    assert told == ["end = begin + hours hours by the clock"]
    frame = shifts(decimals=2, seed=1)
    assert not exact.made["end"].breaks(frame, exact.schema).any()
    made = exact.completed(frame.drop(columns="end"))
    assert made["end"].tolist() == frame["end"].tolist()
    rough, told = found_in(shifts(decimals=1))  # a tenth is not: hours follow from times, times not from hours
    assert told == ["end - begin by the clock", "hours = end - begin in hours by the clock"]
    assert not rough.made["hours"].breaks(shifts(decimals=1, seed=1), rough.schema).any()


@pytest.mark.parametrize("frame", [shifts().drop(columns="hours"), flights().drop(columns="late")])
def test_times_that_hang_on_others_are_learnt_as_distances_and_come_back(frame):
    schema = infer_schema(frame, None, {})
    relations = find_relations(frame, schema)
    start, end = frame.columns
    assert [(relation.mode, str(relation)) for relation in relations] == [("shifted", f"{end} - {start} by the clock")]
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, schema, relations=relations)
    pd.testing.assert_frame_equal(codec.decode(codec.encode(frame), np.random.default_rng(0)), frame)
    gaps = codec.plan.shift(end, frame)
    assert gaps.max() - gaps.min() < 700  # minutes, though days go round
    again = TableCodec.from_state(codec.state())
    torch.testing.assert_close(again.encode(frame), codec.encode(frame))
    given = pd.DataFrame({start: [None] * 5, end: frame[end].iloc[:5]})
    drawn = frame.iloc[5:10].reset_index(drop=True)
    made = beside_given(codec, given, drawn)
    assert np.array_equal(codec.plan.shift(end, given.assign(**{start: made[start]})), gaps[5:10])


def test_a_distance_is_as_fine_as_the_finer_time():
    """Begun on the minute, ended on the second."""
    rng = np.random.default_rng(0)
    begin = 60 * rng.integers(0, 1440, 600)
    end = (begin + rng.integers(60, 20_000, 600)) % 86_400
    both = ([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in time] for time in (begin, end))
    frame = pd.DataFrame(dict(zip(("begin", "end"), both, strict=True)))
    schema = infer_schema(frame, None, {})
    relations = find_relations(frame, schema)
    assert [str(relation) for relation in relations] == ["end - begin by the clock"]
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, schema, relations=relations)
    gaps = codec.plan.shift("end", frame)
    assert np.array_equal(gaps, (end - begin) % 86_400)
    made = codec.plan.restored({"begin": frame["begin"], "end": gaps}, codec.by_name())
    assert made["end"].tolist() == frame["end"].tolist()


def test_prices_in_fifties_are_no_times():
    rng = np.random.default_rng(0)
    rent = 50 * rng.integers(6, 45, 600)
    told = found_in(pd.DataFrame({"rent": rent, "deposit": rent + 50 * rng.integers(-2, 4, 600)}))[1]
    assert not any("clock" in relation for relation in told)


def test_times_that_do_not_hang_together_are_no_distances():
    rng = np.random.default_rng(0)
    one, two = (100 * (m // 60) + m % 60 for m in rng.integers(0, 1440, (2, 600)))
    assert found_in(pd.DataFrame({"one": one, "two": two}))[1] == []


def test_nothing_is_claimed_that_rows_do_not_show():
    rng = np.random.default_rng(0)
    frame = flights().assign(late=rng.integers(-30, 300, 600))
    assert found_in(frame)[1] == ["left - planned by the clock"]
    wrong = flights()
    wrong.loc[3, "left"] = (wrong.loc[3, "left"] + 100) % 2400  # one row of 600: the way back from it is not known
    assert found_in(wrong)[1] == ["left - planned by the clock"]
    n = 400
    small = pd.DataFrame({"a": rng.integers(0, 59, n), "b": rng.integers(0, 2000, n)})
    assert found_in(small.assign(c=small["a"] + small["b"]))[1] == ["c = a + b"]


@pytest.mark.parametrize("tree", [
    ["clock", "hhmm"], ["clock", 7, 60.0, ["column", "a"], "hhmm", ["column", "b"], 1440.0, 0.0], ["+", "x"],
    ["eval", "x"], ["elapsed", ["column", 3], "time", ["column", "b"], "time", 24.0, 0.0], ["span", 3.0, "year"],
    [], "x", None, True,
])  # fmt: skip
def test_what_is_no_arithmetic_is_refused_in_a_checkpoint(tree):
    plan, _ = found_in(flights())
    state = plan.made["left"].state()
    assert Relation.from_state(state) == plan.made["left"]
    with pytest.raises(ValueError, match=r"arithmetic|no place"):
        Relation.from_state({**state, "tree": tree})


def test_readings_and_shares_of_a_day_are_inverse():
    minutes = np.arange(1440) / 1440
    for form in ("time", "hhmm", "hhmm24"):
        assert np.allclose(days_of(reading_of(minutes, form), form) % 1, minutes)
    assert reading_of(np.array([0.0, 1.0, -1 / 1440]), "hhmm24").tolist() == [2400, 2400, 2359]
    assert np.isnan(reading_of(np.array([np.nan]), "hhmm")).all()
