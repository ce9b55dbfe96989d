"""What the columns of a table are: found from their values, overridable by the person, and shown with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from datakiln.codecs.tables.generators import GENERATORS, check_generator, is_personal
from datakiln.data.tables.facts import Facts, SeriesFacts, find_decimals, fitting, fitting_digits, stands_for_none
from datakiln.errors import UserError, near
from datakiln.schema import COLUMN_TYPES, NUMERIC_TYPES, ColumnType, Field, Schema
from datakiln.writings import DURATIONS, dates_of, is_text, number_writing, numbers_of

if TYPE_CHECKING:
    from datakiln.data.tables.sources import RawTable

FEW = 2  # distinct amounts, such as two prices, are categories
LABEL_CLASSES = 20  # a numeric label with at most this many values is a category
LABEL_REPEATS = 3  # and if each value occurs this often on average
COUNTED_ROWS = 100  # below this many rows unique numbers may well be ages or years
COUNTED_SPREAD = 1.2  # numbers without repeats that fill their range up to this factor are counted
SORTED_SPREAD = 100  # sorted ones may have left out more
MANY_DISTINCT = 0.9  # text that differs in this share of the rows is no category
LONG_TEXT = 40  # characters on average; long text may repeat more
LONG_DISTINCT = 0.5
SAMPLE = 1000
ID_NAME = re.compile(
    r"(?:^|[^a-z])(?:ids?|key|uuid|guid|identifier|ssn|isbn|sku|serial|ref|reference|no|nr|num|number)(?:$|[^a-z])|"
    r"[a-z](?:Id|ID)$|"
    r"(?:account|cust(?:omer)?|emp(?:loyee)?|invoice|member|order|patient|policy|ticket|user)[ _.-]?"
    r"(?:no|nr|num|number)$",
    re.ASCII,
)
MAIL = r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"
PERSONAL_CELL = re.compile("@")
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


class Finding(NamedTuple):
    """A column's field, its number of distinct values, and why it is what it is."""

    field: Field
    distinct: int
    why: str


def find(series: pd.Series, is_label: bool = False, facts: Facts | None = None) -> Finding:
    """The type of one column; raises `UserError` for values that no type can hold.

    Arguments:
        series: The column, or a sample of its cells.
        is_label: Whether classes are taken from it.
        facts: Of the whole column, where `series` is a sample.
    """
    name, dtype = str(series.name), str(series.dtype)
    present = series.dropna()
    facts = facts or SeriesFacts(series)
    distinct = facts.distinct
    if distinct == 0:
        return Finding(Field(name, "constant", dtype, **_declared(series)), 0, "no values at all")
    if distinct == 1:
        if not facts.missing:
            return Finding(Field(name, "constant", dtype, **_declared(series)), 1, "a single value")
        return Finding(Field(name, "category", dtype, **_declared(series)), 1, "a single value, or missing")
    if pd.api.types.is_bool_dtype(series.dtype):
        return Finding(Field(name, "boolean", dtype), distinct, "true or false")
    if isinstance(series.dtype, pd.CategoricalDtype):
        kind: ColumnType = "ordinal" if series.dtype.ordered else "category"
        why = "an ordered categorical" if series.dtype.ordered else f"{distinct} distinct, a categorical"
        return Finding(Field(name, kind, dtype, **_declared(series)), distinct, why)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return Finding(Field(name, "datetime", dtype), distinct, "dates")
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return Finding(Field(name, "numeric", dtype), distinct, "durations, in seconds")
    if is_text(series):
        return _words(name, dtype, present, facts, is_label)
    if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_complex_dtype(series.dtype):
        raise UserError(f"column {name!r} holds {dtype}, which is no number, category, text or date; convert it first")
    return _numbers(name, series, facts, is_label)


def _declared(series: pd.Series) -> dict[str, Any]:
    """What a categorical dtype says beyond the values that are there: all categories, and their order if it has one."""
    if not isinstance(series.dtype, pd.CategoricalDtype):
        return {}
    declared = tuple(value.item() if isinstance(value, np.generic) else value for value in series.dtype.categories)
    return {"order": tuple(map(str, declared)) if series.dtype.ordered else (), "categories": declared}


