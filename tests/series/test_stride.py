"""Endless series in NumPy: step by step what the walk in torch says, on columns of every kind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.bins import Bins
from datakiln.data.base import Provenance
from datakiln.data.series.series import SeriesData
from datakiln.data.tables.sources import RawTable
from datakiln.models.autoregressive.stride import Stride
from datakiln.models.autoregressive.tsar import TSAR
from datakiln.models.autoregressive.walk import Walk
from datakiln.nets.holds import KINDS
from datakiln.nets.numbers import COMPONENTS
from datakiln.spec import PLAIN
from tests.series.walking import wandering
from tests.test_conformance import trained

ROWS, STEPS = 5, 12


def mixed() -> pd.DataFrame:
    """Numbers with holes and spikes, one that is often another's, one on few values, a category."""
    rng = np.random.default_rng(0)
    n = 900
    x = wandering(rng, n)
    y = np.where(rng.random(n) < 0.5, x, x + rng.normal(0.0, 1.0, n)).round(3)
    frame = {
        "t": np.arange(n), "x": x.round(3), "y": y, "few": rng.poisson(2 + np.exp(x / 2)),
        "holes": np.where(rng.random(n) < 0.3, np.nan, (x + rng.normal(0.0, 0.1, n)).round(2)),
        "dose": np.where(rng.random(n) < 0.6, 0.0, rng.gamma(2.0, 3.0, n).round(2)),
        "meter": np.repeat(x[::3], 3) + 1.0 / 3.0,
        "filled": np.interp(np.arange(n), np.arange(0, n, 6), x[::6] * np.pi),
        "hourly": np.interp(np.arange(n), np.arange(0, n, 6), np.round(x[::6] * 4)),
        "mood": np.where(x > 0.5, "high", np.where(x < -0.5, "low", "none")),
    }  # fmt: skip
    return pd.DataFrame(frame)


def built(kind: str) -> tuple[TSAR, torch.Tensor]:
    """A model whose weights are far from zero, and some sequences."""
    if kind == "panel":
        model, data, _, _ = trained("tsar", "series")
        model = TSAR(model.spec, paced=True, pasts=True)
    else:
        codec = SeriesCodec(lambda: Bins(smooth=True), compact=True, places=True)
        source = RawTable(mixed(), None, Provenance("generated", "a test", "0"))
        data = SeriesData(lambda _: source, codec, seed=0, time="t", window=STEPS)
        data.setup("fit")
        model = TSAR(
            data.spec, holding=True, pasts=kind == "mixed", beats=kind == "mixed", changes=12 if kind == "mixed" else 0
        )
    model._count(data.train_dataloader())
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    x = data.inputs("train", ROWS, data.spec.shape)[:, :6].clone()
    if data.spec.ends:
        x[:, :, -1] = 0.0
    return model.eval(), x


def followed(model: TSAR, x: torch.Tensor) -> Walk:
    walk = Walk(model, x[:, 0, : model.offset], PLAIN, 1)
    walk.follow(x)
    return walk


@pytest.mark.parametrize("kind", ["panel", "mixed", "mixed, of before"])
@torch.no_grad()
def test_it_draws_by_the_law_of_the_walk(kind, monkeypatch):
    """The walk is made to draw what the stride drew: at every column the shares, places and widths are the same."""
    model, x = built(kind)
    stride, told = Stride(followed(model, x)), []
    shares = Stride._shares

    def noted(self, column, raw):
        found = shares(self, column, raw)
        told.append((column, *(part.copy() for part in found)))
        return found

    monkeypatch.setattr(Stride, "_shares", noted)
    torch.manual_seed(1)
    made = stride.steps(STEPS)
    if model.spec.ends:
        assert (made[:, :, -1] == 0).all()
    for t, row in enumerate(walked(model, x, made)):
        for k, column in enumerate(stride.columns):
            same(*told[t * len(stride.columns) + k], *row[column.column])
    assert len(told) == STEPS * len(stride.columns)
    assert kind == "panel" or {tuple(c.number.held) for c in stride.columns if c.number} == {(), (0,), (1,), (0, 1)}
    assert any(c.number.bins for c in stride.columns if c.number) == (kind == "mixed")


@torch.no_grad()
def walked(model: TSAR, x: torch.Tensor, made: torch.Tensor) -> list[dict]:
    """What the walk says of each column of each step, if it draws these."""
    walk, codes, steps = followed(model, x), model.codes, []

    def forced(prefixes, j, so_far, known, strata, log_q):
        (told,) = prefixes.told(j, so_far)
        steps[-1][j] = walk.ancestral._shares(told, j, so_far)
        own = made[:, len(steps) - 1, model.offset :]
        so_far.codes[:, j] = own[:, codes.position[j]].long()
        if j in model.net.numbers.place:
            i = model.net.numbers.place[j]
            so_far.coordinates[:, i] = own[:, codes.place_position[i]]

    walk.ancestral._draw_column = forced
    free = torch.full((len(x), model.spec.shape[1]), torch.nan)
    if model.spec.ends:
        free[:, -1] = 0.0
    for t in range(made.shape[1]):
        steps.append({})
        walk.step(free, torch.zeros(len(x), dtype=torch.bool))
        assert torch.equal(walk.last.nan_to_num(), made[:, t].nan_to_num())
    return steps


