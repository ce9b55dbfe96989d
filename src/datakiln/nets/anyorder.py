"""Rows of an any-order autoregressive network, column after column: drawn, or their likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln.nets.codes import Codes, Strata, invert
from datakiln.nets.linear import Linear, linear

WAVES = 8  # cosines of the rank, of up to four periods, that vectors of ordered codes share
FREE = 0.3  # of an ordered code's start is its own; the rest it has in common with its neighbours


class CodeTable(nn.Module):
    """Vectors of all codes side by side, (T, H): each code has its own, and codes of a number a smooth part as well.

    Without it the codes of a number would be as foreign to each other as any categories, and a table of a few hundred
    rows would teach nothing about how two numbers go together.

    Arguments:
        codes: The columns.
        width: H.
        scale: Standard deviation of the vectors at the start.
    """

    waves: Tensor

    def __init__(self, codes: Codes, width: int, scale: float) -> None:
        """See the class."""
        super().__init__()
        self.codes = codes
        waves, scales = torch.zeros(codes.total, WAVES), torch.full((codes.total, 1), scale)
        self.place: dict[int, int] = {}  # of an ordered column among them
        for j, ordered in enumerate(codes.ordered):
            if ordered:
                self.place[j] = len(self.place)
                rows = slice(codes.part(j).start, codes.part(j).start + ordered)
                rank = (torch.arange(ordered) + 0.5) / ordered
                waves[rows] = torch.cos(math.pi * rank[:, None] * torch.arange(1, WAVES + 1))
                scales[rows] *= FREE
        self.register_buffer("waves", waves, persistent=False)
        self.own = nn.Parameter(torch.randn(codes.total, width) * scales)
        start = torch.randn(len(self.place), WAVES, width) * scale / math.sqrt(WAVES)
        self.shared = nn.Parameter(start) if self.place else None

    def forward(self) -> Tensor:
        """All vectors, (T, H)."""
        return torch.cat([self.of(j) for j in range(len(self.codes))])

    def of(self, column: int) -> Tensor:
        """Those of one column, (size, H)."""
        part = self.codes.part(column)
        if self.shared is None or column not in self.place:
            return self.own[part]
        return torch.addmm(self.own[part], self.waves[part], self.shared[self.place[column]])


class Network(nn.Module):
    """Log-probabilities of the codes of each column given the embeddings of other columns, summed.

    Arguments:
        codes: The columns.
        width: Size of an embedding.
        blocks: Residual blocks.
        hidden: Size of a block's hidden layer.
        dropout: Share of hidden units left out while training.
    """

    def __init__(self, codes: Codes, width: int, blocks: int, hidden: int, dropout: float) -> None:
        """See the class."""
        super().__init__()
        self.codes = codes
        self.embedding = CodeTable(codes, width, scale=0.3)
        self.target = nn.Parameter(torch.randn(len(codes), width) * 0.3)
        self.blocks = nn.ModuleList([_Block(width, hidden, dropout) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)
        self.out = CodeTable(codes, width, scale=0.0)
        self.bias = nn.Parameter(torch.zeros(codes.total))

    def features(self, context: Tensor, column: int | slice) -> Tensor:
        """What the summed embeddings (..., H) say about a column, or (B, C, H) about all of them; same shape."""
        h = context + self.target[column]
        for block in self.blocks:
            h = block(h)
        return functional.silu(self.norm(h))

    def logits(self, features: Tensor, column: int) -> Tensor:
        """Unnormalised log-probabilities of the column's codes, (B, H) to (B, size); exact unless training."""
        part = self.codes.part(column)
        if self.training:
            return linear(features, self.out.of(column)).float() + self.bias[part]
        with torch.autocast(features.device.type, enabled=False):
            return linear(features.float(), self.out.of(column), self.bias[part])


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = Linear(width, hidden), Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.dropout(functional.silu(self.up(self.norm(x)))))


ROWS = 4096  # groups whose activations are held at once: they stay in the processor's cache


