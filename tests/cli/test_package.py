"""The wheel: what is in it, and that it works where no clone is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("hatchling", reason="the extra [dev] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("package")]

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
OFFLINE = ["--no-index", "--no-deps"]


def run(*words: str | Path, cwd: Path, **variables: str) -> SimpleNamespace:
    """A command without what this process was told of paths; returns exit code, output and errors."""
    told = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**told, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, the wheel, and in `again` the wheel that is made of the sdist."""
    folder = tmp_path_factory.mktemp("built")
    wheel = [*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir"]
    sdist = f"import hatchling.build; hatchling.build.build_sdist({str(folder)!r})"
    for words in ([sys.executable, "-c", sdist], [*wheel, folder, ROOT]):
        done = run(*words, cwd=ROOT)
        assert done.code == 0, done.err
    done = run(*wheel, folder / "again", next(folder.glob("*.tar.gz")), cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """An environment with the wheel, lent the libraries of this one but not its editable install."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    done = run(*PIP, "--python", python, "install", *OFFLINE, next(built.glob("*.whl")), cwd=folder)
    assert done.code == 0, done.err
    own = next(folder.glob("lib/python*/site-packages"))
    # a folder that a .pth file names has its own .pth files left unread, and so its editable installs unseen
    places = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (own / "lent.pth").write_text("\n".join(places) + "\n")
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder with a `src` and a `conf` of its own, which nobody may touch."""
    for name in ("src/__init__.py", "src/train.py", "src/datakiln/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('the src of this folder')\n")
    for name in ("train.yaml", "sample.yaml", "evaluate.yaml", "model/vae.yaml", "data/iris.yaml"):
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text("the conf: [of this folder\n")
    return tmp_path


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_with_its_conf_and_nothing_else(built):
    wheel = contents(next(built.glob("*.whl")))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {name.partition("/")[0] for name in wheel} == {"datakiln", f"datakiln-{version}.dist-info"}
    places = {ROOT / "src" / "datakiln": "datakiln", ROOT / "conf": "datakiln/conf"}
    for folder, place in places.items():
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        assert files
        for path in files:
            assert wheel[f"{place}/{path.relative_to(folder).as_posix()}"] == path.read_bytes()
    assert "datakiln/py.typed" in wheel


def test_the_sdist_makes_the_same_wheel(built):
    assert contents(next(built.glob("*.whl"))) == contents(next(built.glob("again/*.whl")))
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    assert {"src", "conf", "tests", "pyproject.toml", "LICENSE", "README.md"} <= top


def test_every_command_works_where_no_clone_is(installed, elsewhere):
    datakiln = installed / "datakiln"
    found = run(installed / "python", "-c", "import datakiln; print(datakiln.__file__)", cwd=elsewhere)
    assert found.out.strip().startswith(str(installed.parent)), "not that of a clone"
    page = run(datakiln, "train", "--help", cwd=elsewhere)
    assert page.code == 0 and "datakiln train model=vae data=adhd" in page.out and "src." not in page.out
    for words, told in (
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["train", "model=vaee"], "did you mean 'vae'?"),
        (["train", "hydra/sweeper=optun"], "hydra/sweeper=optun is not known"),
        (["sample"], "usage: datakiln sample run=FOLDER"),
        (["evaluate"], "usage: datakiln evaluate run=FOLDER"),
        (["report"], "for example: datakiln report outputs"),
    ):
        answer = run(datakiln, *words, cwd=elsewhere)
        assert answer.code == 2 and told in answer.err and answer.err.count("\n") == 1
    assert run(datakiln, cwd=elsewhere).out.startswith("datakiln COMMAND")
    assert run(installed / "python", "-m", "datakiln", cwd=elsewhere).out.startswith("python -m datakiln COMMAND")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(datakiln, "version", cwd=elsewhere).out.splitlines()[0] == f"datakiln {version}"

    train = run(datakiln, "train", "model=vae", "data=iris", "epochs=2", "hydra.run.dir=run", cwd=elsewhere)
    assert train.code == 0, train.err
    for words in (
        ["sample", "run=run", "n=20", "out=made.csv"],
        ["evaluate", "run=run", "out=again"],
        ["evaluate", "real=made.csv", "synthetic=run/synthetic.csv", "out=pair"],
        ["report", "run"],
    ):
        done = run(datakiln, *words, cwd=elsewhere)
        assert done.code == 0, (words, done.err)
    assert len((elsewhere / "made.csv").read_text().splitlines()) == 21
    for folder in ("run", "again", "pair"):
        assert (elsewhere / folder / "result.json").is_file() and (elsewhere / folder / "report.html").is_file()


def test_own_classes_are_found_in_the_current_folder_and_by_workers(installed, elsewhere):
    """A class of the folder trains, from a yaml of its own, side by side with one of ours."""
    (elsewhere / "mine.py").write_text(
        "import datakiln, pathlib\n"
        "from datakiln.models.vae.vae import VAE\n"
        "class Mine(VAE):\n"
        "    def __init__(self, spec, latent_dim, **options):\n"
        "        super().__init__(spec, latent_dim, **options)\n"
        "        pathlib.Path('told').write_text(datakiln.__file__)\n"
    )
    (elsewhere / "zuko.py").write_text("raise RuntimeError('a file that is named as a library')\n")
    (elsewhere / "own" / "model").mkdir(parents=True)
    text = "# @package _global_\n# A VAE of my own\ndefaults: [vae, _self_]\nmodel: {_target_: mine.Mine}\n"
    (elsewhere / "own" / "model" / "my_vae.yaml").write_text(text)
    own = ["--config-dir", "own", "data=iris", "epochs=1", "metrics.table=null"]
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = run(installed / "datakiln", "train", "-m", *own, "model=my_vae", "seed=0,1", *parallel, cwd=elsewhere)
    assert done.code == 0, done.err
    assert (elsewhere / "told").read_text().startswith(str(installed.parent))
    wrong = run(installed / "datakiln", "train", *own, "model=my_vae", "model._target_=mine2.Mine", cwd=elsewhere)
    assert wrong.code == 2 and wrong.err.count("\n") == 1
    assert "model._target_=mine2.Mine cannot be imported (No module named 'mine2'); your own modules are" in wrong.err
