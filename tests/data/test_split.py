"""Which rows train, which judge, and which have no target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables import steps
from datakiln.data.tables.memory import FrameTable, held
from datakiln.data.tables.tables import FileData, TableData
from datakiln.errors import UserError
from datakiln.metrics.base import EvalData
from datakiln.metrics.utility.utility import tstr

RNG = np.random.default_rng(0)


def table(n: int = 400, share: float = 0.25) -> pd.DataFrame:
    """Two numbers and a class, of which some rows have none: those are the rows with a large x."""
    x = RNG.normal(size=n).round(3)
    kind = pd.Series(np.where(x + RNG.normal(size=n) > 0, "up", "down"), dtype=object)
    kind[x > np.quantile(x, 1 - share)] = None
    return pd.DataFrame({"x": x, "y": RNG.normal(size=n).round(3), "kind": kind})


def set_up(frame: pd.DataFrame, target: str | None = "kind", **options) -> TableData:
    with held(frame) as sha256:
        data = TableData(lambda _: FrameTable(sha256, target)(None), TableCodec(), **options)
        data.setup("fit")
    return data


def told(data: TableData, name: str) -> str:
    return next(report.detail for report in data.reports if report.name == name)


class TestSplit:
    def test_small_tables_keep_their_shares_aside_and_large_ones_a_bounded_number(self):
        for rows, judging in ((10, 1.5), (1_000, 150), (20_000, 3_000), (26_667, 4_000), (1_000_000, 4_000)):
            shares = steps.shares_of(None, rows)
            assert shares[1] * rows == shares[2] * rows == pytest.approx(judging, abs=0.1)
            assert sum(shares) == pytest.approx(1.0)

    def test_no_more_than_that_of_a_large_table(self):
        n = 60_000
        frame = pd.DataFrame(
            {"x": RNG.normal(size=n).round(2), "kind": RNG.choice(list("abc"), n, p=[0.9, 0.09, 0.01])}
        )
        data = set_up(frame)
        assert {name: len(part) for name, part in data.frames.items()} == {"train": 52_000, "val": 4_000, "test": 4_000}
        assert told(data, "split") == "52,000 rows to train on, 4,000 to validate, 4,000 held out"
        for part in data.frames.values():  # and by class
            assert (part["kind"] == "c").mean() == pytest.approx((frame["kind"] == "c").mean(), abs=5e-4)

    def test_shares_that_a_person_gives_are_kept(self):
        frame = pd.DataFrame({"x": np.arange(30_000) % 997 / 7})
        sizes = {name: len(part) for name, part in set_up(frame, None, split=(0.5, 0.25, 0.25)).frames.items()}
        assert sizes == {"train": 15_000, "val": 7_500, "test": 7_500}

    def test_official_test_rows_are_kept_whole(self):
        assert steps.shares_of(None, 100_000, has_holdout=True) == pytest.approx((0.96, 0.04, 0.0))
        assert steps.shares_of((0.62, 0.05, 0.33), 100_000, has_holdout=True) == (0.62, 0.05, 0.33)

    def test_a_table_on_disk_has_the_same_bound(self, tmp_path):
        n = 60_000
        frame = pd.DataFrame({"x": RNG.normal(size=n).round(2), "y": np.arange(n) % 7})
        frame.to_parquet(tmp_path / "x.parquet")
        data = FileData(str(tmp_path / "x.parquet"), TableCodec(), streaming=True)
        data.setup("fit")
        for name in ("val", "test"):
            assert len(data.frames[name]) == pytest.approx(4_000, abs=5 * 4_000**0.5)


class TestNoTarget:
    def test_rows_without_target_are_learnt_from(self):
        frame = table()
        data = set_up(frame)
        assert sum(map(len, data.frames.values())) == len(frame)
        assert data.spec.classes[-1] == "missing" and sum(data.spec.class_shares) == pytest.approx(1.0)
        for name, part in data.frames.items():
            assert part["kind"].isna().mean() == pytest.approx(0.25, abs=0.02), name
        x, y = data.tensors["train"]
        made = data.codec.decode(x, np.random.default_rng(0))
        assert made["kind"].isna().tolist() == data.frames["train"]["kind"].isna().tolist()
        assert (y == 2).tolist() == made["kind"].isna().tolist()

    def test_a_numeric_target_too(self):
        frame = table().assign(kind=lambda f: f["y"] * 3).mask(lambda f: f["x"] > 1)
        frame["x"] = table()["x"]
        data = set_up(frame)
        assert sum(map(len, data.frames.values())) == len(frame)
        assert data.frames["test"]["kind"].isna().any()

    def test_utility_is_of_the_others(self):
        frames = set_up(table(2_000)).frames
        schema = set_up(table()).schema
        without = {name: part.dropna(subset=["kind"]) for name, part in frames.items()}
        all_rows = EvalData(schema, frames["train"], frames["test"], frames["val"], 0)
        labelled = EvalData(schema, without["train"], without["test"], without["val"], 0)
        for ours, theirs in zip(tstr(all_rows), tstr(labelled), strict=True):
            assert ours.n == theirs.n == len(without["test"])
            assert ours.value == pytest.approx(theirs.value, abs=0.02)  # the synthetic rows are drawn in another order

    def test_a_target_is_not_made_up(self):
        frame = table()
        frame.loc[::7, "y"] = np.nan
        data = set_up(frame, missing="impute")
        assert not any(part["y"].isna().any() for part in data.frames.values())
        assert sum(part["kind"].isna().sum() for part in data.frames.values()) == frame["kind"].isna().sum()
        assert "not for kind, the target" in told(data, "missing")
        assert sum(map(len, set_up(frame, missing="drop").frames.values())) == len(frame.dropna())

    @pytest.mark.parametrize("how", ["over", "under"])
    def test_balancing_is_of_classes(self, how):
        train = set_up(table(1_000), balance=how).frames["train"]
        known = train["kind"].value_counts()
        assert known["up"] == known["down"] and train["kind"].isna().sum() == pytest.approx(0.25 * 700, abs=3)

    def test_numbers_are_no_classes_to_balance(self):
        with pytest.raises(UserError, match="data.balance=over is of classes, and data.target=y is a number"):
            set_up(table(), target="y", balance="over")

    @pytest.mark.parametrize("canaries", [0, 2])
    def test_repeated_rows_are_no_evidence(self, canaries):
        rng = np.random.default_rng(1)
        born = pd.Timestamp("1940-01-01") + pd.to_timedelta(rng.integers(0, 25_000, 200), unit="D")
        frame = pd.DataFrame(
            {"born": born, "word": rng.choice(["a", "b", "c"], 200), "x": rng.normal(size=200).round(2)}
        )
        frame["kind"] = np.repeat(["often", "seldom", "seldomer", "rare"], [110, 40, 30, 20])
        data = set_up(frame, balance="over", canaries=canaries)
        train, codec = data.frames["train"], data.codec
        assert train.duplicated().mean() > 0.5 and len(data.tensors["train"][0]) == len(train) == data.spec.size
        assert not codec.relations  # else word and x would follow from the date of birth
        assert sum(codec.by_name()["kind"].rows) == 140 + 3 * canaries
        assert data.spec.class_shares == pytest.approx((0.25,) * 4, abs=0.2 if canaries else 0.0)

    def test_a_gap_that_no_training_row_has_is_left_out_of_the_others(self):
        frame = table(share=0.0)
        data = set_up(frame)
        kept = {**data.frames, "val": pd.concat([data.frames["val"], table(5, share=0.9)], ignore_index=True)}
        assert len(data._seen_labels(kept)["val"]) == len(data.frames["val"]) + kept["val"]["kind"][-5:].notna().sum()

    def test_on_disk_as_in_memory(self, tmp_path):
        frame = table(1_000)
        frame.to_csv(tmp_path / "x.csv", index=False)
        options = {"target": "kind", "sample": 300, "streaming": True, "cache": str(tmp_path / "cache")}
        data = FileData(str(tmp_path / "x.csv"), TableCodec(), **options)
        data.setup("fit")
        assert sum(data.fitted.sizes) + sum(len(data.frames[name]) for name in ("val", "test")) == len(frame)
        assert data.spec.classes[-1] == "missing" and data.spec.class_shares[-1] == pytest.approx(0.25, abs=0.03)
        batches = list(data.train_dataloader())
        assert sum(len(batch.x) for batch in batches) == sum(data.fitted.sizes)
        assert any((batch.y == 2).any() for batch in batches)


def test_few_rows_that_validate_and_train_are_warned_of():
    for validation in ("shared", "refit"):
        warning = steps.danger(validation, 15_999)
        assert warning is not None and f"data.validation={validation} with 15,999 training rows" in warning.detail
        assert steps.danger(validation, 16_000) is None
    assert steps.danger("apart", 20) is None
