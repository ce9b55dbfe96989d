"""What is printed of relations can be declared, and what is declared is refused in a line where it does not hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.data.sets.toy import ToyRelations
from datakiln.data.tables.relation_texts import columns_named
from datakiln.data.tables.relations import check_relations, chosen_relations
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from tests.codecs.test_clocks import flights, shifts
from tests.codecs.test_local_parts import stamped


def prices(n: int = 600) -> pd.DataFrame:
    """Days of a share: High is beyond the rest and Low below; names of columns that are no words."""
    rng = np.random.default_rng(0)
    first, last = rng.normal(100, 20, (2, n)).round(2)
    both = np.stack([first, last])
    high, low = (both.max(axis=0) + rng.gamma(2, 1, n)).round(2), (both.min(axis=0) - rng.gamma(2, 1, n)).round(2)
    made = {"max(a, b)": first, "Close": last, "High": high, "Low": low, "8 hours": rng.integers(1, 50, n)}
    return pd.DataFrame(made | {"of all": made["8 hours"] * 3})


def stays(n: int = 600) -> pd.DataFrame:
    """Stamps of a stay that lasts eight hours, its day and what day of the week it is; pairs that tell a third."""
    rng = np.random.default_rng(0)
    begin = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 400 * 1440, n), unit="min")
    city, zone = rng.choice(list("abc"), n), rng.integers(0, 4, n)
    frame = pd.DataFrame({"begin": begin, "end": begin + pd.Timedelta(hours=8), "day": begin.normalize()})
    state = [f"{c}{z}"[::-1] if (ord(c) + z) % 2 else "x" for c, z in zip(city, zone, strict=True)]
    return frame.assign(weekday=begin.day_name(), city=city, zone=zone, state=state)


def arrivals(n: int = 600) -> pd.DataFrame:
    """Two times of day that are about two hours apart."""
    rng = np.random.default_rng(0)
    left = rng.integers(0, 1440, n)
    here = (left + 120 + rng.integers(-20, 20, n)) % 1440
    return pd.DataFrame(
        {name: [f"{m // 60:02d}:{m % 60:02d}" for m in t] for name, t in (("left", left), ("here", here))}
    )


def named_oddly(n: int = 600) -> pd.DataFrame:
    """Sums of columns whose names Python reads otherwise, or not at all; a large constant."""
    rng = np.random.default_rng(0)
    names = [
        "class",
        "True",
        "n\u00ba",
        "cafe\u0301",
        "color=red",
        "a->b",
        "a,b,c",
        "\u0926\u093f\u0928",
        "max(x, y)",
        "3 days",
    ]
    frame = pd.DataFrame({name: rng.integers(0, 1000, n) for name in names})
    sums = {f"sum {i}": frame[a] + frame[b] for i, (a, b) in enumerate(zip(names, names[1:], strict=False))}
    return frame.assign(**sums, stamp=frame["class"] + 1577836812345)


def clocked(n: int = 600) -> pd.DataFrame:
    """Times as 23:50 with their hour, and what lies between times as 2350, written as 01:30."""
    rng = np.random.default_rng(0)
    start, took = rng.integers(0, 1440, n), rng.integers(1, 300, n)
    made = {name: 100 * (m // 60) + m % 60 for name, m in (("start", start), ("end", (start + took) % 1440))}
    written = {name: [f"{m // 60:02d}:{m % 60:02d}" for m in times] for name, times in (("took", took), ("at", start))}
    return pd.DataFrame({**made, "took": written["took"]}).assign(at=written["at"], hour=start // 60)


FRAMES = {
    "odd": named_oddly,
    "clocked": clocked,
    "toy": lambda: ToyRelations(1000)().frame,
    "flights": flights,
    "midnight": lambda: flights(midnight=2400),
    "shifts": lambda: shifts(decimals=4),
    "local": lambda: stamped("America/New_York", True),
    "offset": lambda: stamped("UTC+05:30", False),
    "prices": prices,
    "stays": stays,
    "arrivals": arrivals,
}


@pytest.mark.parametrize("name", FRAMES)
def test_what_is_printed_can_be_declared(name):
    frame = FRAMES[name]()
    schema = infer_schema(frame, None, {})
    found = find_relations(frame, schema)
    assert found
    for relation in found:
        check_relations([str(relation)])
        assert set(columns_named(str(relation))) == set(relation.columns)
        (again,) = chosen_relations([str(relation)], frame, schema)
        assert str(again) == str(relation) and again.form == relation.form and again.share == relation.share
        assert again.mode == relation.mode or (again.form == "order" and again.mode == "checked")
        assert not again.breaks(frame, schema).any()
        if relation.form == "formula":
            made, wanted = (r.made(frame, schema) for r in (again, relation))
            assert np.array_equal(np.asarray(made), np.asarray(wanted), equal_nan=True)


FORMS = (
    "minutes by the clock", "here - left by the clock", "8 hours", "date(begin)", "weekday(begin) ->", " in UTC+05:30",
    "in America/New_York", "max(`max(a, b)`, Close)", "city, zone -> state", " < ", "3 * `8 hours`",
)  # fmt: skip


def test_the_frames_show_every_form():
    frames = [make() for make in FRAMES.values()]
    texts = " ".join(str(r) for frame in frames for r in find_relations(frame, infer_schema(frame, None, {})))
    assert [form for form in FORMS if form not in texts] == []


REFUSED = {
    "left = planned + late by the clock": "holds in .* not in every one; name a unit, such as minutes",
    "left = planned + late hours by the clock": "holds in .* not in every one; leave it out",
    "left = late + planned minutes by the clock": "goes by the clock of late, which holds no times of day",
    "left = planned by the clock": "is no relation by the clock; write 'left = planned",
    "left - lat by the clock": "names no column 'lat'",
    "month = month(planned)": "names no column 'month'",
    "late = hour(planned)": "reads hour of planned, which is of type integer and no date",
    "late = hour(planned in Mars/Olympus)": "reads the clock of Mars/Olympus, which is not known",
    "min(planned, left) <= late": "orders something else than two columns, max",
    "hour(planned) -> late": "reads hour of planned",
    "late = wek(planned)": "calls wek, which is not allowed",
    "late = hour(planned) +": "cannot be read",
    "a, b, c -> late": "by 3 columns; take one or two",
    "planned, planned -> late": "by one column twice; take one or two",
    "left = planned + planned minutes by the clock": "names planned twice",
    "late = left - left in minutes by the clock": "names left twice",
    "late >= 0": "orders something else than two columns",
    "5 < late": "orders something else than two columns",
    "late = month_start(planned)": "reads month_start of planned, which is of type integer and no date",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_hold_is_refused_in_a_line(text):
    frame = flights()
    with pytest.raises(UserError, match=REFUSED[text]) as told:
        check_relations([text])
        chosen_relations([text], frame, infer_schema(frame, None, {}))
    assert "\n" not in str(told.value) and "`word" not in str(told.value)


def test_days_that_have_passed_are_not_told_by_times():
    frame = flights().assign(late=lambda rows: rows["late"] + 1440 * (rows.index % 3))
    schema = infer_schema(frame, None, {})
    with pytest.raises(UserError, match="is not told by the times: values of late are a day or more apart"):
        chosen_relations(["late = left - planned in minutes by the clock"], frame, schema)
    (held,) = chosen_relations(["left = planned + late minutes by the clock"], frame, schema)
    assert not held.breaks(frame, schema).any()
    (gone,) = chosen_relations(["planned = left - late minutes by the clock"], frame, schema)
    assert not gone.breaks(frame, schema).any()


def test_few_rows_are_enough_for_what_is_declared():
    frame = flights(12)
    schema = infer_schema(frame, None, {})
    assert not find_relations(frame, schema)
    assert len(chosen_relations(["left = planned + late minutes by the clock"], frame, schema)) == 1


def test_a_name_with_commas_is_one_column_where_there_is_one():
    frame = pd.DataFrame({"a,b,c": list("xyz") * 40, "d": list("uvw") * 40, "e": list("xyz") * 40})
    schema = infer_schema(frame, None, {})
    (relation,) = chosen_relations(["a,b,c -> d"], frame, schema)
    assert relation.columns == ("d", "a,b,c")
    frame = frame.rename(columns={"e": "a->b"})
    (relation,) = chosen_relations(["`a->b` -> d"], frame, infer_schema(frame, None, {}))
    assert relation.columns == ("d", "a->b")


def test_a_part_of_an_hour_is_told_in_whole_units():
    rng = np.random.default_rng(0)
    begin = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 400 * 1440, 100), unit="min")
    frame = pd.DataFrame({"begin": begin, "end": begin + pd.Timedelta(minutes=90)})
    schema = infer_schema(frame, None, {})
    (relation,) = chosen_relations(["end = begin + 1.5 hours"], frame, schema)
    assert str(relation) == "end = begin + 90 minutes"
    assert str(chosen_relations([str(relation)], frame, schema)[0]) == str(relation)


def test_what_lies_between_whole_numbers_that_are_times_may_be_written_as_a_time():
    frame = clocked()
    schema = infer_schema(frame, None, {})
    (relation,) = chosen_relations(["took = end - start by the clock"], frame, schema)
    assert relation.tree[0] == "elapsed" and not relation.breaks(frame, schema).any()


def test_a_month_of_a_time_of_day_is_refused():
    with pytest.raises(UserError, match="reads month_start of at, which is a time of day and no date"):
        chosen_relations(["hour = month_start(at)"], clocked(), infer_schema(clocked(), None, {}))
