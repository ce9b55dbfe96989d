"""Mode-specific normalisation of numbers (Xu et al., 2019, section 4.2, https://arxiv.org/abs/1907.00503).

The mixture is fitted by variational EM (Bishop, 2006, section 10.2) with a sparse Dirichlet prior, so that modes which
the column does not need lose their weight. It runs on at most about a thousand weighted points that stand for all rows:
beyond one sort, its cost does not grow with the table.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import digamma, logsumexp

from datakiln.codecs.tables.scaling import NumericEncoder
from datakiln.spec import Block

WIDTH = 4.0  # a mode reaches at least 4 standard deviations from its mean, as in the paper
MARGIN = 1.25  # and this much further than its furthest value: no bounded net can make what lies at its very bound
MIN_WEIGHT = 0.002  # a mode with less is left out
MIN_SIGMA = 0.01  # of the column's standard deviation; a mode on a single repeated value would have none
POINTS = 512  # quantile bins that stand for more distinct values than these
TAILS = 64  # smallest and largest values that are never binned
CONCENTRATION = 1e-3  # of the Dirichlet prior on the weights
STEPS = 1000  # at most
TOLERANCE = 1e-5  # mean change of a responsibility below which the fit has converged


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians on the real line.

    Attributes:
        weights: Summing to 1, shape (K,).
        means: Shape (K,), in user units.
        sigmas: Standard deviations, shape (K,).
    """

    weights: np.ndarray
    means: np.ndarray
    sigmas: np.ndarray

    def joint(self, values: np.ndarray) -> np.ndarray:
        """Log of weight times density, shape (n, K)."""
        scaled = (values[:, None] - self.means) / self.sigmas
        return np.log(self.weights) - np.log(self.sigmas) - 0.5 * np.log(2 * np.pi) - 0.5 * scaled**2

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Log-density, shape (n,)."""
        return logsumexp(self.joint(values), axis=1)


def condense(values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values and their counts; beyond `points` of them the means of bins of equal count, tails kept."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= points:
        return distinct, counts.astype(np.float64)
    ordered = np.sort(values)
    middle = ordered[TAILS:-TAILS]
    edges = np.unique(np.linspace(0, len(middle), points + 1).astype(np.int64))
    sizes = np.diff(edges).astype(np.float64)
    means = np.add.reduceat(middle, edges[:-1]) / sizes
    ends = np.ones(TAILS)
    return np.concatenate([ordered[:TAILS], means, ordered[-TAILS:]]), np.concatenate([ends, sizes, ends])


def fit_mixture(values: np.ndarray, modes: int) -> Mixture:
    """Variational mixture of at most `modes` Gaussians, fitted to all values of shape (n,).

    Normal-gamma priors as broad as the column; starts from groups of equal count; deterministic.
    """
    points, counts = condense(values)
    centre = float(np.average(points, weights=counts))
    scale = float(np.sqrt(np.average((points - centre) ** 2, weights=counts))) or 1.0
    x = (points - centre) / scale
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    groups = np.minimum((rank * modes).astype(np.int64), modes - 1)
    share = np.eye(modes)[groups]
    for _ in range(STEPS):
        posterior = _posterior(x, counts, share)
        new = _responsibilities(x, posterior)
        change = np.average(np.abs(new - share).sum(axis=1), weights=counts)
        needed = counts @ new > 0.5  # a mode with less than half a row is given up
        share = new[:, needed]
        if change < TOLERANCE and needed.all():
            break
    alpha, mean, _, a, b = _posterior(x, counts, share)
    weights = alpha / alpha.sum()
    keep = weights >= min(MIN_WEIGHT, weights.max())
    sigmas = np.maximum(np.sqrt(b / a), MIN_SIGMA)
    return Mixture(weights[keep] / weights[keep].sum(), mean[keep] * scale + centre, sigmas[keep] * scale)


def _posterior(x: np.ndarray, counts: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, ...]:
    """Bishop's equations 10.58 to 10.63 on one standardised column; prior mean 0, precision of a unit variance."""
    mass = share * counts[:, None]
    size = mass.sum(axis=0) + 1e-12
    mean = x @ mass / size
    spread = (x**2) @ mass / size - mean**2
    beta = 1.0 + size
    b = 0.5 + 0.5 * (size * np.maximum(spread, 0.0) + size / beta * mean**2)
    return CONCENTRATION + size, size * mean / beta, beta, 0.5 + 0.5 * size, b


