"""The whole evaluation: nothing vanishes, every figure has its references, odd tables end in reasons."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datakiln.errors import UserError
from datakiln.metrics.base import EvalData, Figure, Metric, MetricError, metric, traits
from datakiln.metrics.evaluate import HEADLINES, column_table, evaluate_table
from datakiln.metrics.privacy.membership import Exchanged
from datakiln.metrics.tables.references import Alone
from datakiln.metrics.tables.relations import relations
from datakiln.schema import Field, Schema
from datakiln.storage import CONF
from tests.metrics.metrics_tables import MIXED, mixed_table, numbers_schema

CONFIG = OmegaConf.load(CONF / "metrics" / "table.yaml")
CONFIG.boosting.folds = CONFIG.boosting_relations.folds = 2  # three more fits of each fold tell a test nothing new
METRICS: list[Metric] = [instantiate(node) for node in CONFIG.values()]
SLOW = (
    "boosting",
    "boosting_relations",
    "tstr",
    "augmented",
)  # fits of gradient boosting, whose way a linear model goes too
QUICK = [metric for name, metric in zip(CONFIG, METRICS, strict=True) if name not in SLOW]
DATA = EvalData(MIXED, mixed_table(150, 0), mixed_table(60, 2), mixed_table(140, 1))


AUDIT = {
    name
    for function in METRICS
    if isinstance(traits(function).plan, Alone | Exchanged)
    for name in traits(function).figures
}


@pytest.fixture(scope="module")
def results():
    return evaluate_table(DATA, METRICS)


def test_every_figure_is_there_with_ceiling_and_floor(results) -> None:
    assert {r.name for r in results if r.why} <= {
        "fidelity/rare_coverage",
        "privacy/membership_tpr1",  # 60 rows of a holdout are too few
        "privacy/membership_tpr01",
        "privacy/membership_outliers_auc",
        "privacy/membership_outliers_tpr1",
        *traits(relations).figures,
    }
    for result in results:
        if result.figure is None or result.name in AUDIT:
            continue
        assert result.ceiling_range is not None and result.draws is not None
        assert result.ceiling_range[0] <= result.ceiling.value <= result.ceiling_range[1]
        for figure in (result.figure, result.ceiling, result.floor):
            assert figure is not None, result.name
            assert figure.n == result.figure.n
            assert math.isfinite(figure.value)
            assert figure.low is None or figure.value >= figure.low - 1e-9, figure
            assert figure.high is None or figure.value <= figure.high + 1e-9, figure
            assert figure.n is not None and figure.n > 0


def test_names_are_those_announced_and_unique(results) -> None:
    names = [result.name for result in results]
    assert len(names) == len(set(names))
    announced = {name for function in METRICS for name in traits(function).figures}
    assert announced - {"privacy/canaries"} <= set(names)  # none were planted
    missing = set(HEADLINES) - set(names)
    assert missing == {"utility/tstr_r2"}  # the label has classes


@pytest.mark.journey
def test_same_seed_same_figures(results) -> None:
    again = evaluate_table(replace(DATA), QUICK)
    told = {r.name: (r.value, r.ceiling_range, r.floor_range) for r in results}
    assert {r.name: (r.value, r.ceiling_range, r.floor_range) for r in again}.items() <= told.items()


def test_rows_and_seconds_are_stated(results) -> None:
    by_name = {result.name: result for result in results}
    shape = by_name["fidelity/shape"]
    assert (shape.figure.n, shape.ceiling.n, shape.floor.n) == (140, 140, 140)
    assert by_name["twosample/boosting_auc"].figure.n == by_name["twosample/boosting_auc"].ceiling.n == 60
    assert all(result.seconds >= 0 for result in results)


def test_column_table_has_the_worst_first(results) -> None:
    table = column_table(results, MIXED)
    assert sorted(table.index) == sorted(MIXED.names)
    assert table["shape"].is_monotonic_increasing
    assert {"shape", "coverage", "trend", "missing_similarity"} <= set(table.columns)
    assert table.loc["member", "trend"] < 1.0


def test_what_cannot_be_computed_stays_in_the_report() -> None:
    @metric("odd/one", "odd/two")
    def impossible(data: EvalData) -> list[Figure]:
        raise MetricError("too odd")

    @metric("odd/three")
    def nan(data: EvalData) -> list[Figure]:
        return [Figure("odd/three", float("nan"), "higher")]

    @metric("odd/five")
    def unavailable(data: EvalData) -> list[Figure]:
        raise UserError("there is no such classifier")

    assert evaluate_table(DATA, [unavailable])[0].why == "not computed: there is no such classifier"

    def plain(data: EvalData, much: float = 0.0) -> list[Figure]:
        if data.synthetic is not DATA.synthetic:
            raise MetricError("not on a holdout")
        return [Figure("odd/four", much, "higher")]

    seen: list[str] = []
    got = evaluate_table(DATA, [impossible, nan, functools.partial(plain, much=0.5)], seen.append)
    assert [(r.name, r.value) for r in got] == [
        ("odd/one", None),
        ("odd/two", None),
        ("odd/three", None),
        ("odd/four", 0.5),
    ]
    assert [r.why for r in got] == [
        "not computed: too odd",
        "not computed: too odd",
        "not computed: it came out as nan",
        "no ceiling: not on a holdout; no floor: not on a holdout",
    ]
    assert got[3].ceiling is None and got[3].ceiling_range is None
    assert seen[:2] == ["odd/one", "odd/three"]


def test_a_fault_of_the_program_is_not_hidden() -> None:
    def broken(data: EvalData) -> list[Figure]:
        raise KeyError("x")

    with pytest.raises(KeyError):
        evaluate_table(DATA, [broken])


def odd_tables() -> dict[str, EvalData]:
    one = numbers_schema("a")
    line = pd.DataFrame({"a": np.arange(40.0)})
    category = Schema((Field("c", "category", "str"),), "c")
    words = pd.DataFrame({"c": pd.Series(["x", "y"] * 20, dtype="str")})
    empty = DATA.train.assign(score=np.nan, city=pd.Series([None] * 150, dtype="str"), gain=0)
    many = Schema((Field("k", "category", "str"), Field("a", "numeric", "float64")), "k")
    keys = pd.DataFrame({"k": [f"k{i}" for i in range(300)], "a": np.arange(300.0)}).astype({"k": "str"})
    ids = Schema((Field("id", "id", "int64"),))
    return {
        "one row of each": EvalData(MIXED, DATA.train[:1], DATA.holdout[:1], DATA.synthetic[:1]),
        "two rows of each": EvalData(MIXED, DATA.train[:2], DATA.holdout[:2], DATA.synthetic[:2]),
        "no holdout": replace(DATA, holdout=DATA.holdout[:0]),
        "no synthetic rows": replace(DATA, synthetic=DATA.synthetic[:0]),
        "one number": EvalData(one, line[:20], line[20:30], line[30:]),
        "one category": EvalData(category, words[:20], words[20:30], words[30:]),
        "empty and constant columns": EvalData(MIXED, empty, empty[:40], empty[:100]),
        "collapsed": replace(DATA, synthetic=pd.concat([DATA.synthetic[:1]] * 50, ignore_index=True)),
        "as many classes as rows": EvalData(many, keys[:200], keys[200:250], keys[:150]),
        "ids only": EvalData(ids, *3 * [pd.DataFrame({"id": np.arange(5)})]),
        "a label of one class": replace(DATA, holdout=DATA.holdout.assign(member=True)),
        "missing everywhere in synthetic": replace(DATA, synthetic=DATA.synthetic.assign(height=np.nan, level=None)),
    }


DEAR = {"empty and constant columns", "missing everywhere in synthetic", "a label of one class", "no holdout"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.journey] * (name in DEAR)) for name in odd_tables()]
)
def test_odd_tables_give_numbers_or_reasons(name: str) -> None:
    got = evaluate_table(odd_tables()[name], QUICK)
    announced = {figure for function in QUICK for figure in traits(function).figures}
    assert announced - {result.name for result in got} <= {
        "utility/tstr_auc",
        "utility/augmented_auc",
        "privacy/canaries",
    }  # numeric labels, and nothing planted
    for result in got:
        assert (result.figure is not None and math.isfinite(result.figure.value)) or result.why.startswith(
            "not computed: "
        )
        assert result.ceiling is not None or result.why or result.name in AUDIT
        assert result.floor is not None or result.why or result.name in AUDIT


def test_no_row_vanishes_without_holdout() -> None:
    got = {r.name: r for r in evaluate_table(odd_tables()["no holdout"], METRICS)}
    assert "no privacy claim" in got["privacy/copies"].why
    assert "no holdout" in got["utility/tstr_auc"].why
    assert "there is no holdout" in got["twosample/boosting_auc"].why
    assert got["fidelity/shape"].value is not None
    assert got["fidelity/shape"].ceiling is not None, "drawn from the real rows there are"
