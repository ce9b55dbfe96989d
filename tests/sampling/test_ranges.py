"""Ranges of numbers and dates and sets of categories: told to the model, and met as rows that have them are."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.models.autoregressive.tabar import TabAR
from datakiln.sampling.ranges import codes_within
from datakiln.sampling.synthesizer import Synthesizer
from tests.code_tables import data_of, train

ADAM = functools.partial(torch.optim.AdamW, lr=8e-3, weight_decay=0.3)


def table() -> pd.DataFrame:
    """Sales that grow over three years, in towns one of which is rare, some without an amount."""
    rng = np.random.default_rng(0)
    days = rng.integers(0, 1000, 3000)
    amount = np.round(days / 10 + rng.normal(0, 10, 3000), 1)
    town = rng.choice(["Oslo", "Rome", "Lima"], 3000, p=[0.6, 0.37, 0.03])
    frame = pd.DataFrame({"day": pd.Timestamp("2020-01-01") + pd.to_timedelta(days, "D"), "town": town})
    return frame.assign(amount=np.where(rng.random(3000) < 0.1, np.nan, amount))


@pytest.fixture(scope="module")
def made() -> Synthesizer:
    data = data_of(table(), batch_size=100)
    torch.manual_seed(0)
    model = train(TabAR(data.spec, width=32, hidden=48, optimizer=ADAM), data, 12).eval()
    return Synthesizer(model, data.codec)


def sampled(made: Synthesizer, n: int, condition: dict[str, object]) -> tuple[pd.DataFrame, int]:
    """Rows, and how many were drawn for them."""
    request = made.request(condition)
    from datakiln.sampling.rejection import Account

    account = Account.of(n, 0, 1)
    rows = pd.concat([frame for frame, _ in made.accounted(request, account, 0)], ignore_index=True)
    return rows, account.drawn


@pytest.mark.parametrize(
    "condition",
    [
        {"day": ">=2020-03-02&<=2020-03-20", "town": "Lima"},
        {"day": "2021-05", "amount": ">40"} | {"day": ">=2021-05-01&<2021-06-01"},
        {"amount": ">95"},
        {"amount": "missing", "day": "<2020-02-01"},
    ],
)
def test_few_rows_are_drawn_for_each_that_is_kept(made, condition):
    rows, drawn = sampled(made, 500, condition)
    assert len(rows) == 500 and drawn < 5000
    region = made.request(condition).conditions
    assert region.holds(rows).all()


def test_rows_in_a_range_are_those_that_free_draws_have_there(made):
    free = made.sample(60_000, seed=1)
    free = free[(free.day < "2020-03-01") & (free.town != "Rome")]
    told, _ = sampled(made, 1000, {"day": "<2020-03-01", "town": "Oslo|Lima"})
    assert len(free) > 500
    assert (told.town == "Lima").mean() == pytest.approx((free.town == "Lima").mean(), abs=0.04)
    assert told.amount.mean() == pytest.approx(free.amount.mean(), abs=1.5)
    assert told.amount.isna().mean() == pytest.approx(free.amount.isna().mean(), abs=0.05)
    assert told.day.astype("int64").mean() == pytest.approx(free.day.astype("int64").mean(), rel=2e-3)
    assert told.duplicated().mean() < free.head(1000).duplicated().mean() + 0.03


def test_codes_that_reach_into_a_range_count(made):
    codec = made.codec
    regions = made.request({"amount": ">20&<=30", "town": "Rome|Lima"}).conditions.regions
    within = codes_within(codec, regions)
    names = [part.name for part in codec.spec.columns]
    town, amount = (next(c for c in codec.inner if c.field.name == name) for name in ("town", "amount"))
    chosen = {value for value, is_in in zip(town.values, within[names.index("town")].tolist(), strict=True) if is_in}
    assert chosen == {"Rome", "Lima"}
    inside = within[names.index("amount")][: amount.encoder.size].numpy()
    knots = amount.encoder.knots
    assert (inside == ((knots[:, -1] + 0.1 >= 20.1) & (knots[:, 0] - 0.1 <= 30.0))).all() and 0 < inside.sum() < 20
    assert not within[names.index("amount")][amount.encoder.size], "missing was not asked for"
