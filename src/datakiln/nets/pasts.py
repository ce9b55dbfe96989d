"""What a number's own past tells of it alone: how it moved, and whether it was as the steps before said.

In a sum over the columns of the steps before, the past of one of dozens is hard to hear; it is what tells most of it:
a calm number stays calm. Of the steps farther back running means are told.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln.nets.holds import KINDS

SHAPES = 3  # features of a move: how far, how far either way, and whether both steps have a value
EACH = SHAPES + KINDS
KEPT = (0.6, 0.9)  # of running means, from one step to the next
FEATURES = EACH * (1 + len(KEPT))
LEAST = 1e-4  # a move, in standardised values: what is less is none


class Pasts(nn.Module):
    """A vector for the context of each number, from what it did in the steps before.

    Arguments:
        own: Numbers of a step.
        width: Size of a context.
    """

    kept: Tensor  # of each running mean, from one step to the next, (EACH * rates,)
    unit: Tensor  # usual move of each number, in standardised values, (n,)

    def __init__(self, own: int, width: int) -> None:
        """See the class."""
        super().__init__()
        self.own = own
        self.vectors = nn.Parameter(torch.zeros(own, FEATURES, width))
        self.register_buffer("unit", torch.ones(own))
        kept = torch.tensor(KEPT).repeat_interleave(EACH)
        self.register_buffer("kept", kept, persistent=False)

    @torch.no_grad()
    def fit(self, values: Tensor, there: Tensor) -> None:
        """Takes usual moves from training rows: standardised values (R, 3, n), and which are there, (R, 3 n)."""
        size = (values[:, 1] - values[:, 2]).abs()
        moves = (size > LEAST) & there[:, self.own : 2 * self.own] & there[:, 2 * self.own :]
        usual = [
            part[is_one].median() if is_one.any() else part.new_ones(())
            for part, is_one in zip(size.T, moves.T, strict=True)
        ]
        self.unit.copy_(torch.stack(usual).clamp(min=LEAST))

    def features(self, values: Tensor, there: Tensor, states: Tensor | None) -> Tensor:
        """What each number did last, (R, n, EACH).

        Arguments:
            values: Standardised, of rows beside their two steps before, (R, 3, n).
            there: Which of them are, (R, 3 n).
            states: Which numbers of the step before were as those before it say, (R, n), see `Holds`; None: no such.
        """
        n = self.own
        both = (there[:, n : 2 * n] & there[:, 2 * n :]).to(values.dtype)
        move = torch.asinh((values[:, 1] - values[:, 2]) / self.unit) * both
        shape = torch.stack([move, move.abs(), both], dim=2)
        if states is None:
            return functional.pad(shape, (0, KINDS))
        return torch.cat([shape, functional.one_hot(states + 1, KINDS + 1)[..., 1:].to(move.dtype)], dim=2)

    def nothing(self, n: int) -> Tensor:
        """Running means of n sequences that have not begun, (n, N, EACH * rates)."""
        return self.vectors.new_zeros(n, self.own, EACH * len(KEPT))

    def moved_on(self, means: Tensor, features: Tensor) -> Tensor:
        """Running means (n, N, EACH * rates) with one step's features, (n, N, EACH)."""
        return torch.lerp(features.repeat(1, 1, len(KEPT)), means, self.kept)

    def along(self, features: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
        """Features beside the running means of those before, (n, T, N, F), and the means after the last step.

        Arguments:
            features: Of each step, (n, T, N, EACH).
            means: Before the first.
        """
        told = []
        for part in features.unbind(dim=1):
            told.append(torch.cat([part, means], dim=2))
            means = self.moved_on(means, part)
        return torch.stack(told, dim=1), means

    def told(self, features: Tensor) -> Tensor:
        """What features (R, N, F) add to the contexts of the numbers, (N, R, H)."""
        return torch.bmm(features.transpose(0, 1), self.vectors)
