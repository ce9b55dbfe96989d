"""Columns that are the parts of a stamp in UTC, as the clock of a place shows it."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.relations.calendar import CLOCKS, clock_of, part_of
from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.sampling.synthesizer import Synthesizer
from tests.stub_tables import Redraws

N = 3000


def stamped(clock: str, zoned: bool, hours: bool = True) -> pd.DataFrame:
    """Minutes of two years in UTC, and month, day and hour on that clock."""
    rng = np.random.default_rng(0)
    at = pd.Timestamp("2022-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 730 * 1440, N), unit="min")
    local = at.tz_convert(clock)
    parts = {"month": local.month, "day": local.day, "hour": local.hour}
    if not hours:
        parts.pop("hour")
    return pd.DataFrame({"at": at if zoned else at.tz_localize(None), **parts, "x": rng.normal(size=N).round(3)})


def found(frame: pd.DataFrame) -> dict[str, str]:
    schema = infer_schema(frame, None, {})
    return {r.target: str(r) for r in find_relations(frame, schema) if "at" in r.sources}


@pytest.mark.parametrize("zoned", [True, False])
@pytest.mark.parametrize("clock", ["America/New_York", "Asia/Tehran", "UTC+05:45", "UTC-03:00", "Australia/Lord_Howe"])
def test_local_parts_are_found(clock: str, zoned: bool) -> None:
    made = found(stamped(clock, zoned))
    if clock == "Asia/Tehran":  # whose clocks are no longer changed: an offset says as much
        clock = "UTC+03:30" if "UTC" in made["hour"] else clock
    assert made == {part: f"{part} = {part}(at in {clock})" for part in ("month", "day", "hour")}


def test_the_day_alone_tells_a_clock_that_is_far_enough() -> None:
    made = found(stamped("America/New_York", True, hours=False))
    assert set(made) == {"month", "day"} and all("(at in " in text for text in made.values())


def test_parts_in_utc_stay_parts_in_utc_and_chance_is_no_clock() -> None:
    frame = stamped("UTC+00:00", True)
    assert found(frame) == {part: f"{part} = {part}(at)" for part in ("month", "day", "hour")}
    frame = stamped("America/New_York", True)
    frame.loc[::50, "hour"] = (frame["hour"] + 1) % 24  # two of a hundred rows break it
    assert "hour" not in found(frame)
    rng = np.random.default_rng(1)
    frame = frame.assign(month=rng.integers(1, 13, N), day=rng.integers(1, 29, N), hour=rng.integers(0, 24, N))
    assert not found(frame)


def test_synthetic_rows_keep_them_after_a_round_trip() -> None:
    frame = stamped("America/New_York", True)
    schema = infer_schema(frame, None, {})
    codec = TableCodec().fit(frame, schema, relations=find_relations(frame, schema))
    codec = TableCodec.from_state(codec.state())
    assert {"month", "day", "hour"} <= set(codec.plan.computed)
    made = Synthesizer(Redraws(codec, frame, "columns"), codec).sample(1000, {"at": ">=2022-03-12"}, seed=1)
    local = made["at"].dt.tz_convert("America/New_York")
    assert all((made[part] == getattr(local.dt, part)).all() for part in ("month", "day", "hour"))
    asked = Synthesizer(Redraws(codec, frame, "columns"), codec).sample(50, {"hour": 7}, seed=1)
    assert (asked["at"].dt.tz_convert("America/New_York").dt.hour == 7).all()


def test_all_clocks_are_told_and_no_other_one() -> None:
    days = np.array([19_000.25, np.nan])
    for clock in CLOCKS:
        ahead = (clock_of(days, clock) - days) * 96
        assert np.isnan(ahead[1]) and ahead[0] == pytest.approx(round(ahead[0]), abs=1e-6)
    assert part_of(days, "hour in UTC+05:45")[0] == 11.0 and part_of(days, "hour in UTC-00:15")[0] == 5.0
    with pytest.raises(ValueError, match="none of the known clocks"):
        part_of(days, "hour in ../etc/passwd")


def test_looking_costs_little_where_nothing_is_found() -> None:
    frame = stamped("America/New_York", True)
    frame.loc[::50, ["hour", "day", "month"]] = 1
    schema = infer_schema(frame, None, {})
    start = time.process_time()
    find_relations(frame, schema)
    assert time.process_time() - start < 5.0
