"""A sweep from a command line, for the tests of sweeps."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from joblib.externals.loky import get_reusable_executor

from datakiln.cli.commands import run_hydra
from datakiln.cli.report import main as report
from datakiln.cli.run_folders import SWEEP_VARIABLE
from tests.cli.pretending import pretend


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """Runs `src.train` with these words and another task; returns exit code, output and the sweep's folder."""
    get_reusable_executor().shutdown()  # workers that another test has left stand in its folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv(SWEEP_VARIABLE, "")  # restored afterwards

    def call(*words: str, task: Any = pretend) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        code = 0
        try:
            run_hydra(task, "train", compare=report)
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        folders = sorted(tmp_path.glob("outputs/*/*-sweep*"))
        return SimpleNamespace(code=code, out=out, err=err, folder=folders[-1] if folders else None)

    return call
