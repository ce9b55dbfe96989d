"""The ADHD-200 phenotypic table (The ADHD-200 Consortium, Front. Syst. Neurosci. 6:62, 2012): 776 persons, 7 sites.

It is looked for under `data_dir`, then downloaded, then simulated from aggregate figures; which of these it was is
always said. Missing cells are coded in four ways (blank, N/A, -999, pending), all of which become NaN. Categories are
kept as the codes of the consortium's phenotypic key, in text: `DX` 0 typically developing, 1 ADHD combined, 2 ADHD
hyperactive/impulsive, 3 ADHD inattentive.

`python -m datakiln.data.sets.adhd --figures DATA_DIR` computes the figures anew from the real table.
"""

from __future__ import annotations

import hashlib
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from datakiln.data.base import Provenance
from datakiln.data.sets.adhd_download import ADDRESS, SITES, DownloadFailed, fetch_sites
from datakiln.data.sets.adhd_figures import compute_figures, simulate
from datakiln.data.tables.sources import RawTable, frame_sha256
from datakiln.errors import UserError, near
from datakiln.storage import cache_dir

PAPER_COLUMNS = ("Age", "Verbal IQ", "Performance IQ", "Full4 IQ", "ADHD Index")
SCALES = {  # as the consortium's phenotypic key and the tests' manuals tell them
    "Age": (5, 30, 2),
    "ADHD Index": (18, 99, 1),
    "Inattentive": (9, 99, 0),
    "Hyper/Impulsive": (9, 99, 0),
    "Verbal IQ": (40, 160, 0),
    "Performance IQ": (40, 160, 0),
    "Full2 IQ": (40, 160, 0),
    "Full4 IQ": (40, 160, 0),
    "Handedness": (-1, 3, 2),
}
CODES = {
    "Site": range(1, 9),
    "Gender": range(2),
    "DX": range(4),
    "ADHD Measure": range(1, 4),
    "IQ Measure": range(1, 6),
    "Med Status": range(1, 3),
}
PUBLIC: dict[str, dict[str, Any]] = {
    "columns": {
        **{
            name: {"type": "numeric", "decimals": places, "missing": name != "Age"}
            for name, (*_, places) in SCALES.items()
        },
        **{
            name: {
                "type": "category",
                "categories": [str(code) for code in codes],
                "missing": name not in ("Site", "DX"),
            }
            for name, codes in CODES.items()
        },
    },
    "bounds": {name: [low, high] for name, (low, high, _) in SCALES.items()},
}
NUMBERS = {
    "Age": "numeric",
    "Handedness": "numeric",  # a code at most sites, a score at one
    "ADHD Index": "numeric",  # eight halves among the ratings of one site
    "Inattentive": "numeric",
    "Hyper/Impulsive": "numeric",
    "Verbal IQ": "integer",
    "Performance IQ": "integer",
    "Full2 IQ": "integer",
    "Full4 IQ": "integer",
}
# All phenotypic columns but the person's number, free text, and six QC columns that at most five persons have.
FULL_COLUMNS = (
    *("Site", "Gender", "Age", "Handedness", "DX", "ADHD Measure", "ADHD Index", "Inattentive", "Hyper/Impulsive"),
    *("IQ Measure", "Verbal IQ", "Performance IQ", "Full2 IQ", "Full4 IQ", "Med Status"),
    *("QC_Rest_1", "QC_Rest_2", "QC_Rest_3", "QC_Anatomical_1", "QC_Anatomical_2"),
    *("Study #", "QC_S1_Rest_1", "QC_S1_Rest_2", "QC_S1_Rest_3", "QC_S1_Anat", "QC_S2_Rest_1"),
)
UNUSUAL = {"ScanDir ID": "id", "Secondary Dx": "category"}  # types of two columns that are read only when asked for
MISSING_CODES = ("", "N/A", "n/a", "-999", "pending")
DIAGNOSES = {"0": 491, "1": 163, "2": 11, "3": 111}
FIGURES = Path(__file__).with_name("adhd_figures.json")
STAND_IN_SEED = 200
SOURCES = ("auto", "files", "download", "stand-in")


