"""The command line: what is refused and how, and what an answer costs. In this process, Hydra included."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from datakiln.callbacks.stopping import on_termination
from datakiln.cli import choices, signatures
from datakiln.cli.checks import check_arguments, check_pairing, check_path, check_reach, check_values
from datakiln.cli.commands import command, options, run_hydra
from datakiln.cli.explain import explain
from datakiln.cli.free_names import spell_out
from datakiln.cli.run_folders import fresh_folder, remove_if_empty, unfinished_run
from datakiln.cli.usage import usage
from datakiln.data.pictures.folder import FolderImages
from datakiln.data.tables.sources import TableFile
from datakiln.errors import UserError
from tests.later import later

ROOT = Path(__file__).resolve().parents[2]

HEAVY = ("torch", "lightning", "numpy", "pandas", "sklearn", "matplotlib", "scipy", "wandb", "optuna", "joblib")


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Calls `src.train` with another task in place of training; returns exit code, output and the configs it got."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def call(*words: str, task: Any = None) -> SimpleNamespace:
        configs: list[DictConfig] = []

        def job(cfg: DictConfig) -> float | None:
            configs.append(cfg)
            check_values(cfg)
            return task(cfg) if task else None

        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        code = 0
        try:
            run_hydra(job, "train", compare=lambda arguments: None)
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, configs=configs)

    return call


def compose_train(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(choices.CONF), version_base="1.3"):
        cfg = compose("train", overrides=spell_out(overrides))
    cfg.output_dir = "nowhere"
    return cfg


REFUSED = {  # from the command line to the exit code
    "latent_dims=3": "unknown option 'latent_dims'; did you mean 'latent_dim'?",
    "model=vaee": "model=vaee is not known; did you mean 'vae'?; known: ",
    "--epochs": "unknown flag --epochs; options are written name=value",
    "data=csv": "data.path= is missing",
    "epochs=abc": "epochs=abc must be a whole number of at least 1",
    "ckpt_path=last": "ckpt_path=last: no unfinished run with the default options below outputs",
}
MISTAKES = {
    "Epochs=3": "did you mean 'epochs'?",
    "modle=vae": "unknown option 'modle'; did you mean 'model'?",
    "logger=[csv,wandbb]": "logger=wandbb is not known; did you mean 'wandb'?",
    "sweep=latnt": "sweep=latnt is not known; did you mean 'latent'?; known: all_tables, all_tables_quick,",
    "hydra/launcher=jobli": "did you mean 'joblib'?",
    "model.optimizer.lrr=1": "did you mean 'model.optimizer.lr'?",
    "trainer.max_epoch=1": "did you mean 'trainer.max_epochs'?; other arguments of lightning.Trainer",
    "lr=1": "did you mean 'model.optimizer.lr'?",
    "model.hidden=[9]": "model.hidden is left at its default by the yaml; to set it write +model.hidden=VALUE",
    "+model.latent_dim=3": "model.latent_dim exists already: write model.latent_dim=VALUE, without +",
    "~latent_dimm": "did you mean 'latent_dim'?",
    "data.path=x.csv": "data.path is no option of data=iris; data= with it: audio_folder, csv",
    "model=vae,cvae": "model=vae,cvae names several values; add -m",
    "latent_dim": "'latent_dim' is not name=value",
    "model": "'model' is not name=value; did you mean 'model'?",
    "latent_dim=[": "'latent_dim=[' cannot be read; quote",
}
VALUES = {
    "latent_dim=0": "latent_dim=0 must be a whole number of at least 1",
    "ema=1.5": "ema=1.5 must be a number between 0 and 1 or null",
    "mode=lowest": "mode=lowest must be one of min, max",
}


def test_options_of_hydra_are_not_swept(train):
    answer = train("sweep=tables", "hydra.sweeper.params.seed=0,1", task=lambda cfg: pytest.fail("the task was called"))
    assert answer.err == "error: hydra.sweeper.params.seed=0,1: Hydra's own options are not swept; " + (
        "sweep over those of the run, such as data=iris,toy -m\n"
    )


@pytest.mark.parametrize("word", REFUSED)
def test_a_mistake_is_answered_in_one_line_and_leaves_nothing(train, tmp_path, word):
    answer = train(word, task=lambda cfg: pytest.fail("the task was called"))
    assert answer.code == 2
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1
    assert REFUSED[word] in answer.err
    assert answer.out in ("", "train: vae on iris\n")  # what is said at once, before a config is composed
    assert not list(tmp_path.glob("outputs/*/*"))


@pytest.mark.parametrize("word", MISTAKES)
def test_a_mistake_is_explained(word):
    with pytest.raises(Exception) as caught, initialize_config_dir(str(choices.CONF), version_base="1.3"):
        compose("train", overrides=[word], return_hydra_config=True)
    assert MISTAKES[word] in explain(caught.value, [word], "train")


@pytest.mark.parametrize("word", VALUES)
def test_a_value_no_model_could_use_is_refused(word):
    with pytest.raises(UserError) as caught:
        check_values(compose_train(word))
    assert str(caught.value) == VALUES[word]


def test_a_model_without_latent_dim_says_which_models_have_one(train):
    without = [name for name in choices.names("model") if "latent_dim" not in choices.keys("model", name)]
    assert without, "this test needs a model without latent_dim"
    answer = train(f"model={without[0]}", "latent_dim=5")
    assert answer.code == 2
    assert f"latent_dim is no option of model={without[0]}; model= with it: " in answer.err
    assert "vae" in answer.err.rpartition(":")[2]


def test_a_mistake_in_a_sweep_is_refused_before_any_job(train, tmp_path):
    answer = train("-m", "model=vae", "latent_dim=2,5", "epohcs=3", task=lambda cfg: pytest.fail("a job ran"))
    assert answer.code == 2 and "did you mean 'epochs'?" in answer.err
    answer = train("latent_dim=2,5", "-m", "model=vae,cvaee", task=lambda cfg: pytest.fail("a job ran"))
    assert answer.code == 2 and "did you mean 'cvae'?" in answer.err
    assert not list(tmp_path.glob("outputs/*/*"))


def test_debug_shows_where_an_error_came_from(train):
    def task(cfg: DictConfig) -> None:
        raise KeyError("deep inside")

    answer = train(task=task)
    assert answer.code == 1
    assert answer.err == "error: KeyError: 'deep inside' (debug=true shows where)\n"
    with pytest.raises(KeyError, match="deep inside"):
        train("debug=true", task=task)


def test_a_good_command_line_reaches_the_task(train, tmp_path):
    answer = train("latent_dim=7", "data.types.petal width (cm)=categorical")
    (cfg,) = answer.configs
    assert (answer.code, answer.err, cfg.latent_dim, cfg.seed) == (0, "", 7, 0)
    assert dict(cfg.data.types) == {"petal width (cm)": "categorical"}


@pytest.mark.parametrize(
    "names",
    [
        ["age"],
        ["Verbal IQ", "age"],
        ["a.b", "x=y", "c:d", "e,f", "[g]", "h\\i", "100%", "$"],
        ["Größe", "名前", "a 'b' \"c\""],
    ],
)
def test_any_column_name_can_be_typed(names):
    cfg = compose_train("model=vae", *(f"data.types.{name}=numeric" for name in names))
    assert dict(cfg.data.types) == dict.fromkeys(names, "numeric")


@pytest.mark.parametrize(
    "path", ["my file (1).csv", "Größe.csv", "a=b.csv", 'quo"ted.csv', "50%&more.csv", "C:\\d\\x.csv", "plain.csv"]
)
def test_any_path_can_be_typed(path):
    assert compose_train("data=csv", f"data.path={path}").data.path == path


@pytest.mark.parametrize(
    "words",
    [
        ["latent_dim=2,5"],
        ["seed=range(0,5)"],
        ["lr=tag(log, interval(1e-4, 1e-2))"],
        ["logger=[csv,wandb]"],
        ["a={b: 1}"],
        ["a='b c'"],
        ["a=${b}"],
    ],
)
def test_what_hydra_understands_is_left_to_it(words):
    assert spell_out(words) == words


@pytest.mark.parametrize("model", choices.names("model"))
def test_every_model_takes_the_options_of_its_yaml(model):
    """Each key reaches a constructor; a dead or misspelt one is refused."""
    kinds = signatures.attribute(str(choices.keys("model", model)["model._target_"]), "supports")
    data = "sines" if "series" in kinds else "iris" if "table" in kinds else "digits"
    check_arguments(compose_train(f"model={model}", f"data={data}"))


@pytest.mark.parametrize("data", [name for name in choices.names("data") if choices.is_complete("data", name)])
def test_every_data_set_takes_the_options_of_its_yaml(data):
    check_arguments(
        compose_train(f"data={data}", *(["data.path=x"] if "data.path" in choices.keys("data", data) else []))
    )


@pytest.mark.parametrize("preset", [(g, n) for g in ("experiment", "sweep") for n in choices.names(g)], ids="=".join)
def test_every_preset_composes_and_says_its_command(preset):
    if "optuna" in preset:
        pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    check_arguments(compose_train("=".join(preset)))
    assert f"python -m src.train {'='.join(preset)}" in choices.title(*preset)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+model.betaa=2", "model.betaa is no argument of datakiln.models.vae.vae.VAE; did you mean 'beta'?"),
        ("+model.optimizer.weight_decays=2", "model.optimizer.weight_decays is no argument of torch.optim.Adam"),
        ("+trainer.max_step=2", "trainer.max_step is no argument of lightning.Trainer; did you mean 'max_steps'?"),
        (
            "+data.outlier=2",
            "data.outlier is no argument of datakiln.data.tables.tables.TableData; did you mean 'outliers'?",
        ),
        ("+watch.table.fidelity.evry=2", "did you mean 'every'?"),
        ("data=table", "data.source is missing: datakiln.data.tables.tables.TableData cannot do without it"),
    ],
)
def test_an_option_that_reaches_nothing_is_refused(override, message):
    with pytest.raises(UserError) as caught:
        check_arguments(compose_train("model=vae", override))
    assert message in str(caught.value)


def test_an_impossible_pair_names_the_models_that_fit():
    message = "model DCGAN is for image data, but this data is a table; models for it: .*vae"
    with pytest.raises(UserError, match=message) as caught:
        check_pairing(compose_train("model=dcgan", "data=iris"))
    assert "dcgan" not in str(caught.value).rpartition("models for it")[2]
    check_pairing(compose_train("model=vae", "data=iris"))


def test_an_option_that_does_not_reach_the_model_is_refused():
    with pytest.raises(
        UserError, match="latent_dim=9 does not reach the model, whose latent_dim is 4; set latent_dim="
    ):
        check_reach(compose_train("model=vae", "latent_dim=9", "model.latent_dim=4"))
    with pytest.raises(UserError, match="model.annealing is taken from annealing; write annealing.sahre=VALUE"):
        check_reach(compose_train("model=vae", "+model.annealing.sahre=1"))
    check_reach(compose_train("model=vae", "latent_dim=9", "annealing.share=1"))


@pytest.mark.parametrize(
    ("data", "path", "told"),
    [
        ("image_folder", "nowhere", "data.path=nowhere: no such folder (looked from "),
        ("image_folder", "table.csv", "data.path=table.csv: this is a file, not a folder of pictures"),
        ("image_folder", "empty", "data.path=empty holds no picture (."),
        ("image_folder", "words", "data.path=words holds no picture"),
        ("image_folder", "mixed", "data.path=mixed holds pictures both in subfolders and beside them (a.png)"),
        ("csv", "tabel.csv", "data.path=tabel.csv: there is no such file; did you mean table.csv?"),
        ("csv", "words", "words: this is a folder, not a table file; give one of its files, such as data.path=words/"),
        ("csv", "parts/*.parquet", "data.path=parts/*.parquet matches no file"),
    ],
)
def test_a_wrong_path_is_told_early_in_the_words_of_who_would_read_it(data, path, told, tmp_path, monkeypatch):
    monkeypatch.delenv("DATA_DIR", raising=False)  # a folder of pictures may lie there too
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "words", "mixed/class"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("table.csv", "words/a.txt", "mixed/a.png", "mixed/class/b.png"):
        (tmp_path / name).write_text("a word")
    cfg = compose_train("model=vae", f"data={data}", f"data.path={path}")
    with pytest.raises(UserError) as early:
        check_path(cfg)
    assert told in str(early.value)
    with pytest.raises(UserError) as late:
        {"csv": TableFile, "image_folder": FolderImages}[data](path)()
    assert str(late.value) == str(early.value)


def test_a_good_path_is_looked_for_where_the_data_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store" / "pictures" / "class").mkdir(parents=True)
    (tmp_path / "store" / "pictures" / "class" / "a.png").touch()
    (tmp_path / "store" / "table.csv").touch()
    for words in (["data=csv", "data.path=table.csv"], ["data=image_folder", "data.path=pictures"]):
        check_path(compose_train(*words, "data_dir=store"))
        with pytest.raises(UserError):
            check_path(compose_train(*words))
    check_path(compose_train("data=iris"))


def targets() -> list[str]:
    """Every class and function of ours that a yaml file names."""
    text = "\n".join(path.read_text() for path in choices.CONF.rglob("*.yaml"))
    return sorted(set(re.findall(r"_target_: (datakiln\.[\w.]+)", text)))


def test_what_is_read_from_source_is_what_python_sees():
    """Options are checked against signatures read without importing anything: both readings must agree."""
    assert len(targets()) > 30
    for target in targets():
        made, read = get_object(target), signatures.arguments(target)
        seen = dict(inspect.signature(made).parameters)
        handed_on = [name for name, p in seen.items() if p.kind == p.VAR_KEYWORD]
        named = {name: p for name, p in seen.items() if name not in handed_on}
        assert handed_on or set(named) == set(read), target
        assert not handed_on or set(named) <= set(read), target
        for name, parameter in named.items():
            assert (read[name][0] == "") == (parameter.default is parameter.empty), (target, name)
        for name in ("kind", "supports"):
            assert signatures.attribute(target, name) == getattr(made, name, None), target


def test_help_lists_every_choice_and_top_level_option():
    page = usage([], "train")
    for group in ("model", "data", "experiment", "sweep", "logger"):
        for name in filter(lambda name: choices.is_complete(group, name), choices.names(group)):
            assert f" {name} " in page or f" {name}\n" in page
    for option, value in OmegaConf.to_container(OmegaConf.load(choices.CONF / "train.yaml"), resolve=False).items():
        if option not in ("defaults", "hydra", "output_dir"):
            assert f"  {option}=" in page or isinstance(value, dict) and f"  {option}.{next(iter(value))}=" in page
    assert max(map(len, page.splitlines())) <= 120
    assert "model.hidden" not in page
    assert "+model.hidden=(128,128)" in usage(["model=vae"], "train")
    assert "  model.optimizer.lr=1e-3\n" in usage(["model=vae"], "train")
    assert "data.path=???" in usage(["data=csv"], "train")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["model=dcgan", "data=image_folder", "data.path=."],
        *later(
            ["model=vaee"],
            ["latent_dims=3"],
            ["epochs=abc"],
            ["data=csv"],
            ["+model.betaa=1"],
            ["model=dcgan", "data=iris"],
            ["data=csv", "data.path=nowhere.csv"],
            ["data=csv", "data.path=."],
            ["model=dcgan", "data=image_folder", "data.path=nowhere"],
            ["--config-dir", "nowhere"],
        ),
    ],
    ids=" ".join,
)
def test_help_and_mistakes_import_nothing_heavy(words, tmp_path):
    """What makes them answer in less time than `import torch` takes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "src.train", *words]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert done.returncode == (0 if words == ["--help"] else 2)
    assert "datakiln.cli.commands" in imported
    assert not imported & set(HEAVY)


