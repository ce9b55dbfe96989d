"""Numbers that repeat or go on in a straight line: found, drawn as often, exactly, as likely as they are drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.series.series import SeriesCodec
from datakiln.data.series.series import SeriesData
from datakiln.models.autoregressive.tsar import TSAR
from datakiln.spec import PLAIN
from tests.series.walking import check_steps_are_as_likely_as_drawn, counted, staying, wandering

LENGTH, STEPS = 24, 3000


def frame() -> pd.DataFrame:
    """A number that stays in two of three steps, two interpolated between every sixth, and one that does neither.

    The last lies on values that many steps share, and bends where the other one does.
    """
    rng = np.random.default_rng(0)
    x = wandering(rng, STEPS)
    stays = staying(rng, x)
    line = np.interp(np.arange(STEPS), np.arange(0, STEPS, 6), x[::6] * np.pi)
    shared = np.interp(np.arange(STEPS), np.arange(0, STEPS, 6), np.round(x[::6] * 4))
    return pd.DataFrame({"free": x, "stays": stays, "line": line, "shared": shared})


@pytest.fixture(scope="module")
def built() -> tuple[TSAR, SeriesData]:
    return counted(frame(), LENGTH, holding=True, pasts=True)


def kinds(x: np.ndarray) -> tuple[float, float]:
    """Shares of steps (n, T) that are as the one before, and on the line through the two before but not as that."""
    same = np.abs(np.diff(x, axis=1)) < 1e-9
    line = np.abs(np.diff(x, 2, axis=1)) < 1e-5
    return float(same.mean()), float((line & ~same[:, 1:]).mean())


def test_they_are_found(built):
    model, _ = built
    assert model.net.holds.can.tolist() == [[False, False], [True, False], [False, True], [True, True]]
    assert model.net.holds.has_pieces.tolist() == [False, True, False, True]


def test_they_are_drawn_as_often_before_a_single_update(built):
    """And the values are the same to the last digit when they are decoded."""
    model, data = built
    torch.manual_seed(0)
    drawn = data.codec.decode(model.sample(200), np.random.default_rng(0))
    for name, wanted in (
        ("free", (0.0, 0.0)),
        ("stays", (2 / 3, 0.0)),
        ("line", (0.0, 0.75)),
    ):  # 5 / 6 where it stays in range
        found = kinds(drawn[name].to_numpy().reshape(-1, LENGTH))
        assert found == pytest.approx(wanted, abs=0.1), name
    without = TSAR(data.spec).eval()
    without._count(data.train_dataloader())
    drawn = data.codec.decode(without.sample(200), np.random.default_rng(0))
    assert kinds(drawn["stays"].to_numpy().reshape(-1, LENGTH))[0] < 0.5, "only where values are rounded to shared ones"
    assert kinds(drawn["line"].to_numpy().reshape(-1, LENGTH))[1] < 0.1


@torch.no_grad()
def test_a_line_through_shared_values_is_one(built):
    """Though values that many steps share are drawn anywhere within a width, they come back as they are."""
    model, data = built
    real = frame()["shared"].to_numpy()[:2000]
    assert kinds(real[None]) == pytest.approx((0.11, 0.75), abs=0.02)
    torch.manual_seed(0)
    for x in (data.inputs("train", 200, data.spec.shape), model.sample(200)):
        values = data.codec.decode(x, np.random.default_rng(0))["shared"].to_numpy().reshape(-1, LENGTH)
        states, is_open, *_ = (part[:, 3] for part in model._held(*model._read(model._wide(x))))
        on_line = np.abs(np.diff(values, 2, axis=1)) < 1e-4
        stays = np.abs(np.diff(values, axis=1))[:, 1:] < 1e-5
        states, is_open = (part.view(200, LENGTH, -1)[:, 2:].squeeze(-1) for part in (states, is_open[:, 1]))
        assert ((states == 1).numpy() == (on_line & ~stays & is_open.numpy())).mean() > 0.99
        assert 0.65 < (states == 1).sum() / is_open.sum() < 0.9, "where it may be"
        inside = np.isclose(values * 6, np.round(values * 6), atol=1e-4)
        assert inside.mean() > 0.9


@torch.no_grad()
def test_the_likelihood_of_a_step_is_what_it_is_drawn_with(built):
    model, _ = built
    check_steps_are_as_likely_as_drawn(model, [model.net.holds.heads, model.net.holds.marks, model.pasts.vectors])


@torch.no_grad()
def test_spans_hold_all_coordinates_that_read_as_held_and_no_other(built):
    """Also of values apart by rounding alone, and on lines: a density spread over more or less does not sum to one."""
    model, data = built
    holds, numbers = model.net.holds, model.net.numbers
    codes, coordinates, known = model._read(model._wide(data.inputs("train", 20, data.spec.shape)[:, :8]))
    there = known[:, numbers.numbers] & model.net.has_value(codes)
    i, last = 3, int(numbers.last[3])
    is_open = holds.are_open(numbers, coordinates, there)[:, i]
    rows = (is_open.all(dim=1)).nonzero()[:20, 0]
    held = holds.states(numbers, coordinates, there)
    low, high = holds.spans_of(numbers, i, held.told[rows, i], is_open[rows])
    plain, lines = (torch.arange(last * 2000) + 0.5) / 2000, 0
    for k, row in enumerate(rows.tolist()):
        for kind in (0, 1):
            start, stop = low[k, kind], high[k, kind]
            at = torch.cat([start + (stop - start) * torch.linspace(0.1, 0.9, 49), plain])
            asked = coordinates[row : row + 1].repeat(len(at), 1)
            asked[:, i] = at
            found = holds.states_of(numbers, i, asked, is_open[row : row + 1].expand(len(at), 2)) == kind
            assert found[:49].all() if stop > start else not found[49:].any(), (row, kind)
            assert not (found & ((at < start - 0.001) | (at > stop + 0.001))).any(), (row, kind)
            lines += int(stop > start)
    assert lines > 20


@torch.no_grad()
def test_a_held_number_is_likelier_than_one_beside_it(built):
    """By its share of the steps, whatever the density is there; nothing is held at a first step."""
    model, data = built
    x = data.inputs("train", 50, data.spec.shape)
    numbers, holds = model.net.numbers, model.net.holds
    codes, coordinates, known = model._read(model._wide(x))
    there = known[:, numbers.numbers] & model.net.has_value(codes)
    is_open = holds.are_open(numbers, coordinates, there).view(50, LENGTH, -1, 2)
    states = holds.states(numbers, coordinates, there).states.view(50, LENGTH, -1)
    assert not is_open[:, 0].any() and not is_open[:, 1, 2:, 1].any() and is_open[:, 2:, 1, 0].all()
    assert (states[..., 1] == 0).float().mean() == pytest.approx(0.64, abs=0.08)
    for i in (1, 2, 3):
        at = [holds.open_of(numbers, i, coordinates, there), states[..., i].flatten()]
        assert torch.equal(at[0], is_open.flatten(0, 1)[:, i])
        assert torch.equal(holds.states_of(numbers, i, coordinates, at[0]), at[1])


def test_a_checkpoint_of_before_holds_nothing(built):
    _, data = built
    assert TSAR(data.spec).net.holds is None and not any("holds" in name for name in TSAR(data.spec).state_dict())


def test_a_checkpoint_that_told_nobody_what_a_number_did_marks_nothing(built):
    model, data = built
    state = {name: part for name, part in model.state_dict().items() if not name.endswith("holds.marks")}
    other = TSAR(data.spec, holding=True, pasts=True)
    other.net.holds.marks.data.fill_(1.0)
    other.load_state_dict(state)
    assert not other.net.holds.marks.any()


def test_a_codec_of_before_tells_no_pieces(built):
    _, data = built
    state = data.codec.state()
    assert SeriesCodec.from_state(state).spec == data.codec.spec and any(b.pieces for b in data.spec.blocks)
    del state["steps"]["tells_pieces"]
    spec = SeriesCodec.from_state(state).spec
    assert not any(b.pieces for b in spec.blocks) and not TSAR(spec, holding=True).net.holds.has_pieces.any()


def test_some_columns_are_left_out_of_a_sequence_while_training(built):
    """All steps and lags of it together; on average what is left adds up to the same."""
    _, data = built
    model = TSAR(data.spec, told=1).train()
    torch.manual_seed(0)
    found = model._some(torch.ones(4000 * LENGTH, 12), 4000).view(4000, LENGTH, 3, 4)
    assert (found == found[:, :1, :1]).all() and set(found.unique().tolist()) == {0.0, 4.0}
    assert found.mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(model.eval()._some(found, 4000), found)
    assert TSAR(data.spec, told=12).left_out == 0.0
    with pytest.raises(ValueError, match="told=0"):
        TSAR(data.spec, told=0)


@torch.no_grad()
def test_a_density_never_makes_what_the_steps_before_say(built):
    """That has odds of its own: were it drawn by a density too, numbers would stay oftener than they were found to."""
    model, data = built
    bias = model.net.holds.bias.clone()
    model.net.holds.bias.fill_(-40.0)
    torch.manual_seed(0)
    for x in (model.sample(100), torch.cat(list(model.unroll(model.sample(20)[:, :3], 60, PLAIN)), dim=1)):
        states = model._held(*model._read(model._wide(x))).states
        assert (states < 0).all(), states.unique()
    model.net.holds.bias.copy_(bias)
    numbers, holds = model.net.numbers, model.net.holds
    held = model._held(*model._read(model._wide(data.inputs("train", 50, data.spec.shape))))
    low, high = holds.spans(numbers, held.told, held.is_open)
    assert (high > low).any() and not (high - low)[~held.is_open].any()
    for i in (1, 3):
        one = holds.spans_of(numbers, i, held.told[:, i], held.is_open[:, i])
        assert torch.equal(one[0], low[:, i]) and torch.equal(one[1], high[:, i])


@torch.no_grad()
def test_the_mass_between_two_coordinates_is_the_sum_of_the_density(built):
    numbers = built[0].net.numbers
    generator = torch.Generator().manual_seed(0)
    location = torch.randn(50, 4, numbers.reference.shape[1] + 1, generator=generator)
    location = location + torch.where(numbers.straight[:4], 0.0, 3.0).mean(dim=1)[:, None]
    scale = torch.full_like(location, 0.7)
    low = torch.full((50, 4), 2.2)
    mass = numbers.log_masses(low, low + 0.7, location[..., :-1], scale[..., :-1], slice(0, 4)).exp()
    at = [low + 0.7 * (k + 0.5) / 400 for k in range(400)]
    dense = [numbers.log_densities(x, location, scale, slice(0, 4))[..., :-1].exp() for x in at]
    assert torch.allclose(mass, torch.stack(dense).mean(dim=0) * 0.7, atol=2e-3)
    one = numbers.log_masses(low[:, 1], low[:, 1] + 0.7, location[:, 1, :-1], scale[:, 1, :-1], 1)
    assert torch.allclose(one.exp(), mass[:, 1], atol=1e-6)
