"""Random tables through reading, types, codec and writing: a line for the person or the cells as they were."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.cells import NUMBER
from datakiln.data.tables.tables import FileData
from datakiln.errors import UserError
from datakiln.sampling.writing import as_csv, as_table
from tests.data.fuzzed_tables import GAPS, Odd, stored, written
from tests.later import later

FREE = {"lines", "uuids", "keys", "prose", "names", "phones"}  # made cells that need not look like one another


def read(odd: Odd, folder: Path) -> FileData | None:
    """The table with its fitted codec; None where the person is told in one line why it cannot be."""
    data = FileData(str(odd.path), TableCodec(), streaming=False, cache=str(folder), **odd.options)
    try:
        data.setup("fit")
    except UserError as error:
        assert "\n" not in str(error), odd
        return None
    finally:
        odd.path.unlink()
    return data


def shape(cell: str) -> str:
    """A cell with runs of digits and letters as one sign each."""
    signs = ["0" if c.isdigit() else "a" if c.isalpha() else c for c in cell]
    return "".join(c for i, c in enumerate(signs) if i == 0 or c != signs[i - 1] or c not in "0a")


def cells_of(frame: pd.DataFrame, data: FileData) -> list[list[str]]:
    """What a file of the frame holds, by column."""
    header, *rows = csv.reader(io.StringIO(as_csv(frame, data.schema).decode(), newline=""))
    assert header == list(frame.columns) and len(rows) == len(frame)
    return [list(column) for column in zip(*(row or [""] for row in rows), strict=True)]


def check_text(seed: int, folder: Path) -> None:
    """Cells that were read are written as they were, or a line names their column; made ones look like them."""
    odd = written(folder, seed)
    data = read(odd, folder)
    if data is None:
        return
    raw = data.read()
    made = data.codec.decode(data.codec.encode(data.frames["train"]), np.random.default_rng([seed, 0]))
    assert (made.dtypes == raw.frame.dtypes).all(), (seed, odd.kinds)
    real, ours = cells_of(raw.frame, data), cells_of(made, data)
    for (name, cells), back, new in zip(odd.cells.items(), real, ours, strict=True):
        field, where = data.schema[name], (seed, name, odd.kinds[name], cells[:5])
        is_told = any(repr(name) in note for note in raw.notes)
        changed = [(was, now) for was, now in zip(cells, back, strict=True) if was != now and not is_same(was, now)]
        assert is_told or not changed, (*where, changed[:3])
        if odd.kinds[name] not in FREE and field.type not in ("id", "text"):
            strange = {shape(cell) for cell in new if cell} - {shape(cell) for cell in cells}
            strange -= {"0.0"} if any(is_zero(cell) for cell in cells) else set()  # -0.0 has no sign of its own
            assert not strange, (*where, sorted(strange)[:3], field)


def is_zero(cell: str) -> bool:
    """Whether a cell is a zero with a sign."""
    return cell.startswith("-0.0") and cell.strip("-0.") == ""


def is_same(was: str, now: str) -> bool:
    """Whether a cell is missing in both writings, or zero, or a number with an exponent."""
    return (
        (now == "" and was in GAPS)
        or is_zero(was)
        or ("e" in was and re.fullmatch(NUMBER, was) and float(was) == float(now))
    )


def check_stored(seed: int, folder: Path) -> None:
    """Columns of Parquet come back in their types, as they were read and as they are made."""
    odd = stored(folder, seed)
    wanted = parquet.read_schema(odd.path)
    data = read(odd, folder)
    if data is None:
        return
    made = data.codec.decode(data.codec.encode(data.frames["train"]), np.random.default_rng([seed, 0]))
    for frame in (data.read().frame, made):
        found = as_table(frame, data.schema).schema
        assert [found.field(name).type for name in odd.kinds] == wanted.types, (seed, odd.kinds)


@pytest.mark.parametrize("check", [check_stored, *later(check_text)])
def test_a_few_tables(check: Callable[[int, Path], None], tmp_path: Path) -> None:
    for seed in range(60):
        check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 20_000, 1_000))
def test_many_tables(first: int, tmp_path: Path) -> None:
    with warnings.catch_warnings(action="error"):
        for seed in range(first, first + 1_000):
            (check_stored if seed % 4 == 0 else check_text)(seed, tmp_path)
