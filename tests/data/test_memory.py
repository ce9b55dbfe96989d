"""Frames in memory: what Arrow holds otherwise than pandas is read as from a Parquet file."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.memory import checked
from datakiln.data.tables.types import infer_schema

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