class AdhdTable:
    """The phenotypic table, from the first place that has it.

    Arguments:
        columns: Columns besides the label; None for every usable one.
        label: Column that classes are taken from.
        source: "auto", or the only place to take it from: "files", "download" or "stand-in".
        address: Where the per-site files are downloaded from.
    """

    def __init__(
        self, columns: list[str] | None = None, label: str = "DX", source: str = "auto", address: str = ADDRESS
    ) -> None:
        """Raises `UserError` for an unknown source."""
        if source not in SOURCES:
            raise UserError(f"data.source.source={source} must be one of {', '.join(SOURCES)}{near(source, SOURCES)}")
        self.columns = None if columns is None else [str(column) for column in columns]
        self.label, self.source, self.address = label, source, address.rstrip("/")

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """The table; raises `UserError` if the one source asked for fails, or for an unknown column."""
        tried: list[str] = []
        found = None
        if self.source in ("auto", "files"):
            found = read_folder(data_dir, tried)
        if found is None and self.source in ("auto", "download"):
            found = self._download(tried)
        if found is None and self.source in ("auto", "stand-in"):
            found = _stand_in(tried)
        if found is None:
            raise UserError(f"data.source.source={self.source}: {'; '.join(tried)}; or use source=auto")
        frame, provenance, notes = found
        frame = self._chosen(frame, provenance)
        types = {c: UNUSUAL.get(c) or NUMBERS.get(c, "category") for c in frame.columns}
        public = {key: {c: said for c, said in part.items() if c in frame.columns} for key, part in PUBLIC.items()}
        return RawTable(frame, self.label, provenance, types, notes, public=public)

    def _chosen(self, frame: pd.DataFrame, provenance: Provenance) -> pd.DataFrame:
        wanted = FULL_COLUMNS if self.columns is None else self.columns
        wanted = [*wanted, *([self.label] if self.label not in wanted else [])]
        for column in wanted:
            if column not in frame.columns:
                raise UserError(f"{column!r} is no column of {provenance.detail}{near(column, frame.columns)}")
        return frame[wanted]

    def _download(self, tried: list[str]) -> tuple[pd.DataFrame, Provenance, tuple[str, ...]] | None:
        try:
            tables, sha256 = fetch_sites(self.address, lambda raw, name: read_cells(raw))
        except DownloadFailed as error:
            tried.append(f"no download: {error}")
            return None
        frame = to_values(tables, self.address)
        cache = cache_dir() / "adhd200"
        detail = f"ADHD-200 phenotypic table, {len(frame)} persons, from {self.address} (cached in {cache})"
        return frame, Provenance("download", detail, sha256), _count_notes(frame)


def read_folder(data_dir: str | None, tried: list[str]) -> tuple[pd.DataFrame, Provenance, tuple[str, ...]] | None:
    """The table under `data_dir/adhd200`: the joint file, or the per-site files of `training/`."""
    if data_dir is None:
        tried.append("no data_dir (set data_dir= or DATA_DIR)")
        return None
    folder = Path(data_dir).expanduser() / "adhd200"
    joint = folder / "adhd200_training_phenotypic.csv"
    paths = [joint] if joint.is_file() else sorted((folder / "training").glob("*_phenotypic.csv"))
    if not paths:
        tried.append(f"no {joint} or training/*_phenotypic.csv beside it")
        return None
    digest, tables = hashlib.sha256(), []
    for path in paths:
        raw = path.read_bytes()
        digest.update(raw)
        try:
            tables.append(read_cells(raw))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
    frame = to_values(tables, str(folder))
    where = joint if joint.is_file() else f"{folder / 'training'} ({len(paths)} of {len(SITES)} site files)"
    detail = f"ADHD-200 phenotypic table, {len(frame)} persons, {where}"
    return frame, Provenance("files", detail, digest.hexdigest()), _count_notes(frame)


