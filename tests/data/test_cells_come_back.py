"""Cells are read as the numbers and dates they are, and written as they were."""

from __future__ import annotations

import io
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.delimited import read_delimited
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.remarks import remarks
from datakiln.data.tables.sources import TableFile
from datakiln.data.tables.tables import TableData
from datakiln.data.tables.types import infer_schema, unplaced
from datakiln.durations import DURATIONS, duration_seconds, write_duration
from datakiln.errors import UserError
from datakiln.sampling.writing import as_csv, as_stored, as_table, for_csv, for_parquet
from datakiln.schema import Field, Schema
from datakiln.writings import NumberWriting, cells_of, numbers_of

I = np.arange(120)  # noqa: E741
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
BACK = {  # cells, type, and what tells their writing
    "money": ([f"${k * 37 % 9000 + 1000:,}.50" for k in I], "numeric", "$#,##0.00"),
    "euros": ([f"{k * 37 % 9000 + 1000:,},50 €".replace(",", ".", 1) for k in I], "numeric", "#.##0,00 €"),
    "accounts": ([f"({k}.25)" if k % 2 else f"{k}.25" for k in I], "numeric", "0.00;(0.00)"),
    "share": ([f"{k % 60}.5%" for k in I], "numeric", "0.0%"),
    "comma": ([f"{k % 50},{k % 9}" for k in I], "numeric", "0,0"),
    "grouped": ([f"{k * 97:,}" for k in I], "integer", "#,##0"),
    "signed": ([f"{'-' if k % 2 else '+'}{k + 1}.5" for k in I], "numeric", "+0.0;-0.0"),
    "weight": ([f"{k * 1.5:.1f} kg" for k in I], "numeric", "0.0 kg"),
    "lasted": ([f"{k % 50}:{k % 60:02d}:05" for k in I], "numeric", "[h]:mm:ss"),
    "whole iso": ([f"PT{k % 9}H{k % 60}M{k % 7}S" for k in I], "numeric", "PTnHnMnS"),
    "units": ([f"{k % 9}h {k % 60}m" for k in I], "numeric", "[h]h [m]m"),
    "small letters": ([f"{k % 12 + 1}:{k % 60:02d} {'ap'[k % 2]}m" for k in I], "datetime", "%-I:%M %P"),
    "digits": ([20210101 + k % 28 for k in I], "datetime", "%Y%m%d"),
    "day first": ([f"{k % 28 + 1:02d}062023" for k in I], "datetime", "%d%m%Y"),
    "offset": ([f"2021-03-{k % 28 + 1:02d}T10:00:00+02:00" for k in I], "datetime", "%Y-%m-%dT%H:%M:%S+02:00"),
    "for ever": (["9999-12-31 23:59:59.999", "2020-01-02 00:00:00.123"] * 60, "datetime", "%Y-%m-%d %H:%M:%S.%3f"),
    "far": ([f"9999-12-{k % 28 + 1:02d} 23:59:59.999" for k in I], "datetime", "%Y-%m-%d %H:%M:%S.%3f"),
    "bare": ([f"{k % 12 + 1}/{k % 28 + 1}/2020" for k in I], "datetime", "%-m/%-d/%Y"),
    "clock": ([f"{k % 24:02d}:{k % 60:02d}" for k in I], "datetime", "%H:%M"),
    "lakhs": ([f"₹{k % 90 + 1},{k * 7 % 100:02d},{k * 13 % 1000:03d}" for k in I], "integer", "₹#,##,##0"),
    "thin": ([f"{k + 1}\u2009{k * 13 % 1000:03d},50" for k in I], "numeric", "#\u2009##0,00"),
    "swiss": ([f"{k + 1}’{k * 13 % 1000:03d},5" for k in I], "numeric", "#’##0,0"),
    "share before": ([f"%{k}" for k in I], "integer", "%0"),
    "close units": ([f"{k}h{k % 60:02d}m" for k in I], "numeric", "[h]h[mm]m"),
    "three units": ([f"{k}h {k % 60}m {k % 7}s" for k in I], "numeric", "[h]h [m]m [s]s"),
    "minutes iso": ([f"PT{k}M{k % 60}S" for k in I], "numeric", "PT[m]M[s]S"),
    "padded units": ([f"{k}h {k % 60:02d}m" for k in I], "numeric", "[h]h [mm]m"),
    "three padded units": ([f"{k}h {k % 60:02d}m {k % 7:02d}s" for k in I], "numeric", "[h]h [mm]m [ss]s"),
    "seconds iso": ([f"PT{k * 37}S" for k in I], "numeric", "PT[s]S"),
    "minutes alone": ([f"PT{k * 7}M" for k in I], "numeric", "PT[m]M"),
    "hours iso": ([f"PT{k}H{k % 60}M" for k in I], "numeric", "PTnHnM"),
    "long iso": ([f"PT{k + 1}H{k % 59 + 1}M" + (f"{k % 7}S" if k % 7 else "") for k in I], "numeric", "PT[h]HnMnS"),
    "python": ([str(timedelta(hours=k, seconds=k)) for k in I.tolist()], "numeric", "d days, h:mm:ss"),
    "laps": ([f"{k % 4}:{k % 60:02d}.{k % 100:02d}" for k in I], "numeric", "[m]:ss.00"),
    "padded laps": ([f"{k % 70:02d}:{k % 60:02d}.{k % 10}" for k in I], "numeric", "[mm]:ss.0"),
    "stages": ([f"{k % 30}:{k % 60:02d}:{k % 60:02d}.{k * 10:04d}" for k in I], "numeric", "[h]:mm:ss.0000"),
    "padded hours": ([f"{k % 30:02d}:{k % 60:02d}:05" for k in I], "numeric", "[hh]:mm:ss"),
    "marathon": ([f"{k % 59 + 1}:{k % 60:02d}" if k % 3 else f"1:{k % 60:02d}:30" for k in I], "numeric", "[h:]m:ss"),
    "plural": ([f"{k % 50} day{'' if k % 50 == 1 else 's'}" for k in I], "integer", "[=1]0 day;0 days"),
    "month": ([f"{k % 12 + 1:02d}/{2010 + k % 9}" for k in I], "datetime", "%m/%Y"),
    "month after year": ([f"{2010 + k % 9}-{k % 12 + 1:02d}" for k in I], "datetime", "%Y-%m"),
    "month in digits": ([(2010 + k % 9) * 100 + k % 12 + 1 for k in I], "datetime", "%Y%m"),
    "quarter": ([f"{2010 + k % 9}Q{k % 4 + 1}" for k in I], "datetime", "%YQ%q"),
    "quarter first": ([f"Q{k % 4 + 1} {2010 + k % 9}" for k in I], "datetime", "Q%q %Y"),
    "week": ([f"{2010 + k % 9}-W{k % 52 + 1:02d}" for k in I], "datetime", "%G-W%V"),
    "weekday": ([f"2021-W{k % 52 + 1:02d}-{k % 7 + 1}" for k in I], "datetime", "%G-W%V-%u"),
    "day of year": ([f"2021-{k + 1:03d}" for k in I], "datetime", "%Y-%j"),
    "capitals": ([f"{k % 28 + 1:02d}-{MONTHS[k % 12].upper()}-2021" for k in I], "datetime", "%d-%^b-%Y"),
    "close": ([f"{k % 28 + 1:02d}{MONTHS[k % 12].upper()}2021" for k in I], "datetime", "%d%^b%Y"),
    "lower": ([f"{k % 28 + 1} {MONTHS[k % 12].lower()} 2021" for k in I], "datetime", "%-d %~b %Y"),
    "zone": ([f"2021-01-{k % 28 + 1:02d} 10:{k % 60:02d}:00 CET" for k in I], "datetime", "%Y-%m-%d %H:%M:%S CET"),
    "short zone": ([f"2021-01-{k % 28 + 1:02d}T10:{k % 60:02d}-03" for k in I], "datetime", "%Y-%m-%dT%H:%M-03"),
    "web": ([f"{k % 28 + 1:02d}/Jan/2021:10:00:{k % 60:02d} +0000" for k in I], "datetime", "%d/%b/%Y:%H:%M:%S +0000"),
    "clock with zone": ([f"10:{k % 60:02d}:00+01:00" for k in I], "datetime", "%H:%M:%S+01:00"),
    "no date in digits": ([20210101 + k % 28 if k % 5 else 0 for k in I], "datetime", "%Y%m%d"),
}


