"""Series from any source: put in order, split by entity or by time, encoded once, served as sequences or windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from datakiln.codecs.series.series import Roles, SeriesCodec, summary
from datakiln.codecs.tables.values import to_numbers
from datakiln.data.base import StepReport
from datakiln.data.series.loader import SequenceLoader
from datakiln.data.series.order import OnTime, check_columns, ids_of_entities, in_order, static_columns, types_of
from datakiln.data.series.relations import chosen_of_series
from datakiln.data.series.splits import FEWEST, NAMES, by_entity, by_time
from datakiln.data.tables import steps
from datakiln.data.tables.relations import described
from datakiln.data.tables.sources import RawTable, TableFile
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.schema import Schema
from datakiln.wording import counted

MOST_WINDOWS = 3000  # that a run writes and judges
MOST_STEPS = 2000  # of one continuous series that it writes
USUAL = 24  # steps of a sequence that `batch_size` is meant for; of longer ones fewer make a batch
SHORTEST = 8


class SeriesData(TableData):
    """Rows of (entity, time, columns) as sequences; what is not said here is as for tables.

    Arguments:
        source: Reads the rows; called with `data_dir`.
        codec: Encodes sequences; fitted on the training rows.
        time: The column of times; None where rows are in order.
        entity: The column that names sequences, each of its own length; None for one long series.
        static: Columns that hold for the whole of a sequence; None for those that are found to.
        window: Steps of the windows that sequences are cut into; None for whole sequences.
        crop: Steps of a training example at most, where sequences are longer and not cut into windows.
        on_time: What is done about rows out of order: "error" or "sort".
        repeats: How often each step is seen in an epoch, about.
        **options: See `TableData`.
    """

    kind = "series"
    codec: SeriesCodec  # type: ignore[assignment]

    def __init__(
        self,
        source: Callable[[str | None], RawTable],
        codec: SeriesCodec,
        time: str | None = None,
        entity: str | None = None,
        static: list[str] | None = None,
        window: int | None = None,
        crop: int = 256,
        on_time: OnTime = "error",
        repeats: int = 4,
        **options: Any,
    ) -> None:
        """See the class."""
        super().__init__(source, codec, **options)  # type: ignore[arg-type]
        if self.privacy.is_on:
            told = f"privacy={self.privacy.mechanism} protects single rows, and a sequence is many of one person"
            raise UserError(f"{told}; it is for tables and pictures: leave it out, or train on a table")
        if window is not None and window < 2:
            raise UserError(f"data.window={window} must be at least 2 steps, or null for whole sequences")
        if crop < 2 or repeats < 1:
            raise UserError(f"data.crop={crop} must be at least 2, and data.repeats={repeats} at least 1")
        if self.duplicates or self.outliers is not None or self.balance != "none" or self.missing == "drop":
            told = "data.duplicates, data.outliers, data.balance and data.missing=drop leave out rows"
            raise UserError(f"{told}, which a series has one after the other; leave them as they are")
        if self.validation != "apart":
            raise UserError(f"data.validation={self.validation} is for tables and pictures; a series has apart")
        self.time, self.entity, self.static, self.window = time, entity, static, window
        self.crop, self.on_time, self.repeats = crop, on_time, repeats

    def read(self) -> RawTable:
        """The rows, read once; names of sequences are ids, and times numbers or dates."""
        if self.raw is None:
            raw = self.source(self.data_dir)
            if raw.store is not None:
                raise UserError("a series is read into memory; set data.streaming=false, or give a part of the file")
            check_columns([str(name) for name in raw.frame.columns], self.time, self.entity, self.static)
            self.types.update(types_of(raw.frame, self.time, self.entity) | self.types)
            source, self.source = self.source, lambda _: raw
            try:
                super().read()
            finally:
                self.source = source
        assert self.raw is not None
        return self.raw

    def _typed(self, raw: RawTable, wanted: dict[str, Any]) -> Schema:
        """See `TableData`; columns that tell entities apart are made anew, as ids of rows are."""
        schema = super()._typed(raw, wanted)
        if self.entity is None:
            return schema
        found = ids_of_entities(raw.frame, schema, self.entity, wanted, self.static or ())
        self.reasons = {name: f"{finding.why}, of each {self.entity}" for name, finding in found.items()}
        fields = (
            dataclasses.replace(f, type=found[f.name].field.type) if f.name in found else f for f in schema.fields
        )
        return Schema(tuple(fields), schema.label)

    def _prepare(self) -> None:
        raw = self.read()
        self.reports = []
        frame, group, moved = in_order(raw.frame, self.schema, self.time, self.entity, self.on_time)
        if moved:
            self.reports.append(StepReport("order", f"rows put in order of {self.time}", rows=moved))
        taken = {self.entity, self.time} if self.entity else {self.time}
        static = static_columns(frame, group, self.schema, self.static, {self.entity} if self.entity else set())
        static = tuple(name for name in static if name not in taken)
        if static and self.static is None:
            self.reports.append(StepReport("static", f"the same throughout each {self.entity}: {', '.join(static)}"))
        self.roles = Roles(self.time, self.entity, static)
        self._check_constraints()
        self._check_lengths(np.bincount(group))
        parts = self._parts(group)
        self.frames = {name: frame.iloc[at].reset_index(drop=True) for name, (at, _) in parts.items()}
        self.group = {name: own for name, (_, own) in parts.items()}
        if self.missing == "impute":
            self.frames = self._report(steps.MISSING["impute"](self.frames, self.schema))
        self._report_parts()
        self._encode_all()
        self.codec.avoid(raw.frame)

    def _check_constraints(self) -> None:
        beyond = {name for name in (self.time, self.entity) if name is not None}
        for constraint in self.rules.constraints:
            if constraint in self.rules.unique or beyond & set(constraint.columns):
                told = f"data.constraints: '{constraint}' is not about the columns of one step"
                raise UserError(f"{told}, which is what a series can be held to; leave it out")

    def _check_lengths(self, sizes: np.ndarray) -> None:
        longest = int(sizes.max())
        if self.entity is not None and longest == 1:
            raise UserError(f"data.entity={self.entity}: every sequence has one row; leave out data.time for a table")
        if self.window is not None and self.window > longest:
            what = f"the longest {self.entity}" if self.entity else "the series"
            raise UserError(f"data.window={self.window} is longer than {what}, of {longest} rows; choose a shorter one")
        if self.window is not None:
            self.length = self.window
        elif self.entity is not None:
            self.length = min(longest, self.crop)
        else:
            self.length = int(np.clip(longest // 12, min(SHORTEST, max(longest // 8, 2)), self.crop))

    def _parts(self, group: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Rows of each part and their sequence, those of a gap in none."""
        shares = steps.shares_of(self.split, len(group))
        if self.split is None:
            shares = steps.SHARES
        if self.entity is not None:
            found = {}
            for name, at in by_entity(group, shares, self.seed, self.entity).items():
                found[name] = (at, np.unique(group[at], return_inverse=True)[1])
            return found
        runs = by_time(len(group), self.length, shares, self.seed)
        kept = sum(stop - start for parts in runs.values() for start, stop in parts)
        told = f"by blocks of time, with a gap of {counted(self.length, 'row')} where the part changes"
        self.reports.append(StepReport("split", told, rows=len(group) - kept))
        return {
            name: (
                np.concatenate([np.arange(*run) for run in parts]),
                np.repeat(np.arange(len(parts)), [stop - start for start, stop in parts]),
            )
            for name, parts in runs.items()
        }

    def _report_parts(self) -> None:
        told = []
        for name, word in zip(NAMES, ("to train on", "to validate", "held out"), strict=True):
            what = f"{counted(int(self.group[name].max()) + 1, 'sequence')} of {len(self.frames[name]):,} rows"
            told.append(f"{what if self.entity else f'{len(self.frames[name]):,} rows'} {word}")
        judged = len(self.frames["val"]) + len(self.frames["test"])
        self.reports.append(StepReport("split", ", ".join(told), rows=judged if self.entity else 0))

    def _encode_all(self) -> None:
        train, group = self.frames["train"], self.group["train"]
        sizes = np.bincount(group)
        whole = self.entity is not None and self.window is None
        self.ends = whole and int(sizes.max()) <= self.length and bool(sizes.min() < sizes.max())
        if whole and not self.ends:
            self.length = min(self.length, int(sizes.max()))
        self.examples = {name: self._examples(name) for name in NAMES}
        for name, at in self.examples.items():
            if not len(at):
                most = min(int(np.bincount(self.group[part]).max()) for part in NAMES)
                way = f"choose data.window={most} or less, or another" if most >= FEWEST else "choose another"
                raise UserError(f"no {name} sequence has {self.length} rows; {way} data.split or seed=")
        lengths = sizes.tolist() if whole else [self.window] if self.window else [min(len(train), MOST_STEPS)]
        stay = {name for constraint in self.rules.constraints for name in constraint.columns}
        relations = chosen_of_series(self.relations, train, group, self.schema, self.roles, stay)
        if any(relations) or self.relations != "auto":
            self.reports.append(StepReport("relations", described(relations.all)))
        starts = None
        if self.time is not None and not whole:
            values = to_numbers(train[self.time], self.schema[self.time])
            begin = values[self.examples["train"][:, 0].numpy()]
            starts = (float(begin.min()), float(begin.max()))
        for constraint, count in self.rules.fit(train):
            self.reports.append(StepReport("constraint", f"{constraint}; training rows that break it", rows=count))
        self.codec.fit(
            train, group, self.schema, self.roles, self.length, self.ends, len(self.examples["train"]), lengths, starts,
            relations,
        )  # fmt: skip
        told = f"{self.codec.describe()}; {counted(len(self.examples['train']), 'training example')}"
        self.reports.append(StepReport("encode", f"{told} of {summary(self._spans())}"))
        self.rows, self.labels = {}, {}
        for name in NAMES:
            self.rows[name] = self.codec.rows(self.frames[name], self.group[name], dequantise=True)
            first = self.frames[name][np.r_[True, np.diff(self.group[name]) > 0]]
            self.labels[name] = self.codec.static.labels(first) if self.codec.static is not None else None

    def _spans(self) -> list[int]:
        return [int(n) for n in self.examples["train"][:, 2].tolist()]

    def _examples(self, name: str) -> Tensor:
        """First row, sequence and number of steps of every example of a part, (n, 3)."""
        sizes = np.bincount(self.group[name])
        begin = np.cumsum(sizes) - sizes
        if self.ends:
            return torch.from_numpy(np.stack([begin, np.arange(len(sizes)), sizes], axis=1))
        found = [
            np.stack([np.arange(b, b + n - self.length + 1), np.full(n - self.length + 1, i)], axis=1)
            for i, (b, n) in enumerate(zip(begin, sizes, strict=True))
            if n >= self.length
        ]
        at = np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
        return torch.from_numpy(np.concatenate([at, np.full((len(at), 1), self.length)], axis=1))

    @property
    def is_continuous(self) -> bool:
        """Whether it is one series without windows, of which samples are as long as wished."""
        return self.entity is None and self.window is None

    @property
    def n_synthetic(self) -> int:
        """As many sequences as there are training sequences, or windows, up to a number."""
        if self.is_continuous:
            return 1
        whole = self.entity is not None and self.window is None
        return min(int(self.group["train"].max()) + 1 if whole else len(self.examples["train"]), MOST_WINDOWS)

    def loader(self, name: str, batch_size: int, shuffle: bool) -> SequenceLoader:  # type: ignore[override]
        """Batches of one split on the device that trains."""
        x, static = self.rows[name]
        y, at = self.labels[name], self.examples[name]
        overlap = len(at) * self.length / max(len(x), 1)  # how often a pass through all of them would see a step
        count = len(at) if overlap <= self.repeats else max(round(len(at) * self.repeats / overlap), 1)
        size = max(1, min(batch_size, batch_size * USUAL // self.length))
        device = self.device
        return SequenceLoader(
            x.to(device), static.to(device), at.to(device), None if y is None else y.to(device), self.spec, size,
            count, shuffle, self.seed,
        )  # fmt: skip

    def train_dataloader(self) -> SequenceLoader:  # type: ignore[override]
        """Shuffled training sequences."""
        return self.loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> SequenceLoader:  # type: ignore[override]
        """Validation sequences."""
        return self.loader("val", max(self.batch_size, 128), shuffle=False)

    def test_dataloader(self) -> SequenceLoader:  # type: ignore[override]
        """Test sequences."""
        return self.loader("test", max(self.batch_size, 128), shuffle=False)

    def inputs(self, split: Literal["train", "val", "test"], n: int, shape: tuple[int, ...]) -> Tensor:
        """See `GenerativeData`; examples spread over the split."""
        loader = self.loader(split, n, shuffle=False)
        return loader.batch(torch.linspace(0, len(loader.at) - 1, min(n, len(loader.at))).round().long()).x


class SeriesFile(SeriesData):
    """A series in a person's own CSV, TSV or Parquet file.

    Arguments:
        path: The file; a relative one is also looked for under `data_dir`.
        codec: See `SeriesData`.
        target: Label column, static, or None.
        encoding: Of a text file that is not UTF-8.
        delimiter: Between the fields of a text file; None to find it.
        names: Column names of a text file without a header.
        most_columns: A table of more columns is refused.
        **options: See `SeriesData`.
    """

    reads: ClassVar[str] = "table"

    def __init__(
        self,
        path: str,
        codec: SeriesCodec,
        target: str | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        names: list[str] | None = None,
        most_columns: int = 4096,
        **options: Any,
    ) -> None:
        """See the class."""
        source = TableFile(path, target, encoding, delimiter, names, False, most_columns=most_columns)
        super().__init__(source, codec, **options)
