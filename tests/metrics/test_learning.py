"""Two-sample tests and utility: known answers on data whose distribution is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.tables import twosample
from datakiln.metrics.tables.columns import Coded
from datakiln.metrics.tables.learners import Encoding, fit_classifier
from datakiln.metrics.tables.references import Lessons
from datakiln.metrics.utility import utility
from datakiln.schema import Field, Schema
from tests.metrics.metrics_tables import MIXED, independent, mixed_table, numbers_schema

LABELLED = Schema((Field("a", "numeric", "float64"), Field("b", "category", "str"), Field("y", "category", "str")), "y")


def normal(n: int, mean: float, seed: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(mean, 1.0, (n, 2)), columns=["a", "b"])


def labelled(n: int, seed: int, classes: int = 2) -> pd.DataFrame:
    """A number that tells the class, a category that tells nothing."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return pd.DataFrame(
        {
            "a": rng.normal(2.0 * y, 1.0),
            "b": pd.Series(rng.choice(["u", "v"], n)).astype("str"),
            "y": pd.Series(np.array(["no", "yes", "maybe"])[y]).astype("str"),
        }
    )


def pair(train: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, holdout: pd.DataFrame | None = None) -> EvalData:
    return EvalData(schema, train, train if holdout is None else holdout, synthetic)


@pytest.mark.parametrize("test", [twosample.boosting, twosample.logistic])
def test_two_samples_of_one_distribution_and_of_two(test) -> None:
    schema = numbers_schema("a", "b")
    same = test(pair(normal(500, 0, 0), normal(700, 0, 1), schema))[0]
    far = test(pair(normal(500, 0, 0), normal(500, 8, 1), schema))[0]
    assert same.n == 500
    # a rank statistic of 500 against 500 rows has a standard deviation of about sqrt(1 / (6 * 500)) = 0.018
    assert same.value == pytest.approx(0.5, abs=0.06)
    assert far.value > 0.999


def test_only_boosting_sees_that_columns_are_independent() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=1000)
    data = independent(
        pair(*2 * [pd.DataFrame({"a": a, "b": a + 0.1 * rng.normal(size=1000)})], numbers_schema("a", "b"))
    )
    assert twosample.boosting(data)[0].value > 0.9
    assert twosample.logistic(data)[0].value == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("test", [twosample.boosting, twosample.logistic])
def test_a_foreign_category_or_missing_cells_give_away(test) -> None:
    rows = mixed_table(200, 0).assign(city="Rome")
    assert test(pair(rows, rows.assign(city="Oslo"), MIXED))[0].value > 0.99
    assert test(pair(rows.assign(score=1.0), rows.assign(score=np.nan), MIXED))[0].value > 0.99


def test_small_tables_can_still_be_told_apart() -> None:
    schema = numbers_schema("a", "b")
    assert twosample.boosting(pair(normal(23, 0, 0), normal(23, 8, 1), schema))[0].value > 0.95
    with pytest.raises(MetricError, match="4 rows of each kind"):
        twosample.boosting(pair(normal(4, 0, 0), normal(23, 8, 1), schema))


def test_two_sample_tests_repeat_with_their_seed() -> None:
    data = pair(normal(150, 0, 0), normal(150, 0.3, 1), numbers_schema("a", "b"))
    first, again, other = (twosample.boosting(d)[0].value for d in (data, replace(data), replace(data, seed=1)))
    assert first == again
    assert first != other


@pytest.mark.parametrize("learner", ["boosting", "linear"])
def test_train_on_synthetic_between_floor_and_ceiling(learner) -> None:
    data = pair(labelled(600, 0), labelled(600, 1), LABELLED, holdout=labelled(400, 2))
    good = {f.name: f.value for f in utility.tstr(data, learner)}
    best = {f.name: f.value for f in utility.tstr(Lessons().centre(data), learner)}
    poor = {f.name: f.value for f in utility.tstr(independent(data), learner)}
    stem = "utility/tstr" if learner == "boosting" else "utility/tstr_linear"
    # two normals 2 apart: AUC = Phi(sqrt 2) = 0.921, accuracy = Phi(1) = 0.841; five standard errors of 400 rows
    assert best[f"{stem}_auc"] == pytest.approx(0.921, abs=0.07)
    assert best[f"{stem}_accuracy"] == pytest.approx(0.841, abs=0.09)
    assert good[f"{stem}_auc"] == pytest.approx(best[f"{stem}_auc"], abs=0.04)
    assert poor[f"{stem}_auc"] < good[f"{stem}_auc"] - 0.05


def test_more_synthetic_rows_than_were_learnt_from_teach_more() -> None:
    """A table of 40 rows teaches little; its generator can be asked for as many as one likes."""
    data = pair(labelled(40, 0), labelled(4000, 1), LABELLED, holdout=labelled(1000, 2))
    few, many = utility.tstr(data, "boosting"), utility.tstr(replace(data), "boosting", rows=3000)
    best = utility.tstr(pair(labelled(3000, 3), labelled(3000, 3), LABELLED, holdout=labelled(1000, 2)), "boosting")
    assert few[0].note == "" and many[0].note == "learnt from 3,000 rows"
    assert few[0].value < many[0].value - 0.005 and many[0].value == pytest.approx(best[0].value, abs=0.003)
    with pytest.raises(MetricError, match="rows=0 must be at least 1"):
        utility.tstr(data, rows=0)


