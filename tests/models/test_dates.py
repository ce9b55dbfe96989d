"""What hangs on the hour and the weekday of a date is learnt, and conditions on it are met."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.models.autoregressive.tabar import TabAR
from datakiln.sampling.synthesizer import Synthesizer
from tests.code_tables import data_of, train

ADAM = functools.partial(torch.optim.AdamW, lr=8e-3, weight_decay=0.3)

ROWS = 1500


def visits() -> pd.DataFrame:
    """Of two years, on workdays between 8 and 17, in the mornings by one door and in the afternoons by the other."""
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2022-01-03", "2023-12-29")
    hour = rng.integers(8, 18, ROWS)
    at = days[rng.integers(0, len(days), ROWS)] + pd.to_timedelta(
        hour * 3600 + 60 * rng.integers(0, 60, ROWS), unit="s"
    )
    return pd.DataFrame({"at": at, "door": np.where(hour < 12, "east", "west")})


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    torch.manual_seed(0)
    data = data_of(visits(), "door", batch_size=100)
    return Synthesizer(train(TabAR(data.spec, width=32, hidden=64, optimizer=ADAM), data, 12).eval(), data.codec)


def test_hours_and_weekdays_are_those_of_real_rows_and_go_with_the_rest(synthesizer):
    made = synthesizer.sample(2000, seed=1)
    assert made["at"].dt.hour.between(8, 17).all()
    assert (made["at"].dt.day_of_week < 5).mean() > 0.99
    assert ((made["at"].dt.hour < 12) == (made["door"] == "east")).mean() > 0.95


def test_conditions_on_dates_are_met(synthesizer):
    one = synthesizer.sample(200, {"at": ">=2022-06-01&<=2022-06-14"}, seed=1)
    assert len(one) == 200 and one["at"].between("2022-06-01", "2022-06-15").all()
    assert one["at"].nunique() > 50
    row = visits().iloc[[0]]
    other = synthesizer.sample(20, {"at": str(row["at"].iloc[0])}, seed=1)
    assert (other["at"] == row["at"].iloc[0]).all() and (other["door"] == row["door"].iloc[0]).mean() > 0.8


def test_gaps_are_filled_and_rows_are_judged(synthesizer):
    rows = visits().head(200)
    filled = synthesizer.impute(rows.assign(at=pd.NaT))
    assert filled["at"].notna().all() and ((filled["at"].dt.hour < 12) == (rows["door"] == "east")).mean() > 0.95
    night = rows.assign(at=rows["at"] - pd.Timedelta(hours=9))
    assert synthesizer.log_prob(rows).mean() > synthesizer.log_prob(night).mean()