def _numbers(name: str, series: pd.Series, facts: Facts, is_label: bool) -> Finding:
    dtype, distinct = str(series.dtype), facts.distinct
    decimals = 0 if pd.api.types.is_integer_dtype(series.dtype) else facts.decimals
    if distinct == 2:
        kind, why = (
            ("boolean", "only 0 and 1") if (facts.low, facts.high) == (0, 1) else ("category", "2 distinct values")
        )
        return Finding(Field(name, kind, dtype), distinct, why)  # type: ignore[arg-type]
    if is_label and distinct <= LABEL_CLASSES and LABEL_REPEATS * distinct <= facts.present:
        return Finding(Field(name, "category", dtype), distinct, f"the label, {distinct} distinct")
    if facts.format is not None and not is_label:
        return Finding(Field(name, "datetime", dtype, format=facts.format), distinct, _dates(facts))
    if decimals == 0:
        reason = None if is_label else _id_reason(name, series, facts)
        if reason is not None:
            return Finding(Field(name, "id", dtype), distinct, reason)
        return Finding(Field(name, "integer", dtype, decimals=0), distinct, f"{distinct} distinct, all integers")
    rounding = "" if decimals is None else f", {decimals} {'decimal' if decimals == 1 else 'decimals'}"
    return Finding(Field(name, "numeric", dtype, decimals=decimals), distinct, f"{distinct} distinct numbers{rounding}")


def _id_reason(name: str, series: pd.Series, facts: Facts) -> str | None:
    if facts.distinct < facts.rows or not pd.api.types.is_integer_dtype(series.dtype):
        return None
    if ID_NAME.search(name) or ID_NAME.search(name.lower()):
        return "unique, and named as an id"
    low, spread = int(facts.low), int(facts.high) - int(facts.low)
    if facts.is_increasing and low in (0, 1) and spread == facts.rows - 1:
        return f"counts the rows from {low}"
    if facts.rows < COUNTED_ROWS:
        return None
    if spread <= COUNTED_SPREAD * facts.rows:
        return "unique, nearly without gaps"
    is_sorted = facts.is_increasing or facts.is_decreasing
    return "unique and sorted" if is_sorted and spread <= SORTED_SPREAD * facts.rows else None


def _words(name: str, dtype: str, present: pd.Series, facts: Facts, is_label: bool) -> Finding:
    if facts.distinct == 2 and {str(value).lower() for value in present.unique()} == {"true", "false"}:
        return Finding(Field(name, "boolean", dtype), 2, "true, false or missing" if facts.missing else "true or false")
    if facts.format is not None and not is_label:
        return Finding(
            _placed(Field(name, "datetime", dtype, format=facts.format), present, facts), facts.distinct, _dates(facts)
        )
    signed = facts.numbers.writing() if facts.numbers is not None else None
    if signed is not None and facts.distinct > (LABEL_CLASSES if is_label or signed[2] else FEW):
        writing, is_whole, _ = signed
        kind, decimals = ("integer", 0) if is_whole else ("numeric", _places(writing, present))
        field = Field(name, kind, dtype, decimals=decimals, format=writing)  # type: ignore[arg-type]
        return Finding(field, facts.distinct, f"{facts.distinct} distinct numbers written as {writing}")
    if signed is not None and facts.distinct <= FEW:
        return Finding(Field(name, "category", dtype), facts.distinct, f"{facts.distinct} distinct amounts")
    kind, why = _kind_of_words(present, facts, is_label)
    return Finding(Field(name, kind, dtype), facts.distinct, why)  # type: ignore[arg-type]


def _places(writing: str, present: pd.Series) -> int | None:
    """Decimals that numbers in a writing are rounded to."""
    if writing in DURATIONS:
        return find_decimals(pd.Series(numbers_of(present, Field("", "numeric", "str", format=writing))).dropna())
    return number_writing(writing).most


def _dates(facts: Facts) -> str:
    """Why a column is one of dates; which other reading would do as well."""
    other = next((format for format in facts.formats[1:] if is_swapped(format, facts.formats[0])), None)
    return f"dates written as {facts.format}" + (f" ({other} would fit too)" if other else "")


def is_swapped(one: str, other: str) -> bool:
    """Whether two formats differ in the order of day and month."""
    return one != other and one.replace("%-", "%").replace("%d", "%m") == other.replace("%-", "%").replace("%d", "%m")


def _placed(field: Field, present: pd.Series, facts: Facts) -> Field:
    """With the words among its dates that stand for a missing one."""
    format = str(field.format)
    words = present[present.astype(str).map(lambda word: stands_for_none(word, format))].astype(str).value_counts()
    if not len(words):
        return field
    empty = round(facts.missing * len(present) / max(facts.present, 1))
    whole = float(words.sum() + empty)
    shares = [(str(word), count / whole) for word, count in words.items()]
    return replace(field, placeholders=tuple([*shares, ("", empty / whole)] if empty else shares))


