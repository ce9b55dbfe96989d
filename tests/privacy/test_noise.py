"""Exact noise follows its law, and a choice among scores goes with their exponentials."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from datakiln.privacy.noise import choose, discrete_gaussian, discrete_laplace, happens, uniform_below, variance_for


@pytest.mark.parametrize("variance", [1, 7, 400, 20_000_000])
def test_a_discrete_gaussian_follows_its_law(variance):
    x = discrete_gaussian(variance, 20_000 if variance < 1e6 else 2_000)
    reach = math.ceil(4 * math.sqrt(variance))
    values = np.arange(-reach, reach + 1) if variance < 1e6 else np.linspace(-reach, reach, 4001).round()
    law = np.exp(-(values.astype(float) ** 2) / (2 * variance))
    edges = np.unique(np.quantile(np.repeat(values, np.ceil(2000 * law).astype(int)), np.linspace(0, 1, 9)[1:-1]))
    found = np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1)
    wanted = np.bincount(np.searchsorted(edges, values, side="left"), weights=law, minlength=len(edges) + 1)
    assert chisquare(found, wanted / wanted.sum() * len(x)).pvalue > 1e-5


def test_a_discrete_laplace_follows_its_law():
    x = np.abs(discrete_laplace(3, 30_000))
    wanted = np.array([1.0, *(2 * math.exp(-k / 3) for k in range(1, 12))])
    found = np.bincount(np.minimum(x, 11), minlength=12)
    wanted[11] = 2 * math.exp(-11 / 3) / (1 - math.exp(-1 / 3))
    assert chisquare(found, wanted / wanted.sum() * len(x)).pvalue > 1e-5


@pytest.mark.parametrize("numerator, denominator", [(0, 3), (1, 2), (7, 3), (5, 5)])
def test_events_have_exponential_probabilities(numerator, denominator):
    found = happens(np.full(20_000, numerator), denominator).mean()
    assert found == pytest.approx(math.exp(-numerator / denominator), abs=0.02)


def test_whole_numbers_are_even_also_beyond_64_bits():
    assert chisquare(np.bincount(uniform_below(5, 20_000), minlength=5)).pvalue > 1e-5
    large = uniform_below(3 * 2**70, 500)
    assert max(large) < 3 * 2**70 and np.mean([v >= 2**71 for v in large]) == pytest.approx(1 / 3, abs=0.12)


def test_a_choice_goes_with_exponentials_of_scores():
    picks = np.bincount([choose([0.0, 1.0, 3.0], 2.0) for _ in range(3_000)], minlength=3)
    wanted = np.exp(np.array([0.0, 1.0, 3.0]))
    assert chisquare(picks, wanted / wanted.sum() * 3_000).pvalue > 1e-5


def test_noise_is_never_smaller_than_paid_for():
    for rho in (0.3, 0.01, 1e-5):
        assert 1 / (2 * variance_for(rho)) <= rho


def test_no_seed_repeats_noise():
    import torch

    drawn = []
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        drawn.append(discrete_gaussian(10_000, 50))
    assert (drawn[0] != drawn[1]).any()
