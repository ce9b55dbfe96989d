"""Times of what goes on: forecasts and endless series of even, uneven and local times, and where starts lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.series.clock import DAY, Clock
from datakiln.codecs.tables.values import to_numbers
from datakiln.sampling.series import forecast_file, write_endless
from datakiln.schema import Field
from datakiln.spec import PLAIN
from tests.series.test_sampling import repeating


def uneven(rows: int = 60) -> pd.DataFrame:
    """One series with steps of 1 to 4 and a number."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({"t": np.cumsum(rng.integers(1, 5, rows)), "v": rng.normal(size=rows).round(2)})


def test_forecasts_of_uneven_times_begin_a_step_behind_the_history(tmp_path):
    """The first step counts, and every path begins anew: all of them repeat the last step here."""
    rows = uneven()
    rows["t"] = np.r_[rows["t"][:-1], rows["t"].iloc[-2] + 3]
    rows.to_csv(tmp_path / "x.csv", index=False)
    forecast_file(repeating(rows, time="t"), str(tmp_path / "x.csv"), tmp_path / "ahead.csv", 3, 2, 0, PLAIN)
    paths = pd.read_csv(tmp_path / "ahead_paths.csv")
    assert pd.read_csv(tmp_path / "ahead.csv")["t"].tolist() == paths["t"].tolist()[:3]
    assert paths["t"].tolist() == [rows["t"].iloc[-1] + ahead for ahead in (3, 6, 9)] * 2


def test_no_time_repeats_where_a_piece_of_an_endless_series_begins(tmp_path):
    synthesizer = repeating(uneven(), time="t")
    write_endless(synthesizer, 1, 20, tmp_path / "x.csv", {}, 0, PLAIN)
    times = pd.read_csv(tmp_path / "x.csv")["t"]
    assert len(times) == 20 and times.diff().dropna().min() >= 1