def unplaced(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The table with missing cells where a column of dates has a word that stands for none."""
    masked = {}
    for field in schema.fields:
        if field.placeholders and field.name in frame:
            masked[field.name] = frame[field.name].mask(
                frame[field.name].isin([word for word, _ in field.placeholders])
            )
    return frame.assign(**masked) if masked else frame


def _kind_of_words(present: pd.Series, facts: Facts, is_label: bool) -> tuple[str, str]:
    distinct, share = facts.distinct, facts.distinct / facts.present
    sample = present.iloc[:: max(1, len(present) // SAMPLE)].astype(str)
    if share < LONG_DISTINCT:
        people = is_personal(str(present.name), sample.tolist()) if distinct > LABEL_CLASSES and not is_label else ""
        if people:
            return "text", f"{people}, {distinct} distinct"
        return "category", f"{distinct} distinct in {facts.present} rows"
    numbers = sample.str.fullmatch(NUMBER).mean()
    if 0.5 <= numbers < 1:
        return "category", f"{distinct} distinct, numbers mixed with words"
    if distinct == facts.present:
        if PERSONAL_CELL.search(str(sample.iloc[0])) and sample.str.fullmatch(MAIL).all():
            return "id", "unique e-mail addresses"
        keys = (~sample.str.contains(r"\s") & sample.str.contains(r"\d")).mean()
        return ("id", "unique keys") if keys > MANY_DISTINCT else ("text", "every cell differs")
    if share >= MANY_DISTINCT:
        return "text", f"{share:.0%} of the cells differ"
    if sample.str.len().mean() >= LONG_TEXT:
        return "text", f"long, and {share:.0%} of the cells differ"
    return "category", f"{distinct} distinct in {facts.present} rows"


Override = str | Mapping[str, Any]
MAX_CLASSES = 1000  # of a label: each takes a position in every encoded row
OVERRIDE_KEYS = ("type", "order", "format", "decimals", "locale")
DROP = "drop"  # in place of a type: the column is left out


class ColumnRow(NamedTuple):
    """One line of the table that a person sees before training; ids and free text give no example."""

    column: str
    type: str
    missing: int
    distinct: int
    example: str
    why: str


@dataclass(frozen=True)
class _Wanted:
    """An override, checked."""

    type: str
    order: tuple[str, ...] = ()
    format: str | None = None
    decimals: int | None = None
    generator: str = ""
    locale: str = ""


def infer_schema(
    frame: pd.DataFrame,
    label: str | None,
    overrides: Mapping[str, Override],
    facts: Mapping[str, Facts] | None = None,
    writings: Mapping[str, str] | None = None,
    storage: Mapping[str, str] | None = None,
) -> Schema:
    """The type of every column of `frame`, in order.

    Arguments:
        frame: The table, or a sample of its rows.
        label: Column that classes are taken from, or None. With few distinct values it is a category, even in numbers.
        overrides: {column: type}, or with more to say {column: {type: ordinal, order: [low, high]}},
            {column: {type: datetime, format: "%d/%m/%Y"}} or {column: {type: numeric, decimals: 2}}.
        facts: Of the whole columns, where `frame` is a sample.
        writings: How a text file had the numbers that `frame` has as floats.
        storage: The types of the columns in a Parquet file.

    Raises:
        UserError: For an unknown column, type or key, and for a type or label that the values cannot bear.
    """
    if label is not None and label not in frame.columns:
        raise UserError(f"data.target={label} is not a column of the table{near(label, frame.columns)}")
    unknown = next((name for name in overrides if name not in frame.columns), None)
    if unknown is not None:
        raise UserError(f"data.types.{unknown}: the table has no such column{near(unknown, frame.columns)}")
    fields, known = [], facts or {}
    for name in frame.columns:
        if name in overrides:
            fields.append(_overridden(frame[name], _wanted(str(name), overrides[name])))
        else:
            fields.append(find(frame[name], name == label, known.get(name)).field)
        fields[-1] = _stored(fields[-1], (writings or {}).get(name), (storage or {}).get(name, ""))
    if label is not None:
        _check_label(known.get(label) or SeriesFacts(frame[label]), fields[list(frame.columns).index(label)])
    return Schema(tuple(fields), label)


def without_dropped(raw: RawTable, types: Mapping[str, Override]) -> RawTable:
    """The table without the columns whose type is "drop"; raises `UserError` for one that it does not have."""
    dropped = [name for name, kind in types.items() if kind == DROP]
    for name in dropped:
        if name not in raw.frame.columns:
            raise UserError(f"data.types.{name}=drop: the table has no such column{near(name, raw.frame.columns)}")
        if name == raw.label:
            raise UserError(f"data.types.{name}=drop: it is the target; choose another with data.target")
    return raw.only([name for name in raw.frame.columns if name not in dropped]) if dropped else raw


def _stored(field: Field, writing: str | None, storage: str) -> Field:
    """With what only the file knows."""
    if writing is not None and field.format is None and field.dtype.startswith(("float", "Float")):
        field = replace(field, format=writing)
    return replace(field, storage=storage) if storage else field


def describe(schema: Schema, frame: pd.DataFrame, facts: Mapping[str, Facts] | None = None) -> list[ColumnRow]:
    """One row a column, for the table shown before training; arguments as for `infer_schema`."""
    rows = []
    for field in schema.fields:
        series = frame[field.name]
        known = (facts or {}).get(field.name) or SeriesFacts(series)
        found = find(series, field.name == schema.label, known)
        why = found.why if found.field.type == field.type else f"set, not found (its values look {found.field.type})"
        if field.format is not None and found.field.format != field.format and not field.dtype.startswith("float"):
            why = f"{why}, {field.format}"
        example = _example(series, field)
        rows.append(ColumnRow(field.name, field.type, known.missing, found.distinct, example, why))
    return rows


def _example(series: pd.Series, field: Field) -> str:
    present = series.dropna()
    if present.empty or field.type in {"id", "text"}:
        return ""
    if field.type in {"numeric", "integer"} and is_text(series):
        numbers = numbers_of(present, field)
        low, high = np.nanargmin(numbers), np.nanargmax(numbers)
        return f"{present.iloc[low]} to {present.iloc[high]}"
    if field.type in {"numeric", "integer"}:
        numbers = numbers_of(present, field)
        style = ".0f" if field.type == "integer" else ".6g"
        return f"{np.nanmin(numbers):{style}} to {np.nanmax(numbers):{style}}"
    if field.type == "datetime" and field.format is None:
        return f"{present.min():%Y-%m-%d} to {present.max():%Y-%m-%d}"
    values = list(present.iloc[:1000].unique()) if field.is_choice else list(present.iloc[:1])
    return ", ".join(str(value)[:24] for value in values[:3])


def _check_label(facts: Facts, field: Field) -> None:
    distinct = facts.distinct
    if field.type in {"numeric", "integer"} or (field.is_choice and distinct <= MAX_CLASSES):
        return
    if field.is_choice:
        raise UserError(f"data.target={field.name} has {distinct} classes; a label may have {MAX_CLASSES} at most")
    if field.type == "constant":
        raise UserError(f"data.target={field.name} has {distinct} distinct values, so there is nothing to label by")
    raise UserError(
        f"data.target={field.name} is of type {field.type} ({distinct} distinct values in {facts.rows} rows), so it"
        f" cannot be the label; choose another, or say what it is with data.types.{field.name}=category"
    )


def _wanted(name: str, override: Override) -> _Wanted:
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
    return _Wanted(kind, order, given.get("format"), given.get("decimals"), generator, str(given.get("locale") or ""))


def _overridden(series: pd.Series, wanted: _Wanted) -> Field:
    name, dtype = str(series.name), str(series.dtype)
    if wanted.type == "constant" and series.nunique() > 1:
        raise UserError(f"data.types.{name}=constant, but the column has {series.nunique()} distinct values")
    if wanted.type == "ordinal":
        return Field(name, "ordinal", dtype, order=_order(series, wanted.order))
    if wanted.type == "datetime":
        facts = SeriesFacts(series)
        return _placed(Field(name, "datetime", dtype, format=_format(series, wanted.format)), series.dropna(), facts)
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
    declared = _declared(series) if wanted.type in {"category", "constant"} else {}
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
        return format
    try:
        wrong = dates_of(values, format).isna() & ~values.astype(str).map(lambda word: stands_for_none(word, format))
    except ValueError as error:
        raise UserError(f"data.types.{series.name}.format={format} is no date format ({error})") from None
    if wrong.any():
        raise UserError(f"data.types.{series.name}.format={format} does not fit {str(values[wrong].iloc[0])!r}")
    return format


def _number(series: pd.Series, wanted: _Wanted) -> Field:
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
    is_signed = format is not None and is_text(series)
    is_number = pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_timedelta64_dtype(series.dtype)
    if not is_signed and (not is_number or pd.api.types.is_bool_dtype(series.dtype)):
        dtype = "int64" if wanted.type == "integer" and not series.isna().any() else "float64"
    found = find_decimals(pd.Series(numbers).dropna()) if wanted.decimals is None else wanted.decimals
    if is_signed and format not in DURATIONS and wanted.decimals is None:
        found = number_writing(str(format)).most
    decimals = 0 if wanted.type == "integer" else found
    return Field(name, wanted.type, dtype, decimals=decimals, format=format)  # type: ignore[arg-type]
