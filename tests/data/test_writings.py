"""Equal values in two writings are equal, whatever the pair; what can be read in two ways, or in none, is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from datakiln.data.tables.facts import fitting
from datakiln.data.tables.types import infer_schema
from datakiln.data.tables.writings import alike
from datakiln.errors import UserError
from datakiln.metrics.tables.columns import Tables, encode
from datakiln.writings import dates_of, write_dates

ROWS = 120
RNG = np.random.default_rng(0)
DAYS = pd.Series(pd.Timestamp("2021-01-01") + pd.to_timedelta(RNG.integers(0, 400, ROWS), unit="D"))
TRUTHS = RNG.integers(0, 2, ROWS)
AMOUNTS = pd.Series(np.round(RNG.normal(size=ROWS) * 3000, 2))
DATES = {
    "iso": DAYS.dt.strftime("%Y-%m-%d"),
    "month first": DAYS.dt.strftime("%m/%d/%Y"),
    "day first": DAYS.dt.strftime("%d/%m/%Y"),
    "points": DAYS.dt.strftime("%d.%m.%Y"),
    "short, with a time": pd.Series([f"{day.day}/{day.month}/{day.year % 100} 0:00" for day in DAYS]),
    "words": DAYS.dt.strftime("%d %b %Y"),
    "with T and Z": DAYS.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "dates": DAYS,
}
BOOLEANS = {
    "0 and 1": pd.Series(TRUTHS),
    "0.0 and 1.0": pd.Series(TRUTHS.astype(float)),
    "bool": pd.Series(TRUTHS.astype(bool)),
    "True in words": pd.Series(np.where(TRUTHS, "True", "False")),
    "yes": pd.Series(np.where(TRUTHS, "yes", "no")),
    "Y": pd.Series(np.where(TRUTHS, "Y", "N")),
    "1.0 in words": pd.Series(TRUTHS.astype(float).astype(str)),
}
NUMBERS = {
    "numbers": AMOUNTS,
    "in words": AMOUNTS.astype(str),
    "comma": AMOUNTS.map(lambda x: f"{x:.2f}".replace(".", ",")),
    "1,234.5": AMOUNTS.map(lambda x: f"{x:,.2f}"),
    "1.234,5": AMOUNTS.map(lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,"))),
    "1 234,5": AMOUNTS.map(lambda x: f"{x:,.2f}".translate(str.maketrans(",.", " ,"))),
    "blanks": AMOUNTS.map(lambda x: f"  {x} "),
}


def read(real: pd.Series, made: pd.Series) -> tuple[Tables, list[str]]:
    table = pd.DataFrame({"v": real, "other": np.arange(len(real)) * 0.37})
    schema = infer_schema(table, None, {})
    found, lines = alike(table.assign(v=made.to_numpy()), table, schema, "synthetic")
    return encode(schema, (table, found)), lines


def equal(t: Tables) -> bool:
    return np.array_equal(t.train.numbers, t.synthetic.numbers, equal_nan=True) and np.array_equal(
        t.train.codes, t.synthetic.codes
    )


@pytest.mark.parametrize(
    ("real", "made"),
    [
        *itertools.product(DATES, DATES),
    ],
)
def test_dates(real: str, made: str) -> None:
    assert equal(read(DATES[real], DATES[made])[0])


@pytest.mark.parametrize(("real", "made"), itertools.product(BOOLEANS, BOOLEANS))
def test_truths(real: str, made: str) -> None:
    assert equal(read(BOOLEANS[real], BOOLEANS[made])[0])


@pytest.mark.parametrize("made", NUMBERS)
def test_numbers(made: str) -> None:
    assert equal(read(AMOUNTS, NUMBERS[made])[0])


def test_days_in_numbers_and_missing_cells() -> None:
    made = DAYS.dt.strftime("%Y%m%d").astype(float).mask(np.arange(ROWS) % 7 == 0)
    t, lines = read(DATES["iso"].mask(np.arange(ROWS) % 7 == 0), made)
    assert equal(t) and "read as dates in the form %Y%m%d" in lines[0]


def test_categories_by_their_number_and_without_blanks_but_not_by_their_case() -> None:
    codes = pd.Series(RNG.integers(0, 6, ROWS))
    words = codes.map(lambda i: "abcdeF"[i])
    assert equal(read(codes.astype(str), codes.astype(float).astype(str))[0])
    t, lines = read(words, " " + words)
    assert equal(t) and "read as the same words" in lines[0]
    assert not equal(read(words, words.str.upper())[0])
    same, lines = read(words, words)
    assert equal(same) and lines == []
    zeros = codes.map(lambda i: f"0{i}" if i < 3 else str(i - 3))  # 01 and 1 are two categories
    assert not equal(read(zeros, codes % 3)[0])


def test_what_is_strange_stays_strange() -> None:
    words = pd.Series(list("abc") * 40)
    t, lines = read(words, words.map({"a": "x", "b": "y", "c": "z"}))
    assert t.known == (3,) and (t.synthetic.codes >= 3).all() and lines == []


@pytest.mark.parametrize(
    ("real", "made", "told"),
    [
        (DATES["iso"], DAYS.dt.strftime("week %U of %Y"), "'v' (such as 'week"),
        (DATES["iso"], pd.Series(["01/02/2021", "03/02/2021", "02/03/2021"] * 40), "may be %m/%d/%Y or %d/%m/%Y"),
        (AMOUNTS, AMOUNTS.astype(str) + " cm", "numbers like"),
        (pd.Series([1.2, 2.345, 2500.0] * 40), pd.Series(["1,234", "2,345", "1,500"] * 40), "which may be"),
        (BOOLEANS["bool"], pd.Series(["ja", "nein"] * 60), "'v' (such as 'ja'"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused_by_name(real: pd.Series, made: pd.Series, told: str) -> None:
    with pytest.raises(UserError) as caught:
        read(real, made)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("synthetic: 1 column is written otherwise than in the real table")


def test_a_few_faults_are_no_writing() -> None:
    made = DATES["iso"].where(np.arange(ROWS) % 10 > 0, "unknown")
    assert np.isnan(read(DATES["iso"], made)[0].synthetic.numbers[:, 0]).sum() == ROWS // 10
    assert np.isnan(read(AMOUNTS, NUMBERS["in words"].where(np.arange(ROWS) % 10 > 0, "?"))[0].synthetic.numbers).any()


@pytest.mark.parametrize(
    "format", ["%a %d %b %Y", "%a, %d %b %Y %H:%M:%S GMT", "%A, %d %B %Y", "%A, %B %d, %Y", "%a, %b %d, %Y"]
)
def test_dates_with_their_weekday_are_dates_and_written_so_again(format: str) -> None:
    dates = pd.Series(pd.date_range("2021-01-01", periods=120, freq="37h"))
    cells = dates.dt.strftime(format).astype("str")
    assert next(fitting(cells), None) == format
    assert write_dates(dates_of(cells, format), format).tolist() == cells.tolist()
