"""Years of two digits: which century they are read as, that they come back, and that it is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.data.tables.centuries import in_century
from datakiln.data.tables.facts import GatheredFacts
from datakiln.data.tables.remarks import remarks
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.writings import cells_of, dates_of, numbers_of

DAYS = pd.Series(pd.Timestamp("1950-01-01") + pd.to_timedelta(np.random.default_rng(0).integers(0, 25_000, 200), "D"))
FORMATS = {  # how cells are written, and how they are read
    "slashes": ("%d/%m/%y", "%d/%m/%1927y"),
    "a clock": ("%y-%m-%d %H:%M", "%1927y-%m-%d %H:%M"),
    "words": ("%d-%b-%y", "%d-%b-%1927y"),
    "months": ("%b %y", "%b %1927y"),
    "digits": ("%y%m%d", "%1927y%m%d"),
}


@pytest.fixture(autouse=True)
def in_2026(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.Timestamp, "now", lambda *_: pd.Timestamp("2026-06-01"), raising=False)


@pytest.mark.parametrize("name", [*FORMATS, "whole numbers"])
def test_people_are_born_in_the_past(name: str) -> None:
    plain, format = FORMATS.get(name, FORMATS["digits"])
    days = DAYS[~DAYS.dt.year.between(2000, 2009)] if name == "whole numbers" else DAYS  # which lose their zeros
    cells = days.dt.strftime(plain).reset_index(drop=True)
    frame = pd.DataFrame({"born": cells.astype("int64") if name == "whole numbers" else cells})
    schema = infer_schema(frame, None, {})
    assert (schema["born"].type, schema["born"].format) == ("datetime", format)
    numbers = numbers_of(frame["born"], schema["born"])
    wanted = days.dt.to_period("M").dt.to_timestamp() if name == "months" else days
    assert pd.to_datetime(numbers, unit="s").tolist() == wanted.tolist()
    assert cells_of(numbers, schema["born"]).tolist() == frame["born"].tolist()
    (line,) = [line for line in remarks(schema, frame, {}) if "two digits" in line]
    assert "read as 1950 to 2018" in line and plain in line


READ = {  # years, and the first of the hundred that they are read from; None for those of strptime
    "born": (range(1950, 2019), "%1927y"),
    "born long ago": (range(1930, 1969), "%1927y"),
    "born in any year": (range(1927, 2027), "%1927y"),
    "due": (range(2020, 2036), "%y"),
    "contracts": (range(1960, 2031), "%1945y"),
    "lately": ([1970, 2025], "%y"),
    "cards that expire": (range(2027, 2033), "%y"),
    "the old": (range(1930, 1951), "%1927y"),
}


@pytest.mark.parametrize("name", READ)
def test_years_lie_as_close_together_as_two_digits_let_them(name: str) -> None:
    years, wanted = READ[name]
    plain = {1900 + year % 100 if year % 100 >= 69 else 2000 + year % 100 for year in years}
    assert in_century("%d.%m.%y", plain, 2026) == f"%d.%m.{wanted}"


def test_pieces_are_read_as_the_whole_is() -> None:
    """The first piece alone has nobody born before 1969."""
    cells = DAYS.sort_values(ascending=False).dt.strftime("%d/%m/%y")
    facts = GatheredFacts()
    for piece in (cells.iloc[:50], cells.iloc[50:]):
        facts.update(piece)
    assert facts.format == "%d/%m/%1927y"


def test_what_a_person_says_stays() -> None:
    frame = pd.DataFrame({"born": DAYS.dt.strftime("%d/%m/%y")})
    for format in ("%d/%m/%y", "%d/%m/%1930y"):
        field = infer_schema(frame, None, {"born": {"type": "datetime", "format": format}})["born"]
        assert field.format == format
    assert infer_schema(frame, None, {"born": "datetime"})["born"].format == "%d/%m/%1927y"


def test_a_day_that_a_century_lacks_is_none() -> None:
    cells = pd.Series(["29/02/00", "28/02/00", "29/02/04"])
    assert dates_of(cells, "%d/%m/%1850y").isna().tolist() == [True, False, False]
    with pytest.raises(UserError, match="does not fit '29/02/00'"):
        infer_schema(pd.DataFrame({"x": cells}), None, {"x": {"type": "datetime", "format": "%d/%m/%1850y"}})
