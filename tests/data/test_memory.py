"""Frames in memory: what Arrow holds otherwise than pandas is read as from a Parquet file."""

from __future__ import annotations

import datetime
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dateutil import tz

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.memory import checked
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError

STAMPS = pd.Series(pd.date_range("2020-01-01", periods=120, tz="Europe/Berlin"))
DAYS = [stamp.date() for stamp in STAMPS]
COLUMNS = {  # Arrow's type, cells, and the dtype and type that they are read as
    "date": (pa.date32(), DAYS, "datetime64[s]", "datetime"),
    "date of milliseconds": (pa.date64(), DAYS, "datetime64[s]", "datetime"),
    "decimal": (pa.decimal128(9, 2), [Decimal(k) / 100 for k in range(120)], "float64", "numeric"),
    "zoned": (pa.timestamp("us", "Europe/Berlin"), list(STAMPS), "datetime64[us, Europe/Berlin]", "datetime"),
    "plain": (pa.timestamp("us"), list(STAMPS.dt.tz_localize(None)), "timestamp[us][pyarrow]", "datetime"),
    "duration": (pa.duration("us"), [datetime.timedelta(minutes=k) for k in range(120)], "timedelta64[us]", "numeric"),
    "time": (pa.time32("s"), [datetime.time(k % 24, k % 60) for k in range(120)], "str", "datetime"),
    "text": (pa.string(), ["ab"[k % 2] for k in range(120)], "str", "category"),
    "number": (pa.int16(), [k % 7 if k % 5 else None for k in range(120)], "int16[pyarrow]", "integer"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_arrow(name: str) -> None:
    kind, cells, dtype, wanted = COLUMNS[name]
    frame = checked(pd.DataFrame({"c": pd.array(cells, dtype=pd.ArrowDtype(kind)), "x": range(120)}), "the frame")
    schema = infer_schema(frame, None, {})
    assert (str(frame["c"].dtype), schema["c"].type) == (dtype, wanted)
    codec = TableCodec().fit(frame, schema)
    assert codec.decode(codec.encode(frame), np.random.default_rng(0))["c"].dtype == frame["c"].dtype


def zoned(zone: object) -> pd.DataFrame:
    """An hour in winter and one in summer, again and again."""
    hours = pd.Series(pd.to_datetime(["2020-01-01 09:00", "2020-07-01 09:00"] * 60)).dt.tz_localize("UTC")
    return pd.DataFrame({"at": hours.dt.tz_convert(zone), "x": range(120)})


NAMED = [
    (tz.gettz("Europe/Berlin"), "Europe/Berlin"),
    (tz.tzutc(), "UTC"),
    (tz.tzoffset("here", 3600), "UTC+01:00"),
    (datetime.timezone(datetime.timedelta(hours=2), "Home"), "UTC+02:00"),
    (datetime.timezone(datetime.timedelta(hours=1), "EST"), "UTC+01:00"),  # not what others call so
    ("Asia/Tokyo", "Asia/Tokyo"),
]


@pytest.mark.parametrize(("zone", "name"), NAMED)
def test_zones_are_named_as_they_are_everywhere(zone: object, name: str) -> None:
    given = zoned(zone)
    at = checked(given, "the frame")["at"]
    assert str(at.dtype) == f"datetime64[us, {name}]" and (at == given["at"]).all()
    assert (at.dt.tz_localize(None) == given["at"].dt.tz_localize(None)).all()


@pytest.mark.parametrize(
    ("here", "rows", "name"), [("Europe/Berlin", 1, "UTC+01:00"), ("Asia/Kolkata", 2, "UTC+05:30")]
)
def test_the_zone_of_this_machine_becomes_one_distance_from_utc(monkeypatch, here: str, rows: int, name: str) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", here)
        time.tzset()
        at = zoned(tz.tzlocal()).iloc[:: 1 if rows == 2 else 2]
        assert str(checked(at, "the frame")["at"].dtype).endswith(f", {name}]")
    time.tzset()


def test_a_zone_without_a_name_is_refused_in_one_line(monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        with pytest.raises(
            UserError, match=r"column 'at' has dates of the zone tzlocal\(\), which has no name.*tz_convert"
        ):
            checked(zoned(tz.tzlocal()), "the frame")
    time.tzset()


@pytest.mark.parametrize(
    ("zone", "instant"), [("Europe/Berlin", "9999-12-31T23:30"), ("America/New_York", "0001-01-01T03:00")]
)
def test_dates_that_their_clock_shows_in_no_year_of_the_calendar_are_refused(zone: str, instant: str) -> None:
    instants = np.array([instant] * 120, dtype="datetime64[us]")
    given = pd.DataFrame({"at": pd.Series(instants).dt.tz_localize("UTC").dt.tz_convert(zone)})
    with pytest.raises(UserError, match="column 'at' has dates of the zone .* outside the years 1 to 9999"):
        checked(given, "the frame")
