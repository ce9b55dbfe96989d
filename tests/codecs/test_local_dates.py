"""Dates of which the time of day says nothing, or which begin at a midnight that is none in UTC: they come back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.dates import Dates
from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.zones import FIRST, LAST, instants, shown
from datakiln.data.tables.types import infer_schema
from datakiln.domains.numbers import NumberDomain

ROWS = 400


def days(most: int) -> pd.Series:
    return pd.Series(
        pd.Timestamp("2020-01-01") + pd.to_timedelta(np.random.default_rng(0).integers(0, most, ROWS), "D")
    )


def fitted(at: pd.Series) -> tuple[TableCodec, pd.DataFrame]:
    frame = pd.DataFrame({"at": at, "x": np.random.default_rng(1).normal(size=len(at))})
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    return TableCodec.from_state(codec.state()), frame


@pytest.mark.parametrize("zone", ["", "+00:00"])
@pytest.mark.parametrize("month", [False, True])
def test_the_one_time_of_day_that_all_rows_have_comes_back(zone, month):
    day = days(700)
    day = day.dt.to_period("M").dt.to_timestamp() if month else day
    day = day - pd.to_timedelta(1_000 * month * (np.arange(ROWS) % 9), "D")  # more months than codes stand for
    codec, frame = fitted((day + pd.Timedelta("9h30min")).dt.strftime(f"%Y-%m-%dT%H:%M:%S{zone}"))
    assert codec.dates["at"].unit in ("week", "month") and not codec.dates["at"].time
    assert codec.decode(codec.encode(frame), np.random.default_rng(0))["at"].equals(frame["at"])


ZONES = ["America/New_York", "Europe/Rome", "Australia/Lord_Howe", "UTC+05:30"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("most", [700, 40, 2])
def test_local_midnights_are_midnights_there_again(zone, most):
    """Whatever parts are drawn: days lie as far apart as the clocks there say, in summer and in winter."""
    offset = pd.Timedelta(days=80) if most == 40 else pd.Timedelta(0)  # from before the clocks change to behind
    codec, frame = fitted((days(most) + offset).dt.tz_localize(zone))
    assert codec.decode(codec.encode(frame), np.random.default_rng(0))["at"].equals(frame["at"])
    if "at" in codec.dates:
        assert codec.dates["at"].zone == zone and not codec.dates["at"].time
        x = codec.encode(frame)
        x[:, :2] = x[:, :2].roll(7, 0)  # weeks, or days, of other rows
        drawn = codec.decode(x, np.random.default_rng(0))["at"]
        shown = drawn.dt.tz_convert(zone)
        assert (shown.dt.normalize() == shown).all()


def test_parts_are_those_of_the_clocks_there():
    at = (days(700) + pd.Timedelta(hours=20)).dt.tz_localize("America/New_York")
    at[::3] += pd.Timedelta(hours=2)
    codec, frame = fitted(at)
    parts = codec.dates["at"].apart(frame["at"], codec.schema["at"])
    assert parts["at (weekday)"].tolist() == at.dt.day_of_week.tolist()
    assert parts["at (time)"].tolist() == (at.dt.hour * 3600.0).tolist()


def test_what_clocks_leave_out_is_the_next_that_they_show_and_of_two_alike_the_first():
    frame = pd.DataFrame({"at": days(700).dt.tz_localize("America/New_York")})
    field = infer_schema(frame, None, {})["at"]
    dates = Dates("at", "day", "", "at (time)", 0, (0, 0.0), zone="America/New_York")
    spring, autumn = ((pd.Timestamp(day) - pd.Timestamp(0)).days for day in ("2021-03-14", "2021-11-07"))
    made = dates.together({"at": pd.Series([spring, autumn]), "at (time)": pd.Series([9000.0, 5400.0])}, field, None)
    assert [str(cell) for cell in made] == ["2021-03-14 03:00:00-04:00", "2021-11-07 01:30:00-04:00"]


def test_parts_of_before_are_of_utc_and_a_zone_that_is_none_is_refused():
    codec, _ = fitted((days(700)).dt.tz_localize("America/New_York"))
    state = codec.dates["at"].state()
    assert Dates.from_state("at", {key: value for key, value in state.items() if key != "zone"}).zone == ""
    for zone in ("Nowhere/Else", "../x", 3, "UTC]"):
        with pytest.raises(ValueError, match="is no time zone"):
            Dates.from_state("at", {**state, "zone": zone})


def test_a_time_that_is_computed_from_another_is_not_rounded_to_the_day():
    utc = days(700) + pd.Timedelta(hours=5)
    frame = pd.DataFrame({"utc": utc, "at": utc + pd.Timedelta(minutes=270)})
    schema = infer_schema(frame, None, {})
    (relation,) = find_relations(frame, schema)
    assert relation.mode == "computed"
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, schema, relations=[relation])
    assert codec.decode(codec.encode(frame), np.random.default_rng(0)).equals(frame)


def test_a_condition_of_a_day_is_that_day_at_the_time_that_all_rows_have():
    codec, frame = fitted(days(700) + pd.Timedelta("9h30min"))
    domain = NumberDomain(codec.by_name()["at"])
    day = frame["at"][7].normalize()
    assert (
        domain.holds(domain.find(f"{day:%Y-%m-%d}"), frame["at"]).tolist()
        == (frame["at"].dt.normalize() == day).tolist()
    )
    later = domain.holds(domain.compare(">", f"{day:%Y-%m-%d}"), frame["at"])
    assert later.tolist() == (frame["at"].dt.normalize() > day).tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("zone", [*ZONES, "UTC-03:30"])
def test_clocks_are_asked_for_nothing_beyond_the_calendar(zone):
    """What is missing stays so, and what is beyond the years 1 to 9999 becomes their first or last instant."""
    hours = 3600.0 * np.arange(40)
    seconds = np.r_[FIRST + hours, 0.0, LAST - hours, np.nan]
    for made in (shown(seconds, zone), instants(seconds, zone)):
        assert (np.isnan(made) == np.isnan(seconds)).all() and np.abs((made - seconds)[:-1]).max() < 15 * 3600
    back = instants(np.r_[shown(seconds, zone), -1e15, 1e15], zone)
    inside = np.r_[15:41, 56:81]
    assert (back[inside] == seconds[inside]).all() and np.isnan(back[81])
    cells = pd.Series(pd.DatetimeIndex(np.delete(back, 81).astype("datetime64[s]"), tz="UTC")).dt.tz_convert(zone)
    assert cells.astype(str).str[:4].isin(["0001", "1969", "1970", "9999"]).all()
