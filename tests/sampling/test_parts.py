"""A large sample as Parquet parts: killed and gone on with, it is the sample that was never killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from datakiln.cli.sample import main as sample
from datakiln.constraints import Unique
from datakiln.errors import UserError
from datakiln.sampling import writing
from datakiln.sampling.synthesizer import Synthesizer
from tests.stub_tables import redrawing

PART, N = 30, 100


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(Synthesizer, "load", classmethod(lambda cls, *args, **options: redrawing()))
    monkeypatch.setattr(writing, "PART_ROWS", PART)


def run(folder: Path, *words: str) -> list[Path]:
    sample(["run=any", f"out={folder}/", f"n={N}", *words])
    return sorted(folder.glob("*.parquet"))


def contents(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_parts_have_all_rows_and_ids_that_go_on(tmp_path):
    parts = run(tmp_path / "a")
    assert [pq.read_metadata(part).num_rows for part in parts] == [30, 30, 30, 10]
    whole = pd.read_parquet(tmp_path / "a")
    assert len(whole) == N and whole.id.is_unique
    assert contents(run(tmp_path / "b")) == contents(parts) != contents(run(tmp_path / "c", "seed=1"))


@pytest.mark.parametrize("kill", [0, 1, 3])
def test_killed_and_gone_on_with_equals_never_killed(kill, tmp_path, monkeypatch):
    whole = contents(run(tmp_path / "whole"))
    write = writing._write_file
    begun = []

    def killed(pieces, path, *rest):
        begun.append(path)
        if len(begun) == kill + 1:
            path.write_bytes(b"half of a part")
            raise SystemExit("killed")
        write(pieces, path, *rest)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(writing, "_write_file", killed)
        run(tmp_path / "parts")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.parquet")}
    assert len(before) == kill
    parts = run(tmp_path / "parts")
    assert contents(parts) == whole
    assert {path.name: path.stat().st_mtime_ns for path in parts[:kill]} == before  # made once
    assert not list((tmp_path / "parts").glob(".*"))


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".part-00001.parquet.{dead.pid}.partial").write_bytes(b"x")
    running = tmp_path / f".part-00002.parquet.{os.getppid()}.partial"
    running.write_bytes(b"x")
    run(tmp_path)
    assert list(tmp_path.glob(".*")) == [running]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=1"], "holds parts with seed=0 and not 1; choose another folder"),
        (["n=101"], "holds parts with n=100 and not 101"),
        (["condition.sex=Female"], "holds parts with condition="),
        (["balance=size"], "holds parts with balance=None and not size"),
    ],
)
def test_other_options_do_not_go_on(words, told, tmp_path):
    parts = run(tmp_path / "parts")
    parts[1].unlink()
    kept = contents([parts[0], parts[2], parts[3]])
    with pytest.raises(UserError, match=told):
        run(tmp_path / "parts", *words)
    assert contents(sorted((tmp_path / "parts").glob("*"))) == kept


def test_another_model_does_not_go_on(tmp_path, monkeypatch):
    run(tmp_path / "parts")
    other = redrawing()
    other.model.register_buffer("weight", torch.ones(()))
    monkeypatch.setattr(Synthesizer, "load", classmethod(lambda cls, *args, **options: other))
    with pytest.raises(UserError, match="holds parts of another model"):
        run(tmp_path / "parts")


def test_the_folder_of_somebody_else_is_left_alone(tmp_path):
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "part-00000.parquet")
    with pytest.raises(UserError, match=r"holds part-00000.parquet, which is none of these parts"):
        run(tmp_path)
    assert pd.read_parquet(tmp_path / "part-00000.parquet").x.tolist() == [1] and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "part-00000.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="none of these parts"):
        run(tmp_path)


def test_unique_rows_over_several_parts_are_refused_before_anything_is_made(tmp_path, monkeypatch):
    rule = [Unique(columns=["age", "city"])]
    monkeypatch.setattr(Synthesizer, "load", classmethod(lambda cls, *args, **options: redrawing(constraints=rule)))
    with pytest.raises(UserError, match="parts are made apart"):
        run(tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_a_folder_of_parts_is_begun_anew_when_asked_for(tmp_path):
    run(tmp_path)
    other = contents(run(tmp_path / "other", "seed=1"))
    assert contents(run(tmp_path, "seed=1", "overwrite=true")) == other
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    before = {path.name for path in tmp_path.glob("*.parquet")}
    with pytest.raises(UserError, match="mine.parquet, which is no part of a sample"):
        run(tmp_path, "seed=2", "overwrite=true")
    assert {path.name for path in tmp_path.glob("*.parquet")} == before
