"""Figures of series against laws in closed form: each is nought of the law itself, and its distance of another one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import integrate, special, stats

from datakiln.metrics.base import MetricError
from datakiln.metrics.series import fidelity
from datakiln.metrics.series.sets import SeriesSets, evaluate_series

T = 24


def sets(train: np.ndarray, test: np.ndarray, made: np.ndarray, **options) -> SeriesSets:
    return SeriesSets(tuple("abcdef"[: train.shape[2]]), train, test, made, {}, **options)


def draws(law, n: int = 1000) -> list[np.ndarray]:
    """Training, unseen and other windows (n, T, C) of a law."""
    return [law(n, np.random.default_rng(seed)) for seed in range(3)]


def beside(function, law, other, at: int = 0) -> tuple[float, float, float]:
    """A figure of the law itself, of real windows, and of another law."""
    train, test, same = draws(law)
    same, far = (function(sets(train, test, made))[at] for made in (same, other(1000, np.random.default_rng(9))))
    (*_,) = found = evaluate_series(sets(train, test, test.copy()), [function])
    return same.value, found[at].ceiling.value, far.value


def ar2(n: int, rng: np.random.Generator) -> np.ndarray:
    """x_t = 0.6 x_{t-1} + 0.2 x_{t-2} + noise, stationary."""
    x, noise = np.zeros((n, T + 60, 1)), rng.normal(size=(n, T + 60, 1))
    for t in range(2, T + 60):
        x[:, t] = 0.6 * x[:, t - 1] + 0.2 * x[:, t - 2] + noise[:, t]
    return x[:, -T:]


def out_of_order(n: int, rng: np.random.Generator) -> np.ndarray:
    """The same values, each window's steps in an order of chance: nothing but time is lost."""
    return rng.permuted(ar2(n, rng), axis=1)


def behind(n: int, rng: np.random.Generator, lag: int = 3) -> np.ndarray:
    """White noise, and the same so many steps later with as much of another: correlation 1 / sqrt(2) at that lag."""
    x = rng.normal(size=(n, T + lag, 1))
    return np.concatenate([x[:, lag:], x[:, :T] + rng.normal(size=(n, T, 1))], axis=2)


def walk(changes) -> object:
    return lambda n, rng: changes(n, rng).cumsum(axis=1)


