"""Figures of studies against scikit-learn, which weighs rows one draw at a time, and intervals against closed forms."""

import numpy as np
import pytest
from sklearn import metrics

from datakiln.studies import scores
from datakiln.studies.arms import Measured, combined, difference
from datakiln.studies.augmentation import over_seeds, shifted, worth
from datakiln.studies.fairness import clopper_pearson, group_rates


@pytest.fixture(scope="module")
def drawn():
    return scores.weights(300, seed=1, draws=20)


def test_figures_of_two_classes_are_scikit_learns_for_every_draw(drawn):
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=300)
    p = np.round(np.clip(0.5 + 0.3 * (truth - 0.5) + 0.2 * rng.normal(size=300), 0, 1), 1)  # with ties
    found = scores.classification(truth, np.stack([1 - p, p], axis=1), drawn)
    guess = (p > 0.5).astype(int)
    for i, weight in enumerate(drawn):
        assert found["auc"][i] == pytest.approx(metrics.roc_auc_score(truth, p, sample_weight=weight))
        wanted = metrics.average_precision_score(truth, p, sample_weight=weight)
        assert found["average_precision"][i] == pytest.approx(wanted)
        balanced = metrics.balanced_accuracy_score(truth, guess, sample_weight=weight)
        assert found["balanced_accuracy"][i] == pytest.approx(balanced)
        assert found["f1"][i] == pytest.approx(metrics.f1_score(truth, guess, average="macro", sample_weight=weight))
        assert found["accuracy"][i] == pytest.approx(metrics.accuracy_score(truth, guess, sample_weight=weight))
        brier = 2 * metrics.brier_score_loss(truth, p, sample_weight=weight)
        assert found["brier"][i] == pytest.approx(brier, rel=1e-5)


def test_more_classes_are_each_against_the_rest(drawn):
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=300)
    p = rng.dirichlet(np.ones(3), size=300) + 0.3 * np.eye(3)[truth]
    p /= p.sum(axis=1, keepdims=True)
    found = scores.classification(truth, p, drawn)
    wanted = np.mean([metrics.roc_auc_score(truth == c, p[:, c]) for c in range(3)])
    assert found["auc"][0] == pytest.approx(wanted)


def test_a_class_of_a_few_test_rows_moves_no_mean():
    rng = np.random.default_rng(0)
    truth = np.r_[np.zeros(60, int), np.ones(60, int), [2]]
    said = rng.dirichlet(np.ones(3), 121)
    said[:120] += 2 * np.eye(3)[truth[:120]]
    said /= said.sum(axis=1, keepdims=True)
    once = np.ones((1, 121), dtype=np.float32)
    right, wrong = said.copy(), said.copy()
    right[120], wrong[120] = [0, 0, 1], [0.5, 0.5, 0]
    found = [scores.classification(truth, p, once) for p in (right, wrong)]
    assert abs(found[0]["auc"][0] - found[1]["auc"][0]) < 0.01
    assert found[0]["balanced_accuracy"][0] == found[1]["balanced_accuracy"][0]
    assert scores.telling_classes(np.array([0, 0, 1])).tolist() == [0, 1]


def test_figures_of_a_number_are_scikit_learns_also_far_from_zero(drawn):
    rng = np.random.default_rng(0)
    truth = 1.7e9 + 1e5 * rng.normal(size=300)  # such as seconds of a date
    guess = truth + 5e4 * rng.normal(size=300)
    found = scores.regression(truth, guess, drawn)
    for i, weight in enumerate(drawn):
        assert found["r2"][i] == pytest.approx(metrics.r2_score(truth, guess, sample_weight=weight), abs=1e-6)
        mse = metrics.mean_squared_error(truth, guess, sample_weight=weight)
        assert found["rmse"][i] == pytest.approx(np.sqrt(mse), rel=1e-5)


def test_a_forecast_that_is_always_right_about_its_chances_is_calibrated_and_another_is_not():
    once = np.ones((1, 1000), dtype=np.float32)
    happened = np.arange(1000) % 10 < 3
    assert scores.calibration_error(happened, np.full(1000, 0.3), once)[0] == pytest.approx(0.0, abs=1e-6)
    assert scores.calibration_error(happened, np.full(1000, 0.8), once)[0] == pytest.approx(0.5, abs=1e-6)


def test_the_interval_of_a_mean_is_the_one_of_the_central_limit():
    n = 4000
    hits = np.arange(n) % 4 == 0
    drawn = scores.weights(n, seed=0, draws=400)
    value, low, high = scores.interval((drawn @ hits) / n)
    half = 1.96 * np.sqrt(0.25 * 0.75 / n)
    assert value == 0.25
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.25 * half)


