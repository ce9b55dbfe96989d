"""Rows of an any-order autoregressive network, column after column: drawn, or their likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from src.nets.anyorder import Network
from src.nets.codes import Strata, invert
from src.nets.prefixes import Prefixes

TINY = torch.finfo(torch.float32).tiny  # least probability of a given cell: odds of 0 to 0 would tell nothing


class Ancestral:
    """Goes through the columns in one order; codes count from the first of their column.

    Arguments:
        net: The network.
        order: All columns, the first drawn first.
        precision: What the network's matrix products are worked out under.
    """

    def __init__(
        self, net: Network, order: Sequence[int], precision: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """See the class."""
        self.net, self.order, self.precision = net, order, precision

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log-probability of whole rows of codes (n, C), shape (n,)."""
        prefixes = Prefixes(self.net, len(codes), self.precision)
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
        prefixes = Prefixes(self.net, len(codes), self.precision)
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
