"""Numbers that change course on a beat: found, drawn so before an update, together, and as likely as drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.data.series.series import SeriesData
from datakiln.models.autoregressive.tsar import TSAR
from datakiln.nets.beats import BETWEEN, CLOCKS, NOW, UNKNOWN, Beats
from datakiln.spec import PLAIN, Sampling
from tests.series.walking import check_steps_are_as_likely_as_drawn, counted, staying, wandering

STEPS, LENGTH = 6000, 30
COLUMNS = ["free", "stays", "dry", "wet", "price"]


def frame() -> pd.DataFrame:
    """Two numbers of every sixth step, interpolated, one of every fourth, filled, and two that have no beat."""
    rng = np.random.default_rng(0)
    x = wandering(rng, STEPS)
    stays = staying(rng, x)
    at = np.arange(STEPS)
    dry, wet = (np.interp(at, at[2::6], np.round(y[2::6] * 4)) for y in (x, x + rng.normal(0.0, 0.4, STEPS)))
    price = np.round(np.repeat(x[::4], 4)[:STEPS] * 200)
    return pd.DataFrame({"free": x, "stays": stays, "dry": dry, "wet": wet, "price": price})


@pytest.fixture(scope="module")
def built() -> tuple[TSAR, SeriesData]:
    return counted(frame(), LENGTH, holding=True, pasts=True, beats=True)


def changes(values: pd.DataFrame, column: str, order: int) -> np.ndarray:
    """At which steps sequences change course, (n, LENGTH); by differences of that order."""
    x = values[column].to_numpy().reshape(-1, LENGTH)
    found = np.abs(np.diff(x, order, axis=1)) > 1e-3
    return np.concatenate([np.zeros((len(x), order), bool), found], axis=1)


def on_one_beat(found: np.ndarray, period: int) -> float:
    """Share of changes that lie on the commonest beat of their sequence."""
    residues = [np.bincount(np.flatnonzero(one) % period, minlength=period) for one in found if one.any()]
    return sum(r.max() for r in residues) / sum(r.sum() for r in residues)


def test_they_are_found(built):
    beats = built[0].beats
    of = dict(zip(COLUMNS, beats.clock.tolist(), strict=True))
    assert of["free"] == of["stays"] == -1
    assert of["dry"] == of["wet"] != of["price"]
    assert [int(beats.period[of[name]]) for name in ("dry", "price")] == [6, 4]
    assert beats.bends[[2, 3, 4]].tolist() == [True, True, False]


def beaten(values: pd.DataFrame) -> dict[str, float]:
    """See `on_one_beat`, of all columns that have one."""
    return {
        name: on_one_beat(changes(values, name, order), period)
        for name, order, period in (("dry", 2, 6), ("wet", 2, 6), ("price", 1, 4))
    }


@torch.no_grad()
def test_they_change_on_the_beat_before_a_single_update(built):
    """But for lines that run out of what was ever seen: an untrained net draws steep ones."""
    model, data = built
    other = TSAR(data.spec, holding=True, pasts=True).eval()
    other._count(data.train_dataloader())
    torch.manual_seed(0)
    real = beaten(data.codec.decode(data.inputs("train", 200, data.spec.shape), np.random.default_rng(0)))
    drawn, without = (beaten(data.codec.decode(each.sample(200), np.random.default_rng(0))) for each in (model, other))
    assert min(real.values()) > 0.97
    assert drawn["price"] > 0.97 > without["price"] + 0.3
    assert drawn["dry"] > 0.8 > without["dry"] + 0.3
    assert drawn["wet"] > without["wet"] + 0.2


@torch.no_grad()
def test_an_endless_series_keeps_time(built):
    """Drawn by the stride, far behind what any window has seen."""
    model, data = built
    torch.manual_seed(0)
    start = data.inputs("train", 2, data.spec.shape)
    x = torch.cat(list(model.unroll(start, 1200, PLAIN)), dim=1)
    values = data.codec.decode(x, np.random.default_rng(0))
    moved = np.abs(np.diff(values["price"].to_numpy().reshape(2, -1), axis=1)) > 1e-3
    assert on_one_beat(moved, 4) > 0.99
    assert moved.mean() == pytest.approx(1 / 4, abs=0.02)


@torch.no_grad()
def test_a_history_sets_the_beat(built):
    """What is drawn behind the first half of real windows changes on the beat of these."""
    model, data = built
    torch.manual_seed(0)
    known = data.inputs("train", 100, data.spec.shape)
    given = known.clone()
    given[:, 15:] = torch.nan
    real, drawn = (
        data.codec.decode(x, np.random.default_rng(0)) for x in (known, model.sample(100, given, Sampling()))
    )
    assert on_one_beat(changes(real, "price", 1) | changes(drawn, "price", 1), 4) > 0.97
    assert on_one_beat(changes(real, "dry", 2) | changes(drawn, "dry", 2), 6) > 0.9


def test_the_likelihood_of_a_step_is_what_it_is_drawn_with(built):
    model, _ = built
    check_steps_are_as_likely_as_drawn(model, [model.net.holds.heads, model.net.holds.marks])


@torch.no_grad()
def test_steps_with_a_beat_are_likelier(built):
    model, data = built
    other = TSAR(data.spec, holding=True, pasts=True).eval()
    torch.manual_seed(0)
    other._count(data.train_dataloader())
    x = data.inputs("test", 100, data.spec.shape)
    with_beat, without = (float(each.log_probs(x)[:, 10:].mean()) for each in (model, other))
    assert with_beat > without + 0.7, (with_beat, without)


def test_a_clock_hears_and_forgets():
    beats = Beats(2)
    beats.period[0], beats.clock[:] = 3, 0
    votes = beats.nothing(1)
    assert beats.time(votes, 0)[0].tolist() == [UNKNOWN] * CLOCKS
    one, changed = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    assert int(beats.time(beats.heard(votes, one, 4), 7)[0, 0]) == UNKNOWN + 7  # may be misread: two of two are not
    votes = beats.heard(votes, changed, 4)
    assert [int(beats.time(votes, at)[0, 0]) for at in (5, 6, 7)] == [BETWEEN, BETWEEN, NOW]
    for at in range(5, 400):  # from there on a step later
        votes = beats.heard(votes, changed & (at % 3 == 2), at)
    assert [int(beats.time(votes, at)[0, 0]) for at in (400, 401, 402)] == [BETWEEN, NOW, BETWEEN]
    states = beats.states(torch.full((1, CLOCKS), UNKNOWN), one, torch.tensor([0, 1]))
    assert states.tolist() == [[UNKNOWN, NOW]]


def test_a_checkpoint_of_before_has_no_beats(built):
    _, data = built
    assert TSAR(data.spec, holding=True).beats is None
    with pytest.raises(ValueError, match="beats=true needs holding=true"):
        TSAR(data.spec, beats=True)


def test_a_clock_that_there_is_none_of_is_refused(built):
    """A checkpoint is a stranger's file, and places are counted by these."""
    for name, value in (("clock", 4), ("clock", -2), ("period", 97), ("odds", torch.nan)):
        state = {key: part.clone() for key, part in built[0].beats.state_dict().items()}
        state[name].view(-1)[0] = value
        with pytest.raises(ValueError, match=name):
            Beats(len(COLUMNS)).load_state_dict(state)
