"""Whole studies of small tables: rows of the same world are as good as real ones, and bad input is refused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from datakiln import strictjson
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.metrics.tables.columns import Coded
from datakiln.metrics.tables.references import resample_columns
from datakiln.plots import studies as plots
from datakiln.reports.chapters import line_of
from datakiln.results import Score
from datakiln.schema import Field, Schema
from datakiln.studies import augmentation, learners, scores, utility
from datakiln.studies.arms import Measured, difference, replicates
from datakiln.studies.base import Material, Wish, run_study
from datakiln.studies.smote import neighbours, smote_nc
from datakiln.studies.tables import task_of
from tests.metrics.metrics_tables import PEOPLE, people

QUIET = Console(quiet=True)
NUMBER = Schema(PEOPLE.fields, "b")


def material(made=None, rows=150, schema=PEOPLE, **more):
    train = people(rows, 0)
    return Material(schema, train, people(200, 1), people(rows, 2) if made is None else made, 0, **more)


@pytest.fixture
def two_learners(monkeypatch):
    monkeypatch.setattr(learners, "NAMES", ("linear", "tree"))
    monkeypatch.setattr(utility, "SHARES", (50,))
    monkeypatch.setattr(utility, "ARMS", ("real", "synthetic", "growing 100", "fixed 50"))


def test_rows_of_the_same_world_are_as_useful_as_real_ones_and_unrelated_columns_are_not(tmp_path, two_learners):
    fresh, figures, plots = run_study(Wish("utility", tuning=2, repeats=2), material(), tmp_path / "a", QUIET)
    assert fresh.tone == "good", fresh
    assert (fresh.fits, fresh.of_fits) == (20, 20)  # four arms of all rows, and two halves of three of them
    assert {score.name for score in figures} == {"study/linear_auc", "study/tree_auc"}
    assert all(path.exists() for path in plots)


@pytest.mark.journey
def test_fresh_real_rows_are_rarely_called_better_or_worse(monkeypatch):
    monkeypatch.setattr(learners, "NAMES", ("linear",))
    monkeypatch.setattr(utility, "ARMS", utility.CLAIMED)
    monkeypatch.setattr(learners, "importances", lambda *_: [])
    claims, over_rows = [], []
    for i in range(20):
        task = task_of(PEOPLE, people(80, 3 * i), people(400, 3 * i + 1), [people(80, 3 * i + 2)])
        asked = [cell for cell in utility.cells_of(task, i, tuning=1) if "growing" not in cell.name]
        cells = {cell.name: strictjson.plain(cell.work()) for cell in asked}
        claims.append(difference(cells, "linear", "synthetic", "real", "auc").excludes_zero)
        pair = (replicates(cells, "linear", arm, "auc") for arm in ("synthetic", "real"))
        over_rows.append(Measured(*scores.interval(next(pair) - next(pair))).excludes_zero)
    assert sum(claims) <= 2
    assert sum(over_rows) >= 4  # an interval over test rows alone takes chance for a difference


def test_what_is_truly_worse_is_still_called_so(tmp_path, two_learners):
    naive = resample_columns(people(300, 2), 300, np.random.default_rng(0))
    study, _, _ = run_study(Wish("utility", tuning=1), material(naive, rows=300), tmp_path, QUIET)
    assert study.tone == "bad"
    assert any("worse than as many real ones by more than chance with 2 of 2 learners" in t for t in study.evidence)


def test_numbers_are_judged_by_r2(tmp_path, two_learners):
    study, figures, _ = run_study(Wish("utility", tuning=1), material(schema=NUMBER), tmp_path, QUIET)
    assert study.tone in ("good", "fair")
    assert all(score.name.endswith("_r2") for score in figures)
    assert max(score.value for score in figures) > 0.3


def test_mixtures_hold_the_total_or_grow():
    task = task_of(PEOPLE, people(100, 0), people(100, 1), [people(100, 2)])
    sizes = {arm: len(utility.rows_of(task, arm, 0, 0)) for arm in ("real", "fixed 25", "synthetic", "growing 25")}
    assert sizes == {"real": 100, "fixed 25": 100, "synthetic": 100, "growing 25": 125}
    assert len(utility.rows_of(task, "growing 100", 0, 0)) == 200


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n == "mlp" else []) for n in learners.NAMES]
)
def test_every_learner_learns_classes_and_numbers(name):
    for schema in (PEOPLE, NUMBER):
        task = task_of(schema, people(300, 0), people(300, 1), [])
        model, setting = learners.fit(name, task, task.train, 0, tuning=1)
        assert setting == learners.SETTINGS[name][0]
        assert learners.quality(model, task, task.test) > (0.7 if task.classes else 0.05)


def test_importances_are_of_the_columns_that_tell():
    task = task_of(PEOPLE, people(400, 0), people(400, 1), [])
    found = learners.importances(learners.fit("linear", task, task.train, 0)[0], task, 0)
    assert task.columns[int(np.argmax(found))] == "a"
    assert utility.agreement(found, found) == (pytest.approx(1.0), 3)


@pytest.mark.journey
def test_groups_are_compared(tmp_path):
    study, _, plots = run_study(Wish("fairness", tuning=1, protected="city"), material(), tmp_path, QUIET)
    assert study.tables[0].rows[0][0].startswith("real: ")
    assert any("no generator" in note for note in study.notes)
    assert [path.name for path in plots] == ["fairness.png"]


@pytest.mark.journey
def test_balanced_rows_are_asked_for_every_label_and_group(tmp_path):
    asked = []

    def sampler(n, condition, seed):
        asked.append(condition)
        return people(n, 50 + seed).assign(**condition).astype({"y": "str", "city": "str"})

    run_study(Wish("fairness", tuning=1, protected="city"), material(sampler=sampler), tmp_path, QUIET)
    assert {"city": "a", "y": "yes"} in asked
    assert {"city": "a", "y": "no"} in asked


def test_generators_of_learning_curves_see_the_few_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(augmentation, "LEARNT", ("tree", "linear"))
    monkeypatch.setattr(augmentation, "REMEDIED", ("linear",))
    seen = []

    def trainer(rows, seed):
        seen.append(len(rows))
        return lambda n, condition, own: people(n, own).assign(**condition).astype({"y": "str", "city": "str"})

    one = material(rows=120, trainer=trainer)
    study, _, drawn = run_study(Wish("augmentation", tuning=1, repeats=2), one, tmp_path, QUIET)
    assert [n for n in seen if n < 60][:2] == [50, 50]
    assert study.fits == study.of_fits
    assert any("A rare class" in table.title for table in study.tables)
    assert [path.name for path in drawn] == ["augmentation.png"]


def test_axes_of_counts_are_written_out(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path, caption: drawn.append(figure))
    lines = {"real": [(n, 0.5, 0.4, 0.6) for n in (50, 100, 200, 500, 1000, 2000, 2500)]}
    plots.learning_curves({"tree": lines}, "ROC-AUC", [(50, 50, 40, 60), (2500, 2000, 1500, 2500)], tmp_path / "a.png")
    for panel in drawn[0].axes:
        panel.figure.canvas.draw()
        told = [label.get_text() for label in panel.get_xticklabels(which="both")]
        assert told == ["50", "200", "1,000", "2,500"] or told == ["50", "2,500"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": people(10, 0)}, "10 training rows"),
        ({"test": people(10, 0)}, "10 holdout rows"),
        ({"made": people(10, 0)}, "10 synthetic rows"),
        ({"train": people(100, 0).assign(y="yes").astype({"y": "str"})}, "one value of y only"),
        ({"schema": Schema(PEOPLE.fields, None)}, "needs a column to learn"),
        ({"schema": Schema((Field("y", "category", "str"),), "y")}, "is the only column"),
    ],
)
def test_what_cannot_be_studied_is_refused(tmp_path, change, told):
    whole = {"schema": PEOPLE, "train": people(100, 0), "test": people(100, 1), "made": people(100, 2), "seed": 0}
    with pytest.raises(UserError, match=told):
        run_study(Wish("utility"), Material(**{**whole, **change}), tmp_path, QUIET)


@pytest.mark.parametrize(("name", "told"), [("sx", "no column"), ("y", "the target itself")])
def test_groups_that_are_none_are_refused(tmp_path, name, told):
    with pytest.raises(UserError, match=told):
        run_study(Wish("fairness", protected=name), material(), tmp_path, QUIET)


def test_smote_lies_between_neighbours_and_takes_their_most_frequent_category():
    numbers = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [10.0, 10.0], [11.0, 10.0], [10.0, 11.0]])
    codes = np.array([[0], [0], [1], [2], [2], [2]])
    made = smote_nc(Coded(numbers, codes), 200, np.random.default_rng(0), k=2)
    low = made.numbers.sum(axis=1) < 5
    assert made.numbers[low].max() <= 1.0
    assert made.numbers[~low].min() >= 10.0
    assert set(made.codes[~low, 0]) == {2}
    assert low.mean() == pytest.approx(0.5, abs=0.12)


def test_smote_counts_a_category_that_differs_as_the_median_deviation():
    # deviations of the two numbers 1 and 3, median 2: a category costs 4, as much as a difference of 2
    numbers = np.array([[-1.0, -3.0], [1.0, 3.0], [-1.0, -1.1], [1.0, 3.0]])
    scale = np.median(numbers.std(axis=0))
    codes = np.array([[0], [0], [1], [1]])
    found = neighbours(numbers, codes, 1)[:, 0]
    same = ((numbers[0] - numbers[2]) ** 2).sum() + scale**2
    assert found[0] == (2 if same < ((numbers[0] - numbers[1]) ** 2).sum() else 1)
    assert found[3] == 1  # equal numbers, one category apart


def test_smote_of_a_single_row_is_refused():
    with pytest.raises(ValueError, match="at least 2 rows"):
        smote_nc(Coded(np.zeros((1, 1)), np.zeros((1, 0), dtype=np.int64)), 3, np.random.default_rng(0))


def test_missing_numbers_stay_missing_in_smote():
    numbers = np.array([[np.nan, 0.0], [np.nan, 1.0], [np.nan, 2.0]])
    made = smote_nc(Coded(numbers, np.zeros((3, 1), dtype=np.int64)), 5, np.random.default_rng(0))
    assert np.isnan(made.numbers[:, 0]).all()
    assert not np.isnan(made.numbers[:, 1]).any()


def test_the_line_of_a_chapter_puts_marks_in_the_order_of_their_values():
    score = Score("utility/tstr_auc", 0.8, "higher", 0, 1, 0.9, 0.5, ceiling_range=[0.88, 0.92])
    line = line_of(score)
    places = {mark.kind: mark.at for mark in line.marks}
    assert places["floor"] < places["synthetic"] < line.band[0] < places["real"] < line.band[1]
    assert line.better == "right"
    assert line_of(Score("x", None)) is None
    game = Score("privacy/membership_auc", 0.58, "lower", 0, 1, ideal=0.5)
    assert [mark.name for mark in line_of(game).marks] == ["certainty", "a guess", "synthetic"]
    beside = line_of(replace(game, ceiling=0.52, floor=1.0))
    assert [mark.name for mark in beside.marks] == ["copies of learnt ones", "unseen real ones", "synthetic"]


def test_smote_makes_what_imbalanced_learn_makes():
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    rng = np.random.default_rng(0)
    n = 60
    group = np.arange(n) % 3  # categories follow the numbers, so that neighbours do not hang on how a category counts
    numbers = np.stack([10.0 * group + rng.normal(size=n), rng.gamma(2.0, size=n)], axis=1)
    codes = np.stack([group, np.where(rng.random(n) < 0.2, 1 - group % 2, group % 2)], axis=1)
    ours = smote_nc(Coded(numbers, codes), 3000, np.random.default_rng(1))
    table = np.concatenate([numbers, codes], axis=1)
    others = np.concatenate([rng.normal(size=(n + 3000, 2)), rng.integers(0, 2, (n + 3000, 2))], axis=1)
    theirs, y = over_sampling.SMOTENC([2, 3], k_neighbors=5, random_state=0).fit_resample(
        np.concatenate([table, others]), np.r_[np.ones(n), np.zeros(n + 3000)]
    )
    made = theirs[y == 1][n:]
    assert len(made) == 3000
    for column in range(2):
        assert ks_2samp(ours.numbers[:, column], made[:, column]).statistic < 0.06
    for column in range(2):
        shares = [np.bincount(v.astype(int), minlength=3) / 3000 for v in (ours.codes[:, column], made[:, 2 + column])]
        assert np.abs(shares[0] - shares[1]).max() < 0.05
