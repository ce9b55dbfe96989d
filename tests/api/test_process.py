"""A call from Python leaves the process as it was: numbers, signals, warnings, loggers, Hydra, matplotlib, the disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hydra.core.hydra_config import HydraConfig

import datakiln as dk
from datakiln.api.process import as_it_was, flushes_denormals
from tests.api.small import of_the_process, people

QUICK = {"model": "mixture", "epochs": 1}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def unusual(monkeypatch, tmp_path):
    """A process whose settings are none of the defaults; everything of a fit must find its way back to them."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "77")
    monkeypatch.setenv("DATAKILN_SWEEP_DIR", "elsewhere")
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 17.0)
    random.seed(3), np.random.seed(4), torch.manual_seed(5)
    torch.set_flush_denormal(False)
    yield tmp_path
    torch.set_flush_denormal(True)
    signal.signal(signal.SIGTERM, before)


def same(before):
    after = of_the_process()
    after["levels"] = {name: level for name, level in after["levels"].items() if name in before["levels"]}
    assert [name for name in before if after[name] != before[name]] == []


@pytest.mark.slow
def test_everything_is_as_it_was(unusual):
    frame = people()
    dk.fit(frame, **QUICK).sample(2)  # what is imported for the first time sets what it likes
    before, there = of_the_process(), sorted(unusual.rglob("*"))
    model = dk.fit(frame, target="income", **QUICK)
    rows = model.sample(50, condition={"age": ">40"})
    model.log_prob(frame), model.fill(frame.assign(town=None))
    report = dk.evaluate(frame, rows, target="income")
    report.plot("age"), report.plot("embedding")
    assert model.report.figures.loc["fidelity/shape", "value"] > 0.5
    same(before)
    assert sorted(unusual.rglob("*")) == there, "nothing is left on disk"


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_sise": 3}, {"options": {"model.optimizer.lr": 1e30}}, {}])
def test_also_when_it_fails(unusual, wrong):
    frame = people()
    if not wrong:  # of another kind: not refused, but raised inside of the training
        wrong = {"options": {"data.types": {"town": "numeric"}}}
    before, there = of_the_process(), sorted(unusual.rglob("*"))
    with pytest.raises(dk.Error) as caught:
        dk.fit(frame, model="vae", **{"epochs": 2, **wrong})
    assert "\n" not in str(caught.value)
    same(before)
    assert sorted(unusual.rglob("*")) == there


@pytest.mark.slow
def test_a_fit_inside_of_a_hydra_program(unusual):
    """A program under Hydra may use this package: Hydra allows one of its own a process."""
    script = (
        "import hydra, datakiln as dk\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(cfg):\n"
        "    name = HydraConfig.get().job.name\n"
        "    print(len(dk.fit('iris', model='copula').sample(7)))\n"
        "    assert HydraConfig.get().job.name == name\n"
        "main()\n"
    )
    (unusual / "app.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "app.py"], cwd=unusual, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_a_small_net_has_one_thread_to_itself_only():
    torch.set_num_threads(2)
    dk.fit("iris", model="vae", epochs=1)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_denormals_are_told_by_computing():
    torch.set_flush_denormal(True)
    assert flushes_denormals()
    torch.set_flush_denormal(False)
    assert not flushes_denormals()
    with as_it_was():
        torch.set_flush_denormal(True)
    assert not flushes_denormals()
    torch.set_flush_denormal(True)


def test_hydra_is_given_back():
    before = HydraConfig.instance().cfg
    with pytest.raises(dk.Error):
        dk.fit("iris", model="mixture", batch_size=0)
    assert HydraConfig.instance().cfg is before


def in_a_new_process(script: str) -> str:
    """What a script prints that has nothing imported yet."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_takes_no_time_and_nothing_heavy():
    script = (
        "import time; start = time.perf_counter()\n"
        "import datakiln as dk; seconds = time.perf_counter() - start\n"
        "import sys\n"
        "heavy = {'torch', 'pandas', 'numpy', 'hydra', 'omegaconf', 'lightning', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'fit', 'load', 'evaluate', 'Model', 'Report', 'Error', 'register'} <= set(dir(dk))\n"
        "assert issubclass(dk.Error, Exception) and 'torch' not in sys.modules\n"
        "try: dk.fitt\n"
        "except AttributeError as error: assert 'fitt' in str(error)\n"
        "print(seconds)\n"
    )
    assert float(in_a_new_process(script)) < 0.2


def test_a_wrong_option_is_told_before_torch_is_imported():
    script = (
        "import sys, datakiln as dk\n"
        "try: dk.fit('iris', model='tabarr')\n"
        "except dk.Error as error: print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    assert "model=tabarr is not known; did you mean 'tabar'?" in in_a_new_process(script)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["dk.Model", 'dk.fit("iris", model="vae", epochs=1)'], ids=["a name", "a fit"])
def test_the_first_call_of_a_process_leaves_it_as_it_was_too(call, tmp_path):
    """Importing torch and its kin draws random numbers, adds warning filters and sets variables."""
    code = f"""
import os, random, warnings
state = lambda: (random.getstate(), list(warnings.filters), dict(os.environ))
import datakiln as dk
before = state()
{call}
print([name for name, a, b in zip(("random", "warnings", "environment"), before, state()) if a != b])
import numpy; print(numpy.random.rand())
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    drawn = set()
    for _ in range(2 if "fit" in call else 1):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        said = done.stdout.splitlines()
        assert said[0] == "[]", done.stderr
        drawn.add(said[1])
    assert len(drawn) == (2 if "fit" in call else 1), "numpy is not left seeded"
