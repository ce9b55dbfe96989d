"""Zeros below zero, as rounding leaves them, and whole numbers that are written as powers of ten."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.delimited import read_delimited
from datakiln.data.tables.remarks import remarks
from datakiln.data.tables.types import describe, infer_schema
from datakiln.errors import UserError
from datakiln.sampling.writing import as_csv
from datakiln.schema import Field
from datakiln.writings import cells_of, numbers_of

RNG = np.random.default_rng(0)
SIGNED = {  # cells beside one zero with a sign, that zero, how it is made, and the writing
    "share": ([f"{k % 83 / 10 - 5:.1f}%" for k in range(199)], "-0.0%", "0.0%", "0.0%"),
    "money": ([f"${k * 37 % 9000 + 1000:,}.50" for k in range(199)], "$-0.00", "$0.00", "$#,##0.00;$-#,##0.00"),
    "unit": ([f"{k} kg" for k in range(1, 199)], "-0 kg", "0 kg", "0 kg"),
    "losses": ([f"-{k}.5%" for k in range(1, 199)], "-0.0%", "0.0%", "0.0%"),
    "accounts": ([f"${k}.25" for k in range(1, 199)], "($0.00)", "$0.00", "$0.00;($0.00)"),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_zero_below_zero_is_a_number_like_the_others(name: str) -> None:
    cells, zero, made, writing = SIGNED[name]
    frame = pd.DataFrame({"x": [*cells, zero]})
    schema = infer_schema(frame, None, {})
    assert (schema["x"].is_numeric, schema["x"].format) == (True, writing)
    back = cells_of(numbers_of(frame["x"], schema["x"]), schema["x"])
    assert back.tolist() == [*cells, made]
    (line,) = remarks(schema, frame, {})
    assert repr(zero) in line and repr(made) in line


@pytest.mark.parametrize(
    ("cells", "writing"),
    [
        ([f"({k}.234,56) €" if k % 2 else f"{k}.234,56 €" for k in range(1, 99)], "#.##0,00 €;(#.##0,00) €"),
        ([f"€ ({k}.5)" if k % 2 else f"€ {k}.5" for k in range(1, 99)], "€ 0.0;€ (0.0)"),
        ([f"({k}.5 kg)" if k % 2 else f"{k}.5 kg" for k in range(1, 99)], "0.0 kg;(0.0 kg)"),
        ([f"{k}.1234° N" for k in range(1, 80)], "0.0000° N"),
    ],
)
def test_signs_beside_brackets_and_units_of_two_words(cells: list[str], writing: str) -> None:
    frame = pd.DataFrame({"x": cells})
    field = infer_schema(frame, None, {})["x"]
    assert (field.is_numeric, field.format) == (True, writing)
    numbers = numbers_of(frame["x"], field)
    assert all((number < 0) == ("(" in cell) for number, cell in zip(numbers, cells, strict=True))
    assert cells_of(numbers, field).tolist() == cells


def test_zeros_of_two_signs_are_no_writing() -> None:
    frame = pd.DataFrame({"x": [*(f"{k}.5%" for k in range(199)), "-0.0%", "(0.0%)"]})
    assert not infer_schema(frame, None, {})["x"].is_numeric


def test_a_given_zero_keeps_its_sign_and_a_made_one_has_none() -> None:
    text = "x\n-0.0\n" + "".join(f"{k / 10:.1f}\n" for k in range(-30, 30))
    frame, _, writings = read_delimited(text.encode(), "t.csv")
    schema = infer_schema(frame, None, {}, writings=writings)
    assert as_csv(frame, schema).decode() == text
    made = cells_of(np.array([-0.04, -0.0, -0.06]), schema["x"])
    assert as_csv(pd.DataFrame({"x": made}), schema).decode() == "x\n0.0\n0.0\n-0.1\n"
    share = Field("x", "numeric", "str", format="0.0%")
    assert cells_of(np.array([-0.04, -0.06]), share).tolist() == ["0.0%", "-0.1%"]


@pytest.mark.parametrize("scale", [1e9, 1e3, 1e-5])
def test_powers_of_ten_come_back_whether_they_are_whole_or_not(scale: float) -> None:
    text = "x,y\n" + "".join(f"{x:.3E},{k % 7}\n" for k, x in enumerate(RNG.gamma(2, scale, 200)))
    frame, _, writings = read_delimited(text.encode(), "t.csv")
    schema = infer_schema(frame, None, {}, writings=writings)
    assert schema["x"].type == "numeric"
    assert "set" not in describe(schema, frame)[0].why
    codec = TableCodec().fit(frame, schema)
    x = codec.encode(frame)
    made = as_csv(codec.decode((x + x.roll(1, 0)) / 2, np.random.default_rng(0)), schema).decode()
    assert all(len(line.split(",")[0]) == 9 and line[5] == "E" for line in made.split("\n")[1:-1])


def test_whole_numbers_that_are_said_to_be_are_written_so() -> None:
    text = "x\n" + "".join(f"{k}.000E+06\n" for k in range(1, 10))
    frame, _, writings = read_delimited(text.encode(), "t.csv")
    schema = infer_schema(frame, None, {"x": "integer"}, writings=writings)
    assert schema["x"].type == "integer"
    assert as_csv(frame, schema).decode().split("\n")[1] == "1000000"


def test_numbers_that_are_not_whole_are_no_integers() -> None:
    frame = pd.DataFrame({"v": [0.26, -1.21, 3.0, *range(20)]})
    with pytest.raises(
        UserError, match=r"data.types.v=integer, but 2 cells with decimals \(such as '0.26'\)"
    ) as caught:
        infer_schema(frame, None, {"v": "integer"})
    assert "\n" not in str(caught.value)
    assert infer_schema(frame.iloc[2:], None, {"v": "integer"})["v"].type == "integer"
