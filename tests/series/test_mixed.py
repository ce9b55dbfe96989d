"""Figures of states, static columns, times and rules against laws in closed form."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.series.series import Roles
from datakiln.constraints import Inequality
from datakiln.data.sets.series import ToySeries
from datakiln.data.tables.types import infer_schema
from datakiln.metrics.base import MetricError
from datakiln.metrics.series import mixed
from datakiln.metrics.series.rules import rule_violations
from datakiln.metrics.series.sets import SeriesSets, evaluate_series, shuffled
from datakiln.proof.series import series_sets

T = 24


def sets(train: np.ndarray, test: np.ndarray, made: np.ndarray, **options) -> SeriesSets:
    return SeriesSets(tuple("abcdef"[: train.shape[2]]), train, test, made, {}, **options)


def chain(n: int, rng: np.random.Generator, stay: float = 0.9) -> np.ndarray:
    """A state 0 or 1 that stays so, beside a column of noise."""
    turns = rng.random((n, T, 1)) > stay
    turns[:, 0] = rng.random((n, 1)) < 0.5
    state = np.logical_xor.accumulate(turns, axis=1).astype(float)
    return np.concatenate([state, rng.normal(size=state.shape)], axis=2)


def test_transitions_are_the_total_variation_of_markov_chains():
    """Of a chain that stays with 0.9 and one that stays with 0.6: 0.3, and 0.4 of independent steps, the floor."""
    train, test, same = (chain(1000, np.random.default_rng(seed)) for seed in range(3))
    options = {"choices": {"state": (0,)}}
    far = sets(train, test, chain(1000, np.random.default_rng(7), 0.6), **options)
    (found,) = evaluate_series(far, [mixed.transitions])
    assert found.value == pytest.approx(0.3, abs=0.01) and found.floor.value == pytest.approx(0.4, abs=0.01)
    assert found.ceiling.value < 0.01 and mixed.transitions(sets(train, test, same, **options))[0].value < 0.01
    stuck = np.concatenate([np.zeros_like(train[..., :1]), train[..., 1:]], axis=2)  # state 1 is never left: all wrong
    assert mixed.transitions(sets(train, test, stuck, **options))[0].value == pytest.approx((1.0 + 0.1) / 2, abs=0.01)
    with pytest.raises(MetricError, match="no column of a step holds categories"):
        mixed.transitions(sets(train, test, same))
    with pytest.raises(MetricError, match="ever changes"):
        mixed.transitions(sets(stuck, test, same, **options))


def test_states_of_three_categories_are_kept_apart_and_shuffled_as_one_cell():
    codes = np.random.default_rng(0).integers(0, 3, (40, T))
    shown = np.stack([codes == 1, codes == 2], axis=2).astype(float)
    assert (mixed.states(shown, (0, 1)) == codes).all()
    data = sets(shown, shown, shown, choices={"state": (0, 1)})
    assert shuffled(data).sum(axis=2).max() == 1.0


def toys(seed: int, swap: bool = False, entities: int = 90) -> pd.DataFrame:
    frame = ToySeries(entities=entities, seed=seed)().frame
    return frame.assign(sex=frame["sex"].map({"F": "M", "M": "F"})) if swap else frame


def toy_sets(made: pd.DataFrame, declared=None) -> SeriesSets:
    frames = {"train": toys(0), "test": toys(1), "synthetic": made}
    schema = infer_schema(frames["train"], None, {"patient": "id"})
    groups = {name: pd.factorize(part["patient"])[0] for name, part in frames.items()}
    told = {str(rule): partial(rule.holds, schema=schema) for rule in declared or ()}
    return series_sets(schema, Roles("date", "patient", ("sex",)), frames, groups, 12, 0, told)


def test_static_association_of_a_toy_whose_static_column_decides_the_mean():
    """`sex` moves the mean of `level` by 4; the deviation of means of sequences about it is near 0.6."""
    (found,) = evaluate_series(toy_sets(toys(2, entities=300)), [mixed.static_association])
    assert max(found.value, found.ceiling.value) < 0.15 and found.figure.n == 90
    (swapped,) = evaluate_series(toy_sets(toys(2, swap=True)), [mixed.static_association])
    assert swapped.value > 1.5 * found.value
    name, gap = next(iter(swapped.figure.detail.items()))  # of one sign and of the other in its mean, none in its moves
    assert name.endswith("/ level") and gap == pytest.approx(0.95, abs=0.1)
    none = replace(toy_sets(toys(2)), static=())
    with pytest.raises(MetricError, match="no static columns"):
        mixed.static_association(none)


def test_time_steps():
    with pytest.raises(MetricError, match="times are in even steps"):
        mixed.time_steps(toy_sets(toys(2)))
    data = replace(
        toy_sets(toys(2)), gaps={"train": np.array([1.0, 1, 2, 3]), "test": np.array([1.0, 2]), "synthetic": np.ones(5)}
    )
    (found,) = evaluate_series(data, [mixed.time_steps])
    assert found.value == pytest.approx(0.5) and found.ceiling.value == pytest.approx(0.25) and found.figure.n == 5
    with pytest.raises(MetricError, match="no column of times"):
        mixed.time_steps(replace(data, gaps={}))


def test_uneven_synthetic_times_beside_even_real_ones_have_a_ceiling_of_nought():
    data = replace(toy_sets(toys(2)), gaps={"train": np.ones(9), "test": np.ones(4), "synthetic": np.array([1.0, 2.0])})
    (found,) = evaluate_series(data, [mixed.time_steps])
    assert found.value == pytest.approx(0.5) and found.ceiling.value == 0.0 and not found.why


def test_dates_make_time_steps_in_seconds():
    made = toys(2)
    made["date"] = made["date"] + pd.to_timedelta(made.groupby("patient").cumcount(), unit="D")  # every other day
    data = toy_sets(made)
    assert (data.gaps["train"] == 86_400.0).all() and (data.gaps["synthetic"] == 2 * 86_400.0).all()
    assert mixed.time_steps(data)[0].value == 1.0


def prices(seed: int, broken: float = 0.0, n: int = 600) -> pd.DataFrame:
    """One series of Open, High, Low and Close; a share of the rows has High and Low exchanged."""
    rng = np.random.default_rng(seed)
    close = 100.0 + rng.normal(size=n).cumsum()
    opened = close + rng.normal(size=n)
    high = np.maximum(opened, close) + rng.exponential(0.5, n) + 0.01
    low = np.minimum(opened, close) - rng.exponential(0.5, n) - 0.01
    wrong = np.arange(n) < broken * n
    ends = {"High": np.where(wrong, low, high), "Low": np.where(wrong, high, low)}
    return pd.DataFrame({"Open": opened, **ends, "Close": close}).round(3)


def price_sets(made: pd.DataFrame, declared=(), train: pd.DataFrame | None = None) -> SeriesSets:
    frames = {"train": prices(0) if train is None else train, "test": prices(1), "synthetic": made}
    schema = infer_schema(frames["train"], None, {})
    told = {str(rule): partial(rule.holds, schema=schema) for rule in declared}
    groups = {name: np.zeros(len(part), dtype=int) for name, part in frames.items()}
    return series_sets(schema, Roles(), frames, groups, 12, 0, told)


def test_rules_are_found_and_rows_that_break_them_counted():
    (found,) = evaluate_series(price_sets(prices(2, broken=0.2)), [rule_violations])
    assert found.value == pytest.approx(0.2) and found.figure.n == 600 and found.ceiling.value == 0.0
    assert found.figure.detail["Low <= High"] == pytest.approx(0.2) and found.floor.value > 0.3
    assert rule_violations(price_sets(prices(3)))[0].value == 0.0


def test_a_declared_rule_counts_even_where_it_is_not_found():
    free = pd.DataFrame(np.random.default_rng(0).normal(size=(600, 2)), columns=["Open", "Close"]).round(3)
    frames = dict.fromkeys(("train", "test", "synthetic"), free)
    schema = infer_schema(free, None, {})
    groups = {name: np.zeros(600, dtype=int) for name in frames}
    none = series_sets(schema, Roles(), frames, groups, 12, 0)
    with pytest.raises(MetricError, match="no rule is declared"):
        rule_violations(none)
    rule = Inequality("Open", "Close")
    told = series_sets(schema, Roles(), frames, groups, 12, 0, {str(rule): partial(rule.holds, schema=schema)})
    assert rule_violations(told)[0].value == pytest.approx((free["Open"] > free["Close"]).mean())
