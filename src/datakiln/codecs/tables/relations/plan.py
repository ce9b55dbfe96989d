"""What a codec does with the relations of its table: columns that are computed instead of learnt, and checked rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.relations.calendar import DAY
from datakiln.codecs.tables.relations.cells import Numbered, first_day, in_days, numbers_of, series_of, tolerance
from datakiln.codecs.tables.relations.expressions import columns_of, solved, worked_out
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.values import with_columns
from datakiln.schema import Field, Schema

Cells = Mapping[str, pd.Series]
SWAPS = 3


class Plan:
    """Relations in an order in which they can be computed.

    Arguments:
        relations: See `datakiln.codecs.tables.relations.finding.find_relations`.
        schema: Of the table.
    """

    def __init__(self, relations: Sequence[Relation], schema: Schema) -> None:
        """See the class."""
        self.relations, self.schema = tuple(relations), schema
        self.computed = {r.target: r for r in relations if r.mode == "computed"}
        self.shifted = {r.target: r for r in relations if r.mode == "shifted"}
        self.kept = {r.target: r for r in relations if r.mode == "kept"}
        self.checked = [r for r in relations if r.mode == "checked"]
        self.made = {**self.computed, **self.kept}

    def shift_field(self, name: str) -> Field:
        """What the distance of a column from what it is computed of is: whole days, or numbers of its decimals."""
        relation = self.shifted[name]
        if relation.step:
            return Field(name, "integer", "float64", decimals=0)
        decimals = [self.schema[one].decimals for one in (relation.columns if relation.form == "order" else [name])]
        is_date = self.schema[name].type == "datetime"
        known = [digits for digits in decimals if digits is not None]
        return Field(name, "numeric", "float64", None if is_date or len(known) < len(decimals) else max(known))

    def shift(self, name: str, cells: Cells | pd.DataFrame) -> pd.Series:
        """That distance in each row, missing where one of the columns is."""
        relation = self.shifted[name]
        made = worked_out(relation.tree, relation.needed(cells, self.schema))
        gap = relation.distance(numbers_of(cells[name], self.schema[name]), made)
        decimals = self.shift_field(name).decimals
        return pd.Series(gap if decimals is None else np.round(gap, decimals) + 0.0, name=name)

    def sources(self) -> set[str]:
        """Columns that distances are reckoned from."""
        return {source for relation in self.shifted.values() for source in relation.sources}

    def restored(self, drawn: Mapping[str, pd.Series], columns: Mapping[str, ColumnCodec]) -> dict[str, pd.Series]:
        """All columns of rows, from what was drawn of them: distances in place of shifted columns, none of computed.

        Arguments:
            drawn: By name.
            columns: The codecs of the columns in user units.
        """
        cells = Numbered(drawn)
        for relation in self.relations:
            name, column = relation.target, columns[relation.target]
            if relation.mode == "checked":
                continue
            if relation.mode == "shifted":
                base = worked_out(relation.tree, relation.needed(cells, self.schema))
                values = relation.moved(base, numbers_of(drawn[name], self.shift_field(name)))
                limits = getattr(column, "limits", None)
                if limits is not None:
                    values = np.clip(values, *in_days(limits, self.schema[name]))
                cells[name] = series_of(values, self.schema[name])
                continue
            made = self.computed_cells(relation, cells, column)
            cells[name] = made if relation.mode == "computed" else _over(drawn[name], made)
        return cells

    def computed_cells(self, relation: Relation, cells: Cells, column: ColumnCodec) -> pd.Series:
        """The target of a relation in each row, as its column would hold it."""
        made = relation.made(cells, self.schema)
        if isinstance(made, pd.Series):
            return made
        if isinstance(column, NumberColumn) and column.step and column.field.type == "datetime":
            first = first_day(column.field) * DAY
            made = (column.grid.put(made * DAY + first) - first) / DAY
        return series_of(np.where(np.isfinite(made), made, np.nan), self.schema[relation.target])

    def unmet(self, frame: pd.DataFrame, columns: Mapping[str, ColumnCodec]) -> np.ndarray:
        """Rows to draw again, shape (n,): an order is broken, or a computed cell is none that the column could hold."""
        bad = np.zeros(len(frame), dtype=bool)
        for relation in self.checked:
            bad |= relation.breaks(frame, self.schema)
        for name, relation in self.made.items():
            column = columns[name]
            if relation.form != "formula":
                continue
            if isinstance(column, ChoiceColumn):
                bad |= frame[name].notna().to_numpy() & (column.codes(frame[name]) < 0)
            elif isinstance(column, NumberColumn):
                values = numbers_of(frame[name], self.schema[name])
                if column.limits is not None:
                    low, high = in_days(column.limits, self.schema[name])
                    margin = tolerance(self.schema[name]) + 1e-9 * (high - low)
                    bad |= (values < low - margin) | (values > high + margin)
                whole = np.logical_and.reduce([frame[source].notna().to_numpy() for source in relation.sources])
                bad |= np.isnan(values) & whole if relation.mode == "computed" else False
        return bad

    def repaired(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What is left of broken orders put right: the smaller cell to the smaller column."""
        made = set(self.made) | set(self.shifted) | self.sources()
        made |= {source for relation in self.made.values() for source in relation.sources}
        for _ in range(SWAPS):
            for relation in self.checked:
                low, high = relation.tree[1], relation.target
                bad = relation.breaks(frame, self.schema)
                if not bad.any() or made & {low, high}:
                    continue
                small, large = (numbers_of(frame[name], self.schema[name])[bad] for name in (low, high))
                equal = small == large  # of a strict order: nothing to swap
                for name, values in ((low, np.minimum(small, large)), (high, np.maximum(small, large))):
                    cells = frame[name].copy()
                    cells[bad] = series_of(values, self.schema[name]).to_numpy()
                    frame = with_columns(frame, {name: cells})
                if equal.all():
                    break
        return frame

    def completed(self, cells: Cells, rounds: int = 2) -> dict[str, pd.Series]:
        """The cells and those that follow from them: computed columns, and sources that a computed column leaves open.

        Arguments:
            cells: Series of one length, by name; missing cells, and columns that are not there, are unknown.
            rounds: How often what follows is looked for.
        """
        known = Numbered(cells)
        for _ in range(rounds):
            for relation in self.relations:
                if relation.mode not in ("computed", "kept"):
                    continue
                if all(source in known for source in relation.sources):
                    made = _as_series(relation.made(known, self.schema), self.schema[relation.target])
                    known[relation.target] = _filled(known.get(relation.target), made)
                if relation.target in known:
                    self._solve(relation, known)
        return known

    def _solve(self, relation: Relation, known: dict[str, pd.Series]) -> None:
        """Adds what is the only unknown source of a relation."""
        for source in relation.sources:
            others = [other for other in relation.sources if other != source]
            if not all(other in known for other in others):
                continue
            found = self.inverse(relation, source, known)
            if found is not None and found.notna().any():
                known[source] = _filled(known.get(source), found)

    def inverse(self, relation: Relation, source: str, known: Cells | pd.DataFrame) -> pd.Series | None:
        """The source as it follows from the target and the other sources; None where they leave it open."""
        target, field = known[relation.target], self.schema[source]
        if relation.form == "function":
            if relation.tree[0] != "column" or len(set(map(str, relation.values))) < len(relation.values):
                return None
            pairs = [pair for pair in zip(relation.values, relation.keys, strict=True) if pair[0] is not None]
            numeric = self.schema[relation.target].is_numeric
            if numeric:
                pairs.sort(key=lambda pair: float(pair[0]))
            back = Relation(
                "function",
                source,
                ["column", relation.target],
                keys=tuple(float(value) if numeric else value for value, _ in pairs),
                values=tuple(key for _, key in pairs),
                numeric=numeric,
            )
            if not pairs:
                return None
            made = back.made({relation.target: target}, self.schema)
            assert isinstance(made, pd.Series)
            return made
        numbers = {name: numbers_of(known[name], self.schema[name]) for name in relation.sources if name != source}
        values = solved(relation.tree, numbers_of(target, self.schema[relation.target]), numbers, source)
        if values is None:
            return None
        values = np.asarray(values, dtype=np.float64)
        return series_of(np.where(np.isfinite(values), values, np.nan), field)

    def broken(self, cells: Cells | pd.DataFrame) -> list[tuple[Relation, np.ndarray]]:
        """Relations that every training row met, each with the rows that break it; of those whose columns are there."""
        found = []
        for relation in self.relations:
            if relation.is_exact and all(name in cells for name in relation.columns):
                found.append((relation, relation.breaks(cells, self.schema)))  # type: ignore[arg-type]
        return found

    def settled(self, names: set[str]) -> set[str]:
        """Columns of those named that do not hang on a column that is not."""
        return {name for name in names if self._roots(name) <= names}

    def origins(self, name: str) -> set[str]:
        """The columns that a computed one hangs on in the end, none of which is computed itself."""
        relation = self.made.get(name)
        return {name} if relation is None else {one for source in relation.sources for one in self.origins(source)}

    def _roots(self, name: str) -> set[str]:
        relation = self.made.get(name) or self.shifted.get(name)
        if relation is None:
            return {name}
        return {root for source in columns_of(relation.tree) for root in self._roots(source)} | {name}

    def state(self) -> list[dict[str, Any]]:
        """Plain values."""
        return [relation.state() for relation in self.relations]


def _as_series(made: pd.Series | np.ndarray, field: Field) -> pd.Series:
    if isinstance(made, pd.Series):
        return made
    return series_of(np.where(np.isfinite(made), made, np.nan), field)


def _filled(given: pd.Series | None, made: pd.Series) -> pd.Series:
    """Given cells, and made ones where none is given."""
    if given is None:
        return made
    gone = given.isna().to_numpy()
    if not gone.any():
        return given
    made = made.set_axis(given.index)
    cells = given.astype(object).where(~gone, made.astype(object))
    return cells if given.dtype == object else _cast(cells, made)


def _over(drawn: pd.Series, made: pd.Series) -> pd.Series:
    """Made cells in place of drawn ones where both are there."""
    both = drawn.notna().to_numpy() & made.notna().to_numpy()
    if both.all():
        return made
    return _cast(drawn.astype(object).where(~both, made.astype(object)), drawn)


def _cast(cells: pd.Series, like: pd.Series) -> pd.Series:
    if pd.api.types.is_integer_dtype(like.dtype) and cells.isna().any():
        return cells.astype("Int64" if isinstance(like.dtype, pd.api.extensions.ExtensionDtype) else "float64")
    return cells.astype(like.dtype)
