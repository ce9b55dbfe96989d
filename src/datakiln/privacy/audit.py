"""Lower bounds on epsilon from guesses: what an attack proves of a mechanism, to be held against what it claims.

A bound above the claim is a fault of the mechanism, of its accountant or of its noise; one below proves nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import beta, binom

from datakiln.privacy.accounting import gaussian_epsilon


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """How likely so many right guesses are at most, if the mechanism is (epsilon, delta)-differentially private.

    Each of the canaries was in by a coin of its own, in one run (Steinke, Nasr and Jagielski, 2023,
    https://arxiv.org/abs/2305.08846, theorem 5.2). Without delta each guess is right with probability
    q = exp(epsilon) / (1 + exp(epsilon)) at most, so that right guesses are Binomial(guesses, q) at most; delta adds
    2 m delta max over i of P(right - i <= Binomial < right) / i.

    Arguments:
        canaries: m, all that were drawn for.
        guesses: Those for which a guess was made.
        right: Guesses that were right.
        epsilon: Claimed.
        delta: Claimed.
    """
    q = 1.0 / (1.0 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, q))
    below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, q))
    worst = float((below / np.arange(1, len(below) + 1)).max(initial=0.0))
    return min(tail + 2.0 * canaries * delta * worst, 1.0)


def one_run(canaries: int, guesses: int, right: int, delta: float, confidence: float = 0.95) -> float:
    """The largest epsilon that so many right guesses in one run rule out; 0 where they rule out none.

    See `p_value` for the arguments; the true epsilon is smaller with probability `1 - confidence` at most.
    """
    wrong = 1.0 - confidence
    if p_value(canaries, guesses, right, 0.0, delta) > wrong:
        return 0.0
    high = 1.0
    while p_value(canaries, guesses, right, high, delta) < wrong:
        high *= 2.0
        if high > 64:
            return 64.0
    return float(brentq(lambda e: p_value(canaries, guesses, right, e, delta) - wrong, 0.0, high, xtol=1e-6))


def best_guesses(
    scores: NDArray[np.float64], was_in: NDArray[np.bool_], delta: float, confidence: float = 0.95
) -> float:
    """`one_run` for the canaries with the highest scores guessed in, and as many of the lowest guessed out.

    The share of canaries that are guessed is tried at five sizes, each at a fifth of the error that is allowed.

    Arguments:
        scores: Of each canary, higher for in.
        was_in: Whether it was.
        delta: Claimed.
        confidence: Of the bound.
    """
    order, m, best = np.argsort(scores), len(scores), 0.0
    shares = (0.02, 0.1, 0.25, 0.5, 1.0)
    each = 1.0 - (1.0 - confidence) / len(shares)
    for share in shares:
        half = max(round(share * m / 2), 1)
        right = int(was_in[order[-half:]].sum() + (~was_in[order[:half]]).sum())
        best = max(best, one_run(m, 2 * half, right, delta, each))
    return best


def many_runs(
    without: NDArray[np.float64], within: NDArray[np.float64], delta: float, confidence: float = 0.95
) -> float:
    """A lower bound on epsilon of a Gaussian mechanism, from a statistic of many runs with and without a canary.

    Half of the runs choose a threshold, the others give its error rates, and Clopper and Pearson's limits on these the
    smallest distance mu of two unit Gaussians that such a test can tell apart (Nasr et al., 2023,
    https://arxiv.org/abs/2302.07956, section 4).

    Arguments:
        without: The statistic of runs without the canary, shape (n,).
        within: Of runs with it, higher by tendency.
        delta: Claimed.
        confidence: Of the bound.
    """
    halves = [(part[::2], part[1::2]) for part in (without, within)]
    candidates = np.quantile(np.concatenate([halves[0][0], halves[1][0]]), np.linspace(0.02, 0.98, 49))
    power = [(within[::2] > t).mean() - (without[::2] > t).mean() for t in candidates]
    threshold = candidates[int(np.argmax(power))]
    false, missed = int((halves[0][1] > threshold).sum()), int((halves[1][1] <= threshold).sum())
    error = (1.0 - confidence) / 2.0
    highs = [_upper(k, len(part[1]), error) for k, part in zip((false, missed), halves, strict=True)]
    mu = -float(ndtri(highs[0]) + ndtri(highs[1]))
    return gaussian_epsilon(1.0 / mu, delta) if mu > 0 else 0.0


def _upper(k: int, n: int, error: float) -> float:
    return 1.0 if k == n else float(beta.ppf(1.0 - error, k + 1, n - k))
