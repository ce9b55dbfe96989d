"""Where tables come from. A source is a callable configured in yaml: `source(data_dir) -> RawTable`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from datakiln.data.base import Inputs, Provenance
from datakiln.data.tables.facts import Facts
from datakiln.data.tables.finding import find_file, is_store
from datakiln.data.tables.large import Opened, RowStore
from datakiln.data.tables.parts import Part, parts_at, parts_in
from datakiln.errors import UserError, near


@dataclass(frozen=True)
class RawTable:
    """A table as it was read.

    Attributes:
        frame: Rows and columns; missing cells are NaN.
        label: Column that classes are taken from, or None.
        provenance: Where the rows come from.
        types: Column types the source knows for sure, {column: one of `datakiln.schema.COLUMN_TYPES`}.
        notes: Lines that the person should see.
        holdout: Rows that the data set's authors set apart for testing; None where they did not.
        store: Where the rows are if they are not in `frame`, which then is empty, and later a sample of them.
        facts: Of the columns of a store, once it has been read.
        writings: How a text file had the numbers that `frame` has as floats.
        storage: The types of the columns of a Parquet file.
        inputs: The files it was read from, where they are a person's own.
        public: What the authors of the data set have published of its columns, as `privacy.public` would declare it.
    """

    frame: pd.DataFrame
    label: str | None
    provenance: Provenance
    types: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    holdout: pd.DataFrame | None = None
    store: RowStore | None = None
    facts: Mapping[str, Facts] | None = None
    writings: Mapping[str, str] = field(default_factory=dict)
    storage: Mapping[str, str] = field(default_factory=dict)
    inputs: Inputs | None = None
    public: Mapping[str, Any] | None = None

    @property
    def rows(self) -> int:
        """Number of rows of the whole table."""
        return len(self.frame) if self.store is None else self.store.rows

    def only(self, columns: Sequence[str]) -> RawTable:
        """The table with these columns, in this order, and the label; raises `UserError` for one it does not have."""
        keep = [*columns, *([self.label] if self.label and self.label not in columns else [])]
        unknown = [name for name in keep if name not in self.frame.columns]
        if unknown:
            raise UserError(f"data.columns={unknown[0]!r} is not a column of {self.provenance.detail}")
        return replace(self, frame=self.frame[keep], holdout=None if self.holdout is None else self.holdout[keep])


DELIMITERS = {"tab": "\t", r"\t": "\t", "semicolon": ";", "bar": "|", "comma": ","}  # a shell has no plain tab
IRIS = ("sepal length", "sepal width", "petal length", "petal width")


class SklearnTable:
    """One of the small tables inside scikit-learn, with its class names or the number to predict as the label.

    Arguments:
        name: "iris", "wine", "breast_cancer" or "diabetes".
    """

    LABELS = {"iris": "species", "wine": "cultivar", "breast_cancer": "diagnosis", "diabetes": "progression"}
    OPTIONS: ClassVar[dict[str, dict[str, bool]]] = {"diabetes": {"scaled": False}}  # as measured
    PUBLIC: ClassVar[dict[str, Any]] = {  # lengths of a flower in cm, and its kinds
        "iris": {
            "columns": {
                **{f"{part} (cm)": {"type": "numeric", "decimals": 1} for part in IRIS},
                "species": ["setosa", "versicolor", "virginica"],
            },
            "bounds": {f"{part} (cm)": [0, 10] for part in IRIS},
        }
    }

    def __init__(self, name: str) -> None:
        """Raises `UserError` for an unknown name."""
        if name not in self.LABELS:
            raise UserError(f"data.source.name={name} must be one of {', '.join(self.LABELS)}{near(name, self.LABELS)}")
        self.name = name

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """The table; `data_dir` is not needed."""
        import sklearn
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{self.name}")(as_frame=True, **self.OPTIONS.get(self.name, {}))
        label = self.LABELS[self.name]
        frame = bunch.data.copy()
        has_classes = "target_names" in bunch
        if has_classes:
            frame[label] = pd.Series([str(name) for name in bunch.target_names], dtype="str").take(bunch.target).array
        else:
            frame[label] = bunch.target.astype("int64")
        detail = f"{self.name}, embedded in scikit-learn {sklearn.__version__}"
        kind = "category" if has_classes else "integer"
        source = Provenance("embedded", detail, frame_sha256(frame))
        return RawTable(frame, label, source, {label: kind}, public=self.PUBLIC.get(self.name))


class TableFile:
    """A person's own CSV, TSV or Parquet file, or Parquet files in a folder or an object store.

    Arguments:
        path: The file, a folder or pattern of Parquet files, or an address such as s3://bucket/prefix/; a relative path
            is looked for in the current folder, then in `data_dir`.
        target: Column that classes are taken from; None for a table without a label.
        encoding: Text encoding; None to take UTF-8, or what a byte order mark says.
        delimiter: Character between the fields of a text file, or its name, such as "tab"; None to find it.
        names: Column names of a text file without a header line.
        streaming: Whether rows stay on disk; "auto" if they would take more than half of the available memory. Several
            Parquet files always do.
        cache: Folder for what text files are converted to where rows stay on disk.
        most_columns: A table of more columns is refused.
    """

    def __init__(
        self,
        path: str | None,
        target: str | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        names: list[str] | None = None,
        streaming: bool | Literal["auto"] = "auto",
        cache: str = "outputs/cache",
        most_columns: int = 4096,
    ) -> None:
        """Raises `UserError` without a path, or for an option that is none."""
        if not path:
            raise UserError("data=csv needs a table: data.path=FILE.csv (or .tsv, .parquet)")
        delimiter = DELIMITERS.get(delimiter or "", delimiter)
        if delimiter is not None and len(delimiter) != 1:
            raise UserError(f"data.delimiter={delimiter!r} must be a single character, or {', '.join(DELIMITERS)}")
        if streaming not in (True, False, "auto"):
            raise UserError(f"data.streaming={streaming} must be auto, true or false")
        self.path, self.streaming, self.cache = path, streaming, Path(cache)
        self.target, self.encoding, self.delimiter, self.most_columns = target, encoding, delimiter, most_columns
        self.names = None if names is None else [str(name) for name in names]

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Reads the file; raises `UserError` with file, fault and way out."""
        from datakiln.data.tables.files import read_table_file
        from datakiln.data.tables.limits import is_too_large

        if is_store(self.path):
            return self._of_parts(*parts_at(self.path), self.path)
        path = find_file(self.path, data_dir)
        found = parts_in(path)
        if found is not None:
            return self._of_parts(*found, str(path.resolve()))
        if self.streaming is True or (self.streaming == "auto" and is_too_large(path)):
            return self._on_disk(path)
        inputs = Inputs([path])
        content = read_table_file(path, self.encoding, self.delimiter, self.names, most_columns=self.most_columns)
        self._check_target(list(content.frame.columns), path.name)
        provenance = Provenance("files", str(path.resolve()), content.sha256)
        return RawTable(
            content.frame,
            self.target,
            provenance,
            notes=tuple(content.notes),
            writings=content.writings,
            storage=content.storage,
            inputs=inputs,
        )

    def _on_disk(self, path: Path) -> RawTable:
        from datakiln.data.tables.large import open_file

        inputs = Inputs([path])
        opened = open_file(path, self.cache, self.encoding, self.delimiter, self.names, self.most_columns)
        inputs.is_read_again = opened.store.paths == inputs.paths  # and not a conversion of them
        return self._streamed(opened, inputs, path.name, str(path.resolve()))

    def _of_parts(self, parts: list[Part], notes: list[str], place: str) -> RawTable:
        """The table of several files, from disk or their store, unless it is to be in memory."""
        from datakiln.data.tables.files import check_frame
        from datakiln.data.tables.large import open_parts
        from datakiln.data.tables.limits import check_columns

        told = json.dumps([dict(part.cells) for part in parts]) if parts[0].cells else ""
        inputs = Inputs([part.file for part in parts], is_read_again=self.streaming is not False, told=told)
        opened = open_parts(parts, inputs)
        check_columns(len(opened.store.names), place, self.most_columns)
        streamed = self._streamed(opened._replace(notes=[*opened.notes, *notes]), inputs, place, place)
        if self.streaming is not False:
            return streamed
        frames = [frame for _, frame in opened.store.frames()]
        frame = pd.concat(frames, ignore_index=True) if frames else streamed.frame
        check_frame(frame, opened.store.title)
        return replace(streamed, frame=frame, store=None, notes=(*opened.notes, *notes))

    def _streamed(self, opened: Opened, inputs: Inputs, name: str, place: str) -> RawTable:
        self._check_target(opened.store.names, name)
        size = f"{inputs.size / 1e6:.0f} MB"
        why = f"the table ({size}) is read from disk while it trains; memory does not grow with its rows"
        return RawTable(
            pd.DataFrame(columns=opened.store.names),
            self.target,
            Provenance("files", place, opened.sha256),
            notes=(*opened.notes, why),
            store=opened.store,
            writings=opened.writings,
            storage=opened.storage,
            inputs=inputs,
        )

    def _check_target(self, columns: Sequence[str], name: str) -> None:
        if self.target is not None and self.target not in columns:
            known = ", ".join(map(str, columns[:20])) + (", ..." if len(columns) > 20 else "")
            raise UserError(
                f"data.target={self.target} is not a column of {name} ({known}){near(self.target, columns)}"
            )


def frame_sha256(frame: pd.DataFrame) -> str:
    """SHA-256 of a frame written as CSV: the hash of data that comes from no file."""
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