def read_cells(raw: bytes) -> pd.DataFrame:
    """A phenotypic CSV file as text cells; raises ValueError if it is none."""
    table = pd.read_csv(BytesIO(raw), dtype=str, keep_default_na=False, encoding="latin-1")
    table.columns = table.columns.str.strip()
    missing = {"DX", "Age", "Site"} - set(table.columns)
    if missing:
        raise ValueError(f"no column {sorted(missing)[0]!r}, so this is no ADHD-200 phenotypic file")
    return table


def to_values(tables: list[pd.DataFrame], where: str) -> pd.DataFrame:
    """Text cells of all sites to one frame: official names, NaN for the missing codes, numbers as numbers."""
    official = {_plain(column): column for column in (*FULL_COLUMNS, *UNUSUAL)}
    official |= {"scandirid": "ScanDir ID", "id": "ScanDir ID", "participant_id": "ScanDir ID"}
    renamed = [table.rename(columns=lambda c: official.get(_plain(c), c)) for table in tables]
    cells = pd.concat(renamed, ignore_index=True).apply(lambda column: column.str.strip())
    frame = cells.mask(cells.isin(MISSING_CODES))
    for column in {*NUMBERS, "ScanDir ID"} & set(frame.columns):
        numbers = pd.to_numeric(frame[column], errors="coerce")
        wrong = numbers.isna() & frame[column].notna()
        if wrong.any():
            raise UserError(f"{where}: column {column!r} has {frame[column][wrong].iloc[0]!r}, which is no number")
        frame[column] = numbers
    for column in (*FULL_COLUMNS, *UNUSUAL):
        if column not in frame.columns:
            frame[column] = float("nan")
        if column not in NUMBERS and column != "ScanDir ID":
            frame[column] = frame[column].astype("str")
    return frame


def _plain(column: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in column.lower()).strip("_")


def _count_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    counts = frame["DX"].value_counts().to_dict()
    if counts == DIAGNOSES:
        return ()
    official, found = (", ".join(f"{d}: {n}" for d, n in sorted(c.items())) for c in (DIAGNOSES, counts))
    return (f"this is not the official training table: diagnoses {found} instead of {official}",)


def _stand_in(tried: list[str]) -> tuple[pd.DataFrame, Provenance, tuple[str, ...]]:
    figures = json.loads(FIGURES.read_text())
    frame = simulate(figures, FULL_COLUMNS, STAND_IN_SEED)
    for column in FULL_COLUMNS:
        frame[column] = frame[column].astype("float64" if column in NUMBERS else "str")
    detail = f"{len(frame)} rows simulated from aggregate figures of the ADHD-200 table (seed {STAND_IN_SEED})"
    why = f" because the real table was not found ({'; '.join(tried)})" if tried else ""
    note = (
        f"STAND-IN DATA: these are {len(frame)} simulated rows{why}. They show how the program works and say nothing"
        " about ADHD. For the real table set data_dir=FOLDER with adhd200/adhd200_training_phenotypic.csv in it."
    )
    return frame, Provenance("stand-in", detail, frame_sha256(frame)), (note,)


def write_figures(data_dir: str, path: Path = FIGURES) -> None:
    """Computes the figures from the real table under `data_dir` and writes them, one stratum a line."""
    tried: list[str] = []
    found = read_folder(data_dir, tried)
    if found is None:
        raise UserError("; ".join(tried))
    figures = compute_figures(found[0][list(FULL_COLUMNS)])
    parts = []
    for name, part in figures.items():
        lines = ",\n  ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in part.items())
        parts.append(f" {json.dumps(name)}: {{\n  {lines}\n }}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--figures":
        sys.exit("usage: python -m datakiln.data.sets.adhd --figures DATA_DIR")
    try:
        write_figures(sys.argv[2])
    except UserError as error:
        sys.exit(str(error))
