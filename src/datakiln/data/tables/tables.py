"""Tables from any source: read, cleaned, split, encoded once, and served from memory; larger ones from disk."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import pandas as pd
from torch import Tensor

from datakiln.codecs.tables.table import TableCodec
from datakiln.constraints import Constraint, Rules
from datakiln.data.base import GenerativeData, Loader, PoissonLoader, StepReport, TensorLoader
from datakiln.data.tables import protected, steps
from datakiln.data.tables.canaries import Planted, planted
from datakiln.data.tables.finding import find_file
from datakiln.data.tables.loaders import StreamLoader
from datakiln.data.tables.metadata import read_metadata
from datakiln.data.tables.public import Public
from datakiln.data.tables.relations import check_relations, chosen_relations, described
from datakiln.data.tables.remarks import remarks, true_of
from datakiln.data.tables.sources import RawTable, TableFile
from datakiln.data.tables.streaming import Fitted, Stream
from datakiln.data.tables.types import DROP, infer_schema, unplaced, without_dropped
from datakiln.errors import UserError
from datakiln.privacy.budget import Privacy
from datakiln.schema import Schema
from datakiln.spec import DataSpec

LEAST_BATCH = 16  # rows
USUAL_COLUMNS = 30  # a table of more gets smaller batches in proportion: each costs as much


class TableData(GenerativeData):
    """A table's rows as tensors, after named, switchable and reported preprocessing steps.

    Arguments:
        source: Reads the raw table; called with `data_dir`.
        codec: Encodes rows; fitted on the training rows.
        data_dir: Folder with downloaded data sets, or None.
        batch_size: Rows a training batch, at most.
        least_batches: Batches that a table of few rows is still cut into, of 16 rows or more, and more of them where
            it has more than 30 columns; 0 for no such limit.
        types: Column types that override what is found, {column: type}; "drop" leaves a column out.
        metadata: File with column types, which `types` override: SDV's metadata JSON or a Frictionless Table Schema.
        constraints: What every row must meet; violations in training rows are reported, synthetic rows drawn again.
        columns: Columns to keep, in this order, besides the label; None for all.
        duplicates: Whether equal rows are removed.
        missing: "drop", "impute" or "model" (missingness is learnt and reproduced).
        outliers: z-score beyond which training rows are left out; None to keep all.
        balance: "none", "over" or "under" sampling of the training classes.
        split: Shares of train, validation and test; None for 0.7, 0.15 and 0.15, but at most 4,000 rows each to
            validate and to test. Where the data set has official test rows, those are the test.
        validation: "apart"; "refit" for a second fit, on the validation rows too, as long as the first one was best; or
            "shared" to train on them from the start, so that no figure of validation is of unseen rows.
        relations: "auto" to find what holds between columns in the training rows and to keep it, "none", or a list of
            declared relations, such as ["total = price * quantity"]; see `datakiln.data.tables.relations`.
        canaries: Made-up rows planted among the training rows once, and as many 10 and 100 times; 0 for none. See
            `datakiln.data.tables.canaries`.
        seed: Of the split, of balancing and of the batch order.
        sample: Rows that stand for a table on disk where all of them cannot: see `datakiln.data.tables.streaming`.
        protected: Column whose groups `study=fairness` compares; nothing else reads it.
        private: The options of `privacy=`: see `datakiln.privacy.budget.Privacy` and `datakiln.data.tables.protected`.

    Attributes:
        public: What is declared of the table, under differential privacy; else None.
        released: What was given away of its rows, under differential privacy; else None.
        reasons: Why columns are what they are, where their cells alone do not say it.
    """

    kind = "table"
    codec: TableCodec

    def __init__(
        self,
        source: Callable[[str | None], RawTable],
        codec: TableCodec,
        data_dir: str | None = None,
        batch_size: int = 32,
        types: dict[str, Any] | None = None,
        metadata: str | None = None,
        constraints: Sequence[Constraint] = (),
        columns: list[str] | None = None,
        duplicates: bool = False,
        missing: Literal["drop", "impute", "model"] = "model",
        outliers: float | None = None,
        balance: Literal["none", "over", "under"] = "none",
        split: tuple[float, float, float] | None = None,
        validation: steps.Validation = "apart",
        relations: str | list[str] = "auto",
        seed: int = 0,
        sample: int = 200_000,
        least_batches: int = 0,
        private: dict[str, Any] | None = None,
        canaries: int = 0,
        protected: str | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.protected = protected
        self.privacy = Privacy.of(private)
        self.public: Public | None = None
        self.reasons: dict[str, str] = {}
        if least_batches < 0:
            raise UserError(f"data.least_batches={least_batches} must be at least 0")
        self.least_batches = least_batches
        if canaries < 0:
            raise UserError(f"data.canaries={canaries} must be at least 0")
        self.canaries = canaries
        self.planted: Planted | None = None
        steps.check_options(missing, balance, outliers, split, batch_size, validation, sample)
        check_relations(relations)
        self.relations = relations
        self.source, self.codec, self.data_dir, self.batch_size = source, codec, data_dir, batch_size
        self.types = {str(name): kind for name, kind in (types or {}).items()}
        self.metadata, self.columns = metadata, columns
        self.constraints = constraints
        self.duplicates, self.missing, self.outliers, self.balance = duplicates, missing, outliers, balance
        self.split, self.seed = split, seed
        self.validation = validation
        self._is_shared = validation == "shared"  # whether validation rows train
        self.raw: RawTable | None = None
        self.sample = sample
        self.stream: Stream | None = None  # of a table on disk
        self.fitted: Fitted | None = None

    def read(self) -> RawTable:
        """The raw table, read once, its columns chosen."""
        if self.raw is None:
            whole = self.source(self.data_dir)
            chosen = whole if self.columns is None else whole.only(self.columns)
            if self.privacy.is_on:
                return self._read_protected(without_dropped(chosen, self.types))
            raw = self._scanned(without_dropped(chosen, self.types))
            self.provenance, self.originals = raw.provenance, raw.inputs
            known = {name: kind for name, kind in raw.types.items() if name in raw.frame.columns}
            described: dict[str, Any] = {}
            if self.metadata is not None:
                described = read_metadata(find_file(self.metadata, self.data_dir), raw.frame, whole.frame.columns)
            wanted = {**known, **described, **{n: kind for n, kind in self.types.items() if kind != DROP}}
            self.schema = self._typed(raw, wanted)
            dates = [field.name for field in self.schema.fields if field.type == "datetime"]
            notes = (*true_of(raw.notes, dates), *remarks(self.schema, raw.frame, wanted, raw.facts))
            self.raw = dataclasses.replace(raw, frame=unplaced(raw.frame, self.schema), notes=notes)
            if raw.holdout is not None:
                self.raw = dataclasses.replace(self.raw, holdout=unplaced(raw.holdout, self.schema))
            if self.stream is not None:
                self.stream.mask({f.name: [word for word, _ in f.placeholders if word] for f in self.schema.fields})
            self.rules = Rules(self.constraints, self.schema)
        return self.raw

    def _typed(self, raw: RawTable, wanted: dict[str, Any]) -> Schema:
        """The type of every column; `wanted` are those that are set."""
        return infer_schema(raw.frame, raw.label, wanted, raw.facts, raw.writings, raw.storage)

    def _read_protected(self, raw: RawTable) -> RawTable:
        """The raw table under differential privacy: its types are those that were declared, its rows are not told."""
        if raw.store is not None:
            told = f"privacy={self.privacy.mechanism} counts rows in memory, but the table is on disk"
            raise UserError(f"{told}; set data.streaming=false")
        described = None if self.metadata is None else str(find_file(self.metadata, self.data_dir))
        types = {name: kind for name, kind in self.types.items() if kind != DROP}
        public = self.public = protected.public_of(raw, self.privacy, described, types)
        is_simulated = raw.provenance.is_stand_in
        self.provenance = raw.provenance if is_simulated else protected.named(raw.provenance, self.privacy)
        self.table = self.provenance.sha256
        self.schema = public.schema
        holdout = None if raw.holdout is None else public.seen(raw.holdout)
        notes = raw.notes if is_simulated else ()
        seen = public.seen(raw.frame)
        self.raw = dataclasses.replace(
            raw, frame=seen, holdout=holdout, notes=notes, provenance=self.provenance, inputs=None
        )
        self.rules = Rules(self.constraints, self.schema)
        return self.raw

    def _scanned(self, raw: RawTable) -> RawTable:
        """The table with a sample of its rows and what is known of all of them, if they are on disk."""
        if raw.store is None:
            return raw
        steps.refuse_on_disk(self.duplicates, self.missing, self.outliers, self.balance)
        names, shared = list(raw.frame.columns), self._is_shared
        shares = steps.shares_of(self.split, raw.store.rows)
        self.stream = Stream(raw.store, names, raw.label, shares, shared, self.sample, self.seed)
        frame, facts = self.stream.scan()
        return dataclasses.replace(raw, frame=frame, facts=facts)

    def setup(self, stage: str) -> None:
        """Reads, cleans, splits and encodes; the order is split first, then everything that is fitted."""
        if not hasattr(self, "frames"):
            self._prepare()

    @property
    def refits(self) -> bool:
        """See `GenerativeData`."""
        return self.validation == "refit"

    def train_on_all(self) -> None:
        """See `GenerativeData`; steps and codec learn from all rows anew."""
        if self._is_shared:
            return
        self._is_shared = True
        if self.stream is not None:
            self.stream.shared = True
        if hasattr(self, "frames"):
            self._prepare()

    def _prepare(self) -> None:
        frame = self.read().frame
        self.reports = []
        if self.public is not None:
            self._prepare_protected(self.public)
            return
        if self.stream is not None:
            if self.canaries:
                raise UserError(f"data.canaries={self.canaries} needs all rows in memory; set data.streaming=false")
            self._setup_from_disk(self.stream)
            return
        if self.duplicates:
            frame = self._report(steps.drop_duplicates(frame))
        frames = self._split(frame)
        frames = self._report(steps.MISSING[self.missing](frames, self.schema))
        if frames["train"].empty:
            raise UserError("data.missing=drop leaves no training row; use data.missing=model or data.missing=impute")
        for constraint, count in self.rules.fit(frames["train"]):
            self.reports.append(StepReport("constraint", f"{constraint}; training rows that break it", rows=count))
        if self.outliers is not None:
            frames["train"] = self._report(steps.drop_outliers(frames["train"], self.schema, self.outliers))
        label = self.schema.label
        if self.balance != "none" and label is not None and not self.schema[label].is_choice:
            told = f"data.balance={self.balance} is of classes, and data.target={label} is a number"
            raise UserError(f"{told}; leave it out, or set data.types.{label}=category")
        once = frames["train"] if self.balance == "over" else None
        if self.balance != "none":
            frames["train"] = self._report(steps.balance_classes(frames["train"], self.schema, self.balance, self.seed))
        if self.canaries:
            frames["train"], self.planted, report = planted(frames["train"], self.canaries, self.seed)
            self.reports.append(report)
            once = None if once is None else pd.concat([once, self.planted.rows], ignore_index=True)
        self._encode(self._seen_labels(frames), once)

    def _prepare_protected(self, public: Public) -> None:
        """The same under differential privacy: what is fitted to rows is fitted to drawn ones; see `protected`."""
        raw, privacy = self.read(), self.privacy
        share = self.split[2] if self.split is not None else protected.TEST
        halves = (raw.frame, raw.holdout) if raw.holdout is not None else protected.apart(raw.frame, share, self.seed)
        if self.missing == "drop":
            known = [column.field.name for column in public.modelled]
            halves = tuple(half.dropna(subset=known).reset_index(drop=True) for half in halves)  # type: ignore[assignment]
        self.measured = protected.Real(*halves)
        made = self.released = protected.released(privacy, self.table, public, self.measured.train)
        n = max(round(made.rows), 20)
        self.holdout_rows = len(halves[1]) if raw.holdout is not None else round(n * share / (1.0 - share))
        drawn = protected.rows(made, public, n + n // 5, self.seed)
        frames = {"train": drawn[:n].reset_index(drop=True), "val": drawn[n:].reset_index(drop=True)}
        for constraint, _ in self.rules.fit(frames["train"]):
            self.reports.append(StepReport("constraint", str(constraint)))
        self.reports += protected.reports(made, privacy, public)
        label = self.schema.label
        test = self.measured.test
        if label is not None and self.schema[label].is_choice:
            test = test[test[label].isin(frames["train"][label].dropna().unique())].reset_index(drop=True)
        self.frames = {**frames, "test": test}
        self.has_parameters = privacy.mechanism == "marginals" and protected.shares_codes(self.codec)
        if self.has_parameters:
            protected.codec_of(made, public, self.codec)
        else:
            stay = {name for constraint in self.rules.constraints for name in constraint.columns}
            is_joint = privacy.mechanism == "marginals"
            relations = chosen_relations(self.relations, frames["train"], self.schema, stay) if is_joint else []
            if relations:
                self.reports.append(StepReport("relations", described(relations)))
            whole = frames["train"] if is_joint else protected.with_all_categories(frames["train"], public)
            self.codec.fit(whole, self.schema, rows=n, relations=relations)
            self.codec.forget_rows()
        if privacy.mechanism == "dp_sgd":
            self.frames["train"] = protected.filled(self.measured.train, public)
        self.reports.append(StepReport("encode", f"{self.codec.describe()}"))
        self.tensors = {
            name: (self.codec.encode(frame, dequantise=True), self.codec.labels(frame))
            for name, frame in self.frames.items()
        }

    @property
    def released_cost(self) -> tuple[float, float]:
        """See `GenerativeData`."""
        return (0.0, 0.0) if self.released is None else protected.cost(self.released, self.privacy)

    @property
    def paid_share(self) -> float:
        """See `GenerativeData`."""
        return protected.SHARE

    @property
    def poisson(self) -> tuple[float, int]:
        """See `GenerativeData`."""
        rate = min(self.batch_size / self.n_synthetic, 1.0)
        return rate, max(round(1.0 / rate), 1)

    @property
    def expected(self) -> float:
        """See `GenerativeData`."""
        return self.poisson[0] * self.n_synthetic

    @property
    def parameters(self) -> tuple[Any, Any] | None:
        """Theta (T, K) and pi (K,) of a mixture over the codes of the spec, where that is what was given away."""
        return (self.released.theta, self.released.pi) if self.released is not None and self.has_parameters else None

    @property
    def real(self) -> steps.Frames:
        """Real rows for what measures: those that were trained on, and those that nothing has seen."""
        if self.public is not None:
            return {"train": self.measured.train, "test": self.frames["test"]}
        return self.frames

    @property
    def n_holdout(self) -> int:
        """Test rows; under differential privacy about as many, where their number is not the data set's own."""
        return self.holdout_rows if self.public is not None else len(self.frames["test"])

    def _setup_from_disk(self, stream: Stream) -> None:
        """The same for a table whose training rows stay on disk."""
        fitted = self.fitted = stream.fit(self.schema, self.missing == "drop", self.rules)
        self.reports.append(stream.report(fitted))
        self._report_validation(len(fitted.frames["val"]), sum(fitted.sizes))
        if not len(fitted.sample):
            raise UserError("data.missing=drop leaves no training row; use data.missing=model")
        for constraint, count in self.rules.fit(fitted.sample):
            self.reports.append(StepReport("constraint", f"{constraint}; sampled rows that break it", rows=count))
        for learning, rows in fitted.combinations:
            learning.fit(rows, self.schema)
        self._encode(self._seen_labels(fitted.frames))

    def _split(self, frame: pd.DataFrame) -> steps.Frames:
        holdout = self.read().holdout
        shares = steps.shares_of(self.split, len(frame), holdout is not None)
        if holdout is None:
            frames = steps.split(frame, self.schema, shares, self.seed)
        else:
            frames = steps.split_with_holdout(frame, holdout, self.schema, shares, self.seed)
        self._report_split(frames, holdout is not None)
        if self._is_shared:
            frames["train"] = pd.concat([frames["train"], frames["val"]], ignore_index=True)
        self._report_validation(len(frames["val"]), len(frames["train"]))
        return frames

    def _report_split(self, frames: steps.Frames, is_official: bool) -> None:
        train, val, test = (f"{len(frames[name]):,}" for name in ("train", "val", "test"))
        held = "the official test rows" if is_official else "held out"
        told = f"{train} rows to train on, {val} to validate, {test} {held}"
        self.reports.append(StepReport("split", told, rows=len(frames["val"]) + len(frames["test"])))

    def _report_validation(self, rows: int, train: int) -> None:
        if detail := steps.VALIDATION[self.validation]:
            self.reports.append(StepReport("validation", detail, rows=rows))
        if warning := steps.danger(self.validation, train):
            self.reports.append(warning)

    def _report(self, outcome: tuple[Any, StepReport]) -> Any:  # noqa: ANN401 (whatever the step made)
        made, report = outcome
        self.reports.append(report)
        return made

    def _seen_labels(self, frames: steps.Frames) -> steps.Frames:
        """Leaves out validation and test rows of a class without a training row (dropping rows can cause that)."""
        label = self.schema.label
        if label is None or not self.schema[label].is_choice:
            return frames
        tallies = self.fitted.tallies if self.fitted is not None else None
        if tallies is None:
            seen, has_gaps = list(frames["train"][label].dropna().unique()), bool(frames["train"][label].isna().any())
        else:
            seen, has_gaps = list(tallies[label].counts.index), tallies[label].has_missing
        kept = {}
        for name, frame in frames.items():
            is_known = frame[label].isin(seen) | (frame[label].isna() if has_gaps else False)
            kept[name] = frame[is_known].reset_index(drop=True)
        gone = sum(len(frames[name]) - len(kept[name]) for name in frames)
        if gone:
            self.reports.append(
                StepReport("unseen", f"rows of a {label} without training rows are left out", rows=gone)
            )
        return kept

    def _encode(self, frames: steps.Frames, once: pd.DataFrame | None = None) -> None:
        """Fits the codec, to `once` if it is given: the training rows before some were repeated.

        A repeated row is no evidence: its cells go together, and its values come again, for no other reason.
        """
        self.frames = frames
        for name, frame in frames.items():
            if frame.empty:
                raise UserError(f"no {name} rows are left after preprocessing; switch a step off (data.missing=model)")
        train = frames["train"] if self.fitted is None else self.fitted.sample
        stay = {name for constraint in self.rules.constraints for name in constraint.columns}
        seen = train if once is None else once
        relations = chosen_relations(self.relations, seen, self.schema, stay)
        if relations or self.relations != "auto":
            self.reports.append(StepReport("relations", described(relations)))
        if self.fitted is None:
            labels = None if once is None else train[str(self.schema.label)]
            self.codec.fit(seen, self.schema, rows=len(train), relations=relations, labels=labels)
        else:
            self.codec.fit(train, self.schema, self.fitted.tallies, sum(self.fitted.sizes), relations)
        self.codec.avoid(self._all_rows(), self.read().rows)
        self.reports.append(StepReport("encode", f"{self.codec.describe()}", rows=self.codec.spec.size))
        self.tensors = {
            name: (self.codec.encode(frame, dequantise=True), self.codec.labels(frame))
            for name, frame in frames.items()
        }

    def _all_rows(self) -> Iterator[pd.DataFrame]:
        raw = self.read()
        if self.stream is not None:
            made = [field.name for field in self.schema.fields if field.type in ("id", "text")]
            yield from (frame for _, frame in self.stream.store.frames(made))
            return
        yield raw.frame
        if raw.holdout is not None:
            yield raw.holdout

    def declared(self) -> dict[str, Any]:
        """The constraints, with what they have learnt."""
        return {"constraints": self.rules.state()}

    @property
    def spec(self) -> DataSpec:  # type: ignore[override]
        """What one encoded row looks like."""
        return self.codec.spec

    def loader(self, name: str, batch_size: int, shuffle: bool) -> TensorLoader:
        """Batches of one split on the device that trains."""
        x, y = self.tensors[name]
        return TensorLoader(
            x.to(self.device), None if y is None else y.to(self.device), batch_size, shuffle, seed=self.seed
        )

    @property
    def n_synthetic(self) -> int:
        """As many rows as there are training rows in memory; under differential privacy as many as are given away."""
        if self.released is not None:
            return max(round(self.released.rows), 1)
        return len(self.frames["train"])

    def train_dataloader(self) -> Loader:
        """Shuffled training batches."""
        if self.public is not None and self.privacy.mechanism == "dp_sgd":
            x, y = self.tensors["train"]
            return PoissonLoader(x.to(self.device), None if y is None else y.to(self.device), *self.poisson)
        if self.fitted is not None:
            sizes, sample, width = self.fitted.sizes, self.fitted.sample, self.spec.shape[0]
            sampled = functools.partial(self.codec.encode, sample, dequantise=True)
            is_labelled = self.codec.label_codec is not None
            return StreamLoader(sizes, self._read_group, is_labelled, width, self.batch_size, self.seed, sampled)
        size = self.batch_size
        if self.least_batches:
            batches = round(self.least_batches * max(len(self.spec.columns) / USUAL_COLUMNS, 1.0))
            size = min(size, max(len(self.tensors["train"][0]) // batches, LEAST_BATCH))
        return self.loader("train", size, shuffle=True)

    def _read_group(self, group: int) -> tuple[Tensor, Tensor | None]:
        assert self.stream is not None
        frame = self.stream.training(group, self.codec.modelled)
        return self.codec.encode(frame, dequantise=True), self.codec.labels(frame)

    def val_dataloader(self) -> TensorLoader:
        """Validation rows in large batches: nothing is learnt from them."""
        return self.loader("val", max(self.batch_size, 4096), shuffle=False)

    def test_dataloader(self) -> TensorLoader:
        """Test rows in large batches."""
        return self.loader("test", max(self.batch_size, 4096), shuffle=False)

    def inputs(self, split: Literal["train", "val", "test"], n: int, shape: tuple[int, ...]) -> Tensor:
        """See `GenerativeData`; rows have one shape."""
        if tuple(shape) != self.spec.shape:
            return super().inputs(split, n, shape)
        return self.tensors[split][0][:n]


class FileData(TableData):
    """A person's own CSV, TSV or Parquet file, or Parquet files in a folder or an object store.

    Arguments:
        path: See `TableFile`.
        codec: See `TableData`.
        target: Label column, or None.
        encoding: Of a text file that is not UTF-8.
        delimiter: Between the fields of a text file; None to find it.
        names: Column names of a text file without a header.
        streaming: See `TableFile`.
        cache: See `TableFile`.
        most_columns: See `TableFile`.
        **options: See `TableData`.
    """

    reads: ClassVar[str] = "table"  # what its path names

    def __init__(
        self,
        path: str,
        codec: TableCodec,
        target: str | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        names: list[str] | None = None,
        streaming: bool | Literal["auto"] = "auto",
        cache: str = "outputs/cache",
        most_columns: int = 4096,
        **options: Any,
    ) -> None:
        """See the class."""
        source = TableFile(path, target, encoding, delimiter, names, streaming, cache, most_columns)
        super().__init__(source, codec, **options)
