"""Judges of windows: real against real is chance, whatever few sequences there are; a constant is told at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datakiln.metrics.base import MetricError
from datakiln.metrics.series import judges
from datakiln.metrics.series.context import context_fid, frechet
from datakiln.metrics.series.dealing import deal
from datakiln.metrics.series.sets import SeriesSets, origins, windows

T = 8


def panel(entities: int, steps: int, seed: int, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, 2) of entities at levels of their own, with noise, and the entity of each."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(entities, 1, 2)) * spread
    rows = level + 0.5 * rng.normal(size=(entities, steps, 2)).cumsum(axis=1)
    return rows.reshape(-1, 2), np.repeat(np.arange(entities), steps)


def sets(parts: dict[str, tuple[np.ndarray, np.ndarray]], seed: int = 0) -> SeriesSets:
    found = {name: windows(*part, T) for name, part in parts.items()}
    begin = {name: origins(group, T) for name, (_, group) in parts.items()}
    return SeriesSets(("a", "b"), **found, lengths={}, seed=seed, origins=begin)


def auc(function, data: SeriesSets, **options) -> float:
    return function(data, **options)[0].value


@pytest.mark.slow
def test_a_copy_of_the_training_rows_is_not_told_the_wrong_way_round():
    """What stays below one half is that copies are known for training rows; split among these it was near nought."""
    few, many = [], []
    for seed in range(4):
        copy = panel(12, 24, seed)
        data = sets({"train": copy, "test": panel(12, 24, seed + 50), "synthetic": copy}, seed)
        few.append(auc(judges.boosting, data))
        many.append(auc(judges.gru32, data, steps=80))
    assert 0.2 < np.mean(few) < 0.6 and 0.2 < np.mean(many) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_real_against_real_is_chance(seed):
    """Of a panel, and of one series that drifts and is held out at its ends."""
    one = np.random.default_rng(seed).normal(size=(1200, 2)).cumsum(axis=0)
    drift = {
        "train": (one[100:1100], np.zeros(1000, int)),
        "test": (np.r_[one[:90], one[1110:]], np.repeat([0, 1], 90)),
    }
    for parts in ({"train": panel(60, 24, seed), "test": panel(30, 24, seed + 9)}, drift):
        data = sets({**parts, "synthetic": parts["test"]}, seed)
        data = replace(data, synthetic=data.test)
        for figure in (*judges.gru32(data, steps=100), *judges.boosting(data)):
            assert figure.noise is not None and abs(figure.value - 0.5) < 3.5 * max(figure.noise, 0.06), figure


@pytest.mark.slow
def test_new_sequences_of_the_law_are_chance_and_a_constant_is_told():
    real = {"train": panel(60, 24, 1), "test": panel(30, 24, 2)}
    flat = (np.zeros((60 * 24, 2)), np.repeat(np.arange(60), 24))
    for made, low, high in ((panel(60, 24, 3), 0.35, 0.65), (flat, 0.99, 1.0)):
        data = sets({**real, "synthetic": made})
        assert low <= auc(judges.gru32, data, steps=200) <= high
        assert low <= auc(judges.boosting, data) <= high
    same = sets({**real, "synthetic": panel(60, 24, 1)})
    assert judges.discriminative(same, steps=100)[0].value < 0.08


@pytest.mark.journey
def test_several_judges_are_told_by_their_mean_and_spread():
    data = sets({"train": panel(30, 12, 1), "test": panel(20, 12, 2), "synthetic": panel(30, 12, 3)})
    (one,), (both,) = judges.boosting(data), judges.boosting(data, seeds=2)
    (other,) = judges.boosting(replace(data, seed=1))
    assert both.value == pytest.approx((one.value + other.value) / 2) and one.value != other.value
    assert both.note.startswith(f"2 judges, {min(one.value, other.value):.4g} to ") and "judges" not in one.note
    spread = abs(one.value - other.value) / 2
    assert both.noise == pytest.approx(np.hypot((one.noise + other.noise) / 2, spread))


def test_parts_share_no_step():
    one = np.arange(2000.0)[:, None] * [1.0, 1.0]
    data = sets({name: (one, np.zeros(2000, int)) for name in ("train", "test", "synthetic")})
    held, learnt = (set(np.unique(part)) for part in (deal(data, 0).made_judged, deal(data, 0).made))
    assert held and learnt and not held & learnt
    lone = sets({name: (one[: T + 2], np.zeros(T + 2, int)) for name in ("train", "test", "synthetic")})
    with pytest.raises(MetricError, match="share no step"):
        deal(lone, 0)


def test_context_fid_is_nought_of_the_same_and_grows_with_what_is_off():
    """Two normal distributions are as far apart as their closed form says; another law is farther than chance."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200_000, 3)), rng.normal([1.0, 0.0, 0.0], [1.0, 2.0, 1.0], size=(200_000, 3))
    assert frechet(a, a) == pytest.approx(0.0, abs=1e-6) and frechet(a, b) == pytest.approx(2.0, abs=0.05)
    real = {"train": panel(60, 24, 1), "test": panel(60, 24, 2)}
    data = sets({**real, "synthetic": panel(60, 24, 3)})
    off = sets({**real, "synthetic": (np.zeros((60 * 24, 2)), np.repeat(np.arange(60), 24))})
    ceiling, value, far = (auc(context_fid, d, steps=80) for d in (replace(data, synthetic=data.test), data, off))
    assert far > 5 * max(ceiling, value)