def test_autocorrelations_of_an_autoregression_of_order_2_are_those_of_yule_and_walker():
    found = fidelity.autocorrelations(ar2(6000, np.random.default_rng(0)))[:, 0]
    rho = [1.0, 0.6 / 0.8]
    for _ in range(2, T // 2 + 1):
        rho.append(0.6 * rho[-1] + 0.2 * rho[-2])
    assert np.allclose(found, rho[1:], atol=0.03)


def test_time_out_of_order_is_seen_by_what_looks_at_time_alone():
    for function in (fidelity.autocorrelation, fidelity.spectrum):
        same, ceiling, far = beside(function, ar2, out_of_order)
        assert max(same, ceiling) < 0.06 and far > 6 * max(same, ceiling)
    same, _, far = beside(fidelity.marginals_by_step, ar2, out_of_order)
    assert far < 1.3 * same  # each step has the same values as before


def test_marginals_by_step_see_a_drift_that_all_steps_together_do_not():
    """Steps normal about -1 in one half and 1 in the other, or the other way round: 2 Phi(1) - 1 at every step."""

    def half(sign: float):
        return lambda n, rng: rng.normal(size=(n, T, 1)) + sign * np.where(np.arange(T) < T // 2, -1.0, 1.0)[:, None]

    same, ceiling, far = beside(fidelity.marginals_by_step, half(1.0), half(-1.0))
    assert far == pytest.approx(2 * stats.norm.cdf(1.0) - 1.0, abs=0.03) and max(same, ceiling) < 0.06
    pooled = fidelity.marginals(sets(half(1.0)(1000, np.random.default_rng(0)), *draws(half(-1.0))[:2]))[0]
    assert pooled.value < 0.03


def test_cross_correlation_finds_the_lag():
    """1 / sqrt(2) at lag 3 of one column with the other, half of it on average, nought at the lags before it."""
    train, test, _ = draws(behind)
    independent = np.random.default_rng(5).normal(size=train.shape)
    found = {f.name: f for f in fidelity.correlation(sets(train, test, independent))}
    cross = found["series/cross_correlation"]
    assert next(iter(cross.detail)) == "lag 3" and cross.detail["lag 3"] == pytest.approx(0.5**0.5 / 2, abs=0.02)
    assert cross.value == pytest.approx(0.5**0.5 / 2 / len(cross.detail), abs=0.02)
    assert found["series/correlation"].value < 0.03 and found["series/lagged_correlation"].value < 0.03
    same, ceiling, far = beside(fidelity.correlation, behind, lambda n, rng: behind(n, rng, 5), at=2)
    assert far > 3 * max(same, ceiling)


def test_clustering_is_that_of_a_two_state_volatility():
    """Changes of deviation 1 or 3, the state kept with 0.9: cov of |e| at lag k is (3 - 1)^2 / 4 * 2 / pi * 0.8^k."""

    def regimes(n, rng, stay=0.9):
        first, turns = rng.random((n, 1)) < 0.5, rng.random((n, T - 1)) > stay
        wild = np.logical_xor.accumulate(np.concatenate([first, turns], axis=1), axis=1)
        return (rng.normal(size=(n, T)) * np.where(wild, 3.0, 1.0))[..., None]

    same, ceiling, far = beside(fidelity.clustering, walk(regimes), walk(partial(regimes, stay=0.5)))
    variance = (1 + 9) / 2 - 2 / np.pi * 4
    lags = np.arange(1, (T - 1) // 2 + 1)
    assert far == pytest.approx((2 / np.pi * 0.8**lags / variance).mean(), abs=0.03)
    assert max(same, ceiling) < 0.03


def test_tail_indices_of_pareto_exponential_and_gaussian_changes():
    rng = np.random.default_rng(0)
    assert fidelity.tail_index(rng.pareto(2.0, 200_000) + 1.0) == pytest.approx(0.5, abs=0.02)
    u = -np.log(2 * fidelity.TAIL)  # beyond it lies a twentieth of Laplace's law, which is exponential there
    laplace, gauss = np.exp(u) * special.exp1(u), integrate.quad(_beyond, stats.norm.isf(fidelity.TAIL), np.inf)[0]
    assert fidelity.tail_index(rng.laplace(0.0, 7.0, 200_000)) == pytest.approx(laplace, abs=0.01)
    assert fidelity.tail_index(rng.normal(0.0, 7.0, 200_000)) == pytest.approx(gauss, abs=0.01)
    assert (round(laplace, 2), round(gauss, 2)) == (0.32, 0.21)  # as the docstring has it
    assert fidelity.tail_index(np.zeros(1000)) is None and fidelity.tail_index(rng.random(30)) is None


def _beyond(x: float) -> float:
    """The integrand of E[log(X / u) | X > u] of the normal law."""
    return stats.norm.sf(x) / x / fidelity.TAIL


def test_heavy_tails_are_told_from_gaussian_ones_whatever_the_scale():
    heavy = walk(lambda n, rng: rng.standard_t(2, size=(n, T, 1)))
    normal = walk(lambda n, rng: rng.normal(size=(n, T, 1)))
    same, ceiling, far = beside(fidelity.tails, heavy, normal)
    assert far > 0.2 and max(same, ceiling) < 0.06
    train, test, made = draws(heavy)
    scaled = fidelity.tails(sets(train, test, 50.0 * made))[0].value
    assert scaled == pytest.approx(same, abs=1e-9)
    with pytest.raises(MetricError, match="no column has changes with tails"):
        fidelity.tails(sets(*(np.round(part > 0.0) for part in (train, test, made))))
    flat = fidelity.tails(sets(train, test, np.zeros_like(made)))[0]
    assert flat.value == pytest.approx(0.5, abs=0.1)  # all of the index of Student's t of 2 degrees


def test_spectra_of_white_noise_are_flat_and_a_wave_is_one_peak():
    """Power of noise of deviation s is T s^2 at each frequency, of a wave of amplitude a (T a / 2)^2 at its own."""
    rng = np.random.default_rng(0)
    steps, phase = np.arange(T), rng.uniform(0, 2 * np.pi, (4000, 1))
    noise, wave = 1e-3 * rng.normal(size=(4000, T)), 1e6 * np.sin(2 * np.pi * 3 * steps / T + phase)
    found = fidelity.spectra(np.stack([noise, wave], axis=2))
    assert np.allclose(found[:, 0], np.log10(T * 1e-6), atol=0.05)  # beside a column of millions
    assert found[2, 1] == pytest.approx(np.log10((T * 1e6 / 2) ** 2), abs=0.01)
    assert np.delete(found[:, 1], 2).max() < found[2, 1] - 8


def test_columns_that_do_not_move_have_no_spectrum():
    train, test, same = (np.concatenate([x, np.ones_like(x)], axis=2) for x in draws(ar2))
    alone = fidelity.spectrum(sets(*(x[..., :1] for x in (train, test, same))))[0]
    found = fidelity.spectrum(sets(train, test, same))[0]
    assert found.value == pytest.approx(alone.value) and list(found.detail) == ["a"]
    with pytest.raises(MetricError, match="no column moves"):
        fidelity.spectrum(sets(*(x[..., 1:] for x in (train, test, same))))
