"""Independent columns: every cell drawn from its column's own distribution. The floor that a model must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from datakiln.models.statistical.closed_form import ClosedFormModel
from datakiln.nets.codes import Strata
from datakiln.spec import PLAIN, DataSpec, Sampling

PSEUDO = 0.01  # rows that every code is credited with, so that a code without rows has a probability


class Bootstrap(ClosedFormModel):
    """A product of the columns' empirical distributions: perfect columns, no relation between them.

    Arguments:
        spec: A table of code blocks.
    """

    counts: Tensor
    log_p: Tensor

    def __init__(self, spec: DataSpec) -> None:
        """See the class."""
        super().__init__(spec)
        self.register_buffer("counts", torch.zeros(self.codes.total, dtype=torch.long))
        self.register_buffer("log_p", torch.zeros(self.codes.total))

    def gather(self, x: Tensor) -> None:
        """Counts codes."""
        self.counts += self.codes.counts(*self.codes.read(x))

    def settle(self) -> dict[str, Tensor]:
        """Shares of the codes; the loss is the sum of the columns' entropies."""
        smoothed = self.counts + PSEUDO
        per_column = self.codes.sums(smoothed)
        self.log_p.copy_((smoothed / per_column[self.codes.column]).log())
        loss = -(self.counts * self.log_p).sum() / self.codes.sums(self.counts).max().clamp(min=1)
        self.counts.zero_()
        return {"loss": loss}

    def log_prob(self, x: Tensor) -> Tensor:
        """See `ClosedFormModel`."""
        codes, known = self.codes.read(x)
        return torch.where(known, self.log_p[codes], 0.0).sum(dim=1)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Cells one by one; given cells stay as they are and tell nothing about the others."""
        strata = Strata(n, self.device, even=False)
        x = torch.empty(n, len(self.codes), device=self.device)
        for j in range(len(self.codes)):
            end = self.log_p[self.codes.part(j)].exp().cumsum(0)
            drawn = torch.searchsorted(end, strata.uniforms() * end[-1], right=True)
            x[:, j] = drawn.clamp_(max=self.codes.sizes[j] - 1)
        return x if condition is None else torch.where(torch.isnan(condition), x, condition)
