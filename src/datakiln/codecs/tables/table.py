"""A table as rows of numbers: each column's codec side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datakiln.codecs.tables import clusters, companions, equalities
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.columns import ColumnsCodec
from datakiln.codecs.tables.companions import Companion
from datakiln.codecs.tables.dates import Dates, taken_apart, unique_step
from datakiln.codecs.tables.generated import GeneratedColumn
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.relations.plan import Plan
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.scaling import MinMax
from datakiln.codecs.tables.tally import Tally
from datakiln.codecs.tables.values import all_numbers, from_numbers, plain_cells, plain_value, to_numbers, with_columns
from datakiln.errors import UserError, near
from datakiln.schema import Field, Schema
from datakiln.spec import Block, Column, DataSpec, Sum, sums_of
from datakiln.wording import counted

COLUMN_KINDS: dict[str, type[ColumnCodec]] = {cls.kind: cls for cls in (NumberColumn, ChoiceColumn, GeneratedColumn)}


class TableCodec(ColumnsCodec):
    """Rows of a frame to vectors of shape (D,) and back.

    Attributes:
        columns: Of the schema, in user units.
        inner: What is laid out: without columns that are computed from others, with the distance in place of those of
            which a distance from others is learnt, and with their parts in place of dates that are taken apart.
        plan: Relations between the columns.
        dates: How dates are taken apart, by name.
        equal_to: What a number often equals, by its name: another, or the sum or difference of two.
        unique: Dates that no two training rows share, by name: their resolution in seconds, and where it begins.
        companions: What goes with rare categories; nothing where not all training rows were at hand.
    """

    kind = "table"
    adds_up = True  # whether sums of two columns are looked for
    tells_pieces = False  # whether models are told at which coordinates values are shared, as those of series are
    schema: Schema
    columns: list[ColumnCodec]
    inner: list[ColumnCodec]
    plan: Plan
    dates: dict[str, Dates]
    equal_to: dict[str, list[Sum]]
    companions: list[Companion]
    unique: dict[str, tuple[float, float]]

    def fit(
        self,
        frame: pd.DataFrame,
        schema: Schema,
        tallies: Mapping[str, Tally] | None = None,
        rows: int | None = None,
        relations: Sequence[Relation] = (),
        labels: pd.Series | None = None,
    ) -> TableCodec:
        """Learns every column from the training rows and publishes the spec.

        Arguments:
            frame: The training rows, or a uniform sample of them.
            schema: Their columns.
            tallies: Of all training rows, where `frame` is a sample.
            rows: Number of training rows, where `frame` is a sample.
            relations: What holds between the columns, each after those that compute its sources.
            labels: Of all training rows, where `frame` has each of them once and some are trained on several times.
        """
        self.schema, self.plan = schema, Plan(relations, schema)
        known = tallies or {}
        self.dates = self._taken_apart(frame)
        self.columns = [self._fitted(field, frame, known.get(field.name)) for field in schema.fields]
        parts = {name: [self._shift(name, frame)] for name in self.plan.shifted}
        self.inner = self._to_lay_out(parts | {name: self._parts(name, frame) for name in self.dates})
        self.equal_to = equalities.find(self._numbers(self._cells(frame)), self._added()) if self.places else {}
        choices = [c for c in self.inner if isinstance(c, ChoiceColumn)]
        steps = {name: unique_step(schema[name], frame[name]) for name in self._whole_dates()} if not known else {}
        self.unique = {name: step for name, step in steps.items() if step is not None}
        self.companions = companions.find(choices, frame) if tallies is None else []
        shares = self._shares(frame if labels is None else labels.to_frame(), known)
        self._lay_out(len(frame) if rows is None else rows, shares)
        if self.spec.shape[0] == 0:
            types = ", ".join(sorted({field.type for field in schema.fields}))
            raise UserError(f"no column left to model (the columns are {types}); set data.types to say what they are")
        return self

    @property
    def relations(self) -> Sequence[Relation]:
        """What holds between the columns."""
        return self.plan.relations

    def declare(self, columns: list[ColumnCodec], schema: Schema, rows: int, shares: tuple[float, ...]) -> TableCodec:
        """Takes columns that were not fitted to rows, and publishes the spec.

        Arguments:
            columns: One for each field.
            schema: Their fields.
            rows: About how many there are to train on.
            shares: Of the label's classes; empty without one.
        """
        self.schema, self.plan, self.dates = schema, Plan([], schema), {}
        self.columns = columns
        self.inner, self.equal_to, self.companions, self.unique = self._to_lay_out({}), {}, [], {}
        self._lay_out(rows, shares)
        return self

    def avoid(self, frames: Iterable[pd.DataFrame], rows: int) -> None:
        """Makes no id or text of these frames, which are all rows of the table: those that judge are a person's too."""
        made = [c for c in self.columns if isinstance(c, GeneratedColumn) and c.is_new]
        for frame in frames if made else ():
            for column in made:
                column.avoid(frame[column.field.name], rows)

    def _fitted(self, field: Field, frame: pd.DataFrame, tally: Tally | None) -> ColumnCodec:
        series = frame[field.name]
        if field.is_choice:
            if tally is None:
                counts, missing = plain_cells(series).value_counts(sort=True), bool(series.isna().any())
            else:
                counts, missing = tally.counts.sort_values(ascending=False, kind="stable"), tally.has_missing
            counts = counts[counts > 0]  # a categorical counts the categories that no row has, too
            limit = len(counts) if field.name == self.schema.label else self.max_categories
            found = self._clusters(field, frame, counts, limit) if len(counts) > limit else None
            is_complete = tally is None or not tally.is_pruned
            return ChoiceColumn.from_counts(field, counts, missing, limit, is_complete, found)
        series = series if tally is None else tally.completed(series)
        if field.is_numeric:
            is_laid = not any(field.name in others for others in (self.plan.computed, self.plan.shifted, self.dates))
            encoder = self.numeric() if is_laid else MinMax()
            return NumberColumn.fit(field, series, encoder, self.clip, self.spikes)
        return GeneratedColumn.fit(field, series)

    def _clusters(self, field: Field, frame: pd.DataFrame, counts: pd.Series, limit: int) -> clusters.Clusters | None:
        """Of the rarest categories, by the columns that are learnt; an order would be lost in them."""
        if field.order:
            return None
        others = {
            other.name: other
            for other in self.schema.fields
            if other.name not in self.plan.computed
            and other.name != field.name
            and (other.is_choice or other.is_numeric)
        }
        values = [plain_value(value) for value in counts.index]
        return clusters.find(frame, field.name, values, others, limit)

    def _shift(self, name: str, frame: pd.DataFrame) -> NumberColumn:
        """The codec of a column's distance from what it is computed of; an order's never changes its sign."""
        clip = self.clip or self.plan.shifted[name].form == "order"
        return NumberColumn.fit(
            self.plan.shift_field(name), self.plan.shift(name, frame), self.numeric(), clip, self.spikes
        )

    def _whole_dates(self) -> list[str]:
        """Columns of dates that are neither computed from others nor learnt as a distance from them."""
        dates = [field.name for field in self.schema.fields if field.type == "datetime"]
        return [name for name in dates if name not in self.plan.computed and name not in self.plan.shifted]

    def _taken_apart(self, frame: pd.DataFrame) -> dict[str, Dates]:
        """How the dates among the training rows are taken apart, where they are."""
        found = {name: taken_apart(self.schema[name], frame, self.schema.fields) for name in self._whole_dates()}
        return {name: dates for name, dates in found.items() if dates is not None}

    def _parts(self, name: str, frame: pd.DataFrame) -> list[NumberColumn]:
        """The codecs of the parts of a date."""
        dates = self.dates[name]
        cells = dates.apart(frame[name], self.schema[name])
        return [
            NumberColumn.fit(field, cells[field.name], self.numeric(), self.clip or field.name != name, self.spikes)
            for field in dates.fields
        ]

    def _to_lay_out(self, parts: Mapping[str, Sequence[ColumnCodec]]) -> list[ColumnCodec]:
        laid = [column for column in self.columns if column.field.name not in self.plan.computed]
        return [part for column in laid for part in parts.get(column.field.name, (column,))]

    def _owner(self, column: ColumnCodec) -> str:
        """The column of the table that one which is laid out is, or is a part of."""
        name = column.field.name
        return next((date for date, dates in self.dates.items() if name in (dates.day, dates.time)), name)

    def _cells(self, data: Mapping[str, pd.Series] | pd.DataFrame) -> dict[str, pd.Series]:
        """What is encoded of each column that is laid out, of those whose cells are there."""
        found: dict[str, pd.Series] = {}
        for column in self.inner:
            name = column.field.name
            needed = self.plan.shifted[name].columns if name in self.plan.shifted else (name,)
            if all(one in data for one in needed) and self._owner(column) == name:
                if name in self.dates:
                    found |= self.dates[name].apart(data[name], self.schema[name])
                else:
                    found[name] = self.plan.shift(name, data) if name in self.plan.shifted else data[name]
        return found

    def by_name(self) -> dict[str, ColumnCodec]:
        """The codec of each column in user units."""
        return {column.field.name: column for column in self.columns}

    def _shares(self, frame: pd.DataFrame, tallies: Mapping[str, Tally]) -> tuple[float, ...]:
        label = self.label_codec
        if label is None:
            return ()
        name = label.field.name
        if name in tallies:
            found = tallies[name].counts
            counts = np.bincount(label.codes(pd.Series(found.index)), weights=found.to_numpy(), minlength=label.width)
            counts[len(label.values) : len(label.values) + label.missing] = tallies[name].n_missing
        else:
            counts = np.bincount(label.codes(frame[name]), minlength=label.width)
        return tuple((counts / counts.sum()).tolist())

    def _lay_out(self, size: int, shares: tuple[float, ...]) -> None:
        start, laid = 0, []
        self._spans: list[tuple[int, int]] = []
        for column in self.inner:
            blocks = self._blocks(column, start)
            stop = blocks[-1].stop if blocks else start
            self._spans.append((start, stop))
            if blocks:
                laid.append(Column(column.field.name, blocks, column.field.name == self.schema.label))
            start = stop
        label = self.label_codec
        names = [] if label is None else [str(v) for v in label.values] + (["missing"] if label.missing else [])
        self.spec = DataSpec(
            kind="table", shape=(start,), columns=tuple(laid), classes=tuple(names), class_shares=shares, size=size
        )

    def _blocks(self, column: ColumnCodec, start: int) -> tuple[Block, ...]:
        if not self.compact or column.size is None:
            return column.blocks(start)
        if not self._is_placed(column):
            return (Block(start, start + 1, "code", size=column.size, ordered=column.ordered),)
        equal_to = self.equal_to.get(column.field.name, [])
        assert isinstance(column.encoder, Bins)
        knots = tuple(map(tuple, column.encoder.knots.tolist()))
        code = Block(
            start,
            start + 1,
            "code",
            size=column.size + len(equal_to),
            ordered=column.ordered,
            knots=knots,
            equal_to=tuple(equal_to),
            pieces=column.pieces if self.tells_pieces else (),
        )
        return (code, Block(start + 1, start + 2, "place"))

    def _is_placed(self, column: ColumnCodec) -> TypeGuard[NumberColumn]:
        return self.places and isinstance(column, NumberColumn) and isinstance(column.encoder, Bins)

    def _numbers(self, cells: Mapping[str, pd.Series]) -> dict[str, np.ndarray]:
        """Values of the placed columns that are there, NaN where missing; distances are compared with nothing."""
        laid = [c for c in self.inner if c.field.name not in self.plan.shifted]
        placed = [c.field for c in laid if self._is_placed(c) and c.field.name in cells]
        return {field.name: to_numbers(cells[field.name], field) for field in placed}

    def _added(self) -> set[str]:
        """Columns that may be added up: numbers, and no dates or parts of them."""
        numbers = {field.name for field in self.schema.fields if field.is_numeric and field.type != "datetime"}
        return numbers if self.adds_up else set()

    def _encode_column(
        self,
        column: ColumnCodec,
        series: pd.Series,
        values: Mapping[str, np.ndarray],
        inside: np.ndarray | float = 0.5,
    ) -> np.ndarray:
        """Positions of a column; `values` are those of the numbers that its cells may equal, see `_numbers`."""
        if not self.compact or column.size is None:
            return column.encode(series)
        if not self._is_placed(column):
            codes = column.codes(series)
            return np.where(codes < 0, np.nan, codes).astype(np.float32)[:, None]
        codes, places = column.places(series, inside)
        if column.field.name in self.equal_to:
            equal = equalities.states(values, column.field.name, self.equal_to[column.field.name])
            codes = np.where(equal >= 0, column.size + equal, codes)
        places = np.where(np.isnan(places), 0.0, places)
        pairs = np.stack(np.broadcast_arrays(codes, places), axis=1)
        return np.where(codes[:, None] < 0, np.nan, pairs).astype(np.float32)

    def _decode_column(self, column: ColumnCodec, x: np.ndarray, rng: np.random.Generator, first_row: int) -> pd.Series:
        if not self.compact or column.size is None:
            return column.decode(x, rng, first_row)
        codes = x[:, 0].astype(np.int64)
        return column.from_places(codes, x[:, 1]) if self._is_placed(column) else column.from_codes(codes, rng)

    def _equalise(self, series: dict[str, pd.Series], rows: np.ndarray) -> None:
        """Gives cells in a state of equality the very value they equal."""
        fields = {column.field.name: column.field for column in self.inner}
        needed = {other for found in self.equal_to.values() for terms in found for _, other in terms}
        numbers = {name: to_numbers(series[name], fields[name]) for name in needed}
        for column, (start, _) in zip(self.inner, self._spans, strict=True):
            name = column.field.name
            if name not in self.equal_to:
                continue
            assert column.size is not None
            values = to_numbers(series[name], column.field)
            codes = rows[:, start].astype(np.int64) - column.size
            for place, terms in enumerate(self.equal_to[name]):
                total = equalities.added_up(terms, numbers)
                limits = getattr(column, "limits", None) if len(terms) > 1 else None
                within = True if limits is None else equalities.is_within(total, limits)
                values = np.where((codes == place) & within, total, values)
            series[name] = from_numbers(values, column.field)
            numbers[name] = to_numbers(series[name], column.field)

    def forget_rows(self) -> None:
        """Leaves out how many rows had each category: they were drawn for it, nobody has counted real ones."""
        self.companions = []
        for column in self.columns:
            if isinstance(column, ChoiceColumn):
                column.rows = []

    @property
    def label_codec(self) -> ChoiceColumn | None:
        """The codec of the label column, if there is a label with classes."""
        for column in self.columns:
            if column.field.name == self.schema.label and isinstance(column, ChoiceColumn):
                return column
        return None

    def encode(self, data: pd.DataFrame, dequantise: bool = False) -> Tensor:
        """A frame with the schema's columns to (n, D) float32.

        Arguments:
            data: Rows in user units.
            dequantise: Whether rounded numbers that have a place lie anywhere within what is rounded to them (uniform
                dequantisation; Theis et al., 2016), as densities are learnt; else in its middle, so that equal rows
                are encoded alike. One draw a row serves all columns: what differs by whole steps still does.
        """
        modelled = [c for c, (start, stop) in zip(self.inner, self._spans, strict=True) if stop > start]
        inside = np.random.default_rng(0).random(len(data)) if dequantise else 0.5
        cells = self._cells(data)
        values = self._numbers(cells)
        parts = [self._encode_column(column, cells[column.field.name], values, inside) for column in modelled]
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32))

    @property
    def modelled(self) -> list[str]:
        """Names of the columns that encoding reads."""
        read = {column.name for column in self.spec.columns} | self.plan.sources()
        return [field.name for field in self.schema.fields if field.name in read]

    def labels(self, frame: pd.DataFrame) -> Tensor | None:
        """Class index of every row, shape (n,); None without a label; raises `UserError` for an unknown class."""
        label = self.label_codec
        if label is None:
            return None
        codes = label.codes(frame[label.field.name])
        if (codes < 0).any():
            value = frame[label.field.name].iloc[int(np.argmax(codes < 0))]
            self.class_index(value)
        return torch.from_numpy(codes.astype(np.int64))

    def class_index(self, value: object) -> int:
        """Index of a label value given as itself or as text; raises `UserError` naming the known ones."""
        if str(value) in self.spec.classes:
            return self.spec.classes.index(str(value))
        known = ", ".join(self.spec.classes[:20])
        raise UserError(
            f"{self.schema.label}={value} is not among the training labels ({known})"
            f"{near(str(value), self.spec.classes)}"
        )

    def encode_known(self, cells: Mapping[str, pd.Series], n: int) -> Tensor:
        """Rows of model space where only some columns are known, (n, D) float32, NaN elsewhere.

        Arguments:
            cells: A series of length n or 1 for each column that is known.
            n: Rows.
        """
        rows = np.full((n, self.spec.shape[0]), np.nan, dtype=np.float32)
        known = self._cells(cells)
        values = self._numbers(known)
        for column, (start, stop) in zip(self.inner, self._spans, strict=True):
            name = column.field.name
            if stop > start and name in known:
                rows[:, start:stop] = self._encode_column(column, known[name], values)
        return torch.from_numpy(rows)

    def encode_gaps(self, frame: pd.DataFrame) -> Tensor:
        """As `encode`, with NaN instead of "missing" for missing cells: what a model is to fill in."""
        x, cells = self.encode(frame), self._cells(frame)
        for column, (start, stop) in zip(self.inner, self._spans, strict=True):
            if stop > start:  # a part of a date is missing where the date is
                x[torch.tensor(cells[self._owner(column)].isna().to_numpy()), start:stop] = np.nan
        return x

    def decode(self, x: Tensor, rng: np.random.Generator, first_row: int = 0) -> pd.DataFrame:
        """(n, D) to a frame with the schema's column order and dtypes."""
        rows = x.detach().to("cpu", torch.float32).numpy()
        series = {
            column.field.name: self._decode_column(column, rows[:, start:stop], rng, first_row)
            for column, (start, stop) in zip(self.inner, self._spans, strict=True)
        }
        self._equalise(series, rows)
        columns = self.by_name()
        for name, dates in self.dates.items():
            parts = {part.name: series.pop(part.name) for part in dates.fields}
            series[name] = dates.together(parts, self.schema[name], getattr(columns[name], "limits", None))
        self._settle(series, rows, rng)
        if self.plan.relations:
            series = self.plan.restored(series, columns)
        return pd.DataFrame({name: series[name] for name in self.schema.names}, copy=False)

    def _settle(self, series: dict[str, pd.Series], rows: np.ndarray, rng: np.random.Generator) -> None:
        """Draws rare categories by what else is in their rows; of columns computed from them nothing is known yet."""
        fields = {field.name: field for field in self.schema.fields}
        for column, (start, stop) in zip(self.inner, self._spans, strict=True):
            if not isinstance(column, ChoiceColumn) or column.clusters is None:
                continue
            codes = rows[:, start].astype(np.int64) if self.compact else rows[:, start:stop].argmax(axis=1)
            there = {name: cells for name, cells in series.items() if name not in self.plan.shifted}
            seen = np.full((len(rows), len(column.clusters.features)), np.nan)
            for place, feature in enumerate(column.clusters.features):
                if feature.column in there:
                    seen[:, place] = feature.of(there[feature.column], fields[feature.column])
            series[column.field.name] = column.settled(codes, seen, rng)

    def with_cells(self, frame: pd.DataFrame, cells: Mapping[str, pd.Series]) -> pd.DataFrame:
        """The rows with these cells in place of theirs, and what is computed from them computed again."""
        if not self.plan.relations:
            return with_columns(frame, cells)
        drawn = {name: frame[name] for name in frame.columns} | dict(cells)
        whole = {name: self.plan.shift(name, frame) for name in self.plan.shifted}
        for name, relation in self.plan.shifted.items():
            if name in cells and all(source in cells for source in relation.sources):
                whole[name] = self.plan.shift(name, drawn)
        made = self.plan.restored({**drawn, **whole}, self.by_name())
        return pd.DataFrame({name: made[name] for name in frame.columns}, copy=False)

    def with_sources(self, cells: Mapping[str, pd.Series]) -> Mapping[str, pd.Series]:
        """The cells, and computed columns that distances are reckoned from, where they lack."""
        lacking = [name for name in self.plan.sources() if name in self.plan.computed and name not in cells]
        if not lacking:
            return cells
        found = self.plan.completed(cells)
        return {**cells, **{name: found[name] for name in lacking if name in found}}

    def renew_ids(self, frame: pd.DataFrame, rng: np.random.Generator, first_row: int) -> pd.DataFrame:
        """The same rows with ids that count from `first_row`, for rows that were chosen from among more."""
        rows = np.zeros((len(frame), 0), dtype=np.float32)
        ids = [c for c in self.columns if isinstance(c, GeneratedColumn) and c.field.type != "constant"]
        return with_columns(frame, {column.field.name: column.decode(rows, rng, first_row) for column in ids})

    def describe(self) -> str:
        """One line on how numbers and categories are encoded."""
        numbers = [c for c in self.inner if isinstance(c, NumberColumn) and self._owner(c) == c.field.name]
        encoders = [type(column.encoder).__name__ for column in numbers]
        choices = [column for column in self.inner if isinstance(column, ChoiceColumn)]
        pooled = [f"{c.field.name} ({counted(len(c.pool), 'rare value')} pooled)" for c in choices if c.pool]
        names, how = " and ".join(sorted(set(encoders))), "codes" if self.compact else "one-hot"
        parts = [f"{names} encoding of {counted(len(encoders), 'numeric column')}"] if encoders else []
        parts += [f"{how} of {counted(len(choices), 'categorical column')}"] if choices else []
        computed = len(self.plan.computed)
        parts += [f"{counted(computed, 'column')} computed from others"] if computed else []
        parts += [f"{name} by {dates}" for name, dates in self.dates.items()]
        text = ", ".join([*parts, counted(self.spec.shape[0], "position")])
        return text + (f"; {', '.join(pooled)}" if pooled else "")

    def state(self) -> dict[str, Any]:
        """Schema, columns and spec as plain values."""
        return {
            "schema": self.schema.state(),
            "columns": [{"kind": column.kind, **column.state()} for column in self.columns],
            "compact": self.compact,
            "places": self.places,
            "equal_to": self.equal_to,
            "tells_pieces": self.tells_pieces,
            "unique": {name: list(step) for name, step in self.unique.items()},
            "companions": [companion.state() for companion in self.companions],
            "size": self.spec.size,
            "class_shares": list(self.spec.class_shares),
            "relations": self.plan.state(),
            "dates": {name: dates.state() for name, dates in self.dates.items()},
            "shifts": {
                column.field.name: column.state()
                for column in self.inner
                if column.field.name in self.plan.shifted or self._owner(column) in self.dates
            },
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TableCodec:
        """Inverse of `state`; the result decodes and encodes, it is not meant to be fitted again."""
        codec = cls(compact=state.get("compact", False), places=state.get("places", False))
        codec.equal_to = {name: sums_of(found) for name, found in state.get("equal_to", {}).items()}
        codec.tells_pieces = state.get("tells_pieces", False) is True
        codec.companions = [Companion.from_state(companion) for companion in state.get("companions", [])]
        codec.schema = Schema.from_state(state["schema"])
        codec.columns = [
            COLUMN_KINDS[column["kind"]].from_state(field, column)
            for field, column in zip(codec.schema.fields, state["columns"], strict=True)
        ]
        codec.plan = Plan([Relation.from_state(relation) for relation in state.get("relations", [])], codec.schema)
        codec.dates = {name: Dates.from_state(name, dates) for name, dates in state.get("dates", {}).items()}
        codec.unique = {}
        for name, step in state.get("unique", {}).items():
            size, offset = all_numbers(step)
            if name not in codec._whole_dates() or not size > 0:
                raise ValueError(f"{name}: no column of unique dates")
            codec.unique[name] = (size, offset)
        if codec.dates.keys() - codec._whole_dates():
            raise ValueError(f"{', '.join(codec.dates)}: no columns of dates that are learnt themselves")
        parts = [part.name for dates in codec.dates.values() for part in dates.fields[1:]]
        if len({*parts, *codec.schema.names}) < len(parts) + len(codec.schema.names):
            raise ValueError("two columns, or parts of dates, of one name")
        kept = state.get("shifts", {})
        fields = {name: [codec.plan.shift_field(name)] for name in codec.plan.shifted}
        fields |= {name: dates.fields for name, dates in codec.dates.items()}
        codec.inner = codec._to_lay_out(
            {
                name: [NumberColumn.from_state(field, kept[field.name]) for field in parts]
                for name, parts in fields.items()
            }
        )
        codec._check_equalities()
        codec._lay_out(state["size"], tuple(state["class_shares"]))
        return codec

    def _check_equalities(self) -> None:
        """Raises `ValueError` where a column equals one that is no number, or that does not come before it."""
        before: set[str] = set()
        for column in self.inner:
            name = column.field.name
            for terms in self.equal_to.get(name, []):
                if not self._is_placed(column) or not {other for _, other in terms} <= before:
                    raise ValueError(f"{name} cannot equal {terms}")
            before |= {name} if self._is_placed(column) else set()
        if unknown := self.equal_to.keys() - {column.field.name for column in self.inner}:
            raise ValueError(f"{min(unknown)} is no column")