@pytest.mark.parametrize(
    ("freq", "zone", "unit", "windows"),
    [("D", "Europe/Berlin", "plain", 1), ("D", "Europe/Berlin", "plain", 4), ("MS", "America/New_York", "months", 1)],
)
def test_days_of_a_zone_with_summer_time_are_even_steps(freq, zone, unit, windows):
    """Local midnights are 23, 24 or 25 hours apart: rows come back, and starts are midnights, drawn or modelled."""
    days = pd.Series(pd.date_range("2021-01-01", periods=360, freq=freq, tz=zone), dtype=f"datetime64[us, {zone}]")
    field, group = Field("day", "datetime", str(days.dtype)), np.repeat(np.arange(windows), 360 // windows)
    bounds = None if windows > 1 else tuple(to_numbers(days.iloc[[0, 300]], field))
    clock = Clock.fit(days, field, group, bounds)
    assert clock.is_local and clock.is_even and clock.unit == unit and clock.is_modelled == (windows > 1)
    begin = clock.numbers(days.iloc[[0]])
    assert clock.cells(clock.times(np.repeat(begin, 360), np.arange(360), None)).tolist() == days.tolist()
    drawn = clock.starts(200, np.random.default_rng(0)) if windows == 1 else clock.snapped(begin + np.arange(20) * 9e5)
    shown = clock.cells(drawn)
    assert (shown == shown.dt.normalize()).all() and shown.nunique() > 2
    assert Clock.from_state(clock.state(), field) == clock
    before = {name: value for name, value in clock.state().items() if name not in ("is_local", "lattice", "spacing")}
    assert Clock.from_state(before, field) == dataclasses.replace(clock, is_local=False, lattice="", spacing=0.0)
    hours = pd.Series(pd.date_range("2021-03-20", periods=360, freq="h", tz=zone), dtype=days.dtype)
    assert not (other := Clock.fit(hours, field, group, bounds)).is_local and other.is_even


@pytest.mark.parametrize(
    ("day", "unit", "spacing"),
    [("2021-01-01", "months", 3.0), ("2021-03-31", "month ends", 3.0), ("2021-01-05", "plain", 7)],
)
def test_modelled_starts_lie_where_real_ones_do(day, unit, spacing):
    """Quarters on the first or last of a month, and weeks on a weekday, whatever the days that a model draws."""
    freq = {"months": "QS", "month ends": "QE", "plain": "7D"}[unit]
    begins = pd.date_range(day, periods=12, freq=freq)
    rows = pd.concat([pd.Series(pd.date_range(begin, periods=4, freq="D")) for begin in begins], ignore_index=True)
    clock = Clock.fit(rows, Field("day", "datetime", "datetime64[us]"), np.repeat(np.arange(12), 4), None)
    assert (clock.lattice, clock.spacing / (86400 if unit == "plain" else 1)) == (unit, spacing)
    drawn = clock.low + (clock.high - clock.low) * np.random.default_rng(0).random(300)
    snapped = clock.snapped(drawn)
    assert set(clock.cells(snapped)) == set(begins)
    real = np.array([clock.numbers(pd.Series([begin]))[0] for begin in begins])
    assert np.array_equal(np.abs(snapped - drawn), np.abs(real[:, None] - drawn).min(axis=0)), "the nearest"


@pytest.mark.parametrize("zone", ["Africa/Cairo", "America/Sao_Paulo"])
@pytest.mark.parametrize("hours", [24, 6])
def test_a_day_whose_midnight_no_clock_shows_is_no_uneven_step(zone, hours):
    """It begins at one: the rows come back, and those behind it begin at midnight again."""
    there = pd.date_range("2018-01-01", "2023-12-31", freq=f"{hours}h").tz_localize(zone, nonexistent="shift_forward")
    late = np.flatnonzero((there.hour % hours if hours < 24 else there.hour) == 1)
    assert len(late)
    days = pd.Series(there[late[0] - 8 : late[0] + 12]).astype(f"datetime64[us, {zone}]")
    field = Field("day", "datetime", str(days.dtype))
    clock = Clock.fit(days, field, np.zeros(20, dtype=int), None)
    assert clock.is_local and clock.step == hours * 3600
    begin = clock.numbers(days)
    assert clock.cells(begin).tolist() == days.tolist()
    for at in (0, 8):
        assert (
            clock.cells(clock.times(np.repeat(begin[at], 20 - at), np.arange(20 - at), None)).tolist()
            == days.tolist()[at:]
        )


@pytest.mark.filterwarnings("error")
def test_what_starts_lie_on_is_found_for_any_number_of_them_and_not_made_up_for_huge_ones():
    rng = np.random.default_rng(0)
    starts = pd.Timestamp("2020-01-01") + pd.to_timedelta(7 * rng.integers(0, 300_000, 1_000), unit="s")
    clock = Clock.fit(pd.Series(starts), Field("t", "datetime", "datetime64[us]"), np.arange(1_000), None)
    assert (clock.lattice, clock.spacing, clock.grain) == ("plain", 7.0, 1.0)
    huge = pd.Series([1e19, 2e19, 3e19, 1e20, 1.1e20, 1.2e20])
    clock = Clock.fit(huge, Field("t", "numeric", "float64"), np.repeat([0, 1], 3), None)
    assert (clock.lattice, clock.grain) == ("", 0.0)
    assert clock.snapped(clock.numbers(huge)).tolist() == huge.tolist()


@pytest.mark.parametrize("zone", ["", "America/New_York"])
@pytest.mark.parametrize("windows", [1, 8])
def test_days_of_trade_never_fall_on_a_weekend(zone, windows):
    """A Monday comes a day after a Friday, and a holiday is a step of two days: rows come back, starts are days."""
    days = pd.bdate_range("2021-01-04", periods=261).delete([100])
    days = pd.Series(days.tz_localize(zone) if zone else days).astype(
        f"datetime64[us, {zone}]" if zone else "datetime64[us]"
    )
    field, group = Field("day", "datetime", str(days.dtype)), np.repeat(np.arange(windows), 260 // windows + 1)[:260]
    bounds = None if windows > 1 else tuple(to_numbers(days.iloc[[0, 200]], field))
    clock = Clock.fit(days, field, group, bounds)
    assert clock.weekdays == "1111100" and clock.grain == DAY and clock.days_off == ["Saturdays", "Sundays"]
    assert Clock.from_state(clock.state(), field) == clock
    begin = clock.numbers(days)
    assert clock.cells(begin).tolist() == days.tolist()
    steps = np.exp(clock.log_steps(begin, np.zeros(260, dtype=int)))
    assert np.bincount(np.round(steps / DAY).astype(int)).tolist() == [0, 259, 1]
    drawn = (
        clock.starts(200, np.random.default_rng(0))
        if windows == 1
        else clock.snapped(begin[:1] + np.arange(99.0) * DAY)
    )
    ahead = clock.cells(clock.times(np.repeat(drawn, 9), np.tile(np.arange(9), len(drawn)), np.zeros(9 * len(drawn))))
    assert (
        (ahead.dt.dayofweek < 5).all() and ahead.dt.dayofweek.nunique() == 5 and (ahead == ahead.dt.normalize()).all()
    )
    odd = pd.Series(pd.date_range("2021-02-05", periods=4, tz=zone or None)).astype(days.dtype)  # with a weekend
    assert np.isfinite(clock.log_steps(clock.numbers(odd), np.zeros(4, dtype=int))).all()


def test_a_few_days_without_a_weekend_are_no_rule():
    """Nor are weeks on one day of it, which are even steps, or days of all kinds."""
    field = Field("day", "datetime", "datetime64[us]")
    for days in (pd.bdate_range("2021-01-04", periods=14), pd.date_range("2021-01-04", periods=200, freq="7D"),
                 pd.date_range("2021-01-04", periods=300).delete([7, 70])):  # fmt: skip
        clock = Clock.fit(pd.Series(days), field, np.zeros(len(days), dtype=int), None)
        assert clock.weekdays == ""
    with pytest.raises(ValueError, match="weekdays='11' must be seven"):
        Clock.from_state(clock.state() | {"weekdays": "11"}, field)
