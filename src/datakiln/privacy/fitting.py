"""A mixture of products of categoricals fitted to noisy marginals by gradient descent.

p(x) = sum over classes k of pi_k times the product over columns j of theta_jk(x_j), the model of
`datakiln.models.statistical.mixture`. Its marginals of two columns are products of matrices, so that all of them, in
every class of a label, are one product a step. Fitting looks at noisy counts alone and costs no privacy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datakiln.privacy.cells import onto_simplex

Floats = NDArray[np.float64]
RATE = 0.05
BETAS = (0.9, 0.99)
START = 1.0  # standard deviation of the logits that classes begin with, about the columns' own shares


class MixtureFit:
    """The parameters, what has been measured, and the optimizer.

    Arguments:
        sizes: Codes of each column.
        label: The column in whose classes pairs of others may be measured; None for none.
        rows: About how many rows there are.
        ones: Noisy counts of each column's codes.
        precision: One over the variance of each of those counts.
        classes: Of the mixture.
        seed: Of where descent begins: it makes no noise that hides anything.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        label: int | None,
        rows: float,
        ones: Sequence[Floats],
        precision: Sequence[Floats],
        classes: int,
        seed: int = 0,
    ) -> None:
        """See the class."""
        self._arguments = (sizes, label, rows, ones, precision, classes)
        self.sizes, self.label, self.rows = list(sizes), label, rows
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        shares = [(onto_simplex(y, rows) + 1e-3 * rows / len(y)) / rows for y in ones]
        generator = torch.Generator().manual_seed(seed)
        base = torch.tensor(np.concatenate([np.log(share) for share in shares]), dtype=torch.float32)
        theta = base[:, None] + START * torch.randn(len(base), classes, generator=generator)
        self.theta, self.pi = theta.requires_grad_(), torch.zeros(classes, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.theta, self.pi], lr=RATE, betas=BETAS)
        total, depth = len(base), 1 if label is None else self.sizes[label]
        self.y1, self.w1 = _tensor(np.concatenate(list(ones))), _tensor(np.concatenate(list(precision)))
        self.y2, self.w2 = torch.zeros(total, total), torch.zeros(total, total)
        self.y3 = torch.zeros(depth if label is not None else 0, total, total)
        self.w3 = torch.zeros_like(self.y3)

    def again(self, seed: int) -> MixtureFit:
        """Another one for the same counts, that begins elsewhere."""
        made = MixtureFit(*self._arguments, seed=seed)
        for name in ("y2", "w2", "y3", "w3"):
            setattr(made, name, getattr(self, name))
        return made

    def part(self, column: int) -> slice:
        """The codes of a column."""
        return slice(int(self.starts[column]), int(self.starts[column + 1]))

    def parameters(self) -> tuple[Tensor, Tensor]:
        """theta, shape (T, K), adding up to 1 over each column's codes, and pi, shape (K,)."""
        theta = torch.cat([torch.softmax(part, dim=0) for part in self.theta.split(self.sizes)])
        return theta, torch.softmax(self.pi, dim=0)

    def marginals(self, theta: Tensor, pi: Tensor) -> Tensor:
        """Shares of every pair of codes in every class of the label, shape (L, T, T); of all rows without a label."""
        weighted = theta * pi
        if self.label is None:
            return (weighted @ theta.T)[None]
        return torch.einsum("tk,lk,sk->lts", weighted, theta[self.part(self.label)], theta)

    def measured(self, a: int, b: int, counts: Floats, variance: float) -> None:
        """Takes noisy counts in, (A, B) or in the classes of the label (L, A, B); measured again, they add up."""
        y, w = (self.y2, self.w2) if counts.ndim == 2 else (self.y3, self.w3)
        y, w = y[..., self.part(a), self.part(b)], w[..., self.part(a), self.part(b)]
        y.copy_((y * w + _tensor(counts) / variance) / (w + 1.0 / variance))
        w += 1.0 / variance

    def step(self) -> None:
        """One step towards the noisy counts, each weighted by its precision."""
        theta, pi = self.parameters()
        loss = (self.w1 * (self.rows * (theta @ pi) - self.y1).square()).sum()
        if self.has_triples:
            inside = self.marginals(theta, pi)
            loss = loss + (self.w3 * (self.rows * inside - self.y3).square()).sum()
            pairs = inside.sum(dim=0)
        else:
            pairs = (theta * pi) @ theta.T
        loss = loss + (self.w2 * (self.rows * pairs - self.y2).square()).sum()
        self.optimizer.zero_grad(set_to_none=True)
        (loss / self.cells).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    @property
    def has_triples(self) -> bool:
        """Whether anything was measured in the classes of the label."""
        return self._count(self.w3) > 0

    @property
    def cells(self) -> float:
        """How many counts were measured."""
        return self._count(self.w1) + self._count(self.w2) + self._count(self.w3)

    @staticmethod
    def _count(weights: Tensor) -> float:
        return float((weights > 0).sum())

    def descend(self, steps: int, settle: bool = False) -> None:
        """So many steps; to settle, with a rate that falls to 0."""
        for at in range(steps):
            if settle:
                self.optimizer.param_groups[0]["lr"] = RATE * (1.0 - at / steps)
            self.step()

    @torch.no_grad()
    def expected(self) -> Floats:
        """Counts of every pair of codes as the mixture has them: see `marginals`."""
        return np.asarray((self.rows * self.marginals(*self.parameters())).numpy(), dtype=np.float64)


def _tensor(values: Floats) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)
