"""What steps of subsampled Gaussian noise cost, by Opacus' accountants: exact Renyi orders or privacy random variables.

Poisson sampling at rate q, each step's sum of clipped gradients with noise of standard deviation sigma times the clip,
tables that differ by one row added or removed (Abadi et al., 2016; Gopi, Lee and Wutschitz, 2021,
https://arxiv.org/abs/2106.02848).
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, Literal

from datakiln.errors import UserError

Kind = Literal["prv", "rdp"]
ORDERS = [*(1 + k / 10 for k in range(1, 100)), *range(11, 64), *(2**k for k in range(6, 13))]  # of Renyi divergence
ROOM = 0.01  # that the other accountant keeps for its numerical error
FINE = 1e-3  # relative width of the search for the noise


def spent(kind: Kind, sigma: float, rate: float, steps: int, delta: float) -> float:
    """An upper bound on epsilon after so many steps.

    Arguments:
        kind: Which accountant.
        sigma: Standard deviation of the noise over the clip.
        rate: Probability that a row takes part in a step.
        steps: How many.
        delta: At which epsilon is told.

    Raises:
        UserError: Opacus is not installed.
    """
    if steps == 0:
        return 0.0
    made = _accountant(kind)
    made.history = [(sigma, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an optimal order at the end of the range: the bound holds at any order
        options = {"alphas": ORDERS} if kind == "rdp" else {"eps_error": ROOM, "delta_error": delta / 1000}
        return float(made.get_epsilon(delta, **options))


@functools.cache  # the jobs of a sweep ask the same
def noise_for(kind: Kind, epsilon: float, delta: float, rate: float, steps: int) -> float:
    """The smallest noise, within a thousandth, with which so many steps cost at most epsilon; see `spent`.

    Found by halving, by the Renyi accountant first, whose bound is never below that of privacy random variables.
    """
    low, high = 0.3, 1.0
    while spent("rdp", high, rate, steps, delta) > epsilon:
        low, high = high, 2 * high
        if high > 1e6:
            raise UserError(f"privacy.epsilon={epsilon:g} is too small for {steps} steps; take fewer epochs")
    low, high = _halved("rdp", low, high, epsilon, delta, rate, steps)
    if kind == "rdp":
        return high
    low = high / 2
    while spent(kind, high, rate, steps, delta) > epsilon:  # its bound has room for error
        low, high = high, 1.1 * high
    return _halved(kind, low, high, epsilon, delta, rate, steps)[1]


def _halved(
    kind: Kind, low: float, high: float, epsilon: float, delta: float, rate: float, steps: int
) -> tuple[float, float]:
    while high - low > FINE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if spent(kind, middle, rate, steps, delta) <= epsilon else (middle, high)
    return low, high


def _accountant(kind: Kind) -> Any:  # noqa: ANN401 (of Opacus)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from opacus.accountants import PRVAccountant, RDPAccountant
    except ImportError:
        raise UserError(
            "privacy=dp_sgd needs Opacus' accountants; install them: pip install 'datakiln[privacy]'"
        ) from None
    return PRVAccountant() if kind == "prv" else RDPAccountant()
