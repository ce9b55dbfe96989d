"""Numbers that repeat or go on in a straight line: found, drawn as often, exactly, as likely as they are drawn."""

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
from datakiln.models.autoregressive.walk import Walk
from datakiln.spec import PLAIN

LENGTH, STEPS = 24, 3000


def frame() -> pd.DataFrame:
    """A number that stays in two of three steps, one interpolated between every sixth, and one that does neither."""
    rng = np.random.default_rng(0)
    x = np.zeros(STEPS)
    for t in range(1, STEPS):
        x[t] = 0.9 * x[t - 1] + rng.normal(0.0, 0.4)
    stays = np.zeros(STEPS)
    for t in range(1, STEPS):
        stays[t] = stays[t - 1] if rng.random() < 2 / 3 else x[t] / 3
    line = np.interp(np.arange(STEPS), np.arange(0, STEPS, 6), x[::6] * np.pi)
    return pd.DataFrame({"free": x, "stays": stays, "line": line})


@pytest.fixture(scope="module")
def built() -> tuple[TSAR, SeriesData]:
    codec = SeriesCodec(lambda: Bins(smooth=True), compact=True, places=True)
    source = RawTable(frame(), None, Provenance("generated", "a test", "0"))
    data = SeriesData(lambda _: source, codec, seed=0, window=LENGTH)
    data.setup("fit")
    torch.manual_seed(0)
    model = TSAR(data.spec, holding=True).eval()
    model._count(data.train_dataloader())
    return model, data


def kinds(x: np.ndarray) -> tuple[float, float]:
    """Shares of steps (n, T) that are as the one before, and on the line through the two before but not as that."""
    same = np.abs(np.diff(x, axis=1)) < 1e-9
    line = np.abs(np.diff(x, 2, axis=1)) < 1e-5
    return float(same.mean()), float((line & ~same[:, 1:]).mean())


def test_they_are_found(built):
    model, _ = built
    assert model.net.holds.can.tolist() == [[False, False], [True, False], [False, True]]


def test_they_are_drawn_as_often_before_a_single_update(built):
    """And the values are the same to the last digit when they are decoded."""
    model, data = built
    torch.manual_seed(0)
    drawn = data.codec.decode(model.sample(200), np.random.default_rng(0))
    for name, wanted in (("free", (0.0, 0.0)), ("stays", (2 / 3, 0.0)), ("line", (0.0, 2 / 3))):
        found = kinds(drawn[name].to_numpy().reshape(-1, LENGTH))
        assert found == pytest.approx(wanted, abs=0.1), name
    without = TSAR(data.spec).eval()
    without._count(data.train_dataloader())
    drawn = data.codec.decode(without.sample(200), np.random.default_rng(0))
    assert kinds(drawn["stays"].to_numpy().reshape(-1, LENGTH))[0] < 0.5, "only where values are rounded to shared ones"
    assert kinds(drawn["line"].to_numpy().reshape(-1, LENGTH))[1] < 0.1


@torch.no_grad()
def test_the_likelihood_of_a_step_is_what_it_is_drawn_with(built):
    model, data = built
    model.net.holds.heads.copy_(
        0.2 * torch.randn(model.net.holds.heads.shape, generator=torch.Generator().manual_seed(0))
    )
    torch.manual_seed(1)
    free, told, made = torch.full((40, data.spec.shape[1]), torch.nan), [], []
    walk = Walk(model, free[:, :0], PLAIN, 1)
    draw = walk.ancestral.draw
    walk.ancestral.draw = lambda *a, **k: told.append(draw(*a, **k)) or told[-1]
    for _ in range(LENGTH):
        walk.step(free, torch.zeros(len(free), dtype=torch.bool))
        made.append(walk.last)
    steps, _ = model._log_probs(torch.stack(made, dim=1))
    assert torch.allclose(torch.stack(told, dim=1), steps, atol=1e-4)
    model.net.holds.heads.zero_()


@torch.no_grad()
def test_a_held_number_is_likelier_than_one_beside_it(built):
    """By its share of the steps, whatever the density is there; nothing is held at a first step."""
    model, data = built
    x = data.inputs("train", 50, data.spec.shape)
    numbers, holds = model.net.numbers, model.net.holds
    codes, coordinates, known = model._read(model._wide(x))
    there = known[:, numbers.numbers] & model.net.has_value(codes)
    is_open = holds.are_open(numbers, coordinates, there).view(50, LENGTH, -1, 2)
    states = holds.states(numbers, coordinates, there, is_open.flatten(0, 1)).view(50, LENGTH, -1)
    assert not is_open[:, 0].any() and not is_open[:, 1, 2].any() and is_open[:, 2:, 1, 0].all()
    assert (states[..., 1] == 0).float().mean() == pytest.approx(0.64, abs=0.08)
    for i in (1, 2):
        at = [holds.open_of(numbers, i, coordinates, there), states[..., i].flatten()]
        assert torch.equal(at[0], is_open.flatten(0, 1)[:, i])
        assert torch.equal(holds.states_of(numbers, i, coordinates, at[0]), at[1])


def test_a_checkpoint_of_before_holds_nothing(built):
    _, data = built
    assert TSAR(data.spec).net.holds is None and not any("holds" in name for name in TSAR(data.spec).state_dict())


def test_some_columns_are_left_out_of_a_sequence_while_training(built):
    """All steps and lags of it together; on average what is left adds up to the same."""
    _, data = built
    model = TSAR(data.spec, told=1).train()
    torch.manual_seed(0)
    found = model._some(torch.ones(4000 * LENGTH, 9, 1), 4000).view(4000, LENGTH, 3, 3)
    assert (found == found[:, :1, :1]).all() and set(found.unique().tolist()) == {0.0, 3.0}
    assert found.mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(model.eval()._some(found, 4000), found)
    assert TSAR(data.spec, told=12).left_out == 0.0
    with pytest.raises(ValueError, match="told=0"):
        TSAR(data.spec, told=0)
