"""Training by sampling: the category a generated row is asked for, and real rows that have it (Xu et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datakiln.nets.segments import Segments
from datakiln.spec import Column


class Conditions(nn.Module):
    """The conditional vector over all discrete columns of a table, and the training rows by category (section 4.3).

    A condition is the index of one category, counted over all discrete columns: the choice columns, and of a number
    column its state (observed, a spike or missing). Without discrete columns there are no conditions.

    Arguments:
        columns: Encoded columns of a row.

    Attributes:
        count: Number of categories Q, the width of the conditional vector.
    """

    share: Tensor
    identity: Tensor

    def __init__(self, columns: tuple[Column, ...]) -> None:
        """See the class."""
        super().__init__()
        # a mode of a number is no category of the table: its block follows a value
        first = [column.blocks[0] for column in columns if column.blocks[0].kind == "choice"]
        self.segments = Segments(first)
        self.columns, self.count = len(first), len(self.segments.at)
        self.register_buffer("identity", torch.eye(self.count), persistent=False)
        even = 1.0 / self.segments.spread(self.segments.widths.float()[None])[0] if first else torch.zeros(0)
        self.register_buffer("share", even)
        self._rows: Tensor | None = None  # row numbers by column, sorted by category

    @property
    def is_counted(self) -> bool:
        """Whether rows can be drawn."""
        return self._rows is not None

    def count_rows(self, x: Tensor) -> None:
        """Sorts the training rows (n, D) by category, once for each column."""
        if not self.columns:
            return
        codes = self.segments.largest(self.segments.take(x))
        self._rows = torch.argsort(codes, dim=0, stable=True).T.to(torch.int32).contiguous()
        self._sizes = torch.bincount((codes + self.segments.first).flatten(), minlength=self.count)
        ends = self._sizes.cumsum(0)
        self._begins = ends - self._sizes - len(x) * self.segments.segment
        self.share.copy_(self._sizes / len(x))

    def draw(self, n: int, by_log: bool) -> Tensor:
        """Conditions (n,): a column at random, then a category by its share, or by the logarithm of its count."""
        weight = torch.log1p(self._sizes.float()) if by_log else self.share
        cumulated = weight.cumsum(0)
        before, total = (cumulated - weight)[self.segments.first], self.segments.sum(weight[None])[0]
        column = torch.randint(self.columns, (n,), device=weight.device)
        rank = before[column] + torch.rand(n, device=weight.device) * total[column]
        found = torch.searchsorted(cumulated, rank, right=True)
        low = self.segments.first[column]
        return torch.minimum(torch.maximum(found, low), low + self.segments.widths[column] - 1)

    def rows(self, condition: Tensor) -> Tensor:
        """A training row drawn evenly among those that meet each condition, shape (B,)."""
        assert self._rows is not None
        place = (torch.rand(len(condition), device=condition.device) * self._sizes[condition]).long()
        place = torch.minimum(place, self._sizes[condition] - 1)
        return self._rows[self.segments.segment[condition], self._begins[condition] + place].long()

    def of_rows(self, x: Tensor) -> Tensor:
        """A condition that each row (B, D) meets: the category of one of its columns, drawn at random."""
        codes = self.segments.largest(self.segments.take(x)) + self.segments.first
        return codes.gather(1, torch.randint(self.columns, (len(x), 1), device=x.device)).squeeze(1)

    def rarest(self, wanted: Tensor) -> Tensor:
        """Of the categories that each row (B, Q) marks with 1, the one with the smallest share; -1 where none is."""
        share, at = torch.where(wanted > 0, self.share, torch.inf).min(dim=1)
        return torch.where(torch.isinf(share), -1, at)

    def vector(self, condition: Tensor) -> Tensor:
        """Conditions (B,) to conditional vectors (B, Q)."""
        return self.identity.index_select(0, condition)
