"""Numbers as codes, and rows of one code per column."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.scaling import MinMax
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.models.vae.vae import VAE
from tests.toy_tables import toy_data

RNG = np.random.default_rng(0)
COLUMNS = {
    "smooth": RNG.normal(size=4000),
    "spike in the middle": np.where(RNG.random(4000) < 0.4, 0.0, RNG.normal(size=4000)),
    "spike at the end": np.where(RNG.random(4000) < 0.6, 0.0, RNG.lognormal(size=4000)),
    "ties": np.repeat(RNG.normal(size=900), np.arange(900) % 5 + 1),
    "thirty rows": RNG.normal(size=30),
    "two values": RNG.integers(0, 2, 50) * 1.5,
    "one value": np.full(9, 3.0),
    "no value": np.zeros(0),
}


def fitted(values: np.ndarray) -> Bins:
    encoder = Bins()
    encoder.fit(values)
    return encoder


@pytest.mark.parametrize("name", COLUMNS)
def test_a_code_gives_back_a_value_of_that_code(name):
    values = COLUMNS[name]
    encoder = fitted(values)
    codes = encoder.codes(values)
    drawn = encoder.from_codes(codes, np.random.default_rng(1))
    assert codes.min(initial=0) >= 0 and codes.max(initial=0) < encoder.size <= 129
    assert (encoder.codes(drawn) == codes).all()
    assert (np.diff(encoder.knots.mean(axis=1)) > 0).all(), "codes are in the order of their values"
    again = Bins.from_state(encoder.state())
    assert (again.codes(values) == codes).all() and (again.knots == encoder.knots).all()


@pytest.mark.parametrize("name", ["smooth", "spike in the middle", "spike at the end", "ties"])
def test_drawn_values_follow_the_column(name):
    values = COLUMNS[name]
    encoder = fitted(values)
    drawn = encoder.from_codes(encoder.codes(values), np.random.default_rng(1))
    at = np.concatenate([values, drawn])
    steps = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (values, drawn)]
    # same codes, so the distributions can differ inside a bin only: by less than 1/128 of the rows
    assert np.abs(steps[0] - steps[1]).max() < 1 / 128
    assert drawn.min() >= values.min() and drawn.max() <= values.max()


def test_values_inside_bins_are_no_training_values():
    values = COLUMNS["spike in the middle"]
    encoder = fitted(values)
    drawn = encoder.from_codes(encoder.codes(values), np.random.default_rng(1))
    assert ((drawn == 0) == (values == 0)).all(), "the spike is a code of its own and exact"
    assert not np.isin(drawn[drawn != 0], values).any()
    # 200 different values in 200 rows are few, but each belongs to one row: they are binned, not kept
    assert fitted(RNG.normal(size=200)).size <= 200 // 8


def spiky(shared: bool) -> tuple[np.ndarray, Bins]:
    """A quantity with a heavy value, with half of the rows between it, and many that a few rows each share."""
    values = np.concatenate([RNG.normal(size=4000), np.full(1500, 0.3), np.repeat([-0.5, -0.1, 0.8], 200)])
    encoder = Bins(smooth=True)
    encoder.fit(values, shared=shared)
    return values, encoder


def test_bins_of_equal_width_end_at_a_spike():
    """Were it within one, its code would lie before or after all of it: a small step would be a large one."""
    values, encoder = spiky(shared=False)
    assert encoder.points.tolist() == [-0.5, -0.1, 0.3, 0.8]
    inner = encoder.knots[~encoder.is_single]
    assert not ((inner[:, :1] < encoder.points) & (inner[:, -1:] > encoder.points)).any()
    assert (np.diff(encoder.knots, axis=1) >= 0).all() and (encoder.knots[1:, 0] >= encoder.knots[:-1, -1]).all()
    codes = encoder.codes(np.sort(values))
    assert (np.diff(codes) >= 0).all(), "codes rise with their values"
    drawn = encoder.from_codes(codes, np.random.default_rng(1))
    assert (encoder.codes(drawn) == codes).all() and (np.isin(drawn, encoder.points) == encoder.is_single[codes]).all()


def test_a_value_with_a_width_of_its_own_is_a_spike_only_where_it_fills_many_bins():
    values, encoder = spiky(shared=True)
    assert encoder.points.tolist() == [0.3]


def test_few_values_are_kept_and_new_ones_take_the_nearest():
    encoder = fitted(np.repeat([1.0, 2.0, 5.0], 10))
    assert encoder.codes(np.array([1.0, 2.0, 5.0, -9.0, 2.4, 4.9, 99.0])).tolist() == [0, 1, 2, 0, 1, 2, 2]
    assert encoder.from_codes(np.array([2, 0]), RNG).tolist() == [5.0, 1.0]


def table(n: int = 600) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "amount": np.where(RNG.random(n) < 0.2, np.nan, RNG.lognormal(size=n).round(2)),
            "count": RNG.integers(0, 2000, n),
            "stars": RNG.integers(1, 6, n),
            "day": pd.date_range("2020-01-01", periods=n).strftime("%Y-%m-%d"),
            "city": RNG.choice(["Rome", "Oslo", "東京"], n),
            "fixed": 7,
        }
    )


def compact(frame: pd.DataFrame, numeric=Bins) -> TableCodec:
    return TableCodec(numeric, compact=True).fit(frame, infer_schema(frame, "city", {}))


def test_a_compact_row_has_one_code_per_column():
    frame = table()
    codec = compact(frame)
    x = codec.encode(frame)
    assert x.shape == (600, 6) and [block.kind for block in codec.spec.blocks] == ["code"] * 6, "a date takes two"
    sizes = torch.tensor([block.size for block in codec.spec.blocks])
    assert torch.equal(x, x.round()) and (x >= 0).all() and (x < sizes).all()
    assert (x.amax(dim=0) == sizes - 1).all(), "every code occurs"
    made = TableCodec.from_state(codec.state()).decode(x, np.random.default_rng(0))
    assert list(made.columns) == list(frame.columns) and (made.dtypes == frame.dtypes).all()
    assert made["city"].equals(frame["city"]) and made["stars"].equals(frame["stars"]) and (made["fixed"] == 7).all()
    assert made["amount"].isna().equals(frame["amount"].isna())
    amount = made["amount"].dropna()
    assert np.allclose(amount, amount.round(2)) and made["count"].between(0, 1999).all()
    days = pd.to_datetime(made["day"], format="%Y-%m-%d") - pd.to_datetime(frame["day"], format="%Y-%m-%d")
    assert days.abs().max() < pd.Timedelta(days=50), "600 days in 24 bins"


def test_unknown_cells_are_nan():
    frame = table()
    codec = compact(frame)
    other = frame.head(3).assign(city=["Oslo", "Paris", None], count=[5, 6, 10**6])
    x = codec.encode(other)
    assert torch.isnan(x[:, 5]).tolist() == [False, True, True]
    assert not torch.isnan(x[:, :5]).any()
    known = codec.encode_known({"city": pd.Series(["Rome"]), "amount": pd.Series([None], dtype=float)}, 4)
    assert torch.isnan(known[:, 1:5]).all() and torch.equal(known[:, [0, 5]], codec.encode(
        frame[(frame["city"] == "Rome") & frame["amount"].isna()].head(1))[:, [0, 5]].expand(4, 2))  # fmt: skip


def test_one_hot_bins_say_the_same():
    frame = table()
    codes, one_hot = compact(frame), TableCodec(Bins).fit(frame, infer_schema(frame, "city", {}))
    x, y = codes.encode(frame), one_hot.encode(frame)
    by_name = {column.name: column.blocks for column in one_hot.spec.columns}
    (block,) = by_name["count"]
    assert torch.equal(y[:, block.start : block.stop].argmax(dim=1).float(), x[:, 1])


def test_models_refuse_an_encoding_they_cannot_read():
    data = toy_data(Bins)
    VAE(data.spec)  # one-hot bins are choices like any other
    frame = data.frames["train"]
    with pytest.raises(UserError, match="data.codec.compact=false"):
        VAE(TableCodec(Bins, compact=True).fit(frame, data.schema).spec)
    mixed = TableCodec(MinMax, compact=True).fit(frame, data.schema).spec
    assert {block.kind for block in mixed.blocks} == {"value", "choice", "code"}


def test_no_step_of_a_short_run_between_gaps_is_of_single_rows():
    rng = np.random.default_rng(0)
    far = np.sort(20_000 + 100 * rng.random(10))
    last = fitted(np.concatenate([rng.normal(size=500), far])).knots[-1]
    assert (last[0], last[-1]) == (far[0], far[-1])
    assert not np.isin(last[1:-1], far).any(), "a knot is a training value"
    assert len(np.unique(np.round(np.diff(last), 6))) <= len(far) // 4


@pytest.mark.parametrize(("sign", "power"), [(1, 1), (-1, 1), (1, -1)])
def test_the_last_rows_of_a_heavy_tail_thin_out(sign, power):
    """Towards large values of either sign, and towards zero."""
    values = sign * np.exp(3 * power * np.random.default_rng(0).normal(size=7000))
    encoder = Bins()
    encoder.fit(values)
    drawn = encoder.from_codes(np.repeat(encoder.codes(values), 20), np.random.default_rng(1))
    for share in (0.0005, 0.001, 0.002, 0.998, 0.999, 0.9995):
        ratio = np.quantile(drawn, share) / np.quantile(values, share)
        assert 1 / 1.5 < ratio < 1.5, share
    assert values.min() <= drawn.min() and drawn.max() <= values.max()
    assert (np.diff(encoder.knots, axis=1) > 0).all() and (encoder.knots[1:, 0] == encoder.knots[:-1, -1]).all()
    codes = encoder.codes(values)
    assert np.allclose(encoder.at(codes, encoder.places(values, codes)), values, rtol=1e-2)


def test_only_steep_tails_have_a_code_of_their_own():
    values, sizes = np.random.default_rng(0).normal(size=7000), []
    for column in (50.0 + 5.0 * values, np.exp(3 * values), np.exp(3 * np.maximum(values, 0.0)) + 50.0):
        encoder = Bins()
        encoder.fit(column)
        sizes.append(encoder.size)
    assert sizes[1] == sizes[0] + 2 and sizes[2] == sizes[0] + 1


def test_a_repeated_value_where_a_tail_would_begin_keeps_its_rows():
    """It is too rare for a code of its own, and would else be spread over the tail."""
    body = np.random.default_rng(0).normal(10.0, 1.0, 6888).clip(5.0, 13.0)
    values = np.r_[body, np.full(100, 14.0), np.geomspace(15.0, 100.0, 12)]
    encoder = Bins()
    encoder.fit(values)
    drawn = encoder.from_codes(np.repeat(encoder.codes(values), 20), np.random.default_rng(1))
    assert (drawn > 20.0).mean() == pytest.approx((values > 20.0).mean(), rel=0.5)
