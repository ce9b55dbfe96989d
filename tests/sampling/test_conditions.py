"""Conditional and balanced sampling, on a model whose distribution is known: rows of a table, drawn again."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.cli.commands import options
from datakiln.cli.explain import explain
from datakiln.cli.sample import main as sample
from datakiln.constraints import Rules
from datakiln.domains import NumberDomain, build_domain, may_be_asked
from datakiln.domains.intervals import Interval, Order, impossible
from datakiln.errors import UserError
from datakiln.sampling import rejection, writing
from datakiln.sampling.conditions import Conditions
from datakiln.sampling.synthesizer import Synthesizer
from tests.stub_tables import fitted, people, redrawing

REAL = people()

# condition, what it means for a row
MEANINGS = {
    "equal category": ({"sex": "Female"}, lambda f: f.sex == "Female"),
    "greater": ({"age": ">60"}, lambda f: f.age > 60),
    "spaces": ({"age": " >= 60 "}, lambda f: f.age >= 60),
    "less": ({"age": "<30"}, lambda f: f.age < 30),
    "at most": ({"score": "<=0.5"}, lambda f: f.score <= 0.5),
    "not": ({"city": "!=Rome"}, lambda f: f.city != "Rome"),
    "not a number": ({"age": "!=40"}, lambda f: f.age != 40),
    "set": ({"city": "Rome|Lyon"}, lambda f: f.city.isin(["Rome", "Lyon"])),
    "set in brackets": ({"city": "[Rome, Lyon]"}, lambda f: f.city.isin(["Rome", "Lyon"])),
    "set after in": ({"city": "in ['Rome', 'Lyon']"}, lambda f: f.city.isin(["Rome", "Lyon"])),
    "python list": ({"age": [20, 30]}, lambda f: f.age.isin([20, 30])),
    "set of numbers": ({"age": "20|30|>70"}, lambda f: f.age.isin([20, 30]) | (f.age > 70)),
    "between": ({"age": ">30&<=40"}, lambda f: f.age.between(31, 40)),
    "mapping": ({"age": {">": 30, "<=": 40}}, lambda f: f.age.between(31, 40)),
    "category like a comparison": ({"income": "<=50K"}, lambda f: f.income == "<=50K"),
    "not a category like a comparison": ({"income": "!=<=50K"}, lambda f: f.income == ">50K"),
    "signs as they are": ({"dept": "Ops|Sales"}, lambda f: f.dept == "Ops|Sales"),
    "an and in a name": ({"dept": "R&D|HR"}, lambda f: f.dept.isin(["R&D", "HR"])),
    "missing": ({"score": "missing"}, lambda f: f.score.isna()),
    "python missing": ({"score": None}, lambda f: f.score.isna()),
    "present": ({"score": "!=missing"}, lambda f: f.score.notna()),
    "missing or": ({"score": "missing|>1"}, lambda f: f.score.isna() | (f.score > 1)),
    "date": ({"day": ">=2020-06-01"}, lambda f: f.day >= "2020-06-01"),
    "one day": ({"day": "2020-02-07|2020-03-01"}, lambda f: f.day.isin(["2020-02-07", "2020-03-01"])),
    "truth in small letters": ({"member": "true"}, lambda f: f.member),
    "python truth": ({"member": False}, lambda f: ~f.member),
    "ordinal": ({"size": ">=M"}, lambda f: f["size"].isin(["M", "L"])),
    "all-missing column": ({"empty": "missing"}, lambda f: f["empty"].isna()),
    "category in numbers": ({"a": "1"}, lambda f: f.a == 1),
    "several columns": ({"sex": "Male", "age": ">60", "kind": "often"}, lambda f: (f.sex == "Male") & (f.age > 60)),
    "class of one row": ({"kind": "rare"}, lambda f: f.kind == "rare"),
}


CASES = [("none", name) for name in MEANINGS]
TOLD = ("equal category", "set", "between", "missing", "one day", "several columns", "class of one row")
CASES += [(conditioning, name) for conditioning in ("label", "columns") for name in TOLD]


@pytest.mark.parametrize(("conditioning", "name"), CASES)
def test_every_row_meets_the_condition_and_the_rest_follows_it(conditioning, name):
    condition, meaning = MEANINGS[name]
    made = redrawing(conditioning).sample(1000, condition, seed=1)
    assert len(made) == 1000 and list(made.columns) == list(REAL.columns)
    assert meaning(made).all()
    assert made.id.is_unique and not set(made.id) & set(REAL.id)
    wanted = REAL[meaning(REAL)] if "kind" not in condition else REAL[meaning(REAL) & (REAL.kind == condition["kind"])]
    for column in ("sex", "member", "city"):
        for value, share in wanted[column].value_counts(normalize=True).items():
            assert abs((made[column] == value).mean() - share) < 0.08  # 5 standard errors of 1000 rows


IMPOSSIBLE = {
    "category never seen": ({"city": "Romee"}, r"city=Romee is not among .*Paris.*did you mean 'Rome'"),
    "unknown column": ({"sx": "Male"}, "no such column; did you mean 'sex'"),
    "above the range": ({"age": ">90"}, "age=>90 cannot be met: age is between 18 and 79 in whole numbers"),
    "off the grid": ({"age": "40.5"}, "cannot be met: age is between 18 and 79 in whole numbers"),
    "between whole numbers": ({"age": ">40&<41"}, "cannot be met"),
    "finer than rounded": ({"score": 0.123}, "with 2 decimals"),
    "contradiction": ({"age": ">60&<30"}, "cannot be met"),
    "contradicting categories": ({"city": "Rome&Paris"}, "cannot be met: city is one of"),
    "everything excluded": ({"member": "!=true&!=false"}, "cannot be met"),
    "never missing": ({"age": "missing"}, "never missing"),
    "no number": ({"age": "old"}, "age is a number; write one, or a comparison"),
    "no date": ({"day": "tomorrow"}, "day is a date; write one"),
    "after the last day": ({"day": ">2021-01-01"}, "day is between 2020-01-01 and 2020-10-25, never missing"),
    "order of a category": ({"city": ">Paris"}, "city is a category without an order"),
    "unknown place in an order": ({"size": ">XL"}, "not among the training values"),
    "id": ({"id": 5}, "id is an id, made anew for every row"),
    "all-missing column": ({"empty": "3"}, "the column is missing in every training row"),
    "sign in the name": ({"age>60": "1"}, "belongs behind the =, as in condition.age='>60'"),
    "one bad part": ({"city": "Rome|Romme"}, "Romme is not among"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_conditions_are_refused_at_once_in_one_line(name):
    condition, told = IMPOSSIBLE[name]
    synthesizer = redrawing()
    with pytest.raises(UserError, match=told) as caught:
        synthesizer.sample(10, condition)
    assert "\n" not in explain(caught.value)
    assert synthesizer.model.drawn == 0


def test_without_clipping_numbers_beyond_the_training_range_are_looked_for(monkeypatch):
    monkeypatch.setattr(rejection, "PATIENCE", 5000)
    synthesizer = redrawing()
    synthesizer.codec = fitted(clip=False)
    with pytest.raises(UserError, match=r"age>90 was met by 0 of \d+ rows drawn; ask for less"):
        synthesizer.sample(10, {"age": ">90"})
    assert 5000 <= synthesizer.model.drawn < 300_000


def test_what_is_met_too_rarely_ends_after_a_bounded_number_of_tries(monkeypatch):
    monkeypatch.setattr(rejection, "PATIENCE", 20_000)
    monkeypatch.setattr(rejection, "RARE", 100)
    synthesizer = redrawing()
    never = REAL[(REAL.score.isna())].day.iloc[0]
    with pytest.raises(UserError, match=r"was met by \d+ of \d+ rows drawn"):
        synthesizer.sample(100_000, {"day": never, "kind": "rare"})
    assert synthesizer.model.drawn <= 20_000 + synthesizer.codec.chunk


def test_a_model_that_knows_the_label_is_told_just_that():
    synthesizer = redrawing("label")
    classes = synthesizer.codec.spec.classes
    synthesizer.sample(50, {"kind": "rare"})
    assert (torch.cat(synthesizer.model.told) == classes.index("rare")).all()
    assert synthesizer.model.drawn == 50  # nothing had to be asked twice
    synthesizer.model.told.clear()
    made = synthesizer.sample(4000, {"kind": "!=seldom"}, seed=2)
    told = torch.cat(synthesizer.model.told)
    shares = REAL.kind[REAL.kind != "seldom"].value_counts(normalize=True)
    assert set(told.tolist()) <= {classes.index("often"), classes.index("rare")}
    assert abs((made.kind == "often").mean() - shares["often"]) < 0.01


def test_a_model_that_knows_columns_is_told_equalities_as_encoded_cells():
    synthesizer = redrawing("columns")
    codec = synthesizer.codec
    wanted = REAL[(REAL.sex == "Male") & (REAL.age > 20) & REAL.city.isin(["Rome", "Lyon"])].iloc[[0]]
    day = wanted.day.iloc[0]
    made = synthesizer.sample(20, {"sex": "Male", "day": f"{day}|{day}", "age": ">20", "city": "Rome|Lyon"})
    assert len(made) == 20 and (made.day == day).all()
    rows = synthesizer.model.told[0]
    assert rows.shape[1:] == codec.spec.shape
    known = {
        c.name for c in codec.spec.columns if not torch.isnan(rows[:, c.blocks[0].start : c.blocks[-1].stop]).any()
    }
    assert known == {"sex", "day", "day (weekday)"}
    expected = codec.encode(wanted)[0]
    free = torch.isnan(rows[0])
    assert torch.equal(rows[0][~free], expected[~free])


def test_cells_that_a_model_misses_are_looked_for_and_never_written_in():
    made = redrawing("categories").sample(300, {"city": "Rome", "age": 40}, seed=3)
    assert (made.city == "Rome").all() and (made.age == 40).all()
    assert (made.country == "Italy").all()  # rows of France would have it wrong
    frame = pd.DataFrame({"x": np.arange(900.0), "code": [f"v{i % 300}" for i in range(900)]})
    synthesizer = redrawing("categories", label=None, frame=frame)
    rare = synthesizer.codec.columns[1].pool[3]
    made = synthesizer.sample(20, {"code": rare})
    assert (made.code == rare).all()
    pool = frame[frame.code.isin(synthesizer.codec.columns[1].pool)]
    assert set(made.x) <= set(pool.x)  # of any of the pool, which the model cannot tell apart, and of no other


def test_a_category_of_few_training_rows_is_told():
    synthesizer = redrawing()
    codec = type(synthesizer.codec).from_state(synthesizer.codec.state())
    (line,) = Conditions(codec, {"kind": "rare"}, Rules([], codec.schema)).seldom()
    assert line.startswith("condition.kind=rare: 1 training row had it")
    assert not Conditions(codec, {"kind": "often", "age": ">60"}, Rules([], codec.schema)).seldom()
    codec.forget_rows()
    assert not Conditions(codec, {"kind": "rare"}, Rules([], codec.schema)).seldom()


def test_what_may_be_asked_is_what_can_differ_and_is_not_made_anew():
    codec = fitted()
    left_out = {column.field.name for column in codec.columns if not may_be_asked(column)}
    assert left_out == {f.name for f in codec.schema.fields if f.type in ("id", "text", "constant")} != set()


def test_same_seed_same_rows_however_they_are_taken():
    condition = {"age": ">60", "sex": "Female"}
    one, two = redrawing(), redrawing()
    first = one.sample(300, condition, seed=5)
    pd.testing.assert_frame_equal(first, two.sample(300, condition, seed=5))
    pd.testing.assert_frame_equal(first, pd.concat(list(one.chunks(300, condition, seed=5)), ignore_index=True))
    assert not first.equals(one.sample(300, condition, seed=6))
    assert not first.equals(next(one.chunks(300, condition, seed=5, part=1)))


def test_pieces_are_large_and_parts_have_ids_of_their_own():
    synthesizer = redrawing()
    pieces = [list(synthesizer.chunks(20_000, {"sex": "Female"}, part=k, first_row=20_000 * k)) for k in (0, 1)]
    assert all(sum(map(len, part)) == 20_000 and len(part) <= 2 for part in pieces)
    assert pd.concat(itertools.chain(*pieces)).id.is_unique


@pytest.mark.parametrize("conditioning", ["none", "label", "columns"])
def test_balanced_samples_have_every_class_equally_often(conditioning):
    synthesizer = redrawing(conditioning)
    for column, balance in (("kind", "label"), ("kind", "kind"), ("size", "size"), ("member", "member")):
        counts = synthesizer.sample(100, balance=balance)[column].value_counts()
        assert len(counts) == REAL[column].nunique() and counts.max() - counts.min() <= 1 and counts.sum() == 100
    # over parts too: the classes go on in turn
    parts = [p for k in (0, 1) for p in synthesizer.chunks(50, part=k, first_row=50 * k, balance="size")]
    assert sorted(pd.concat(parts)["size"].value_counts()) == [33, 33, 34]


def test_balance_within_a_condition():
    made = redrawing("label").sample(90, {"age": ">50", "kind": "often|seldom"}, balance="label")
    assert made.kind.value_counts().to_dict() == {"often": 45, "seldom": 45} and (made.age > 50).all()
    # within a class the other columns are those of the class
    big = redrawing().sample(4000, {"age": ">60"}, balance="sex")
    real = REAL[(REAL.age > 60) & (REAL.sex == "Male")]
    assert abs((big[big.sex == "Male"].city == "Rome").mean() - (real.city == "Rome").mean()) < 0.06


def test_what_cannot_be_balanced_is_said(monkeypatch):
    for balance, told in (
        ("age", "age is of type integer; category columns: sex"),
        ("kin", "no such column; did you mean 'kind'"),
    ):
        with pytest.raises(UserError, match=told):
            redrawing().sample(10, balance=balance)
    with pytest.raises(UserError, match="the table has no label; name a category column"):
        redrawing(label=None).sample(10, balance="label")
    with pytest.raises(UserError, match="leaves no category"):
        frame = REAL.assign(city=REAL.city.where(REAL.age > 30, None))
        redrawing(frame=frame).sample(10, {"city": "missing"}, balance="city")
    monkeypatch.setattr(rejection, "PATIENCE", 10_000)
    unmodelled = redrawing()
    unmodelled.model.rows = unmodelled.model.rows[REAL.kind.to_numpy() != "rare"]
    with pytest.raises(UserError, match="kind=rare was met by 0 of"):
        unmodelled.sample(30, balance="label")


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.setattr(Synthesizer, "load", classmethod(lambda cls, *args, **options: redrawing()))

    def run(*words: str, out: str = "x.csv") -> pd.DataFrame:
        sample([f"run={tmp_path}", f"out={tmp_path / out}", "overwrite=true", *words])
        return pd.read_csv(tmp_path / out)

    return run


def test_the_command_line(command, tmp_path):
    made = command("n=40", "condition.age=>60", "condition.income=<=50K", "condition.sex=!=Male")
    assert len(made) == 40 and (made.age > 60).all() and (made.income == "<=50K").all() and (made.sex == "Female").all()
    assert command("per_class=7").kind.value_counts().to_dict() == {"often": 7, "seldom": 7, "rare": 7}
    made = command("per_class=5", "balance=member", "condition.city=Rome|Lyon")
    assert made.member.sum() == 5 == (~made.member).sum()
    assert len(command()) == 1000
    for words, told in (
        (["per_class=0"], "per_class=0 must be a whole number"),
        (["n=5", "per_class=5"], "cannot both be met"),
        (["condition.age=>60", "condition.age=<70"], "condition.age is given twice"),
    ):
        with pytest.raises(UserError, match=told):
            command(*words)


def test_nothing_is_left_behind_by_a_refused_request(command, tmp_path):
    for out in ("new/x.csv", "new/x.parquet", "new/parts/"):
        with pytest.raises(UserError, match="cannot be met"):
            sample([f"run={tmp_path}", f"out={tmp_path}/{out}", "condition.age=>900"])
    assert not (tmp_path / "new").exists()


def test_conditional_parts_are_made_again_as_they_were(command, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "PART_ROWS", 30)
    words = [f"run={tmp_path}", f"out={tmp_path}/parts/", "n=70", "condition.age=>60", "balance=size"]
    sample(words)
    parts = sorted((tmp_path / "parts").iterdir())
    whole = pd.concat(map(pd.read_parquet, parts))
    assert len(whole) == 70 and whole.id.is_unique and sorted(whole["size"].value_counts()) == [23, 23, 24]
    content = parts[1].read_bytes()
    parts[1].unlink()
    sample(words)
    assert parts[1].read_bytes() == content


def test_conditions_are_read_as_text(tmp_path):
    cfg = options(["run=x", "condition.zip=007", "condition.a b.c=>1.50", "condition.x=!=[y]"], "sample")
    assert dict(cfg.condition) == {"zip": "007", "a b.c": ">1.50", "x": "!=[y]"}


def test_pooled_categories_can_be_asked_for_but_not_balanced():
    frame = pd.DataFrame({"x": np.arange(900.0), "code": [f"v{i % 300}" for i in range(900)]})
    codec_rare = redrawing(label=None, frame=frame)
    column = codec_rare.codec.columns[1]
    assert column.pool
    rare = column.pool[3]
    assert (codec_rare.sample(5, {"code": rare})["code"] == rare).all()
    with pytest.raises(UserError, match="code has 300 categories, the rarest of which are pooled"):
        codec_rare.sample(10, balance="code")


def test_dates_with_a_clock_and_a_zone():
    zone = pd.date_range("2021-03-01 12:00", periods=300, freq="h", tz="Europe/Paris")
    frame = pd.DataFrame({"x": np.arange(300.0), "when": zone})
    made = redrawing(label=None, frame=frame).sample(20, {"when": ">=2021-03-05 18:00&<2021-03-05 20:00"})
    assert set(made.when) <= {pd.Timestamp(f"2021-03-05 {hour}:00", tz="Europe/Paris") for hour in (18, 19)}


@pytest.mark.parametrize("trial", range(20))
def test_regions_are_the_sets_their_texts_say(trial):
    """Random combinations of comparisons against Python's own reading of them, on every value there is."""
    rng = np.random.default_rng(trial)
    column = next(c for c in fitted().columns if c.field.name == "age")
    domain = build_domain(column)
    signs = rng.choice(["<", "<=", ">", ">=", "!=", "=="], 4)
    limits = rng.integers(10, 90, 4)
    parts = [f"{sign}{limit}" for sign, limit in zip(signs, limits, strict=True)]
    text = f"{parts[0]}&{parts[1]}|{parts[2]}&{parts[3]}"
    ages = np.arange(18, 80)
    met = [eval(f"ages {part}", {}, {"ages": ages}) for part in parts]
    expected = (met[0] & met[1]) | (met[2] & met[3])
    region = domain.read(text) & domain.everything
    assert isinstance(domain, NumberDomain)
    assert (domain.holds(region, pd.Series(ages)) == expected).all()
    assert region.is_empty == (not expected.any())


