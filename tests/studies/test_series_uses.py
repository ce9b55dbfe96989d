"""Uses of models of series where the answer is known: perfect, plain, noise and copies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.series.fidelity import coverage
from datakiln.metrics.series.forecasting import folds, interpolated, naive_forecast, ridge_forecast
from datakiln.metrics.series.sets import SeriesSets, evaluate_series
from datakiln.studies.uses.series import (
    Held,
    forecast_between,
    gain_score,
    gap_between,
    scoring_between,
    watched_score,
    with_gaps,
    with_strangers,
)


def waves(n: int, seed: int, noise: float = 0.02, steps: int = 16) -> np.ndarray:
    """Two columns: a sine of period 8 at any phase, and a walk that goes on as it was."""
    rng = np.random.default_rng(seed)
    t, phase = np.arange(steps), rng.uniform(0, 2 * np.pi, (n, 1))
    sine = 0.5 + 0.4 * np.sin(2 * np.pi * t / 8 + phase)
    line = rng.uniform(0, 0.5, (n, 1)) + t * rng.uniform(0.0, 0.03, (n, 1))
    return np.stack([sine, line], axis=2) + noise * rng.normal(size=(n, steps, 2))


TRAIN, TEST = waves(600, 0), waves(120, 1)


def test_the_naive_forecast_finds_the_season_or_repeats_the_last_value():
    clean = waves(50, 2, noise=0.0)
    said = naive_forecast(clean, clean[:, :12], 4)
    assert np.abs(said[..., 0] - clean[:, 12:, 0]).max() < 1e-9, "a period ago"
    assert np.array_equal(said[..., 1], np.repeat(clean[:, 11:12, 1], 4, axis=1)), "the last value"


def test_ridge_regression_goes_on_with_sines_and_lines():
    clean, other = waves(200, 3, noise=0.0), waves(20, 4, noise=0.0)
    assert np.abs(ridge_forecast(clean, other[:, :12], 4) - other[:, 12:]).max() < 0.01


def test_lines_between_known_cells_and_means_of_parts():
    x = np.linspace(0.0, 1.0, 8)[None, :, None] * np.ones((3, 8, 2))
    hidden = np.zeros_like(x, dtype=bool)
    hidden[:, 2:5, 1] = True
    broken = np.where(hidden, 9.0, x)
    assert np.allclose(interpolated(broken, hidden), x)
    assert folds(np.arange(10.0)) == [0.5, 2.5, 4.5, 6.5, 8.5]


def test_a_forecast_that_is_true_naive_or_as_good_as_the_ceiling():
    true = forecast_between(TRAIN, TEST, TEST[:, -4:])
    assert true.value == 0.0 and true.floor is not None and true.ceiling is not None and true.ceiling < true.floor
    plain = forecast_between(TRAIN, TEST, naive_forecast(TRAIN, TEST[:, :-4], 4))
    assert plain.standing == pytest.approx(0.0)
    assert forecast_between(TRAIN, TEST, ridge_forecast(TRAIN, TEST[:, :-4], 4)).standing == pytest.approx(1.0)


def held(values: np.ndarray) -> Held:
    return Held([pd.DataFrame(part, columns=["sine", "line"]) for part in values], values, {"sine": 0, "line": 1})


def test_gaps_filled_truly_or_by_a_line():
    hidden, gaps = with_gaps(held(TEST), 0)
    assert hidden.sum(axis=(1, 2)).tolist() == [4] * len(TEST) and not hidden[:, [0, -1]].any()
    assert all(int(rows.isna().to_numpy().sum()) == 4 for rows in gaps)
    assert gap_between(TEST, hidden, TEST).value == 0.0
    line = gap_between(TEST, hidden, interpolated(TEST, hidden))
    assert line.value == pytest.approx(line.floor)


def test_strange_windows_are_told_by_the_truth_and_not_by_noise():
    rows, values = with_strangers(held(TEST), 0)
    assert all(np.allclose(part.to_numpy(), own) for part, own in zip(rows, values, strict=True))
    changed = (values != TEST).sum(axis=(1, 2))
    assert changed.max() <= 4 and changed.min() >= 3
    told = scoring_between(TRAIN, TEST, values, lambda: (np.zeros(len(TEST)), np.ones(len(TEST))))
    assert told.value == 1.0 and told.floor is not None and 0.5 < told.floor < 1.0
    assert scoring_between(TRAIN, TEST, values, lambda: (np.ones(len(TEST)), np.ones(len(TEST)))).value == 0.5


def test_windows_like_real_ones_gain_what_real_ones_do_and_noise_takes_away():
    like = gain_score(TRAIN, TEST, waves(600, 5), 0)
    assert like.floor == 0.0 and like.value == pytest.approx(like.ceiling, abs=0.05) and like.decides
    noise = gain_score(TRAIN, TEST, np.random.default_rng(0).random(TRAIN.shape), 0)
    assert noise.value is not None and noise.value < -0.05
    few = gain_score(TRAIN[:30], TEST, TRAIN, 0)
    assert few.value is None and "too few" in few.why


def sets(made: np.ndarray) -> SeriesSets:
    return SeriesSets(("sine", "line"), TRAIN, TEST, made, {})


def test_what_training_watches_of_windows_stands_between_shuffled_and_other_real_ones():
    mixed = np.random.default_rng(0).permuted(waves(300, 8), axis=1)
    (good,), (bad,) = (watched_score(sets(made), waves(200, 9), 0) for made in (waves(300, 8), mixed))
    assert good.floor is not None and good.ceiling is not None and bad.value is not None
    assert good.value == pytest.approx(good.ceiling, abs=0.02) and bad.value > good.floor / 2 > 3 * good.ceiling
    (few,) = watched_score(sets(TRAIN), waves(2, 9), 0)
    assert few.value is None and "windows of validation" in few.why


def test_coverage_of_copies_constants_and_new_windows():
    assert coverage(sets(TEST))[0].value > 0.9 and coverage(sets(waves(600, 6)))[0].value > 0.9
    assert coverage(sets(np.repeat(TRAIN[:1], 600, axis=0)))[0].value < 0.1, "one window again and again"
    assert coverage(sets(TRAIN + 5.0))[0].value == 0.0
    (result,) = evaluate_series(sets(waves(600, 6)), [coverage])
    assert result.ceiling is not None and result.floor is not None and result.ceiling.value > 0.9 > result.floor.value


def test_windows_moved_by_a_step_are_no_neighbours():
    line = np.random.default_rng(0).random(80).cumsum()
    test = np.stack([line[i : i + 8] for i in range(60)])[..., None]
    origins = {"test": np.stack([np.zeros(60, int), np.arange(60)], axis=1)}
    data = SeriesSets(("a",), test, test, test[::9], {}, origins=origins)
    alone = SeriesSets(("a",), test, test, test[::9], {})
    assert coverage(data)[0].value > coverage(alone)[0].value
    every = {"test": np.zeros((60, 2), int)}
    with pytest.raises(ValueError, match="share a step"):
        coverage(SeriesSets(("a",), test, test, test, {}, origins=every))
