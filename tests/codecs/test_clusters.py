"""Rare categories: what goes with them still does, each keeps its share, and memory is bounded."""

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables import clusters
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.scaling import MinMax
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.domains.base import Region
from datakiln.sampling.ranges import codes_within


def shop(n: int = 6000, levels: int = 2000) -> pd.DataFrame:
    """`price` and `kind` go with the item, `other` with nothing; nine of ten items have less than five rows."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, levels + 1)
    item = rng.choice(levels, n, p=shares / shares.sum())
    item[:levels] = np.arange(levels)
    mean = rng.normal(0, 3, levels)
    kind = rng.integers(3, size=levels)[item]
    kind = np.where(rng.random(n) < 0.1, rng.integers(3, size=n), kind)
    price = (mean[item] + 0.3 * rng.normal(size=n)).round(3)
    frame = {"item": [f"i{i}" for i in item], "price": price, "kind": [f"k{k}" for k in kind], "other": rng.random(n)}
    return pd.DataFrame(frame).sample(frac=1, random_state=0).reset_index(drop=True)


def fitted(frame: pd.DataFrame, compact: bool) -> TableCodec:
    made = TableCodec(Bins, compact=True, places=True) if compact else TableCodec(MinMax)
    return made.fit(frame, infer_schema(frame, None, {"item": "category"}))


@pytest.mark.parametrize("compact", [True, False])
def test_what_goes_with_a_rare_category_still_does(compact: bool) -> None:
    frame = shop()
    codec = fitted(frame, compact)
    column = codec.by_name()["item"]
    assert isinstance(column, ChoiceColumn) and column.clusters is not None
    assert column.width <= 256
    assert {feature.column for feature in column.clusters.features} == {"price", "kind"}
    back = codec.decode(codec.encode(frame), np.random.default_rng(0))
    counts = frame["item"].value_counts()
    rare = back["item"].map(counts) <= 4
    means = back["item"].map(frame.groupby("item")["price"].mean())
    assert np.corrcoef(means[rare], back["price"][rare])[0, 1] > 0.97
    usual = frame.groupby("item")["kind"].agg(lambda kinds: kinds.mode()[0])
    assert (back["item"].map(usual) == back["kind"])[rare].mean() > 0.85
    made = back["item"].value_counts().reindex(counts.index, fill_value=0)
    assert made[counts.index[:100]].equals(counts[:100])  # frequent ones have their own code
    assert made[counts <= 4].sum() == pytest.approx(counts[counts <= 4].sum(), rel=0.05)
    again = TableCodec.from_state(codec.state())
    pd.testing.assert_frame_equal(again.decode(codec.encode(frame), np.random.default_rng(0)), back)


@pytest.mark.parametrize("compact", [True, False])
def test_what_a_rare_category_always_goes_with_it_goes_with(compact: bool) -> None:
    """Each of many values, not of the first few alone: an aeroplane is of one airline, whichever that is."""
    frame = shop()
    rng = np.random.default_rng(1)
    owner = dict(zip(frame["item"].unique(), rng.integers(14, size=2000), strict=True))
    frame["owner"] = ["o" + str(owner[item]) for item in frame["item"]]
    codec = fitted(frame, compact)
    back = codec.decode(codec.encode(frame), np.random.default_rng(0))
    usual = frame.groupby("item")["owner"].first()
    assert (back["item"].map(usual) == back["owner"]).mean() > 0.99
    means = back["item"].map(frame.groupby("item")["price"].mean())
    assert np.corrcoef(means, back["price"])[0, 1] > 0.97


def test_categories_that_nothing_goes_with_share_one_position() -> None:
    frame = shop().assign(price=lambda f: f["price"].sample(frac=1, random_state=1).to_numpy(), kind="k")
    column = fitted(frame, True).by_name()["item"]
    assert isinstance(column, ChoiceColumn) and column.clusters is None
    assert column.width == 256


def test_rows_get_the_category_they_are_likely_with() -> None:
    feature = clusters.Feature("y", None, tuple(np.linspace(0, 1, clusters.QUANTILES)), 0.01)
    means, spread = np.array([[-0.5], [0.5], [0.5]]), np.full((3, 1), 0.01)
    known = clusters.Clusters((feature,), means, spread, np.zeros(3, dtype=np.int64), 1)
    seen = np.repeat([[0.5], [-0.5], [np.nan]], 4000, axis=0)
    chosen = known.settle(np.zeros(12000, dtype=np.int64), seen, np.array([0.5, 0.4, 0.1]), np.random.default_rng(0))
    shares = np.stack([np.bincount(part, minlength=3) / 4000 for part in np.split(chosen, 3)])
    assert np.allclose(shares, [[0, 0.8, 0.2], [1, 0, 0], [0.5, 0.4, 0.1]], atol=0.03)


def test_a_set_of_rare_categories_allows_the_clusters_they_are_in() -> None:
    codec = fitted(shop(), True)
    column = codec.by_name()["item"]
    assert isinstance(column, ChoiceColumn) and column.clusters is not None
    wanted = [0, len(column.values) + 3, len(column.values) + 40]
    (allowed,) = codes_within(codec, {"item": Region(positions=frozenset(wanted))}).values()
    names = pd.Series([[*column.values, *column.pool][position] for position in wanted])
    assert set(allowed.nonzero()[:, 0].tolist()) == set(column.codes(names).tolist())
    assert len(set(column.codes(names).tolist())) == 3


@pytest.mark.journey
def test_a_hundred_thousand_categories_take_little_time_and_space() -> None:
    frame = shop(160_000, 100_000)
    codec = fitted(frame, True)
    assert codec.by_name()["item"].size == 256
