"""A naive generator of pictures: a mixture of Gaussians on principal components.

Whatever learns pictures should beat it; pixels drawn one by one are too easy a rival. It is fitted in seconds on a
bounded sample, and drawn from piece by piece, so that it needs little memory however many pictures are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from datakiln.metrics.extractors.base import full_float32
from datakiln.metrics.pictures.neighbours import cluster

COMPONENTS = 64  # principal ones
SPARE, POWERS = 16, 6  # further directions and turns of the power iteration that finds them
CLUSTERS = 100
A_CLUSTER = 2  # pictures for each principal component: fewer give no covariance worth the name
ROUNDS = 4  # of expectation and maximisation
LEAST_SHARE = 1e-3  # of a picture in a cluster, below which it changes nothing there
MOST, MOST_VALUES = 10_000, 8_000_000  # pictures that are fitted, and values of pixels that axes are found of
SIDE = 32  # larger pictures are fitted at this side, and drawn larger
RIDGE = 1e-3  # of the mean variance, added to every covariance
CHUNK = 256  # pictures that are drawn at once


@dataclass(frozen=True)
class Mixture:
    """Gaussians in the space of principal components.

    Attributes:
        mean: Of the pixels, shape (d,).
        axes: Principal axes, shape (k, d).
        weights: Of the Gaussians, shape (K,).
        centres: Their means, shape (K, k).
        factors: Lower triangular, of their covariances, shape (K, k, k).
        inner: (C, H, W) that was fitted.
    """

    mean: Tensor
    axes: Tensor
    weights: Tensor
    centres: Tensor
    factors: Tensor
    inner: tuple[int, int, int]

    def draw(self, n: int, side: int, generator: torch.Generator) -> Tensor:
        """Pictures, uint8 (n, C, side, side); random numbers are the processor's, the same for every device."""
        device = self.mean.device
        which = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=generator).to(device)
        noise = torch.randn(n, self.centres.shape[1], generator=generator).to(device)
        with full_float32(device):
            hidden = self.centres[which] + (self.factors[which] @ noise[:, :, None])[:, :, 0]
            pictures = (self.mean + hidden @ self.axes).unflatten(1, self.inner)
            if side != self.inner[1]:
                pictures = F.interpolate(pictures, (side, side), mode="bicubic", antialias=True)
        return pictures.round_().clamp_(0, 255).to("cpu", torch.uint8)