@pytest.mark.parametrize("name", BACK)
def test_numbers_and_dates_come_back_as_they_were_written(name: str) -> None:
    cells, kind, writing = BACK[name]
    frame = pd.DataFrame({"x": pd.Series(cells)})
    field = infer_schema(frame, None, {})["x"]
    assert (field.type, field.format) == (kind, writing)
    assert not [line for line in remarks(Schema((field,)), frame, {}) if "written as" in line]
    if field.is_numeric or field.placeholders:
        back = cells_of(numbers_of(frame["x"], field), field)
        assert back.dtype == frame["x"].dtype
        assert back.tolist() == cells


@pytest.mark.parametrize(
    "template", ["$#,##0.00", "0.0#", "#.##0,00 €", "0%", "+0.0;-0.0", "#.0", "0.00;(0.00)", "[=1]0 day;0 days"]
)
def test_a_template_is_told_as_it_was_given(template: str) -> None:
    assert str(NumberWriting.of(template)) == template


@pytest.mark.parametrize("template", ["price", "[=1]0 day", "[=1]day;0 days"])
def test_a_template_that_is_none(template: str) -> None:
    with pytest.raises(UserError, match="no writing of numbers"):
        NumberWriting.of(template)


@pytest.mark.parametrize("seconds", [0.0, 59.994, 59.996, 3599.996, 3600.0, 100_000.5, -75.25])
@pytest.mark.parametrize("writing", DURATIONS)
def test_any_duration_is_written_as_it_is_read(writing: str, seconds: float) -> None:
    """Rounding carries into minutes and hours, and what is written reads as the number it was rounded to."""
    text = write_duration(seconds, writing)
    read = duration_seconds(text, writing)
    assert abs(read - seconds) < 60.0
    assert write_duration(read, writing) == text


