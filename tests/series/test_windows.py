"""Models of whole windows: the phases of TimeGAN, what flow matching and diffusion are told, and exact denoisers."""

from __future__ import annotations

import pytest
import torch

from datakiln.errors import UserError
from datakiln.models.diffusion.series import TSDiffusion
from datakiln.models.flow.series import TSFlow
from datakiln.models.gan.timegan import TimeGAN, _moments
from datakiln.models.vae.timevae import TimeVAE
from datakiln.models.windows import WindowModel
from datakiln.nets.paths import between
from datakiln.spec import Batch, Block, Column, DataSpec, Sampling

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


@pytest.fixture(scope="module", params=[TSFlow, TSDiffusion])
def learnt(request) -> WindowModel:
    """A model that has learnt the windows, and to be told cells of them."""
    torch.manual_seed(0)
    model = request.param(spec(), width=32, depth=2, patch=3, steps=8)
    x = windows(400)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        model.losses(Batch(x[torch.randint(0, 400, (64,))]))["loss"].backward()
        optimizer.step()
    return model.eval()


@pytest.mark.journey
def test_the_windows_are_learnt(learnt):
    torch.manual_seed(0)
    made = learnt.sample(200)
    level = made[:, :, 2].mean(dim=1)
    kind = made[:, 0, 1] > 0.5
    assert 0.3 < kind.float().mean() < 0.7
    assert (level[kind] > 0).float().mean() > 0.9 and (level[~kind] < 0).float().mean() > 0.9
    assert (made[:, :, :2] == made[:, :1, :2]).all() and (made[:, :, 3:].sum(dim=2) == 1).all()


def test_holes_are_filled_by_what_stands_around_them(learnt):
    """What is told is met to the bit, and the rest follows it; also in a series longer than a window, or shorter."""
    x = windows(64, seed=5)
    for length in (T, 2 * T + 5, 5):
        told = torch.cat([x, x.flip(1), x[:, :5]], dim=1)[:, :length].clone()
        truth = told.clone()
        told[:, 2:4, 2:] = torch.nan
        torch.manual_seed(0)
        made = learnt.sample(64, told)
        there = ~told.isnan()
        assert torch.equal(made[:, :length][there], told[there]) and not made.isnan().any()
        if length == T:
            error = (made[:, 2:4, 2] - truth[:, 2:4, 2]).abs().mean()
            assert error < 0.5 * (truth[:, 2:4, 2] - truth[:, 2:4, 2].mean()).abs().mean()


def test_a_static_column_is_told(learnt):
    told = torch.full((50, 1, 6), torch.nan)
    told[:, 0, :2] = torch.tensor([0.0, 1.0])
    torch.manual_seed(0)
    made = learnt.sample(50, told)
    assert (made[:, :, 1] == 1).all() and (made[:, :, 2].mean(dim=1) > 0).float().mean() > 0.9


def test_a_model_walks_through_its_noise_and_flow_tells_that_of_its_windows(learnt):
    """What it makes of a window's noise is that window, of what it has seen and of what it has not."""
    torch.manual_seed(1)
    with torch.no_grad():
        noise = torch.randn(20, learnt.latent_dim)
        made = learnt.walk(noise, None)
        assert made.shape == (20, T, 6) and torch.equal(made, learnt.walk(noise, None))
        if not isinstance(learnt, TSFlow):
            return
        x = windows(20, seed=6)
        again = learnt.walk(learnt.latents_of(Batch(x)), None)
    assert (again[:, :, 2] - x[:, :, 2]).abs().max() < 0.02
    assert (again - x).abs().flatten(1).max(dim=1).values.lt(0.1).float().mean() > 0.8, "choices come back as well"


def test_timegan_walks_through_its_noise():
    torch.manual_seed(0)
    model = TimeGAN(spec(), hidden=8, layers=2).eval()
    keys = torch.randn(4, model.latent_dim)
    with torch.no_grad():
        uniform = torch.special.ndtr(keys).view(4, T, 8)
        assert torch.equal(model.walk(keys, None), model._shown(uniform)) and model.walk(keys, None).shape == (4, T, 6)


def test_timegans_critic_rests_once_it_is_sure():
    """A gradient of 0 would not do: Adam goes on by the moments of earlier ones."""
    torch.manual_seed(0)
    model = TimeGAN(spec(), hidden=8, layers=2, optimizer=lambda p: torch.optim.Adam(p, lr=1e-3))
    optimizers = model.configure_optimizers()
    model.optimizers = lambda use_pl_optimizer: optimizers
    model.manual_backward = lambda loss: loss.backward()
    for _ in range(3):
        model._joint_turn(windows(32))
    real = model.critic.forward
    at = [p.clone() for p in model.critic.parameters()]
    answers = [10.0, -10.0, -10.0]  # real latent steps, those after the supervisor, and before it

    def sure(x):
        model.asked += 1
        place = (model.asked - 1) % (2 * 2 + 3)  # two turns of the generator ask twice each
        return real(x) * 0.0 + (answers[place - 4] if place >= 4 else 0.0)

    model.asked, model.critic.forward = 0, sure
    figures = model._joint_turn(windows(32))
    assert figures["critic"] < 0.15
    assert all(torch.equal(p, before) for p, before in zip(model.critic.parameters(), at, strict=True))


