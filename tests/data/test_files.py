"""Table files as people have them: read right, or refused in one line that names file, fault and way out."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from pandas._libs.parsers import STR_NA_VALUES  # what read_csv takes for missing

from datakiln.data.tables.cells import MEANT, MISSING_CELLS
from datakiln.data.tables.conversion import Text, text_to_parquet
from datakiln.data.tables.files import MIN_ROWS, read_table_file
from datakiln.data.tables.sources import RawTable, TableFile
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError

N = 30


def lines(row: str = "{i},{i}", n: int = N) -> str:
    return "".join(row.format(i=i, even=i % 2 == 0, third=i % 3) + "\n" for i in range(n))


def write(folder: Path, content: str | bytes, name: str = "my table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, content: str | bytes, name: str = "my table.csv", **options: object) -> RawTable:
    return TableFile(str(write(folder, content, name)), **options)(None)


def refusal(folder: Path, content: str | bytes, name: str = "my table.csv", **options: object) -> str:
    with pytest.raises(UserError) as error:
        read(folder, content, name, **options)
    message = str(error.value)
    assert "\n" not in message and len(message) < 250
    return message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "my table.csv: the file is empty (0 bytes)"),
        ("\n \n", "my table.csv: the file is empty"),
        ("a,b\n", "my table.csv: the file has a header but no rows; at least 10 rows are needed"),
        ("a,b\n1,2\n", "my table.csv: 1 row is too few for training, validation and test; at least 10 are needed"),
        ("a,b\n" + lines(n=9), "my table.csv: 9 rows are too few"),
        (
            "a,b,a\n" + lines("1,2,3"),
            "my table.csv: the column name 'a' occurs 2 times (columns 1, 3); rename all but one",
        ),
        ("a,b\n" + lines() + "inf,1\n-inf,1\n", "my table.csv: column 'a' has 2 infinite cells; make them empty"),
        ("a,b\n" + lines() + "Infinity,1\n", "my table.csv: column 'a' has 1 infinite cell;"),
        ("a,b\n" + lines() + "1,2,3\n", "my table.csv: the first line has 2 fields, line 32 has 3; mend the line"),
        (
            "a,b,c\n" + lines("1,2,3") + "1,2\n1\n",
            "my table.csv: the first line has 3 fields, line 32 has 2 (2 such lines)",
        ),
        ('a,b\n"x\ny",1\n' + lines() + "1,2,3\n", "line 34 has 3"),
        ("a,b\n" + lines('"{i},2', 3) + lines(), "my table.csv: "),
        ("PK\x03\x04 and so on", "my table.csv: this is an Excel workbook or a zip archive; save the table as CSV"),
        (bytes(range(256)) * 9, "my table.csv: this is no text file; give a CSV, TSV or Parquet file"),
        (
            "a,größe\n".encode("cp1252") + lines().encode(),
            "my table.csv: not utf-8 text (byte 0xf6 in line 1); name its",
        ),
        (
            ("a,b\n" + lines() + "x,é\n").encode("cp1252"),
            "(byte 0xe9 in line 32); name its encoding, such as data.encoding=cp1252, or save it as UTF-8",
        ),
        (("a,b\n" + lines()).encode("utf-16-le"), "data.encoding=utf-16"),
        (gzip.compress(b"a,b\n" * 99, mtime=0)[:-9], "my table.csv: the gzip file is damaged"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(tmp_path, content)


def test_no_file_and_no_path(tmp_path: Path) -> None:
    write(tmp_path, "a\n", "people.csv")
    with pytest.raises(UserError, match=r"there is no such file; did you mean .*people\.csv\?"):
        TableFile(str(tmp_path / "peple.csv"))(None)
    with pytest.raises(UserError, match="this is a folder, not a table file; give one of its files, .*people.csv"):
        TableFile(str(tmp_path))(None)
    with pytest.raises(UserError, match="data=csv needs a table: data.path=FILE.csv"):
        TableFile(None)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a\n1\n")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UserError, match="cannot be read .Permission denied"):
        TableFile(str(path))(None)


def test_a_relative_path_is_also_looked_for_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    write(tmp_path, "a,b\n" + lines(), "x.csv")
    monkeypatch.chdir(tmp_path / "here")
    assert len(TableFile("x.csv")(str(tmp_path)).frame) == N


def test_target(tmp_path: Path) -> None:
    assert read(tmp_path, "species,b\n" + lines(), target="species").label == "species"
    message = refusal(tmp_path, "species,b\n" + lines(), target="specie")
    assert message == "data.target=specie is not a column of my table.csv (species, b); did you mean 'species'?"


def test_provenance_is_the_hash_of_the_bytes(tmp_path: Path) -> None:
    content = "a,b\n" + lines()
    table = read(tmp_path, content)
    assert table.provenance.kind == "files" and table.provenance.detail == str(tmp_path / "my table.csv")
    assert table.provenance.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_plain_columns_get_the_dtypes_of_pandas(tmp_path: Path) -> None:
    content = "i,f,t,g,b,e\n" + lines("{i},{i}.5,w{third},,{even},1e{third}")
    frame = read(tmp_path, content).frame
    expected = pd.read_csv(write(tmp_path, content))
    pd.testing.assert_frame_equal(frame, expected)
    assert frame["i"].dtype == np.int64 and frame["b"].dtype == bool and frame["g"].isna().all()


def test_missing_cells_are_those_of_pandas(tmp_path: Path) -> None:
    assert set(MISSING_CELLS) == STR_NA_VALUES
    content = "a,b,c\n" + "".join(f"{cell},{cell},{i}\n" for i, cell in enumerate(MISSING_CELLS)) + "1,x,1\n2,y,2\n"
    table = read(tmp_path, content)
    assert table.frame["a"].isna().sum() == len(MISSING_CELLS) and table.frame["a"].dtype == np.float64
    assert set(table.frame["b"].dropna()) == {*MEANT, "x", "y"}  # words, where a cell can be empty
    among, other, note = table.notes
    assert "among the numbers of column 'a': read as missing" in among and "are read as missing" in other
    assert "column 'b' has 1 cell N/A, " in note and note.endswith("kept as categories")


def test_words_keep_their_spelling(tmp_path: Path) -> None:
    content = "zip,yes,true,long,padded\n" + lines("0{i:03d},yes,true,1234567890123456789{third}, w{third}")
    content = content.replace(", w", ", w", 1)
    table = read(tmp_path, content + "0999,no,false,12345678901234567899,x\n")
    frame = table.frame
    assert frame["zip"].iloc[0] == "0000" and frame["long"].iloc[0] == "12345678901234567890"
    assert set(frame["yes"]) == {"yes", "no"} and set(frame["true"]) == {"true", "false"}
    assert frame["padded"].iloc[0] == " w0"
    assert table.notes == (
        "column 'zip' has leading zeros: kept as text",
        "column 'long' has whole numbers too long to be exact: kept as text",
    )
    schema = infer_schema(frame, None, {})
    assert [schema[name].type for name in ("zip", "yes", "true")] == ["id", "category", "boolean"]


def test_truths_with_gaps_keep_their_spelling(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,b\n" + lines("{even},{i}") + ",1\n").frame
    assert set(frame["a"].dropna()) == {"True", "False"} and frame["a"].isna().sum() == 1
    assert infer_schema(frame, None, {})["a"].type == "boolean"


def test_blanks_after_the_comma(tmp_path: Path) -> None:
    table = read(tmp_path, "a, b, c\n" + lines("w, x{third}, {i}"))
    frame = table.frame
    assert table.notes == ("the blanks after the commas are no part of the cells of column 'b'",)
    assert list(frame.columns) == ["a", "b", "c"]
    assert set(frame["b"]) == {"x0", "x1", "x2"} and frame["c"].dtype == np.int64


def test_mixed_types_become_text_and_are_named(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n" + lines() + "unknown,1\n?,2\n")
    assert table.frame["a"].dtype == "str"
    assert table.notes == (
        "column 'a' mixes 30 numbers with 2 other cells (such as 'unknown'): kept as text;"
        " empty those cells to have numbers",
    )
    assert infer_schema(table.frame, None, {})["a"].type == "category"


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_the_delimiter_is_found_and_said(tmp_path: Path, delimiter: str, word: str) -> None:
    content = f"a{delimiter}b, c{delimiter}d\n" + lines(delimiter.join(["{i}", "x, y", "w{third}"]))
    table = read(tmp_path, content)
    assert list(table.frame.columns) == ["a", "b, c", "d"] and table.frame["b, c"].iloc[0] == "x, y"
    assert table.notes == (f"fields are separated by a {word}",)


def test_the_delimiter_can_be_given(tmp_path: Path) -> None:
    table = read(tmp_path, "a:b\n" + lines("{i}:{i}"), delimiter=":")
    assert list(table.frame.columns) == ["a", "b"]
    with pytest.raises(UserError, match="data.delimiter=.* must be a single character"):
        TableFile("x.csv", delimiter="::")


def test_decimal_comma(tmp_path: Path) -> None:
    table = read(tmp_path, "a;b\n" + lines("{i},5;-{i}"))
    assert table.frame["a"].tolist() == [i + 0.5 for i in range(N)] and table.frame["b"].dtype == np.int64
    assert "column 'a' is read with a decimal comma" in table.notes


def test_quotes(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,b\n" + lines('"line\nbreak, ""{third}""",{i}')).frame
    assert frame["a"].iloc[4] == 'line\nbreak, "1"' and len(frame) == N


