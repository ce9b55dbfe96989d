"""WaveNet: causality, the cache against the slow way, and what it may be told."""

from __future__ import annotations

import math

import pytest
import torch

from datakiln.errors import UserError
from datakiln.models.autoregressive.wavenet import WaveNet, _Walk
from datakiln.spec import Batch, Block, Column, DataSpec

T, CODES = 40, 7


def spec(columns: int = 2, static: bool = True) -> DataSpec:
    names = [*(["class"] if static else []), *(f"c{j}" for j in range(columns))]
    made = tuple(Column(name, (Block(j, j + 1, "code", size=CODES),)) for j, name in enumerate(names))
    return DataSpec("series", (T, len(made)), made, static=int(static), size=10, steps=10 * T)


def model(**options) -> WaveNet:
    torch.manual_seed(0)
    made = WaveNet(spec(**options), channels=8, skip=12, layers=4, stacks=1)
    for parameter in made.parameters():  # far from the even start, so that codes depend on each other
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def codes(n: int, width: int, seed: int = 1) -> torch.Tensor:
    x = torch.randint(0, CODES, (n, T, width), generator=torch.Generator().manual_seed(seed)).float()
    x[:, :, 0] = x[:, :1, 0]
    return x


@pytest.mark.parametrize("options", [{}, {"columns": 1, "static": False}])
@torch.no_grad()
def test_fast_samples_are_the_slow_ones_code_by_code(options):
    """Seed by seed; contexts, and so logits, agree to 1e-4."""
    net = model(**options)
    n, offset = 5, net.offset
    for seed in range(3):
        torch.manual_seed(seed)
        fast = net.sample(n)
        torch.manual_seed(seed)
        slow = torch.full((n, T, fast.shape[2]), math.nan)
        if net.static is not None:
            slow[:, :, :1] = net.static.draw(net.static_begin.expand(n, -1), slow[:, 0, :1], 1.0)[:, None]
        walk = _Walk(net, slow[:, 0, :offset], 1.0)
        for t in range(T):
            contexts, _ = net._contexts(slow[:, :t]) if t else net._contexts(slow[:, :1])
            context = contexts[:, t]
            assert torch.allclose(context, walk.context(), atol=1e-4)
            slow[:, t, offset:] = net.step.draw(context, slow[:, t, offset:], 1.0)
            read, known = net.step.codes.read(slow[:, t, offset:])
            walk.hidden = net._told(read, known)
        assert torch.equal(fast, slow)


@torch.no_grad()
def test_a_step_looks_back_so_far_and_never_ahead():
    net = model()
    x = codes(1, 3)
    before = net.log_probs(x)
    for t in (0, 11, T - 1):
        other = x.clone()
        other[0, t, 1] = (other[0, t, 1] + 1) % CODES
        moved = (net.log_probs(other) - before).abs()[0] > 1e-7
        assert not moved[:t].any() and moved[t]
        assert moved[t + 1 : t + net.sees + 1].any() == (t + 1 < T) and not moved[t + net.sees + 1 :].any()


@torch.no_grad()
def test_likelihood_adds_up_to_one_and_is_that_of_the_draws():
    net = model(columns=1, static=False)
    x = codes(1, 1)[:, :2].repeat(CODES**2, 1, 1)
    x[:, 0, 0], x[:, 1, 0] = torch.arange(CODES**2) // CODES, torch.arange(CODES**2) % CODES
    assert net.log_prob(x).exp().sum() == pytest.approx(1.0, abs=1e-5)
    torch.manual_seed(0)
    drawn = net.sample(5000, torch.full((5000, 1, 1), math.nan))[:, 0, 0].long()
    shares = torch.bincount(drawn, minlength=CODES) / 5000
    told = net.log_probs(torch.arange(CODES).float().view(-1, 1, 1))[:, 0].exp()
    assert torch.allclose(shares, told, atol=4 * 0.5 / math.sqrt(5000))


@torch.no_grad()
def test_going_on_is_as_from_the_begin():
    """From any length, shorter and longer than what it sees."""
    net = model()
    for size in (3, net.sees, T):
        x = codes(4, 3)[:, :size]
        one, two = (_Walk(net, x[:, 0, :1], 1.0) for _ in range(2))
        one.follow(x)
        for t in range(size):
            two.next(x[:, t, 1:])
        for _ in range(6):
            assert torch.allclose(one.context(), two.context(), atol=1e-5)
            one.hidden = two.hidden = torch.ones_like(one.hidden)
    pieces = list(net.unroll(codes(2, 3), 300))
    assert [p.shape[1] for p in pieces] == [256, 44] and (pieces[1][:, :, 0] == codes(2, 3)[:, :1, 0]).all()


def test_what_is_given_is_met_and_holes_are_refused():
    net = model()
    told = torch.full((3, T, 3), math.nan)
    told[:, 0, 0], told[:, :5, 1:] = 4.0, 2.0
    made = net.sample(3, told)
    assert (made[:, :, 0] == 4).all() and (made[:, :5, 1:] == 2).all() and not made.isnan().any()
    told[:, 20, 1] = 1.0
    with pytest.raises(UserError, match="fills no holes"):
        net.sample(3, told)


@pytest.mark.slow
def test_learns_what_follows_what():
    """A cycle whose begin the class decides is learnt to the last code."""
    torch.manual_seed(0)
    made = spec(columns=1)
    net = WaveNet(made, channels=16, skip=16, layers=3)
    start = torch.arange(CODES).repeat(4)
    x = ((start[:, None] + torch.arange(T)) % CODES).float()
    batch = Batch(torch.stack([start[:, None].expand(-1, T).float(), x], dim=2))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        loss = net.losses(batch)["loss"]
        loss.backward()
        optimizer.step()
    told = torch.full((CODES, 1, 2), math.nan)
    told[:, 0, 0] = torch.arange(CODES)
    drawn = net.sample(CODES, told)[:, :, 1]
    assert loss < math.log(CODES) / T * 1.5  # the class alone is not known
    assert (drawn == x[:CODES]).float().mean() > 0.97
