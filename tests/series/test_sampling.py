"""Series out of a trained model: lengths, dates, conditions, endless series, forecasts, filling and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.cli.sample import main
from datakiln.constraints import Expression, Rules
from datakiln.errors import UserError
from datakiln.sampling.series import _likeliest, forecast_file, score_file, write_endless, write_sequences
from datakiln.sampling.series_filling import fill_file
from datakiln.sampling.steps import StepRules
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN
from tests.series.test_data import made, panel
from tests.test_conformance import trained


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    _, _, folder, _ = trained("tsar", "series")
    return Synthesizer.load(folder)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    _, data, _, _ = trained("tsar", "series")
    path = tmp_path / "history.csv"
    frame = data.frames["test"]
    frame[frame["patient"].isin(frame["patient"].unique()[:2])].to_csv(path, index=False)
    return path


def test_each_sequence_has_its_own_length_and_days_in_order(synthesizer, tmp_path):
    out = tmp_path / "x.csv"
    write_sequences(synthesizer, 30, out, {"sex": "F"}, 1, PLAIN)
    frame = pd.read_csv(out, parse_dates=["date"])
    assert frame["patient"].nunique() == 30 and (frame["sex"] == "F").all()
    assert frame.groupby("patient").size().nunique() > 1
    steps = frame.groupby("patient")["date"].diff().dropna()
    assert (steps == pd.Timedelta(days=1)).all()
    with pytest.raises(UserError, match="conditions are on static columns"):
        write_sequences(synthesizer, 3, tmp_path / "y.csv", {"level": "1"}, 1, PLAIN)


def test_an_endless_series_is_as_long_as_wished(synthesizer, tmp_path):
    out = tmp_path / "x.csv"
    write_endless(synthesizer, 1, 300, out, {}, 1, PLAIN)
    frame = pd.read_csv(out, parse_dates=["date"])
    assert len(frame) == 300 and frame["patient"].nunique() == 1
    assert (frame["date"].diff().dropna() == pd.Timedelta(days=1)).all()


def test_a_forecast_goes_on_where_the_history_ends(synthesizer, history, tmp_path):
    out = tmp_path / "ahead.csv"
    forecast_file(synthesizer, str(history), out, 5, 8, 1, PLAIN)
    ahead, paths = pd.read_csv(out), pd.read_csv(tmp_path / "ahead_paths.csv", parse_dates=["date"])
    assert len(ahead) == 10 and len(paths) == 80 and (tmp_path / "ahead.png").exists()
    last = pd.read_csv(history, parse_dates=["date"]).groupby("patient")["date"].max()
    first = paths[paths["step"] == 1].groupby("patient")["date"].first()
    assert ((first - last) == pd.Timedelta(days=1)).all()
    assert (ahead["level 5%"] <= ahead["level 95%"]).all()


def test_sequences_of_many_lengths_are_gone_on_with_and_scored_as_alone(synthesizer, tmp_path):
    """Those of one length at once, in the order they came; likelihoods by the digit, forecasts by what they go on."""
    _, data, _, _ = trained("tsar", "series")
    frame = data.frames["train"]
    who = frame["patient"].unique()[[5, 1, 4, 0, 2, 3]]
    lengths = dict(zip(who, [3, 6, 3, 5, 6, 3], strict=True))
    parts = [frame[frame["patient"] == name].head(n) for name, n in lengths.items()]
    pd.concat(parts).to_csv(tmp_path / "all.csv", index=False)
    score_file(synthesizer, str(tmp_path / "all.csv"), tmp_path / "scored.csv")
    forecast_file(synthesizer, str(tmp_path / "all.csv"), tmp_path / "ahead.csv", 2, 3, 1, PLAIN)
    scored, ahead = pd.read_csv(tmp_path / "scored.csv"), pd.read_csv(tmp_path / "ahead.csv", parse_dates=["date"])
    assert scored["patient"].tolist() == [name for name, n in lengths.items() for _ in range(n)]
    assert ahead["patient"].tolist() == [name for name in lengths for _ in range(2)] and len(ahead) == 12
    paths = pd.read_csv(tmp_path / "ahead_paths.csv")
    assert paths[["patient", "path", "step"]].values.tolist() == [
        [name, path, step] for name in lengths for path in (1, 2, 3) for step in (1, 2)
    ]
    statics = paths.groupby("patient")["sex"].first()
    for name, part in zip(lengths, parts, strict=True):
        part.to_csv(tmp_path / "one.csv", index=False)
        score_file(synthesizer, str(tmp_path / "one.csv"), tmp_path / "alone.csv")
        alone, own = pd.read_csv(tmp_path / "alone.csv"), scored[scored["patient"] == name]
        assert np.allclose(alone["log_prob"], own["log_prob"], atol=2e-4)
        assert np.allclose(alone["mean_log_prob"], own["mean_log_prob"], atol=2e-4)
        behind = part["date"].iloc[-1] + pd.to_timedelta([1, 2], "D")
        assert ahead.loc[ahead["patient"] == name, "date"].tolist() == behind.tolist()
        assert statics[name] == part["sex"].iloc[0]


def test_the_likeliest_cell_is_the_commonest_and_the_least_of_several():
    cells = pd.Series(["b", "a", "b", "a", None, "c", None, None])
    group = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    found = _likeliest(cells, group, 3)
    assert found[:2].tolist() == ["b", "a"] and pd.isna(found[2])
    assert pd.isna(_likeliest(pd.Series([None, None]), np.array([0, 1]), 2)).all()


def test_a_history_tells_its_static_columns(synthesizer, history, tmp_path):
    """What the steps depend on: without it there is nothing to go on with."""
    pd.read_csv(history).drop(columns="sex").to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(UserError, match="forecast=.*: the column 'sex' is not there"):
        forecast_file(synthesizer, str(tmp_path / "short.csv"), tmp_path / "ahead.csv", 3, 2, 1, PLAIN)


def test_holes_are_filled_and_nothing_else_changes(synthesizer, history, tmp_path):
    frame = pd.read_csv(history)
    holes = frame.assign(level=frame["level"].where(np.arange(len(frame)) % 4 != 2))
    path, out = tmp_path / "holes.csv", tmp_path / "filled.csv"
    holes.to_csv(path, index=False)
    fill_file(synthesizer, str(path), out, 1, PLAIN)
    filled = pd.read_csv(out)
    assert filled["level"].notna().all()
    there = holes["level"].notna()
    assert (filled["level"][there] == frame["level"][there]).all() and (filled["date"] == frame["date"]).all()


def test_strange_steps_score_low(synthesizer, history, tmp_path):
    frame = pd.read_csv(history)
    strange = frame.assign(level=frame["level"].where(np.arange(len(frame)) != 6, frame["level"].max()))
    scores = []
    for name, rows in (("a", frame), ("b", strange)):
        path, out = tmp_path / f"{name}.csv", tmp_path / f"{name}_scored.csv"
        rows.to_csv(path, index=False)
        score_file(synthesizer, str(path), out)
        scores.append(pd.read_csv(out)["log_prob"])
    assert len(scores[0]) == len(frame) and np.isfinite(scores[0]).all()
    assert np.allclose(scores[0][:6], scores[1][:6], atol=1e-3) and scores[0][6] != scores[1][6]


@pytest.mark.slow
def test_constraints_across_the_columns_of_a_step_hold_in_all_rows(tmp_path):
    """Steps that break one are drawn again: of sequences, of an endless series, and of forecasts; else one line."""
    _, _, folder, _ = trained("tsar", "series")
    synthesizer = Synthesizer.load(folder)
    schema = synthesizer.codec.schema
    out = tmp_path / "x.csv"
    write_sequences(synthesizer, 20, out, {}, 1, PLAIN)
    before = pd.read_csv(out)
    assert (before["level"] < before["shock"]).any()
    synthesizer.model.accepts = StepRules(synthesizer.codec, Rules([Expression("level >= shock")], schema))
    write_sequences(synthesizer, 20, out, {}, 1, PLAIN)
    write_endless(synthesizer, 1, 150, tmp_path / "y.csv", {}, 1, PLAIN)
    for path in (out, tmp_path / "y.csv"):
        made = pd.read_csv(path)
        assert not (made["level"] < made["shock"]).any() and made["shock"].notna().any()
    synthesizer.model.accepts = lambda x: torch.zeros(len(x), dtype=torch.bool)
    with pytest.raises(UserError, match="no step that meets data.constraints"):
        write_sequences(synthesizer, 2, out, {}, 1, PLAIN)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["parts=2"], "parts=2 is for tables; this run has learnt sequences"),
        (["interpolate=true"], "interpolate=true is for pictures"),
    ],
)
def test_options_of_other_kinds_are_refused(synthesizer, tmp_path, monkeypatch, words, told):
    monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: synthesizer)
    with pytest.raises(UserError, match=told):
        main(["run=any", "n=4", f"out={tmp_path}/x/", *words])


class Repeats(torch.nn.Module):
    """Goes on with the last step of some rows, and finds all steps as likely."""

    can_unroll, conditioning, device = True, "none", torch.device("cpu")

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.rows = rows

    def sample(self, n, condition, options):
        return self.rows.expand(n, -1, -1) if condition is None else condition.nan_to_num()

    def unroll(self, x, horizon, options):
        yield x[:, -1:].expand(-1, horizon, -1)

    def log_probs(self, x):
        return torch.zeros(x.shape[:2])


def repeating(frame: pd.DataFrame, **roles: str) -> Synthesizer:
    codec = made(frame, **roles).codec
    return Synthesizer(Repeats(codec.encode_whole(frame.head(6))), codec)


def named(*names: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return panel().rename(columns={"x": names[0]}).assign(**{name: rng.normal(size=72).round(2) for name in names[1:]})


def test_columns_that_are_named_as_those_that_are_added(tmp_path):
    rows = named("step", "path", "step 5%")
    synthesizer = repeating(rows, time="day", entity="who")
    rows.head(6).to_csv(tmp_path / "x.csv", index=False)
    forecast_file(synthesizer, str(tmp_path / "x.csv"), tmp_path / "new" / "ahead.csv", 3, 2, 0, PLAIN)
    paths, ahead = (pd.read_csv(tmp_path / "new" / f"ahead{end}.csv") for end in ("_paths", ""))
    assert paths["path_"].tolist() == [1, 1, 1, 2, 2, 2] and paths["step_"].tolist() == [1, 2, 3] * 2
    assert {"path", "step"} <= {*paths} and ahead["step_"].tolist() == [1, 2, 3]
    assert ahead["step 5%_"].tolist() == pytest.approx([rows["step"][5]] * 3, abs=0.01)
    rows = named("series")
    synthesizer = repeating(rows.drop(columns="who"), window=6)
    write_endless(synthesizer, 2, 8, tmp_path / "y.csv", {}, 0, PLAIN)
    assert pd.read_csv(tmp_path / "y.csv")["series_"].tolist() == [1] * 8 + [2] * 8


def test_where_filled_and_scored_series_go(tmp_path):
    rows = named("x")
    synthesizer = repeating(rows, time="day", entity="who")
    given = tmp_path / "x.csv"
    rows.head(6).to_csv(given, index=False)
    for write, words in ((fill_file, (0, PLAIN)), (score_file, ())):
        with pytest.raises(UserError, match=r"out=.*x\.parquet must end in \.csv"):
            write(synthesizer, str(given), tmp_path / "x.parquet", *words)
        write(synthesizer, str(given), tmp_path / write.__name__ / "y.csv", *words)
        assert len(pd.read_csv(tmp_path / write.__name__ / "y.csv")) == 6
    with pytest.raises(UserError, match="has a column 'log_prob' already; rename it"):
        score_file(synthesizer, str(tmp_path / "score_file" / "y.csv"), tmp_path / "z.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fill_file", "score_file", "x.csv"]


def test_filling_changes_no_step_that_its_column_could_not_hold(tmp_path):
    rows = named("x").assign(x=np.arange(72).astype("uint8"))
    synthesizer = repeating(rows, time="day", entity="who")
    rows.head(6).assign(x=[300, -1, 3.5, 4, 5, 6]).to_csv(tmp_path / "x.csv", index=False)
    fill_file(synthesizer, str(tmp_path / "x.csv"), tmp_path / "y.csv", 0, PLAIN)
    assert pd.read_csv(tmp_path / "y.csv")["x"].tolist() == [300, -1, 3.5, 4, 5, 6]


def test_new_ids_and_texts_are_unique_in_all_that_is_made(tmp_path):
    """Across pieces of an endless series, sequences and paths of a forecast, and sequences that are filled."""
    n = 72
    ids = {"visit": [f"V{i:05}" for i in range(n)], "key": np.arange(n) * 7919 + 10**17}
    frame = panel().assign(**ids, comment=[f"of {chr(97 + i // 26)}{chr(97 + i % 26)} and more" for i in range(n)])
    synthesizer = repeating(frame, time="day", entity="who")
    given = frame.head(12).assign(visit=None, comment=None)
    given.to_csv(tmp_path / "x.csv", index=False)
    frame.head(12).to_csv(tmp_path / "whole.csv", index=False)
    forecast_file(synthesizer, str(tmp_path / "whole.csv"), tmp_path / "ahead.csv", 3, 2, 0, PLAIN)
    fill_file(synthesizer, str(tmp_path / "x.csv"), tmp_path / "filled.csv", 0, PLAIN)
    write_endless(synthesizer, 2, 10, tmp_path / "endless.csv", {}, 0, PLAIN)
    for name, rows in (("ahead_paths", 12), ("filled", 12), ("endless", 20)):
        made = pd.read_csv(tmp_path / f"{name}.csv")
        assert len(made) == rows and made[["visit", "key", "comment"]].nunique().tolist() == [rows] * 3
        assert not set(made["visit"]) & set(ids["visit"])


def test_nothing_is_drawn_where_the_model_has_nothing_to_fill(tmp_path, monkeypatch):
    """A column without a value has none to give, and ids are made without the model."""
    frame = panel().assign(nothing=np.nan, visit=[f"V{i:05}" for i in range(72)])
    synthesizer = repeating(frame, time="day", entity="who")
    drawn = []
    monkeypatch.setattr(Repeats, "sample", lambda self, n, x, options: drawn.append(n) or x.nan_to_num())
    frame.head(12).assign(visit=None).to_csv(tmp_path / "x.csv", index=False)
    told = fill_file(synthesizer, str(tmp_path / "x.csv"), tmp_path / "y.csv", 0, PLAIN)
    made = pd.read_csv(tmp_path / "y.csv")
    assert not drawn and made["visit"].notna().all() and "12 are left missing" in told
    frame.head(12).assign(x=np.nan).to_csv(tmp_path / "x.csv", index=False)
    fill_file(synthesizer, str(tmp_path / "x.csv"), tmp_path / "y.csv", 0, PLAIN)
    assert len(drawn) == 2 and pd.read_csv(tmp_path / "y.csv")["x"].notna().all()


def test_quantiles_are_written_as_their_column_is(tmp_path):
    """Dates, amounts and numbers of some decimals: quantiles of three paths are cells that were drawn."""
    rng = np.random.default_rng(0)
    end = pd.date_range("2021-03-01", periods=72).strftime("%d.%m.%Y")
    paid = [f"€{cents / 100:.2f}" for cents in rng.integers(100, 9000, 72)]
    frame = panel().assign(x=rng.normal(30, 9, 72).round(1), end=rng.permutation(end), paid=paid)
    synthesizer = repeating(frame, time="day", entity="who")
    drawn = synthesizer.codec.encode_whole(frame.iloc[[3, 4, 5]])
    synthesizer.model.unroll = lambda x, horizon, options: iter([drawn.transpose(0, 1).expand(-1, horizon, -1)])
    frame.head(6).to_csv(tmp_path / "x.csv", index=False)
    forecast_file(synthesizer, str(tmp_path / "x.csv"), tmp_path / "ahead.csv", 2, 3, 0, PLAIN)
    ahead, paths = (pd.read_csv(tmp_path / f"ahead{end}.csv", dtype=str) for end in ("", "_paths"))
    assert ahead["x 50%"].iloc[0] == sorted(paths["x"][::2], key=float)[1]
    for name in ("x", "end", "paid"):
        for level in (5, 50, 95):
            assert set(ahead[f"{name} {level}%"]) <= set(paths[name]), (name, level)
    assert ahead["end 50%"].str.fullmatch(r"\d\d\.\d\d\.2021").all() and ahead["paid 5%"].str.startswith("€").all()
