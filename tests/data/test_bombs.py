"""Files that are made, or by mischance happen, to burst memory: one line, or read, within bounds."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import src
from datakiln import strictjson
from datakiln.data.tables import limits
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.metadata import _load
from datakiln.data.tables.sources import TableFile
from datakiln.errors import UserError

MB = 1 << 20
ROOT = Path(src.__file__).parents[1]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"," * 3_000_000 + b"\n1\n", r"it has 3,000,001 columns, and at most 4,096 are taken; .*data.most_columns"),
        (b",".join(b"c%d" % i for i in range(5000)) + b"\n" + b"1," * 4999 + b"1\n", "it has 5,000 columns"),
        (b"a" * (17 * MB), "its first line is longer than 16 MB"),
        (b"a,b\n1,2\n3," + b"4" * (40 * MB) + b"\n", "a line is longer than 16 MB"),
        (b"a,b\n" + b"1,2\n" * 20 + b"," * 3_000_000 + b"\n", "the first line has 2 fields, line 22 has 3000001"),
        (b"a,b\n" + b"1,2\n" * 20 + b"1,2,3" + b"x" * 200_000 + b"\n", "the first line has 2 fields, line 22 has"),
    ],
)
def test_lines_without_end_and_too_many_columns(tmp_path, content, told, streaming):
    for name, raw in (("t.csv", content), ("t.csv.gz", gzip.compress(content, 1))):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UserError, match=told):
            TableFile(str(tmp_path / name), streaming=streaming, cache=str(tmp_path))(None)


@pytest.mark.journey
def test_more_columns_where_a_person_asks_for_them(tmp_path):
    frame = pd.DataFrame(np.zeros((12, 4500), dtype=int), columns=[f"c{i}" for i in range(4500)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(UserError, match=f"{name}: it has 4,500 columns.*data.most_columns=4500"):
            TableFile(str(tmp_path / name))(None)
        assert TableFile(str(tmp_path / name), most_columns=4500)(None).frame.shape == (12, 4500)


def test_what_unpacks_to_more_than_fits_stays_on_disk_or_is_refused(tmp_path, monkeypatch):
    bomb, fine = tmp_path / "bomb.csv.gz", tmp_path / "fine.csv.gz"
    bomb.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 2_000_000))
    fine.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 200))
    monkeypatch.setattr(limits, "available_memory", lambda: 24 * 4 * MB)
    assert limits.is_too_large(bomb) and not limits.is_too_large(fine)
    with pytest.raises(UserError, match="bomb.csv.gz: the table takes more than half of the memory"):
        limits.check_room(bomb)
    assert TableFile(str(bomb), cache=str(tmp_path))(None).rows == 2_000_000
    assert len(read_table_file(fine).frame) == 200


def test_json_without_bottom(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match="nested too deeply"):
        _load(tmp_path / "deep.json")
    with pytest.raises(ValueError, match="nested too deeply"):
        strictjson.parse('{"a":' * 200_000)


MEASURE = """
import resource, sys
import src, pandas, pyarrow.csv
from datakiln.data.tables.sources import TableFile
from datakiln.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(TableFile(sys.argv[1], streaming=True, cache=sys.argv[2])(None).rows)
except UserError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([b"\0" * MB] * 700, "this is no text file"),
        ([b"a" * MB] * 700, "its first line is longer than 16 MB"),
        ([b"a,b\n1,"] + [b"2" * MB] * 700, "a line is longer than 16 MB"),
        ([b"a,b\n"] + [b"1,2\n" * (MB // 4)] * 60, str(15 * MB)),
    ],
)
def test_memory_does_not_grow_with_what_a_bomb_unpacks_to(tmp_path, pieces, told):
    with gzip.open(tmp_path / "bomb.csv.gz", "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "bomb.csv.gz"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    line, grown = done.stdout.splitlines()
    assert told in line and int(grown) < 300
