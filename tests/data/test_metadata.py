"""Metadata files: SDV's JSON and Frictionless Table Schema set column types; what is written can be read again."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.metadata import read_metadata, write_metadata
from datakiln.data.tables.tables import FileData
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from tests.stub_tables import people

COLUMNS = {
    "id": {"sdtype": "id", "regex_format": "[0-9]{3}"},
    "age": {"sdtype": "numerical"},
    "sex": {"sdtype": "categorical"},
    "city": {"sdtype": "city", "pii": True},
    "min_pay": {"sdtype": "numerical", "computer_representation": "Float"},
    "max_pay": {"sdtype": "categorical"},
    "score": {"sdtype": "numerical"},
    "day": {"sdtype": "datetime", "datetime_format": "%Y-%m-%d"},
    "member": {"sdtype": "boolean"},
    "size": {"sdtype": "categorical", "order": ["S", "M", "L"]},
    "a": {"sdtype": "boolean"},
    "dept": {"sdtype": "unknown", "pii": True},
    "b": {"sdtype": "phone_number", "pii": True},
    "empty": {"sdtype": "numerical"},
}
EXPECTED = {
    "id": "id",
    "age": "integer",
    "sex": "category",
    "city": "text",
    "min_pay": "numeric",
    "max_pay": "category",
    "score": "numeric",
    "day": "datetime",
    "member": "boolean",
    "size": "ordinal",
    "a": "boolean",
    "dept": "text",
    "b": "id",
    "empty": "constant",
}
SINGLE = {"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "primary_key": "id", "columns": COLUMNS}
SEVERAL = {"METADATA_SPEC_VERSION": "V1", "tables": {"people": {"primary_key": "id", "columns": COLUMNS}}}
SECOND = {
    "METADATA_SPEC_VERSION": "V2",
    "tables": {"people": {"columns": {**COLUMNS, "size": {"sdtype": "ordinal", "range_values": ["S", "M", "L"]}}}},
}
FRICTIONLESS = {
    "primaryKey": ["id"],
    "fields": [
        {"name": "id", "type": "integer"},
        {"name": "age", "type": "number"},
        {"name": "sex", "type": "string", "constraints": {"enum": ["Male", "Female"]}},
        {"name": "min_pay", "type": "integer"},
        {"name": "score", "type": "number"},
        {"name": "day", "type": "date", "format": "%Y-%m-%d"},
        {"name": "member", "type": "boolean"},
        {"name": "size", "type": "string", "categories": ["S", "M", "L"], "categoriesOrdered": True},
        {"name": "max_pay", "categories": [{"value": 1, "label": "low"}, {"value": 2}], "type": "integer"},
        {"name": "dept", "type": "string"},
        {"name": "city", "type": "any"},
    ],
}


@pytest.fixture
def load(tmp_path):
    people().to_csv(tmp_path / "people.csv", index=False)

    def made(content: object, **options) -> FileData:
        (tmp_path / "meta.json").write_text(content if isinstance(content, str) else json.dumps(content))
        data = FileData(str(tmp_path / "people.csv"), TableCodec(), metadata=str(tmp_path / "meta.json"), **options)
        data.setup("fit")
        return data

    return made


@pytest.mark.parametrize("content", [SINGLE, SEVERAL, SECOND], ids=["single table", "tables", "version 2"])
def test_sdv_metadata_sets_the_types(load, content):
    data = load(content)
    assert {name: data.schema[name].type for name in EXPECTED} == EXPECTED
    assert data.schema["size"].order == ("S", "M", "L") and data.schema["day"].format == "%Y-%m-%d"
    assert data.schema["country"].type == "category"  # not in the file: found
    found = infer_schema(data.read().frame, None, {})
    assert {name for name in EXPECTED if found[name].type != EXPECTED[name]} >= {"min_pay", "max_pay", "size", "city"}


@pytest.mark.parametrize("content", [FRICTIONLESS, {"name": "p", "resources": [{"schema": FRICTIONLESS}]}])
def test_a_table_schema_sets_the_types(load, content):
    schema = load(content).schema
    wanted = {"id": "id", "age": "integer", "sex": "category", "min_pay": "integer", "score": "numeric"}
    wanted |= {"day": "datetime", "member": "boolean", "size": "ordinal", "max_pay": "category", "dept": "category"}
    assert {name: schema[name].type for name in wanted} == wanted
    assert schema["size"].order == ("S", "M", "L")


def test_data_types_win_over_metadata_and_unused_columns_may_be_described(load):
    data = load(SINGLE, types={"age": "category"}, columns=["age", "sex"])
    assert {field.name: field.type for field in data.schema.fields} == {"age": "category", "sex": "category"}


BAD = {
    "unknown column": ({"columns": {"agee": {"sdtype": "numerical"}}}, "describes 'agee', which is no column.*'age'"),
    "no sdtype": ({"columns": {"age": {}}}, "column 'age' has no sdtype"),
    "type without its key": ({"columns": {"age": "numerical"}}, "column 'age' has no sdtype"),
    "field without a name": ({"fields": [{"type": "integer"}]}, "neither SDV metadata"),
    "several tables": ({"tables": {"x": {"columns": {}}, "y": {"columns": {}}}}, "describes 2 tables"),
    "something else": ({"hello": 1}, "neither SDV metadata"),
    "no object": ([1], "no JSON object"),
    "no JSON": ("{", "cannot be read as JSON"),
    "text as numbers": ({"columns": {"sex": {"sdtype": "numerical"}}}, "600 cells are no numbers"),
    "another date": ({"columns": {"day": {"sdtype": "datetime", "datetime_format": "%d/%m/%Y"}}}, "does not fit"),
    "incomplete order": ({"columns": {"size": {"sdtype": "categorical", "order": ["S", "M"]}}}, "leaves out 'L'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_metadata_is_refused_in_one_line(load, name):
    content, told = BAD[name]
    with pytest.raises(UserError, match=told) as caught:
        load(content)
    assert "data.metadata=" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file():
    with pytest.raises(UserError, match=r"data.metadata=nowhere.json does not exist"):
        read_metadata("nowhere.json", people())


def test_what_is_written_is_sdv_metadata_and_reads_back_the_same(tmp_path):
    dates = pd.date_range("2020-01-01", periods=600)
    frame = people().assign(
        note=[f"a long remark, number {i}" for i in range(600)], when=dates, at=dates + pd.Timedelta("90s")
    )
    types = {"size": {"type": "ordinal", "order": ["S", "M", "L"]}, "note": "text", "max_pay": "numeric"}
    schema = infer_schema(frame, "kind", types)
    write_metadata(schema, frame, tmp_path / "metadata.json")
    content = json.loads((tmp_path / "metadata.json").read_text())
    assert content["METADATA_SPEC_VERSION"] == "SINGLE_TABLE_V1" and content["primary_key"] == "id"
    assert list(content["columns"]) == list(frame.columns)
    assert content["columns"]["age"] == {"sdtype": "numerical", "computer_representation": "Int64"}
    assert content["columns"]["size"] == {"sdtype": "categorical", "order": ["S", "M", "L"]}
    assert content["columns"]["note"] == {"sdtype": "unknown", "pii": True}
    assert content["columns"]["when"] == {"sdtype": "datetime", "datetime_format": "%Y-%m-%d"}
    assert content["columns"]["at"]["datetime_format"] == "%Y-%m-%d %H:%M:%S"
    again = infer_schema(frame, "kind", read_metadata(tmp_path / "metadata.json", frame))
    assert {f.name: f.type for f in again.fields} == {f.name: f.type for f in schema.fields}
    # the CSV beside it is written as it says
    frame.to_csv(tmp_path / "t.csv", index=False)
    for name in ("when", "at", "day"):
        pd.to_datetime(
            pd.read_csv(tmp_path / "t.csv", dtype=str)[name], format=content["columns"][name]["datetime_format"]
        )


def test_a_run_leaves_metadata_beside_its_rows(tmp_path):
    from datakiln.proof.tables import TableProof

    frame = people()
    frame.to_csv(tmp_path / "people.csv", index=False)
    data = FileData(str(tmp_path / "people.csv"), TableCodec(), target="kind")
    data.setup("fit")

    class Copies:
        model = SimpleNamespace(can_draw=True)

        def sample(self, n, seed, options):
            return data.frames["train"].head(n)

    TableProof(data).write_synthetic(Copies(), 50, 0, tmp_path)
    described = json.loads((tmp_path / "metadata.json").read_text())["columns"]
    assert list(described) == list(pd.read_csv(tmp_path / "synthetic.csv").columns)
    assert described["kind"] == {"sdtype": "categorical"} and described["empty"] == {"sdtype": "categorical"}


def test_numbers_of_a_label_stay_numbers_if_the_metadata_says_so(tmp_path):
    frame = pd.DataFrame({"x": np.arange(60), "y": np.arange(60) % 3})
    (tmp_path / "m.json").write_text(json.dumps({"columns": {"y": {"sdtype": "numerical"}}}))
    assert infer_schema(frame, "y", {})["y"].type == "category"
    assert infer_schema(frame, "y", read_metadata(tmp_path / "m.json", frame))["y"].type == "integer"