def test_plain_commands_check_their_options(monkeypatch, capsys):
    assert options(["n=5", "condition.Sex or so=male"], "sample").condition == {"Sex or so": "male"}
    empty = options(["n=", "fill=", "condition="], "sample")
    assert (empty.n, empty.fill, empty.condition) == (None, None, {})
    for word, message in {"m=5": "unknown option 'm'", "out": "'out' is not key=value"}.items():
        with pytest.raises(UserError, match=message):
            options([word], "sample")
    monkeypatch.setattr(sys, "argv", ["sample.py", "nn=1"])
    with pytest.raises(SystemExit) as caught:
        command(lambda argv: options(argv, "sample"))
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: unknown option 'nn'; did you mean")


def test_errors_become_one_line():
    assert explain(UserError("two\nlines")) == "two lines"
    assert explain(FileNotFoundError(2, "No such file", "x.csv")) == "[Errno 2] No such file: 'x.csv'"
    assert (
        explain(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero (debug=true shows where)"
    )


def test_folders_of_one_second_differ_and_refused_ones_go(tmp_path):
    first, second = fresh_folder(tmp_path, "vae-iris"), fresh_folder(tmp_path, "vae-iris")
    assert first != second and first.is_dir() and second.is_dir()
    (second / "file").touch()
    remove_if_empty(first)
    remove_if_empty(second)
    assert not first.exists() and second.exists()


def test_the_newest_unfinished_run_with_the_same_options_is_found(tmp_path):
    def run(name: str, overrides: list[str], finished: bool) -> Path:
        folder = tmp_path / "2026-01-01" / name
        (folder / "config").mkdir(parents=True)
        OmegaConf.save(OmegaConf.create(overrides), folder / "config" / "overrides.yaml")
        if finished:
            (folder / "result.json").touch()
        return folder

    run("10-00-00-vae-iris", ["epochs=5"], finished=False)
    wanted = run("11-00-00-vae-iris", ["epochs=5"], finished=False)
    run("12-00-00-vae-iris", ["epochs=5"], finished=True)
    run("13-00-00-vae-iris", ["epochs=6"], finished=False)
    assert unfinished_run(tmp_path, "vae-iris", ["ckpt_path=last", "epochs=5"]) == wanted
    with pytest.raises(UserError, match="no unfinished run with epochs=7 below"):
        unfinished_run(tmp_path, "vae-iris", ["epochs=7"])


def test_a_signal_asks_once_and_ends_the_second_time():
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    asked: list[str] = []
    try:
        on_termination(asked.append)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == ["SIGTERM"]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) not in (signal.SIG_DFL, before[signal.SIGINT])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
