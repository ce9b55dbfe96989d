"""The network of an any-order autoregressive model: codes to vectors, their sums to log-probabilities of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln.nets import lifts
from datakiln.nets.changes import Changes
from datakiln.nets.codes import Codes
from datakiln.nets.dropout import Dropout
from datakiln.nets.holds import KINDS, Holds
from datakiln.nets.linear import Linear, linear
from datakiln.nets.numbers import CLOSED, Numbers

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
        slow: How fast the own part of an ordered code's vector is learnt: what neighbours share comes first.
    """

    waves: Tensor
    grid: Tensor
    in_grid: Tensor
    smoothed: Tensor
    free: Tensor

    def __init__(self, codes: Codes, width: int, scale: float, slow: float = 1.0) -> None:
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
        longest = max(codes.ordered, default=0)
        grid = torch.zeros(len(self.place), longest, WAVES)  # waves of each ordered column, padded
        inside = torch.zeros(len(self.place), longest, dtype=torch.bool)
        for j, place in self.place.items():
            start, ordered = codes.part(j).start, codes.ordered[j]
            grid[place, :ordered], inside[place, :ordered] = waves[start : start + ordered], True
        numbered = [torch.arange(codes.ordered[j]) + codes.part(j).start for j in self.place]
        smoothed = torch.cat(numbered) if numbered else torch.zeros(0, dtype=torch.long)
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("in_grid", inside.flatten().nonzero()[:, 0], persistent=False)
        self.register_buffer("smoothed", smoothed, persistent=False)
        self.own = nn.Parameter(torch.randn(codes.total, width) * scales)
        free = torch.ones(codes.total, 1)
        for j in self.place:
            free[codes.part(j).start :][: codes.ordered[j]] = slow
        self.register_buffer("free", free, persistent=False)
        start = torch.randn(len(self.place), WAVES, width) * scale / math.sqrt(WAVES)
        self.shared = nn.Parameter(start) if self.place else None

    def forward(self) -> Tensor:
        """All vectors, (T, H), without a loop over the columns."""
        own = self.own * self.free
        if self.shared is None:
            return own
        smooth = torch.bmm(self.grid, self.shared).flatten(0, 1)
        return own.index_add(0, self.smoothed, smooth[self.in_grid].to(own.dtype))

    def of(self, column: int) -> Tensor:
        """Those of one column, (size, H)."""
        part = self.codes.part(column)
        own = self.own[part] * self.free[part]
        if self.shared is None or column not in self.place:
            return own
        return torch.addmm(own, self.waves[part], self.shared[self.place[column]])


