"""What noise costs: zero-concentrated differential privacy, its tight conversion, and one Gaussian step in closed form.

A mechanism is rho-zCDP if the Renyi divergence of its outputs on neighbouring tables is at most rho alpha for every
order alpha (Bun and Steinke, 2016); the rho of several mechanisms add up.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_ndtr, ndtr


def zcdp_delta(rho: float, epsilon: float) -> float:
    """The smallest delta that rho-zCDP is known to give at epsilon (Canonne, Kamath and Steinke, 2020, corollary 13).

    delta = min over alpha > 1 of exp((alpha - 1)(alpha rho - epsilon)) / (alpha - 1) (1 - 1 / alpha)^alpha.
    """
    if rho <= 0:
        return 0.0

    def log_delta(log_order: float) -> float:
        beyond = math.exp(log_order)  # alpha - 1
        alpha = 1.0 + beyond
        return beyond * (alpha * rho - epsilon) - log_order + alpha * (math.log(beyond) - math.log(alpha))

    # alpha - 1 is near (epsilon - rho) / (2 rho); the function has one minimum
    middle = math.log(max((epsilon - rho) / (2 * rho), 1e-3))
    found = minimize_scalar(log_delta, bounds=(middle - 10.0, middle + 10.0), method="bounded", options={"xatol": 1e-9})
    return min(math.exp(min(found.fun, 0.0)), 1.0)


def zcdp_epsilon(rho: float, delta: float) -> float:
    """The epsilon at delta of rho-zCDP, by the same conversion."""
    if rho <= 0:
        return 0.0
    high = rho + 2.0 * math.sqrt(rho * math.log(1.0 / delta)) + 1e-9  # the loose conversion (Bun and Steinke, 2016)
    if zcdp_delta(rho, 0.0) <= delta:
        return 0.0
    return float(brentq(lambda epsilon: math.log(zcdp_delta(rho, epsilon)) - math.log(delta), 0.0, high, xtol=1e-12))


def zcdp_rho(epsilon: float, delta: float) -> float:
    """The largest rho that is (epsilon, delta)-differentially private by the same conversion."""
    low, high = 0.0, (math.sqrt(math.log(1 / delta) + epsilon) + math.sqrt(math.log(1 / delta))) ** 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if zcdp_delta(middle, epsilon) <= delta else (low, middle)
    return low * (1.0 - 1e-9)  # so that no rounding makes it cost more


def gaussian_delta(sigma: float, epsilon: float) -> float:
    """The exact delta of one Gaussian step of sensitivity 1 (Balle and Wang, 2018, theorem 8).

    delta = Phi(1 / (2 sigma) - epsilon sigma) - exp(epsilon) Phi(-1 / (2 sigma) - epsilon sigma).
    """
    half = 1.0 / (2.0 * sigma)
    return float(ndtr(half - epsilon * sigma) - math.exp(epsilon + float(log_ndtr(-half - epsilon * sigma))))


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """The exact epsilon at delta of one Gaussian step of sensitivity 1."""
    if gaussian_delta(sigma, 0.0) <= delta:
        return 0.0
    high = 1.0
    while gaussian_delta(sigma, high) > delta:
        high *= 2.0
    return float(brentq(lambda epsilon: gaussian_delta(sigma, epsilon) - delta, 0.0, high, xtol=1e-10))
