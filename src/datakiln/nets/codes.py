"""Rows of codes: the vocabulary of all columns side by side, and evenly spread draws from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.spec import Block, Sum

GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, are spread evenly at every length

SCALE = 2**32
TRUNCATIONS = 8


class Terms(NamedTuple):
    """Columns that are added up, by their place among those with codes.

    Attributes:
        columns: One or two.
        signs: 1 or -1 for each.
    """

    columns: tuple[int, ...]
    signs: tuple[int, ...]

    @classmethod
    def of(cls, terms: Sum, names: Sequence[str]) -> Terms:
        """Of columns by name; raises `ValueError` for one that is none of them."""
        return cls(tuple(names.index(name) for _, name in terms), tuple(sign for sign, _ in terms))


class Codes(nn.Module):
    """The codes of C columns numbered through from 0 to T.

    Arguments:
        blocks: Code blocks, one for each column; those of numbers may be followed by the block of their place.

    Attributes:
        knots: Of each column that has a place, as a tensor; None for the others. See `Block`.
        pieces: Of each column, as a tensor (K, 4) with K = 0 where there are none. See there.
        equal_to: What a column equals in its last codes, for each column.
        sizes: Codes of each column.
        ordered: How many of them, from the first, are in an order, for each column.
        first: Number of each column's code 0, shape (C,).
        column: Column that each code belongs to, shape (T,).
        total: T.
    """

    first: Tensor
    column: Tensor
    position: Tensor
    place_position: Tensor

    def __init__(self, blocks: Sequence[Block], names: Sequence[str] = ()) -> None:
        """See the class."""
        super().__init__()
        everything, blocks = blocks, [block for block in blocks if block.kind == "code"]
        self.knots = [torch.tensor(b.knots, dtype=torch.float64) if b.knots else None for b in blocks]
        self.pieces = [torch.tensor(b.pieces, dtype=torch.float64).reshape(-1, 4) for b in blocks]
        self.equal_to = [[Terms.of(terms, names) for terms in block.equal_to] for block in blocks]
        self.width = len(everything)
        places = [block.start for block in everything if block.kind == "place"]
        self.register_buffer("position", torch.tensor([block.start for block in blocks]), persistent=False)
        self.register_buffer("place_position", torch.tensor(places, dtype=torch.long), persistent=False)
        self.sizes, self.ordered = [block.size for block in blocks], [block.ordered for block in blocks]
        self.total = sum(self.sizes)
        sizes = torch.tensor(self.sizes)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("column", torch.repeat_interleave(torch.arange(len(sizes)), sizes), persistent=False)

    def __len__(self) -> int:
        """C."""
        return len(self.sizes)

    def check(self) -> None:
        """Refuses a table of which nothing can be learnt; raises `UserError`."""
        if self.total == len(self):
            told = "the training rows are too few: each column makes a single code, so that nothing can be learnt"
            raise UserError(f"{told}; bring more rows, or use model=vae")

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows with NaN where unknown, (B, C), to numbers of codes (0 for the unknown) and whether each is known."""
        if len(self.place_position):
            x = x[:, self.position]
        known = ~torch.isnan(x)
        return torch.where(known, x, 0.0).long() + self.first, known

    def places(self, x: Tensor) -> Tensor:
        """Coordinates of the numbers in rows (B, D), 0 where unknown, shape (B, N); see `nets.numbers`."""
        return x[:, self.place_position].nan_to_num(0.0)

    def written(self, codes: Tensor, coordinates: Tensor) -> Tensor:
        """Codes that count from the first of their column (B, C), and coordinates (B, N), to rows (B, D)."""
        if not len(self.place_position):
            return codes.float()
        x = torch.empty(len(codes), self.width, device=codes.device)
        x[:, self.position], x[:, self.place_position] = codes.float(), coordinates.float()
        return x

    def part(self, column: int) -> slice:
        """The numbers of one column's codes."""
        start = sum(self.sizes[:column])
        return slice(start, start + self.sizes[column])

    def sums(self, values: Tensor) -> Tensor:
        """(T, *) to sums over the codes of each column, (C, *)."""
        return values.new_zeros(len(self), *values.shape[1:]).index_add_(0, self.column, values)

    def needed(self, column: int) -> set[int]:
        """Columns that a column has states of equality with."""
        return {other for terms in self.equal_to[column] for other in terms.columns}

    def states(self, column: int) -> list[tuple[int, Terms]]:
        """States of equality of a column: each by the number of its code among all codes, and what it equals."""
        equal_to = self.equal_to[column]
        return list(enumerate(equal_to, start=self.part(column).stop - len(equal_to))) if equal_to else []

    def counts(self, codes: Tensor, known: Tensor) -> Tensor:
        """How often each code occurs, shape (T,), dtype long."""
        return torch.bincount(codes[known], minlength=self.total)