def test_augmented_is_real_and_synthetic_together() -> None:
    data = pair(labelled(60, 0), labelled(600, 1), LABELLED, holdout=labelled(400, 2))
    alone = {f.name: f.value for f in utility.augmented(Lessons(is_added=True).centre(data))}
    real = {f.name.replace("tstr", "augmented"): f.value for f in utility.tstr(Lessons().centre(data))}
    assert alone == real
    assert utility.augmented(data)[0].value > alone["utility/augmented_auc"]


def test_three_classes_and_one_that_the_synthetic_rows_lack() -> None:
    data = pair(labelled(600, 0, 3), labelled(600, 1, 3), LABELLED, holdout=labelled(300, 2, 3))
    assert set(utility.tstr(data)[0].detail) == {"no", "yes", "maybe"}
    made = data.synthetic[data.synthetic["y"] != "maybe"].reset_index(drop=True)
    auc, accuracy, f1 = utility.tstr(replace(data, synthetic=made))
    assert auc.detail["maybe"] == 0.5
    assert accuracy.value < 2 / 3
    assert f1.value < 2 / 3


def test_synthetic_rows_of_one_class_are_a_constant_answer() -> None:
    data = pair(labelled(200, 0), labelled(200, 1).assign(y="yes"), LABELLED, holdout=labelled(100, 2))
    auc, accuracy, f1 = utility.tstr(data)
    assert (auc.value, accuracy.value) == (0.5, 0.5)
    assert f1.value == pytest.approx(1 / 3)


def test_numeric_label() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=900)
    frame = pd.DataFrame({"x": x, "y": 3 * x + rng.normal(size=900)})
    schema = Schema(numbers_schema("x", "y").fields, "y")
    data = EvalData(schema, frame[:300], frame[300:600], frame[600:])
    r2, rmse = utility.tstr(data, "linear")
    # y has variance 10 of which 9 is known; the error's standard error is 1 / sqrt(2 * 300) = 0.04
    assert r2.value == pytest.approx(0.9, abs=0.04)
    assert rmse.value == pytest.approx(1.0, abs=0.15)
    assert [f.name for f in utility.tstr(data)] == ["utility/tstr_r2", "utility/tstr_rmse"]
    assert utility.tstr(independent(data))[0].value < 0.1


def test_what_cannot_be_learnt_says_why() -> None:
    data = pair(labelled(60, 0), labelled(60, 1), LABELLED, holdout=labelled(30, 2))
    unlabelled = replace(data, schema=Schema(LABELLED.fields))
    one_class = replace(data, holdout=data.holdout.assign(y="no"))
    no_holdout = replace(data, holdout=data.holdout[:0])
    alone = replace(data, schema=Schema(LABELLED.fields[2:], "y"))
    many = data.train.assign(y=[f"class {i}" for i in range(60)])
    lost = replace(data, synthetic=data.synthetic.assign(y=pd.Series([None] * 60, dtype="str")))
    for case, why in (
        (unlabelled, "no label; name one with target="),
        (one_class, "one class only"),
        (no_holdout, "no holdout row"),
        (alone, "no column but the label"),
        (lost, "no row with a label"),
        (replace(data, train=many, synthetic=many), "62 classes are more"),
    ):
        with pytest.raises(MetricError, match=why) as caught:
            utility.tstr(case, "linear")
        assert "utility/tstr_linear_auc" in caught.value.figures


def test_encodings_learn_from_the_fitted_rows_only() -> None:
    fit = Coded(np.array([[1.0], [3.0], [np.nan]]), np.array([[0], [1], [-1]]))
    far = Coded(np.array([[1e6], [np.nan]]), np.array([[7], [0]]))
    linear = Encoding.fit("linear", fit)(far)
    # standardised number, missing flag, then one-hot: missing, two known categories, any other
    assert linear[0].tolist() == pytest.approx([(1e6 - 2) / fit_scale(), 0, 0, 0, 0, 1], rel=1e-5)
    assert linear[1].tolist() == pytest.approx([0, 1, 0, 1, 0, 0])
    boosting = Encoding.fit("boosting", fit)(far)
    assert np.isnan(boosting[1, 0])
    assert boosting[:, 1].tolist() == [3, 1]


def fit_scale() -> float:
    return float(np.std([1.0, 3.0, 2.0]))


def test_ten_thousand_categories_fit_into_a_classifier() -> None:
    row = np.arange(30_000)
    codes = np.where(row < 10_000, row % 100, row % 10_000)[:, None]  # a hundred common ones, the others thrice
    part = Coded(np.empty((30_000, 0)), codes)
    model = fit_classifier("boosting", part, (codes[:, 0] < 100).astype(np.int64), 2, seed=0)
    assert model.probabilities(part.take(slice(0, 1)))[0, 1] > 0.9
    assert Encoding.fit("linear", part)(part).shape[1] < 100