def test_units_of_two_kinds_are_no_word_and_its_plural() -> None:
    """1 kg among km would be changed in silence."""
    found = infer_schema(pd.DataFrame({"x": [f"{k + 1} {'km' if k else 'kg'}" for k in I]}), None, {})["x"]
    assert found.format is None


def test_two_numbers_in_a_cell_are_said() -> None:
    frame = pd.DataFrame({"pressure": [f"{110 + k % 40}/{60 + k % 31}" for k in I]})
    (line,) = remarks(infer_schema(frame, None, {}), frame, {})
    assert "'pressure' has two numbers in each cell, such as '110/60'" in line and "into two columns" in line


def test_several_offsets_are_the_same_instants() -> None:
    cells = [f"2021-03-{k % 28 + 1:02d}T10:00:00+0{k % 3}:00" for k in I]
    frame = pd.DataFrame({"at": cells})
    schema = infer_schema(frame, None, {})
    back = cells_of(numbers_of(frame["at"], schema["at"]), schema["at"])
    assert (pd.to_datetime(back, utc=True) == pd.to_datetime(frame["at"], utc=True)).all()
    assert "UTC" in remarks(schema, frame, {})[0]


def test_words_that_stand_for_no_date_are_told_and_written_again() -> None:
    frame = pd.DataFrame({"until": ["0000-00-00" if k % 5 == 0 else f"2020-02-{k % 28 + 1:02d}" for k in I]})
    schema = infer_schema(frame, None, {})
    assert schema["until"].type == "datetime"
    assert "24 cells '0000-00-00'" in remarks(schema, frame, {})[0]
    masked = unplaced(frame, schema)
    assert masked["until"].isna().sum() == 24
    assert for_csv(masked, schema)["until"].tolist() == frame["until"].tolist()


