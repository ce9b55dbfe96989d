"""The Frechet distance between two Gaussians without a matrix square root.

d^2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)   (Dowson and Landau 1982; Heusel et al. 2017, eq. 6)

With any F such that F F^T = C1, the eigenvalues of C1 C2 that are not zero are those of the symmetric F^T C2 F. F is
found once for the real set, so each new distance costs two products and the eigenvalues of one symmetric matrix. Where
fewer images than features were seen, F is the centred features themselves, and the matrix is as small as that number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datakiln.metrics.pictures.moments import Gaussian, Moments


def _positive(eigenvalues: Tensor) -> Tensor:
    """Eigenvalues with the rounding noise of a rank-deficient matrix set to zero, lest its square root be added up."""
    if len(eigenvalues) == 0:  # constant features have a covariance of rank 0
        return eigenvalues
    noise = eigenvalues.amax().clamp(min=0) * len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps
    return torch.where(eigenvalues > noise, eigenvalues, torch.zeros_like(eigenvalues))


def factor(cov: Tensor, rows: Tensor | None = None) -> Tensor:
    """A matrix F with F F^T = cov.

    Arguments:
        cov: Covariance, shape (d, d), float64.
        rows: The very rows of which `cov` is the covariance, where they are at hand; used when there are at most d.

    Returns:
        Shape (d, r) with r the rank, or the number of rows.
    """
    if rows is not None and len(rows) <= len(cov):
        centred: Tensor = rows.to(cov) - rows.to(cov).mean(0)
        return centred.T / math.sqrt(max(len(rows) - 1, 1))
    values: Tensor
    vectors: Tensor
    values, vectors = torch.linalg.eigh(cov)
    values = _positive(values)
    kept = values > 0
    return vectors[:, kept] * values[kept].sqrt()


def _root_sum(symmetric: Tensor) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(symmetric)
    return _positive(values).sqrt().sum()


def trace_of_root(one: Tensor, other: Tensor) -> Tensor:
    """Trace of (C1 C2)^(1/2) from F1 with F1 F1^T = C1, shape (d, r), and C2, shape (d, d)."""
    return _root_sum(one.T @ other @ one)


def trace_of_root_gram(one: Tensor, other: Tensor) -> Tensor:
    """Trace of (C1 C2)^(1/2) from two factors, by the smaller Gram matrix of F1^T F2."""
    product = one.T @ other
    gram = product @ product.T if product.shape[0] <= product.shape[1] else product.T @ product
    return _root_sum(gram)


def frechet_distance(real: Gaussian, fake: Gaussian, real_factor: Tensor, fake_rows: Tensor | None = None) -> float:
    """Squared Frechet distance, never below zero.

    Arguments:
        real: Moments of the real set.
        fake: Moments of the other set.
        real_factor: `factor` of the real covariance.
        fake_rows: The very rows of `fake`, where they are at hand; the Gram form is used when there are at most d.
    """
    difference = (real.mean - fake.mean).square().sum()
    if fake_rows is not None and fake.n <= len(fake.mean):
        root = trace_of_root_gram(real_factor, factor(fake.cov, fake_rows))
    else:
        root = trace_of_root(real_factor, fake.cov)
    return max(float(difference + real.cov.trace() + fake.cov.trace() - 2 * root), 0.0)


def frechet_infinity(
    real: Gaussian, fake_rows: Tensor, real_factor: Tensor, points: int = 10
) -> tuple[float, dict[int, float]]:
    """The distance extrapolated to infinitely many fakes (Chong and Forsyth 2020, https://arxiv.org/abs/1911.07023).

    The distance is biased by about b / n; a line in 1/n through growing samples meets 1/n = 0 at the unbiased value.
    The bias from the number of real images stays. Departing from the paper, the samples are nested.

    Arguments:
        real: Moments of the real set.
        fake_rows: Features in random order, shape (m, d).
        real_factor: `factor` of the real covariance.
        points: Number of sample sizes, evenly spaced up to m.

    Returns:
        The intercept, which noise can bring below zero, and the distance at each size.
    """
    sizes = [round(len(fake_rows) * (i + 1) / points) for i in range(points)]
    moments = Moments(fake_rows.shape[1], sync=False).to(fake_rows.device)
    distances: dict[int, float] = {}
    for start, size in zip([0, *sizes], sizes, strict=False):
        moments.update(fake_rows[start:size])
        distances[size] = frechet_distance(real, moments.compute(), real_factor, fake_rows[:size])
    inverse = torch.tensor([[1.0, 1.0 / n] for n in distances], dtype=torch.float64)
    values = torch.tensor(list(distances.values()), dtype=torch.float64)
    return float(torch.linalg.lstsq(inverse, values[:, None]).solution[0]), distances
