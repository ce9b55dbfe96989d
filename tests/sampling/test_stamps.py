"""Stamps that no two training rows share come back unique, their hours and weekdays as they were drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.codecs.tables.table import TableCodec
from datakiln.console import Console
from datakiln.constraints import Rules
from datakiln.data.tables.types import infer_schema
from datakiln.sampling.plan import Plan, write_plan
from datakiln.sampling.rejection import Account
from datakiln.sampling.stamps import Stamps
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.writing import write_table
from tests.stub_tables import Redraws

N = 2000


def hours(step: str = "h", n: int = N, slots: int = 12_000) -> pd.DataFrame:
    """So many of so many stamps, each once, mostly in the daytime; and the hour as a column of its own."""
    rng = np.random.default_rng(0)
    all_ = pd.date_range("2020-01-01", periods=slots, freq=step)
    weight = np.where((all_.hour >= 8) & (all_.hour < 20), 5.0, 1.0)
    at = all_[np.sort(rng.choice(slots, n, replace=False, p=weight / weight.sum()))]
    return pd.DataFrame({"at": at, "hour": at.hour, "x": rng.normal(size=n).round(3)})


def redrawing(frame: pd.DataFrame, relations: bool = False) -> Synthesizer:
    """Draws the rows of the table again, with as many repeated stamps as chance gives: a third of n rows of n."""
    schema = infer_schema(frame, None, {})
    found = find_relations(frame, schema) if relations else []
    codec = TableCodec().fit(frame, schema, relations=found)
    codec = TableCodec.from_state(codec.state())
    return Synthesizer(Redraws(codec, frame, "columns"), codec)


def told(synthesizer: Synthesizer, n: int, out, condition=None) -> list[str]:
    lines: list[str] = []
    console = Console(quiet=True)
    console.print = lambda text, **_: lines.append(str(text))  # type: ignore[method-assign]
    write_table(synthesizer, n, str(out), condition or {}, 0, console)
    return lines


@pytest.mark.parametrize("step", ["h", "15min", "min", "s", "D"])
def test_stamps_are_unique_at_their_resolution_and_keep_hours_and_weekdays(step: str) -> None:
    real = hours(step)
    made = redrawing(real).sample(N, seed=1)
    assert made["at"].is_unique
    assert not (((made["at"] - real["at"][0]) / pd.Timedelta(1, step.replace("15min", "min")) % 1).any())
    if step == "15min":
        assert not (made["at"].dt.minute % 15).any()
    assert made["at"].between(real["at"].min(), real["at"].max()).all()
    drawn = redrawing(real)
    drawn.codec.unique = {}
    drawn = drawn.sample(N, seed=1)
    assert drawn["at"].nunique() < 0.7 * N
    for part in ("hour", "day_of_week"):
        shares = [getattr(f["at"].dt, part).value_counts(normalize=True) for f in (made, drawn)]
        assert float(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2) < 0.01


def test_stamps_that_repeat_are_left_alone() -> None:
    frame = hours("D", 200, 300)
    frame = pd.concat([frame, frame.head(2)], ignore_index=True)
    synthesizer = redrawing(frame)
    assert not synthesizer.codec.unique and not synthesizer.sample(200)["at"].is_unique


def test_what_is_computed_from_a_stamp_moves_with_it_and_missing_ones_stay() -> None:
    frame = hours("min")
    frame["day"] = frame["at"].dt.day
    synthesizer = redrawing(frame, relations=True)
    assert {"hour", "day"} <= set(synthesizer.codec.plan.made)
    made = synthesizer.sample(N, seed=2)
    assert (
        made["at"].is_unique and (made["hour"] == made["at"].dt.hour).all() and (made["day"] == made["at"].dt.day).all()
    )
    frame.loc[::10, "at"] = pd.NaT
    made = redrawing(frame[["at", "x"]]).sample(N, seed=2)
    assert made["at"].isna().mean() == pytest.approx(0.1, abs=0.02) and made["at"].dropna().is_unique


def test_rows_of_a_condition_are_unique_and_keep_to_it() -> None:
    made = redrawing(hours()).sample(1500, {"at": ">=2020-10-01"}, seed=3)
    assert made["at"].is_unique and (made["at"] >= "2020-10-01").all()


@pytest.mark.parametrize("condition", [{}, {"at": ">=2020-03-01 & <2020-03-02"}])
def test_a_range_of_fewer_stamps_than_rows_is_told_in_one_line(tmp_path, condition) -> None:
    real = hours(n=500, slots=2000)
    slots = 24 if condition else int((real["at"].max() - real["at"].min()) / pd.Timedelta(1, "h")) + 1
    (line,) = told(redrawing(real), slots + 100, tmp_path / "x.csv", condition)
    assert line.startswith("column 'at': 100 rows made share a stamp")
    assert pd.read_csv(tmp_path / "x.csv")["at"].nunique() == slots


@pytest.mark.parametrize("step", ["h", "s"])
def test_parts_made_apart_share_no_stamp(tmp_path, step: str) -> None:
    synthesizer = redrawing(hours(step))
    for worker in (1, 2):
        write_plan(synthesizer, Plan(N, 5, worker, 2), f"{tmp_path}/out/", {}, 0, Console(quiet=True))
    made = pq.read_table(tmp_path / "out").to_pandas()
    assert len(made) == N and made["at"].is_unique


def test_a_sample_that_goes_on_after_a_break_shares_no_stamp_with_what_was_made() -> None:
    synthesizer = redrawing(hours())
    request = synthesizer.request()
    first, account = next(synthesizer.accounted(request, Account.of(800, 0, 1), 0))
    account = Account.from_state(account.state())
    account.wanted += 800
    again, _ = next(synthesizer.accounted(synthesizer.request(), account, 0))
    assert pd.concat([first, again])["at"].is_unique


def test_a_constraint_of_unique_stamps_is_met_by_drawing_again() -> None:
    codec = redrawing(hours()).codec
    from datakiln.constraints import Unique

    rules = Rules([Unique(columns=["at"])], codec.schema)
    rules.fit(hours())
    synthesizer = Synthesizer(Redraws(codec, hours(), "columns"), codec, constraints=rules.state())
    assert not synthesizer.request().stamped and synthesizer.sample(300)["at"].is_unique


def test_a_checkpoint_with_a_broken_step_is_refused() -> None:
    state = redrawing(hours()).codec.state()
    for broken in ({"x": [1.0, 0.0]}, {"at": [0.0, 0.0]}, {"at": ["h", 0.0]}):
        with pytest.raises(ValueError, match="unique|number"):
            TableCodec.from_state({**state, "unique": broken})


def test_days_that_are_unique_by_chance_may_repeat() -> None:
    rng = np.random.default_rng(0)
    born = pd.Timestamp("1940-01-01") + pd.to_timedelta(rng.choice(20_000, 100, replace=False), unit="D")
    daily = pd.date_range("2020-01-01", periods=100, freq="D")
    codec = TableCodec().fit(frame := pd.DataFrame({"born": born, "day": daily}), infer_schema(frame, None, {}))
    assert list(codec.unique) == ["day"]


def test_the_last_free_stamps_are_given_out_in_one_pass_each_the_nearest(monkeypatch) -> None:
    made = redrawing(hours("h", 200, 400))
    stamps = Stamps(made.codec, "at", made.request().conditions, np.random.default_rng(0), 0, 1)
    rng = np.random.default_rng(1)
    stamps.low, stamps.high = 0.0, 99.0
    taken, drawn = np.unique(rng.integers(0, 100, 40)).astype(float), rng.integers(0, 100, 90).astype(float)
    slots, left, free = drawn.copy(), np.arange(90), sorted({*range(100)} - {*taken})
    calls, union1d = [], np.union1d
    monkeypatch.setattr(np, "union1d", lambda *given: calls.append(0) or union1d(*given))
    after, unserved = stamps._last(drawn, slots, left, taken)
    for row in left[: len(free)]:
        nearest = min(free, key=lambda slot: (abs(slot - drawn[row]), -slot))
        free.remove(nearest)
        assert slots[row] == nearest
    assert not free and after.tolist() == list(range(100)) and len(unserved) == 90 - (100 - len(taken))
    assert len(calls) == 1, "a sort of all that is taken for each row took minutes"
