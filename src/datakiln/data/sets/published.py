"""Published tables of one CSV file each, with a number to predict: `diamonds` and `flights`.

- `diamonds`: price and measures of 53,940 round cut diamonds, of R's ggplot2 (Wickham, 2016). depth is 200 z / (x + y)
  within rounding; a 0 in x, y or z stands for a measure that was not taken, and is kept as it is published.
- `flights`: flights that left New York in 2013, from R's nycflights13 (Wickham, 2014); all 336,776 rows or any of them.
  sched_dep_time is 100 hour + minute in every row. What did not happen is missing: cancelled flights never landed.

Cells are kept as published; `NA` is missing.
"""

from __future__ import annotations

import hashlib
import io
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pandas as pd

from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable
from datakiln.errors import UserError, near
from datakiln.storage import cache_dir

SECONDS = 20.0
LEAST_ROWS = 100  # of a part of a table


@dataclass(frozen=True)
class Published:
    """What is known of a table before it is read.

    Attributes:
        columns: Its header.
        rows: Number of rows of the whole table.
        is_whole: Whether a part of its rows is refused.
        origin: Where a person finds it.
        address: Of the file itself, "" where none is published as CSV.
    """

    columns: tuple[str, ...]
    rows: int
    is_whole: bool
    origin: str
    address: str = ""


TABLES = {
    "diamonds": Published(
        ("carat", "cut", "color", "clarity", "depth", "table", "price", "x", "y", "z"),
        53_940,
        True,
        "the data set diamonds of R's ggplot2",
        "https://raw.githubusercontent.com/tidyverse/ggplot2/main/data-raw/diamonds.csv",
    ),
    "flights": Published(
        (
            *("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time"),
            *("arr_delay", "carrier", "flight", "tailnum", "origin", "dest", "air_time", "distance", "hour", "minute"),
            "time_hour",
        ),
        336_776,
        False,
        "the data set flights of R's nycflights13, written by write.csv(flights, row.names=FALSE)",
    ),
}


class PublishedTable:
    """One of the tables above, from `data_dir`, else from a cache, else downloaded where it is published as a file.

    Arguments:
        name: "diamonds" or "flights".
        label: Column to predict, None for no label.
        address: Where the file is downloaded from; None for where it was published.
    """

    def __init__(self, name: str, label: str | None = None, address: str | None = None) -> None:
        """See the class; raises `UserError` for an unknown name, or a label that is no column."""
        if name not in TABLES:
            raise UserError(f"data.source.name={name} must be one of {', '.join(TABLES)}{near(name, TABLES)}")
        self.name, self.table, self.label = name, TABLES[name], label
        if label is not None and label not in self.table.columns:
            raise UserError(f"data.source.label={label} is no column of {name}{near(label, self.table.columns)}")
        self.address = self.table.address if address is None else address

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """The table; raises `UserError` if the file cannot be had or is another one."""
        cached = cache_dir() / self.name / f"{self.name}.csv"
        path = next((p for p in [*self._places(data_dir), cached] if p.is_file()), None)
        path = self._download(cached) if path is None else path
        raw = path.read_bytes()
        frame = self._parsed(raw, str(path))
        digest = hashlib.sha256(raw).hexdigest()
        source = Provenance("download" if path == cached else "files", f"{self.name}, {path}", digest)
        part = f"{len(frame):,} of the {self.table.rows:,} published rows"
        return RawTable(frame, self.label, source, notes=() if len(frame) == self.table.rows else (part,))

    def _places(self, data_dir: str | None) -> list[Path]:
        folders = [] if data_dir is None else [Path(data_dir).expanduser() / f for f in ("tabular", ".")]
        return [folder / place / f"{self.name}.csv" for folder in folders for place in (self.name, ".")]

    def _download(self, path: Path) -> Path:
        way_out = f"put {self.name}.csv ({self.table.origin}) into DATA_DIR/tabular/{self.name}, or set data_dir="
        if not self.address:
            raise UserError(f"data={self.name}: the table is not at hand; {way_out}")
        try:
            with urllib.request.urlopen(self.address, timeout=SECONDS) as answer:
                content = answer.read()
            self._parsed(content, self.address)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(content)
            partial.replace(path)
        except (OSError, HTTPException) as error:
            raise UserError(f"data={self.name}: {self.address} could not be reached ({error}); {way_out}") from None
        return path

    def _parsed(self, raw: bytes, where: str) -> pd.DataFrame:
        """The file as a frame; raises `UserError` if it is not the published table."""
        try:
            frame = pd.read_csv(io.BytesIO(raw), keep_default_na=False, na_values=["", "NA"])
        except ValueError as error:  # no text, no table, or lines of different length
            raise UserError(f"{where}: {' '.join(str(error).split())}; download it again") from None
        if tuple(frame.columns) != self.table.columns:
            wanted = ", ".join(self.table.columns)
            raise UserError(f"{where}: not the table {self.name}, whose columns are {wanted}")
        least = self.table.rows if self.table.is_whole else LEAST_ROWS
        if not least <= len(frame) <= self.table.rows:
            raise UserError(f"{where}: {len(frame):,} rows where {self._wanted()} are published; download it again")
        return frame

    def _wanted(self) -> str:
        return f"{self.table.rows:,}" + ("" if self.table.is_whole else f" or a part of {LEAST_ROWS} at least")
