"""What a person says that a column is, checked against its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.generators import GENERATORS, check_generator
from datakiln.data.tables.centuries import in_century, years_of
from datakiln.data.tables.detection import declared_categories, with_places
from datakiln.data.tables.facts import SeriesFacts, find_decimals, fitting, fitting_digits, stands_for_none
from datakiln.durations import DURATIONS
from datakiln.errors import UserError, near
from datakiln.schema import COLUMN_TYPES, NUMERIC_TYPES, ColumnType, Field
from datakiln.wording import counted
from datakiln.writings import dates_of, is_text, number_writing, numbers_of

Override = str | Mapping[str, Any]
OVERRIDE_KEYS = ("type", "order", "format", "decimals", "locale")


@dataclass(frozen=True)
class Wanted:
    """An override, checked."""

    type: str
    order: tuple[str, ...] = ()
    format: str | None = None
    decimals: int | None = None
    generator: str = ""
    locale: str = ""


def wanted_of(name: str, override: Override) -> Wanted:
    """What an override says; raises `UserError` for an unknown type or key, or what does not go together."""
    given: dict[str, Any] = dict(override) if isinstance(override, Mapping) else {"type": override}
    for key in given:
        if key not in OVERRIDE_KEYS:
            known = ", ".join(OVERRIDE_KEYS)
            raise UserError(f"data.types.{name}.{key} is not one of {known}{near(str(key), OVERRIDE_KEYS)}")
    kind, generator = str(given.get("type")), ""
    if kind.startswith(GENERATORS):
        kind, generator = "text", kind
    if kind not in COLUMN_TYPES:
        raise UserError(f"data.types.{name}={kind} is not one of {', '.join(COLUMN_TYPES)}{near(kind, COLUMN_TYPES)}")
    order = tuple(str(value) for value in given.get("order") or ())
    if order and kind != "ordinal":
        raise UserError(f"data.types.{name}.order is for type: ordinal, not {kind}")
    if given.get("locale") and not generator.startswith("faker."):
        raise UserError(f"data.types.{name}.locale is for a type of Faker's, such as faker.name")
    return Wanted(kind, order, given.get("format"), given.get("decimals"), generator, str(given.get("locale") or ""))


def overridden(series: pd.Series, wanted: Wanted) -> Field:
    """The column as it was said to be; raises `UserError` where its values are none of that."""
    name, dtype = str(series.name), str(series.dtype)
    if wanted.type == "constant" and series.nunique() > 1:
        raise UserError(f"data.types.{name}=constant, but the column has {series.nunique()} distinct values")
    if wanted.type == "ordinal":
        return Field(name, "ordinal", dtype, order=_order(series, wanted.order))
    if wanted.type == "datetime":
        facts = SeriesFacts(series)
        return with_places(Field(name, "datetime", dtype, format=_format(series, wanted.format)), facts)
    if wanted.generator:
        if not is_text(series):
            raise UserError(f"data.types.{name}={wanted.generator} makes text, but the column holds {dtype}")
        check_generator(wanted.generator, wanted.locale, f"data.types.{name}")
        kind: ColumnType = "id" if series.dropna().is_unique else "text"
        return Field(name, kind, dtype, generator=wanted.generator, locale=wanted.locale)
    if wanted.type in NUMERIC_TYPES:
        return _number(series, wanted)
    if wanted.type in {"id", "text"} and (pd.api.types.is_datetime64_any_dtype(series.dtype) or dtype == "bool"):
        raise UserError(f"data.types.{name}={wanted.type}, but new ones cannot be made up for a column of {dtype}")
    declared = declared_categories(series) if wanted.type in {"category", "constant"} else {}
    return Field(name, wanted.type, dtype, **declared)  # type: ignore[arg-type]


def _order(series: pd.Series, order: tuple[str, ...]) -> tuple[str, ...]:
    values = list(series.dropna().unique())
    if not order:
        if is_text(series) or isinstance(series.dtype, pd.CategoricalDtype):
            example = ", ".join(sorted(str(value) for value in values)[:5])
            raise UserError(
                f"data.types.{series.name}=ordinal needs an order: "
                f"data.types.{series.name}={{type: ordinal, order: [{example}]}}"
            )
        return tuple(str(value) for value in sorted(values))
    left_out = [str(value) for value in values if str(value) not in order]
    if left_out:
        raise UserError(
            f"data.types.{series.name}.order leaves out {left_out[0]!r}{near(left_out[0], order)};"
            f" it must name all {len(values)} values"
        )
    return order


def _format(series: pd.Series, format: str | None) -> str | None:
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return None
    values = series.dropna()
    if format is None:
        if is_text(series):
            format = next(fitting(values), None)
        elif pd.api.types.is_numeric_dtype(series.dtype):
            format = next(fitting_digits(values.to_numpy(dtype=np.float64)), None)
        if format is None:
            raise UserError(
                f"data.types.{series.name}=datetime: no single date format fits the values;"
                f" name it, as in data.types.{series.name}={{type: datetime, format: '%d/%m/%Y'}}"
            )
        return in_century(format, years_of(values, format))
    try:
        wrong = dates_of(values, format).isna() & ~values.astype(str).map(lambda word: stands_for_none(word, format))
    except ValueError as error:
        raise UserError(f"data.types.{series.name}.format={format} is no date format ({error})") from None
    if wrong.any():
        raise UserError(f"data.types.{series.name}.format={format} does not fit {str(values[wrong].iloc[0])!r}")
    return format


def _number(series: pd.Series, wanted: Wanted) -> Field:
    name, dtype, format = str(series.name), str(series.dtype), wanted.format
    if pd.api.types.is_datetime64_any_dtype(series.dtype) or isinstance(series.dtype, pd.CategoricalDtype):
        raise UserError(f"data.types.{name}={wanted.type}, but the column holds {dtype}, no numbers")
    plain = pd.to_numeric(series.astype(object), errors="coerce") if is_text(series) else series
    if format is None and is_text(series) and (plain.isna() & series.notna()).any():
        evidence = SeriesFacts(series).numbers
        found_writing = None if evidence is None else evidence.writing()
        format = None if found_writing is None else found_writing[0]
    if format is not None and format not in DURATIONS:
        try:
            number_writing(format)
        except UserError as error:
            raise UserError(f"data.types.{name}.{error}") from None
    numbers = numbers_of(series, Field(name, "numeric", dtype, format=format))
    wrong = np.isnan(numbers) & series.notna().to_numpy()
    if wrong.any():
        raise UserError(
            f"data.types.{name}={wanted.type}, but {int(wrong.sum())} cells are no numbers"
            f" (such as {str(series[wrong].iloc[0])[:20]!r})"
        )
    broken = np.isfinite(numbers) & (numbers % 1 != 0) if wanted.type == "integer" else wrong
    if broken.any():
        told = f"data.types.{name}=integer, but {counted(int(broken.sum()), 'cell')} with decimals"
        raise UserError(f"{told} (such as {str(series[broken].iloc[0])[:20]!r}); say numeric, or round them before")
    is_signed = format is not None and is_text(series)
    is_number = pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_timedelta64_dtype(series.dtype)
    if not is_signed and (not is_number or pd.api.types.is_bool_dtype(series.dtype)):
        dtype = "int64" if wanted.type == "integer" and not series.isna().any() else "float64"
    found = find_decimals(pd.Series(numbers).dropna()) if wanted.decimals is None else wanted.decimals
    if is_signed and format not in DURATIONS and wanted.decimals is None:
        found = number_writing(str(format)).most
    decimals = 0 if wanted.type == "integer" else found
    return Field(name, wanted.type, dtype, decimals=decimals, format=format)  # type: ignore[arg-type]
