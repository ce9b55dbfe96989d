"""A table of several Parquet files, in a folder or an object store: which they are, and what their folders say.

Folders named `year=2024`, as Hive, Spark and pyarrow write them, are cells of a column `year` of all rows below them.
"""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from datakiln.data.stored import Stored, files_at
from datakiln.data.tables.finding import PARQUET, check_address, is_hidden, parts_of
from datakiln.errors import UserError

NOTHING = "__HIVE_DEFAULT_PARTITION__"  # the folder of rows without a value
WHOLE = re.compile(r"-?(0|[1-9]\d{0,14})")
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")
SHOWN = 3  # names in a line


@dataclass(frozen=True)
class Part:
    """One Parquet file of a table.

    Attributes:
        file: Where it is.
        name: What errors call it: its place below the folder that was given.
        cells: What its folders say of all its rows, {column: text, or None for a missing cell}.
    """

    file: Path | Stored
    name: str
    cells: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Part:
        """A file by itself."""
        return cls(path, path.name)


def parts_in(path: Path) -> tuple[list[Part], list[str]] | None:
    """The Parquet files of a folder or a pattern and lines for the person; None for any other path."""
    found = parts_of(path)
    if found is None:
        return None
    if path.is_dir():
        known = set(found)
        left_out = (p for p in path.rglob("*") if p not in known and (p.is_file() or p.is_symlink()))
        names = [str(p.relative_to(path)) for p in left_out if not is_hidden(p.relative_to(path).parts)]
        return [_part(p, str(p.relative_to(path))) for p in found], _passed_over(names)
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
    root = Path(*fixed)
    return [_part(p, str(p.relative_to(root))) for p in found], []


def parts_at(address: str) -> tuple[list[Part], list[str]]:
    """The same in an object store.

    Raises:
        UserError: There is no Parquet file, or the store cannot be read.
    """
    check_address(address)
    files, root = files_at(address)
    names = {file.path[len(root) :].lstrip("/"): file for file in files}
    visible = sorted(name for name in names if not is_hidden(name.split("/")))
    others = [name for name in visible if not name.lower().endswith(PARQUET)]
    chosen = [name for name in visible if name.lower().endswith(PARQUET)]
    if not chosen:
        there = f"; there is {_listed(others)}" if others else ""
        shown = address.partition("?")[0]
        raise UserError(f"data.path={shown}: no Parquet file (.parquet, .pq) under this prefix{there}")
    return [_part(names[name], name) for name in chosen], _passed_over(others)


def _passed_over(names: Sequence[str]) -> list[str]:
    return [f"what is no Parquet file is passed over: {_listed(sorted(names))}"] if names else []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _part(file: Path | Stored, name: str) -> Part:
    """Raises `UserError` where folders inside of each other are of one column."""
    cells: dict[str, str | None] = {}
    for folder in name.split("/")[:-1]:
        column, sign, text = folder.partition("=")
        column = unquote(column)
        if not sign or not column:
            continue
        if column in cells:
            raise UserError(f"{name}: two of its folders are of a column {column!r}; rename one")
        cells[column] = None if text == NOTHING else unquote(text)
    return Part(file, name, cells)


def folder_columns(parts: Sequence[Part]) -> dict[str, pa.Array]:
    """The columns that folders stand for, with a cell for each file: numbers where all are, as in a text file.

    Raises:
        UserError: A file does not lie in folders of the same columns.
    """
    first = parts[0]
    for part in parts:
        if list(part.cells) != list(first.cells):
            told = " and ".join(map(repr, part.cells)) or "no column"
            wanted = " and ".join(map(repr, first.cells)) or "no column"
            raise UserError(f"{part.name}: its folders (NAME=VALUE) tell {told}, those of {first.name} {wanted}")
    return {name: _column([part.cells[name] for part in parts]) for name in first.cells}


def _column(texts: list[str | None]) -> pa.Array:
    known = [text for text in texts if text is not None]
    if known and all(map(WHOLE.fullmatch, known)):
        return pa.array([None if text is None else int(text) for text in texts], pa.int64())
    if known and all(map(NUMBER.fullmatch, known)):
        return pa.array([None if text is None else float(text) for text in texts], pa.float64())
    return pa.array(texts, pa.string())
