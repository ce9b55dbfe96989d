"""Numbers that stay as they were, or go on in a straight line, exactly: a meter that is read too often, a gap filled.

A density has no mass where the step before was, however narrow it is there. In a file whose values repeat in half of
the steps, or that was interpolated between hours, that is what tells made rows from real ones first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datakiln.nets.numbers import BELOW, CLOSED, Numbers

KINDS = 2  # as it was one step before; on the line through the two before
SAME = 2e-5  # standardised values that are this close are the same: places are single precision
LEAST = 0.02  # share of the steps from which on a number is said to
NONE = -1


class Holds(nn.Module):
    """Log-odds that a number is exactly what the steps before say, beside the logits of its codes and components.

    Arguments:
        own: Numbers of a step, the first among all; as many follow of the step before, and of the one before that.
        width: Size of the features.
    """

    can: Tensor  # which numbers do so, of each kind, (n, KINDS)

    def __init__(self, own: int, width: int) -> None:
        """See the class."""
        super().__init__()
        self.own = own
        self.heads = nn.Parameter(torch.zeros(own, width, KINDS))
        self.bias = nn.Parameter(torch.zeros(own, KINDS))
        self.register_buffer("can", torch.zeros(own, KINDS, dtype=torch.bool))

    def has(self, number: int) -> bool:
        """Whether this number of a step ever does."""
        return number < self.own and bool(self.can[number].any())

    @property
    def has_any(self) -> bool:
        """Whether any number does."""
        return bool(self.can.any())

    def told(self, numbers: Numbers, coordinates: Tensor) -> Tensor:
        """Standardised values that the steps before say, (B, n, KINDS), from the coordinates of all numbers, (B, N)."""
        n = self.own
        values = numbers.values(coordinates)
        one, two = values[:, n : 2 * n], values[:, 2 * n : 3 * n]
        return torch.stack([one, 2 * one - two], dim=2)

    def are_open(self, numbers: Numbers, coordinates: Tensor, there: Tensor) -> Tensor:
        """Where they may, (B, n, KINDS): the steps before are there, (B, N), and the value is none of other codes."""
        n = self.own
        one = there[:, n : 2 * n]
        both = torch.stack([one, one & there[:, 2 * n : 3 * n]], dim=2)
        told, ends = self.told(numbers, coordinates), numbers.ends[:n]
        return self.can & both & (told >= ends[:, :1]) & (told <= ends[:, 1:])

    def states(self, numbers: Numbers, coordinates: Tensor, there: Tensor, is_open: Tensor) -> Tensor:
        """Of which kind each number is, (B, n), or `NONE`; `is_open` as from `are_open`."""
        n = self.own
        value = numbers.values(coordinates)[:, :n]
        same = (value[..., None] - self.told(numbers, coordinates)).abs() <= SAME
        same = same & is_open & there[:, :n, None]
        return torch.where(same[..., 0], 0, torch.where(same[..., 1], 1, NONE))

    @torch.no_grad()
    def fit(self, numbers: Numbers, coordinates: Tensor, there: Tensor) -> None:
        """Takes from training rows which numbers do so, and how often; both (B, N)."""
        self.can.fill_(True)
        is_open = self.are_open(numbers, coordinates, there)
        states = self.states(numbers, coordinates, there, is_open)
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

    def open_of(self, numbers: Numbers, number: int, coordinates: Tensor, there: Tensor) -> Tensor:
        """See `are_open`; of one number, (B, KINDS)."""
        n = self.own
        one = there[:, n + number]
        told, (low, high) = self.told_of(numbers, number, coordinates), numbers.ends[number]
        return (
            self.can[number]
            & torch.stack([one, one & there[:, 2 * n + number]], dim=1)
            & (told >= low)
            & (told <= high)
        )

    def told_of(self, numbers: Numbers, number: int, coordinates: Tensor) -> Tensor:
        """See `told`; of one number, (B, KINDS)."""
        at = torch.tensor([self.own + number, 2 * self.own + number], device=coordinates.device)
        one, two = numbers.values(coordinates[:, at], at).unbind(dim=1)
        return torch.stack([one, 2 * one - two], dim=1)

    def states_of(self, numbers: Numbers, number: int, coordinates: Tensor, is_open: Tensor) -> Tensor:
        """See `states`; of one number that is there, (B,); `is_open` as from `open_of`."""
        value = numbers.values(coordinates[:, number, None], slice(number, number + 1))
        same = ((value - self.told_of(numbers, number, coordinates)).abs() <= SAME) & is_open
        return torch.where(same[:, 0], 0, torch.where(same[:, 1], 1, NONE))

    def places(self, numbers: Numbers, number: int, coordinates: Tensor) -> Tensor:
        """Coordinates that the steps before say of one number, (B, N) to (B, KINDS)."""
        line = numbers.place_of(number, self.told_of(numbers, number, coordinates)[:, 1])
        line = line.clamp(0.0, float(numbers.last[number]) - BELOW)
        return torch.stack([coordinates[:, self.own + number], numbers.settled(line, number)], dim=1)
