"""Numbers that change course every so many steps only: hourly values in a file of ten minutes, filled or interpolated.

Such a number stays as it was, or on its line, but for the steps of a beat, and all that were brought to the finer steps
together change at the same ones. When the next one is due is told by those so far, and too rarely met by a recurrent
net to be learnt; so it is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln.nets.holds import KINDS, NONE, Held

CLOCKS = 4  # beats that are told apart
LONGEST = 96  # steps from one to the next
PURE = 0.97  # share of pairs of changes that lie a multiple of the beat apart
PAIRS = 50  # of changes at least
KEPT = 0.99  # of what changes have told, from one step to the next: a gap in the data may shift the beat
CLOSED_ODDS = -20.0  # of a kind of holding that never is
NOW, BETWEEN, UNKNOWN = range(3)  # where in the beat a number is
EARLY = 24  # steps of a sequence that are told apart while its beat is not known: the longer, the nearer the first
STATES = UNKNOWN + EARLY + 1
NEAR = 1e-4  # standardised: what is rounded on both sides, and doubled, is on its line all the same
SURE = 2  # changes that set a clock, where so many numbers go by it: one may be misread, of a value never seen before
STRAY = 0.002  # share of open steps that hold nothing, at least
PSEUDO = 1.0  # open steps with usual odds that are counted beside those of the training data


class Beats(nn.Module):
    """Finds beats in training sequences, keeps time while drawing, and says how odds of holding change with it.

    Arguments:
        own: Numbers of a step.

    Attributes:
        period: Of each clock, in steps; 0 for one that is not used.
        clock: Of each number, `NONE` for none, (n,).
        bends: Which numbers are on a line between beats, not at what they were, (n,).
        odds: What log-odds of holding have more, (STATES, 2, n, KINDS): second, whether the line is closed.
    """

    period: Tensor
    clock: Tensor
    bends: Tensor
    odds: Tensor

    def __init__(self, own: int) -> None:
        """See the class."""
        super().__init__()
        self.own = own
        self.register_buffer("period", torch.zeros(CLOCKS, dtype=torch.long))
        self.register_buffer("clock", torch.full((own,), NONE))
        self.register_buffer("bends", torch.zeros(own, dtype=torch.bool))
        self.register_buffer("odds", torch.zeros(STATES, 2, own, KINDS))
        self.register_load_state_dict_pre_hook(_checked)

    @property
    def has_any(self) -> bool:
        """Whether any number has a beat."""
        return bool((self.clock >= 0).any())

    def changed(self, held: Held, there: Tensor) -> Tensor:
        """Which numbers changed course at steps, (R, n); those are there that are so in `there`, (R, N)."""
        moved, bent = changes(held.is_open, held.told, held.values, there[:, : self.own])
        return torch.where(self.bends, bent, moved) & (self.clock >= 0)

    def nothing(self, n: int) -> Tensor:
        """What n sequences that have not begun tell of their beats, (n, CLOCKS, LONGEST)."""
        return self.odds.new_zeros(n, CLOCKS, LONGEST)

    def heard(self, votes: Tensor, changed: Tensor, at: int) -> Tensor:
        """Votes (n, CLOCKS, LONGEST) with the changes (n, N) of a step at place `at`."""
        place = (at % self.period.clamp(min=1))[:, None]
        of_clock = functional.one_hot(self.clock + 1, CLOCKS + 1)[:, 1:].to(votes.dtype)
        here = torch.arange(LONGEST, device=votes.device) == place
        return KEPT * votes + (changed.to(votes.dtype) @ of_clock)[..., None] * here

    def along(self, changed: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
        """Where each clock is at each step by the changes before it, (n, T, CLOCKS), and the votes after the last.

        Arguments:
            changed: At each step, the first one at place 0, (n, T, N).
            votes: Before the first.
        """
        told = []
        for at, part in enumerate(changed.unbind(dim=1)):
            told.append(self.time(votes, at))
            votes = self.heard(votes, part, at)
        return torch.stack(told, dim=1), votes

    def time(self, votes: Tensor, at: int) -> Tensor:
        """Where each clock is at the step at place `at`, (n, CLOCKS)."""
        most, place = votes.max(dim=2)
        is_now = place == at % self.period.clamp(min=1)
        return torch.where(most >= self.enough(), torch.where(is_now, NOW, BETWEEN), UNKNOWN + min(at, EARLY))

    def enough(self) -> Tensor:
        """Votes from which on each clock is known, (CLOCKS,): of changes that may be half forgotten."""
        numbers = (self.clock[:, None] == torch.arange(CLOCKS, device=self.clock.device)).sum(dim=0)
        return numbers.clamp(min=1, max=SURE) - 0.5

    def states(self, time: Tensor, changed: Tensor, rank: Tensor) -> Tensor:
        """Where in its beat each number is, (R, n): as its clock says, or now if another has changed at this step.

        Arguments:
            time: Of the clocks, (R, CLOCKS).
            changed: Numbers at this step, (R, n).
            rank: In which order they are drawn, (n,).
        """
        earlier = (rank[:, None] < rank) & (self.clock[:, None] == self.clock)  # (n, n): the first is before the second
        someone = changed.float() @ earlier.float() > 0
        return self.state_of(time[:, self.clock.clamp(min=0)], someone)

    @staticmethod
    def state_of(time: Tensor, someone: Tensor) -> Tensor:
        """Where in its beat a number is whose clock says so, of a step in which another has changed or not."""
        return torch.where((time >= UNKNOWN) & someone, NOW, time)

    def added(self, states: Tensor, is_open: Tensor) -> Tensor:
        """What log-odds of holding have more, (R, n, KINDS); see `states` and `Held`."""
        which = torch.arange(self.own, device=states.device)
        return self.odds[states, (~is_open[..., 1]).long(), which]

    def added_of(self, number: int, states: Tensor, is_open: Tensor) -> Tensor:
        """The same of one number, (R,) and (R, KINDS) to (R, KINDS)."""
        return self.odds[states, (~is_open[:, 1]).long(), number]

    @torch.no_grad()
    def fit(self, told: Sequence[tuple[Held, Tensor, Tensor]], usual: Tensor, rank: Tensor) -> None:
        """Takes beats and odds from training sequences.

        Arguments:
            told: Batches of what numbers hold, (B * T, n), which are there, (B * T, n), and which steps count, (B, T).
            usual: Log-odds of holding at any step, (n, KINDS).
            rank: See `states`.
        """
        seen = []
        for held, there, counts in told:
            both = changes(held.is_open, held.told, held.values, there & counts.flatten()[:, None])
            seen.append(torch.stack(both).unflatten(1, counts.shape).float())  # (2, B, T, n)
        self._find(seen)
        if not self.has_any:
            return
        found = self.odds.new_zeros(STATES, 2, self.own, KINDS + 1)
        for held, there, counts in told:
            changed = self.changed(held, there & counts.flatten()[:, None])
            time, _ = self.along(changed.unflatten(0, counts.shape), self.nothing(len(counts)))
            states = self.states(time.flatten(0, 1), changed, rank)
            usable = held.is_open.any(dim=2) & there & counts.flatten()[:, None]
            kinds = torch.where(held.states >= 0, held.states, KINDS)
            which = torch.arange(self.own, device=kinds.device).expand_as(kinds)
            index = (states[usable], (~held.is_open[..., 1]).long()[usable], which[usable], kinds[usable])
            found.index_put_(index, torch.ones((), device=found.device), accumulate=True)
        shares = torch.cat([usual, torch.zeros_like(usual[:, :1])], dim=1).softmax(dim=1)
        found += PSEUDO * shares
        found[..., KINDS] += STRAY * found.sum(dim=3)
        odds = (found[..., :KINDS] / found[..., KINDS:]).log() - usual
        self.odds.copy_(torch.where((self.clock >= 0)[:, None], odds, 0.0))

    def _find(self, seen: Sequence[Tensor]) -> None:
        """Sets clocks and periods from the changes of sequences, (2, B, T, n) each: moves, and bends of lines."""
        longest = min(max(part.shape[2] for part in seen) - 1, 2 * LONGEST)
        if longest < 2:
            return
        pairs = self._pairs(seen, seen, longest)[:, longest + 1 :]  # (2, lags from 1, n)
        lags = torch.arange(1, longest + 1, device=pairs.device)
        total = pairs.sum(dim=1)
        period = torch.zeros_like(total, dtype=torch.long)
        for k in range(2, min(longest, LONGEST) + 1):
            share = pairs[:, lags % k == 0].sum(dim=1) / total.clamp(min=1.0)
            period = torch.where((share >= PURE) & (total >= PAIRS), k, period)  # the longest one
        kind = torch.where(period[0] > 0, 0, 1)  # what stays between beats also is on a level line
        period = period.gather(0, kind[None])[0]
        self.bends.copy_(kind == 1)
        mine = [torch.where(self.bends, part[1], part[0]) for part in seen]
        first: list[int] = []
        for i in sum(part.sum(dim=(0, 1)) for part in mine).argsort(descending=True).tolist():  # type: ignore[union-attr]
            if not period[i]:
                continue
            for clock, j in enumerate(first):
                if period[j] == period[i] and self._is_together(mine, i, j, int(period[i]), longest):
                    self.clock[i] = clock
                    break
            else:
                if len(first) < CLOCKS:
                    self.clock[i], self.period[len(first)] = len(first), period[i]
                    first.append(i)

    def _is_together(self, mine: Sequence[Tensor], i: int, j: int, period: int, longest: int) -> bool:
        one, other = ([part[None, ..., k : k + 1] for part in mine] for k in (i, j))
        pairs = self._pairs(one, other, longest)[0, :, 0]
        lags = torch.arange(-longest, longest + 1, device=pairs.device)
        return bool(pairs[lags % period == 0].sum() >= PURE * pairs.sum().clamp(min=1.0))

    @staticmethod
    def _pairs(one: Sequence[Tensor], other: Sequence[Tensor], longest: int) -> Tensor:
        """How many pairs of changes lie so many steps apart, (K, 2 longest + 1, n), of (K, B, T, n) each."""
        found = one[0].new_zeros(one[0].shape[0], 2 * longest + 1, one[0].shape[3])
        for a, b in zip(one, other, strict=True):
            steps = a.shape[2]
            for lag in range(-min(longest, steps - 1), min(longest, steps - 1) + 1):
                early, late = (a, b) if lag >= 0 else (b, a)
                apart = abs(lag)
                found[:, longest + lag] += (early[:, :, : steps - apart] * late[:, :, apart:]).sum(dim=(1, 2))
        return found


def changes(is_open: Tensor, told: Tensor, values: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Which numbers left what they were, and which the line through the two steps before, (...) each.

    Arguments:
        is_open: See `Held`, (..., KINDS).
        told: See there, (..., KINDS).
        values: Standardised, (...).
        there: Which have one, (...).
    """
    stay, line = is_open.unbind(dim=-1)
    before, ahead = told.unbind(dim=-1)
    is_level = (ahead - before).abs() <= NEAR
    moved = there & stay & ((values - before).abs() > NEAR)
    return moved, there & (line | (stay & is_level)) & ((values - ahead).abs() > NEAR)