def test_words_for_no_date_differ_between_pieces_and_not_between_files_of_the_same_rows() -> None:
    words = (("never", 0.5), ("unknown", 0.5))
    schema = Schema(
        (Field("until", "datetime", "str", format="%Y-%m-%d", placeholders=words), Field("x", "numeric", "float64"))
    )
    pieces = [pd.DataFrame({"until": pd.Series([None] * 60, dtype="str"), "x": np.arange(60) + k}) for k in (0.5, 60.5)]
    first, second = (for_csv(piece, schema)["until"].tolist() for piece in pieces)
    assert first != second and {*first} == {*second} == {"never", "unknown"}
    assert first == for_csv(pieces[0], schema)["until"].tolist() == for_parquet(pieces[0], schema)["until"].tolist()


def test_a_date_that_fits_day_first_too_is_told() -> None:
    frame = pd.DataFrame({"day": [f"{k % 12 + 1:02d}/{k % 11 + 1:02d}/2020" for k in I]})
    (line,) = remarks(infer_schema(frame, None, {}), frame, {})
    assert "%d/%m/%Y fits all cells too" in line


def test_plain_numbers_keep_their_decimals_and_whole_ones_with_gaps_stay_whole() -> None:
    rows = [f"{'' if k % 7 == 0 else k % 2},{k % 9}.50,{k % 90 / 8:g}" for k in I]
    text = "\n".join(["flag,price,free", *rows]) + "\n"
    frame, _, writings = read_delimited(text.encode(), "t.csv")
    schema = infer_schema(frame, None, {}, writings=writings)
    assert as_csv(frame, schema).decode() == text


def test_powers_of_ten_come_back_with_their_digits() -> None:
    text = "x\n" + "\n".join(f"{1.25 * 3.0**k:.3E}" for k in range(-20, 20)) + "\n"
    frame, _, writings = read_delimited(text.encode(), "t.csv")
    field = infer_schema(frame, None, {}, writings=writings)["x"]
    assert (field.type, field.format, field.decimals) == ("numeric", "0.000E+00", None)
    assert as_csv(frame, Schema((field,))).decode() == text
    assert "1.23456" in as_csv(pd.DataFrame({"x": [1.23456, 2.0]}), Schema((field,))).decode()  # none changes


def test_a_month_before_its_year_is_no_number() -> None:
    rows = "\n".join(f"{k % 12 + 1:02d}.20{k % 30:02d}" for k in I)
    frame, notes, _ = read_delimited(f"x\n{rows}\n".encode(), "t.csv")
    assert frame["x"].iloc[0] == "01.2000"
    assert "leading zeros" in notes[0]
    assert infer_schema(frame, None, {})["x"].format == "%m.%Y"


def test_days_in_digits_are_not_said_to_be_kept_as_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("day,zip\n" + "".join(f"{k % 28 + 1:02d}03{2000 + k % 30},{k:05d}\n" for k in I))
    data = TableData(TableFile(str(path)), TableCodec())
    assert data.read().notes == ("column 'zip' has leading zeros: kept as text",)
    assert data.schema["day"].format == "%d%m%Y"


def test_few_quarters_are_categories() -> None:
    assert infer_schema(pd.DataFrame({"x": [f"2021Q{k % 4 + 1}" for k in I]}), None, {})["x"].type == "category"


