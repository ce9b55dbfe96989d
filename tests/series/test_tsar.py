"""The autoregressive model of series: its likelihood, its cache, and what it is told."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate

from datakiln.api.config import composed
from datakiln.models.autoregressive.ends import alive
from datakiln.models.autoregressive.steps import WIDE, with_wide_parts
from datakiln.models.autoregressive.tsar import TSAR
from datakiln.models.autoregressive.walk import Walk
from datakiln.spec import PLAIN
from tests.test_conformance import trained


@pytest.fixture(scope="module")
def tsar():
    model, data, _, _ = trained("tsar", "series")
    vectors = model.pasts.vectors  # a few updates leave them near nothing
    vectors.data += 0.3 * torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    model.eval()
    return model, data


def walked(model, static, free, steps):
    """Sequences (n, T, D) drawn step by step, and the log-probability that each step was drawn with, (n, T)."""
    told, made = [], []
    walk = Walk(model, static, PLAIN, 1)
    draw = walk.ancestral.draw
    walk.ancestral.draw = lambda *a, **k: told.append(draw(*a, **k)) or told[-1]
    for _ in range(steps):
        walk.step(free, torch.zeros(len(static), dtype=torch.bool))
        made.append(walk.last)
    return torch.stack(made, dim=1), torch.stack(told, dim=1)


def test_drawing_step_by_step_has_the_likelihood_of_the_whole(tsar):
    """What the cached walk draws each step with is what one pass over the whole sequence says, to 1e-5."""
    model, data = tsar
    torch.manual_seed(0)
    n, steps = 6, 12
    static = data.inputs("test", n, data.spec.shape)[:, 0, : model.offset]
    free = torch.full((n, data.spec.shape[1]), torch.nan)
    free[:, -1] = 0.0
    with torch.no_grad():
        x, told = walked(model, static, free, steps)
        known = x.clone()
        known[:, :, -1] = torch.nan  # the end was given, not drawn
        steps_, _ = model._log_probs(known)
    assert torch.allclose(told, steps_, atol=1e-5)


def test_ends_are_drawn_with_their_likelihood_too(tsar):
    """Those odds begin at the training sequences' own, step by step."""
    model, data = tsar
    assert model.pace is not None and model.pace.std() > 0.1
    torch.manual_seed(0)
    static = data.inputs("test", 18, data.spec.shape)[:, 0, : model.offset].repeat(3, 1)
    n, steps = len(static), data.spec.shape[0]
    free = torch.full((n, data.spec.shape[1]), torch.nan)
    with torch.no_grad():
        x, told = walked(model, static, free, steps)
        steps_, _ = model._log_probs(x)
    counts = alive(x, model.spec)
    assert 0.1 < counts.float().mean() < 0.95
    assert torch.allclose(told[counts], steps_[counts], atol=1e-4)


def test_a_checkpoint_of_before_has_no_paces(tsar):
    model, _ = tsar
    assert TSAR(model.spec).pace is None and "pace" not in TSAR(model.spec).state_dict()


@pytest.mark.parametrize(("last", "is_wide"), [(-1, True), (1, True), (3, False)])
def test_rare_moves_are_near_what_was_before(last, is_wide):
    """The last part of a number follows the step before once more, and wide, unless the place is taken by another.

    Numbers 0 and 1 are those of a step, 2 and 3 of the one before it.
    """
    reference = torch.tensor([[[1, -1], [2, 3], [-1, -1], [last, -1]], [[-1, -1]] * 4])
    parts = SimpleNamespace(
        reference=reference.clone(), slope=torch.rand(2, 4, 2), intercept=torch.rand(2, 4),
        straight=torch.tensor([[False, True, False, False]] * 2), start=torch.rand(2, 5),
    )  # fmt: skip
    start = parts.start.clone()
    with_wide_parts(SimpleNamespace(numbers=parts), 2, {2, 3})
    assert torch.equal(parts.reference[:, :3], reference[:, :3]) and torch.equal(parts.reference[1], reference[1])
    if not is_wide:
        assert torch.equal(parts.reference, reference) and torch.equal(parts.start, start)
        return
    for part in (parts.reference, parts.slope, parts.intercept, parts.straight):
        assert torch.equal(part[0, 3], part[0, 1])
    assert float(parts.start[0, 3] - start[0, 1]) == pytest.approx(math.log(WIDE), abs=1e-5)


def test_going_on_is_as_from_the_begin(tsar):
    """The state after `follow` is that of a walk that has drawn the steps itself."""
    model, data = tsar
    x = data.inputs("test", 5, data.spec.shape)[:, :8]
    free = torch.full((5, data.spec.shape[1]), torch.nan)
    free[:, -1] = 0.0
    with torch.no_grad():
        one, two = (Walk(model, x[:, 0, : model.offset], PLAIN, 1) for _ in range(2))
        one.follow(x)
        for t in range(8):
            two.step(x[:, t], torch.zeros(5, dtype=torch.bool))
        drawn = []
        for walk in (one, two):
            torch.manual_seed(3)
            walk.step(free, torch.zeros(5, dtype=torch.bool))
            drawn.append(walk.last)
    assert torch.allclose(one.state, two.state, atol=1e-5)
    assert torch.allclose(one.means, two.means, atol=1e-5) and one.means.abs().sum() > 0
    assert torch.allclose(drawn[0], drawn[1], atol=1e-4)


def test_no_step_looks_ahead(tsar):
    model, data = tsar
    x = data.inputs("test", 4, data.spec.shape)
    other = x.clone()
    other[:, 6:] = data.inputs("val", 4, data.spec.shape)[:, 6:]
    with torch.no_grad():
        one, two = model.log_probs(x), model.log_probs(other)
    assert torch.allclose(one[:, :6], two[:, :6], atol=1e-5)
    assert not torch.allclose(one[:, 6:8], two[:, 6:8])


def test_given_cells_stay(tsar):
    """Static columns, and cells anywhere, come back as they were told."""
    model, data = tsar
    condition = torch.full((3, *data.spec.shape), torch.nan)
    real = data.inputs("test", 3, data.spec.shape)
    condition[:, :, : model.offset] = real[:, :1, : model.offset]
    condition[:, 4, model.offset] = real[:, 4, model.offset]
    condition[:, 4, model.offset + 1] = real[:, 4, model.offset + 1]
    condition[:, :8, -1] = 0.0
    torch.manual_seed(0)
    x = model.sample(3, condition)
    there = ~torch.isnan(condition)
    assert torch.equal(x[there], condition[there])
    assert len(np.unique(x[:, 5, model.offset + 1])) > 1


def test_windows_that_begin_anywhere_make_no_leaps(tmp_path):
    """Of a walk whose windows have six steps the first of each is told by nothing: it says nothing of the others.

    The weight of a number's codes, by which it leaps to wherever others are, begins with that of later steps.
    """
    rng = np.random.default_rng(0)
    pd.DataFrame({"level": (100.0 + rng.normal(size=1500).cumsum()).round(3)}).to_csv(tmp_path / "walk.csv")
    words = ["model=tsar", "data=series_csv", f"data.path={tmp_path / 'walk.csv'}", "data.columns=[level]"]
    with composed([*words, "data.window=6"]) as cfg:
        data = instantiate(cfg.data, _convert_="all")
        data.prepare_data()
        data.setup("fit")
        model = instantiate(cfg.model, _convert_="all", _partial_=True)(spec=data.spec)
    model._count(data.train_dataloader())
    weight = model.net.bias[model.codes.part(0)].exp().sum().item()
    assert weight < 0.01
