"""What is public of a table under differential privacy, as a person declares it, and its rows seen through that alone.

    privacy:
      public:                     # or the path of a YAML or JSON file of the same, or of a Frictionless Table Schema
        columns:
          age: integer            # numeric, integer, datetime, id, text, or a generator such as faker.name
          sex: [Female, Male]     # a category, by its values
          grade: {type: ordinal, categories: [low, high], missing: true}
          joined: {type: datetime, format: "%Y-%m-%d"}
        bounds: {age: [0, 120], joined: [2000-01-01, 2030-12-31]}
        rows: 30000               # only if the number of rows is public

A cell that is not declared counts nowhere, a number outside its bounds is put onto the nearer one, and neither is told.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from datakiln.codecs.tables.generators import GENERATORS, check_generator
from datakiln.codecs.tables.values import from_numbers
from datakiln.errors import UserError, near
from datakiln.privacy.cells import PublicColumn
from datakiln.schema import COLUMN_TYPES, Field, Schema
from datakiln.storage import small_text
from datakiln.wording import counted
from datakiln.writings import dates_of, numbers_of

KEYS = ("columns", "bounds", "rows")
COLUMN_KEYS = ("type", "categories", "missing", "decimals", "format", "bounds", "locale")
FINE = 10_000  # values of a number whose decimals are not declared, at least
DATE = "%Y-%m-%d"
Declaration = Mapping[str, Any]


@dataclass(frozen=True)
class Public:
    """A table as declared.

    Attributes:
        columns: In the order of the table.
        label: Column that classes are taken from, or None.
        rows: Number of rows, where it is public.
    """

    columns: tuple[PublicColumn, ...]
    label: str | None
    rows: int | None

    @property
    def schema(self) -> Schema:
        """The schema, of which nothing was found in rows."""
        return Schema(tuple(column.field for column in self.columns), self.label)

    @property
    def modelled(self) -> list[PublicColumn]:
        """Columns that marginals are counted of."""
        return [column for column in self.columns if column.is_modelled]

    def seen(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows as the declaration lets them be seen: words for categories, numbers inside their bounds."""
        return pd.DataFrame({c.field.name: _seen(frame[c.field.name], c) for c in self.columns}, copy=False)


