"""What the columns of a person's table are, in user units: the types that data, codecs, metrics and plots share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

ColumnType = Literal["numeric", "integer", "boolean", "category", "ordinal", "datetime", "id", "text", "constant"]
COLUMN_TYPES: tuple[str, ...] = get_args(ColumnType)
NUMERIC_TYPES = frozenset({"numeric", "integer", "datetime"})
CHOICE_TYPES = frozenset({"boolean", "category", "ordinal"})
GENERATED_TYPES = frozenset({"id", "text", "constant"})


@dataclass(frozen=True)
class Field:
    """One column of a table as its owner sees it.

    Attributes:
        name: Column name.
        type: One of `COLUMN_TYPES`. Numeric types are modelled as numbers, choice types as categories; generated types
            carry no signal a model could learn: ids are made anew, constants repeated.
        dtype: The pandas dtype of the input, as text; synthetic data comes back with it.
        decimals: Digits after the point that numbers are rounded to (0 for integers); None for unrounded floats.
        order: Categories of an ordinal column from lowest to highest; empty for other types.
        format: How cells are written, as `datakiln.writings` tells it: of a date kept as text or as digits, of numbers
            kept as text, and of floats that a text file had otherwise than Python writes them; else None.
        categories: All that a categorical dtype declares, whether a row has them or not; empty for other dtypes.
        placeholders: Words of a column of dates that stand for a missing one, and their shares among missing cells.
        storage: The type of the column in the Parquet file it came from; "" for other sources.
        generator: What makes an id or free text anew: "faker.name", "regex([A-Z]{3})"; "" for what its cells tell.
        locale: Of a Faker generator, such as "de_DE"; "" for English.
    """

    name: str
    type: ColumnType
    dtype: str
    decimals: int | None = None
    order: tuple[str, ...] = ()
    format: str | None = None
    categories: tuple[Any, ...] = ()
    placeholders: tuple[tuple[str, float], ...] = ()
    storage: str = ""
    generator: str = ""
    locale: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether the column is modelled as a number."""
        return self.type in NUMERIC_TYPES

    @property
    def is_choice(self) -> bool:
        """Whether the column is modelled as a category."""
        return self.type in CHOICE_TYPES


@dataclass(frozen=True)
class Schema:
    """The fields of a table in column order, and which of them is the label (a choice field), if any."""

    fields: tuple[Field, ...]
    label: str | None = None

    def __getitem__(self, name: str) -> Field:
        """The field of that name; raises `KeyError` where there is none."""
        found = next((field for field in self.fields if field.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [field.name for field in self.fields]

    @property
    def numeric(self) -> list[str]:
        """Names of the columns modelled as numbers."""
        return [field.name for field in self.fields if field.is_numeric]

    @property
    def choices(self) -> list[str]:
        """Names of the columns modelled as categories."""
        return [field.name for field in self.fields if field.is_choice]

    def state(self) -> dict[str, Any]:
        """Plain numbers, strings and lists."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Schema:
        """Inverse of `state`."""
        return cls(tuple(Field(**_with_tuples(field)) for field in state["fields"]), state["label"])


def free_name(name: str, taken: Iterable[Any]) -> str:
    """A name for a column beside a person's own: with underscores behind it where they have one of that name."""
    known = {*map(str, taken)}
    while name in known:
        name = f"{name}_"
    return name


def _with_tuples(state: dict[str, Any]) -> Any:  # noqa: ANN401 (the arguments of a field)
    """Lists, as files keep tuples, as such again."""
    made = {key: tuple(value) if isinstance(value, list) else value for key, value in state.items()}
    if "placeholders" in made:
        made["placeholders"] = tuple((word, share) for word, share in made["placeholders"])
    return made