@dataclass(frozen=True)
class NaivePictures:
    """Pictures of a mixture that look like a tensor (n, C, side, side): drawn when they are asked for.

    Attributes:
        mixture: Draws them.
        n: How many there are.
        side: Height and width.
        seed: The same seed gives the same pictures, however they are asked for.
    """

    mixture: Mixture
    n: int
    side: int
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the tensor it stands for."""
        return self.n, self.mixture.inner[0], self.side, self.side

    def __len__(self) -> int:
        """Number of pictures."""
        return self.n

    def __getitem__(self, at: slice) -> Tensor:
        """Some of them, uint8 (B, C, side, side)."""
        start, stop, _ = at.indices(self.n)
        chunks = range(start // CHUNK, -(-stop // CHUNK)) if stop > start else range(0)
        parts = [self._chunk(i)[max(start - i * CHUNK, 0) : stop - i * CHUNK] for i in chunks]
        return torch.cat(parts) if parts else torch.zeros(0, *self.shape[1:], dtype=torch.uint8)

    def _chunk(self, i: int) -> Tensor:
        generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + i)
        return self.mixture.draw(CHUNK, self.side, generator)

    def first(self, n: int) -> NaivePictures:
        """The first n of them."""
        return replace(self, n=min(n, self.n))


def fit_pictures(train: Iterable[Tensor], seed: int = 0, device: torch.device | str = "cpu") -> Mixture:
    """A mixture fitted to pictures: axes to as many as fit into a bounded memory, Gaussians to more of them.

    Arguments:
        train: Batches, uint8 (B, C, H, W), in random order.
        seed: Of the first centres.
        device: Where it is fitted and drawn from.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = (_small(batch.to(device)) for batch in train)
    x, inner = _sample(batches)
    with full_float32(x.device):
        mean = x.mean(0)
        axes = _axes(x - mean, max(1, min(COMPONENTS, len(x) - 1, x.shape[1])), generator)
        parts, count = [(x - mean) @ axes.T], len(x)
        for batch in batches if count < MOST else ():
            parts.append((batch.flatten(1)[: MOST - count] - mean) @ axes.T)
            count += len(parts[-1])
            if count == MOST:
                break
        hidden = torch.cat(parts)
        clusters = max(1, min(CLUSTERS, len(hidden) // (A_CLUSTER * hidden.shape[1])))
        return Mixture(mean, axes, *_mixture(hidden, clusters, generator), inner)


def _small(batch: Tensor) -> Tensor:
    return F.interpolate(batch.float(), (SIDE, SIDE), mode="area") if batch.shape[2] > SIDE else batch.float()


def _sample(batches: Iterator[Tensor]) -> tuple[Tensor, tuple[int, int, int]]:
    """Pixels of the first pictures, float (n, d), as many as fit, and the shape they have."""
    parts: list[Tensor] = []
    count, most = 0, 2
    for batch in batches:
        most = max(2, min(MOST, MOST_VALUES // math.prod(batch.shape[1:])))
        parts.append(batch)
        count += len(batch)
        if count >= most:  # a batch more than fits does no harm, and none is lost
            break
    x = torch.cat(parts)
    return x.flatten(1), (x.shape[1], x.shape[2], x.shape[3])


def _axes(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """About the first principal axes of centred rows, by power iteration of a subspace (Halko et al., 2011)."""
    width = min(count + SPARE, *x.shape)
    basis = torch.randn(x.shape[1], width, generator=generator).to(x.device)
    for _ in range(POWERS):
        basis = torch.linalg.qr(x.T @ (x @ basis))[0]
    turned: Tensor = torch.linalg.svd(x @ basis, full_matrices=False)[2]
    return (turned @ basis.T)[:count].contiguous()


def _mixture(hidden: Tensor, clusters: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, centres and Cholesky factors, by expectation and maximisation from clusters (Dempster et al., 1977)."""
    labels = cluster([hidden], clusters, generator, rounds=10)
    shares = F.one_hot(labels, clusters).float()
    eye = torch.eye(hidden.shape[1], device=hidden.device)
    ridge = RIDGE * hidden.var(0, correction=0).mean().clamp(min=1e-6) * eye
    for turn in range(ROUNDS + 1):
        weights, centres, factors = _maximised(hidden, shares, ridge)
        if clusters == 1 or turn == ROUNDS:
            break
        shares = torch.softmax(_log_densities(hidden, weights, centres, factors, eye), dim=1)
    return weights, centres, factors


def _maximised(hidden: Tensor, shares: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    sizes = shares.sum(0).clamp(min=1e-6)
    centres = shares.T @ hidden / sizes[:, None]
    factors = []
    for k, size in enumerate(sizes):
        rows = (shares[:, k] > LEAST_SHARE).nonzero()[:, 0]
        centred = hidden[rows] - centres[k]
        factors.append(torch.linalg.cholesky((centred * shares[rows, k, None]).T @ centred / size + ridge))
    return sizes / sizes.sum(), centres, torch.stack(factors)


def _log_densities(hidden: Tensor, weights: Tensor, centres: Tensor, factors: Tensor, eye: Tensor) -> Tensor:
    """Up to a constant, shape (n, K)."""
    found = []
    for weight, centre, lower in zip(weights, centres, factors, strict=True):
        inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
        standard = hidden @ inverse.T - inverse @ centre
        found.append(weight.log() - lower.diagonal().log().sum() - 0.5 * standard.square().sum(1))
    return torch.stack(found, dim=1)