def invert(weights: Tensor, group: Tensor, uniforms: Tensor) -> Tensor:
    """Draws from G distributions by inversion, with one search in their distribution functions laid end to end.

    Arguments:
        weights: Of the K outcomes of each distribution, any scale, shape (G, K).
        group: Which distribution each row draws from, shape (n,).
        uniforms: Numbers in [0, 1), shape (n,).

    Returns:
        Outcomes, shape (n,), dtype long.
    """
    size = weights.shape[1]
    ends = weights.cumsum(dim=1) if size < 8 else weights @ torch.ones_like(weights[0].expand(size, size)).triu_()
    # whole numbers add without error, so that one row's function begins where the last one's ends
    scaled = (ends / ends[:, -1:] * SCALE).long() + torch.arange(len(ends), device=ends.device)[:, None] * SCALE
    found = torch.searchsorted(scaled.flatten(), (uniforms * SCALE).long() + group * SCALE, right=True)
    return (found - group * size).clamp_(0, size - 1)


class Strata:
    """Uniform numbers for n rows that are drawn column by column, spread evenly among rows that are alike so far.

    Array randomised quasi-Monte Carlo (L'Ecuyer, Lecot and Tuffin, 2008): before each column the rows are sorted by
    what they hold already, the latest column first, and the numbers run along them as a randomly shifted golden-ratio
    sequence. Each row by itself is drawn exactly as with independent numbers; together, the shares of codes and of
    pairs of codes vary less.

    Arguments:
        n: Rows.
        device: Where the rows are.
        even: Whether to do so; independent numbers if not.
    """

    def __init__(self, n: int, device: torch.device, even: bool = True) -> None:
        """See the class."""
        self.n, self.device, self.even = n, device, even
        self.order = torch.randperm(n).to(device) if even else None

    def uniforms(self) -> Tensor:
        """Numbers in [0, 1), shape (n,)."""
        if self.order is None:
            return torch.rand(self.n, device=self.device)
        points = (torch.rand(1, dtype=torch.float64) + torch.arange(self.n) * GOLDEN) % 1.0
        return (
            torch.empty(self.n, device=self.device)
            .scatter_(0, self.order, points.float().to(self.device))
            .clamp_(max=1.0 - 2**-24)
        )

    def sort(self, codes: Tensor) -> None:
        """Rows that have the same code, shape (n,), stand together from now on, in their former order."""
        if self.order is not None:
            self.order = self.order[codes[self.order].argsort(stable=True)]


def resample(log_odds: Tensor, group: Tensor, n: int) -> Tensor:
    """Systematic resampling of candidates within groups of equally many for each of the n rows wanted.

    No candidate is chosen twice: the share of one that outweighs the others is cut to a row (truncated importance
    sampling, Ionides, 2008), and the others of its group have what that leaves.

    Arguments:
        log_odds: Of each candidate, up to a constant, shape (n * P,).
        group: Of each candidate, in ascending order.
        n: Rows wanted; a group gets one for every P candidates.

    Returns:
        The chosen candidates, in ascending order, shape (n,).
    """
    groups = int(group[-1]) + 1
    top = torch.full((groups,), -math.inf, device=group.device).scatter_reduce_(0, group, log_odds, "amax")
    odds = (log_odds - top[group]).double().exp()
    total = torch.zeros(groups, dtype=torch.float64, device=group.device).index_add_(0, group, odds)
    wanted = torch.bincount(group, minlength=groups) * n // len(group)
    expected = odds * (wanted / total)[group]
    for _ in range(TRUNCATIONS):  # each cuts those that the last one has raised above a row
        cut = expected.clamp(max=1.0)
        lost = torch.zeros_like(total).index_add_(0, group, expected - cut)
        open_ = torch.zeros_like(total).index_add_(0, group, torch.where(expected < 1.0, expected, 0.0))
        expected = torch.where(expected < 1.0, cut * (1.0 + lost / open_.clamp(min=1e-300))[group], cut)
    sums = torch.zeros_like(total).index_add_(0, group, expected)
    ends = (expected * (wanted / sums)[group]).cumsum(0)
    offset = float(torch.rand((), dtype=torch.float64).clamp(1e-6, 1 - 1e-6))  # off the borders between groups
    at = torch.arange(n, dtype=torch.float64, device=group.device) + offset
    return torch.searchsorted(ends, at).clamp_(max=len(group) - 1)
