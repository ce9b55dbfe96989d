"""One relation between columns: a formula, a function or an order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.cells import Numbered, chosen, keys_of, numbers_of, slack, tolerance
from datakiln.codecs.tables.relations.expressions import (
    Tree,
    check,
    columns_of,
    days_of,
    magnitude,
    quoted,
    reading_of,
    whole_days_away,
    worked_out,
    written,
)
from datakiln.schema import Field, Schema

Form = Literal["formula", "function", "order", "distance"]
Mode = Literal["computed", "shifted", "kept", "checked"]


@dataclass(frozen=True)
class Relation:
    """What holds between a column and others.

    Attributes:
        form: "formula": the target is what `tree` gives, within half of its last digit. "function": each value of
            `tree`, a column or the part of a date, goes with one value of the target, listed in `keys` and `values`.
            "order": the target is at least as large as `tree`, a column or the greatest of several; or at most as large
            as the least of several, if `below`. "distance": both are times of day, and what is learnt is how much later
            the target is by the clock.
        target: The column it is about.
        tree: See `datakiln.codecs.tables.relations.expressions`.
        mode: "computed": the target is not learnt but computed. "shifted": what is learnt is how far it is from `tree`.
            "kept": it is learnt, since it is also there where `tree` is missing or the other way round, and computed
            over. "checked": it is learnt, and rows that break the relation are drawn again.
        share: Of the training rows with all its columns, those it holds in.
        tests: Number of training rows in which it could have failed, would the columns not depend on each other.
        strict: Whether the two sides of an order differ.
        below: Whether the target of an order is its smaller side.
        step: What a shift is counted in, 0 for none: days of dates and times, 1 for numbers.
        keys: Of a function, plain values, lists of two for a pair of columns; numbers rise.
        numeric: Whether those keys are numbers, of which the nearest counts.
        values: Of a function, for each key, plain values; None for missing.
        text: As a person declared it; empty if found.
    """

    form: Form
    target: str
    tree: Tree
    mode: Mode = "computed"
    share: float = 1.0
    tests: int = 0
    strict: bool = False
    below: bool = False
    step: float = 0.0
    keys: tuple[Any, ...] = ()
    numeric: bool = False
    values: tuple[Any, ...] = ()
    text: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns that the target depends on."""
        return columns_of(self.tree)

    @property
    def columns(self) -> tuple[str, ...]:
        """All of its columns."""
        return (self.target, *self.sources)

    @property
    def is_exact(self) -> bool:
        """Whether every row meets it: no training row broke it."""
        return self.share == 1.0 and not (self.mode == "shifted" and self.form in ("formula", "distance"))

    def __str__(self) -> str:
        """Such as total = qty * price, city -> country, start < end."""
        target, tree = quoted(self.target), written(self.tree)
        if self.form == "order":
            low, high = (target, tree) if self.below else (tree, target)
            return f"{low} {'<' if self.strict else '<='} {high}"
        if self.form == "distance":
            return f"{target} - {quoted(self.sources[0])} by the clock"
        return f"{tree} -> {target}" if self.form == "function" else f"{target} = {tree}"

    def told(self) -> str:
        """With the share of training rows, as in the table of types."""
        return f"{self} ({'every row' if self.share == 1.0 else f'{math.floor(self.share * 1e4) / 100:g} % of rows'})"

    def needed(self, frame: pd.DataFrame | Mapping[str, pd.Series], schema: Schema) -> dict[str, np.ndarray]:
        """The sources as floats."""
        if isinstance(frame, Numbered):
            return {name: frame.numbers(schema[name]) for name in self.sources}
        return {name: numbers_of(frame[name], schema[name]) for name in self.sources}

    def distance(self, target: np.ndarray, made: np.ndarray) -> np.ndarray:
        """How far the target is from what `tree` makes, in steps."""
        if self.form == "distance":
            form, low = self.tree[1], self.tree[-1]
            return np.asarray(whole_days_away(days_of(target, form) - days_of(made, form), low) / (self.step or 1.0))
        return (target - made) / (self.step or 1.0)

    def moved(self, made: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Inverse of `distance`: what lies so many steps from what `tree` makes, or before it for as many below 0."""
        if self.form == "distance":
            _, form, resolution, *_ = self.tree
            return np.asarray(reading_of(days_of(made, form) + steps * (self.step or 1.0), form, resolution))
        return made + steps * (self.step or 1.0)

    def codes(self, frame: pd.DataFrame | Mapping[str, pd.Series], schema: Schema) -> np.ndarray:
        """Of a function, the place of each row's key, -1 where it is missing or, if no number, never seen."""
        if self.numeric:
            found = worked_out(self.tree, self.needed(frame, schema))
            keys = np.asarray(self.keys, dtype=np.float64)
            above = np.clip(np.searchsorted(keys, found), 1, max(len(keys) - 1, 1))
            low, high = keys[np.minimum(above - 1, len(keys) - 1)], keys[np.minimum(above, len(keys) - 1)]
            nearest = np.where(found - low < high - found, above - 1, np.minimum(above, len(keys) - 1))
            return np.where(np.isnan(found), -1, nearest).astype(np.int64)
        if self.tree[0] == "pair":
            pairs = pd.Index([tuple(key) for key in self.keys], dtype=object, tupleize_cols=False)
            rows = zip(*(keys_of(frame[name]) for name in self.sources), strict=True)
            return pairs.get_indexer(pd.Index(list(rows), dtype=object, tupleize_cols=False))
        return pd.Index(self.keys, dtype=object).get_indexer(pd.Index(keys_of(frame[self.tree[1]])))

    def made(self, frame: pd.DataFrame | Mapping[str, pd.Series], schema: Schema) -> pd.Series | np.ndarray:
        """The target as computed: a series of a function, floats of a formula."""
        if self.form == "function":
            return chosen(self.values, self.codes(frame, schema), schema[self.target])
        return np.asarray(worked_out(self.tree, self.needed(frame, schema)), dtype=np.float64)

    def breaks(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Which rows break it, shape (n,); a row without one of its columns does not."""
        field = schema[self.target]
        if self.form == "function":
            codes = self.codes(frame, schema)
            listed, cells = chosen(self.values, codes, field), frame[self.target]
            if field.is_numeric:
                far = np.abs(numbers_of(listed, field) - numbers_of(cells, field)) > 2 * tolerance(field)
                return (codes >= 0) & far
            one, two = keys_of(listed), keys_of(cells)
            both = one.notna().to_numpy() & two.notna().to_numpy()
            return (codes >= 0) & both & (one.astype(str).to_numpy() != two.astype(str).to_numpy())
        if self.form == "distance":
            return np.zeros(len(frame), dtype=bool)
        sources, target = self.needed(frame, schema), numbers_of(frame[self.target], field)
        if self.form == "formula":
            return ~self.holds({**sources, self.target: target}, field)
        wanted = np.asarray(worked_out(self.tree, sources), dtype=np.float64)
        low, high = (target, wanted) if self.below else (wanted, target)
        with np.errstate(invalid="ignore"):
            return low >= high if self.strict else low > high

    def holds(self, cells: Mapping[str, np.ndarray], field: Field) -> np.ndarray:
        """In which rows a formula holds, or lacks a number."""
        wanted = np.asarray(worked_out(self.tree, cells), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return ~(np.abs(cells[self.target] - wanted) > tolerance(field) + self.error(cells, field))

    def error(self, sources: Mapping[str, np.ndarray], field: Field) -> np.ndarray:
        """What reckoning with floats may miss, in each row."""
        return slack(field) * np.asarray(magnitude(self.tree, sources), dtype=np.float64)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "keys": list(self.keys), "values": list(self.values)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Relation:
        """Inverse of `state`; raises `ValueError` for what is no relation."""
        check(state["tree"])
        return cls(**{**state, "keys": tuple(state["keys"]), "values": tuple(state["values"])})

    def changed(self, **changes: Any) -> Relation:
        """The same but for these attributes."""
        return replace(self, **changes)
