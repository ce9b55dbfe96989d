"""Conditions, filling and scores of columns that are computed from others, and rows drawn again that break an order."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.sets.toy import ToyRelations
from datakiln.data.tables.tables import TableData
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.models.statistical.mixture import Mixture
from datakiln.sampling.agreeing import Agreeing
from datakiln.sampling.filling import fill_file, fill_frame, score_file
from datakiln.sampling.related import beside_given
from datakiln.sampling.synthesizer import Synthesizer
from tests.codecs.test_relations import prices
from tests.sampling.test_filling import train


@pytest.fixture(scope="module")
def data() -> TableData:
    made = TableData(ToyRelations(3000), TableCodec(compact=True, numeric=_bins))
    made.setup("fit")
    return made


def _bins():
    from datakiln.codecs.tables.bins import Bins

    return Bins()


@pytest.fixture(scope="module")
def synthesizer(data) -> Synthesizer:
    torch.manual_seed(0)
    return Synthesizer(train(Mixture(data.spec, classes=[4], smoothing=[1.0]), data, 8), data.codec)


def wrong(frame: pd.DataFrame, synthesizer: Synthesizer) -> dict[str, int]:
    found = {str(relation): int(bad.sum()) for relation, bad in synthesizer.codec.plan.broken(frame)}
    return {text: count for text, count in found.items() if count}


def test_every_relation_holds_in_samples(synthesizer, data):
    rows = synthesizer.sample(2000, seed=1)
    assert not wrong(rows, synthesizer)
    assert (rows["share_c"] >= 0).all() and (rows["end"] > rows["start"]).all()
    assert abs(rows["refund"].isna().mean() - 0.1) < 0.04
    assert rows.dtypes.equals(data.frames["train"].dtypes)
    assert rows.equals(synthesizer.sample(2000, seed=1))


@pytest.mark.parametrize(
    "condition",
    [
        {"fahrenheit": 50, "weekday": "Monday"},  # told of celsius, drawn again for the weekday
        {"code": "O", "total": 60},  # one to one; and moved
        {"gross": 300.5},
        {"end": "2021-03-04"},
        {"country": "IT", "part": ">300"},
        {"month": 2, "days": 7},
    ],
)
def test_conditions_on_computed_columns_are_met(synthesizer, condition):
    rows = synthesizer.sample(60, condition)
    assert len(rows) == 60 and not wrong(rows, synthesizer)
    for name, value in condition.items():
        cells = rows[name]
        assert (cells > 300).all() if value == ">300" else (cells == value).all(), name


def test_conditions_that_break_a_relation_are_refused(synthesizer):
    with pytest.raises(UserError, match=r"cannot be met: in every training row total = quantity \* price"):
        synthesizer.sample(5, {"total": 100, "quantity": 7, "price": 5})


def test_filling_works_out_what_follows_and_changes_no_given_cell(synthesizer, data):
    whole = data.frames["test"].head(40).reset_index(drop=True)
    holed = whole.copy()
    for name in ("celsius", "gross", "price", "city", "weekday", "share_b", "end"):
        holed[name] = None
    filled = fill_frame(synthesizer, holed, 0)
    for name in ("gross", "weekday", "end"):  # from their sources
        assert (filled[name].astype(str) == whole[name].astype(str)).all(), name
    for name in ("celsius", "price", "share_b"):  # solved for
        assert np.allclose(filled[name].astype(float), whole[name].astype(float)), name
    assert (filled["city"] == whole["city"]).all()
    given = [name for name in holed if holed[name].notna().all()]
    assert filled[given].equals(whole[given])
    holed = whole.assign(net=None, tax=None, start=None, days=None)
    filled = fill_frame(synthesizer, holed, 0)
    assert (filled["gross"] == whole["gross"]).all() and (filled["end"] == whole["end"]).all()
    assert np.allclose(filled["net"].astype(float) + filled["tax"].astype(float), whole["gross"], atol=0.006)


def test_any_cells_may_lack_and_the_given_ones_of_computed_columns_are_kept_and_met(synthesizer, data, tmp_path):
    whole = data.frames["test"].head(40).reset_index(drop=True)
    holed = whole.astype(object).mask(np.random.default_rng(0).random(whole.shape) < 0.35)
    filled = fill_frame(synthesizer, holed, 0)
    assert not wrong(filled.astype(whole.dtypes), synthesizer)
    given = holed.notna()
    assert (filled.astype(str) == whole.astype(str))[given].eq(True).where(given, True).all(axis=None)
    holed = whole.head(4).astype(object).assign(start=None, end=None)
    holed.loc[0, "month"] = 14  # which no start gives
    holed.to_csv(tmp_path / "holes.csv", index=False)
    said = fill_file(synthesizer, str(tmp_path / "holes.csv"), str(tmp_path / "filled.csv"), 0)
    assert "1 row could not be filled in keeping with the rules, such as month = month(start)" in said


def test_values_that_give_what_is_given_are_picked_from_a_list():
    """Two parts of a date at once, a number that two rounded ones tell apart, and the pair that a function is of."""
    rng, n = np.random.default_rng(0), 900
    start = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D")
    price = rng.integers(100, 3000, n) / 100
    frame = pd.DataFrame({"price": price, "start": start.strftime("%Y-%m-%d"), "city": rng.integers(0, 9, n)})
    frame = frame.assign(
        low=(0.8 * price).round(2), f=(1.8 * price + 32).round(2), city="c" + frame["city"].astype(str)
    )
    frame = frame.assign(
        month=start.month, day=start.day_name(), land="k" + (frame["city"].str[1:].astype(int) // 3).astype(str)
    )
    schema = infer_schema(frame, None, {})
    codec = TableCodec().fit(frame, schema, relations=find_relations(frame, schema))
    given = frame.head(50).assign(price=np.nan, start=None, city=None)
    made = Agreeing(codec, lambda: frame).picked(given, rng)
    whole = codec.plan.completed({name: made[name] for name in ("price", "start", "city")})
    for name in ("low", "f", "month", "day", "land"):
        assert (whole[name].astype(str) == frame[name].head(50).astype(str)).all(), name
    assert made["city"].nunique() > 5 and (made["city"] != frame["city"].head(50)).any()


def test_a_row_that_breaks_a_relation_has_no_likelihood_and_the_output_says_which(synthesizer, data, tmp_path):
    rows = data.frames["test"].head(30).reset_index(drop=True)
    rows.loc[3, "total"] += 1
    rows.loc[5, "country"] = "PE" if rows.loc[5, "country"] != "PE" else "IT"
    rows.to_csv(tmp_path / "rows.csv", index=False)
    said = score_file(synthesizer, str(tmp_path / "rows.csv"), str(tmp_path / "out.csv"))
    assert "2 rows break a relation, such as" in said
    scored = pd.read_csv(tmp_path / "out.csv")
    assert np.isneginf(scored["log_prob"][:2]).all() and np.isfinite(scored["log_prob"][2:]).all()
    assert set(scored["broken_relation"][:2]) == {"total = quantity * price", "city -> country"}


def test_columns_that_a_given_one_lies_beyond_go_as_far_as_it_allows():
    """High told alone: Open and Close lie below it as they were drawn; with Open told, Close stays below it."""
    frame = prices()
    schema = infer_schema(frame, None, {})
    codec = TableCodec().fit(frame, schema, relations=find_relations(frame, schema))
    drawn = frame.head(200).copy()
    told = pd.DataFrame(np.nan, index=drawn.index, columns=drawn.columns).assign(High=50.0)
    made = beside_given(codec, told, drawn)
    assert np.allclose(made[["Open", "Close"]].max(axis=1) - 50.0, drawn[["Open", "Close"]].max(axis=1) - drawn["High"])
    assert np.allclose(made["Open"] - made["Close"], drawn["Open"] - drawn["Close"])
    made = beside_given(codec, told.assign(Open=49.0), drawn)
    assert (made["Open"] == 49.0).all() and (made["Close"] <= 50.0).all()
    made = beside_given(codec, told.assign(High=np.nan, Low=150.0), drawn)
    assert np.allclose(made[["Open", "Close"]].min(axis=1) - 150.0, drawn[["Open", "Close"]].min(axis=1) - drawn["Low"])
