"""Models of whole windows: the phases of TimeGAN, and what flow matching is told."""

from __future__ import annotations

import pytest
import torch

from datakiln.errors import UserError
from datakiln.models.flow.series import TSFlow
from datakiln.models.gan.timegan import TimeGAN, _moments
from datakiln.spec import Batch, Block, Column, DataSpec

T = 12


def spec() -> DataSpec:
    """A static choice, a number, and a choice."""
    columns = (
        Column("kind", (Block(0, 2, "choice"),)),
        Column("x", (Block(2, 3, "value"),)),
        Column("state", (Block(3, 6, "choice"),)),
    )
    return DataSpec("series", (T, 6), columns, static=1, size=200, steps=200 * T)


def windows(n: int, seed: int = 0) -> torch.Tensor:
    """The kind decides the level, and each window is a line."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 2, (n,), generator=generator)
    level = 2.0 * kind - 1.0 + 0.1 * torch.randn(n, generator=generator)
    x = level[:, None] + torch.linspace(-0.3, 0.3, T) * torch.randn(n, 1, generator=generator)
    state = torch.nn.functional.one_hot((x > 0).long() + 1, 3).float()
    whole = torch.nn.functional.one_hot(kind, 2).float()[:, None].expand(-1, T, -1)
    return torch.cat([whole, x[:, :, None], state], dim=2)


@pytest.fixture(scope="module")
def flow() -> TSFlow:
    torch.manual_seed(0)
    model = TSFlow(spec(), width=32, depth=2, patch=3, steps=8)
    x = windows(400)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        model.losses(Batch(x[torch.randint(0, 400, (64,))]))["loss"].backward()
        optimizer.step()
    return model.eval()


@pytest.mark.journey
def test_flow_learns_the_windows(flow):
    torch.manual_seed(0)
    made = flow.sample(200)
    level = made[:, :, 2].mean(dim=1)
    kind = made[:, 0, 1] > 0.5
    assert 0.3 < kind.float().mean() < 0.7
    assert (level[kind] > 0).float().mean() > 0.9 and (level[~kind] < 0).float().mean() > 0.9
    assert (made[:, :, :2] == made[:, :1, :2]).all() and (made[:, :, 3:].sum(dim=2) == 1).all()


def test_flow_fills_holes_by_what_stands_around_them(flow):
    """What is told is met to the bit, and the rest follows it; also in a series longer than a window, or shorter."""
    x = windows(64, seed=5)
    for length in (T, 2 * T + 5, 5):
        told = torch.cat([x, x.flip(1), x[:, :5]], dim=1)[:, :length].clone()
        truth = told.clone()
        told[:, 2:4, 2:] = torch.nan
        torch.manual_seed(0)
        made = flow.sample(64, told)
        there = ~told.isnan()
        assert torch.equal(made[:, :length][there], told[there]) and not made.isnan().any()
        if length == T:
            error = (made[:, 2:4, 2] - truth[:, 2:4, 2]).abs().mean()
            assert error < 0.5 * (truth[:, 2:4, 2] - truth[:, 2:4, 2].mean()).abs().mean()


def test_flow_is_told_a_static_column(flow):
    told = torch.full((50, 1, 6), torch.nan)
    told[:, 0, :2] = torch.tensor([0.0, 1.0])
    torch.manual_seed(0)
    made = flow.sample(50, told)
    assert (made[:, :, 1] == 1).all() and (made[:, :, 2].mean(dim=1) > 0).float().mean() > 0.9


def test_flow_tells_the_noise_of_its_windows(flow):
    """What it makes of a window's noise is that window, of what it has seen and of what it has not."""
    torch.manual_seed(1)
    with torch.no_grad():
        noise = torch.randn(20, flow.latent_dim)
        made = flow.walk(noise, None)
        assert made.shape == (20, T, 6) and torch.equal(made, flow.walk(noise, None))
        x = windows(20, seed=6)
        again = flow.walk(flow.latents_of(Batch(x)), None)
    assert (again[:, :, 2] - x[:, :, 2]).abs().max() < 0.02
    assert (again - x).abs().flatten(1).max(dim=1).values.lt(0.1).float().mean() > 0.8, "choices come back as well"


def test_timegan_walks_through_its_noise():
    torch.manual_seed(0)
    model = TimeGAN(spec(), hidden=8, layers=2).eval()
    keys = torch.randn(4, model.latent_dim)
    with torch.no_grad():
        uniform = torch.special.ndtr(keys).view(4, T, 8)
        assert torch.equal(model.walk(keys, None), model._shown(uniform)) and model.walk(keys, None).shape == (4, T, 6)


def test_timegan_goes_through_its_phases_and_trains_their_nets_alone():
    model = TimeGAN(spec(), hidden=8, layers=2, optimizer=lambda p: torch.optim.Adam(p, lr=1e-2))
    x = windows(32)
    optimizers = model.configure_optimizers()
    model.optimizers = lambda use_pl_optimizer: optimizers
    model.manual_backward = lambda loss: loss.backward()
    groups = {"embedding": {"embedder", "recovery"}, "supervised": {"supervisor"}}
    groups["joint"] = {"embedder", "recovery", "generator", "supervisor", "critic"}
    for phase, moving in groups.items():
        before = {name: p.clone() for name, p in model.named_parameters()}
        figures = getattr(model, f"_{phase}_turn")(x)
        moved = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert moved == moving and all(torch.isfinite(value) for value in figures.values())
    assert model.phase == "joint"  # outside of a run
    assert float(_moments(x, x)) == pytest.approx(0.0, abs=1e-6)
    made = model.eval().sample(5)
    assert made.shape == (5, T, 6) and (made[:, :, 3:].sum(dim=2) == 1).all()
    assert (made[:, :, :2] == made[:, :1, :2]).all()
    with pytest.raises(UserError, match="must leave a share"):
        TimeGAN(spec(), embedding=0.6, supervised=0.5)
