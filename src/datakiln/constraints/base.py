"""What every constraint offers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.errors import UserError, near
from datakiln.schema import Schema


class Constraint(abc.ABC):
    """A rule that holds or not for each row.

    Attributes:
        columns: Names of the columns it reads.
    """

    columns: tuple[str, ...]

    def check(self, schema: Schema) -> None:
        """Raises `UserError` for a column that is not there or that is made anew for every row."""
        for name in self.columns:
            if name not in schema.names:
                raise UserError(f"constraint '{self}': no column {name!r}{near(name, schema.names)}")
            if schema[name].type in ("id", "text"):
                raise UserError(f"constraint '{self}': {name} is an id or free text, which is made anew for every row")

    def fit(self, frame: pd.DataFrame, schema: Schema) -> None:  # noqa: B027 (most have nothing to learn)
        """Learns from the training rows, where there is something to learn."""

    @abc.abstractmethod
    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Which rows meet it, shape (n,)."""

    @abc.abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, plain values."""

    @abc.abstractmethod
    def __str__(self) -> str:
        """As a person would write it."""

    def combinations(self, schema: Schema) -> pd.DataFrame | None:
        """All values its columns can take together, if they are a list."""
        return None


def several(kind: str, columns: Sequence[str] | str) -> tuple[str, ...]:
    """Names of a group of columns; raises `UserError` for fewer than two different ones."""
    names = (columns,) if isinstance(columns, str) else tuple(str(name) for name in columns)
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"constraint {kind} needs at least two different columns, not {list(names)}")
    return names
