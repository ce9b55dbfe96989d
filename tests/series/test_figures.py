"""Figures of windows against what is known: equal windows, copies, shuffled steps, another scale."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.series.series import Roles
from datakiln.metrics.base import MetricError
from datakiln.metrics.series import fidelity
from datakiln.metrics.series.sets import SeriesSets, evaluate_series, shuffled, windows
from datakiln.proof.series import series_sets
from datakiln.schema import Field, Schema


def waves(n: int, seed: int, phi: float = 0.9) -> np.ndarray:
    """Windows (n, 12, 2) of an autoregression of order 1, and of another that follows it."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 40, 2))
    noise = rng.normal(size=x.shape)
    for t in range(1, 40):
        x[:, t, 0] = phi * x[:, t - 1, 0] + noise[:, t, 0]
        x[:, t, 1] = 0.5 * x[:, t - 1, 0] + noise[:, t, 1]
    return x[:, -12:]


def sets(synthetic: np.ndarray) -> SeriesSets:
    lengths = {name: np.full(9, 12) for name in ("train", "test", "synthetic")}
    return SeriesSets(("a", "b"), waves(800, 0), waves(400, 1), synthetic, lengths)


def value(function, data: SeriesSets, at: int = 0) -> float:
    return function(data)[at].value


@pytest.mark.parametrize(
    "function",
    [fidelity.marginals, fidelity.autocorrelation, fidelity.correlation, fidelity.spectrum, fidelity.clustering],
)
def test_no_distance_of_the_same_and_more_of_others(function):
    """Windows of the very same law are near, those of shuffled cells far in all that time decides."""
    same, data = sets(waves(800, 0)), sets(waves(800, 2))
    assert value(function, same) == pytest.approx(0.0, abs=1e-9)
    naive = SeriesSets(data.names, data.train, data.test, shuffled(data), data.lengths)
    if function is not fidelity.clustering:  # neither has calm and wild times
        at = 1 if function is fidelity.marginals else 0  # the changes: cells by themselves are right
        assert value(function, naive, at) > 3 * value(function, data, at)


def test_autocorrelation_is_that_of_the_law():
    found = fidelity.autocorrelations(waves(4000, 0))[:, 0]
    assert np.allclose(found, 0.9 ** np.arange(1, 7), atol=0.05)


def test_copies_are_told_and_new_windows_are_not():
    fresh, copies = sets(waves(400, 3)), sets(waves(800, 0)[:400])
    assert value(fidelity.copies, fresh) == 0.0 and abs(value(fidelity.nearest, fresh) - 0.5) < 0.12
    assert value(fidelity.copies, copies) == 1.0 and value(fidelity.nearest, copies) > 0.7


def test_copies_of_a_long_series_are_told_wherever_they_begin():
    """Other figures look at 2,000 of its windows; a third of these are copies, most of windows between them."""
    rng = np.random.default_rng(0)
    rows, other = (
        pd.DataFrame(rng.normal(size=(n, 2)).cumsum(axis=0).round(3), columns=["a", "b"]) for n in (9_000, 600)
    )
    at = rng.integers(0, 9_000 - 12, 40)
    copied = [rows.iloc[i : i + 12] for i in at]
    swapped = [rows.iloc[i : i + 12].iloc[::-1] for i in at]
    changed = [rows.iloc[i : i + 12] + np.eye(12, 2, -5) * 0.001 for i in at]
    made = pd.concat([*copied, *swapped, *changed], ignore_index=True)
    schema = Schema((Field("a", "numeric", "float64", decimals=3), Field("b", "numeric", "float64", decimals=3)))
    frames = {"train": rows, "test": other, "synthetic": made}
    groups = {"train": np.zeros(9_000, int), "test": np.zeros(600, int), "synthetic": np.repeat(np.arange(120), 12)}
    data = series_sets(schema, Roles(None, None, ()), frames, groups, 12, 0)
    (found,) = fidelity.copies(data)
    assert len(data.train) == 2000 and found.value == pytest.approx(1 / 3) and found.n == 120
    assert fidelity.copies(dataclasses.replace(data, whole=None))[0].value < 0.2


def test_lengths():
    data = sets(waves(50, 1))
    with pytest.raises(MetricError, match="all sequences are of one length"):
        fidelity.lengths(data)
    data.lengths.update(train=np.array([1, 2, 3, 4]), synthetic=np.array([3, 4, 3, 4]))
    assert value(fidelity.lengths, data) == pytest.approx(0.5)


def test_windows_stay_inside_their_sequence():
    values, group = np.arange(20.0)[:, None], np.repeat([0, 1], [12, 8])
    found = windows(values, group, 5)
    assert found.shape == (8 + 4, 5, 1) and (np.diff(found[..., 0], axis=1) == 1).all()
    assert not {(11.0, 12.0)} & {(a, b) for row in found[..., 0] for a, b in zip(row, row[1:], strict=False)}
    assert len(windows(values, group, 5, most=4)) == 4


def test_a_figure_that_cannot_be_had_keeps_its_reason():
    results = evaluate_series(sets(waves(3, 0)), [fidelity.marginals])
    assert results[0].value is None and "fewer than 8 windows" in results[0].why
    results = evaluate_series(sets(waves(300, 5)), [fidelity.marginals])
    assert results[0].ceiling is not None and results[0].floor is not None and not results[0].why


@pytest.mark.parametrize("n", [40, 400, 2000])
def test_values_and_their_ceilings_are_of_as_many_windows(n):
    """Of the true law a figure is what other real windows have, however many more or fewer there are of it."""
    functions = [fidelity.marginals, fidelity.autocorrelation, fidelity.spectrum, fidelity.coverage]
    data = sets(waves(n, 4))
    ratios = []
    for found in evaluate_series(data, functions):
        assert found.figure.n == found.ceiling.n == min(n, len(data.test))
        ratios.append(found.figure.value / found.ceiling.value)
    assert 0.6 < np.exp(np.mean(np.log(ratios))) < 1.6


def test_the_ceiling_of_lengths_is_that_of_unseen_sequences():
    data = sets(waves(60, 1))
    lengths = {"train": np.arange(5, 25), "test": np.arange(5, 25), "synthetic": np.full(20, 12)}
    (found,) = evaluate_series(dataclasses.replace(data, lengths=lengths), [fidelity.lengths])
    assert found.figure.value > 0.5 and found.ceiling.value == 0.0 and found.floor is None


def test_what_a_copier_would_score_is_said():
    data = sets(waves(800, 0) + 1e-4)
    (share,) = fidelity.nearest(data)
    assert fidelity.copies(data)[0].value == 0.0 and "about 0.75" in share.note and abs(share.value - 0.75) < 0.05
