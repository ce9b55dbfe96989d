"""A series as steps of numbers: each step and what holds for the whole sequence are rows of tables, by their codec."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datakiln.codecs.series.clock import Clock
from datakiln.codecs.series.media import COLUMN, Medium, every_code
from datakiln.codecs.series.telling import cells_told, settled
from datakiln.codecs.tables.columns import ColumnsCodec
from datakiln.codecs.tables.generated import GeneratedColumn
from datakiln.codecs.tables.relations.cells import keys_of
from datakiln.codecs.tables.relations.plan import Plan
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.scaling import MinMax, NumericEncoder
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import with_columns
from datakiln.errors import UserError
from datakiln.schema import Field, Schema, free_name
from datakiln.spec import Block, Column, DataSpec
from datakiln.wording import counted

CHUNK = 4096  # sequences drawn at a time
END = "end of the sequence"
WINDOW = "window"


@dataclass(frozen=True)
class Roles:
    """What the columns of a series are for.

    Attributes:
        time: The column of times; None where rows are in order.
        entity: The column that names sequences; None for one long series.
        static: Columns that hold for the whole of a sequence.
    """

    time: str | None = None
    entity: str | None = None
    static: tuple[str, ...] = ()


class Relations(NamedTuple):
    """What holds between the columns of a series.

    Attributes:
        steps: Between the columns of a step.
        static: Between static columns.
        calendar: Columns of a step that follow from its time alone.
    """

    steps: Sequence[Relation] = ()
    static: Sequence[Relation] = ()
    calendar: Sequence[Relation] = ()

    @property
    def all(self) -> list[Relation]:
        """All of them."""
        return [*self.static, *self.calendar, *self.steps]


class SeriesCodec(ColumnsCodec):
    """Sequences of rows to tensors (n, T, D) and back; the arguments hold for each step.

    The positions of a step are those of the static columns, the same in every step; those of the step's own columns,
    the logarithm of an uneven step among them; and, where lengths differ, one that says from the last step on that the
    sequence has ended.

    Attributes:
        schema: Of all columns, in user units.
        roles: What they are for.
        steps: Codec of the columns of a step.
        static: Codec of the static columns that are modelled; None where there is none.
        calendar: Columns of a step that are computed from its time; the model learns them too, since what else is in a
            step may depend on them.
        made: Generated columns of a sequence: its name, and static ids, texts and constants.
        clock: Of the times; None without a column of times.
        lengths: Of the training sequences, those that samples are given where the model does not end them itself.
        medium: Whether the steps are rows, or the bytes of a text or samples of a sound.
    """

    kind = "series"
    schema: Schema
    roles: Roles
    steps: TableCodec
    static: TableCodec | None
    calendar: Plan
    made: list[GeneratedColumn]
    clock: Clock | None
    lengths: list[int]

    def __init__(
        self,
        numeric: Callable[[], NumericEncoder] = MinMax,
        clip: bool = True,
        spikes: bool = True,
        max_categories: int = 256,
        compact: bool = False,
        places: bool = False,
        medium: Medium = "rows",
    ) -> None:
        """See the class and `ColumnsCodec`."""
        super().__init__(numeric, clip, spikes, max_categories, compact, places)
        if medium not in ("rows", *COLUMN):
            raise UserError(f"data.codec.medium={medium} must be rows, {' or '.join(COLUMN)}")
        self.medium = medium

    def _table(self) -> TableCodec:
        """A codec of columns told the same."""
        codec = TableCodec(
            self.numeric, self.clip, self.spikes, self.max_categories, compact=self.compact, places=self.places
        )
        codec.adds_up = False  # the endless walk draws no cell of a step again
        return codec

    @property
    def chunk(self) -> int:
        """Sequences drawn at a time."""
        return CHUNK

    @property
    def plan(self) -> Plan:
        """Relations between the columns of a step."""
        return self.steps.plan

    @property
    def plans(self) -> list[Plan]:
        """What holds between columns: of a step, with its time, and of a sequence."""
        return [self.plan, self.calendar, *([] if self.static is None else [self.static.plan])]

    @property
    def relations(self) -> list[Relation]:
        """All that hold between columns."""
        static = self.static.plan.relations if self.static is not None else ()
        return Relations(self.plan.relations, static, self.calendar.relations).all

    @property
    def log_step(self) -> Field | None:
        """The column of the logarithm of uneven steps."""
        if self.clock is None or self.clock.is_even:
            return None
        return Field(f"step of {self.clock.field.name}", "numeric", "float64")

    def fit(
        self,
        frame: pd.DataFrame,
        group: np.ndarray,
        schema: Schema,
        roles: Roles,
        length: int,
        ends: bool,
        size: int,
        lengths: Sequence[int],
        starts: tuple[float, float] | None = None,
        relations: Relations = Relations(),  # noqa: B008 (a tuple)
    ) -> SeriesCodec:
        """Learns all columns from the training rows and publishes the spec.

        Arguments:
            frame: Training rows, those of one sequence together and in order.
            group: Sequence of each row.
            schema: Of all columns.
            roles: What they are for.
            length: T, steps of an example at most.
            ends: Whether examples end by themselves, as those of different lengths do.
            size: Number of training examples.
            lengths: Of whole sequences.
            starts: See `Clock.fit`.
            relations: Between columns.
        """
        self.schema, self.roles, self.lengths = schema, roles, [int(n) for n in lengths]
        self.clock = None
        if roles.time is not None:
            self.clock = Clock.fit(frame[roles.time], schema[roles.time], group, starts)
        first = frame[np.r_[True, group[1:] != group[:-1]]] if len(frame) else frame
        whole = [schema[name] for name in self._whole_names()]
        self.made = [GeneratedColumn.fit(f, first[f.name]) for f in whole if not (f.is_numeric or f.is_choice)]
        modelled = [field for field in whole if field.is_numeric or field.is_choice]
        self.static = None
        if modelled:
            label = schema.label if schema.label in {field.name for field in modelled} else None
            self.static = self._table().fit(first, Schema(tuple(modelled), label), relations=relations.static)
        rows = self.step_frame(frame, group)
        rows = rows if self.medium == "rows" else every_code(rows, COLUMN[self.medium])
        table = self._table()
        table.tells_pieces = True
        if not self._step_schema().fields:
            told = f"no column is left that changes from step to step ({', '.join(schema.names)})"
            raise UserError(f"{told}; a series needs one, or model the static columns as a table, without data.time")
        self.steps = table.fit(rows, self._step_schema(), relations=relations.steps)
        self.calendar = Plan(relations.calendar, schema)
        self._lay_out(length, ends, size, len(frame))
        return self

    def _whole_names(self) -> list[str]:
        """Columns of a sequence in the table's order, its start among them where that is modelled."""
        roles = self.roles
        named = {*roles.static, *([roles.entity] if roles.entity else [])}
        if self.clock is not None and self.clock.is_modelled:
            named.add(self.clock.field.name)
        return [name for name in self.schema.names if name in named]

    def _step_schema(self) -> Schema:
        taken = {*self.roles.static, self.roles.time, self.roles.entity}
        fields = [field for field in self.schema.fields if field.name not in taken]
        label = self.schema.label if self.schema.label not in taken else None
        fields += [self.log_step] if self.log_step is not None else []
        return Schema(tuple(fields), label if label and self.schema[label].is_choice else None)

    def step_frame(self, frame: pd.DataFrame, group: np.ndarray) -> pd.DataFrame:
        """The columns of a step, with the logarithm of an uneven one."""
        if self.log_step is None or self.clock is None:
            return frame
        values = self.clock.numbers(frame[self.clock.field.name])
        return with_columns(frame, {self.log_step.name: self.clock.log_steps(values, group)})

    def avoid(self, frame: pd.DataFrame) -> None:
        """Makes no name, id or text of these rows."""
        for column in self.made:
            if column.is_new:
                column.avoid(frame[column.field.name].drop_duplicates(), len(frame))
        self.steps.avoid([frame], len(frame))

    def _lay_out(self, length: int, ends: bool, size: int, steps: int) -> None:
        own = self.static.spec.columns if self.static is not None else ()
        offset = self.static.spec.shape[0] if self.static is not None else 0
        columns = [*own, *(_moved(column, offset) for column in self.steps.spec.columns)]
        stop = offset + self.steps.spec.shape[0]
        if ends:
            block = Block(stop, stop + 1, "code", size=2) if self.compact else Block(stop, stop + 2, "choice")
            columns.append(Column(END, (block,)))
            stop = block.stop
        label = self.static.spec if self.static is not None else None
        self.spec = DataSpec(
            kind="series",
            shape=(length, stop),
            columns=tuple(columns),
            classes=label.classes if label is not None else (),
            class_shares=label.class_shares if label is not None else (),
            size=size,
            static=len(own),
            ends=ends,
            steps=steps,
        )

    def rows(self, frame: pd.DataFrame, group: np.ndarray, dequantise: bool = False) -> tuple[Tensor, Tensor]:
        """Encoded steps (N, D - S) and static positions of each sequence (E, S), sequences in the order they come.

        Arguments:
            frame: Rows, those of one sequence together and in order.
            group: Sequence of each row.
            dequantise: See `TableCodec.encode`.
        """
        last = np.r_[group[1:] != group[:-1], True]
        steps = self.step_frame(frame, group)
        x = self.steps.encode(steps, dequantise)
        if dequantise and self.places:
            x = _steady(x, self.steps.encode(steps), group, self.steps.spec)
        if self.spec.ends:
            ended = torch.from_numpy(last.astype(np.float32))[:, None]
            x = torch.cat([x, ended if self.compact else torch.cat([1.0 - ended, ended], dim=1)], dim=1)
        first = frame[np.r_[True, group[1:] != group[:-1]]]
        if self.static is None:
            return x, torch.zeros(len(first), 0)
        return x, self.static.encode(first, dequantise)

    def encode(self, data: pd.DataFrame) -> Tensor:
        """Rows of whole sequences to (n, T, D); steps beyond T are left out, those after the end are padding."""
        group = self.groups(data)
        x, static = self.rows(data, group)
        begin = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        sizes = np.diff(np.r_[begin, len(data)])
        return gathered(
            x, static, torch.from_numpy(begin), torch.arange(len(begin)), torch.from_numpy(sizes), self.spec
        )

    def encode_whole(self, rows: pd.DataFrame, gaps: bool = False) -> Tensor:
        """One sequence, however long, (1, t, D): static columns that lack are unknown, its end is left open.

        Arguments:
            rows: Of the sequence, in order.
            gaps: Whether missing cells are unknown, to be filled, and not "missing".
        """
        group = np.zeros(len(rows), dtype=np.int64)
        frame = self.step_frame(rows, group).reindex(columns=self.steps.schema.names)
        x = self.steps.encode_gaps(frame) if gaps else self.steps.encode(frame)
        if self.spec.ends:
            ended = torch.zeros(len(x), 1)
            if gaps:
                ended[-1] = 1.0
            x = torch.cat([x, ended] if self.compact else [x, 1.0 - ended, ended], dim=1)
        if self.static is not None:
            known = {f.name: rows[f.name].head(1) for f in self.static.schema.fields if f.name in rows}
            known = {name: cell for name, cell in known.items() if not (gaps and cell.isna().any())}
            static = self.static.encode_known(known, 1)
            x = torch.cat([static.expand(len(x), -1), x], dim=1)
        return x[None]

    def groups(self, frame: pd.DataFrame) -> np.ndarray:
        """Sequence of each row, counted in the order they come."""
        name = self.roles.entity or self._window_name
        if name not in frame:
            return np.zeros(len(frame), dtype=np.int64)
        return pd.factorize(frame[name])[0].astype(np.int64)

    @property
    def _window_name(self) -> str:
        return free_name(WINDOW, self.schema.names)

    def told(self, condition: Mapping[str, Any], n: int, rng: np.random.Generator) -> Tensor | None:
        """Static columns that are given, as what `draw` is told, (n, 1, D) with NaN for what is free.

        Arguments:
            condition: Values by column.
            n: Sequences.
            rng: Of the columns that given ones are computed from.

        Raises:
            UserError: A column that is not static, or a value that no training sequence has.
        """
        if not condition:
            return None
        cells = cells_told(self.static, self.schema.label, condition)
        x = torch.full((n, 1, self.spec.shape[1]), torch.nan)
        assert self.static is not None
        x[:, 0, : self.static.spec.shape[0]] = self.static.encode_known(settled(self.static, cells, n, rng), n)
        return x

    def sizes(self, x: Tensor) -> np.ndarray:
        """Steps of each sequence of (n, T, D), up to its end."""
        n, steps = x.shape[:2]
        if not self.spec.ends:
            return np.full(n, steps)
        ended = x[:, :, -1] > 0.5
        first = torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, steps)
        return first.cpu().numpy()

    def decode(
        self,
        x: Tensor,
        rng: np.random.Generator,
        first_row: int = 0,
        sizes: np.ndarray | None = None,
        first_step: int = 0,
    ) -> pd.DataFrame:
        """(n, T, D) to rows of the schema's columns, behind a column that numbers sequences without a name.

        Arguments:
            x: Encoded sequences.
            rng: See `Codec.decode`.
            first_row: Sequences made before.
            sizes: Steps that each has; None for as many as it says itself.
            first_step: Steps made before, of all sequences, so that their ids do not repeat.
        """
        sizes = self.sizes(x) if sizes is None else sizes
        starts = self.starts(x, rng)
        frame, _ = self.decode_steps(x, sizes, rng, starts, first_step=first_step)
        of = np.repeat(np.arange(len(x)), sizes)
        frame = self.whole(frame, self.names(len(x), rng, first_row), of)
        if self.roles.entity is None:
            frame.insert(0, self._window_name, of + first_row + 1)
        return frame

    def names(self, n: int, rng: np.random.Generator, first_row: int) -> dict[str, pd.Series]:
        """Generated cells of n sequences, their names among them, by column."""
        nothing = np.zeros((n, 0), dtype=np.float32)
        return {column.field.name: column.decode(nothing, rng, first_row) for column in self.made}

    def whole(self, frame: pd.DataFrame, names: Mapping[str, pd.Series], of: np.ndarray) -> pd.DataFrame:
        """Rows of the schema's columns in their order.

        Arguments:
            frame: Rows of the modelled columns.
            names: Of their sequences, see `names`.
            of: Sequence of each row.
        """
        made = {name: cells.take(of).reset_index(drop=True) for name, cells in names.items()}
        return pd.DataFrame({name: made[name] if name in made else frame[name] for name in self.schema.names})

    def starts(self, x: Tensor, rng: np.random.Generator) -> np.ndarray | None:
        """When each sequence begins, as numbers; None without times."""
        if self.clock is None:
            return None
        if not self.clock.is_modelled:
            return self.clock.starts(len(x), rng) if not self.calendar.relations else self._agreeing(x, rng)
        assert self.static is not None
        rows = self._rows_of_static(x[:, 0], rng)
        return self.clock.snapped(self.clock.numbers(rows[self.clock.field.name]))

    def _agreeing(self, x: Tensor, rng: np.random.Generator) -> np.ndarray:
        """Starts of which follows what was drawn of the first steps, as far as there are such, (n,)."""
        assert self.clock is not None
        starts = self.clock.starts(CHUNK, rng)
        drawn = self._rows_of_steps(x[:, 0], rng)
        made = self.calendar.completed({self.clock.field.name: self.clock.cells(starts)}, rounds=1)
        met = np.zeros((len(x), len(starts)), dtype=np.int16)
        for name in self.calendar.made:
            codes = pd.factorize(pd.concat([keys_of(drawn[name]), keys_of(made[name])]))[0]
            met += codes[: len(x), None] == codes[len(x) :]
        best = met == met.max(axis=1, keepdims=True)
        return starts[(best * rng.random(best.shape, dtype=np.float32)).argmax(axis=1)]

    def dated(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows with the columns that follow from their times, and those that follow from these, computed."""
        if not self.calendar.relations:
            return frame
        made = self.calendar.restored({str(name): frame[name] for name in frame.columns}, self.steps.by_name())
        return self.steps.with_cells(frame, {name: made[name] for name in self.calendar.made})

    def decode_steps(
        self,
        x: Tensor,
        sizes: np.ndarray,
        rng: np.random.Generator,
        starts: np.ndarray | None,
        first: int = 0,
        first_step: int = 0,
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Rows of the modelled columns and the place of each in its sequence.

        Arguments:
            x: Encoded steps (n, k, D).
            sizes: How many of them count, of each sequence.
            rng: See `decode`.
            starts: See `starts`; where steps are uneven, the time of the step before, if `first` is not 0.
            first: Place of the first of these steps in their sequences.
            first_step: See `decode`.
        """
        n, steps = x.shape[:2]
        at = np.tile(np.arange(steps), n)
        keep = at < np.repeat(sizes, steps)
        frame = self._rows_of_steps(x.reshape(n * steps, -1)[torch.from_numpy(keep)], rng, first_step)
        of, at = np.repeat(np.arange(n), sizes), at[keep]
        if self.static is not None:
            whole = self._rows_of_static(x[:, 0], rng)
            frame = pd.concat([frame, whole.take(of).reset_index(drop=True)], axis=1)
        if self.clock is not None:
            assert starts is not None
            log_steps = None if self.log_step is None else frame[self.log_step.name].to_numpy(np.float64)
            times = self.clock.times(starts[of], at, log_steps, first)
            frame[self.clock.field.name] = self.clock.cells(times).array
        return self.dated(frame), at

    def _rows_of_steps(self, x: Tensor, rng: np.random.Generator, first_step: int = 0) -> pd.DataFrame:
        offset = self.static.spec.shape[0] if self.static is not None else 0
        frame = self.steps.decode(x[:, offset : offset + self.steps.spec.shape[0]], rng, first_step)
        return self.plan.repaired(frame)

    def _rows_of_static(self, x: Tensor, rng: np.random.Generator) -> pd.DataFrame:
        assert self.static is not None
        return self.static.plan.repaired(self.static.decode(x[:, : self.static.spec.shape[0]], rng))

    def step_rows(self, x: Tensor) -> pd.DataFrame:
        """Steps (n, D) as rows of all modelled columns but times, as `decode_steps` will have them."""
        rng = np.random.default_rng(0)
        x = x.detach().cpu()
        frame = self._rows_of_steps(x, rng)
        if self.static is not None:
            frame = pd.concat([frame, self._rows_of_static(x, rng)], axis=1)
        return frame

    def describe(self) -> str:
        """One line on how steps are encoded."""
        told = self.steps.describe()
        if self.static is not None:
            told += f"; static: {self.static.describe()}"
        if self.calendar.relations:
            told += f"; {counted(len(self.calendar.relations), 'column')} computed from {self.roles.time}"
        if self.clock is not None:
            even = {"plain": "even steps", "months": "months", "month ends": "ends of months"}[self.clock.unit]
            told += f"; {self.clock.field.name} in {even if self.clock.is_even else 'uneven steps, which are learnt'}"
            if gone := self.clock.days_off:
                told += f", without {' and '.join(gone)}"
        return told

    def state(self) -> dict[str, Any]:
        """Plain values."""
        spec = self.spec
        return {
            "schema": self.schema.state(),
            "roles": dataclasses.asdict(self.roles),
            "steps": self.steps.state(),
            "static": None if self.static is None else self.static.state(),
            "calendar": self.calendar.state(),
            "made": [column.state() for column in self.made],
            "clock": None if self.clock is None else self.clock.state(),
            "lengths": self.lengths,
            "compact": self.compact,
            "medium": self.medium,
            "spec": {"length": spec.shape[0], "ends": spec.ends, "size": spec.size, "steps": spec.steps},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SeriesCodec:
        """Inverse of `state`, not meant to be fitted again; raises `ValueError` where its parts do not fit together."""
        codec = cls(compact=state["compact"], medium=state.get("medium", "rows"))
        codec.schema = Schema.from_state(state["schema"])
        roles = state["roles"]
        codec.roles = Roles(roles["time"], roles["entity"], tuple(roles["static"]))
        codec.clock = None
        if state["clock"] is not None:
            codec.clock = Clock.from_state(state["clock"], codec.schema[state["clock"]["field"]["name"]])
        codec.lengths = list(state["lengths"])
        codec.steps = TableCodec.from_state(state["steps"])
        codec.static = None if state["static"] is None else TableCodec.from_state(state["static"])
        if codec.steps.schema != codec._step_schema():
            raise ValueError("the columns of the steps are not those of the table")
        codec.calendar = Plan([Relation.from_state(r) for r in state.get("calendar", [])], codec.schema)
        for relation in codec.calendar.relations:
            if relation.sources != (roles["time"],) or relation.target not in codec.steps.schema.names:
                raise ValueError(f"{relation} is no column of a step that follows from its time")
        whole = [codec.schema[name] for name in codec._whole_names()]
        made = [field for field in whole if not (field.is_numeric or field.is_choice)]
        codec.made = [GeneratedColumn.from_state(f, s) for f, s in zip(made, state["made"], strict=True)]
        codec._lay_out(**state["spec"])
        return codec

    def name_sequences(self, frame: pd.DataFrame) -> Iterable[tuple[Any, pd.DataFrame]]:
        """The rows of each sequence, with its name."""
        group = self.groups(frame)
        for i in range(int(group.max()) + 1 if len(group) else 0):
            rows = frame[group == i]
            yield (rows[self.roles.entity].iloc[0] if self.roles.entity else i + 1), rows


def _moved(column: Column, offset: int) -> Column:
    blocks = tuple(
        dataclasses.replace(
            b, start=b.start + offset, stop=b.stop + offset, gate=None if b.gate is None else b.gate + offset
        )
        for b in column.blocks
    )
    return Column(column.name, blocks)


def gathered(x: Tensor, static: Tensor, begin: Tensor, of: Tensor, sizes: Tensor, spec: DataSpec) -> Tensor:
    """Examples (B, T, D) from encoded steps that lie one behind the other.

    Arguments:
        x: Steps, (N, D - S).
        static: Positions of sequences, (E, S).
        begin: First step of each example, (B,).
        of: Its sequence, (B,).
        sizes: Its steps, (B,); later ones repeat the last one, which says that the sequence has ended.
        spec: Gives T.
    """
    at = torch.arange(spec.shape[0], device=x.device)
    rows = x[begin[:, None] + torch.minimum(at, sizes[:, None] - 1)]
    return torch.cat([static[of][:, None].expand(-1, rows.shape[1], -1), rows], dim=2)


def _steady(x: Tensor, plain: Tensor, group: np.ndarray, spec: DataSpec) -> Tensor:
    """Encoded rows in which a number that is as in the row before has the place that it had there.

    Where it lies within what is rounded to it is drawn for each row; drawn once for a run of equal ones, it can be seen
    that they are equal.

    Arguments:
        x: Rows, (N, D).
        plain: The same, equal numbers encoded alike.
        group: Sequence of each row, (N,).
        spec: Of these rows.
    """
    x, first = x.clone(), torch.from_numpy(np.r_[True, group[1:] != group[:-1]])
    at = torch.arange(len(x))
    for block in spec.blocks:
        if block.kind == "place":
            own = slice(block.start - 1, block.stop)  # with the code before it
            is_new = first.clone()
            is_new[1:] |= (plain[1:, own] != plain[:-1, own]).any(dim=1)
            begin = torch.where(is_new, at, 0).cummax(dim=0).values
            x[:, own] = x[begin, own]
    return x


def summary(lengths: Sequence[int]) -> str:
    """How long sequences are, in words."""
    low, high = min(lengths), max(lengths)
    return counted(low, "step") if low == high else f"{low} to {high} steps"
