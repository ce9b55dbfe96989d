"""A Gaussian copula with empirical margins: the classical model of dependence, as a baseline.

Every cell is the interval of a normal number that its column's shares give it, so that numbers in bins, categories and
missing cells are treated alike (Hoff, 2007, https://arxiv.org/abs/math/0610413); categories take the order of their
codes. The correlations are found by Monte Carlo EM, whose draws, and the likelihood of rows, come from the simulator of
Geweke, Hajivassiliou and Keane (Geweke, 1991): one normal number after another inside its interval, weighted by the
probability of the intervals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datakiln.models.statistical.closed_form import ClosedFormModel
from datakiln.spec import PLAIN, DataSpec, Sampling

PSEUDO = 0.01  # rows that every code is credited with, so that a code without rows has a probability
TINY = 1e-30
REACH = 8.0  # no normal number is drawn further out than this
ROWS = 4096  # rows simulated at once


class Copula(ClosedFormModel):
    """Normal numbers z with correlation matrix R, cut into the intervals of the columns' codes.

    The first pass finds the shares of codes, every further one is an iteration of EM on R.

    Arguments:
        spec: A table of code blocks.
        draws: Simulated draws for each row, of which likelihoods and conditional samples are made.
    """

    counts: Tensor
    low: Tensor
    high: Tensor
    correlation: Tensor
    moments: Tensor
    totals: Tensor
    passes: Tensor

    def __init__(self, spec: DataSpec, draws: int = 8) -> None:
        """See the class."""
        super().__init__(spec)
        if draws < 1:
            raise ValueError(f"draws={draws} must be at least 1")
        self.draws = draws
        columns, codes = len(self.codes), self.codes.total
        for name, value in {
            "counts": torch.zeros(codes, dtype=torch.long),
            "low": torch.full((codes,), -math.inf),  # interval of each code
            "high": torch.full((codes,), math.inf),
            "correlation": torch.eye(columns),
            "moments": torch.zeros(columns, columns),
            "totals": torch.zeros(2),  # rows and loss of this pass
            "passes": torch.zeros((), dtype=torch.long),
        }.items():
            self.register_buffer(name, value)

    def gather(self, x: Tensor) -> None:
        """Counts codes, or adds the rows' expected products of normal numbers."""
        if int(self.passes) == 0:
            self.counts += self.codes.counts(*self.codes.read(x))
            return
        z, log_weight = self._simulate(x, self.draws)
        share = log_weight.softmax(dim=0)
        self.moments += torch.einsum("sb,sbi,sbj->ij", share, z, z)
        loss = math.log(self.draws) - torch.logsumexp(log_weight, dim=0)
        self.totals += torch.stack([loss.new_tensor(float(len(x))), loss.sum()])

    def settle(self) -> dict[str, Tensor]:
        """The intervals after the first pass, the correlations after any other."""
        self.passes += 1
        if int(self.passes) == 1:
            return {"loss": self._cut()}
        rows, loss = self.totals.tolist()
        identity = torch.eye(len(self.codes), device=self.device)
        covariance = (self.moments + identity) / (rows + 1.0)  # one row of independent columns keeps it regular
        scale = covariance.diagonal().rsqrt()
        self.correlation.copy_(covariance * scale * scale[:, None])
        self.moments.zero_()
        self.totals.zero_()
        return {"loss": torch.tensor(loss / rows)}

    def _cut(self) -> Tensor:
        """Intervals of probability as large as the codes' shares; returns the loss of independent columns."""
        smoothed = self.counts + PSEUDO
        share = smoothed / self.codes.sums(smoothed)[self.codes.column]
        for j in range(len(self.codes)):
            part = self.codes.part(j)
            ends = torch.special.ndtri(share[part].cumsum(0)[:-1].clamp(TINY, 1.0 - 2**-24))
            self.low[part][1:] = ends
            self.high[part][:-1] = ends
        rows = self.codes.sums(self.counts).max().clamp(min=1)
        return -(self.counts * share.log()).sum() / rows

    def _simulate(self, x: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        """Normal numbers inside the intervals of known cells, (S, B, C), and log-weights, (S, B)."""
        codes, known = self.codes.read(x)
        low = torch.where(known, self.low[codes], -math.inf)
        high = torch.where(known, self.high[codes], math.inf)
        root = self._root()
        noise = x.new_zeros(draws, *x.shape)
        log_weight = x.new_zeros(draws, len(x))
        for j in range(len(self.codes)):
            centre = noise[:, :, :j] @ root[j, :j]
            a, b = ((limit[:, j] - centre) / root[j, j] for limit in (low, high))
            noise[:, :, j], probability = _truncated_normal(a, b)
            log_weight += probability.log()
        return noise @ root.T, log_weight

    def log_prob(self, x: Tensor) -> Tensor:
        """See `ClosedFormModel`; the probability is an unbiased estimate from `draws` simulated draws."""
        weights = [self._simulate(rows, self.draws)[1] for rows in x.split(ROWS)]
        return torch.cat([torch.logsumexp(weight, dim=0) - math.log(self.draws) for weight in weights])

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Normal numbers to codes; given cells by taking one of several simulated draws, each by its weight."""
        if condition is None:
            return self._cells(torch.randn(n, len(self.codes), device=self.device) @ self._root().T)
        parts = []
        for rows in condition.split(ROWS):
            z, log_weight = self._simulate(rows, 4 * self.draws)
            pick = torch.multinomial(log_weight.softmax(dim=0).T, 1)[:, 0]
            parts.append(self._cells(z[pick, torch.arange(len(rows), device=z.device)]))
        x = torch.cat(parts)
        return torch.where(torch.isnan(condition), x, condition)

    def _root(self) -> Tensor:
        return torch.linalg.cholesky(self.correlation)

    def _cells(self, z: Tensor) -> Tensor:
        ends = [self.high[self.codes.part(j)][:-1].contiguous() for j in range(len(self.codes))]
        return torch.stack([torch.searchsorted(end, z[:, j].contiguous()) for j, end in enumerate(ends)], dim=1).float()


def _truncated_normal(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """A standard normal number between two limits, and the probability of lying there, computed in the lower tail."""
    is_upper = low > 0
    a, b = torch.where(is_upper, -high, low), torch.where(is_upper, -low, high)
    start = torch.special.ndtr(a)
    probability = (torch.special.ndtr(b) - start).clamp(min=TINY)
    rank = start + torch.rand_like(start) * probability
    z = torch.special.ndtri(rank.clamp(TINY, 1.0 - 2**-24)).clamp(-REACH, REACH)
    return torch.where(is_upper, -z, z).clamp(low, high).clamp(-REACH, REACH), probability
