"""What a number's own past tells of it: moves in usual moves, whether it was held, running means of both."""

from __future__ import annotations

import math

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
from datakiln.nets.holds import NONE
from datakiln.nets.pasts import EACH, KEPT, Pasts

LENGTH, NUMBERS = 12, 6


def test_a_move_is_told_in_usual_moves():
    """The usual one is the median of those that are none; what is not there did not move."""
    pasts = Pasts(2, 3)
    values = torch.tensor([[[9.0, 0.0], [1.0, 5.0], [0.5, 1.0]], [[9.0, 0.0], [2.0, 3.0], [2.0, 1.0]]])
    there = torch.ones(2, 6, dtype=torch.bool)
    pasts.fit(values, there)
    assert pasts.unit.tolist() == [0.5, 2.0]
    there[1, 5] = False  # the second number, two steps before
    found = pasts.features(values, there, torch.tensor([[NONE, 0], [1, NONE]]))
    one, two = math.asinh(1.0), math.asinh(2.0)
    wanted = [[[one, one, 1, 0, 0], [two, two, 1, 1, 0]], [[0, 0, 1, 0, 1], [0, 0, 0, 0, 0]]]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-6)


def test_running_means_forget_by_their_rates():
    """Of a single step of ones, after k more of nothing, (1 - a) a^k is left; told of it is the step after."""
    pasts = Pasts(1, 3)
    steps = torch.zeros(1, 5, 1, EACH)
    steps[:, 0] = 1.0
    told, after = pasts.along(steps, pasts.nothing(1))
    assert told[0, 0, 0, EACH:].eq(0).all(), "the first step has no means before it"
    for k, rate in enumerate(KEPT):
        means = told[0, 1:, 0, EACH * (1 + k)]
        assert torch.allclose(means, torch.tensor([(1 - rate) * rate**i for i in range(4)]))
        assert float(after[0, 0, EACH * k]) == pytest.approx((1 - rate) * rate**4)


@pytest.fixture(scope="module")
def bursts() -> tuple[TSAR, SeriesData]:
    """Six numbers of which each is calm or wild for a while, whatever the others are."""
    rng = np.random.default_rng(0)
    n = 1000
    wild = np.repeat(rng.random((n // 50, NUMBERS)) < 0.5, 50, axis=0)
    frame = pd.DataFrame(np.cumsum(rng.normal(size=(n, NUMBERS)) * np.where(wild, 10.0, 0.1), axis=0).round(3))
    frame.columns = [f"x{j}" for j in range(NUMBERS)]
    codec = SeriesCodec(lambda: Bins(smooth=True), compact=True, places=True)
    source = RawTable(frame, None, Provenance("generated", "a test", "0"))
    data = SeriesData(lambda _: source, codec, seed=0, window=LENGTH)
    data.setup("fit")
    torch.manual_seed(0)
    model = TSAR(data.spec, pasts=True)
    model._count(data.train_dataloader())
    return model, data


@torch.no_grad()
def test_a_number_is_told_of_itself_alone(bursts):
    """A vector for one number changes what is said of it, and of no other."""
    model, data = bursts
    model.eval()
    x = data.inputs("train", 8, data.spec.shape)
    model.pasts.vectors[3] = torch.randn(model.pasts.vectors[3].shape)
    model.net.numbers.heads[:] = 0.1 * torch.randn(model.net.numbers.heads.shape)
    two = terms(model, x)
    model.pasts.vectors[3] = 0.0
    three = terms(model, x)
    model.net.numbers.heads[:] = 0.0
    columns = [j for j in range(NUMBERS) if not torch.allclose(two[:, j], three[:, j], atol=1e-6)]
    assert columns == [model.net.numbers.columns[3]]


def terms(model: TSAR, x: torch.Tensor) -> torch.Tensor:
    """Log-probability of each column by itself, (n, C): that of the others is asked for with that one unknown too."""
    found = []
    for j in range(model.n_own):
        hidden = x.clone()
        last = hidden[:, -1]
        keep = [model.codes.position[j], *([model.codes.place_position[model.net.numbers.place[j]]])]
        blank = torch.full_like(last, torch.nan)
        blank[:, keep] = last[:, keep]
        hidden[:, -1] = blank
        found.append(model.log_probs(hidden)[:, -1])
    return torch.stack(found, dim=1)


def test_it_learns_that_a_calm_number_stays_calm(bursts):
    """Among many numbers the sum over all of them says little of each: with its own past a step is likelier by far."""
    _, data = bursts
    found = {}
    for pasts in (False, True):
        torch.manual_seed(0)
        model = TSAR(data.spec, width=16, dropout=0.0, pasts=pasts)
        model._count(data.train_dataloader())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        x = data.inputs("train", 32, data.spec.shape)
        for _ in range(15):
            loss = -model._log_probs(x)[0].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            found[pasts] = float(model.log_probs(data.inputs("test", 64, data.spec.shape))[:, 3:].mean())

    assert found[True] > found[False] + 0.5, found


def test_a_checkpoint_of_before_is_told_nothing(bursts):
    model, data = bursts
    other = TSAR(data.spec)
    assert other.pasts is None and not any("pasts" in name for name in other.state_dict())
    assert any(name == "pasts.vectors" for name in model.state_dict())


@torch.no_grad()
def test_the_last_number_of_a_step_may_be_equal_to_another():
    """Told of a step before, the state is the value's own code: there is no code behind those of the last column."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=900)).round(3)
    y = np.where(rng.random(900) < 0.5, x, x + rng.normal(size=900)).round(3)
    codec = SeriesCodec(lambda: Bins(smooth=True), compact=True, places=True)
    source = RawTable(pd.DataFrame({"x": x, "y": y}), None, Provenance("generated", "a test", "0"))
    data = SeriesData(lambda _: source, codec, seed=0, window=LENGTH)
    data.setup("fit")
    model = TSAR(data.spec, holding=True, pasts=True).eval()
    model._count(data.train_dataloader())
    assert model.codes.equal_to[-1] or model.codes.equal_to[model.n_own - 1]
    made = data.codec.decode(model.sample(64), np.random.default_rng(0))
    assert 0.3 < (made["x"] == made["y"]).mean() < 0.7