@pytest.mark.parametrize(("word", "is_date"), [("still open", True), ("", True), ("2021-13-45", False)])
def test_one_word_among_dates_stands_for_none(word: str, is_date: bool) -> None:
    frame = pd.DataFrame({"x": [word or None if k % 6 == 0 else f"2021-{k % 12 + 1:02d}-{k % 28 + 1:02d}" for k in I]})
    assert (infer_schema(frame, None, {})["x"].type == "datetime") is is_date


def test_a_date_among_words_makes_no_dates() -> None:
    words = ["red", "blue", "grey", "green", "2021-01-01", "2021-01-02", "2021-01-03"]
    assert infer_schema(pd.DataFrame({"x": [words[k % 7] for k in I]}), None, {})["x"].type == "category"


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([f"2021-01-{k % 28 + 1:02d}T10:00:00.{k:09d}" for k in I], "are written as"),  # nanoseconds
        ([f"{k % 28 + 1}. Mai 20{k % 20 + 10} ({k})" for k in I], "looks like dates"),
        ([f"{k % 28 + 1}{'st' if k % 2 else 'nd'} of May {2000 + k}" for k in I], "looks like dates"),
        ([f"{k}.5 lb" if k % 2 else f"{k} kg" for k in I], "looks like numbers"),
        ([f"{k}.5K" if k % 2 else f"{k}" for k in I], "looks like numbers"),
        ([f"{21 + k % 7:02d}-{k % 12 + 1:02d}-{k % 28 + 1:02d}" for k in I], "fits all cells too"),  # year or day first
    ],
)
def test_what_does_not_come_back_as_it_is_is_told(cells: list[str], told: str) -> None:
    frame = pd.DataFrame({"x": cells})
    assert told in "".join(remarks(infer_schema(frame, None, {}), frame, {}))


@pytest.mark.parametrize(("step", "kind"), [(7_919, "id"), (0, "category")])
def test_long_whole_numbers_keep_all_digits(step: int, kind: str) -> None:
    cells = [123_456_789_012_345_678 + (k * step if step else k % 5) for k in I.tolist()]
    frame = pd.DataFrame({"x": cells, "y": I % 7})
    schema = infer_schema(frame, None, {})
    assert schema["x"].type == kind
    assert "too long to reckon with" in remarks(schema, frame, {})[0]
    codec = TableCodec()
    codec.fit(frame, schema)
    made = codec.decode(codec.encode(frame), np.random.default_rng([3, 0]))["x"]
    assert made.dtype == "int64" and made.astype(str).str.len().eq(18).all()
    assert set(made) <= set(cells) if kind == "category" else not set(made) & set(cells)


def test_dates_that_are_the_label_are_said_to_be_classes():
    days = pd.Series(pd.date_range("2021-01-01", periods=60).strftime("%Y-%m-%d").repeat(2), dtype="str")
    frame = pd.DataFrame({"day": days.to_numpy(), "x": np.arange(120.0)})
    schema = infer_schema(frame, "day", {})
    assert remarks(schema, frame, {}) == ["column 'day' is the label: each of its dates is a class"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([10**17 + k if k % 5 else None for k in range(60)], pa.int64()),
        pa.array([Decimal(10**20 + k) / 100 for k in range(60)], pa.decimal128(38, 2)),
    ],
    ids=str,
)
def test_long_numbers_of_parquet_keep_all_digits(column: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"x": column, "y": range(60)}), path)
    content = read_table_file(path)
    assert "too long to be exact" in content.notes[0]
    schema = infer_schema(content.frame, None, {}, storage=content.storage)
    back = as_table(content.frame, schema)
    assert back["x"].type == column.type and back["x"].to_pylist() == column.to_pylist()


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["x", "y", "nan"], "cells nan, which are read as missing"),
        (["1.5", "2.25", "NaN"], "NaN among the numbers of column 'v': read as missing"),
        (["26", "73.0", "8.5"], "written without these zeros"),
    ],
)
def test_what_is_not_kept_is_told(cells: list[str], told: str) -> None:
    rows = "\n".join(cells * 20)
    assert told in read_delimited(f"v\n{rows}\n".encode(), "t.csv").notes[0]


