"""A signal at a moment of `src.evaluate`, `src.report` or a sweep: one line, its exit code, nothing half-written."""

from __future__ import annotations

import os
import signal

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from datakiln import storage
from datakiln.cli import evaluate, report, sweeps
from datakiln.cli.commands import one_line_errors
from datakiln.errors import Interrupted
from datakiln.proof import pair
from datakiln.reports import comparison
from datakiln.results import RunResult, Score, Source

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@pytest.fixture
def at(monkeypatch):
    """The process gets a signal when a function is called."""

    def when(owner: object, name: str, number: int) -> None:
        method = getattr(owner, name)

        def call(*args, **options):
            os.kill(os.getpid(), number)
            return method(*args, **options)

        monkeypatch.setattr(owner, name, call)

    return when


def told(capsys, command, argv: list[str]) -> tuple[int, list[str]]:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as end, one_line_errors(argv, ""):
        command(argv)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    return end.value.code, capsys.readouterr().err.splitlines()


@SIGNALS
def test_an_evaluation(tmp_path, capsys, at, number):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=80).round(2), "g": rng.choice(["a", "b"], 80)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    at(pair, "evaluate_table", number)
    path, out = tmp_path / "t.csv", tmp_path / "out"
    code, lines = told(capsys, evaluate.main, [f"real={path}", f"synthetic={path}", f"out={out}"])
    assert code == 128 + number and len(lines) == 1 and lines[0].startswith(f"stopped by {number.name}")
    assert not out.exists()
    at(evaluate, "_write", number)
    out.mkdir()
    (out / "own.txt").write_text("of a person")
    code, lines = told(capsys, evaluate.main, [f"real={path}", f"synthetic={path}", f"out={out}"])
    assert code == 128 + number and "is not complete; the same command does it again" in lines[-1]
    assert (out / "own.txt").exists() and not (out / "result.json").exists()


@SIGNALS
@pytest.mark.parametrize("moment", ["csv_text", "render"])
def test_a_report(tmp_path, capsys, at, number, moment):
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        result = RunResult("vae", "iris", seed, Source("files", "x", "0" * 64), figures=[Score("a", 1.0, "higher")])
        result.save(tmp_path / str(seed) / "result.json")
    at(comparison, moment, number)
    code, lines = told(capsys, report.main, [str(tmp_path), f"out={tmp_path / 'out'}"])
    assert code == 128 + number and lines == [f"stopped by {number.name}; the same command begins anew"]
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ([] if moment == "csv_text" else ["comparison.csv"])
    assert not any(name.endswith(".partial") for name in left)


@SIGNALS
def test_a_report_in_the_middle_of_a_file(tmp_path, capsys, at, number):
    at(storage.os, "replace", number)
    target = tmp_path / "page.html"
    with pytest.raises(Interrupted), one_line_errors_off():
        comparison.write_text("x", target)
    assert [path.name for path in tmp_path.iterdir()] == []


def one_line_errors_off():
    from datakiln.callbacks.stopping import interrupt, stopping

    return stopping(interrupt)


@SIGNALS
def test_a_sweep(tmp_path, capsys, number, monkeypatch):
    """A job that is asked to stop ends the sweep; the signal between two jobs does too."""
    job = OmegaConf.create({
        "runtime": {"output_dir": str(tmp_path)}, "overrides": {"task": ["seed=1"]}, "job": {"num": 0},
        "launcher": {}, "sweeper": {"_target_": "hydra._internal.BasicSweeper"},
    })  # fmt: skip
    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig.get", lambda: job)
    sweep = sweeps.Sweep([], folder=tmp_path, total=2)

    def task(cfg):
        raise Interrupted(number.name, "everything is saved")

    code, lines = told(capsys, lambda _: sweep.run(task, OmegaConf.create({})), [])
    line = f"sweep stopped by {number.name}; ckpt_path=last with the same options goes on"
    assert (code, lines) == (128 + number, [line])
    assert not (tmp_path / "error.txt").exists()
    code, lines = told(capsys, lambda _: sweeps._end(number, None), [])
    assert (code, lines) == (128 + number, [line])


@SIGNALS
def test_a_package_that_takes_it_for_a_fault_of_its_own(capsys, number):
    """Of a module that is left half imported nobody knows what it will say."""

    def command(argv):
        try:
            os.kill(os.getpid(), number)
        except BaseException:
            raise RecursionError("maximum recursion depth exceeded") from None

    line = f"stopped by {number.name}; the same command begins anew"
    assert told(capsys, command, []) == (128 + number, [line])
