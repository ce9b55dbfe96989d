"""Metrics of two bounded sets of features: kernel distance, manifolds of neighbours, and precision-recall curves.

All of them walk over blocks of a distance or kernel matrix that is never whole in memory: a block has `CHUNK` rows.
Distances are taken about a centre, since |a|^2 + |b|^2 - 2ab loses digits far from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datakiln.metrics.extractors.base import full_float32

CHUNK = 512


class KernelDistance(NamedTuple):
    """Squared maximum mean discrepancy and the spread of its blocks.

    Attributes:
        value: The unbiased estimate from all pairs; may be below zero.
        deviation: Standard deviation of the estimates from `blocks` disjoint blocks of both sets.
        blocks: Number of these blocks.
    """

    value: float
    deviation: float
    blocks: int


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum over all pairs of the cubic kernel (a b / d + 1)^3, in float64."""
    kernel = torch.addmm(torch.ones((), dtype=a.dtype, device=a.device), a, b.T, alpha=1 / a.shape[1])
    return (kernel * kernel).mul_(kernel).sum(dtype=torch.float64)


def _own_terms(a: Tensor) -> Tensor:
    """Sum of the kernel of each row with itself, which an unbiased estimate leaves out."""
    return (a.square().sum(1) / a.shape[1] + 1).double().pow(3).sum()


def _block_sums(a: Sequence[Tensor], b: Sequence[Tensor], symmetric: bool) -> Tensor:
    """Kernel sums of each pair of blocks, shape (len(a), len(b)); a symmetric half is copied, not computed."""
    sums = torch.zeros(len(a), len(b), dtype=torch.float64)
    for i, left in enumerate(a):
        for j in range(i if symmetric else 0, len(b)):
            sums[i, j] = _kernel_sum(left, b[j])
    return sums + sums.triu(1).T if symmetric else sums


def _discrepancy(xx: Tensor, yy: Tensor, xy: Tensor, n: int, m: int) -> float:
    return float(xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * xy.sum() / (n * m))


def kernel_distance(real: Tensor, fake: Tensor, block: int = 500) -> KernelDistance:
    """The kernel inception distance (Binkowski et al. 2018, https://arxiv.org/abs/1801.01401, eq. 4 and section 4).

    Where the paper averages estimates from 100 random subsets of 1,000, this is the estimate from all pairs at once:
    same expectation, smallest variance, no randomness.

    Arguments:
        real: Features, shape (n, d), n > 1.
        fake: Features, shape (m, d), m > 1.
        block: Rows a block, for memory and for the spread.
    """
    x, y = torch.split(real, block), torch.split(fake, block)
    with full_float32(real.device):
        xx, yy, xy = _block_sums(x, x, True), _block_sums(y, y, True), _block_sums(x, y, False)
        own_x, own_y = (torch.stack([_own_terms(part).cpu() for part in parts]) for parts in (x, y))
    value = _discrepancy(xx - own_x.diag(), yy - own_y.diag(), xy, len(real), len(fake))
    parts = [
        _discrepancy(xx[i, i] - own_x[i], yy[i, i] - own_y[i], xy[i, i], len(x[i]), len(y[i]))
        for i in range(min(len(x), len(y)))
        if len(x[i]) == len(y[i]) == block
    ]
    return KernelDistance(value, float(torch.tensor(parts).std()) if len(parts) > 1 else 0.0, len(parts))


def _norms(x: Tensor, centre: Tensor) -> Tensor:
    """Squared distance of each row to the centre, (n,)."""
    return torch.cat([(part - centre).square().sum(1) for part in torch.split(x, CHUNK)])


def _distances(a: Tensor, b: Tensor, centre: Tensor, b_norms: Tensor) -> Tensor:
    """Squared Euclidean distances, (len(a), len(b)), not below zero.

    |a - b|^2 = |a'|^2 + |b'|^2 - 2 a'b + 2 a'c with a' = a - c and b' = b - c: the centre keeps the terms small, and
    only the block `a` is copied for it.
    """
    a = a - centre
    squared = torch.addmm(b_norms[None], a, b.T, alpha=-2)
    return squared.add_((a.square().sum(1) + 2 * (a @ centre))[:, None]).clamp_(min=0)


def neighbour_radii(x: Tensor, k: int, centre: Tensor) -> Tensor:
    """Squared distance of each row to its k-th nearest other row, shape (n,); k < n; any centre, shape (d,)."""
    norms = _norms(x, centre)
    radii = torch.empty(len(x), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), CHUNK):
        squared = _distances(x[start : start + CHUNK], x, centre, norms)
        squared.diagonal(start).fill_(math.inf)
        radii[start : start + CHUNK] = squared.topk(k, dim=1, largest=False).values[:, -1]
    return radii