def test_differences_are_paired_over_draws():
    noise = np.random.default_rng(0).normal(size=201)
    cells = {
        "tree/real/0": {"figures": {"auc": list(0.9 + noise)}},
        "tree/synthetic/0": {"figures": {"auc": list(0.8 + noise)}},
    }
    alone = difference(cells, "tree", "synthetic", "real", "auc")
    assert (alone.value, alone.is_known, alone.excludes_zero) == (pytest.approx(-0.1), False, False)
    for half, value in enumerate((0.79, 0.80, 0.81), start=1):
        cells[f"tree/real/half {half}"] = {"figures": {"auc": [0.9 + 5 * half]}}
        cells[f"tree/synthetic/half {half}"] = {"figures": {"auc": [value + 5 * half]}}
    found = difference(cells, "tree", "synthetic", "real", "auc")
    # the bootstrap cancels in pairs; of halves the standard deviation is 0.01, Student's t with 2 degrees 4.3027
    assert (found.low, found.high) == pytest.approx((-0.1 - 0.043027, -0.1 + 0.043027), abs=1e-5)
    assert found.excludes_zero
    assert difference(cells, "tree", "synthetic", "fixed 50", "auc") is None


def test_a_gain_of_one_seed_is_never_called_one():
    assert not over_seeds([0.5]).excludes_zero
    assert over_seeds([0.10, 0.11, 0.09]).excludes_zero
    # Student's t with 2 degrees of freedom: 4.3027 standard errors
    assert over_seeds([1.0, 2.0, 3.0]).high == pytest.approx(2.0 + 4.3027 / np.sqrt(3), abs=1e-3)


def test_test_rows_and_training_rows_add_up():
    rng = np.random.default_rng(0)
    values, again = np.r_[0.5, 0.5 + 0.04 * rng.normal(size=4000)], 0.5 + 0.03 * rng.normal(size=1000)
    assert combined(values, again).high - 0.5 == pytest.approx(1.96 * 0.05, rel=0.05)
    assert combined(values, again, 9).high - 0.5 == pytest.approx(1.96 * np.hypot(0.04, 0.01), rel=0.05)


def test_halves_of_a_sample_vary_as_whole_samples_do():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=400)
    means = [rows[rng.permutation(400)[:200]].mean() for _ in range(2000)]
    assert np.std(means) == pytest.approx(rows.std() / 20, rel=0.1)


def test_seeds_that_draw_much_of_a_table_differ_too_little():
    assert over_seeds([1.0, 2.0, 3.0], 0.75).high == pytest.approx(2.0 + 2 * 4.3027 / np.sqrt(3), abs=1e-3)
    assert not over_seeds([0.10, 0.11, 0.09], 1.0).excludes_zero


def test_what_rows_are_worth_is_read_from_the_real_learning_curve():
    sizes, real = [50, 100, 200], [0.6, 0.7, 0.8]
    assert worth(sizes, real, 0.7) == pytest.approx(100)
    assert worth(sizes, real, 0.75) == pytest.approx(np.sqrt(100 * 200))
    assert worth(sizes, real, 0.95) == 200  # no more than was measured
    assert worth(sizes, real, 0.1) == pytest.approx(50)
    assert worth(sizes, [0.6, 0.6, 0.8], 0.6) == pytest.approx(50)  # a flat part is worth its first place


def test_a_threshold_moves_who_is_chosen_and_keeps_the_order():
    said = np.array([[0.95, 0.05], [0.8, 0.2], [0.3, 0.7]])
    moved = shifted(said, 0.1)
    assert moved.argmax(axis=1).tolist() == [0, 1, 1]
    assert np.all(np.diff(moved[:, 1]) > 0)
    assert moved.sum(axis=1) == pytest.approx(1.0)


def test_clopper_pearson_is_exact_at_the_ends():
    assert clopper_pearson(0, 20) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))


def test_rates_of_groups_are_those_of_their_own_rows():
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    chosen = np.array([1, 1, 0, 1, 1, 0, 0, 0], dtype=bool)
    first = np.array([1, 1, 0, 0, 1, 1, 0, 0], dtype=bool)
    once = np.ones((1, 8), dtype=np.float32)
    found = group_rates(truth, chosen, chosen.astype(float), {"a": first, "b": ~first}, once)
    assert found["groups"]["a"]["tpr"][0] == 1.0
    assert found["groups"]["b"]["tpr"][0] == 0.5
    assert found["groups"]["a"]["fpr"][0] == 0.5
    assert found["gaps"]["tpr"] == [0.5]
    assert found["gaps"]["selection"] == [0.5]
    assert found["groups"]["b"]["calibration"][0] == pytest.approx(-0.25)


def test_an_interval_reads_as_text():
    assert Measured(0.5, 0.4, 0.6).text == "0.5000 [0.4000, 0.6000]"
