"""How far a number moves from one step to the next, by bins of the moves of training steps.

Parts with tails that lie about the value before make moves that are too wide, and a wide one makes the next one wide.
Bins end where the moves of training steps do, and begin with shares by which those are as frequent as there.

Values are not all as likely to be moved to: a sensor that is read in tenths and averaged by threes has no value at many
a move, and another one at each value. Coordinates go by how many steps have a value, so a bin counts by how wide it is
among them (a product of what moves say and what values say; see Hinton, 2002, https://doi.org/10.1162/089976602760128018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from datakiln.nets.holds import SAME, Holds, share_of_way
from datakiln.nets.numbers import CLOSED, Numbers, fitted_weights

TAILS = (0.0005, 0.002, 0.005, 0.01)  # shares of the moves that lie beyond the outermost edges
BESIDE = 2 * SAME  # standardised values that a bin of a single move goes to either side of it
COMMON = 0.02  # share of the moves from which on one has a bin of its own
EACH = 20  # moves that a bin has at least
PSEUDO = 0.5  # moves that a bin has more than were counted
SHAPES = 2  # features of a move: how far, and how far either way
LEAST_WIDTH = 1e-6  # among coordinates
LEAST = 0.02  # nats a number gains at least by bins: less is not worth what they cost
MOST = 0.98  # weight of all bins together to begin with
ROUNDS = 40  # of fitting shares
STEP = 3.0  # nats that a share goes in one of them at most
RAREST = -20.0  # log of a share


class Changes(nn.Module):
    """Logits that the move of a number lies at coordinates of a bin, in which all are as likely.

    Arguments:
        own: Numbers of a step, n.
        width: Size of the features.
        bins: Of each number, M.
    """

    edges: Tensor  # standardised values that a bin begins at, beyond the value before, the last end behind; (n, M + 1)
    has: Tensor  # which numbers have bins, (n,)
    unit: Tensor  # usual move of each number, in standardised values, (n,)
    by_width: Tensor  # whether bins count by how wide they are among coordinates

    def __init__(self, own: int, width: int, bins: int) -> None:
        """See the class."""
        super().__init__()
        self.own, self.bins = own, bins
        self.heads = nn.Parameter(torch.zeros(own, width, bins))
        self.bias = nn.Parameter(torch.zeros(own, bins))
        self.marks = nn.Parameter(torch.zeros(own, SHAPES, width))
        self.register_buffer("unit", torch.ones(own))
        self.register_buffer("edges", torch.zeros(own, bins + 1))
        self.register_buffer("has", torch.zeros(own, dtype=torch.bool))
        self.register_buffer("by_width", torch.tensor(True))
        self.register_load_state_dict_pre_hook(_alike_before)

    def has_of(self, number: int) -> bool:
        """Whether this number of a step has bins."""
        return number < self.own and bool(self.has[number])

    @torch.no_grad()
    def fit(self, values: Tensor, counts: Tensor, stays: Tensor) -> None:
        """Takes edges and shares from training rows.

        Arguments:
            values: Standardised, of rows beside their two steps before, (B, 3, n).
            counts: Which numbers are there, as in the step before, and not what the steps before say, (B, n).
            stays: Which numbers may stay as they are beside all bins, (n,), see `Holds`: none of a width around that.
        """
        moves = (values[:, 0] - values[:, 1]).double()
        for i in range(self.own):
            found = moves[counts[:, i], i]
            edges = _edges(found, self.bins, bool(stays[i]))
            if edges is None:
                continue
            shares = torch.histogram(found.cpu(), edges.cpu())[0] + PSEUDO
            filled = len(shares)
            self.edges[i, : filled + 1], self.edges[i, filled + 1 :] = edges.float(), edges[-1].float()
            self.bias[i, :filled], self.bias[i, filled:] = (shares / shares.sum()).log().float(), CLOSED
            self.has[i] = True
            self.unit[i] = found.abs().median().clamp(min=1e-4)

    def described(self, values: Tensor, there: Tensor) -> Tensor:
        """Features of the moves of numbers, (B, n, SHAPES), nothing where there is no value or none before.

        Arguments:
            values: Standardised, of rows beside the steps before, (B, 2 or more, n).
            there: Which of them are, (B, 2 n or more).
        """
        n = self.own
        both = there[:, :n] & there[:, n : 2 * n] & self.has
        move = torch.asinh((values[:, 0] - values[:, 1]) / self.unit) * both
        return torch.stack([move, move.abs()], dim=2)

    def marked_of(self, number: int, values: Tensor, both: Tensor) -> Tensor:
        """What the move of one number adds to a context, (B, H); values (B, 2 or more), where both are, (B,)."""
        move = torch.asinh((values[:, 0] - values[:, 1]) / self.unit[number]) * (both & self.has[number])
        return torch.stack([move, move.abs()], dim=1) @ self.marks[number]

    def bounds(self, numbers: Numbers, holds: Holds, before: Tensor, which: Tensor) -> Tensor:
        """Coordinates that bins go from and to, (B, m, M + 1), about standardised values of before, (B, n).

        Arguments:
            numbers: The numbers.
            holds: Of the same.
            before: See above.
            which: Of those m numbers.
        """
        told = (before[:, which, None] + self.edges[which]).permute(1, 0, 2).flatten(1).contiguous()
        return self._bounds(numbers, holds, told, which).unflatten(1, (-1, self.bins + 1)).transpose(0, 1)

    def bounds_of(self, numbers: Numbers, holds: Holds, number: int, before: Tensor) -> Tensor:
        """The same of one number, (B,) to (B, M + 1)."""
        told = (before[:, None] + self.edges[number]).flatten()[None]
        which = torch.tensor([number], device=before.device)
        return self._bounds(numbers, holds, told, which).view(-1, self.bins + 1)

    def _bounds(self, numbers: Numbers, holds: Holds, told: Tensor, which: Tensor) -> Tensor:
        plain = numbers.locate(told, which)
        if holds.begin.shape[1]:
            begin, size, low, high = (p[which] for p in (holds.begin, holds.size, holds.low, holds.high))
            at = torch.searchsorted(low, told - SAME, right=False) - 1  # a value itself belongs to what lies above it
            inside = at.clamp(min=0)
            share = share_of_way(told, low.gather(1, inside), high.gather(1, inside), 1.0)
            found = begin.gather(1, inside) + size.gather(1, inside) * share
            found = torch.where(at < 0, 0.0, found)
            plain = torch.where(holds.has_pieces[which, None], found, plain)
        last = numbers.last[which, None]
        plain = torch.minimum(plain.clamp(min=0.0), last.to(plain.dtype))
        # the codes of single values lie in one bin each
        code = torch.minimum(plain.floor().long(), last - 1)
        node = numbers.first[which, None] + code * (numbers.steps[which, None] + 1)
        whole = code + (told > numbers.knots[node] - SAME).to(plain.dtype)
        is_open = plain < last
        return torch.where(numbers.lumped[node] & is_open, whole, plain)

    def logits(self, features: Tensor, which: Tensor | int) -> Tensor:
        """Of the bins, (B, H) to (B, M) of a number, or (B, n, H) to (B, m, M) of those m numbers."""
        if isinstance(which, int):
            return features.float() @ self.heads[which] + self.bias[which]
        return torch.einsum("bnh,nhm->bnm", features[:, which].float(), self.heads[which]) + self.bias[which]

    def spread(self, logits: Tensor, bounds: Tensor, there: Tensor) -> Tensor:
        """Logits of bins by their widths, which sum to what they did; `CLOSED` for those that have none, (..., M).

        Twice as wide is hardly more from about a code on: what counts is whether there is anything to move to.

        Arguments:
            logits: As from `logits`.
            bounds: As from `bounds`, (..., M + 1).
            there: Where there is a value before, (...,).
        """
        wide = bounds[..., 1:] - bounds[..., :-1]
        is_open = (wide > 0) & there[..., None]
        if self.by_width:
            weighed = torch.where(is_open, logits + (wide / (1.0 + wide)).clamp(min=LEAST_WIDTH).log(), CLOSED)
            total = logits.logsumexp(dim=-1, keepdim=True) - weighed.logsumexp(dim=-1, keepdim=True)
            logits = weighed + total
        return logits.masked_fill(~is_open, CLOSED)

    @staticmethod
    def log_densities(bounds: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Which bin coordinates lie in, and the log of its density there, (...,) each, `CLOSED` outside of all."""
        at = (bounds[..., 1:-1] <= coordinates[..., None]).sum(dim=-1, keepdim=True)
        low, high = bounds.gather(-1, at)[..., 0], bounds.gather(-1, at + 1)[..., 0]
        inside = (coordinates >= low) & (coordinates < high)
        return at[..., 0], torch.where(inside, -(high - low).clamp(min=LEAST_WIDTH).log(), CLOSED)

    @staticmethod
    def masses(bounds: Tensor, shares: Tensor, spans: tuple[Tensor, Tensor]) -> Tensor:
        """What the bins, of shares (..., M), have in spans (..., KINDS), summed over those, (...,)."""
        total = torch.zeros_like(shares[..., 0])
        rate = shares / (bounds[..., 1:] - bounds[..., :-1]).clamp(min=LEAST_WIDTH)
        for kind in range(spans[0].shape[-1]):
            low, high = (part[..., kind, None] for part in spans)
            inside = (torch.minimum(bounds[..., 1:], high) - torch.maximum(bounds[..., :-1], low)).clamp(min=0.0)
            total = total + (inside * rate).sum(dim=-1)
        return total

    @torch.no_grad()
    def set_weights(
        self, bounds: Tensor, coordinates: Tensor, others: Tensor, counts: Tensor, shares: Tensor, least: Tensor
    ) -> Tensor:
        """Bins begin with the weight that fits training rows beside all else; numbers that they hardly fit have none.

        Arguments:
            bounds: As from `bounds`, of all numbers, (B, n, M + 1).
            coordinates: Of the numbers, (B, n).
            others: Log-density of those by all else, (B, n).
            counts: Which are looked at, (B, n).
            shares: How often the numbers have a value, by all else, (n,).
            least: Weight of that which is left to their codes at least, (n,).

        Returns:
            The weight of the bins among all that gives a value, 0 for numbers that have none, (n,).
        """
        at, density = self.log_densities(bounds, coordinates)
        if self.by_width:
            self._fit_shares(bounds, counts)
        logits = self.spread(self.bias.expand(len(at), -1, -1), bounds, torch.ones_like(counts))
        mine = logits.gather(2, at[..., None])[..., 0] + density + shares.log()
        gain = mine - others
        weight = fitted_weights(gain[..., None], counts)[:, 1].clamp(0.01, MOST)
        weight = torch.minimum(weight, MOST * (1.0 - least))
        more = torch.logaddexp(torch.log1p(-weight), weight.log() + gain) * counts
        self.has &= more.sum(dim=0) / counts.sum(dim=0).clamp(min=1) >= LEAST
        self.bias.add_(torch.where(self.has, (weight * shares).log(), 0.0)[:, None])
        return torch.where(self.has, weight, 0.0)

    def _fit_shares(self, bounds: Tensor, counts: Tensor) -> None:
        """Sets biases so that bins are drawn after training rows as often as was counted (iterative scaling)."""
        for i in self.has.nonzero()[:, 0].tolist():
            some, filled = bounds[counts[:, i], i], int((self.bias[i] > CLOSED).sum())
            if not len(some):
                continue
            wanted, has_width = self.bias[i, :filled].clone(), (some.diff(dim=1) > 0).any(dim=0)[:filled]
            everywhere = torch.ones_like(some[:, 0], dtype=torch.bool)
            for _ in range(ROUNDS):
                found = self.spread(self.bias[i].expand(len(some), -1), some, everywhere).logsumexp(dim=0)[:filled]
                step = torch.where(has_width, wanted - found + math.log(len(some)), 0.0).clamp(-STEP, STEP)
                self.bias[i, :filled] = (self.bias[i, :filled] + step).log_softmax(dim=0).clamp(min=RAREST)


