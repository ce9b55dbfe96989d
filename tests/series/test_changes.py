"""Bins of how far numbers move: found where they fit, drawn as often and as far as in training, as likely as drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.bins import Bins
from datakiln.data.base import Provenance
from datakiln.data.series.series import SeriesData
from datakiln.data.tables.sources import RawTable
from datakiln.models.autoregressive.tsar import TSAR
from datakiln.nets.changes import Changes
from datakiln.nets.numbers import CLOSED
from tests.series.walking import check_steps_are_as_likely_as_drawn, counted

LENGTH, STEPS, MOVES, UNIT = 24, 4000, np.array([-5, -2, 2, 5]), 1 / 3


def frame() -> pd.DataFrame:
    """A number that goes up or down by two or by five, one that does or stays, and one that moves by normal steps."""
    rng = np.random.default_rng(0)
    jumps, rests, smooth = np.full(STEPS, 80), np.full(STEPS, 80), np.zeros(STEPS)
    for t in range(1, STEPS):
        for x, stays in ((jumps, 0.0), (rests, 0.5)):
            move = 0 if rng.random() < stays else rng.choice(MOVES)
            x[t] = x[t - 1] + (move if 0 <= x[t - 1] + move <= 160 else -move)
        smooth[t] = 0.95 * smooth[t - 1] + rng.normal(0.0, 0.3)
    return pd.DataFrame({"jumps": (jumps * UNIT).round(4), "rests": (rests * UNIT).round(4), "smooth": smooth})


@pytest.fixture(scope="module")
def built() -> tuple[TSAR, SeriesData]:
    return counted(frame(), LENGTH, holding=True, pasts=True, changes=16)


def moves(drawn: pd.DataFrame, name: str) -> np.ndarray:
    """In units, whole where they are those of training."""
    return (np.diff(drawn[name].to_numpy().reshape(-1, LENGTH), axis=1).ravel() / UNIT).round(2)


def test_they_are_where_they_fit(built):
    assert built[0].net.changes.has.tolist() == [True, True, False]


def test_moves_are_those_of_training_before_a_single_update(built):
    """A density about the step before moves by one and by three, and sometimes by twenty."""
    model, data = built
    without = TSAR(data.spec, holding=True, pasts=True).eval()
    without._count(data.train_dataloader())
    shares = {}
    for name, one in (("with", model), ("without", without)):
        torch.manual_seed(0)
        drawn = data.codec.decode(one.sample(200), np.random.default_rng(0))
        shares[name] = [float(np.isin(moves(drawn, column), [0, *MOVES]).mean()) for column in ("jumps", "rests")]
        if one is model:
            assert (moves(drawn, "rests") == 0).mean() == pytest.approx(0.5, abs=0.05)
            for move in MOVES:
                assert (moves(drawn, "jumps") == move).mean() == pytest.approx(0.25, abs=0.05)
    assert min(shares["with"]) > 0.9 and max(shares["without"]) < 0.8, shares


def test_bins_leave_room_for_a_value_behind_a_missing_one():
    """There no bin is open, and codes alone stand against being missing."""
    rows = frame()
    rows["jumps"] = rows["jumps"].where(np.random.default_rng(1).random(STEPS) >= 0.1)
    codec = SeriesCodec(lambda: Bins(smooth=True), compact=True, places=True)
    source = RawTable(rows, None, Provenance("generated", "a test", "0"))
    data = SeriesData(lambda _: source, codec, seed=0, window=LENGTH)
    data.setup("fit")
    torch.manual_seed(0)
    model = TSAR(data.spec, holding=True, pasts=True, changes=16).eval()
    model._count(data.train_dataloader())
    drawn = data.codec.decode(model.sample(200), np.random.default_rng(0))
    lacks = drawn["jumps"].isna().to_numpy().reshape(-1, LENGTH)
    assert model.net.changes.has[0] and lacks[:, 0].mean() < 0.5
    assert lacks[:, 1:][lacks[:, :-1]].mean() < 0.5 and lacks[:, 1:][~lacks[:, :-1]].mean() == pytest.approx(
        0.1, abs=0.03
    )


@torch.no_grad()
def test_the_likelihood_of_a_step_is_what_it_is_drawn_with(built):
    net = built[0].net
    check_steps_are_as_likely_as_drawn(
        built[0], [net.changes.heads, net.changes.marks, net.holds.heads, net.holds.marks]
    )


def sensor() -> np.ndarray:
    """Readings on a lattice of uneven steps, averaged by threes: between two of them lie two values, anew in each."""
    rng = np.random.default_rng(0)
    lattice = np.cumsum([0.11, 0.1, 0.09] * 30)
    at, found = 45, []
    while len(found) < STEPS:
        to = at + rng.choice([-1, 0, 1], p=[0.2, 0.6, 0.2])
        if 0 <= to < len(lattice):
            for share in rng.permuted([1 / 3, 2 / 3])[: 0 if to == at else rng.integers(1, 3)]:
                found.append(lattice[at] + share * (lattice[to] - lattice[at]))
            found.append(lattice[to])
            at = to
    return np.round(found[:STEPS], 6)


def test_moves_to_values_of_a_lattice_are_as_far_as_in_training():
    """A bin counts by how much of what is shared lies in it: a common move leads to none from two values of three."""
    real = sensor()
    codec = SeriesCodec(lambda: Bins(smooth=True), compact=True, places=True)
    source = RawTable(pd.DataFrame({"x": real}), None, Provenance("generated", "a test", "0"))
    data = SeriesData(lambda _: source, codec, seed=0, window=LENGTH)
    data.setup("fit")
    wanted, found = np.abs(np.diff(real)), {}
    for name, changes in (("with", 64), ("without", 0)):
        torch.manual_seed(0)
        model = TSAR(data.spec, holding=True, pasts=True, changes=changes).eval()
        model._count(data.train_dataloader())
        drawn = data.codec.decode(model.sample(200), np.random.default_rng(0))["x"].to_numpy()
        made = np.abs(np.diff(drawn.reshape(-1, LENGTH), axis=1)).ravel()
        found[name] = np.mean(made > 0.09) - np.mean(wanted > 0.09)
        assert np.isin(drawn.round(6), real).mean() > 0.95
    assert abs(found["with"]) < 0.02 < 0.04 < found["without"], found


@torch.no_grad()
def test_bins_count_by_their_width_and_keep_their_sum(built):
    changes = built[0].net.changes
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]] * 3)
    bounds = torch.tensor([[0.0, 1.0, 1.0, 4.0, 4.5]] * 2 + [[2.0] * 5])
    found = changes.spread(logits, bounds, torch.tensor([True, False, True]))
    assert (found[0, 1] == found[1:]).all() and found[0, 1] == CLOSED, "no width, or nothing before"
    assert torch.allclose(found[0].logsumexp(dim=0), logits[0].logsumexp(dim=0), atol=1e-5)
    ratio = (found[0, [2, 3]] - found[0, 0]).exp()
    assert torch.allclose(ratio, torch.tensor([1.5 * np.exp(2.0), np.exp(-1.0) / 1.5], dtype=torch.float32), rtol=1e-4)
    state = {name: part for name, part in changes.state_dict().items() if name != "by_width"}
    before = Changes(changes.own, changes.heads.shape[1], changes.bins)
    before.load_state_dict(state)
    found = before.spread(logits, bounds, torch.tensor([True, False, True]))
    assert found[0].tolist() == [0.0, CLOSED, 2.0, -1.0] and (found[1:] == CLOSED).all()


@torch.no_grad()
def test_the_bins_have_all_of_their_mass_between_their_bounds(built):
    model, data = built
    codes, coordinates, _ = model._read(model._wide(data.inputs("train", 20, data.spec.shape)[:, 1:]))
    changes, which = model.net.changes, torch.tensor([0, 1])
    bounds = changes.bounds(model.net.numbers, model.net.holds, model._values(coordinates)[:, 1], which)
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(*bounds.shape[:2], changes.bins, generator=generator) * (bounds.diff(dim=2) > 0)
    everything = torch.zeros_like(bounds[..., :1]), model.net.numbers.last[:2, None].expand_as(bounds[..., :1]).float()
    assert torch.allclose(Changes.masses(bounds, shares, everything), shares.sum(dim=2), atol=1e-4)
    middle = (bounds[..., 3:4] + bounds[..., 4:5]) / 2
    at, density = changes.log_densities(bounds, middle[..., 0])
    wide = bounds[..., 4] - bounds[..., 3]
    assert (at[wide > 0] == 3).all() and torch.allclose(density[wide > 0].exp(), 1 / wide[wide > 0], rtol=1e-4)
    assert codes.shape[0] == len(bounds)


def test_a_checkpoint_of_before_has_none(built):
    _, data = built
    assert not any("changes" in name for name in TSAR(data.spec, holding=True).state_dict())
    for wrong in ({"changes": 1, "holding": True}, {"changes": 16}):
        with pytest.raises(ValueError, match="changes="):
            TSAR(data.spec, **wrong)
