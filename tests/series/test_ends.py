"""How sequences end: odds of places from lengths, and what a model with them draws and scores."""

from __future__ import annotations

import math

import pytest
import torch

from datakiln.models.autoregressive.ends import alive, ending, lengths_of, odds_of_ending
from datakiln.models.autoregressive.tsar import TSAR
from datakiln.models.autoregressive.wavenet import WaveNet, _Walk
from datakiln.spec import Batch, Block, Column, DataSpec

T, CODES = 6, 3
LENGTHS = torch.tensor([3] * 4000 + [5] * 1000 + [6] * 5000)


def spec(longest: int = T) -> DataSpec:
    blocks = Block(0, 1, "code", size=CODES), Block(1, 2, "code", size=2)
    columns = tuple(Column(name, (block,)) for name, block in zip(("c", "end"), blocks, strict=True))
    return DataSpec("series", (longest, 2), columns, size=len(LENGTHS), steps=int(LENGTHS.sum()), ends=True)


def sequences(lengths: torch.Tensor) -> torch.Tensor:
    x = torch.zeros(len(lengths), T, 2)
    x[:, :, 1] = (torch.arange(T) >= lengths[:, None] - 1).float()
    return x


def wavenet(paced: bool = True) -> WaveNet:
    """Untrained, its end by the lengths alone: all else says that going on and ending are as likely."""
    torch.manual_seed(0)
    net = WaveNet(spec(), channels=8, skip=12, layers=2, paced=paced)
    torch.nn.init.zeros_(net.step.out.weight)
    torch.nn.init.zeros_(net.step.out.bias)
    if net.pace is not None:
        net.pace.copy_(odds_of_ending(LENGTHS, T))
    return net.eval()


def test_odds_are_those_of_sequences_as_long():
    usual = len(LENGTHS) / int(LENGTHS.sum())
    odds = odds_of_ending(LENGTHS, T).sigmoid()
    expected = torch.tensor([0.0, 0.0, 0.4, 0.0, 1 / 6, 1.0, usual])
    assert torch.allclose(odds, expected, atol=2e-3)


def test_few_sequences_say_less():
    """One of three steps does not mean that none will go on."""
    odds = odds_of_ending(torch.tensor([3]), 3).sigmoid()
    assert 0.05 < odds[0] < 0.3 and 0.3 < odds[2] < 0.8


def test_behind_the_longest_sequence_the_usual_odds_hold():
    pace = torch.tensor([1.0, 2.0, -3.0])
    assert ending(pace, torch.tensor([0, 1, 2, 9]))[:, 1].tolist() == [1.0, 2.0, -3.0, -3.0]
    assert (ending(pace, torch.arange(5))[:, 0] == 0).all()


def test_steps_count_up_to_the_end_and_lengths_are_read_from_batches():
    lengths = torch.tensor([1, 4, 6])
    assert torch.equal(alive(sequences(lengths), spec()).sum(dim=1), lengths)
    batches = [Batch(sequences(lengths)), Batch(sequences(lengths))]
    assert lengths_of(batches, spec(), 11).tolist() == [1, 4, 6]
    assert lengths_of(batches, spec(), 12).tolist() == [1, 4, 6] * 2


@torch.no_grad()
def test_wavenet_draws_lengths_as_they_are():
    net = wavenet()
    torch.manual_seed(1)
    drawn = alive(net.sample(4000), net.spec).sum(dim=1)
    shares = torch.bincount(drawn, minlength=T + 1) / len(drawn)
    assert torch.allclose(shares[1:], torch.tensor([0.0, 0.0, 0.4, 0.0, 0.1, 0.5]), atol=0.03)
    plain = alive(wavenet(paced=False).sample(4000), net.spec).sum(dim=1)
    assert abs(float((plain == 1).float().mean()) - 0.5) < 0.03


@torch.no_grad()
def test_the_likelihood_of_an_end_is_what_it_is_drawn_with():
    net = wavenet()
    lengths = torch.tensor([3, 5, 6])
    codes = lengths * math.log(CODES)  # each code is one of three, as likely
    told = net.log_prob(sequences(lengths)) + codes
    assert torch.allclose(told.exp(), torch.tensor([0.4, 0.1, 0.5]), atol=5e-3)


@pytest.mark.parametrize("size", [2, 4, T])
@torch.no_grad()
def test_going_on_knows_how_long_the_sequence_is(size):
    """Also where more steps came before than the net looks back to."""
    net = wavenet()
    assert net.sees < T
    x = sequences(torch.full((4000,), T))[:, :size]
    x[:, :, 1] = 0.0
    walk = _Walk(net, x[:, 0, :0], 1.0)
    walk.follow(x)
    made = walk.next(torch.full((len(x), 2), torch.nan))
    expected = odds_of_ending(LENGTHS, T).sigmoid()[size]
    assert abs(float(made[:, 1].mean()) - float(expected)) < 0.03


def test_a_checkpoint_of_before_has_no_paces():
    assert "pace" not in wavenet(paced=False).state_dict() and "pace" in wavenet().state_dict()


def test_paces_of_before_are_those_at_any_step_behind_the_longest_sequence():
    model = TSAR(spec(), width=8, state=8, paced=True)
    model.pace.copy_(torch.arange(T + 1.0) - T)
    state = model.state_dict()
    state["pace"] = state["pace"][:-1]
    again = TSAR(spec(), width=8, state=8, paced=True)
    again.load_state_dict(state)
    assert torch.equal(again.pace, model.pace) and again.pace[-1] == 0
