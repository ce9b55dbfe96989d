"""A run started from Python is the run of the command line, and leaves the process as it found it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from datakiln.api.launch import train
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.results import RunResult

SHAPE = "{_target_:datakiln.metrics.tables.fidelity.shape,_partial_:true}"
OVERRIDES = ["model=cvae", "data=toy", "epochs=2", "~metrics.table", f"+metrics.table.shape={SHAPE}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("launch") / "run"
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hydra = HydraConfig.instance().cfg
    torch.set_num_threads(2)
    run = train([*OVERRIDES, "data.types.visits=category"], folder, Console(quiet=True))
    assert torch.get_num_threads() == 2, "the small net's single thread was its own"
    torch.set_num_threads(1)
    assert run.folder == folder and len(run.synthetic) == run.data.spec.size
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert HydraConfig.instance().cfg is hydra
    return folder


@pytest.mark.journey
def test_the_result_names_what_was_chosen(folder):
    result = RunResult.load(folder / "result.json")
    assert (result.model, result.data, result.epochs) == ("cvae", "toy", 2)
    assert result.overrides[:3] == OVERRIDES[:3]
    config = OmegaConf.load(folder / "config" / "config.yaml")
    assert config.output_dir == str(folder) and "hydra" not in config


@pytest.mark.journey
def test_a_name_from_the_data_can_be_set(folder):
    config = OmegaConf.load(folder / "config" / "config.yaml")
    assert config.data.types == {"visits": "category"}


def test_mistakes_are_refused_and_leave_nothing(tmp_path):
    hydra = HydraConfig.instance().cfg
    with pytest.raises(UserError, match="epochs=0 must be"):
        train(["epochs=0"], tmp_path / "run")
    with pytest.raises(UserError, match="model.lattent is no argument"):
        train(["+model.lattent=3"], tmp_path / "run")
    with pytest.raises(UserError, match="unknown option 'epoch'; did you mean 'epochs'"):
        train(["epoch=3"], tmp_path / "run")
    with pytest.raises(UserError, match="model=vea is not known"):
        train(["model=vea"], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert HydraConfig.instance().cfg is hydra


@pytest.mark.journey
def test_a_finished_run_is_not_overwritten(folder):
    before = (folder / "result.json").read_bytes()
    with pytest.raises(UserError, match="holds a finished run"):
        train(OVERRIDES, folder)
    assert (folder / "result.json").read_bytes() == before