def test_unnamed_columns(tmp_path: Path) -> None:
    table = read(tmp_path, ",a,\n" + lines("{i},{i},"))
    assert list(table.frame.columns) == ["a"]
    assert table.notes == (
        "the first column has no name and counts the rows: left out as an index",
        "column 3 has neither name nor values: left out",
    )
    table = read(tmp_path, ",a\n" + lines("1{i},{i}"))
    assert list(table.frame.columns) == ["column_1", "a"]
    assert table.notes == ("column 1 has no name: called column_1",)


def test_no_header(tmp_path: Path) -> None:
    assert any("holds only numbers; give data.names" in note for note in read(tmp_path, lines("{i},7")).notes)
    frame = read(tmp_path, lines(), names=["x", "y"]).frame
    assert list(frame.columns) == ["x", "y"] and len(frame) == N
    assert "data.names has 3 names for 2 columns" in refusal(tmp_path, lines(), names=["x", "y", "z"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode(tmp_path: Path, encoding: str) -> None:
    table = read(tmp_path, ("名前,größe\n" + lines("値{third} 🦉,{i}")).encode(encoding))
    assert list(table.frame.columns) == ["名前", "größe"] and table.frame["名前"].iloc[0] == "値0 🦉"
    assert table.notes == (() if "8" in encoding else (f"read as {encoding} text",))


def test_a_named_encoding(tmp_path: Path) -> None:
    content = ("straße,b\n" + lines("é,{i}")).encode("cp1252")
    table = read(tmp_path, content, encoding="cp1252")
    assert table.frame["straße"].iloc[0] == "é" and table.notes == ("read as cp1252 text",)
    assert "data.encoding=utf-99 is no known encoding" in refusal(tmp_path, content, encoding="utf-99")
    assert "not ascii text (byte 0xdf in line 1)" in refusal(tmp_path, content, encoding="ascii")


def test_gzip_and_old_mac_lines(tmp_path: Path) -> None:
    content = "a,b\n" + lines()
    frame = read(tmp_path, content).frame
    assert read(tmp_path, gzip.compress(content.encode()), "t.csv.gz").frame.equals(frame)
    assert read(tmp_path, content.replace("\n", "\r\n")).frame.equals(frame)
    assert read(tmp_path, content.replace("\n", "\r")).frame.equals(frame)


def test_thousands_of_columns(tmp_path: Path) -> None:
    header = ",".join(f"a rather long column name, number {i}".replace(",", "") for i in range(4000))
    frame = read(tmp_path, header + "\n" + (",".join(["7"] * 4000) + "\n") * MIN_ROWS).frame
    assert frame.shape == (MIN_ROWS, 4000) and (frame.dtypes == np.int64).all()


def test_one_column(tmp_path: Path) -> None:
    assert read(tmp_path, "a\n" + lines("{i}.5")).frame.shape == (N, 1)


def test_ten_thousand_categories(tmp_path: Path) -> None:
    table = read(tmp_path, "c,x\n" + "".join(f"w{i % 10_000},{i}\n" for i in range(25_000)))
    assert infer_schema(table.frame, None, {})["c"].type == "category"


def test_csv_written_by_pandas_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500)),
            "n": rng.integers(-(2**62), 2**62, 500),
            "w": pd.Series(rng.choice(["a,b", 'say "x"', "ü\nz", "plain"], 500), dtype="str").where(
                rng.random(500) > 0.1
            ),
            "b": rng.random(500) < 0.5,
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(TableFile(str(tmp_path / "t.csv"))(None).frame, frame)


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "x": np.arange(N) / 3,
            "n": np.arange(N, dtype=np.int16),
            "w": pd.Series([f"w{i}" for i in range(N)], dtype="str"),
            "c": pd.Categorical(["a", "b"] * (N // 2)),
            "d": pd.date_range("2020-01-01", periods=N, tz="Europe/Paris"),
            "名": np.arange(N) % 2 == 0,
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    table = TableFile(str(tmp_path / "t.parquet"))(None)
    pd.testing.assert_frame_equal(table.frame, frame, check_freq=False)
    assert table.notes == ()


def test_parquet_content_under_another_name_and_text_named_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(N)})
    frame.to_parquet(tmp_path / "t.csv")
    assert TableFile(str(tmp_path / "t.csv"))(None).frame.equals(frame)
    assert read(tmp_path, "a\n" + lines("{i}"), "u.parquet").frame.equals(frame)


