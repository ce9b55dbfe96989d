"""Uses of models of tables where the answer is known: a copier, one that ignores its condition, a perfect one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.tables.columns import encode
from datakiln.metrics.tables.conditional import conditions_to_ask, pairs_to_ask, rest_error
from datakiln.metrics.tables.filling import filling_errors, hidden_cells
from datakiln.metrics.tables.shuffling import auc, with_shuffled_cells
from datakiln.schema import Field, Schema
from datakiln.studies.uses.base import between
from datakiln.studies.uses.gains import balancing_score, gain_score
from datakiln.studies.uses.tables import Asked, asked_rows, control_scores, filled_by, scored_by, watched_score
from tests.stub_tables import people, redrawing

SCHEMA = Schema(
    (
        Field("kind", "category", "str"),
        Field("size", "numeric", "float64"),
        Field("shade", "category", "str"),
        Field("noise", "numeric", "float64"),
    ),
    "kind",
)


def table(n: int, seed: int, schema: Schema = SCHEMA) -> pd.DataFrame:
    """A quarter of kind b, which is larger and darker; the noise goes with nothing."""
    rng = np.random.default_rng(seed)
    is_b = rng.random(n) < 0.25
    shade = np.where(rng.random(n) < np.where(is_b, 0.8, 0.3), "dark", "light")
    size = rng.normal(np.where(is_b, 1.5, 0.0), 1.0)
    return pd.DataFrame({"kind": np.where(is_b, "b", "a"), "size": size, "shade": shade, "noise": rng.normal(size=n)})


TRAIN, TEST = table(3000, 0), table(1500, 1)


def asked(rows: pd.DataFrame, met: float) -> list[Asked]:
    real, unseen = (part[part["kind"] == "b"] for part in (TRAIN, TEST))
    return [Asked("kind=b", ("kind",), met, [0.24, 0.25, 0.26], rows, real, unseen)]


def test_the_rest_of_equal_rows_is_not_apart_and_of_others_wholly():
    rows = pd.DataFrame({"a": ["x", "y"] * 4, "b": ["u", "v"] * 4})
    schema = Schema((Field("a", "category", "str"), Field("b", "category", "str")))
    assert rest_error(encode(schema, (rows, rows)), "a") == 0.0
    assert rest_error(encode(schema, (rows, rows.assign(a="x"))), "a") == 0.0, "what was asked for says nothing"
    assert rest_error(encode(schema, (rows, rows.assign(b="w"))), "a") == pytest.approx(1.0)
    assert rest_error(encode(schema, (rows, rows.assign(b=None))), "a") == 1.0, "nothing is as far as can be"


def test_conditions_are_asked_that_change_other_columns_the_label_first():
    found = conditions_to_ask(SCHEMA, TRAIN, 3, 0)
    assert found[0] == ("kind", "b") and {name for name, _ in found} == {"kind", "size", "shade"}
    assert dict(found)["size"].startswith(">") and found == conditions_to_ask(SCHEMA, TRAIN, 3, 0)


def test_a_model_that_meets_its_condition_and_one_that_ignores_it():
    other = table(3000, 2)
    met, rest = control_scores(SCHEMA, TRAIN, asked(other[other["kind"] == "b"], 1.0), 0)
    assert met.value == met.ceiling == 1.0 and met.floor == pytest.approx(0.25)
    assert rest.standing == pytest.approx(1.0, abs=0.2) and rest.decides
    met, rest = control_scores(SCHEMA, TRAIN, asked(other.assign(kind="b"), 0.25), 0)
    assert met.standing == pytest.approx(0.0, abs=0.02)
    assert rest.standing == pytest.approx(0.0, abs=0.2), "labels stuck on rows of any kind"
    _, rest = control_scores(
        SCHEMA, TRAIN, asked(other[other["kind"] == "b"].head(1).sample(400, replace=True), 1.0), 0
    )
    assert rest.value is not None and rest.floor is not None and rest.value > rest.floor, "one row again and again"
    _, rest = control_scores(SCHEMA, TRAIN, asked(other.head(0), 0.0), 0)
    assert rest.standing == 0.0 and "hardly ever met" in rest.note


@pytest.mark.parametrize("conditioning", ["columns", "categories", "none"])
def test_one_draw_is_told_what_the_model_can_be_told_and_no_more_are_made(conditioning):
    kind = str(people()["kind"].value_counts().index[1])
    base, synthesizer = float((people()["kind"] == kind).mean()), redrawing(conditioning)
    drawn, met = synthesizer.tried(400, {"kind": kind}, 3)
    assert len(drawn) == 400 == synthesizer.model.drawn
    assert np.array_equal(met, (drawn["kind"] == kind).to_numpy())
    assert met.mean() == pytest.approx(1.0 if conditioning == "columns" else base, abs=0.1), "no rows are drawn again"


def test_filled_cells_that_are_true_plain_or_drawn_from_the_column_alone():
    train, rows = table(2000, 3), table(500, 4)
    hidden = hidden_cells(SCHEMA, rows, 0.2, 0)
    assert hidden.to_numpy().mean() == pytest.approx(0.2, abs=0.03)
    plain, drawn = rows.copy(), rows.copy()
    rng = np.random.default_rng(0)
    for name in hidden:
        middle = train[name].median() if SCHEMA[name].is_numeric else train[name].mode()[0]
        plain.loc[hidden[name], name] = middle
        drawn.loc[hidden[name], name] = rng.choice(train[name], int(hidden[name].sum()))
    order = [*SCHEMA.numeric, *SCHEMA.choices]

    def errors(*fillings: pd.DataFrame) -> dict[str, float]:
        t = encode(SCHEMA, (train, rows, *fillings))
        return filling_errors(t, hidden[order].to_numpy(), t.parts[2:])

    assert set(errors(rows).values()) == {0.0}
    assert errors(plain) == {name: pytest.approx(1.0) for name in order}
    assert min(errors(drawn).values()) > 1.1, "a draw from the column alone is further off than its middle"
    lost = rows.assign(size=rows["size"].mask(hidden["size"]))
    assert errors(lost)["size"] == 1.0


def test_filling_by_the_truth_is_0_and_by_the_middle_no_better_than_the_middle():
    score = filled_by(lambda gaps, seed: gaps.fillna(TEST.loc[gaps.index]), SCHEMA, TRAIN, TEST, 0)
    assert score.floor == 1.0 and score.value is not None
    true = TEST.sample(300, random_state=0).reset_index(drop=True)
    assert filled_by(lambda gaps, seed: true, SCHEMA, TRAIN, TEST, 0).value == 0.0
    middle = {name: TRAIN[name].median() if SCHEMA[name].is_numeric else TRAIN[name].mode()[0] for name in TRAIN}
    assert filled_by(lambda gaps, seed: gaps.fillna(middle), SCHEMA, TRAIN, TEST, 0).value == pytest.approx(1.0)


def test_shuffled_cells_keep_their_columns_and_the_truth_tells_them():
    rows = pd.DataFrame({"a": np.arange(1000), "b": np.arange(1000)})
    made = with_shuffled_cells(rows, ["a", "b"], 0.3, 0)
    assert set(made["a"]) <= set(rows["a"]) and (made["a"] != made["b"]).mean() > 0.99
    assert with_shuffled_cells(rows, ["a", "b"], 0.0, 0).ne(rows).to_numpy().sum() == pytest.approx(1000, abs=10)
    usual, strange = ((part["a"] - part["b"]).abs().to_numpy(float) for part in (rows, made))
    assert auc(usual, strange) > 0.99 and auc(usual, usual) == 0.5
    assert auc(np.array([0.0, 1.0]), np.array([np.inf, np.nan])) == 0.5


def test_scores_of_a_perfect_density_beat_the_nearest_row_and_of_noise_are_chance():
    def nats(rows: pd.DataFrame) -> np.ndarray:
        is_b = (rows["kind"] == "b").to_numpy()
        shade = np.where(rows["shade"] == "dark", np.where(is_b, 0.8, 0.3), np.where(is_b, 0.2, 0.7))
        squares = (rows["size"].to_numpy() - 1.5 * is_b) ** 2 + rows["noise"].to_numpy() ** 2
        return 0.5 * squares - np.log(shade) - np.log(np.where(is_b, 0.25, 0.75))

    perfect = scored_by(nats, SCHEMA, TRAIN, TEST, 0)
    assert perfect.value is not None and perfect.floor_range is not None and perfect.value > perfect.floor_range[1]
    rng = np.random.default_rng(0)
    noise = scored_by(lambda rows: rng.random(len(rows)), SCHEMA, TRAIN, TEST, 0)
    assert noise.value == pytest.approx(0.5, abs=0.03)


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr("datakiln.studies.uses.gains.LEARNER", "linear")


@pytest.mark.usefixtures("_quick")
def test_rows_like_real_ones_add_what_real_ones_do_and_rows_with_wrong_labels_take_away():
    like, wrong = table(3000, 5), table(3000, 5)
    wrong["kind"] = np.random.default_rng(0).permutation(wrong["kind"])
    good, bad = (gain_score(SCHEMA, TRAIN, TEST, made, 0) for made in (like, wrong))
    assert good.name == "gain/rows_auc" and good.floor == 0.0
    assert good.value == pytest.approx(good.ceiling, abs=0.01)
    assert bad.value is not None and bad.value < -0.01
    assert set(good.detail or {}) >= {"nothing, 100 rows", "SMOTE-NC, 500 rows", "class weights, 500 rows"}


@pytest.mark.usefixtures("_quick")
def test_a_number_is_learnt_too_and_few_rows_are_told():
    schema = Schema(SCHEMA.fields, "size")
    score = gain_score(schema, TRAIN, TEST, table(3000, 5), 0)
    assert score.name == "gain/rows_r2" and score.value == pytest.approx(score.ceiling, abs=0.03)
    few = gain_score(SCHEMA, TRAIN.head(150), TEST, table(150, 5), 0)
    assert few.value is None and "too few" in few.why
    none = gain_score(Schema(SCHEMA.fields), TRAIN, TEST, TRAIN, 0)
    assert none.value is None and "column to learn" in none.why


@pytest.mark.usefixtures("_quick")
def test_a_rare_class_is_brought_up_by_rows_like_it_and_not_by_others():
    like = table(9000, 6)
    good = balancing_score(SCHEMA, TRAIN, TEST, lambda label, value, n: like[like[label] == value].head(n), 0)
    assert good.value == pytest.approx(good.ceiling, abs=0.02)
    bad = balancing_score(SCHEMA, TRAIN, TEST, lambda label, value, n: like.assign(kind="b").head(n), 0)
    assert bad.value is not None and good.value is not None and bad.value < good.value - 0.03
    three = Schema(SCHEMA.fields, "size")
    assert "two classes" in balancing_score(three, TRAIN, TEST, lambda *_: like, 0).why


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_of_two_classes_that_are_as_frequent_one_is_asked_for_and_looked_for(order):
    """Categories of pandas are counted in the order of their declaration, which need not be that of the learners."""
    both = TRAIN.groupby("kind").head(int(TRAIN["kind"].value_counts().min()))
    both = both.assign(kind=pd.Categorical(both["kind"], categories=order))
    like = table(9000, 6).assign(kind=lambda rows: pd.Categorical(rows["kind"], categories=order))
    found = balancing_score(SCHEMA, both, TEST, lambda label, value, n: like[like[label] == value].head(n), 0)
    assert found.value == pytest.approx(found.ceiling, abs=0.03)
    other = balancing_score(SCHEMA, both, TEST, lambda label, value, n: like[like[label] != value].head(n), 0)
    assert other.value is None and "made no row of" in other.why


def related(n: int, seed: int) -> pd.DataFrame:
    """A category that goes with two numbers, which go together."""
    rng = np.random.default_rng(seed)
    is_b = rng.random(n) < 0.5
    size = rng.normal(np.where(is_b, 4.0, 0.0), 1.0)
    kind, shade = np.where(is_b, "b", "a"), np.where(is_b, "dark", "light")
    return pd.DataFrame({"kind": kind, "size": size, "shade": shade, "noise": size + rng.normal(0, 0.1, n)})


def test_what_training_watches_stands_between_shuffled_and_other_real_rows():
    train, val, like, mixed = related(8000, 0), related(1500, 1), related(6000, 2), related(6000, 2)
    for i, name in enumerate(mixed):
        mixed[name] = mixed[name].sample(frac=1, random_state=i).to_numpy()
    (good,), (bad,) = (watched_score(SCHEMA, val, train, made, 0) for made in (like, mixed))
    assert good.floor is not None and good.ceiling is not None and good.n == 5000
    assert good.value == pytest.approx(good.ceiling, abs=0.02) and bad.value == pytest.approx(good.floor, abs=0.02)
    assert good.ceiling > good.floor + 0.2
    (none,) = watched_score(SCHEMA, val.head(0), train, like, 0)
    assert none.value is None and "no validation rows" in none.why


def test_a_figure_between_draws():
    one = between("a", 0.5, "higher", [0.0, 0.2], [0.9, 1.1])
    assert (one.floor, one.ceiling) == (pytest.approx(0.1), pytest.approx(1.0)) and one.decides is False
    mean = between("a", 0.5, "higher", [0.1] * 3, [0.9, 1.0, 1.1], is_mean=True)
    assert mean.ceiling_range == [
        pytest.approx(1 - 4.302653 * 0.1 / 3**0.5),
        pytest.approx(1 + 4.302653 * 0.1 / 3**0.5),
    ]
    paired = between("a", 0.6, "higher", [0.1, 0.5, 0.9], own=[0.2, 0.6, 1.0], is_mean=True)
    assert paired.floor_range == [pytest.approx(0.5)] * 2, "every draw differs by as much"
    assert mean.decides and between("a", 0.5, "higher", [0.1]).floor_range is None


def test_two_conditions_are_asked_together_that_add_to_each_other():
    def met(*columns: str) -> dict[str, np.ndarray]:
        every = {
            "kind": (TRAIN["kind"] == "b").to_numpy(),
            "shade": (TRAIN["shade"] == "dark").to_numpy(),
            "size": (TRAIN["size"] > 1).to_numpy(),
            "noise": (TRAIN["kind"] == "b").to_numpy(),
        }
        return {name: every[name] for name in columns}

    assert pairs_to_ask(SCHEMA, TRAIN, met("kind", "shade"), 0) == [("kind", "shade")]
    assert pairs_to_ask(SCHEMA, TRAIN, met("kind", "noise"), 0) == [], "each follows from the other"
    every = pairs_to_ask(SCHEMA, TRAIN, met("kind", "shade", "size"), 0)
    assert len(every) == 3 and every == pairs_to_ask(SCHEMA, TRAIN, met("kind", "shade", "size"), 0)


@pytest.mark.parametrize("conditioning", ["columns", "none"])
def test_joint_conditions_are_asked_of_a_model_and_named(conditioning):
    synthesizer = redrawing(conditioning)
    codec, frame = synthesizer.codec, people()
    found = asked_rows(synthesizer, codec.schema, frame, frame, frame, 0)
    joint = [one for one in found if len(one.columns) == 2]
    assert 1 <= len(joint) <= 2 and all(", " in one.name for one in joint)
    for one in joint:
        assert one.met == pytest.approx(1.0 if conditioning == "columns" else float(np.mean(one.base)), abs=0.06)
    note = control_scores(codec.schema, frame, found, 0)[0].note
    assert f"{len(joint)} of {len(found)} are on two columns at once" in note
