"""Fixed tables for the metric tests: plain arithmetic, so that every machine and version gets the same cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from datakiln.metrics.base import EvalData
from datakiln.metrics.tables.references import resample_columns
from datakiln.schema import Field, Schema

MIXED = Schema(
    (
        Field("height", "numeric", "float64"),
        Field("gain", "integer", "int64", 0),
        Field("weight", "numeric", "float64"),
        Field("score", "numeric", "float64"),
        Field("when", "datetime", "datetime64[ns]"),
        Field("city", "category", "str"),
        Field("level", "ordinal", "str", order=("low", "mid", "high")),
        Field("member", "boolean", "bool"),
    ),
    label="member",
)


def numbers_schema(*names: str) -> Schema:
    """Numeric columns only."""
    return Schema(tuple(Field(name, "numeric", "float64") for name in names))


def mixed_table(rows: int, turn: int) -> pd.DataFrame:
    """A table of every modelled type, with missing cells, spikes and related columns; `turn` makes another one."""
    i = np.arange(rows)
    a, b, c = ((i * k + turn * 17) % m for k, m in ((37, 101), (53, 89), (29, 97)))
    height = 150 + 0.5 * a + 0.01 * turn * b
    weight = np.where(c % 7 == turn % 3, np.nan, 0.8 * height - 70 + 0.3 * b)
    score = np.where(b % 5 == 0, np.nan, c / 9.7 - 0.02 * turn * a)
    gain = np.where(a < 80 - 5 * turn, 0, b * 31)
    when = pd.Timestamp("2020-03-01") + pd.to_timedelta(a * 11 + c + 24 * turn * (b % 3), unit="h")
    cities = np.array(["Rome", "Oslo", "Lima", "Bonn", "Kyiv", "Cork", "Nice"])
    city = pd.Series(cities[np.where((turn == 1) & (c == 5), 6, np.minimum(b // 17, 5 - turn % 2))]).astype("str")
    level = pd.Series(np.array(["low", "mid", "high"])[np.clip((a + 3 * turn * (c % 4)) // 34, 0, 2)]).astype("str")
    return pd.DataFrame(
        {
            "height": height,
            "gain": gain.astype(np.int64),
            "weight": weight,
            "score": score,
            "when": pd.Series(when).astype("datetime64[ns]"),
            "city": city.mask(pd.Series(c % 11 == 3 + turn)),
            "level": level.mask(pd.Series((turn == 1) & (c == 8))),
            "member": (a + b) % (3 + turn) == 0,
        }
    )


def independent(data: EvalData) -> EvalData:
    """As many rows as the synthetic, columns of train resampled independently."""
    rng = np.random.default_rng([data.seed, 1])
    return replace(data, synthetic=resample_columns(data.train, len(data.synthetic), rng))


def people(rows: int, seed: int) -> pd.DataFrame:
    """Rows of three related numbers and two categories, one of them the answer to learn; as many as one likes."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "a": a,
            "b": 0.7 * a + 0.7 * rng.normal(size=rows),
            "c": rng.exponential(size=rows),
            "y": pd.Series(np.where(a + 0.5 * rng.normal(size=rows) > 0, "yes", "no")).astype("str"),
            "city": pd.Series(rng.choice(list("abcdefgh"), size=rows, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.06, 0.03, 0.01])),
        }
    ).astype({"city": "str"})


PEOPLE = Schema(
    (*numbers_schema("a", "b", "c").fields, Field("y", "category", "str"), Field("city", "category", "str")), "y"
)