class Network(nn.Module):
    """Log-probabilities of the codes of each column given the embeddings of other columns, summed.

    Arguments:
        codes: The columns.
        width: Size of an embedding.
        blocks: Residual blocks.
        hidden: Size of a block's hidden layer.
        dropout: Share of hidden units left out while training.
        slow: See `CodeTable`; of the vectors that codes are told by.
        hinted: See `Numbers`.
    """

    level: Tensor  # the code whose vector stands for each code, (T,)
    valued: Tensor  # which codes are not "missing" and no category, (T,)
    source: Tensor  # the column that tells most about each column, -1 for none, (C,)
    lift: Tensor  # what each of its codes adds to the logits, from row 1 on; nothing in row 0; (R, T)

    def __init__(
        self,
        codes: Codes,
        width: int,
        blocks: int,
        hidden: int,
        dropout: float,
        slow: float = 1.0,
        hinted: bool = False,
    ) -> None:
        """See the class."""
        super().__init__()
        self.codes = codes
        valued = torch.zeros(codes.total, dtype=torch.bool)
        for j, (ordered, size, equal_to) in enumerate(zip(codes.ordered, codes.sizes, codes.equal_to, strict=True)):
            start = codes.part(j).start
            valued[start : start + ordered] = True
            valued[start + size - len(equal_to) : start + size] = True
        self.register_buffer("valued", valued, persistent=False)
        self.embedding = CodeTable(codes, width, scale=0.3)
        self.target = nn.Parameter(torch.randn(len(codes), width) * 0.3)
        self.blocks = nn.ModuleList([_Block(width, hidden, dropout) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)
        self.out = CodeTable(codes, width, scale=0.0, slow=slow)
        self.bias = nn.Parameter(torch.zeros(codes.total))
        self.numbers = Numbers(codes, width, hinted)
        self.holds: Holds | None = None
        self.changes: Changes | None = None
        sizes: dict[int, list[int]] = {}
        for j, size in enumerate(codes.sizes):
            sizes.setdefault(size, []).append(j)
        self.groups = list(sizes.values())  # columns of equally many codes
        self.register_buffer("source", torch.full((len(codes),), -1))
        self.register_buffer("lift", torch.zeros(lifts.rows_of(codes.sizes, codes.ordered), codes.total))
        self.register_buffer("level", torch.arange(codes.total))

    def vectors(self) -> Tensor:
        """What each code adds to a context, (T, H); a number's neighbours share one, its features tell them apart."""
        return self.embedding()[self.level]

    def added(self, codes: Tensor, coordinates: Tensor) -> Tensor:
        """What each cell adds to a context, (B, C, H)."""
        embedded = functional.embedding(codes, self.vectors())
        if not len(self.numbers):
            return embedded
        features = self.numbers.describe(coordinates) * self.has_value(codes)[..., None]
        told = torch.einsum("bnf,nfh->bnh", features, self.numbers.features)
        return embedded.index_add(1, self.numbers.numbers, told.to(embedded.dtype))

    def described(self, codes: Tensor, coordinates: Tensor, weights: Tensor) -> Tensor:
        """Features of numbers times the weights (B, C) of their cells, nothing of the missing ones, (B, N, F)."""
        numbers = self.numbers
        return numbers.describe(coordinates) * (self.has_value(codes) * weights[:, numbers.numbers])[..., None]

    def summed(self, codes: Tensor, described: Tensor, weights: Tensor, first: int) -> Tensor:
        """What the cells of all columns from the first on add to a context together, times their weights, (B, H).

        Arguments:
            codes: Of all columns, numbered through, (B, C).
            described: See there.
            weights: Of all cells, (B, C).
            first: See above.
        """
        table = self.vectors()
        told = functional.embedding_bag(
            codes[:, first:].contiguous(), table, mode="sum", per_sample_weights=weights[:, first:].to(table.dtype)
        )
        at = sum(j < first for j in self.numbers.columns)
        if at == len(self.numbers):
            return told
        return told + linear(described[:, at:].flatten(1), self.numbers.features[at:].flatten(0, 1).T)

    def each(
        self, codes: Tensor, described: Tensor, weights: Tensor, order: Tensor, states: Tensor | None = None,
        moves: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """What the cells of the first columns add to a context, times their weights, (columns, B, H).

        Arguments:
            codes: Of all columns, numbered through, (B, C).
            described: See there.
            weights: Of all cells, (B, C).
            order: The columns, as they are to come.
            states: Whether their numbers are as the steps before say, (B, n), see `Holds`; None where they never are.
            moves: How they moved, (B, n, SHAPES), see `Changes`; None where they have no bins of that.
        """
        found = functional.embedding(codes[:, order].T, self.vectors())
        if not bool((weights[:, order] == 1).all()):
            found = found * weights[:, order].T[..., None].to(found.dtype)
        n = sum(j < len(order) for j in self.numbers.columns)
        if not n:
            return found
        features, inputs = self.numbers.features[:n], described[:, :n]
        if states is not None and self.holds is not None:
            kinds = functional.one_hot(states + 1, KINDS + 1)[..., 1:] * weights[:, self.numbers.numbers[:n], None]
            inputs = torch.cat([inputs, kinds.to(inputs.dtype)], dim=2)
            features = torch.cat([features, self.holds.marks[0]], dim=1)
        if moves is not None and self.changes is not None:
            inputs = torch.cat([inputs, moves * weights[:, self.numbers.numbers[:n], None]], dim=2)
            features = torch.cat([features, self.changes.marks], dim=1)
        told = torch.bmm(inputs.transpose(0, 1), features)
        place = order.argsort()[self.numbers.numbers[:n]]
        return found.index_add(0, place, told.to(found.dtype))

    def has_value(self, codes: Tensor) -> Tensor:
        """Which numbers are not missing, (B, C) to (B, N)."""
        return self.valued[codes[:, self.numbers.numbers]]

    def features(self, context: Tensor, column: int | slice) -> Tensor:
        """What the summed embeddings (..., H) say about a column, or (B, C, H) about all of them; same shape."""
        return self.through(context + self.target[column])

    def through(self, h: Tensor) -> Tensor:
        """Contexts of which it is said whom they are for to features; of the same shape."""
        for block in self.blocks:
            h = block(h)
        return functional.silu(self.norm(h))

    def set_lifts(self, codes: Tensor, order: Sequence[int]) -> None:
        """Takes them from the codes (B, C) of training rows, numbered through; see `lifts.fit`."""
        found, made = lifts.fit(codes - self.codes.first, self.codes.sizes, self.codes.ordered, order)
        self.source.copy_(torch.tensor(found))
        for j, lift in made.items():
            self.lift[1 : 1 + len(lift), self.codes.part(j)] = lift.to(self.lift.dtype)

    def lifted(self, codes: Tensor, sees: Tensor) -> Tensor:
        """The row of `lift` for each column, (B, C), where it sees its source; sees are (B, C, C)."""
        source = self.source.clamp(min=0)
        there = sees.gather(2, source.expand(len(codes), -1)[..., None])[..., 0] & (self.source >= 0)
        return torch.where(there, codes[:, source] - self.codes.first[source] + 1, 0)

    def lifted_by_later(self, column: int, codes: Tensor, seen: Tensor) -> Tensor | None:
        """What known columns whose source this one is add to its logits, (B, size); None where it is nobody's source.

        The log of the ratio p(a, b) / p(a) p(b) is the same for either of a and b: told out of order, a rare category
        brings what goes with it too.

        Arguments:
            column: One of them.
            codes: Numbered through, (B, C).
            seen: Which of them are known, (B, C).
        """
        added: Tensor | None = None
        for j, source in enumerate(self.source.tolist()):
            if source == column:
                told = self.lift[1 : 1 + self.codes.sizes[column], codes[:, j]].T * seen[:, j, None]
                added = told if added is None else added + told
        return added

    def scores(
        self, features: Tensor, cells: Tensor, lifted: Tensor, sees: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `scores_of`; of one cell of each column, (B, C)."""
        picked, totals = self.scores_of(features, cells[..., None], lifted, sees)
        return picked[..., 0], totals

    def scores_of(
        self, features: Tensor, cells: Tensor, lifted: Tensor, sees: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the cells (B, C, K), counted from the first of their column, and of all codes together, (B, C).

        Columns of equally many codes are worked out in one product.

        Arguments:
            features: Of all columns, or of the first, (B, C, H).
            cells: See above.
            lifted: See there.
            sees: What each column sees, (B, C, C): a state of equality with a column that is not seen has no
                probability. None: all are seen.
        """
        lift = self.lift.split(self.codes.sizes, dim=1) if len(self.lift) > 1 else None
        tables, biases = self.out().split(self.codes.sizes), self.bias.split(self.codes.sizes)
        # unbound once: the gradient of each features[:, j] would be as large as all of them
        parts = features.unbind(dim=1)
        picked: list[Tensor] = [features] * len(parts)
        totals: list[Tensor] = [features] * len(parts)
        groups = [[j for j in columns if j < len(parts)] for columns in self.groups]
        for columns in filter(None, groups):
            if len(columns) == 1:
                (j,) = columns
                logits = (linear(parts[j], tables[j]).float() + biases[j])[None]
                if lift is not None:
                    logits = logits + lift[j][lifted[:, j]]
            else:
                inputs, weights = torch.stack([parts[j] for j in columns]), torch.stack([tables[j] for j in columns])
                product = torch.bmm(inputs, weights.transpose(1, 2).to(inputs.dtype)).float()
                logits = product + torch.stack([biases[j] for j in columns])[:, None]
                if lift is not None:
                    logits = logits + torch.stack([lift[j][lifted[:, j]] for j in columns])
            if sees is not None:
                logits = self._told_by_later(logits, columns, cells[..., 0], sees) if lift is not None else logits
                logits = self._open(logits, columns, sees)
            found = logits.gather(2, cells[:, columns].transpose(0, 1))
            for j, cell, total in zip(columns, found.unbind(), logits.logsumexp(dim=2).unbind(), strict=True):
                picked[j], totals[j] = cell, total
        return torch.stack(picked, dim=1), torch.stack(totals, dim=1)

    def _told_by_later(self, logits: Tensor, columns: list[int], cells: Tensor, sees: Tensor) -> Tensor:
        """Logits (G, B, size) of columns with what those they are the source of say, see `lifted_by_later`."""
        found = [self.lifted_by_later(j, cells + self.codes.first, sees[:, j]) for j in columns]
        if all(told is None for told in found):
            return logits
        return logits + torch.stack([logits.new_zeros(()).expand_as(logits[0]) if f is None else f for f in found])

    def _open(self, logits: Tensor, columns: list[int], sees: Tensor) -> Tensor:
        """Logits (G, B, size) of columns, those of states of equality closed where the other column is not seen."""
        closed = torch.zeros_like(logits, dtype=torch.bool) if any(self.codes.equal_to[j] for j in columns) else None
        for place, j in enumerate(columns):
            if closed is not None and self.codes.equal_to[j]:
                for state, terms in enumerate(self.codes.equal_to[j], start=-len(self.codes.equal_to[j])):
                    closed[place, :, state] = ~sees[:, j, terms.columns].all(dim=1)
        return logits if closed is None else logits.masked_fill(closed, CLOSED)

    def logits(self, features: Tensor, column: int, lifted: Tensor, later: Tensor | None = None) -> Tensor:
        """Unnormalised log-probabilities of the column's codes, (B, H) to (B, size); exact unless training.

        Arguments:
            features: See `features`.
            column: One of them.
            lifted: Row of `lift` for each row, (B,).
            later: What `lifted_by_later` gives for each row, (B, size).
        """
        part = self.codes.part(column)
        if self.training:
            plain = linear(features, self.out.of(column)).float() + self.bias[part]
        else:
            with torch.autocast(features.device.type, enabled=False):
                plain = linear(features.float(), self.out.of(column), self.bias[part])
        plain = plain if later is None else plain + later
        return plain + self.lift[:, part][lifted] if int(self.source[column]) >= 0 else plain


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = Linear(width, hidden), Linear(hidden, width)
        self.dropout = Dropout(dropout)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.dropout(functional.silu(self.up(self.norm(x)))))