class Manifolds(NamedTuple):
    """Shares of samples within neighbourhoods of the other set; all in [0, 1] but density."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_metrics(real: Tensor, fake: Tensor, k: int = 5) -> Manifolds:
    """Precision and recall (Kynkaanniemi et al. 2019, eq. 1-3); density and coverage (Naeem et al. 2020, eq. 4-5).

    A sample counts when it lies strictly within the distance to the k-th neighbour of a sample of the other set.

    Arguments:
        real: Features, shape (n, d), n > k.
        fake: Features, shape (m, d), m > k.
        k: Neighbours.
    """
    centre = real.mean(0)
    with full_float32(real.device):
        real_radii, fake_radii = neighbour_radii(real, k, centre), neighbour_radii(fake, k, centre)
        norms = _norms(real, centre)
        hits, recalled = [], torch.zeros(len(real), dtype=torch.bool, device=real.device)
        nearest = torch.full_like(real_radii, math.inf)
        for start in range(0, len(fake), CHUNK):
            squared = _distances(fake[start : start + CHUNK], real, centre, norms)
            hits.append((squared < real_radii).sum(1))
            recalled |= (squared < fake_radii[start : start + CHUNK, None]).any(0)
            nearest = torch.minimum(nearest, squared.amin(0))
    count = torch.cat(hits).double()
    return Manifolds(
        precision=float((count > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(count.mean() / k),
        coverage=float((nearest < real_radii).double().mean()),
    )


def _assign(parts: Sequence[Tensor], centres: Tensor) -> Tensor:
    middle = centres.mean(0)
    norms = _norms(centres, middle)
    return torch.cat([_distances(part, centres, middle, norms).argmin(1) for part in parts])


def _row(parts: Sequence[Tensor], index: int) -> Tensor:
    for part in parts:
        if index < len(part):
            return part[index]
        index -= len(part)
    raise IndexError(index)


def _first_centres(parts: Sequence[Tensor], clusters: int, generator: torch.Generator) -> Tensor:
    """Seeding by squared distance (Arthur and Vassilvitskii 2007)."""
    weights = torch.ones(sum(len(part) for part in parts), dtype=torch.float64)
    nearest: Tensor | None = None
    centres: list[Tensor] = []
    for _ in range(clusters):
        centres.append(_row(parts, int(torch.multinomial(weights, 1, generator=generator))))
        distances = torch.cat([_norms(part, centres[-1]) for part in parts])
        nearest = distances if nearest is None else torch.minimum(nearest, distances)
        weights = nearest.double().cpu()
        weights = weights if weights.sum() > 0 else torch.ones_like(weights)
    return torch.stack(centres)


def cluster(parts: Sequence[Tensor], clusters: int, generator: torch.Generator, rounds: int = 25) -> Tensor:
    """Lloyd's k-means; the cluster of each row of all parts, shape (n,). A cluster that empties keeps its centre."""
    centres = _first_centres(parts, clusters, generator)
    labels = _assign(parts, centres)
    for _ in range(rounds):
        sums = torch.zeros_like(centres)
        for part, of_part in zip(parts, torch.split(labels, [len(part) for part in parts]), strict=True):
            sums.index_add_(0, of_part, part)
        count = torch.bincount(labels, minlength=clusters)[:, None]
        centres = torch.where(count > 0, sums / count.clamp(min=1), centres)
        moved = _assign(parts, centres)
        if torch.equal(moved, labels):
            break
        labels = moved
    return labels


def precision_recall_curve(real: Tensor, fake: Tensor, angles: int = 1001) -> tuple[Tensor, Tensor]:
    """Precision and recall of one discrete distribution about another (Sajjadi et al. 2018, eq. 5 and algorithm 1).

    Arguments:
        real: Probabilities, shape (K,).
        fake: Probabilities, shape (K,).
        angles: Slopes at which the curve is taken.

    Returns:
        Precision and recall at each slope, each of shape (angles,).
    """
    slopes = torch.linspace(1e-6, math.pi / 2 - 1e-6, angles, dtype=torch.float64).tan()
    precision = torch.minimum(real.double() * slopes[:, None], fake.double()).sum(1)
    return precision.clamp(0, 1), (precision / slopes).clamp(0, 1)


def _f_score(precision: Tensor, recall: Tensor, beta: float) -> float:
    return float(((1 + beta**2) * precision * recall / (beta**2 * precision + recall).clamp(min=1e-12)).max())


def curve_scores(
    real: Tensor, fake: Tensor, clusters: int = 20, runs: int = 10, seed: int = 0
) -> tuple[float, float, tuple[Tensor, Tensor]]:
    """F8 (mostly recall) and F1/8 (mostly precision) of the curve of Sajjadi et al. 2018 (arXiv:1806.00035).

    The sets, of equal size as the paper asks, are clustered together and compared as histograms over the clusters;
    the curve is the mean over `runs` clusterings.

    Returns:
        F8, F1/8, and the mean curve (precision, recall).
    """
    parts = [*torch.split(real, CHUNK), *torch.split(fake, CHUNK)]
    clusters = min(clusters, len(real) + len(fake))
    generator = torch.Generator().manual_seed(seed)
    curves = []
    with full_float32(real.device):
        for _ in range(runs):
            labels = cluster(parts, clusters, generator).cpu()
            of_real, of_fake = labels[: len(real)], labels[len(real) :]
            p, q = (torch.bincount(part, minlength=clusters) / len(part) for part in (of_real, of_fake))
            curves.append(torch.stack(precision_recall_curve(p, q)))
    precision, recall = torch.stack(curves).mean(0)
    return _f_score(precision, recall, 8.0), _f_score(precision, recall, 1 / 8), (precision, recall)
