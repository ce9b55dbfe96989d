"""Constraints: what they hold for, that no synthetic row breaks one, and that an expression can do nothing else."""

from __future__ import annotations

import re
import time

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from datakiln.cli.explain import explain
from datakiln.cli.run_folders import register_resolvers
from datakiln.cli.sample import main as sample
from datakiln.console import Console
from datakiln.constraints import Expression, FixedCombinations, Inequality, OneHot, Range, Rules, Unique
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.jobs.run import Run
from datakiln.sampling import rejection
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.storage import CONF
from tests.stub_tables import Redraws, fitted, people, redrawing

REAL = people()
SCHEMA = fitted().schema


def broken(frame: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """The same rows with other values in some columns, in every second row."""
    odd = np.arange(len(frame)) % 2 == 1
    return frame.assign(**{name: frame[name].where(~odd, value) for name, value in columns.items()})


HOLDING = {
    "range": (Range("age", 18, 79), {"age": 17}),
    "range with one end": (Range("score", high=3), {"score": 3.5}),
    "range of dates": (Range("day", "2020-01-01", "2020-12-31"), {"day": "2021-01-01"}),
    "inequality": (Inequality("min_pay", "max_pay"), {"max_pay": 0}),
    "one-hot, none": (OneHot(["a", "b", "c"]), {"a": 0, "b": 0, "c": 0}),
    "one-hot, two": (OneHot(["a", "b", "c"]), {"a": 1, "b": 1, "c": 0}),
    "combinations": (FixedCombinations(["city", "country"]), {"city": "Rome", "country": "France"}),
    "expression": (Expression("min_pay <= max_pay & age < 80"), {"age": 90}),
}


@pytest.mark.parametrize("name", HOLDING)
def test_what_holds_and_what_does_not(name):
    constraint, change = HOLDING[name]
    rules = Rules([constraint], SCHEMA)
    assert rules.fit(REAL) == [(constraint, 0)]
    worse = broken(REAL, **change)
    assert (constraint.holds(worse, SCHEMA) == (np.arange(len(REAL)) % 2 == 0)).all()
    again = Rules.from_state(rules.state(), SCHEMA).constraints[0]
    assert str(again) == str(constraint) and (again.holds(worse, SCHEMA) == constraint.holds(worse, SCHEMA)).all()


def test_a_missing_cell_excuses_its_own_equality_alone():
    frame = pd.DataFrame({"a": [np.nan, 1.0, np.nan], "b": [1.0, 1.0, 1.0], "c": [1.0, 2.0, 2.0], "d": [2.0, 2.0, 2.0]})
    schema = infer_schema(pd.concat([frame] * 9, ignore_index=True), None, dict.fromkeys("abcd", "numeric"))
    assert Expression("a == b and c == d").holds(frame, schema).tolist() == [False, True, True]


def test_missing_cells():
    frame = pd.DataFrame(
        {"x": [1.0, np.nan, 3.0, np.nan], "y": [0.5, 1.0, np.nan, np.nan], "g": ["u", None, "v", None]}
    )
    schema = infer_schema(pd.concat([frame] * 5, ignore_index=True), None, {"x": "numeric", "y": "numeric"})
    assert Range("x", 2).holds(frame, schema).tolist() == [False, True, True, True]
    assert Inequality("x", "y").holds(frame, schema).tolist() == [False, True, True, True]
    assert Unique(["x", "g"]).holds(pd.concat([frame, frame]), schema).tolist() == [True] * 4 + [
        False,
        True,
        False,
        True,
    ]
    known = FixedCombinations(["x", "g"])
    known.fit(frame, schema)
    assert known.holds(frame, schema).all()
    assert known.holds(frame.assign(g=["u", "u", "v", "v"]), schema).tolist() == [True, False, True, False]
    assert Expression("x >= 1").holds(frame, schema).tolist() == [True, False, True, False]
    assert Expression("g != 'u'").holds(frame, schema).tolist() == [False, True, True, True]


def test_strict_inequality_and_integers_of_other_widths():
    frame = pd.DataFrame({"x": np.array([1, 2, 3], dtype="int8"), "y": np.array([1, 3, 2], dtype="uint16")})
    schema = infer_schema(pd.concat([frame] * 5, ignore_index=True), None, {"x": "integer", "y": "integer"})
    assert Inequality("x", "y", strict=True).holds(frame, schema).tolist() == [False, True, False]
    assert Inequality("x", "y").holds(frame, schema).tolist() == [True, True, False]


@pytest.mark.parametrize("columns", [["city", "country"], ["age", "sex", "day", "score", "member"]])
def test_combinations_agree_with_a_plain_set(columns):
    seen, other = REAL.iloc[:300], REAL.sample(frac=1.0, random_state=0)
    mixed = pd.DataFrame({name: other[name].to_numpy()[np.random.default_rng(i).permutation(len(other))] for i, name in
                          enumerate(columns)})  # fmt: skip
    table = pd.concat([mixed, seen[columns]], ignore_index=True)
    constraint = FixedCombinations(columns)
    constraint.fit(seen, SCHEMA)
    cells = table.astype(object).where(table.notna(), None)
    known = set(map(tuple, seen[columns].astype(object).where(seen[columns].notna(), None).to_numpy()))
    expected = [tuple(row) in known for row in cells.to_numpy()]
    assert constraint.holds(table, SCHEMA).tolist() == expected and sum(expected) >= 300


# ---- expressions


AGREES_WITH_PANDAS = [
    "age > 30",
    "age > 30 and member",
    "age > 30 & sex == 'Male' | city == 'Rome'",
    "not member",
    "~(age > 30) or (city in ['Rome', 'Paris'])",
    "city not in ['Rome'] and age == [20, 30, 40]",
    "18 <= age < 40 < max_pay",
    "(min_pay + max_pay) / 2 > 40.5 and -age < -20",
    "age % 7 == 0 or age // 10 == 3 or age ** 2 > 5000",
    "sqrt(age) > 6 and abs(score) < 1",
    "score != score",
    "score * 2 > 1",
    "member == True",
    "income == '<=50K'",
    "dept == 'R&D' or dept == 'Ops|Sales'",
]


@pytest.mark.parametrize("text", AGREES_WITH_PANDAS)
def test_expressions_mean_what_they_mean_in_pandas(text):
    # with objects instead of strings, as pandas' evaluator has it, and its slower engine, which knows no missing piece
    frame = REAL.astype({name: object for name in ("sex", "city", "dept", "income")})
    expected = frame.eval(text, engine="python").to_numpy(dtype=bool)
    assert (Expression(text).holds(REAL, SCHEMA) == expected).all()
    assert 0 < expected.sum() < len(expected)


def test_names_in_backticks_dates_and_truths():
    frame = pd.DataFrame(
        {"pay & grade": [1, 2, 3], "class": ["x", "y", "z"], "when": pd.date_range("2020-01-01", periods=3)}
    )
    schema = infer_schema(pd.concat([frame] * 5, ignore_index=True), None, {"pay & grade": "integer"})
    assert Expression("`pay & grade` > 1 & `class` != 'z'").holds(frame, schema).tolist() == [False, True, False]
    assert Expression("when >= '2020-01-02'").holds(frame, schema).tolist() == [False, True, True]
    assert Expression("day >= '2020-06-01'").holds(REAL, SCHEMA).tolist() == (REAL.day >= "2020-06-01").tolist()
    assert Expression("`pay & grade` > 1 & `class` != 'z'").columns == ("pay & grade", "class")


ATTACKS = [
    "__import__('os').system('touch {folder}/hit')",
    "@__import__('os').system('touch {folder}/hit')",
    "age.__class__",
    "age.to_csv('{folder}/hit')",
    "(1).__class__.__bases__[0].__subclasses__()",
    "age[0]",
    "[x for x in (1, 2)] == age",
    "{{1: age}}",
    "{{age}}",
    "lambda: age",
    "(lambda age: True)(age)",
    "open('{folder}/hit', 'w') and age > 1",
    "eval('age')",
    "exec('import os')",
    "globals()",
    "getattr(age, 'values')",
    "sqrt.__class__(age) > 1",
    "sqrt(age, age) > 1",
    "sqrt(x=age) > 1",
    "sqrt(*age) > 1",
    "sqrt(**age) > 1",
    "(age := 3) > 2",
    "age = 3",
    "age > 1; import os",
    "age > 1\nimport os",
    "f'{{age}}' == 'x'",
    'f\'{{__import__("os").system("touch {folder}/hit")}}\' == city',
    "b'x' == city",
    "age if member else 3",
    "age @ age",
    "age << 3 > 2",
    "age ^ 3 > 2",
    "await age",
    "(yield age)",
    "age is None",
    "None == age",
    "... == age",
    "1j * age > 0",
    "city + 'x' == 'y'",
    "'x' * 1000000000 == city",
    "city % 3 == 1",
    "city > 'A'",
    "age > 'A'",
    "age == 'A'",
    "day + 1 > 3",
    "age and member",
    "not age",
    "age + 1",
    "city",
    "1 < 2",
    "True",
    "",
    "age > (",
    "age >",
    "`age",
    "age.`x`",
    "sqrt > 1",
    "nosuch > 1",
    "`__class__` > 1",
    "age > 1 and " * 200 + "age > 1",
    "(" * 300 + "age" + ")" * 300 + " > 1",
    "-" * 900 + "age > 1",
    "~" * 60 + "(age > 1)",
    "age" + ".x" * 400 + "() > 1",
    "age in age",
    "age in [[1], [2]]",
    "age in [x, 3]",
    "age < [1, 2]",
    "day > 'yesterday'",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks_end_in_one_line(text, tmp_path):
    start = time.perf_counter()
    with pytest.raises(UserError) as caught:
        Rules([Expression(text.format(folder=tmp_path))], SCHEMA).fit(REAL)
    assert "\n" not in explain(caught.value) and len(explain(caught.value)) < 500
    assert not list(tmp_path.iterdir())
    assert time.perf_counter() - start < 5.0


def test_numbers_cannot_be_made_to_grow_without_bound():
    start = time.perf_counter()
    for text in ("9 ** 9 ** 9 ** 9 > age", "age ** 10 ** 10 > 1", f"age < {'9' * 900}", "age / 0 > 1"):
        assert Expression(text).holds(REAL, SCHEMA).all()
    assert time.perf_counter() - start < 5.0


# ---- declaring


def test_constraints_that_make_no_sense_are_refused():
    for make, told in (
        (lambda: Range("age"), "needs low, high or both"),
        (lambda: Range("age", 5, 3), "low=5 is above high=3"),
        (lambda: Inequality("age", "age"), "with itself"),
        (lambda: OneHot(["a"]), "at least two different columns"),
        (lambda: FixedCombinations("city"), "at least two different columns"),
        (lambda: Unique([]), "at least one column"),
        (lambda: Range("agee", 1), "no column 'agee'; did you mean 'age'"),
        (lambda: Unique(["agee"]), "no column 'agee'; did you mean 'age'"),
        (lambda: Range("id", 1), "made anew"),
        (lambda: Range("city", 1), "for numbers and dates, but city is of type category"),
        (lambda: Range("age", "old"), "low=old is no integer value"),
        (lambda: Range("day", "2021-01-01", "2020-01-01"), "is above high"),
        (lambda: Inequality("age", "day"), "compares a date with a number"),
    ):
        with pytest.raises(UserError, match=told):
            Rules([make()], SCHEMA)
    for wrong in ([{"column": "age", "low": 0}], {"column": "age"}, "age > 3", 3):
        with pytest.raises(UserError, match="is no constraint; write a list such as"):
            Rules(wrong, SCHEMA)


def test_contradictory_constraints_are_one_line():
    for constraints, told in (
        ([Range("age", 0, 30), Range("age", 40, 90)], "exclude one another: no value is left for age"),
        ([Inequality("min_pay", "max_pay", True), Inequality("max_pay", "min_pay")], "exclude one another"),
        ([Range("min_pay", 50), Range("max_pay", high=40), Inequality("min_pay", "max_pay")], "exclude one another"),
        ([Range("score", 200, 300)], "is met by none of the 469 training rows with values"),
        ([Range("age", 200, 300)], "is met by none of the 600 training rows with values"),
        (
            [Expression("age > 40"), Expression("age < 30")],
            "no training row meets the constraint 'age < 30' together with 'age > 40'",
        ),
    ):
        with pytest.raises(UserError, match=told) as caught:
            Rules(constraints, SCHEMA).fit(REAL)
        assert "\n" not in explain(caught.value)


# ---- enforcing


EVERY = [
    Range("age", 30, 70),
    Inequality("min_pay", "max_pay"),
    OneHot(["a", "b", "c"]),
    FixedCombinations(["city", "country"]),
    Expression("score > -1 or member"),
]


def careless(constraints, seed: int = 0) -> Synthesizer:
    """A synthesizer whose model draws every column by itself, and so breaks what holds between columns."""
    made = redrawing(constraints=constraints)
    rng = np.random.default_rng(seed)
    shuffled = pd.DataFrame({name: REAL[name].to_numpy()[rng.permutation(len(REAL))] for name in REAL})
    made.model = Redraws(made.codec, shuffled.astype(REAL.dtypes))
    return made


def test_no_synthetic_row_breaks_a_constraint():
    synthesizer = careless(EVERY)
    rows = synthesizer.sample(2000, seed=1)
    free = careless([]).sample(2000, seed=1)
    for constraint in synthesizer.rules.constraints:
        assert constraint.holds(rows, SCHEMA).all(), str(constraint)
        assert not constraint.holds(free, SCHEMA).all(), str(constraint)  # or this would show nothing
    assert len(rows) == 2000 and rows.id.is_unique
    pd.testing.assert_frame_equal(rows, synthesizer.sample(2000, seed=1))
    wanted = synthesizer.sample(100, {"sex": "Female", "age": "<50"}, balance="size")
    assert (wanted.sex == "Female").all() and wanted.age.between(30, 49).all()
    assert all(constraint.holds(wanted, SCHEMA).all() for constraint in synthesizer.rules.constraints)


def test_unique_rows_over_all_pieces(monkeypatch):
    monkeypatch.setattr(rejection, "PIECE", 50)
    columns = ["sex", "size", "city", "member", "dept"]
    synthesizer = redrawing(constraints=[Unique(columns)])
    possible = len(REAL[columns].drop_duplicates())
    rows = synthesizer.sample(possible - 10, seed=1)
    assert not rows.duplicated(columns).any()
    assert len(synthesizer.sample(possible)[columns].drop_duplicates()) == possible > 100  # all that there are
    monkeypatch.setattr(rejection, "PATIENCE", 10_000)
    monkeypatch.setattr(rejection, "RARE", 20)
    with pytest.raises(UserError, match=rf"met by {possible} of \d+ rows drawn, since \d+ broke.*unique"):
        synthesizer.sample(possible + 1)


def test_unique_ids_need_no_looking_after_but_other_columns_cannot_be_kept_over_parts(monkeypatch, tmp_path):
    monkeypatch.setattr("datakiln.sampling.writing.PART_ROWS", 30)
    words = [f"run={tmp_path}", f"out={tmp_path}/parts/", "n=50"]
    monkeypatch.setattr(
        Synthesizer, "load", classmethod(lambda c, *a, **o: redrawing(constraints=[Unique(["age", "day"])]))
    )
    with pytest.raises(UserError, match=r"parts are made apart, so 'unique \(age, day\)' cannot be kept"):
        sample(words)
    assert not list(tmp_path.iterdir())
    sample([*words, "n=30"])
    monkeypatch.setattr(Synthesizer, "load", classmethod(lambda c, *a, **o: redrawing(constraints=[Unique("id")])))
    with pytest.raises(UserError, match="holds parts of another model"):
        sample(words)
    sample([words[0], f"out={tmp_path}/others/", words[2]])
    assert len(list((tmp_path / "others").glob("*.parquet"))) == 2


def test_what_a_model_cannot_keep_is_an_error_that_says_which_and_how_often(monkeypatch):
    monkeypatch.setattr(rejection, "PATIENCE", 20_000)
    synthesizer = careless([Expression("age + min_pay > 90"), Range("age", 18)])
    synthesizer.model.rows = synthesizer.codec.encode(REAL[REAL.age + REAL.min_pay <= 90])
    with pytest.raises(UserError, match=r"met by 0 of (\d+) rows drawn, since \1 broke the constraint 'age \+ min_pay"):
        synthesizer.sample(10)


def test_conditions_against_constraints_are_refused_at_once():
    synthesizer = careless([*EVERY, Range("max_pay", high=55)])
    for condition, told in (
        ({"age": ">75"}, "leaves no value for age under the constraints '30 <= age <= 70'"),
        ({"min_pay": ">60"}, "leaves no value for .* under the constraints"),
        ({"min_pay": ">40", "max_pay": "<30"}, "leaves no value for"),
        ({"city": "Rome", "country": "France"}, r"cannot be met under the constraint '\(city, country\) as in"),
        ({"a": 1, "b": 1}, r"cannot be met under the constraint 'exactly one of"),
        ({"a": 0, "b": 0, "c": 0}, r"cannot be met under the constraint 'exactly one of"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            synthesizer.sample(10, condition)
        assert "\n" not in explain(caught.value)
    assert synthesizer.model.drawn == 0
    made = redrawing(constraints=EVERY).sample(10, {"city": "Rome", "a": 1})
    assert (made.country == "Italy").all() and (made.c == 0).all()


# ---- from yaml to a checkpoint


def config(*overrides: str):
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=["data=toy", *overrides])


def test_constraints_come_from_yaml_are_reported_and_travel_with_the_checkpoint(tmp_path):
    declared = (
        "data.constraints=[{_target_: datakiln.constraints.Range, column: visits, high: 7},"
        " {_target_: datakiln.constraints.FixedCombinations, columns: [colour, member]},"
        ' {_target_: datakiln.constraints.Expression, text: "spent > 0 or visits < 6"}]'
    )
    done = Run(config(declared, "model=vae", f"output_dir={tmp_path}", "epochs=2"), Console(quiet=True))
    for phase in (done.check, done.load_data, done.fit, done.synthesize):
        phase()
    train = done.data.frames["train"]
    reports = {report.detail: report.rows for report in done.data.reports if report.name == "constraint"}
    assert reports["visits <= 7; training rows that break it"] == (train.visits > 7).sum() > 0
    assert reports["(colour, member) as in a training row; training rows that break it"] == 0
    assert (
        reports["spent > 0 or visits < 6; training rows that break it"]
        == (~((train.spent > 0) | (train.visits < 6))).sum()
    )
    synthesizer = Synthesizer.load(done.folder)
    for frame in (pd.read_csv(done.folder / "synthetic.csv"), synthesizer.sample(500, seed=9)):
        assert (frame.visits <= 7).all() and ((frame.spent > 0) | (frame.visits < 6)).all()
    with pytest.raises(UserError, match="visits>8 leaves no value for visits under the constraints 'visits <= 7'"):
        synthesizer.sample(5, {"visits": ">8"})


def test_mistakes_in_yaml_are_one_line():
    for declared, told in (
        ("{_target_: datakiln.constraints.Range, column: visits}", "needs low, high or both"),
        ("{_target_: datakiln.constraints.Expression, text: 'visits.sum() > 1'}", "calls a Attribute|not allowed"),
        ("{_target_: datakiln.constraints.Expression, text: 'spent.net > 1'}", "stands in backticks, `spent.net`"),
    ):
        with pytest.raises(Exception) as caught:
            instantiate(config("output_dir=unused", f"data.constraints=[{declared}]").data, _convert_="all")
        line = explain(caught.value)
        assert "\n" not in line and re.search(told, line), line
