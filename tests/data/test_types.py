"""Column types found from values: what must be recognised, what not be mistaken, and what a person may override."""

import numpy as np
import pandas as pd
import pytest

from datakiln.data.tables.detection import find
from datakiln.data.tables.facts import find_decimals
from datakiln.data.tables.sources import SklearnTable
from datakiln.data.tables.types import describe, infer_schema
from datakiln.errors import UserError
from datakiln.writings import cells_of, numbers_of

N = 300
I = np.arange(N)  # noqa: E741
RNG = np.random.default_rng(0)


def text(values: list[object]) -> pd.Series:
    return pd.Series(values, dtype="str")


FOUND = {
    # name: (values, type)
    "height": (RNG.normal(170, 10, N), "numeric"),  # unique in every row, and no id for that
    "price": (RNG.permutation(N) / 100, "numeric"),
    "age": (RNG.integers(18, 90, N), "integer"),
    "income": (RNG.choice(10_000_000, N, replace=False), "integer"),  # unique whole numbers with wide gaps
    "counts": (RNG.poisson(4, N) * 1.0, "integer"),
    "steps with gaps": (np.where(I % 5 == 0, np.nan, I * 7.0), "integer"),
    "row": (I, "id"),
    "row from one": (I + 1, "id"),
    "shuffled": (RNG.permutation(N) + 5000, "id"),
    "sorted": (np.cumsum(RNG.integers(1, 60, N)), "id"),
    "ScanDir ID": (RNG.choice(10_000_000, N, replace=False), "id"),
    "customerId": (RNG.choice(10_000_000, N, replace=False), "id"),
    "paid": (RNG.choice(10_000_000, N, replace=False), "integer"),  # "id" inside a word is no name
    "flag": (I % 2 == 0, "boolean"),
    "zero one": (I % 2, "boolean"),
    "zero one with gaps": (np.where(I % 5 == 0, np.nan, I % 2 * 1.0), "boolean"),
    "one two": (I % 2 + 1, "category"),
    "sex": (text(["f", "m"] * (N // 2)), "category"),
    "yes": (text(["yes", "no"] * (N // 2)), "category"),
    "city": (text([f"city {i % 40}" for i in I]), "category"),
    "many": (text([f"w{i % 140}" for i in I]), "category"),
    "key": (text([f"user-{i:05d}" for i in I]), "id"),
    "uuid": (text([f"{i:08x}-aaaa-4bbb-8ccc-{i * 7:012x}" for i in I]), "id"),
    "name": (text([f"Person Number{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in I]), "text"),
    "nearly unique": (text([f"Some name {chr(97 + i % 26)}{i // 26}" if i > 9 else "Ann Lee" for i in I]), "text"),
    "comment": (text(["a long remark about this and that, number " + str(i // 2) for i in I]), "text"),
    "mixed": (text([str(i) for i in I[:-3]] + ["a", "b", "c"]), "category"),
    "zip": (text([f"0{i % 50:04d}" for i in I]), "category"),
    "iso": (text([f"2020-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in I]), "datetime"),
    "german": (text([f"{i % 28 + 1:02d}.{i % 12 + 1:02d}.2020" for i in I]), "datetime"),
    "stamp": (text([f"2020-01-02T03:{i % 60:02d}:00Z" for i in I]), "datetime"),
    "twelve hours": (text([f"01/{i % 28 + 1:02d}/2020 {i % 12 + 1:02d}:30 PM" for i in I]), "datetime"),
    "dates": (pd.date_range("2020-01-01", periods=N), "datetime"),
    "phone": (text([f"555-{i % 90:04d}" for i in I]), "category"),
    "no dates": (text(["2020-01-01"] * (N - 1) + ["2020-13-45"]), "category"),
    "level": (pd.Categorical(["a", "b"] * (N // 2), ["b", "a"], ordered=True), "ordinal"),
    "kind": (pd.Categorical(["a", "b"] * (N // 2)), "category"),
    "same": (np.full(N, 4), "constant"),
    "nothing": (np.full(N, np.nan), "constant"),
    "nothing in text": (text([None] * N), "constant"),
    "one or missing": (text(["x", None] * (N // 2)), "category"),
    "名前": (text(["値", "größe"] * (N // 2)), "category"),
}


@pytest.mark.parametrize("name", FOUND)
def test_type_is_found(name: str) -> None:
    values, expected = FOUND[name]
    found = find(pd.Series(values, name=name))
    assert found.field.type == expected, found.why
    assert found.field.dtype == str(pd.Series(values).dtype)
    assert found.why


def test_date_formats_are_told_apart() -> None:
    formats = {name: find(pd.Series(FOUND[name][0], name=name)).field.format for name in ("iso", "german", "stamp")}
    assert formats == {"iso": "%Y-%m-%d", "german": "%d.%m.%Y", "stamp": "%Y-%m-%dT%H:%M:%SZ"}
    day_first = text([f"{i % 28 + 1:02d}/{i % 12 + 1:02d}/2020" for i in I])
    month_first = text([f"{i % 12 + 1:02d}/{i % 28 + 1:02d}/2020" for i in I])
    assert find(day_first.rename("d")).field.format == "%d/%m/%Y"
    assert find(month_first.rename("d")).field.format == "%m/%d/%Y"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", [23, 31, 44, 52, 29, 61, 38, 47, 55, 26, 33, 70]),
        ("year", list(range(1990, 2020))),
        ("sorted age", list(range(20, 60))),
    ],
)
def test_in_a_small_table_unique_numbers_are_no_ids(name: str, values: list[int]) -> None:
    assert find(pd.Series(values, name=name)).field.type == "integer"


def test_a_row_counter_and_a_named_id_are_ids_even_in_a_small_table() -> None:
    assert find(pd.Series(range(1, 13), name="nr")).field.type == "id"
    assert find(pd.Series([9, 4, 77, 12, 5, 6, 31, 8, 2, 1], name="patient_id")).field.type == "id"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 1e15], 0),
        ([0.1, 0.25, 3.0], 2),
        ([1234567.89, 0.01], 2),
        ([0.1 + 0.2, 1.1], 1),  # one unit in the last place from 0.3
        ([1 / 3, 2 / 3], None),
        ([1e300, 0.5], None),
        ([0.00000012, 0.5], 8),
    ],
)
def test_decimals(values: list[float], expected: int | None) -> None:
    assert find_decimals(pd.Series(values)) == expected


def test_decimals_of_single_precision() -> None:
    assert find_decimals(pd.Series([0.1, 2.7, 5.3], dtype="float32")) == 1
    rng = np.random.default_rng(3)
    assert find_decimals(pd.Series(rng.normal(size=1000))) is None


def test_one_row_that_is_not_rounded_is_seen_in_a_long_column() -> None:
    values = np.arange(50_000) / 10
    values[49_871] += 0.001234
    assert find_decimals(pd.Series(values)) == 6


def test_a_label_in_few_integers_is_a_category() -> None:
    frame = pd.DataFrame({"x": I / 7, "DX": I % 4, "income": FOUND["income"][0]})
    assert infer_schema(frame, "DX", {})["DX"].type == "category"
    assert infer_schema(frame, None, {})["DX"].type == "integer"
    assert infer_schema(frame, "income", {})["income"].type == "integer"
    assert infer_schema(frame, "DX", {}).label == "DX"


@pytest.mark.parametrize("label", ["key", "nothing", "same", "iso", "name"])
def test_a_label_that_cannot_be_one_is_refused(label: str) -> None:
    frame = pd.DataFrame({label: FOUND[label][0], "x": I / 7})
    with pytest.raises(
        UserError, match=f"data.target={label} (is of type .*choose another|has . distinct values?, so there is)"
    ) as error:
        infer_schema(frame, label, {}) if label != "iso" else infer_schema(frame, label, {"iso": "datetime"})
    assert "\n" not in str(error.value)


def test_a_label_with_thousands_of_classes_is_refused() -> None:
    frame = pd.DataFrame({"c": text([f"w{i % 2000}" for i in range(8000)]), "x": np.arange(8000) / 7})
    with pytest.raises(UserError, match="data.target=c has 2000 classes; a label may have 1000 at most"):
        infer_schema(frame, "c", {})
    assert infer_schema(frame, None, {})["c"].type == "category"


def test_overrides() -> None:
    frame = pd.DataFrame({"a": I % 5, "b": text([f"0{i % 9}" for i in I]), "c": I / 7, "d": FOUND["iso"][0]})
    schema = infer_schema(
        frame, None, {"a": "ordinal", "b": "integer", "c": {"type": "numeric", "decimals": 1}, "d": "category"}
    )
    assert [field.type for field in schema.fields] == ["ordinal", "integer", "numeric", "category"]
    assert schema["a"].order == ("0", "1", "2", "3", "4")
    assert schema["b"].dtype == "int64" and schema["b"].decimals == 0
    assert schema["c"].decimals == 1


def test_overrides_from_yaml() -> None:
    from omegaconf import OmegaConf

    frame = pd.DataFrame({"size": text(["small", "big", "mid"] * 100), "x": I / 7})
    types = OmegaConf.create({"size": {"type": "ordinal", "order": ["small", "mid", "big"]}, "x": "numeric"})
    assert infer_schema(frame, None, types)["size"].order == ("small", "mid", "big")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"agee": "numeric"}, r"data\.types\.agee: the table has no such column; did you mean 'age'\?"),
        ({"age": "numerical"}, r"data\.types\.age=numerical is not one of numeric, .*; did you mean 'numeric'\?"),
        ({"age": {"type": "ordinal", "ordr": [1]}}, r"data\.types\.age\.ordr is not one of .*did you mean 'order'\?"),
        ({"age": {"order": [1]}}, r"data\.types\.age=None is not one of"),
        ({"age": {"type": "category", "order": [1]}}, r"data\.types\.age\.order is for type: ordinal"),
        ({"city": "ordinal"}, r"data\.types\.city=ordinal needs an order: .*order: \[oslo, paris"),
        ({"city": {"type": "ordinal", "order": ["oslo"]}}, r"data\.types\.city\.order leaves out 'paris'"),
        ({"city": "integer"}, r"data\.types\.city=integer, but 300 cells are no numbers \(such as 'oslo'\)"),
        ({"city": "datetime"}, r"data\.types\.city=datetime: no single date format fits"),
        ({"day": {"type": "datetime", "format": "%d/%m/%Y"}}, r"does not fit '2020-01-01'"),
        ({"day": "numeric"}, r"data\.types\.day=numeric, but 300 cells"),
        ({"when": "numeric"}, r"data\.types\.when=numeric, but the column holds datetime64"),
        ({"when": "id"}, r"data\.types\.when=id, but new ones cannot be made up"),
        ({"age": "constant"}, r"data\.types\.age=constant, but the column has 60 distinct values"),
    ],
)
def test_a_wrong_override_is_one_line_with_a_way_out(overrides: dict[str, object], message: str) -> None:
    frame = pd.DataFrame(
        {
            "age": I % 60,
            "city": text(["oslo", "paris", "rome"] * 100),
            "day": FOUND["iso"][0],
            "when": FOUND["dates"][0],
        }
    )
    with pytest.raises(UserError, match=message) as error:
        infer_schema(frame, None, overrides)
    assert "\n" not in str(error.value)


def test_an_unknown_label_is_refused_with_the_near_one() -> None:
    with pytest.raises(UserError, match="data.target=specie .*did you mean 'species'"):
        infer_schema(pd.DataFrame({"species": I}), "specie", {})


def test_durations_are_numbers_of_seconds() -> None:
    frame = pd.DataFrame({"took": pd.to_timedelta(I, unit="s")})
    field = infer_schema(frame, None, {})["took"]
    assert field.type == "numeric"
    assert cells_of(numbers_of(frame["took"], field), field).equals(frame["took"])


def test_description_tells_why_and_shows_no_person() -> None:
    frame = pd.DataFrame(
        {"key": FOUND["key"][0], "name": FOUND["name"][0], "age": FOUND["age"][0], "g": np.where(I % 3, 1.5, np.nan)}
    )
    rows = {row.column: row for row in describe(infer_schema(frame, None, {"g": "numeric"}), frame)}
    assert rows["key"].example == rows["name"].example == ""
    assert rows["age"].example == f"{frame['age'].min()} to {frame['age'].max()}"
    assert rows["age"].why == f"{frame['age'].nunique()} distinct, all integers"
    assert (
        rows["g"].missing == 100
        and rows["g"].distinct == 1
        and rows["g"].why == "set, not found (its values look category)"
    )


def test_two_hundred_thousand_rows_need_no_loop() -> None:
    # a loop over rows would be felt in this test
    n = 200_000
    words = np.array([f"w{i}" for i in range(5000)])
    frame = pd.DataFrame(
        {"x": RNG.normal(size=n), "w": pd.Series(RNG.choice(words, n), dtype="str"), "k": np.arange(n)}
    )
    assert [field.type for field in infer_schema(frame, None, {}).fields] == ["numeric", "category", "id"]


@pytest.mark.parametrize(
    ("name", "rows", "columns", "classes"), [("iris", 150, 5, 3), ("wine", 178, 14, 3), ("breast_cancer", 569, 31, 2)]
)
def test_embedded_tables(name: str, rows: int, columns: int, classes: int) -> None:
    table = SklearnTable(name)(None)
    assert table.frame.shape == (rows, columns) and table.provenance.kind == "embedded"
    schema = infer_schema(table.frame, table.label, table.types)
    assert schema.label == table.frame.columns[-1] and table.frame[table.label].nunique() == classes
    assert set(schema.names) - set(schema.numeric) == {table.label}
    assert SklearnTable(name)(None).provenance == table.provenance


def test_the_embedded_table_with_a_number_to_predict() -> None:
    table = SklearnTable("diabetes")(None)
    schema = infer_schema(table.frame, table.label, table.types)
    assert table.frame.shape == (442, 11) and schema.label == "progression"
    assert schema.choices == ["sex"] and schema["progression"].type == schema["age"].type == "integer"  # as measured


def test_an_unknown_embedded_table_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'iris'"):
        SklearnTable("irs")
