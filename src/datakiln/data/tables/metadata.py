"""Column types from and to metadata files: SDV's JSON, read and written; Frictionless Table Schema, read.

SDV's layout (docs.sdv.dev, "Metadata JSON"): {"columns": {name: {"sdtype": ...}}, "primary_key": name}, in a file of
several tables below "tables"; version 2 adds "ordinal". A Table Schema (datapackage.org) is {"fields": [{"name": ...,
"type": ...}], "primaryKey": ...}, in a data package below "resources".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from datakiln.data.tables.detection import find
from datakiln.data.tables.overrides import Override
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError, near
from datakiln.schema import Field, Schema
from datakiln.storage import replacing, small_text

SDV_VERSION = "SINGLE_TABLE_V1"
SDV_TYPES = {
    "numeric": "numerical",
    "integer": "numerical",
    "boolean": "boolean",
    "category": "categorical",
    "ordinal": "categorical",
    "datetime": "datetime",
    "constant": "categorical",
    "id": "id",
}
NUMBER = "number"  # whole or not: the values tell
PERSONAL = "personal"  # names, addresses and the like: made anew, never copied


def read_metadata(path: str | Path, frame: pd.DataFrame, others: Iterable[str] = ()) -> dict[str, Override]:
    """Column types as `infer_schema` takes them, for the columns of `frame` that the file describes.

    Arguments:
        path: SDV metadata of one table, or a Table Schema or data package with one.
        frame: The table, whose values tell whole numbers from others.
        others: Further columns that the table has, but that are not used.

    Raises:
        UserError: The file cannot be read, is of another kind, or describes a column that the table does not have, or
            otherwise than its values are.
    """
    described = _described(_load(Path(path)), Path(path))
    known = {*map(str, frame.columns), *map(str, others)}
    for name in described:
        if name not in known:
            raise UserError(f"data.metadata={path} describes {name!r}, which is no column{near(name, known)}")
    used = {name: found for name, found in described.items() if name in frame.columns and found["type"] is not None}
    settled = {name: _settled(found, frame[name]) for name, found in used.items()}
    try:
        infer_schema(frame[list(settled)], None, settled)
    except UserError as error:
        raise UserError(f"data.metadata={path}: {error}") from None
    return settled


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(small_text(path))
    except FileNotFoundError:
        raise UserError(f"data.metadata={path} does not exist") from None
    except (ValueError, OSError) as error:
        raise UserError(f"data.metadata={path} cannot be read as JSON ({error})") from None
    except RecursionError:
        raise UserError(f"data.metadata={path} is nested too deeply to be a description of columns") from None
    if not isinstance(content, dict):
        raise UserError(f"data.metadata={path} is no JSON object")
    return content


def _described(content: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """{column: override}, whose type may still be `NUMBER`, `PERSONAL`, or None for what the file leaves open."""
    for key in ("tables", "resources"):
        if key in content:
            parts = list(content[key].values() if isinstance(content[key], dict) else content[key])
            if len(parts) != 1:
                raise UserError(f"data.metadata={path} describes {len(parts)} {key}; keep the one this table is in")
            content = parts[0].get("schema", parts[0]) if isinstance(parts[0], dict) else {}
    if isinstance(content.get("columns"), dict):
        return {str(name): _sdv(str(name), said, content, path) for name, said in content["columns"].items()}
    if isinstance(content.get("fields"), list) and all(isinstance(f, dict) and "name" in f for f in content["fields"]):
        return {str(said["name"]): _frictionless(said, content) for said in content["fields"]}
    raise UserError(
        f'data.metadata={path} is neither SDV metadata ("columns") nor a Table Schema ("fields" with a "name" each)'
    )


def _sdv(name: str, said: Mapping[str, Any], table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    kind = said.get("sdtype") if isinstance(said, dict) else None
    if not isinstance(kind, str):
        raise UserError(f"data.metadata={path}: column {name!r} has no sdtype")
    if name == table.get("primary_key") or name in table.get("alternate_keys", ()):
        return {"type": PERSONAL if kind != "id" else "id"}
    if kind == "numerical":
        stored = str(said.get("computer_representation", ""))
        return {"type": "integer" if "Int" in stored else "numeric" if stored == "Float" else NUMBER}
    if kind in ("categorical", "ordinal"):
        order = said.get("order") or (said.get("range_values") if kind == "ordinal" else None)
        return _category(order)
    if kind == "datetime":
        return {"type": "datetime", **_given("format", said.get("datetime_format"))}
    if kind == "unknown" and not said.get("pii", True):
        return {"type": None}
    return {"type": kind if kind in ("boolean", "id") else PERSONAL}


def _frictionless(said: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    kind = said.get("type", "string")
    if table.get("primaryKey") in (said["name"], [said["name"]]):
        return {"type": "id"}
    categories = said.get("categories")
    if categories:
        values = [part["value"] if isinstance(part, dict) else part for part in categories]
        return _category(values if said.get("categoriesOrdered") else None)
    if kind == "string":
        return {"type": "category" if said.get("constraints", {}).get("enum") else None}
    if kind in ("date", "datetime"):
        written = said.get("format", "default")
        return {"type": "datetime", **_given("format", written if "%" in written else None)}
    return {"type": {"number": NUMBER, "integer": "integer", "year": "integer", "boolean": "boolean"}.get(kind)}


def _category(order: list[Any] | None) -> dict[str, Any]:
    return {"type": "ordinal", "order": [str(value) for value in order]} if order else {"type": "category"}


def _given(key: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {key: value}


def _settled(found: dict[str, Any], series: pd.Series) -> Override:
    """With the types that only the values can tell."""
    kind = found["type"]
    if series.notna().sum() == 0:
        return "constant"
    if kind == NUMBER:
        return "integer" if find(series).field.type == "integer" else "numeric"
    if kind == PERSONAL:
        return "id" if pd.api.types.is_numeric_dtype(series.dtype) else "text"
    return found


def write_metadata(schema: Schema, frame: pd.DataFrame, path: Path) -> None:
    """Writes the schema as SDV metadata of a single table (V1).

    Arguments:
        schema: Of the table.
        frame: Its rows, as written beside the metadata; they tell how dates are written and which id is a key.
        path: Where to.
    """
    columns = {field.name: _sdv_column(field, frame[field.name]) for field in schema.fields}
    content: dict[str, Any] = {"METADATA_SPEC_VERSION": SDV_VERSION, "columns": columns}
    keys = [field.name for field in schema.fields if field.type == "id" and frame[field.name].notna().all()]
    if len(keys) == 1:
        content["primary_key"] = keys[0]
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sdv_column(field: Field, series: pd.Series) -> dict[str, Any]:
    if field.type == "text":
        return {"sdtype": "unknown", "pii": True}
    column: dict[str, Any] = {"sdtype": SDV_TYPES[field.type]}
    if field.type == "datetime":
        column["datetime_format"] = field.format or _date_format(series)
    if field.type in ("numeric", "integer"):
        column["computer_representation"] = "Int64" if field.type == "integer" else "Float"
    if field.type == "ordinal":
        column["order"] = list(field.order)
    return column


def _date_format(series: pd.Series) -> str:
    """How pandas writes real dates into a CSV: without the time if all of them are midnights."""
    dates = series.dropna()
    return "%Y-%m-%d" if (dates == dates.dt.normalize()).all() else "%Y-%m-%d %H:%M:%S"
