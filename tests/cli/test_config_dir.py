"""A person's own presets, models and data sets, from `--config-dir DIR`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig

from datakiln.cli import choices
from datakiln.cli.checks import check
from datakiln.cli.commands import run_hydra

OWN = {
    "model/small.yaml": "# @package _global_\n# A VAE of two\ndefaults: [vae, _self_]\nlatent_dim: 2\n"
    "glaze: 3  # of it\n",
    "model/foreign.yaml": "# @package _global_\n# A model of mine\nmodel: {_target_: mine.Model}\n",
    "data/garden.yaml": "# Flowers of mine\ndefaults: [table, _self_]\n"
    "source: {_target_: datakiln.data.tables.sources.SklearnTable, name: iris}\n",
    "experiment/quick.yaml": "# @package _global_\n# python -m src.train --config-dir own experiment=quick\ndefaults:\n"
    "  - override /model: small\n  - override /data: garden\n  - _self_\nepochs: 2\n",
    "sweep/sizes.yaml": "# @package _global_\n# Sizes\nhydra: {mode: MULTIRUN}\n",
}


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Calls `datakiln train` in a folder with own choices, without training; returns its answer and configs."""
    monkeypatch.chdir(tmp_path)
    for name, text in OWN.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text)

    def call(*words: str) -> SimpleNamespace:
        configs: list[DictConfig] = []

        def job(cfg: DictConfig) -> None:
            check(cfg)
            configs.append(cfg)

        monkeypatch.setattr(sys, "argv", ["datakiln train", *words])
        code: Any = 0
        try:
            run_hydra(job, "train", compare=lambda arguments: None)
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, configs=configs)

    return call


@pytest.mark.parametrize("flag", [["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"], ["-cd=own"]], ids=str)
def test_own_choices_compose_and_show_in_help(train, flag):
    answer = train(*flag, "experiment=quick", "glaze=4")
    (cfg,) = answer.configs
    assert (answer.code, cfg.latent_dim, cfg.glaze, cfg.epochs, cfg.data.source.name) == (0, 2, 4, 2, "iris")
    page = train(*flag, "--help", "model=small").out
    for name, said in (("small", "A VAE of two"), ("foreign", "A model of mine"), ("garden", "Flowers of mine")):
        assert f"    {name:<24}{said}" in page
    assert "\n    small " in page and "    sizes " in page and "  glaze=3 " in page and "of it" in page
    assert "datakiln train --config-dir own experiment=quick" in " ".join(page.split()), "at any width"
    assert [line for line in page.splitlines() if "src." in line] == []
    assert "\n    small " not in train("--help").out, "nothing is left from the call before"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=smal"], "model=smal is not known; did you mean 'small'?"),
        (["data=gardn"], "did you mean 'garden'?"),
        (
            ["experiment=quik"],
            "did you mean 'quick'?; known: paper_adhd, paper_iris, private_dp_sgd, private_marginals, quick",
        ),
        (["sweep=size"], "did you mean 'sizes'?"),
        (["model=small", "glase=3"], "unknown option 'glase'; did you mean 'glaze'?"),
        (["glaze=3"], "glaze is no option of model=vae; model= with it: small"),
        (["experiment=quick", "glace=3"], "did you mean 'glaze'?"),
        (["model=dcgan", "data=garden"], "models for it: "),
    ],
    ids=str,
)
def test_mistakes_know_own_choices(train, words, told):
    answer = train("--config-dir", "own", *words)
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert told in answer.err
    if "models for it" in told:
        assert "small" in answer.err.rpartition(": ")[2].split(", ")


@pytest.mark.journey
def test_jobs_of_a_sweep_know_own_choices(train):
    answer = train("-cd", "own", "-m", "model=small,vae", "data=garden", "seed=0,1")
    assert [cfg.latent_dim for cfg in answer.configs] == [2, 2, 5, 5]


@pytest.mark.parametrize(
    ("words", "file", "told"),
    [
        (["--config-dir", "nowhere"], None, "--config-dir=nowhere: no such folder"),
        (["model=vae", "--config-dir"], None, "--config-dir needs a folder"),
        (["--config-dir", "own"], "model/vae.yaml", "would never be read: model=vae is datakiln's own"),
        (["--config-dir", "own", "--help"], "model/broken.yaml", "own/model/broken.yaml, line 2: no yaml"),
        (["--config-dir", "own", "--help"], "data/words.yaml", "must hold options, each as name: value"),
    ],
    ids=str,
)
def test_a_folder_that_cannot_be_used_is_refused(train, words, file, told):
    if file:
        Path("own", file).write_text("[just, words]\n" if "words" in file else "model: [1\n")
    answer = train(*words)
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert told in answer.err
    assert not Path("outputs").exists()


def test_a_folder_of_a_persons_own_may_be_ours(train):
    """In a clone, `--config-dir conf` says what holds anyway."""
    assert train("--config-dir", str(choices.CONF), "model=vae").code == 0