class Beat:
    """The beats of a step that is drawn, number after number.

    Arguments:
        beats: Of all steps.
        time: Where each clock is by the steps before, (n, CLOCKS).

    Attributes:
        someone: Of which clocks a number has changed at this step, (n, CLOCKS).
    """

    def __init__(self, beats: Beats, time: Tensor) -> None:
        """See the class."""
        self.beats, self.time = beats, time
        self.someone = torch.zeros_like(time, dtype=torch.bool)
        self._clocks = beats.clock.tolist()

    def __getitem__(self, rows: Tensor) -> Beat:
        """The same of some rows, of whose step nothing is drawn."""
        return Beat(self.beats, self.time[rows])

    def has(self, number: int) -> bool:
        """Whether the number has a beat."""
        return number < len(self._clocks) and self._clocks[number] >= 0

    def added(self, number: int, rows: Tensor, is_open: Tensor) -> Tensor:
        """What log-odds of holding have more in some rows, (R,) of which kinds are open, (R, KINDS)."""
        clock = self._clocks[number]
        states = self.beats.state_of(self.time[rows, clock], self.someone[rows, clock])
        return self.beats.added_of(number, states, is_open)

    def hear(self, number: int, is_open: Tensor, told: Tensor, values: Tensor, there: Tensor) -> None:
        """Takes what a number is beside what is told of it; see `changes`, of n rows."""
        moved, bent = changes(is_open, told, values, there)
        self.someone[:, self._clocks[number]] |= bent if bool(self.beats.bends[number]) else moved


def _checked(model: Beats, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Refuses clocks and periods that there are none of: places are counted by them."""
    for name, least, most in (("clock", NONE, CLOCKS - 1), ("period", 0, LONGEST)):
        part = state.get(f"{prefix}{name}")
        if part is not None and (part.is_floating_point() or bool(((part < least) | (part > most)).any())):
            raise ValueError(f"{prefix}{name} must be whole numbers from {least} to {most}")
    odds = state.get(f"{prefix}odds")
    if odds is not None and not bool(torch.isfinite(odds).all()):
        raise ValueError(f"{prefix}odds must be finite")
