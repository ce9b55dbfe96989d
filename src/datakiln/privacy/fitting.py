"""A mixture of products of categoricals fitted to noisy marginals by gradient descent.

p(x) = sum over classes k of pi_k times the product over columns j of theta_jk(x_j), the model of
`datakiln.models.statistical.mixture`. Its marginals of two columns are products of matrices, so that all of them, in
every class of a label, are one product a step. Fitting looks at noisy counts alone and costs no privacy.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datakiln.privacy.cells import onto_simplex

Floats = NDArray[np.float64]
RATE = 0.05
BETAS = (0.9, 0.99)
GROUPS, LEAST = 6, 20  # of cells that are shrunk alike, and cells in each
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

    def shrink(self) -> None:
        """Pulls what was measured towards independent columns, as far as the noisy counts themselves say.

        Cells are grouped by what is expected of them under independence, m. In each group the mean of (y - m)^2 is the
        noise's variance v and the signal's t together, which gives t, and y becomes (y / v + m / t) / (1 / v + 1 / t)
        (empirical Bayes; Efron and Morris, 1973). Most cells of a pair are rare, and hold nothing but noise.
        """
        ones = [onto_simplex(np.asarray(y, dtype=np.float64), self.rows) / self.rows for y in self.y1.split(self.sizes)]
        self.to2, self.by2 = self.y2.clone(), self.w2.clone()
        self.to3, self.by3 = self.y3.clone(), self.w3.clone()
        levels = None if self.label is None else ones[self.label]
        for a, b in itertools.product(range(len(self.sizes)), repeat=2):
            pair = self.rows * np.outer(ones[a], ones[b])
            parts = [(self.to2, self.by2, pair)]
            if levels is not None:
                parts.append((self.to3, self.by3, levels[:, None, None] * pair))
            for to, by, expected in parts:
                y, w = to[..., self.part(a), self.part(b)], by[..., self.part(a), self.part(b)]
                if float(w.max()) > 0:
                    made = _shrunk(y.double().numpy(), w.double().numpy(), expected)
                    y.copy_(_tensor(made[0]))
                    w.copy_(_tensor(made[1]))

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
            loss = loss + (self.by3 * (self.rows * inside - self.to3).square()).sum()
            pairs = inside.sum(dim=0)
        else:
            pairs = (theta * pi) @ theta.T
        loss = loss + (self.by2 * (self.rows * pairs - self.to2).square()).sum()
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
        self.shrink()
        for at in range(steps):
            if settle:
                self.optimizer.param_groups[0]["lr"] = RATE * (1.0 - at / steps)
            self.step()

    @torch.no_grad()
    def expected(self) -> Floats:
        """Counts of every pair of codes as the mixture has them: see `marginals`."""
        return np.asarray((self.rows * self.marginals(*self.parameters())).numpy(), dtype=np.float64)


def _shrunk(y: Floats, w: Floats, expected: Floats) -> tuple[Floats, Floats]:
    """See `MixtureFit.shrink`: counts and their precision, of one pair of columns."""
    order = np.argsort(expected, axis=None)
    to, by, noise = y.ravel().copy(), w.ravel().copy(), 1.0 / float(w.max())
    for group in np.array_split(order, max(min(GROUPS, len(order) // LEAST), 1)):
        m = expected.ravel()[group]
        signal = max(float(np.mean((to[group] - m) ** 2)) - noise, noise * 1e-2)
        to[group] = (to[group] / noise + m / signal) / (1.0 / noise + 1.0 / signal)
        by[group] = 1.0 / noise + 1.0 / signal
    return to.reshape(y.shape), by.reshape(w.shape)


def _tensor(values: Floats) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)
