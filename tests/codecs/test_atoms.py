"""Values that several rows share come back with their shares; those of one or two rows are never repeated."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.atoms import ROWS, Atoms
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.schema import Field

RNG = np.random.default_rng(0)


def wages(n: int = 5000, seed: int = 0) -> np.ndarray:
    """Logarithms of whole wages, mostly of multiples of ten."""
    rng = np.random.default_rng(seed)
    wage = np.exp(rng.normal(6, 0.5, n))
    return np.log(np.where(rng.random(n) < 0.8, np.round(wage, -1), np.round(wage, 1)).clip(1))


def column_of(values: np.ndarray) -> NumberColumn:
    field = infer_schema(pd.DataFrame({"x": values}), None, {})["x"]
    return NumberColumn.fit(field, pd.Series(values), Bins(), clip=True, spikes=True)


def test_spikes_of_equally_wide_bins_give_way_to_shared_values_only_where_there_are_any():
    """Steps of a series then change by as much as their values do; spikes stay where nothing else keeps them."""
    few = np.where(RNG.random(6000) < 0.06, RNG.choice([-0.5, 0.1, 0.8], 6000), RNG.normal(size=6000))
    many = wages(6000)
    for values, has in ((few, False), (many, True)):
        field = infer_schema(pd.DataFrame({"x": values}), None, {})["x"]
        column = NumberColumn.fit(field, pd.Series(values), Bins(smooth=True), clip=True, spikes=True)
        assert isinstance(column.encoder, Bins)
        assert (column.atoms is not None) == has and (len(column.encoder.points) == 0) == has
        starts = np.array([piece[2] for piece in column.pieces])
        assert (np.diff(starts) >= 0).all()


def drawn(column: NumberColumn, n: int, seed: int = 0) -> np.ndarray:
    """Values at even places of codes that are as frequent as among the training rows."""
    rng = np.random.default_rng(seed)
    codes = column.codes(pd.Series(wages()))[rng.integers(5000, size=n)]
    return column.from_places(codes, codes + rng.random(n)).to_numpy()


def test_shared_values_keep_their_shares_and_rare_ones_are_not_repeated():
    values = wages()
    column = column_of(values)
    assert column.atoms is not None
    made = pd.Series(drawn(column, 50_000)).value_counts()
    points, rows = np.unique(values, return_counts=True)
    assert rows[rows >= ROWS].sum() > 2500 and (rows < ROWS).sum() > 300
    shares = made.reindex(points[rows >= 20], fill_value=0).to_numpy() / 50_000
    expected = rows[rows >= 20] / 5000
    assert np.abs(shares - expected).max() < 4 * np.sqrt(expected.max() / 50_000) + 1e-3
    inner = points[(rows < ROWS) & (points > values.min()) & (points < values.max())]
    assert made.reindex(inner, fill_value=0).sum() <= 2  # but by the chance of rounded floats
    new = made[~made.index.isin(points)].sum() / 50_000
    assert new == pytest.approx(rows[rows < ROWS].sum() / 5000, abs=0.02)


def test_encoding_and_back_keeps_every_value_that_is_shared():
    frame = pd.DataFrame({"wage": wages(), "kind": np.random.default_rng(1).choice(list("ab"), 5000)})
    frame.loc[::50, "wage"] = np.nan
    schema = infer_schema(frame, None, {})
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, schema)
    for dequantise in (False, True):
        back = codec.decode(codec.encode(frame, dequantise), np.random.default_rng(0))
        rows = frame["wage"].map(frame["wage"].value_counts())
        assert (back["wage"] == frame["wage"])[rows >= ROWS].all()
        assert np.allclose(back["wage"], frame["wage"], atol=1e-3, equal_nan=True)
    assert codec.encode(frame, dequantise=True)[:, 1].unique().numel() > 3 * codec.encode(frame)[:, 1].unique().numel()
    again = TableCodec.from_state(codec.state())
    torch.testing.assert_close(again.encode(frame), codec.encode(frame), equal_nan=True)
    pd.testing.assert_frame_equal(again.decode(codec.encode(frame), np.random.default_rng(0)), back)


@pytest.mark.parametrize("values", [
    np.random.default_rng(0).normal(size=3000),  # each its own
    np.random.default_rng(0).integers(0, 600, 3000),  # on a grid that says where they lie
    np.repeat(np.arange(10.0), 300),  # few: each has a code
])  # fmt: skip
def test_other_columns_have_none(values):
    assert column_of(values).atoms is None


def test_a_column_of_before_has_none_and_a_changed_one_is_refused():
    column = column_of(wages())
    state = column.state()
    assert NumberColumn.from_state(column.field, {k: v for k, v in state.items() if k != "atoms"}).atoms is None
    for name, value in (
        ("start", [0.5]),
        ("low", ["x"] * len(state["atoms"]["low"])),
        ("stop", state["atoms"]["start"]),
    ):
        with pytest.raises(ValueError):
            Atoms.from_state({**state["atoms"], name: value})


def test_a_value_between_two_shared_ones_takes_the_nearer():
    values = np.repeat(np.sqrt(np.arange(2.0, 400.0)), 5)
    column = NumberColumn.fit(Field("x", "numeric", "float64"), pd.Series(values), Bins(), clip=True, spikes=True)
    assert column.atoms is not None
    asked = pd.Series([np.sqrt(50.0) + 0.01, np.sqrt(51.0) - 0.01, np.sqrt(50.0)])
    made = column.from_places(*column.places(asked))
    assert made.tolist() == [np.sqrt(50.0), np.sqrt(51.0), np.sqrt(50.0)]