def same(column, share, location, width, log_share, place) -> None:
    share = share / share.sum(axis=1, keepdims=True)
    size = column.size
    assert np.allclose(share[:, :size], log_share.exp()[:, :size], atol=1e-5)
    if place is not None:
        parts = column.number.parts
        bins, held = column.number.bins, column.number.held
        parts = np.r_[parts, COMPONENTS + np.arange(bins)]
        assert np.allclose(share[:, size:][:, : len(parts)], log_share.exp()[:, size:][:, parts], atol=1e-5)
        if held:
            every = log_share.exp()[:, size + COMPONENTS + bins :]
            assert every.shape[1] == KINDS and np.allclose(share[:, size + len(parts) :], every[:, held], atol=1e-5)
        there = share[:, size:][:, : len(parts)] > 1e-10  # where a reference is missing, its place means nothing
        assert np.allclose(location[there], place[0][:, parts][there], rtol=1e-4, atol=1e-3)
        assert np.allclose(width[there], place[1][:, parts][there], rtol=1e-4, atol=1e-3 if bins else 0.0)


@pytest.mark.parametrize("kind", ["panel", "mixed", "mixed, of before"])
@torch.no_grad()
def test_what_is_picked_is_put_where_the_walk_would(kind):
    """Codes, components and states of equality, by the same uniform numbers."""
    model, x = built(kind)
    stride, numbers = Stride(followed(model, x)), model.net.numbers
    stride.steps(3)
    rng = np.random.default_rng(0)
    for column in stride.columns:
        if column.number is None:
            continue
        bins = column.number.bins
        outcomes = column.size + len(column.number.parts) + bins + len(column.number.held)
        cells, uniforms = rng.integers(0, outcomes, ROWS), rng.random(ROWS, dtype=np.float32)
        of_all = [column.size - 1, outcomes - 1]  # a state of equality or of lacking; what is held, or a component
        cells[: len(of_all)] = of_all
        r = len(column.number.parts)
        location = rng.uniform(0.2, 0.8, (ROWS, r)).astype(np.float32)
        low, high = column.number.ends
        location = np.where(column.number.straight, low + (high - low) * location, location * column.number.last)
        location, width = location.astype(np.float32), np.full((ROWS, r + bins), 0.01, np.float32)
        location = np.concatenate([location, column.number.last * rng.uniform(0.2, 0.8, (ROWS, bins))], axis=1)
        location = location.astype(np.float32)
        code, coordinate = stride._placed(column, cells, location, width, uniforms)
        parts = torch.from_numpy(np.r_[column.number.parts, COMPONENTS + np.arange(bins)])
        wide = torch.ones(ROWS, COMPONENTS + bins + KINDS)
        i, held = column.number.number, column.number.held
        where = wide.index_copy(1, parts, torch.from_numpy(location))
        if held:
            where[:, COMPONENTS + bins :] = model.net.holds.places(
                numbers, i, torch.from_numpy(stride.coordinates.copy())
            )
        place = where, wide.index_copy(1, parts, torch.from_numpy(width))
        outcome = np.r_[
            np.arange(column.size), column.size + parts.numpy(),
            [column.size + COMPONENTS + bins + k for k in held],
        ]  # fmt: skip
        picked = outcome[cells].astype(np.int64)
        told = SimpleNamespace(rows=torch.arange(ROWS), bins=torch.zeros(ROWS, bins) if bins else None)
        slow = stride.walk.ancestral._placed(
            told, column.column, i, torch.from_numpy(picked), place if r or held or bins else None,
            torch.from_numpy(uniforms), None, torch.from_numpy(stride.coordinates.copy()),
        )  # fmt: skip
        assert slow[0].tolist() == code.tolist()
        valued = column.valued[code]
        settled = column.number.settled(coordinate)[1]
        assert np.allclose(settled[valued], slow[1][valued], atol=2e-3)
    assert kind == "panel" or any(column.equal_to for column in stride.columns)


@torch.no_grad()
def test_a_long_series_is_one_series_at_the_same_cost():
    """Seeds decide it; it goes on from what was given; and its pieces are kept by nobody."""
    model, x = built("mixed")
    runs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        pieces = list(model.unroll(x, 600))
        assert sum(part.shape[1] for part in pieces) == 600
        runs.append(torch.cat(pieces, dim=1))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert not runs[0].isnan().any() and not torch.equal(runs[0][0], runs[0][1])
    rows, _ = model.codes.read(model._wide(runs[0]))
    assert (rows >= model.codes.first).all() and (runs[0] >= 0).all()


@torch.no_grad()
def test_constraints_of_a_step_are_met_by_the_walk(monkeypatch):
    """Steps that may not stand are drawn again, which a stride does not do."""
    model, x = built("mixed")
    model.accepts = lambda rows: torch.ones(len(rows), dtype=torch.bool)
    monkeypatch.setattr(Stride, "steps", None)
    assert sum(part.shape[1] for part in model.unroll(x[:1], 5)) == 5
