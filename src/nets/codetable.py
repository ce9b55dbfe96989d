"""A learnt vector for each code of each column."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from src.nets.codes import Codes

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
