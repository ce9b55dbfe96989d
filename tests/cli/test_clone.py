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
