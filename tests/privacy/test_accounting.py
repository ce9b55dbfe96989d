"""What noise costs, against closed forms."""

import math

import pytest
from scipy.stats import norm

from datakiln.privacy.accounting import gaussian_delta, gaussian_epsilon, zcdp_delta, zcdp_epsilon, zcdp_rho


@pytest.mark.parametrize("epsilon, delta", [(0.1, 1e-9), (1.0, 1e-9), (1.0, 1e-5), (8.0, 1e-9), (30.0, 1e-6)])
def test_rho_and_epsilon_are_inverse(epsilon, delta):
    assert zcdp_epsilon(zcdp_rho(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize("rho, delta", [(0.01, 1e-9), (0.5, 1e-6), (2.0, 1e-5)])
def test_the_conversion_lies_between_the_exact_gaussian_and_the_loose_one(rho, delta):
    exact = gaussian_epsilon(1 / math.sqrt(2 * rho), delta)  # a Gaussian step is rho-zCDP with rho = 1 / (2 sigma^2)
    loose = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    assert exact <= zcdp_epsilon(rho, delta) < loose
    assert zcdp_epsilon(rho, delta) < 1.1 * exact


def test_the_conversion_is_the_best_over_all_orders():
    rho, epsilon = 0.02, 0.8
    orders = [1 + 0.01 * k for k in range(1, 10_000)]
    tried = [math.exp((a - 1) * (a * rho - epsilon)) / (a - 1) * (1 - 1 / a) ** a for a in orders]
    assert zcdp_delta(rho, epsilon) == pytest.approx(min(tried), rel=1e-3)
    assert zcdp_delta(rho, epsilon) <= min(tried) * (1 + 1e-9)


def test_one_gaussian_step_in_closed_form():
    assert gaussian_delta(1.0, 0.0) == pytest.approx(2 * norm.cdf(0.5) - 1)  # the total variation of two unit Gaussians
    assert gaussian_delta(2.0, gaussian_epsilon(2.0, 1e-7)) == pytest.approx(1e-7, rel=1e-5)


@pytest.mark.parametrize("sigma, delta", [(1.0, 1e-6), (3.0, 1e-9)])
def test_the_accountants_equal_the_closed_form_for_one_gaussian_step(sigma, delta):
    pytest.importorskip("opacus")
    from datakiln.privacy.accountants import spent

    exact = gaussian_epsilon(sigma, delta)
    assert exact <= spent("prv", sigma, 1.0, 1, delta) <= exact + 0.03
    assert exact <= spent("rdp", sigma, 1.0, 1, delta) <= 1.1 * exact


@pytest.mark.journey
def test_the_noise_that_is_solved_costs_what_may_be_spent():
    pytest.importorskip("opacus")
    from datakiln.privacy.accountants import noise_for, spent

    found = {kind: noise_for(kind, 1.0, 1e-6, 0.01, 500) for kind in ("rdp", "prv")}
    for kind, sigma in found.items():
        assert 0.97 < spent(kind, sigma, 0.01, 500, 1e-6) <= 1.0
    assert spent("rdp", noise_for("rdp", 0.09, 1e-9, 0.4, 180), 0.4, 180, 1e-9) <= 0.09
    assert found["prv"] < found["rdp"]
