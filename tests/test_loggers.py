"""What the loggers leave behind, read back from their own files."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from src.choices import CONF
from src.errors import UserError
from src.loggers.csv import Csv
from src.loggers.tensorboard import TensorBoard
from src.loggers.wandb import Wandb
from src.results import Objective, RunResult, Score, Source

CONFIG = {"seed": 3, "latent_dim": 5, "model": {"_target_": "src.models.vae.VAE", "optimizer": {"lr": 1e-3}}}
LOSSES = {"train/loss": [3.0, 2.0, 1.0], "val/loss": [3.5, 2.5, 1.5]}
RESULT = RunResult(
    model="vae", data="iris", seed=3, provenance=Source("embedded", "iris of scikit-learn", "ab" * 32), epochs=3,
    objective=Objective("val/loss", 1.5), best_epoch=2,
    figures=[Score("fidelity/shape", 0.9, "higher", ceiling=0.95), Score("fidelity/none", None, why="no pairs")],
)  # fmt: skip


@dataclass
class WandbFile:
    """What a run told W&B, put together from the records of its file."""

    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    group: str = ""
    name: str = ""
    exit_code: int | None = None

    @classmethod
    def read(cls, folder: Path) -> WandbFile:
        """The newest W&B file below a run's folder, once W&B's own process has written all of it."""
        import wandb

        wandb.teardown()
        path = max(folder.glob("wandb/*run-*/*.wandb"), key=lambda p: p.stat().st_mtime)
        told = cls()
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                told.group, told.name = record.run.run_group, record.run.display_name
            elif kind == "config":
                told.config.update(values(record.config.update))
            elif kind == "history":
                told.rows.append(values(record.history.item))
            elif kind == "summary":
                told.summary.update(values(record.summary.update))
            elif kind == "metric":
                told.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
            elif kind == "artifact":
                told.artifacts[record.artifact.type] = list(record.artifact.aliases)
            elif kind == "exit":
                told.exit_code = record.exit.exit_code
        return told


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def records(path: Path) -> Iterator[Any]:
    """Records of a W&B file: LevelDB's log format in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, at, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if (left := 32_768 - at % 32_768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "kde_age.png"
    plt.imsave(path, np.linspace(0, 1, 48).reshape(6, 8))
    return path


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    """W&B as it is on a machine where nobody has logged in, and in a process that has not used it yet."""
    import wandb

    wandb.teardown()
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-settings"))
    yield
    wandb.teardown()


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


def test_wandb_offline_is_told_everything(tmp_path, picture, no_account, capsys):
    folder, checkpoint = tmp_path / "0-vae-iris", tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    logger = Wandb(folder, group="12-00-00-sweep", offline=True, log_model=True)
    logger.log_hyperparams(CONFIG)
    log_epochs(logger)
    logger.finalize("success")
    logger.conclude(RESULT, [picture], checkpoint)
    told = WandbFile.read(folder)

    assert {key: told.config[key] for key in CONFIG} == CONFIG
    assert (told.group, told.name, told.exit_code) == ("12-00-00-sweep", "0-vae-iris", 0)
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
    staged = [path for path in folder.glob("wandb/data/**/*") if path.is_file()]
    assert [path.read_bytes() for path in staged] == [
        b"weights"
    ]  # inside the run's folder, so that it can be synced later
    assert "wandb sync" in capsys.readouterr().out
    assert not {"WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_MODE"} & set(os.environ)  # nothing leaks into the next run


def test_a_failed_wandb_run_ends_and_the_next_is_its_own(tmp_path, no_account):
    """In a serial sweep all jobs share a process, where W&B would go on with the run of the failed job."""
    names = ("failed", "abandoned", "good")
    for name in names:
        logger = Wandb(tmp_path / name, offline=True)
        logger.log_hyperparams(CONFIG)
        log_epochs(logger, range(2 if name == "good" else 1))
        if name == "failed":
            logger.finalize("failed")
        if name == "good":
            logger.conclude(RESULT, [], tmp_path / "best.ckpt")
    told = {name: WandbFile.read(tmp_path / name) for name in names}
    assert {name: file.exit_code for name, file in told.items()} == {"failed": 1, "abandoned": 1, "good": 0}
    assert {name: len(file.rows) for name, file in told.items()} == {"failed": 1, "abandoned": 1, "good": 2}


def test_a_resumed_wandb_run_keeps_its_id(tmp_path):
    assert Wandb(tmp_path / "run").version == Wandb(tmp_path / "run").version != Wandb(tmp_path / "other").version


def test_wandb_without_account_never_asks(tmp_path, no_account, monkeypatch):
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


def test_wandb_can_be_switched_off(tmp_path, no_account, monkeypatch, capsys, picture):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = Wandb(tmp_path / "run")
    logger.log_hyperparams(CONFIG)
    log_epochs(logger)
    logger.conclude(RESULT, [picture], tmp_path / "best.ckpt")
    assert "W&B" not in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("wandb/*/*.wandb"))


def test_tensorboard_is_told_everything(tmp_path, picture):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    logger = TensorBoard(tmp_path)
    logger.log_hyperparams(CONFIG)
    log_epochs(logger)
    logger.finalize("success")
    logger.conclude(RESULT, [picture], tmp_path / "best.ckpt")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name, losses in LOSSES.items():
        assert [(event.step, event.value) for event in events.Scalars(name)] == list(enumerate(losses))
    assert [(e.step, e.value) for e in events.Scalars("result/fidelity/shape")] == [(2, pytest.approx(0.9))]
    (image,) = events.Images("plots/kde_age")
    assert (image.step, image.width, image.height) == (2, 8, 6)
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "latent_dim: 5" in text
    stored = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(stored).session_start_info.hparams
    assert started["latent_dim"].number_value == 5 and started["model.optimizer.lr"].number_value == 1e-3


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
    assert cfg.logger.csv._target_ == "src.loggers.csv.Csv"
