"""Figures of a latent space: gap of information, disentanglement, linear probes, and length of paths.

Latents are float arrays (n, d), one row an example; factors are what the examples show, (n, k).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 20  # of equal width, into which a latent dimension is cut for its information (Locatello et al., 2019)
TREES = 50
NEIGHBOURS = 5  # whose distance is the radius of a real example's neighbourhood
RIDGE = 0.1  # of the latents' mean square, times dimensions over rows
LINEAR = math.pi**2 / 4  # relative path length of a generator that is linear in latents of many dimensions


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each in [0, 1], higher is better."""

    disentanglement: float
    completeness: float
    informativeness: float


def mutual_information_gap(latents: Floats, factors: NDArray[np.int64], bins: int = BINS) -> float:
    """Mean gap of information on a factor between the two latents that tell most of it (Chen et al., 2018, eq. 6).

    In units of the factor's entropy, of latents cut into bins of equal width. https://arxiv.org/abs/1802.04942

    Arguments:
        latents: Shape (n, d), d of at least 2.
        factors: Classes, shape (n, k), each with at least two values.
        bins: Per latent dimension.

    Returns:
        0 to 1: 1 where each factor is told wholly by one latent and by no other.

    Raises:
        ValueError: One latent only, or a factor that does not vary.
    """
    if latents.shape[1] < 2:
        raise ValueError(f"latents of {latents.shape[1]} dimension have no second one; give at least 2")
    cut = np.stack([_binned(column, bins) for column in latents.T], axis=1)
    gaps = []
    for factor in factors.T:
        entropy = _entropy(factor)
        if entropy == 0:
            raise ValueError("a factor with a single value has no information; leave it out")
        told = sorted(_information(column, factor) for column in cut.T)
        gaps.append((told[-1] - told[-2]) / entropy)
    return float(np.mean(gaps))


def _binned(column: Floats, bins: int) -> NDArray[np.int64]:
    low, high = float(column.min()), float(column.max())
    if low == high:
        return np.zeros(len(column), np.int64)
    return np.minimum(((column - low) / (high - low) * bins).astype(np.int64), bins - 1)


def _entropy(values: NDArray[np.int64]) -> float:
    """In nats."""
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(shares * np.log(shares)).sum())