@pytest.mark.parametrize(("eta", "steps"), [(0.0, 100), (1.0, 400)])
def test_an_exact_denoiser_of_a_gaussian_gives_its_moments(eta, steps):
    """E[v | x_t] of x_1 ~ N(mean, cov) has a closed form, and following it must lead back to the Gaussian."""
    model = TSDiffusion(spec(), width=8, depth=1, eta=eta)
    mean, root = torch.tensor([0.5, -1.0]), torch.tensor([[0.6, 0.0], [0.4, 0.2]])
    cov = root @ root.T

    def v(x_t, t):
        alpha, sigma = model.path.alpha(t), model.path.sigma(t)
        centred = x_t - alpha * mean
        whole = alpha**2 * cov + sigma**2 * torch.eye(2)
        x_1 = mean + alpha * centred @ torch.linalg.solve(whole, cov)
        x_0 = sigma * centred @ torch.linalg.inv(whole)
        return alpha * x_0 - sigma * x_1

    torch.manual_seed(0)
    made = model.solve(v, torch.randn(20_000, 1, 2), steps)[:, 0]
    assert (made.mean(dim=0) - mean).abs().max() < 0.02
    assert (torch.cov(made.T) - cov).abs().max() < 0.02


def test_what_diffusion_predicts_tells_data_and_noise():
    """v and x_t together are data and noise, at every time; the schedule keeps the variance and has eq. 17's values."""
    model = TSDiffusion(spec(), width=8, depth=1)
    x_1, x_0, t = torch.randn(5, T, 6), torch.randn(5, T, 6), torch.linspace(0, 1, 5)
    alpha, sigma = (f(t)[:, None, None] for f in (model.path.alpha, model.path.sigma))
    x_t, v = between(model.path, x_1, x_0, t), model.target(x_1, x_0, t)
    assert torch.allclose(alpha * x_t - sigma * v, x_1, atol=1e-5)
    assert torch.allclose(sigma * x_t + alpha * v, x_0, atol=1e-5)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(5, 1, 1), atol=1e-6)
    half = torch.cos(torch.tensor((0.5 * 0.9999 + 0.008) / 1.008 * torch.pi / 2))
    assert model.path.alpha(torch.tensor(0.5)) == pytest.approx(half.item(), abs=1e-6)
    assert model.path.alpha(torch.tensor(1.0)) > 0.9999 and model.path.alpha(torch.tensor(0.0)) < 1e-3


@pytest.mark.parametrize("model", [TSFlow, TSDiffusion])
def test_losses_of_windows_outside_training_compare_and_steps_change_samples(model):
    torch.manual_seed(0)
    net, batch = model(spec(), width=8, depth=1).eval(), Batch(windows(20))
    assert net.losses(batch)["loss"] == net.losses(batch)["loss"]
    net.train()
    assert net.losses(batch)["loss"] != net.losses(batch)["loss"]

    def drawn(steps=None):
        torch.manual_seed(1)
        return net.sample(4, None, Sampling(steps=steps))[:, :, 2]

    assert torch.equal(drawn(), drawn()) and not torch.equal(drawn(), drawn(3)) and drawn(1).isfinite().all()


def test_shares_of_fresh_noise_that_are_none_are_refused():
    with pytest.raises(ValueError, match="eta=2"):
        TSDiffusion(spec(), eta=2)
    with pytest.raises(UserError, match="must be a multiple of 4"):
        TSDiffusion(spec(), width=6)


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


@pytest.mark.parametrize(("mean", "share"), [(None, 0.3), (False, 0.3), (True, 0.0)])
def test_timevae_draws_categories_that_are_never_the_likeliest(mean, share):
    """Of numbers the mean is shown, as in the paper; the likeliest of a choice is the same in every step."""
    torch.manual_seed(0)
    model = TimeVAE(spec()).eval()
    odds = torch.tensor([0.0, 0.0, 0.0, 0.4, 0.3, 0.3]).log().nan_to_num(neginf=0.0)[2:]
    model.parameters_of = lambda z: (odds.expand(len(z), T, -1), torch.zeros(len(z), 2))
    made = model.draw(400, None, Sampling(mean=mean)).detach()
    assert float(made[:, :, 4].mean()) == pytest.approx(share, abs=0.03)
    assert bool((made[:, :, 2] == 0.0).all()) == (mean is not False), "the mean of the number is 0"
