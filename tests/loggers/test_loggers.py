"""What the loggers leave behind, read back from their own files."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from datakiln.errors import UserError
from datakiln.loggers.about import About, Samples, learning_rate, varied_by
from datakiln.loggers.csv import Csv
from datakiln.loggers.tensorboard import TensorBoard
from datakiln.loggers.wandb import Wandb
from datakiln.results import Objective, RunResult, Score, Source
from datakiln.storage import CONF
from tests.loggers.wandb_files import WandbFile, no_account  # noqa: F401 (a fixture)

ABOUT = About("vae", "iris", 3, ("model=vae", "latent_dim=5", "model.optimizer.lr=1e-3", "note=a b"), 1e-3)
ROWS = Samples(rows=pd.DataFrame({"x": [1.5, None], "[red]": ["a", "b"], "day": pd.to_datetime(["2024-01-02", None])}))
CONFIG = {"seed": 3, "latent_dim": 5, "model": {"_target_": "datakiln.models.vae.vae.VAE", "optimizer": {"lr": 1e-3}}}
LOSSES = {"train/loss": [3.0, 2.0, 1.0], "val/loss": [3.5, 2.5, 1.5]}
RESULT = RunResult(
    model="vae", data="iris", seed=3, provenance=Source("embedded", "iris of scikit-learn", "ab" * 32), epochs=3,
    objective=Objective("val/loss", 1.5), best_epoch=2,
    figures=[Score("fidelity/shape", 0.9, "higher", ceiling=0.95), Score("fidelity/none", None, why="no pairs")],
)  # fmt: skip


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "kde_age.png"
    plt.imsave(path, np.linspace(0, 1, 48).reshape(6, 8))
    return path


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text("<p>all of it</p>")
    return path


def log_epochs(logger: Any, epochs: range = range(3)) -> None:
    """As a model does: validation and training of an epoch in two calls."""
    for epoch in epochs:
        for name in ("val/loss", "train/loss"):
            logger.log_metrics({name: LOSSES[name][epoch], "epoch": epoch}, step=4 * (epoch + 1))


def test_csv_has_a_row_an_epoch_and_goes_on_after_a_resume(tmp_path):
    path = tmp_path / "metrics.csv"
    first = Csv(path)
    log_epochs(first)
    first.write()
    again = Csv(path)
    again.resume(epoch=2)  # the checkpoint was taken after two epochs: the third is made again
    log_epochs(again, range(2, 3))
    again.log_metrics({"val/fidelity": 0.5, "epoch": 2}, step=12)
    again.finalize("success")
    rows = list(csv.DictReader(path.open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["train/loss"]) for row in rows] == LOSSES["train/loss"]
    assert [float(row["val/loss"]) for row in rows] == LOSSES["val/loss"]
    assert [row["val/fidelity"] for row in rows] == ["", "", "0.5"]


@pytest.mark.usefixtures("no_account")
def test_wandb_offline_is_told_everything(tmp_path, picture, report):
    folder, checkpoint = tmp_path / "0-vae-iris", tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    logger = Wandb(folder, group="12-00-00-sweep", offline=True, log_model=True)
    logger.introduce(ABOUT)
    logger.log_hyperparams(CONFIG)
    log_epochs(logger)
    logger.finalize("success")
    said = logger.conclude(RESULT, [picture], checkpoint, report, ROWS)
    told = WandbFile.read(folder)

    assert told.config["config"] == CONFIG
    columns = {"model": "vae", "data": "iris", "seed": 3, "learning_rate": 1e-3, "latent_dim": 5, "note": "a b"}
    assert {key: told.config[key] for key in columns} == columns and told.config["model.optimizer.lr"] == 1e-3
    assert (told.group, told.name, told.exit_code) == ("12-00-00-sweep", "vae-iris-3", 0)
    assert told.axes["*"] == "epoch"
    assert [row["epoch"] for row in told.rows] == [0, 1, 2]
    for name, losses in LOSSES.items():
        assert [row[name] for row in told.rows] == losses
    assert told.rows[-1]["plots/kde_age/_type"] == "images/separated"
    (image,) = folder.glob(f"wandb/offline-run-*/files/{told.rows[-1]['plots/kde_age/filenames'][0]}")
    assert image.read_bytes() == picture.read_bytes()
    assert told.summary["fidelity/shape"] == 0.9
    assert "fidelity/none" not in told.summary
    assert told.summary["result"]["objective"] == {"name": "val/loss", "value": 1.5, "direction": "lower"}
    assert told.summary["result"]["provenance"]["sha256"] == "ab" * 32
    assert set(told.artifacts["model"]) >= {"best", "epoch-2"}
    assert told.contents["report"] == ["report.html"]
    staged = {path.read_bytes() for path in folder.glob("wandb/data/**/*") if path.is_file()}
    assert {b"weights", report.read_bytes()} <= staged  # inside the run's folder, so that they can be synced later
    assert said.startswith("W&B, offline: wandb sync ")
    assert told.rows[-1]["samples/_type"] == "table-file"
    (table,) = folder.glob(f"wandb/offline-run-*/files/{told.rows[-1]['samples/path']}")
    shown = json.loads(table.read_text())
    assert shown["columns"] == ["x", "[red]", "day"]
    assert shown["data"] == [[1.5, "a", "2024-01-02 00:00:00"], [None, "b", None]]
    assert not {"WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_MODE"} & set(os.environ)  # nothing leaks into the next run


@pytest.mark.usefixtures("no_account")
def test_a_failed_wandb_run_ends_and_the_next_is_its_own(tmp_path, report):
    """In a serial sweep all jobs share a process, where W&B would go on with the run of the failed job."""
    names = ("failed", "abandoned", "good")
    for name in names:
        logger = Wandb(tmp_path / name, offline=True)
        logger.log_hyperparams(CONFIG)
        log_epochs(logger, range(2 if name == "good" else 1))
        if name == "failed":
            logger.finalize("failed")
        if name == "good":
            logger.conclude(RESULT, [], tmp_path / "best.ckpt", report, Samples())
    told = {name: WandbFile.read(tmp_path / name) for name in names}
    assert {name: file.exit_code for name, file in told.items()} == {"failed": 1, "abandoned": 1, "good": 0}
    assert {name: len(file.rows) for name, file in told.items()} == {"failed": 1, "abandoned": 1, "good": 2}


def test_a_resumed_wandb_run_keeps_its_id(tmp_path):
    assert Wandb(tmp_path / "run").version == Wandb(tmp_path / "run").version != Wandb(tmp_path / "other").version


@pytest.mark.usefixtures("no_account")
def test_wandb_without_account_never_asks(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, *_: Any) -> str:
            raise AssertionError("somebody waits for an answer")

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(UserError) as caught:
        Wandb(tmp_path / "run").log_hyperparams(CONFIG)
    assert "\n" not in str(caught.value)
    assert "wandb login" in str(caught.value) and "logger.wandb.offline=true" in str(caught.value)


@pytest.mark.usefixtures("no_account")
def test_wandb_can_be_switched_off(tmp_path, monkeypatch, report, picture):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = Wandb(tmp_path / "run")
    logger.log_hyperparams(CONFIG)
    log_epochs(logger)
    assert logger.conclude(RESULT, [picture], tmp_path / "best.ckpt", report, ROWS) == ""
    assert not list((tmp_path / "run").glob("wandb/*/*.wandb"))


@pytest.mark.usefixtures("no_account")
def test_wandb_gets_a_table_of_pictures(tmp_path, report):
    pictures = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8, 1)
    logger = Wandb(tmp_path / "run", offline=True)
    logger.log_hyperparams(CONFIG)
    logger.conclude(RESULT, [], tmp_path / "best.ckpt", report, Samples(pictures=pictures, labels=("0", "1", "2")))
    told = WandbFile.read(tmp_path / "run")
    (table,) = (tmp_path / "run").glob(f"wandb/offline-run-*/files/{told.rows[-1]['samples/path']}")
    assert json.loads(table.read_text())["data"] == [["Image", "0"], ["Image", "1"], ["Image", "2"]]
    pictures = [path for path in told.contents["run_table"] if path.endswith(".png")]
    assert len(pictures) == 3 and "samples.table.json" in told.contents["run_table"]


def test_runs_are_named_by_what_varies():
    assert ABOUT.name == "vae-iris-3"
    with varied_by(["latent_dim=5", "seed=1"]):
        assert About("vae", "iris", 1).name == "latent_dim=5 seed=1"
    assert About("vae", "iris", 1).swept == ()
    assert About("m", "d", 0, ("+a=true", "b=[1,2]", "~c", "e=null")).columns == {
        "a": True, "b": "[1,2]", "c": "removed", "e": "null", "model": "m", "data": "d", "seed": 0,
    }  # fmt: skip
    assert learning_rate({"generator_optimizer": {"lr": 2e-4}}) == 2e-4 and learning_rate({"optimizer": None}) is None


def test_tensorboard_is_told_everything(tmp_path, picture):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    logger = TensorBoard(tmp_path)
    logger.log_hyperparams(CONFIG)
    log_epochs(logger)
    logger.log_pictures([picture], 0)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Images("plots/kde_age")] == [0]  # while it trains
    logger.finalize("success")
    assert logger.conclude(RESULT, [picture], tmp_path / "best.ckpt", tmp_path / "report.html", Samples()) == ""
    events.Reload()
    for name, losses in LOSSES.items():
        assert [(event.step, event.value) for event in events.Scalars(name)] == list(enumerate(losses))
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith("result/")], "curves of one point"
    image = events.Images("plots/kde_age")[-1]
    assert (image.step, image.width, image.height) == (2, 8, 6)
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "latent_dim: 5" in text
    stored = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(stored).session_start_info.hparams
    assert started["latent_dim"].number_value == 5 and started["model.optimizer.lr"].number_value == 1e-3
    assert started["result/fidelity/shape"].number_value == 0.9 and "result/fidelity/none" not in started
    content = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    metrics = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    assert [metric.name.tag for metric in metrics] == ["val/loss"], "a curve that is there"


@pytest.mark.parametrize(
    ("choice", "loggers"),
    [
        ("csv", {"csv"}),
        ("wandb", {"csv", "wandb"}),
        ("tensorboard", {"csv", "tensorboard"}),
        ("[csv,wandb]", {"csv", "wandb"}),
        ("[wandb,tensorboard]", {"csv", "wandb", "tensorboard"}),
    ],
)
def test_metrics_csv_is_written_whatever_is_chosen(choice, loggers):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"logger={choice}"])
    assert set(cfg.logger) == loggers
    assert cfg.logger.csv._target_ == "datakiln.loggers.csv.Csv"