def read_public(given: Declaration | str | None) -> dict[str, Any]:
    """A declaration from yaml, or from a file, as {"columns": ..., "bounds": ..., "rows": ...}.

    Raises:
        UserError: No such file, or a key or value that means nothing.
    """
    if given is None:
        return {"columns": {}, "bounds": {}, "rows": None}
    content = _loaded(Path(given)) if isinstance(given, str) else dict(given)
    where = given if isinstance(given, str) else "privacy.public"
    for key in content:
        if key not in KEYS:
            raise UserError(f"{where}: {key} is not one of {', '.join(KEYS)}{near(str(key), KEYS)}")
    for key in ("columns", "bounds"):
        if not isinstance(content.get(key) or {}, Mapping):
            raise UserError(f"{where}: {key} must be a mapping from names of columns, as in {key}: {{age: ...}}")
    rows = content.get("rows")
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
        raise UserError(f"{where}: rows={rows} must be a whole number of at least 1, or left out to be measured")
    columns = {str(name): said for name, said in (content.get("columns") or {}).items()}
    bounds = {str(name): said for name, said in (content.get("bounds") or {}).items()}
    return {"columns": columns, "bounds": bounds, "rows": rows}


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two declarations; what the second one says wins."""
    return {
        "columns": {**first["columns"], **second["columns"]},
        "bounds": {**first["bounds"], **second["bounds"]},
        "rows": second["rows"] if second["rows"] is not None else first["rows"],
    }


def _loaded(path: Path) -> dict[str, Any]:
    try:
        text = small_text(path.expanduser())
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"privacy.public={path} cannot be read ({error.strerror})") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"privacy.public={path} is neither YAML nor JSON ({str(error).splitlines()[0]})") from None
    if isinstance(content, dict) and isinstance(content.get("resources"), list) and len(content["resources"]) == 1:
        content = (content["resources"][0] or {}).get("schema")
    if isinstance(content, dict) and isinstance(content.get("fields"), list):
        return _of_fields(content["fields"], path)
    if not isinstance(content, dict):
        raise UserError(f"privacy.public={path} holds no mapping with {', '.join(KEYS)}, nor a Table Schema")
    return content


def _of_fields(fields: Sequence[Any], path: Path) -> dict[str, Any]:
    """A Frictionless Table Schema: types, enum, categories, minimum and maximum."""
    columns, bounds = {}, {}
    for said in fields:
        if not isinstance(said, dict) or "name" not in said:
            raise UserError(f"privacy.public={path}: every one of its fields needs a name")
        name, limits = str(said["name"]), said.get("constraints") or {}
        kind = {"number": "numeric", "integer": "integer", "year": "integer", "date": "datetime"}.get(
            str(said.get("type", "string")), str(said.get("type", "string"))
        )
        values = said.get("categories") or limits.get("enum") or ([True, False] if kind == "boolean" else None)
        column: dict[str, Any] = {"missing": not limits.get("required", False)}
        if values:
            listed = [part["value"] if isinstance(part, dict) else part for part in values]
            column |= {"type": "ordinal" if said.get("categoriesOrdered") else "category", "categories": listed}
        elif kind in ("numeric", "integer", "datetime"):
            column["type"] = kind
            if "%" in str(said.get("format", "")):
                column["format"] = said["format"]
            if "minimum" in limits and "maximum" in limits:
                bounds[name] = [limits["minimum"], limits["maximum"]]
        else:
            continue  # a text without values: of what it is, nothing is declared
        columns[name] = column
    return {"columns": columns, "bounds": bounds}


def declared(said: Mapping[str, Any], names: Sequence[str], label: str | None, mechanism: str) -> Public:
    """The columns of a table as declared.

    Arguments:
        said: What `read_public` gives.
        names: Of the table's columns, in order.
        label: See `Public`.
        mechanism: For the error: "marginals" or "dp_sgd".

    Raises:
        UserError: A column that is not declared, with the line to write; a declaration that means nothing.
    """
    for key in ("columns", "bounds"):
        unknown = next((name for name in said[key] if name not in names), None)
        if unknown is not None:
            raise UserError(f"privacy.public.{key}.{unknown}: the table has no such column{near(unknown, names)}")
    lacking = [name for name in names if name not in said["columns"]]
    if lacking:
        name, others = lacking[0], counted(len(lacking) - 1, "more column")
        which = f"column {name!r} is" if len(lacking) == 1 else f"{name!r} and {others} are"
        line = f"privacy.public.columns.{name}=integer privacy.public.bounds.{name}=[LOW,HIGH]"
        told = f"privacy={mechanism}: {which} not declared, and what is found in cells is not paid for"
        raise UserError(f"{told}; write {line} (a category: ...columns.{name}=[VALUE,VALUE], ids made anew: =id)")
    columns = tuple(_column(name, said["columns"][name], said["bounds"].get(name), mechanism) for name in names)
    if label is not None:
        at = next(column for column in columns if column.field.name == label)
        if not at.is_modelled:
            raise UserError(
                f"privacy.public.columns.{label}={at.field.type}, but it is the target: a category or number"
            )
    if not any(column.is_modelled for column in columns):
        raise UserError(
            f"privacy={mechanism}: every column is declared to be made anew; declare a category or a number"
        )
    return Public(columns, label, said["rows"])


def _column(name: str, said: Any, bounds: Any, mechanism: str) -> PublicColumn:  # noqa: ANN401 (any yaml value)
    key = f"privacy.public.columns.{name}"
    given = {"type": "category", "categories": said} if isinstance(said, list | tuple) else said
    given = dict(given) if isinstance(given, Mapping) else {"type": given}
    for one in given:
        if one not in COLUMN_KEYS:
            raise UserError(f"{key}.{one} is not one of {', '.join(COLUMN_KEYS)}{near(str(one), COLUMN_KEYS)}")
    kind = str(given.get("type", "category" if "categories" in given else None))
    missing, bounds = bool(given.get("missing", False)), given.get("bounds", bounds)
    if kind.startswith(GENERATORS):
        check_generator(kind, str(given.get("locale") or ""), key)
        return PublicColumn(Field(name, "text", "str", generator=kind, locale=str(given.get("locale") or "")))
    if kind not in COLUMN_TYPES:
        raise UserError(f"{key}={kind} is not one of {', '.join(COLUMN_TYPES)}{near(kind, COLUMN_TYPES)}")
    if kind in ("id", "text", "constant"):
        return PublicColumn(Field(name, kind, "int64" if kind == "id" else "str"))  # type: ignore[arg-type]
    if kind in ("boolean", "category", "ordinal"):
        values = given.get("categories", [True, False] if kind == "boolean" else None)
        if isinstance(values, list | tuple) and len(values) == 1:
            told = f"{name!r} is declared with one value, {values[0]!r}, and a category has two at least"
            raise UserError(f"privacy={mechanism}: {told}; add to {key}, or leave the column out with data.columns=")
        if not isinstance(values, list | tuple) or not values:
            raise UserError(f"privacy={mechanism}: the values of {name!r} are not declared; write {key}=[VALUE,VALUE]")
        words = tuple(dict.fromkeys(_word(value) for value in values))
        order = words if kind == "ordinal" else ()
        field = Field(name, "ordinal" if order else "category", "str", order=order)
        return PublicColumn(field, words, missing=missing)
    return _number(name, kind, given, bounds, missing, mechanism)


def _number(name: str, kind: str, given: dict[str, Any], bounds: Any, missing: bool, mechanism: str) -> PublicColumn:  # noqa: ANN401
    key = f"privacy.public.bounds.{name}"
    if bounds is None:
        example = "[2000-01-01,2030-12-31]" if kind == "datetime" else "[LOW,HIGH]"
        raise UserError(f"privacy={mechanism}: the bounds of {name!r} are not declared; write {key}={example}")
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise UserError(f"{key}={bounds} must be two values, the lowest and the highest: [LOW,HIGH]")
    if kind == "datetime":
        format = str(given.get("format") or DATE)
        field = Field(name, "datetime", "str", format=format)
        stamps = dates_of(pd.Series([str(b) for b in bounds]), format)
        stamps = stamps.where(stamps.notna(), pd.to_datetime(pd.Series([str(b) for b in bounds]), errors="coerce"))
        if stamps.isna().any():
            raise UserError(f"{key}={list(map(str, bounds))} must be two dates, such as [2000-01-01,2030-12-31]")
        low, high = (float(stamp.timestamp()) for stamp in stamps)
    else:
        if any(isinstance(b, bool) or not isinstance(b, int | float) or not math.isfinite(b) for b in bounds):
            raise UserError(f"{key}={list(bounds)} must be two numbers, the lowest and the highest")
        low, high = map(float, bounds)
        field = _number_field(name, kind, given.get("decimals"), low, high, missing)
    if low >= high:
        raise UserError(f"{key}={list(map(str, bounds))}: the lowest value must lie below the highest")
    return PublicColumn(field, (), low, high, missing)


def _number_field(name: str, kind: str, decimals: Any, low: float, high: float, missing: bool) -> Field:  # noqa: ANN401
    if decimals is not None and (
        isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 12
    ):
        raise UserError(f"privacy.public.columns.{name}.decimals={decimals} must be a whole number from 0 to 12")
    if kind == "integer":
        return Field(name, "integer", "Int64" if missing else "int64", decimals=0)
    fine = 0 if high <= low else max(math.ceil(math.log10(FINE / (high - low))), 0)
    return Field(name, "numeric", "float64", decimals=min(fine, 12) if decimals is None else decimals)


def _word(value: Any) -> str:  # noqa: ANN401 (any cell)
    """A cell as text, in which 1 and 1.0 are the same."""
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)


def _seen(series: pd.Series, column: PublicColumn) -> pd.Series:
    field = column.field
    if field.is_choice:
        words = series.map({value: _word(value) for value in series.dropna().unique()}, na_action="ignore")
        return words.where(words.isin(column.categories)).astype("str").rename(field.name)
    if not field.is_numeric:
        return series
    numbers = np.clip(numbers_of(series, replace(field, dtype=str(series.dtype))), column.low, column.high)
    is_whole = field.dtype == "int64" and np.isnan(numbers).any()
    return from_numbers(numbers, replace(field, dtype="Int64") if is_whole else field)