def _alike_before(model: Changes, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Bins of a checkpoint of before count alike, however wide they are."""
    if f"{prefix}edges" in state:
        state.setdefault(f"{prefix}by_width", torch.zeros_like(model.by_width))


def _edges(moves: Tensor, bins: int, stays: bool) -> Tensor | None:
    """Edges of at most so many bins, in ascending order; None where the moves are too few for two.

    Moves that many steps share have bins of their own, the others quantiles, finer in the tails.
    """
    bins = min(bins, len(moves) // EACH)
    if bins < 2 + 2 * stays:
        return None
    ranked = moves.sort().values
    is_new = torch.cat([ranked.new_ones(1, dtype=torch.bool), ranked.diff() > SAME])
    values, counts = ranked[is_new], torch.bincount(is_new.cumsum(0) - 1)
    most = counts.argsort(descending=True, stable=True)[: (bins - 1 - 2 * stays) // 3]
    most = most[counts[most] >= COMMON * len(moves)]
    is_common = torch.zeros_like(is_new[is_new]).index_fill(0, most, True)
    rest, left = ranked[~is_common[is_new.cumsum(0) - 1]], bins - 2 * len(most) - 2 * stays
    found = [values[:1] - BESIDE, values[-1:] + BESIDE, values[most] - BESIDE, values[most] + BESIDE]
    if len(rest) >= 2 * EACH and left > 2:
        tails = [t for t in TAILS if t * len(rest) >= 2] if left > 4 * len(TAILS) else []
        inner = torch.linspace(0.02, 0.98, left - 1 - 2 * len(tails), dtype=moves.dtype).tolist()
        at = torch.tensor([*tails, *inner, *(1 - t for t in reversed(tails))], dtype=moves.dtype, device=moves.device)
        wanted = rest[(at * (len(rest) - 1)).long()]
        between = (values[1:] + values[:-1]) / 2
        found.append(between[torch.searchsorted(between, wanted).clamp(max=len(between) - 1)])
    if stays:
        found.append(moves.new_tensor([-BESIDE, BESIDE]))
    edges = torch.cat(found).unique()
    return edges[torch.cat([edges.new_ones(1, dtype=torch.bool), edges.diff() > BESIDE])]
