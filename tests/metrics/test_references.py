"""Ceilings and floors: at the n of the figure, with an interval that chance keeps to, and never a green collapse."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.base import EvalData
from datakiln.metrics.evaluate import UNDECIDED, evaluate_table
from datakiln.metrics.privacy import privacy
from datakiln.metrics.tables import association, fidelity, manifold, twosample
from datakiln.metrics.tables.references import carried_on, interval
from datakiln.metrics.utility import utility
from datakiln.proof.base import scores
from datakiln.results import Score, headlines
from tests.later import later
from tests.metrics.metrics_tables import PEOPLE, independent, numbers_schema, people

RELATIONS = [fidelity.trend, fidelity.strong_trend, association.correlation_distance]
COLUMNS = [fidelity.shape, fidelity.coverage, fidelity.distinct, association.wasserstein]
PRIVACY = [privacy.copies, privacy.closer_to_train, privacy.dcr, privacy.dcr_ratio, privacy.nndr]
QUICK = [
    *COLUMNS,
    *RELATIONS,
    association.correlation_ratio_difference,
    manifold.precision_recall,
    manifold.mmd,
    *PRIVACY,
]


def tables(train: int = 600, holdout: int = 200, synthetic: int = 600, seed: int = 0) -> EvalData:
    frames = [people(n, 10 * seed + i) for i, n in enumerate((train, holdout, synthetic))]
    return EvalData(PEOPLE, *frames, seed)


def judged(data: EvalData, metrics) -> dict[str, Score]:
    return {score.name: score for score in scores(evaluate_table(data, metrics))}


def test_a_distance_is_carried_on_by_the_power_it_falls_with() -> None:
    rng = np.random.default_rng(0)
    for power, within in ((0.5, 0.03), (0.0, 0.1), (1.0, 0.1)):
        near, far = ((k**-power * rng.normal(1, 0.02, size=10)).tolist() for k in (400, 200))
        value, error = carried_on(near, far, 400, 200, 800)
        assert value == pytest.approx(800**-power, rel=within)
        assert 0 < error < 0.05 * value
    assert carried_on([0.0, 0.0], [0.0, 0.0], 400, 200, 800) == (0.0, 0.0)


def test_an_interval_holds_one_more_draw() -> None:
    rng = np.random.default_rng(0)
    for draws in (4, 10):
        inside = 0
        for _ in range(500):
            *values, another = rng.normal(size=draws + 1).tolist()
            _, low, high = interval(values)
            inside += low <= another <= high
        assert inside >= 0.97 * 500


@pytest.mark.parametrize("sizes", [(600, 200, 100), (600, 200, 600), (300, 200, 2000), (300, 40, 300)])
def test_ceiling_and_floor_have_the_n_of_the_figure(sizes) -> None:
    for score in judged(tables(*sizes), QUICK).values():
        assert score.n == score.ceiling_n == score.floor_n, score.name
        assert score.ceiling_range is not None and score.draws >= 4, score.name
        assert score.ceiling_range[0] <= score.ceiling <= score.ceiling_range[1], score.name


@pytest.mark.journey
def test_the_ceiling_is_what_chance_gives_two_samples_in_closed_form() -> None:
    found = []
    for seed in range(8):
        frames = [people(n, 10 * seed + i)[["a"]] for i, n in enumerate((1000, 200, 999))]
        data = EvalData(numbers_schema("a"), *frames, seed)
        found.append([score.ceiling for score in judged(data, [fidelity.shape, manifold.mmd]).values()])
    shape, mmd = np.mean(found, axis=0)
    # mean of Kolmogorov's distribution: sqrt(pi / 2) log 2 = 0.8687, over the root of 1 / (1/n + 1/N); one pool of real
    # rows strays by 0.004
    assert shape == pytest.approx(1 - 0.8687 / math.sqrt(999 * 1000 / 1999), abs=0.004)
    assert mmd == pytest.approx(0.0, abs=0.001)


@pytest.mark.journey
def test_other_real_rows_differ_by_no_more_than_chance() -> None:
    found: Counter[str | None] = Counter()
    for seed in range(6):
        found.update(score.differs for score in judged(tables(400, 150, (150, 400)[seed % 2], seed), QUICK).values())
    assert None not in found
    assert found["same"] >= 0.95 * found.total(), found


def test_independent_columns_are_worse_in_relations_only() -> None:
    data = tables()
    told = judged(independent(data), [*RELATIONS, fidelity.shape, partial(twosample.boosting, folds=3)])
    for name in ("fidelity/trend", "fidelity/strong_trend", "fidelity/correlation_distance", "twosample/boosting_auc"):
        assert told[name].differs == "worse", name
    assert told["fidelity/strong_trend"].decides and told["fidelity/strong_trend"].standing < 0.3
    shape = told["fidelity/shape"]
    assert shape.differs != "worse" and shape.decides is False and shape.standing is None
    assert UNDECIDED in shape.note


@pytest.mark.journey
def test_a_copy_is_told_by_privacy_and_not_by_the_two_sample_test() -> None:
    data = tables(400, 300)
    told = judged(replace(data, synthetic=data.train), [*PRIVACY, twosample.boosting, twosample.logistic])
    for name in ("copies", "closer_to_train", "dcr_median", "dcr_p5", "dcr_ratio", "nndr_median"):
        assert told[f"privacy/{name}"].differs == "worse", name
    for name in ("boosting", "logistic"):
        score = told[f"twosample/{name}_auc"]
        assert score.value == pytest.approx(0.5, abs=0.1) and score.differs == "same" and score.n == 300


def collapsed(kind: str, data: EvalData) -> pd.DataFrame:
    made, n = data.synthetic, len(data.synthetic)
    if kind == "one row repeated":
        return pd.concat([made[:1]] * n, ignore_index=True)
    if kind == "thirty rows repeated":
        return pd.concat([made[:30]] * (n // 30), ignore_index=True)
    if kind == "one class":
        return made.assign(y="yes")
    return made[made["a"] > 0.5].sample(n, replace=False if (made["a"] > 0.5).sum() >= n else True, random_state=0)


@pytest.mark.parametrize(
    "kind", ["one row repeated", *later("thirty rows repeated", "one class", "one part of the rows")]
)
def test_a_collapsed_generator_is_worse_and_nowhere_near_real(kind: str) -> None:
    data = tables(300, 120, 300)
    told = judged(
        replace(data, synthetic=collapsed(kind, data)),
        [*COLUMNS[:1], fidelity.trend, fidelity.strong_trend, fidelity.distinct, manifold.precision_recall]
        + [partial(twosample.boosting, folds=3), partial(utility.tstr, learner="linear")],
    )
    for name in ("fidelity/shape", "fidelity/trend", "fidelity/beta_recall", "twosample/boosting_auc"):
        assert told[name].differs == "worse", name
    assert (told["fidelity/distinct"].differs == "worse") == (kind != "one class")
    first = [score for score in headlines(list(told.values())) if score.name.startswith(("fidelity", "twosample"))]
    near = [score.name for score in first if (score.standing or 0.0) > 0.8 and score.differs != "worse"]
    assert not near or near == ["fidelity/distinct"]


def test_privacy_is_not_measured_by_the_floor() -> None:
    told = judged(tables(), PRIVACY)
    assert all(
        score.floor is not None and score.floor_range is None and score.decides is None for score in told.values()
    )