def test_what_orders_leave_possible():
    a_below_b, b_below_c, c_below_a = Order("a", "b", True), Order("b", "c", False), Order("c", "a", False)
    assert impossible({}, [a_below_b, b_below_c]) is None
    assert impossible({}, [a_below_b, b_below_c, c_below_a]) is not None
    assert impossible({}, [Order("a", "b", False), Order("b", "a", False)]) is None
    assert impossible({"a": Interval(low=5.0), "c": Interval(high=5.0)}, [b_below_c, a_below_b]) is not None
    assert impossible({"a": Interval(low=5.0), "c": Interval(high=5.0)}, [b_below_c, Order("a", "b", False)]) is None
    assert impossible({"a": Interval(3.0, 2.0)}, []) == "a"


def test_times_of_day_and_durations_are_read_as_people_write_them_and_asked_for_in_the_columns_writing():
    at = [f"{k % 24:02}:{k % 60:02}:00.000000" for k in range(400)]
    frame = pd.DataFrame({"at": at, "td": pd.to_timedelta(np.arange(400) * 600, unit="s"), "kind": ["x", "y"] * 200})
    when = pd.to_datetime("2020-03-01") + pd.to_timedelta(np.arange(400), unit="h")
    made = redrawing(frame=frame.assign(when=when.strftime("%m/%d/%Y %I:%M %p")))
    for text in (">12:00", ">12:00:00", ">12:00:00.0", ">12:00 PM"):
        assert (made.sample(20, {"at": text})["at"] > "12:00:00.000000").all(), text
    for text in (">12:00:00", ">PT12H", ">0.5 days", ">43200"):
        assert (made.sample(20, {"td": text})["td"] > pd.Timedelta("12:00:00")).all(), text
    for name, told in (
        ("at", "at is a time of day; write one, or a comparison such as '>00:00:00.000000'"),
        ("td", "td is a duration; write one, or a comparison such as '>00:00:00'"),
        ("when", "when is a date; write one, or a comparison such as '>03/01/2020 12:00 AM'"),
    ):
        with pytest.raises(UserError, match=f"condition.{name}=soon: {told}"):
            made.sample(5, {name: ">soon"})