def test_a_spreadsheet_that_tells_its_delimiter() -> None:
    frame, notes, _ = read_delimited(b"sep=;\r\na;b\r\n1;2,5\r\n3;4,5\r\n", "t.csv")
    assert list(frame) == ["a", "b"] and frame["b"].tolist() == [2.5, 4.5]
    assert "sep=;" in notes[0]


def test_versions_stay_text() -> None:
    text = "version\n" + "\n".join(f"1.{k % 12 + 1}" for k in I)
    frame, notes, _ = read_delimited(text.encode(), "t.csv")
    assert set(frame["version"]) == {f"1.{k}" for k in range(1, 13)}
    assert "1.1 and 1.10" in notes[0]


def test_words_for_missing_are_categories_beside_empty_cells() -> None:
    rows = "\n".join(f"{['None', 'yes', 'no'][k % 3] if k % 10 else ''},{k}" for k in I)
    frame, notes, _ = read_delimited(f"answer,n\n{rows}\n".encode(), "t.csv")
    assert (frame["answer"] == "None").sum() == 36
    assert frame["answer"].isna().sum() == 12
    assert "kept as categories" in notes[0]


def test_words_for_missing_without_empty_cells_are_told() -> None:
    rows = "\n".join(f"{['None', 'yes', 'no'][k % 3]},{k}" for k in I)
    frame, notes, _ = read_delimited(f"answer,n\n{rows}\n".encode(), "t.csv")
    assert frame["answer"].isna().sum() == 40
    assert "40 cells None, which are read as missing" in notes[0]


def test_a_column_called_na() -> None:
    frame, _, _ = read_delimited(b"NA,2020\n1,2\n3,4\n", "t.csv")
    assert list(frame) == ["NA", "2020"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n7,8\n', 3),  # never closed
        ('a,b\n1,2\n3,"4\n5,6\n7,8\n9,x"\n1,2\n', 3),  # closed by another cell's
        ('a,b\n"1\n1",2\n3,"4\n5,6\n', 4),  # behind a cell that may hold a line break
    ],
)
def test_an_open_quote_is_named_with_its_line(text: str, line: int) -> None:
    with pytest.raises(UserError, match=f"opened in line {line} "):
        read_delimited(text.encode(), "t.csv")


def test_an_inch_sign_is_no_open_quote() -> None:
    frame, _, _ = read_delimited(b'a,b\n5" pipe,1\n6 pipe,2\n', "t.csv")
    assert frame["a"].tolist() == ['5" pipe', "6 pipe"]


def test_line_breaks_in_categories_come_back() -> None:
    words = ["a\rb", "c\nd", 'e"f', "g\th", "i\x01j", "k,l"]
    frame = pd.DataFrame({"kind": words * 20, "n": I})
    written = as_csv(frame, infer_schema(frame, None, {}))
    back, _, _ = read_delimited(written, "t.csv")
    assert back["kind"].tolist() == frame["kind"].tolist()
    assert pd.read_csv(io.BytesIO(written))["kind"].tolist() == frame["kind"].tolist()


def test_columns_return_to_the_types_of_their_parquet_file() -> None:
    import datetime
    import decimal

    import pyarrow as pa

    kinds = {
        "small": pa.int32(),
        "money": pa.decimal128(10, 2),
        "day": pa.date32(),
        "zoned": pa.timestamp("us", tz="Europe/Paris"),
    }
    frame = pd.DataFrame(
        {
            "small": [1.0, np.nan],
            "money": [1.25, 2.5],
            "day": pd.to_datetime(["2020-01-01", "2020-01-02"]),
            "zoned": pd.to_datetime(["2020-01-01", "2020-01-02"]).tz_localize("Europe/Paris"),
        }
    )
    schema = infer_schema(
        pd.concat([frame] * 10, ignore_index=True), None, {}, storage={k: str(v) for k, v in kinds.items()}
    )
    stored = as_stored(pa.Table.from_pandas(frame, preserve_index=False), schema)
    assert {name: stored.schema.field(name).type for name in kinds} == kinds
    assert stored["small"].to_pylist() == [1, None]
    assert stored["money"].to_pylist() == [decimal.Decimal("1.25"), decimal.Decimal("2.50")]
    assert stored["day"].to_pylist() == [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)]


