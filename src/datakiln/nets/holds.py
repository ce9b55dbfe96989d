"""Numbers that stay as they were, or go on in a straight line, exactly: a meter that is read too often, a gap filled.

A density has no mass where the step before was, however narrow it is there. In a file whose values repeat in half of
the steps, or that was interpolated between hours, that is what tells made rows from real ones first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln.nets.numbers import BELOW, CLOSED, Numbers

KINDS = 2  # as it was one step before; on the line through the two before
SAME = 2e-5  # standardised values that are this close are the same: places are single precision
MOST = 1.0 - 1e-4  # of a density's mass that is left out: the rest stays a number
LEAST = 0.02  # share of the steps from which on a number is said to
NONE = -1


class Held(NamedTuple):
    """What numbers are beside what the steps before say.

    Attributes:
        states: Of which kind each is, (B, n), or `NONE`.
        is_open: Of which it may be, (B, n, KINDS).
        told: Standardised values that the steps before say, (B, n, KINDS).
        values: Their own, (B, n); meaningless where there is none.
    """

    states: Tensor
    is_open: Tensor
    told: Tensor
    values: Tensor


class Holds(nn.Module):
    """Log-odds that a number is exactly what the steps before say, beside the logits of its codes and components.

    That a number did so is told to the columns drawn after it, and to the step that follows: numbers that were
    interpolated between the same hours bend at the same steps.

    Arguments:
        numbers: Those of a step, the first `own`; as many follow of the step before, and of the one before that.
        own: See there.
        width: Size of the features.
    """

    can: Tensor  # which numbers do so, of each kind, (n, KINDS)
    begin: Tensor  # coordinate at which each piece of a number begins, inf beyond the last, (n, K); see `Block`
    size: Tensor  # how far each goes
    low: Tensor  # standardised value there, inf beyond the last
    high: Tensor  # and at its end
    has_pieces: Tensor  # which numbers have any, (n,)

    def __init__(self, numbers: Numbers, own: int, width: int) -> None:
        """See the class."""
        super().__init__()
        self.own = own
        self.heads = nn.Parameter(torch.zeros(own, width, KINDS))
        self.bias = nn.Parameter(torch.zeros(own, KINDS))
        self.marks = nn.Parameter(torch.zeros(2, own, KINDS, width))  # told here, and of the step before
        self.register_buffer("can", torch.zeros(own, KINDS, dtype=torch.bool))
        self._lay_out(numbers)
        self.register_load_state_dict_pre_hook(_unmarked_before)

    def _lay_out(self, numbers: Numbers) -> None:
        parts = [numbers.codes.pieces[j] for j in numbers.columns[: self.own]]
        longest = max((len(part) for part in parts), default=0)
        laid = torch.full((4, self.own, longest), math.inf, dtype=torch.float64)
        for i, part in enumerate(parts):
            laid[:2, i, : len(part)] = torch.stack([part[:, 0], part[:, 1] - part[:, 0]])
            laid[2:, i, : len(part)] = (part[:, 2:].T - numbers.middle[i]) / numbers.spread[i]
        for name, part in zip(("begin", "size", "low", "high"), laid.float(), strict=True):
            self.register_buffer(name, part.contiguous(), persistent=False)
        self.register_buffer("has_pieces", torch.tensor([len(part) > 0 for part in parts]), persistent=False)

    def has(self, number: int) -> bool:
        """Whether this number of a step ever does."""
        return number < self.own and bool(self.can[number].any())

    @property
    def has_any(self) -> bool:
        """Whether any number does."""
        return bool(self.can.any())

    def values(self, numbers: Numbers, coordinates: Tensor) -> Tensor:
        """Standardised values that coordinates (B, 3 n) of a step and the two before come back as, (B, 3, n).

        Where several steps share a value it has a width among the coordinates, in which it is the same.
        """
        plain = numbers.values(coordinates).unflatten(1, (3, self.own))
        which = self.has_pieces.nonzero()[:, 0]
        if not len(which):
            return plain
        at = coordinates.unflatten(1, (3, self.own))[:, :, which].permute(2, 0, 1).flatten(1).contiguous()
        found = self._at(at, which).unflatten(1, (-1, 3)).permute(1, 2, 0)
        return plain.index_copy(2, which, found)

    def values_of(self, numbers: Numbers, number: int, coordinates: Tensor) -> Tensor:
        """See `values`; of one number, (B, 3)."""
        at = number + self.own * torch.arange(3, device=coordinates.device)
        if not self.has_pieces[number]:
            return numbers.values(coordinates[:, at], at)
        flat = coordinates[:, at].flatten()[None].contiguous()
        return self._at(flat, slice(number, number + 1)).view(-1, 3)

    def _at(self, coordinates: Tensor, which: Tensor | slice) -> Tensor:
        """The values at coordinates (m, B) of so many numbers that have pieces."""
        begin, size, low, high = (part[which] for part in (self.begin, self.size, self.low, self.high))
        at = (torch.searchsorted(begin, coordinates, right=True) - 1).clamp(min=0)
        share = ((coordinates - begin.gather(1, at)) / size.gather(1, at)).clamp(0.0, 1.0)
        left = low.gather(1, at)
        return left + share * (high.gather(1, at) - left)

    @staticmethod
    def told(values: Tensor) -> Tensor:
        """What the steps before say of numbers, (..., KINDS), from values as in `values`, the step's own first."""
        one, two = values[:, 1], values[:, 2]
        return torch.stack([one, 2 * one - two], dim=-1)

    def are_open(self, numbers: Numbers, coordinates: Tensor, there: Tensor) -> Tensor:
        """Where they may, (B, n, KINDS): the steps before are there, (B, N), and the value is none of other codes.

        A line that is level counts as staying alone, if that may be.
        """
        return self._open(self.values(numbers, coordinates), there, numbers.ends[: self.own])

    def _open(self, values: Tensor, there: Tensor, ends: Tensor) -> Tensor:
        n = self.own
        one = there[:, n : 2 * n]
        both = torch.stack([one, one & there[:, 2 * n : 3 * n]], dim=2)
        told = self.told(values)
        return _once(self.can & both & (told >= ends[:, :1]) & (told <= ends[:, 1:]), told)

    def states(self, numbers: Numbers, coordinates: Tensor, there: Tensor) -> Held:
        """Of which kind each number is; coordinates and which are there, (B, N) each."""
        n = self.own
        values = self.values(numbers, coordinates)
        is_open = self._open(values, there, numbers.ends[:n])
        told = self.told(values)
        same = (values[:, 0, :, None] - told).abs() <= SAME
        same = same & is_open & there[:, :n, None]
        return Held(torch.where(same[..., 0], 0, torch.where(same[..., 1], 1, NONE)), is_open, told, values[:, 0])

    def spans(self, numbers: Numbers, told: Tensor, is_open: Tensor) -> tuple[Tensor, Tensor]:
        """Between which coordinates numbers are what the steps before say, though drawn by a density, (B, n, KINDS).

        The two are equal where that has no width: values of numbers without pieces and with no code of their own, and
        what is not open.

        Arguments:
            numbers: The numbers.
            told: As from `told`, (B, n, KINDS).
            is_open: As from `are_open`.
        """
        low, high = self._spans(numbers, told.permute(1, 0, 2).flatten(1), slice(0, self.own))
        low, high = (part.unflatten(1, (-1, KINDS)).transpose(0, 1) for part in (low, high))
        return low, torch.where(is_open, high, low)

    def spans_of(self, numbers: Numbers, number: int, told: Tensor, is_open: Tensor) -> tuple[Tensor, Tensor]:
        """See `spans`; of one number, (B, KINDS)."""
        low, high = self._spans(numbers, told.flatten()[None], slice(number, number + 1))
        return low.view(told.shape), torch.where(is_open, high.view(told.shape), low.view(told.shape))

    def _spans(self, numbers: Numbers, told: Tensor, which: slice) -> tuple[Tensor, Tensor]:
        """Of standardised values (m, M) of those numbers."""
        told = told.contiguous()
        place = numbers.locate(told, which)
        last, steps, first = (part[which, None] for part in (numbers.last, numbers.steps, numbers.first))
        code = torch.minimum(place.floor().long().clamp(min=0), last - 1)
        node = first + code * (steps + 1)
        is_single = numbers.lumped[node] & ((numbers.knots[node] - told).abs() <= SAME)
        low = code.to(told.dtype)
        high = low + is_single.to(told.dtype)
        if self.begin.shape[1]:
            begin, size, value, end = (p[which] for p in (self.begin, self.size, self.low, self.high))
            # all that is told apart from it by no more than rounding: a shared value, several, or part of a line
            first = torch.searchsorted(end, told - SAME).clamp(max=end.shape[1] - 1)
            last = (torch.searchsorted(value, told + SAME, right=True) - 1).clamp(min=0)
            start, stop = (
                begin.gather(1, at)
                + size.gather(1, at) * share_of_way(edge, value.gather(1, at), end.gather(1, at), flat)
                for at, edge, flat in ((first, told - SAME, 0.0), (last, told + SAME, 1.0))
            )
            start = torch.maximum(start, stop.ceil() - 1.0)  # of one code
            has, is_any = self.has_pieces[which, None], stop > start
            low = torch.where(has & is_any, start, low)
            high = torch.where(has, torch.where(is_any, stop, low), high)
        return low, high

    def log_rest(
        self, numbers: Numbers, spans: tuple[Tensor, Tensor], shares: Tensor,
        parts: tuple[Tensor, Tensor, Tensor] | None, which: slice | int, masses: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Log of what codes and components leave beside what the steps before say, of one, (B, n) or (B,).

        Where they do say so, no density shall: a number that is drawn by one is drawn again if it is as they say.

        Arguments:
            numbers: The numbers.
            spans: See there.
            shares: Of the codes that those lie in, as of all codes and components, (..., KINDS).
            parts: Shares of components, their locations and scales, (..., R) each; None for none.
            which: Of those numbers.
            masses: What bins of changes have there; None for nothing.
        """
        mass = torch.zeros_like(shares[..., 0]) if masses is None else masses
        for kind in range(KINDS):
            low, high = (part[..., kind] for part in spans)
            found = shares[..., kind] * (high - low)
            if parts is not None:
                share, location, scale = parts
                inside = numbers.log_masses(low, high, location, scale, which).exp() * share
                found = found + torch.where(high > low, inside.sum(dim=-1), 0.0)
            mass = mass + found
        return torch.log1p(-mass.clamp(max=MOST))

    @torch.no_grad()
    def fit(self, numbers: Numbers, coordinates: Tensor, there: Tensor) -> None:
        """Takes from training rows which numbers do so, and how often; both (B, N)."""
        self.can.fill_(True)
        states, is_open, *_ = self.states(numbers, coordinates, there)
        count = is_open[..., 0].sum(dim=0).clamp(min=1)
        shares = torch.stack([(states == k).sum(dim=0) / count for k in range(KINDS)], dim=1)
        # codes of single values repeat anyway
        single = torch.tensor([numbers.is_lumped(i) for i in range(self.own)], device=shares.device)
        self.can.copy_((shares >= LEAST) & ~single[:, None])
        rest = (1.0 - (shares * self.can).sum(dim=1, keepdim=True)).clamp(min=0.01)
        self.bias.copy_(torch.where(self.can, (shares.clamp(min=LEAST) / rest).log(), 0.0))

    def logits(self, features: Tensor, number: int | None = None) -> Tensor:
        """Beside logits whose probabilities sum to one, (B, H) to (B, KINDS) of a number, or (B, n, H) of all."""
        if number is not None:
            return features.float() @ self.heads[number] + self.bias[number]
        return torch.einsum("bnh,nhk->bnk", features.float(), self.heads) + self.bias

    def added(
        self, logits: Tensor, is_open: Tensor, states: Tensor, picked: Tensor, totals: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of the cells and of all together, (B, n) each, with these beside the others.

        Arguments:
            logits: As from `logits`, relative to what the others sum to.
            is_open: As from `are_open`.
            states: As from `states`.
            picked: Logits of the cells by codes and components.
            totals: What all of those sum to.
        """
        held = totals[..., None] + logits.masked_fill(~is_open, CLOSED)
        own = held.gather(2, states.clamp(min=0)[..., None])[..., 0]
        return torch.where(states >= 0, own, picked), torch.logaddexp(totals, held.logsumexp(dim=2))

    def summed(self, states: Tensor, weights: Tensor) -> Tensor:
        """What the states (B, n) of the step before add to contexts together, (B, H), by their weights (B, n)."""
        kinds = functional.one_hot(states + 1, KINDS + 1)[..., 1:] * weights[:, : self.own, None]
        return kinds.to(self.marks.dtype).flatten(1) @ self.marks[1].flatten(0, 1)

    def marked_of(self, number: int, states: Tensor) -> Tensor:
        """What states (B,) of one number of a step add to a context, (B, H); nothing of `NONE`."""
        return functional.pad(self.marks[0, number], (0, 0, 0, 1))[states]

    def open_of(self, numbers: Numbers, number: int, coordinates: Tensor, there: Tensor) -> Tensor:
        """See `are_open`; of one number, (B, KINDS)."""
        n = self.own
        one = there[:, n + number]
        told, (low, high) = self.told(self.values_of(numbers, number, coordinates)), numbers.ends[number]
        both = torch.stack([one, one & there[:, 2 * n + number]], dim=1)
        return _once(self.can[number] & both & (told >= low) & (told <= high), told)

    def states_of(self, numbers: Numbers, number: int, coordinates: Tensor, is_open: Tensor) -> Tensor:
        """See `states`; of one number that is there, (B,); `is_open` as from `open_of`."""
        values = self.values_of(numbers, number, coordinates)
        same = ((values[:, :1] - self.told(values)).abs() <= SAME) & is_open
        return torch.where(same[:, 0], 0, torch.where(same[:, 1], 1, NONE))

    def places(self, numbers: Numbers, number: int, coordinates: Tensor) -> Tensor:
        """Coordinates that the steps before say of one number, (B, N) to (B, KINDS)."""
        line = self.told(self.values_of(numbers, number, coordinates))[:, 1]
        at = self.place_of(number, line) if self.has_pieces[number] else numbers.place_of(number, line)
        at = at.clamp(0.0, float(numbers.last[number]) - BELOW)
        return torch.stack([coordinates[:, self.own + number], numbers.settled(at, number)], dim=1)

    def place_of(self, number: int, values: Tensor) -> Tensor:
        """Coordinates of standardised values (B,) of a number with pieces: amid the piece that is this very value."""
        begin, size, low, high = (part[number] for part in (self.begin, self.size, self.low, self.high))
        at = (torch.searchsorted(low, values + SAME, right=True) - 1).clamp(min=0)
        return begin[at] + size[at] * share_of_way(values, low[at], high[at], 0.5)


def share_of_way(at: Tensor, low: Tensor, high: Tensor, flat: float) -> Tensor:
    """How far values lie on their way from low to high, in [0, 1]; `flat` where there is none."""
    width = high - low
    return torch.where(width > 0, ((at - low) / width.clamp(min=1e-12)).clamp(0.0, 1.0), flat)


def _once(is_open: Tensor, told: Tensor) -> Tensor:
    """Which kinds are open, (..., KINDS), each value that they say once."""
    is_level = (told[..., 1] - told[..., 0]).abs() <= SAME
    return torch.stack([is_open[..., 0], is_open[..., 1] & ~(is_open[..., 0] & is_level)], dim=-1)


def _unmarked_before(model: Holds, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """A checkpoint of before tells nobody what a number did: marks of nothing."""
    if f"{prefix}heads" in state:
        state.setdefault(f"{prefix}marks", torch.zeros_like(model.marks))