def test_parquet_types_that_a_frame_lacks(tmp_path: Path) -> None:
    import datetime
    import decimal

    day = datetime.date(2020, 1, 31)
    columns = {
        "price": pa.array([decimal.Decimal("1.50")] * N),
        "day": pa.array([day] * N),
        "time": pa.array([datetime.time(1, 2)] * N),
        "flag": pa.array([True, None] * (N // 2)),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    frame = TableFile(str(tmp_path / "t.parquet"))(None).frame
    assert frame["price"].iloc[0] == 1.5 and frame["day"].iloc[0] == pd.Timestamp(day)
    assert frame["time"].iloc[0].startswith("01:02") and frame["flag"].iloc[0] == "True"
    pyarrow.parquet.write_table(pa.table({"v": [[1, 2]] * N}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet: column 'v' holds values of type list"):
        TableFile(str(tmp_path / "t.parquet"))(None)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_broken_parquet_is_one_line(tmp_path: Path, kept: float) -> None:
    pd.DataFrame({"a": np.random.default_rng(0).normal(size=5000)}).to_parquet(tmp_path / "t.parquet")
    raw = (tmp_path / "t.parquet").read_bytes()
    assert "t.parquet: the Parquet file is damaged or cut off" in refusal(
        tmp_path, raw[: int(kept * len(raw))], "t.parquet"
    )
    assert "t.parquet: the Parquet file is damaged" in refusal(
        tmp_path, raw[:4] + b"\xff" * 400 + raw[-8:], "t.parquet"
    )
    assert "t.parquet: not a Parquet file" in refusal(tmp_path, raw[5:], "t.parquet")


def test_infinity_in_parquet(tmp_path: Path) -> None:
    pd.DataFrame({"a": [np.inf, *range(N)]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet: column 'a' has 1 infinite cell"):
        TableFile(str(tmp_path / "t.parquet"))(None)


def test_blanks_behind_column_names_are_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b ,c\n" + "".join(f"{k},{k % 3},x\n" for k in range(20)))
    found = read_table_file(path)
    assert list(found.frame) == ["a", "b", "c"]
    assert "the blanks behind the column name 'b' are left out" in found.notes
    notes, _ = text_to_parquet(Text(path), tmp_path / "t.parquet")
    assert notes.count("the blanks behind the column name 'b' are left out") == 1