def _information(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Mutual information in nats."""
    joint = np.unique(np.stack([first, second]), axis=1, return_counts=True)[1] / len(first)
    return _entropy(first) + _entropy(second) + float((joint * np.log(joint)).sum())


def importances(latents: Floats, factors: NDArray[np.int64], seed: int = 0) -> tuple[Floats, float]:
    """How much a random forest leans on each latent to tell each factor, (d, k), and its accuracy on unseen rows.

    The first half of the rows is learnt from, the second judges.
    """
    from sklearn.ensemble import RandomForestClassifier

    half, found, right = len(latents) // 2, [], []
    for factor in factors.T:
        forest = RandomForestClassifier(TREES, max_features=None, random_state=seed).fit(latents[:half], factor[:half])
        found.append(forest.feature_importances_)
        right.append(float((forest.predict(latents[half:]) == factor[half:]).mean()))
    return np.stack(found, axis=1), float(np.mean(right))


def dci(latents: Floats, factors: NDArray[np.int64], seed: int = 0) -> DCI:
    """Whether each latent tells one factor, each factor sits in one latent, and how well (Eastwood & Williams, 2018).

    https://openreview.net/forum?id=By-7dz-AZ; a random forest finds the importances.

    Arguments:
        latents: Shape (n, d), d of at least 2.
        factors: Classes, shape (n, k), k of at least 2.
        seed: Of the forest.
    """
    matrix, right = importances(latents, factors, seed)
    return DCI(disentanglement(matrix), disentanglement(matrix.T), right)


def disentanglement(matrix: Floats) -> float:
    """1 less the entropy of each row's shares in units of that of equal shares, weighted by the rows' sums.

    Arguments:
        matrix: Importances, not negative; of the transpose it is completeness, weighted in the same way.
    """
    sums = matrix.sum(axis=1)
    used = matrix[sums > 0] / sums[sums > 0, None]
    logs = np.log(used, out=np.zeros_like(used), where=used > 0)
    single = 1 + (used * logs).sum(axis=1) / math.log(matrix.shape[1])
    return float(single @ (sums[sums > 0] / sums.sum()))


def probe_accuracy(latents: Floats, labels: NDArray[np.int64]) -> float:
    """Share of unseen rows whose class a linear classifier of the latents finds (Alain & Bengio, 2016).

    https://arxiv.org/abs/1610.01644; the first half of the rows is learnt from, the second judges.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    half = len(latents) // 2
    scaler = StandardScaler().fit(latents[:half])
    probe = LogisticRegression(max_iter=1000).fit(scaler.transform(latents[:half]), labels[:half])
    return float(probe.score(scaler.transform(latents[half:]), labels[half:]))


def probe_r2(latents: Floats, values: Floats) -> float:
    """Share of the variance of a number on unseen rows that is linear in the latents; below 0 is worse than its mean.

    The first half of the rows is learnt from, by ridge regression, the second judges.

    Raises:
        ValueError: A number that does not vary in either half.
    """
    half = len(latents) // 2
    learnt, judged = values[:half], values[half:]
    if learnt.std() == 0 or judged.std() == 0:
        raise ValueError("what is probed for does not vary")
    mean, scale = latents[:half].mean(axis=0), latents[:half].std(axis=0)
    x = (latents - mean) / np.where(scale > 0, scale, 1.0)
    square = x[:half].T @ x[:half] / half + RIDGE * x.shape[1] / half * np.eye(x.shape[1])
    weights = np.linalg.solve(square, x[:half].T @ (learnt - learnt.mean()) / half)
    error = judged - learnt.mean() - x[half:] @ weights
    return float(1 - error.var() / judged.var() - error.mean() ** 2 / judged.var())


def relative_path_length(
    features: Callable[[Floats], Floats], z: Floats, epsilon: float = 0.05, seed: int = 0
) -> float:
    """Perceptual path length of normal latents in units of the distance of unrelated examples (Karras et al., 2019).

    https://arxiv.org/abs/1812.04948, section 4.1: mean squared distance of the features of two points on the great
    circle between two latents, `epsilon` of it apart, over epsilon squared. The unit, half the mean squared distance of
    the ends, departs from the paper and makes models comparable: a generator that is linear in z has pi^2 / 4 in many
    dimensions, one that jumps to an unrelated example at each step 2 / epsilon^2.

    Arguments:
        features: From latents (m, d) to features (m, f) of what they show.
        z: Latents, (2 n, d): the first half of the ends of paths, then the second.
        epsilon: Step.
        seed: Of the places on the paths.

    Raises:
        ValueError: All examples are the same, as those of a constant generator.
    """
    n = len(z) // 2
    at = np.random.default_rng(seed).uniform(0.0, 1.0 - epsilon, (n, 1))
    near, far = (features(_between(z[:n], z[n:], place)) for place in (at, at + epsilon))
    first, second = features(z[:n]), features(z[n:])
    whole = float(((first - second) ** 2).sum(axis=1).mean())
    if whole == 0:
        raise ValueError("all examples are the same, so that a path has no length")
    return float(((near - far) ** 2).sum(axis=1).mean()) / epsilon**2 / (whole / 2)


def middles(z: Floats) -> Floats:
    """Points half way on the great circles between the first half of latents (2 n, d) and the second, (n, d)."""
    n = len(z) // 2
    return _between(z[:n], z[n : 2 * n], np.full((n, 1), 0.5))


def on_data(points: Floats, real: Floats, k: int = NEIGHBOURS) -> float:
    """Share of points no further from some real example than its k-th nearest other one (precision).

    Kynkäänniemi et al., 2019, eq. 1 and 2, https://arxiv.org/abs/1904.06991.

    Arguments:
        points: Features, shape (n, f).
        real: Features of real examples, (m, f), m > k.
        k: Neighbours.
    """
    own = squared_distances(real, real)
    own[np.diag_indices(len(own))] = np.inf
    radii = np.partition(own, k - 1, axis=1)[:, k - 1]
    slack = 1e-9 * float(np.square(real - real.mean(axis=0)).sum(axis=1).mean())  # rounding: examples may be alike
    return float((squared_distances(points, real) <= radii + slack).any(axis=1).mean())


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Between all rows of a and all of b, (n, m)."""
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    return np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * a @ b.T


def _between(a: Floats, b: Floats, at: Floats) -> Floats:
    """Points on the great circles between rows of a and of b (Shoemake, 1985), lengths carried along."""
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))[:, None]
    sine = np.sin(angle)
    flat = sine < 1e-6
    safe = np.where(flat, 1.0, sine)
    found = (np.sin((1 - at) * angle) * a + np.sin(at * angle) * b) / safe
    return np.where(flat, (1 - at) * a + at * b, found)