def _responsibilities(x: np.ndarray, posterior: tuple[np.ndarray, ...]) -> np.ndarray:
    """Bishop's equations 10.64 to 10.67: the expected log joint, normalised over the modes."""
    alpha, mean, beta, a, b = posterior
    constant = digamma(alpha) + 0.5 * (digamma(a) - np.log(b) - 1.0 / beta)
    log_joint = constant - 0.5 * a / b * (x[:, None] - mean) ** 2
    log_joint -= log_joint.max(axis=1, keepdims=True)
    share = np.exp(log_joint)
    return share / share.sum(axis=1, keepdims=True)


class Modes(NumericEncoder):
    """A value as its mixture component, one-hot, and its place inside the component, in [-1, 1].

    The component is drawn from its probability given the value, by a generator seeded with the values themselves: the
    same column always gives the same code. A column with a single mode has no choice.

    Arguments:
        modes: Most components a column can have.
    """

    means: np.ndarray
    sigmas: np.ndarray
    weights: np.ndarray
    reaches: np.ndarray  # distance from its mean at which a mode's place is 1; beyond 4 sigma where training values lie

    def __init__(self, modes: int = 10) -> None:
        """See the class."""
        if modes < 1:
            raise ValueError(f"modes={modes} must be at least 1")
        self.modes = modes

    @property
    def mixture(self) -> Mixture:
        """The fitted mixture, in user units."""
        return Mixture(self.weights, self.means, self.sigmas)

    def fit(self, values: np.ndarray) -> None:
        """Learns the mixture."""
        mixture = fit_mixture(values if len(values) else np.zeros(1), self.modes)
        self.weights, self.means, self.sigmas = mixture.weights, mixture.means, mixture.sigmas
        self.neutral = float(self.means[self.weights.argmax()])
        mode = self._drawn_modes(values)
        self.reaches = WIDTH * self.sigmas
        np.maximum.at(self.reaches, mode, MARGIN * np.abs(values - self.means[mode]))

    def blocks(self, start: int, gate: int | None) -> tuple[Block, ...]:
        """The place inside the mode, then the mode."""
        value = Block(start, start + 1, "value", gate)
        if len(self.means) == 1:
            return (value,)
        return (value, Block(start + 1, start + 1 + len(self.means), "choice", gate))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Shape (n, 1 + K), or (n, 1) with a single mode; no training value is out of reach of its mode."""
        mode = self._drawn_modes(values)
        place = np.clip((values - self.means[mode]) / self.reaches[mode], -1.0, 1.0)
        if len(self.means) == 1:
            return place.astype(np.float32)[:, None]
        return np.concatenate([place[:, None], np.eye(len(self.means))[mode]], axis=1).astype(np.float32)

    def _drawn_modes(self, values: np.ndarray) -> np.ndarray:
        joint = self.mixture.joint(values)
        rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(values).tobytes()))
        return (joint + rng.gumbel(size=joint.shape)).argmax(axis=1)

    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The place in the most probable mode."""
        mode = x[:, 1:].argmax(axis=1) if len(self.means) > 1 else np.zeros(len(x), dtype=np.int64)
        place = np.clip(x[:, 0].astype(np.float64), -1.0, 1.0)
        return place * self.reaches[mode] + self.means[mode]

    def state(self) -> dict[str, Any]:
        """The mixture."""
        return {
            "modes": self.modes,
            "weights": self.weights.tolist(),
            "means": self.means.tolist(),
            "sigmas": self.sigmas.tolist(),
            "reaches": self.reaches.tolist(),
            "neutral": self.neutral,
        }