class Prefixes:
    """n rows without a cell, to which the codes of one column after another are added.

    Arguments:
        net: The network.
        n: Rows.
        precision: What the network's matrix products are worked out under.
        temperature: What the log-probabilities of codes are divided by before they are normalised again.
    """

    def __init__(
        self, net: Network, n: int, precision: Callable[[], AbstractContextManager[None]], temperature: float = 1.0
    ) -> None:
        """See the class."""
        self.net, self.codes, self.precision, self.temperature = net, net.codes, precision, temperature
        self.table: Tensor = net.embedding()
        self.context = self.table.new_zeros(1, self.table.shape[1])  # sums of embeddings, (groups, H)
        self.group = torch.zeros(n, dtype=torch.long, device=self.table.device)  # of each row, (n,)

    def add(self, column: int, codes: Tensor, counts: Tensor) -> None:
        """Gives rows a code of their own in the column, where `counts` (n,) is true."""
        size = self.codes.sizes[column]
        key = self.group * (size + 1) + torch.where(counts, codes, size)
        if 2 * len(self.context) > len(self.group):  # hardly a row is like another: no more use in looking
            self.group = torch.arange(len(key), device=key.device)
        else:
            key, self.group = torch.unique(key, return_inverse=True)
        parent, code = key // (size + 1), key % (size + 1)
        added = functional.embedding(code.clamp(max=size - 1) + self.codes.first[column], self.table)
        if not counts.all():
            added = added.masked_fill((code == size)[:, None], 0.0)
        self.context = added.add_(self.context.index_select(0, parent))

    def shares(self, column: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Piece by piece: rows, probabilities of the column's codes in some groups, and which of these each row is."""
        order = self.group.argsort()
        ends = torch.bincount(self.group, minlength=len(self.context)).cumsum(0).tolist()
        for start in range(0, len(self.context), ROWS):
            stop = min(start + ROWS, len(self.context))
            with self.precision():
                features = self.net.features(self.context[start:stop], column)
            rows = order[ends[start - 1] if start else 0 : ends[stop - 1]]
            logits = self.net.logits(features, column)
            if self.temperature != 1.0:
                logits = logits / self.temperature
            share = logits.softmax(dim=1, dtype=torch.float32)
            yield rows, share, self.group[rows] - start


TINY = torch.finfo(torch.float32).tiny  # least probability of a given cell: odds of 0 to 0 would tell nothing


class Ancestral:
    """Goes through the columns in one order; codes count from the first of their column.

    Arguments:
        net: The network.
        order: All columns, the first drawn first.
        precision: What the network's matrix products are worked out under.
    """

    def __init__(
        self,
        net: Network,
        order: Sequence[int],
        precision: Callable[[], AbstractContextManager[None]],
        temperature: float = 1.0,
    ) -> None:
        """See the class."""
        self.net, self.order, self.precision, self.temperature = net, order, precision, temperature

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log-probability of whole rows of codes (n, C), shape (n,)."""
        prefixes = Prefixes(self.net, len(codes), self.precision, self.temperature)
        total = torch.zeros(len(codes), device=codes.device)
        everywhere = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        for j in self.order:
            for rows, share, at in prefixes.shares(j):
                total[rows] += share[at, codes[rows, j]].clamp(min=TINY).log()
            if j != self.order[-1]:
                prefixes.add(j, codes[:, j], everywhere)
        return total

    def draw(self, codes: Tensor, known: Tensor, even: bool) -> Tensor:
        """Fills the cells of codes (n, C) that are not known (n, C); the known ones count from the start.

        Arguments:
            codes: Whatever stands in unknown cells is replaced, in place.
            known: Which cells are given.
            even: See `Strata`.

        Returns:
            The log-probability that the unknown cells were drawn with, (n,).
        """
        prefixes = Prefixes(self.net, len(codes), self.precision, self.temperature)
        for j in range(codes.shape[1]):
            if known[:, j].any():
                prefixes.add(j, codes[:, j], known[:, j])
        log_q = torch.zeros(len(codes), device=codes.device)
        strata = Strata(len(codes), codes.device, even)
        for j in self.order:
            if not known[:, j].all():
                uniforms = strata.uniforms()
                for rows, share, at in prefixes.shares(j):
                    cells = invert(share, at, uniforms[rows])
                    log_q[rows] += share[at, cells].log().masked_fill(known[rows, j], 0.0)
                    codes[rows, j] = torch.where(known[rows, j], codes[rows, j], cells)
                if j != self.order[-1]:
                    prefixes.add(j, codes[:, j], ~known[:, j])
            strata.sort(codes[:, j])
        return log_q
