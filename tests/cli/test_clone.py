"""`python -m src.train` in a clone runs the code of that clone, whatever else is installed, in its workers too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["model=vae", "data=toy", "epochs=1", "~metrics.table", "+metrics.table={}"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """Another clone, whose code says so."""
    folder = tmp_path_factory.mktemp("clone") / "copy"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    run = folder / "src" / "datakiln" / "jobs" / "run.py"
    marked = "class Run(Job):"
    assert marked in run.read_text()
    note = 'import pathlib, os\npathlib.Path(os.environ["NOTES"], str(os.getpid())).write_text(__file__)\n\n\n'
    run.write_text(run.read_text().replace(marked, note + marked))
    return folder


def python(folder: Path, *words: str, notes: Path | None = None, isolated: bool = False) -> subprocess.CompletedProcess:
    """This interpreter in a folder; isolated: with the libraries, but without any `datakiln` that is installed."""
    environment = {**os.environ, "NOTES": str(notes), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    if isolated:  # a path that is named so has its .pth files, by which an editable install is found, left unread
        libraries = [path for path in sys.path if path.endswith("site-packages")]
        environment["PYTHONPATH"] = os.pathsep.join([str(folder), *libraries])
        words = ("-S", *words)
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("isolated", [False, True], ids=["another is installed", "none is installed"])
def test_the_code_is_the_clones(clone, isolated):
    code = "import src, datakiln, sys; print(datakiln.__file__); print([n for n in sys.modules if 'src.datakiln' in n])"
    done = python(clone, "-c", code, isolated=isolated)
    assert done.stdout.split("\n")[:2] == [str(clone / "src" / "datakiln" / "__init__.py"), "[]"], done.stderr


def test_nothing_is_loaded_under_another_name(clone):
    for code, told in (
        ("import src.datakiln", "src.datakiln is imported as datakiln"),
        ("import src, src.train, evaluate", "No module named 'evaluate'"),
        ("import sys; sys.path.insert(0, '{}'); import datakiln, src", "before .*; import src first"),
    ):
        done = python(clone, "-c", code.format(ROOT / "src"))
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 1 and told.split(".*")[0] in last and told.split(".*")[-1] in last


@pytest.mark.slow
@pytest.mark.parametrize("isolated", [False, True], ids=["another is installed", "none is installed"])
def test_workers_run_the_clones_code(clone, tmp_path, isolated):
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"root={tmp_path / 'runs'}"]
    notes = tmp_path / "notes"
    notes.mkdir()
    done = python(clone, "-m", "src.train", "-m", *SHORT, "seed=0,1", *parallel, notes=notes, isolated=isolated)
    assert done.returncode == 0, done.stderr
    found = [path.read_text() for path in notes.iterdir()]
    assert len(found) >= 2 and set(found) == {str(clone / "src" / "datakiln" / "jobs" / "run.py")}


def test_another_that_was_imported_before_is_told_in_one_line(clone, tmp_path):
    """A .pth file or a sitecustomize can import `datakiln` before the shim does."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import datakiln"
    )
    command = [sys.executable, "-m", "src.train", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: datakiln was imported from {ROOT / 'src' / 'datakiln'} before {clone}")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_loader_run_the_clones_code(clone, tmp_path, method):
    """Processes that multiprocessing starts while `python -m src.train` runs."""
    shim = clone / "src" / "probe.py"
    shim.write_text(
        "import multiprocessing, sys\n"
        "from datakiln.errors import near\n"
        "def where(_): return sys.modules[near.__module__].__file__\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool: print(*pool.map(where, range(2)))\n"
    )
    for isolated in (False, True):
        done = python(clone, "-m", "src.probe", method, isolated=isolated)
        assert set(done.stdout.split()) == {str(clone / "src" / "datakiln" / "errors.py")}, done.stderr


@pytest.mark.journey
def test_messages_name_the_commands_of_a_clone(clone):
    assert "python -m src.train model=vae" in python(clone, "-m", "src.train", "--help").stdout
    assert "usage: python -m src.sample run=" in python(clone, "-m", "src.sample").stderr
    assert "for example: python -m src.report outputs" in python(clone, "-m", "src.report").stderr
    assert python(clone, "-m", "src.report", "--help").stdout.startswith("python -m src.report PATH")
