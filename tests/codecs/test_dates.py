"""Dates that are learnt as parts: what is taken apart, that it comes back, and what hangs on weekdays and hours."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.dates import Dates, taken_apart
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.domains.base import Region
from datakiln.domains.intervals import Interval
from datakiln.sampling.ranges import codes_within
from datakiln.sampling.synthesizer import DAMAGE
from tests.sampling.test_doors import changed

ROWS = 900


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def stamps(days: np.ndarray, seconds: np.ndarray | float = 0.0) -> pd.Series:
    return pd.Series(pd.Timestamp("2021-03-10") + pd.to_timedelta(days * 86_400 + seconds, unit="s"))


def every_day() -> np.ndarray:
    return rng().integers(0, 700, ROWS)


def on_workdays() -> np.ndarray:
    days = np.arange(1000)
    return rng().choice(days[(days + 2) % 7 < 5], ROWS)  # 10 March 2021 was a Wednesday


def on_the_first_mostly() -> np.ndarray:
    calendar = pd.date_range("2021-03-10", periods=900)
    first = np.flatnonzero(calendar.day == 1)
    return np.where(rng().random(ROWS) < 0.6, rng().choice(first, ROWS), rng().integers(0, 900, ROWS))


def parts_of(series: pd.Series, **others: object) -> Dates | None:
    frame = pd.DataFrame({"at": series, **others})
    schema = infer_schema(frame, None, {"at": "datetime"})
    return taken_apart(schema["at"], frame, schema.fields)


UNITS = {
    "every day": (stamps(every_day()), ("week", True, False)),
    "workdays": (stamps(on_workdays()), ("week", True, False)),
    "the first of the month": (stamps(on_the_first_mostly()), ("month", True, False)),
    "with times": (stamps(on_workdays(), rng().integers(0, 1000, ROWS) * 60.0), ("week", True, True)),
    "hours of weeks": (stamps(np.arange(ROWS) % 35, 3600.0 * rng().integers(0, 24, ROWS)), ("day", False, True)),
    "twenty days": (stamps(rng().integers(0, 20, ROWS)), None),  # codes of their own
    "times of one day": (stamps(np.zeros(ROWS), rng().random(ROWS) * 86_399), None),
    "first days of months": (pd.Series(rng().choice(pd.date_range("1990-01-01", periods=400, freq="MS"), ROWS)), None),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in UNITS if name != "first days of months"])
def test_what_dates_keep_to_decides_how_they_are_taken_apart(name):
    series, wanted = UNITS[name]
    found = parts_of(series)
    assert (None if found is None else (found.unit, bool(found.day), bool(found.time))) == wanted


def test_dates_that_are_all_first_days_are_months():
    found = parts_of(UNITS["first days of months"][0])
    assert found is not None and found.unit == "month"


def test_a_column_of_days_makes_months_the_unit():
    series = stamps(every_day())
    assert parts_of(series, day=series.dt.day).unit == "month"
    assert parts_of(series, day=rng().permutation(series.dt.day)).unit == "week"


@pytest.mark.parametrize("name", [name for name, (_, wanted) in UNITS.items() if wanted is not None])
def test_dates_come_back(name):
    series = UNITS[name][0]
    series[::11] = pd.NaT
    frame = pd.DataFrame({"at": series, "x": rng().normal(size=ROWS)})
    schema = infer_schema(frame, None, {})
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, schema)
    again = TableCodec.from_state(codec.state())
    x = codec.encode(frame)
    assert np.array_equal(x.numpy(), again.encode(frame).numpy())
    made = again.decode(x, rng())
    assert made["at"].isna().equals(frame["at"].isna()) and made["at"].dtype == frame["at"].dtype
    far = (made["at"] - frame["at"]).abs().max()
    assert far <= pd.Timedelta(seconds=1), "what is rounded comes back to the second"
    assert list(made.columns) == ["at", "x"]


def test_a_month_that_lacks_the_day_ends_on_its_last():
    dates = Dates("at", "month", "at (day)", "", 0, (0, 0.0))
    field = infer_schema(pd.DataFrame({"at": stamps(every_day())}), None, {})["at"]
    february = (2024 - 1970) * 12 + 1
    made = dates.together({"at": pd.Series([february, february]), "at (day)": pd.Series([31, 4])}, field, None)
    assert made.tolist() == [pd.Timestamp("2024-02-29"), pd.Timestamp("2024-02-04")]


def test_the_last_days_of_months_are_one_day() -> None:
    ends = pd.date_range("2010-01-31", periods=120, freq="ME")
    frame = pd.DataFrame({"at": pd.Series(rng().choice(ends, ROWS)), "x": rng().normal(size=ROWS)})
    codec = TableCodec(Bins).fit(frame, infer_schema(frame, None, {"at": "datetime"}))
    assert codec.dates["at"].ends
    again = TableCodec.from_state(codec.state())
    assert again.decode(codec.encode(frame), rng())["at"].dt.is_month_end.all()
    parts = again.dates["at"].apart(frame["at"], codec.schema["at"])
    assert parts["at (day)"].nunique() == 1
    assert again.dates["at"].together(parts, codec.schema["at"], None).tolist() == frame["at"].tolist()
    assert not parts_of(stamps(on_the_first_mostly())).ends


def test_dates_of_before_have_no_last_days() -> None:
    state = parts_of(stamps(on_the_first_mostly())).state()
    del state["ends"]
    assert not Dates.from_state("at", state).ends
    with pytest.raises(ValueError, match="neither true nor false"):
        Dates.from_state("at", {**state, "ends": 1})


def test_what_leaves_the_limits_keeps_its_weekday_and_hour():
    """The training rows began on a Wednesday: a Monday of the first week is one of the next."""
    dates = Dates("at", "week", "at (weekday)", "at (time)", 0, (0, 0.0))
    series = stamps(every_day(), 3600.0)
    field = infer_schema(pd.DataFrame({"at": series}), None, {})["at"]
    low, high = (float(end.timestamp()) for end in (series.min(), series.max()))
    parts = dates.apart(pd.Series([series.min(), series.max()]), field)
    monday = {**parts, "at (weekday)": pd.Series([0, 6]), "at (time)": pd.Series([7200, 7200])}
    made = dates.together(monday, field, (low, high))
    assert made.dt.day_of_week.tolist() == [0, 6] and (made.dt.hour == 2).all()
    assert (made >= series.min()).all() and (made <= series.max()).all()


def test_a_column_of_the_name_of_a_part_is_another():
    frame = pd.DataFrame({"at": stamps(every_day()), "at (weekday)": rng().normal(size=ROWS)})
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    assert [column.name for column in codec.spec.columns] == ["at", "at (weekday)'", "at (weekday)"]
    made = codec.decode(codec.encode(frame), rng())
    assert np.allclose(made["at (weekday)"], frame["at (weekday)"], atol=1e-2) and made["at"].equals(frame["at"])


def test_gaps_and_given_cells_are_of_all_parts():
    frame = pd.DataFrame(
        {"at": stamps(on_workdays(), 60.0 * rng().integers(0, 1000, ROWS)), "x": rng().normal(size=ROWS)}
    )
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    gaps = frame.assign(at=frame["at"].where(np.arange(ROWS) % 3 > 0))
    unknown = np.isnan(codec.encode_gaps(gaps).numpy())
    assert unknown[::3, :-2].all() and not unknown[1::3].any() and not unknown[:, -2:].any()
    told = codec.encode_known({"at": frame["at"].iloc[[5]]}, 2).numpy()
    assert np.array_equal(told[0, :-2], codec.encode(frame.iloc[[5]])[0, :-2].numpy()) and np.isnan(told[:, -2:]).all()


def test_ranges_of_dates_allow_the_units_they_lie_in():
    frame = pd.DataFrame({"at": stamps(every_day()), "x": rng().normal(size=ROWS)})
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    low, high = (float(pd.Timestamp(day).timestamp()) for day in ("2022-02-02", "2022-02-20"))
    (allowed,) = codes_within(codec, {"at": Region(intervals=(Interval(low, high),))}).values()
    inside = torch.tensor(frame["at"].between("2022-02-02", "2022-02-20").tolist())
    codes = codec.encode(frame)[:, 0].long()
    assert allowed[codes[inside]].all() and 0 < allowed.float().mean() < 0.15


def test_dates_that_follow_from_others_stay_whole():
    start = stamps(every_day())
    frame = pd.DataFrame({"start": start, "end": start + pd.to_timedelta(rng().integers(1, 9, ROWS), unit="D")})
    schema = infer_schema(frame, None, {})
    order = Relation("order", "end", ["column", "start"], mode="shifted", strict=True, step=1.0)
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, schema, relations=[order])
    assert list(codec.dates) == ["start"]
    made = codec.decode(codec.encode(frame), rng())
    assert made["start"].equals(frame["start"]) and made["end"].equals(frame["end"])


def test_a_changed_state_is_refused_or_decodes(tmp_path):
    """As a checkpoint is loaded: what does not end in one of the errors of damage there must come out as rows."""
    at = stamps(on_workdays(), 60.0 * np.random.default_rng(1).integers(0, 1000, ROWS))
    frame = pd.DataFrame({"at": at, "x": rng().normal(size=ROWS)})
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    x, state, loaded = codec.encode(frame.head(50)), codec.state(), 0
    for seed in range(150):
        draw = random.Random(seed)
        part = draw.choice(["dates", "dates", "shifts"])
        try:
            other = TableCodec.from_state({**state, **changed({part: state[part]}, draw, tmp_path / "canary")})
        except DAMAGE:
            continue
        if other.spec == codec.spec:
            loaded += 1
            with warnings.catch_warnings(action="ignore"):
                assert len(other.decode(x, rng())) == 50, seed
    assert loaded > 5 and not (tmp_path / "canary").exists()