def test_pandas_reads_the_types_of_a_parquet_file_again():
    """What it is told of a column is what the column is: no float for a small whole number, no text for a time."""
    kinds = {"small": "int16", "at": "time64[us]", "plain": "uint8"}
    frame = pd.DataFrame({"small": [1.0, np.nan], "at": ["15:11:00.000000", None], "plain": [1, 2]})
    fields = (
        Field("small", "integer", "Int16", 0, storage=kinds["small"]),
        Field("at", "datetime", "str", format="%H:%M:%S.%f", storage=kinds["at"]),
        Field("plain", "integer", "uint8", 0, storage=kinds["plain"]),
    )
    sink = io.BytesIO()
    parquet.write_table(as_table(frame, Schema(fields)), sink)
    read = pd.read_parquet(sink)
    assert read["small"].dtype == "Int16" and read["plain"].dtype == "uint8"
    assert read["at"].tolist() == [time(15, 11), None]


FIRST, LAST = ["Ada", "Emma", "Paul", "Anna", "Peter"], ["Li", "O'Hara", "Stone", "Becker", "Ortiz", "Miller", "Vries"]
PEOPLE = [f"{FIRST[k % 5]} {LAST[k % 7]}" for k in I]


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("full_name", PEOPLE, "text"),
        ("name", PEOPLE, "text"),
        ("product_name", [f"Dark chocolate {'abcdefghij'[k % 10]} {k % 4}" for k in I], "category"),
        ("contact", [f"u{k % 30}@mail.org" for k in I], "text"),
        ("phone", [f"+49 30 {k % 30:07d}" for k in I], "text"),
        ("city", [f"{LAST[k % 7]}town {k % 4}" for k in I], "category"),
        ("custno", [(k * 7919 + 13) % 899_981 + 100_000 for k in I], "id"),
    ],
)
def test_cells_of_people_are_made_up_though_they_repeat(name: str, cells: list[object], kind: str) -> None:
    frame = pd.DataFrame({name: cells})
    schema = infer_schema(frame, None, {})
    assert schema[name].type == kind
    if kind == "text":
        assert any(f"column {name!r} has " in line and "made up" in line for line in remarks(schema, frame, {}))


@pytest.mark.parametrize(
    ("word", "format", "is_placeholder"),
    [("9999-12-31", "%Y-%m-%d", False), ("9999-12-31", "%d.%m.%Y", True), ("00.00.0000", "%d.%m.%Y", True)],
)
def test_a_last_day_in_another_writing_stands_for_none(word: str, format: str, is_placeholder: bool) -> None:
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(I, unit="D")
    frame = pd.DataFrame({"until": np.where(I % 5 == 0, word, days.strftime(format))})
    schema = infer_schema(frame, None, {})
    field = schema["until"]
    assert (field.type, field.format) == ("datetime", format)
    assert [told for told, _ in field.placeholders] == ([word] if is_placeholder else [])
    assert for_csv(unplaced(frame, schema), schema)["until"].tolist() == frame["until"].tolist()


def test_whole_numbers_with_gaps_are_whole_in_parquet_too() -> None:
    text = "".join(f"{'' if k % 4 == 0 else k},{k}\n" for k in I)
    frame, _, writings = read_delimited(f"kids,n\n{text}".encode(), "t.csv")
    table = as_table(frame, infer_schema(frame, None, {}, writings=writings))
    assert [str(field.type) for field in table.schema] == ["int64", "int64"] and table["kids"].null_count == len(I) // 4
