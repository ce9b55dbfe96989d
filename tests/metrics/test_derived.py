"""What pairs of numbers and dates show: the parts, the choice, and what a two-sample test sees with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.tables import derived, twosample
from datakiln.metrics.tables.columns import Coded
from datakiln.metrics.tables.derived import Derived, Feature, date_parts, places
from datakiln.schema import Field, Schema
from tests.metrics.metrics_tables import numbers_schema


def coded(*columns: np.ndarray) -> Coded:
    numbers = np.column_stack(columns).astype(np.float64)
    return Coded(numbers, np.empty((len(numbers), 0), dtype=np.int64))


def bills(n: int, seed: int, share: float) -> pd.DataFrame:
    """A bill, a payment that equals it in a share of the rows, and numbers that have nothing to do with either."""
    rng = np.random.default_rng(seed)
    bill = rng.lognormal(7.0, 1.0, n).round(2)
    other = (bill * rng.uniform(0.2, 1.0, n)).round(2)
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("cdef"))
    return frame.assign(bill=bill, payment=np.where(rng.random(n) < share, bill, other))


BILLS = numbers_schema("bill", "payment", *"cdef")


def test_parts_of_dates_are_those_of_a_calendar() -> None:
    text = ["1969-12-31 23:59:59", "2000-02-29 00:00:00", "2024-03-10 12:34:56", "9999-12-31 01:02:03", None]
    dates = pd.Series(pd.to_datetime(pd.Series(text, dtype="str")).astype("datetime64[s]"))
    seconds = np.where(dates.isna(), np.nan, dates.to_numpy().astype(np.int64).astype(np.float64))
    found = date_parts(seconds)
    assert np.isnan(found[-1]).all()
    for k, part in enumerate(("year", "month", "day", "weekday", "hour", "minute")):
        assert found[:-1, k].tolist() == getattr(dates.dt, part)[:-1].tolist(), part


def test_places_keep_the_order_and_every_spike() -> None:
    x = np.concatenate([np.random.default_rng(0).lognormal(0, 5, 900), np.full(100, 1.0), [np.nan]])
    found = places(x, 126)
    assert found[-1] == -1 and found.max() < 254
    order = np.argsort(x[:-1], kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert set(np.flatnonzero(found == found[950])) == set(range(900, 1000)), "a spike has a place of its own"
    assert (places(np.array([np.nan, np.nan]), 15) == -1).all()


def test_features_of_missing_cells_zeros_and_rounding() -> None:
    rows = np.array([[0.1 + 0.2, 0.3], [2.0, 0.0], [np.nan, 1.0], [0.0, 0.0]])
    value = {form: Feature(form, 0, 1).values(rows) for form in ("difference", "ratio", "equal")}
    np.testing.assert_array_equal(value["difference"], [0.0, 2.0, np.nan, 0.0])
    np.testing.assert_array_equal(value["equal"], [1.0, 0.0, np.nan, 1.0])
    assert np.isnan(value["ratio"][1:]).all()


def test_at_most_so_many_pairs_and_equal_ones_come_first() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(300, 40))
    columns[:90, 33] = columns[:90, 7]
    part = coded(*columns.T)
    names = tuple(f"n{i}" for i in range(40))
    chosen = Derived.choose(numbers_schema(*names), names, part, 0)
    pairs = {(f.first, f.second) for f in chosen.features if f.form == "difference"}
    assert len(pairs) == derived.PAIRS == 200 and (7, 33) in pairs
    assert [(f.first, f.second) for f in chosen.features if f.form == "equal"] == [(7, 33)]
    assert chosen == Derived.choose(numbers_schema(*names), names, part, 0)


def test_dates_pair_with_dates_and_their_parts_with_numbers() -> None:
    rng = np.random.default_rng(0)
    start = 1.6e9 + 86_400 * rng.integers(0, 900, 300)
    month = date_parts(start)[:, 1]
    schema = Schema(
        (Field("start", "datetime", "str"), Field("end", "datetime", "str"), Field("month", "integer", "int64"))
    )
    names = ("start", "end", "month")
    chosen = Derived.choose(schema, names, coded(start, start + 3600 * rng.integers(1, 30, 300), month), 0)
    told = [feature.name(chosen.quantities.names) for feature in chosen.features]
    assert "start - end" in told and "month = month of start" in told and "weekday of start" in told
    assert not any(name in told for name in ("start / end", "start - month", "hour of start - month of start"))
    assert "minute of start" not in told, "a part that does not vary"


@pytest.mark.journey
def test_a_broken_equality_is_seen_in_its_difference() -> None:
    holdout, train = bills(400, 1, 0.3), bills(900, 0, 0.3)
    data = EvalData(BILLS, train, holdout, bills(400, 2, 0.015))
    blind, seeing = twosample.boosting(data, folds=3)[0], twosample.boosting_relations(data)[0]
    assert seeing.value > blind.value + 0.03 and seeing.value > 0.6
    assert "bill" in seeing.note and "payment" in seeing.note and seeing.n == 400
    kept = twosample.boosting_relations(EvalData(BILLS, train, holdout, bills(400, 3, 0.3)))[0]
    assert kept.value == pytest.approx(0.5, abs=0.07) and "most telling" not in kept.note


def test_the_test_repeats_and_knows_what_it_needs() -> None:
    data = EvalData(BILLS, bills(200, 0, 0.3), bills(80, 1, 0.3), bills(150, 2, 0.3))
    assert twosample.boosting_relations(data) == twosample.boosting_relations(
        EvalData(BILLS, data.train, data.holdout, data.synthetic)
    )
    words = pd.DataFrame({"a": ["x", "y"] * 30, "b": ["u", "v", "w"] * 20}).astype("str")
    schema = Schema((Field("a", "category", "str"), Field("b", "category", "str")))
    with pytest.raises(MetricError, match="neither two numbers nor a date"):
        twosample.boosting_relations(EvalData(schema, words, words, words))
    with pytest.raises(MetricError, match="no holdout"):
        twosample.boosting_relations(EvalData(BILLS, data.train, data.holdout[:0], data.synthetic))
    with pytest.raises(MetricError, match="fewer than folds=3"):
        twosample.boosting_relations(EvalData(BILLS, data.train, data.holdout[:2], data.synthetic))


def test_columns_without_values_or_of_huge_numbers_do_no_harm() -> None:
    n = 60
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": np.nan, "b": rng.normal(size=n) * 1e150, "c": -1e-200, "d": np.arange(n) * 1.0})
    with np.errstate(all="raise", under="ignore"):
        found = twosample.boosting_relations(EvalData(numbers_schema(*"abcd"), frame, frame, frame))[0]
    assert 0.0 <= found.value <= 1.0


def test_real_rows_are_judged_by_the_same_features() -> None:
    data = EvalData(BILLS, bills(400, 0, 0.3), bills(150, 1, 0.3), bills(300, 2, 0.3))
    (found,) = evaluate_table(data, [twosample.boosting_relations])
    assert not found.why and found.ceiling is not None and found.ceiling_range is not None and found.floor is not None
    assert found.ceiling_range[0] <= 0.5 <= found.ceiling_range[1] and found.floor.value > 0.8
    assert "derived 200" in data.cache
