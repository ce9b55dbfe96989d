"""Killed and resumed equals never killed: weights, optimizer, average, random state and metrics, bit for bit."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch

from datakiln.callbacks.bundle import Bundle, Stopped
from datakiln.callbacks.ema import Ema
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.sources import SklearnTable
from datakiln.data.tables.tables import TableData
from datakiln.loggers.csv import Csv
from datakiln.models.vae.vae import VAE
from datakiln.nets.schedules import Linear
from datakiln.sampling.checkpoints import FORMAT
from tests.later import later

EPOCHS = 6  # of 4 batches each


class Kill(L.Callback):
    """Ends the process without any clean-up, as SIGKILL would, before a given step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            raise SystemExit("killed")


class Ask(L.Callback):
    """Asks the bundle to stop at a given step, as the signal handler does."""

    def __init__(self, bundle: Bundle, step: int) -> None:
        self.bundle, self.step = bundle, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            self.bundle.stop_requested = "SIGTERM"


def fit(
    folder: Path,
    every: float = 1e9,
    step: int | None = None,
    ask: int | None = None,
    resume: bool = False,
    patience: int | None = None,
) -> Bundle:
    L.seed_everything(0, verbose=False)
    data = TableData(SklearnTable("iris"), TableCodec())
    data.setup("fit")
    model = VAE(
        data.spec,
        hidden=(8,),
        annealing=Linear(),
        optimizer=functools.partial(torch.optim.Adam, lr=1e-3),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
    )
    bundle = Bundle(folder / "checkpoints", {"format": FORMAT}, every_seconds=every, patience=patience)
    bundle.mode = "min" if patience is None else "max"  # the loss falls: no epoch is better than the first
    callbacks = [Ema(0.9), bundle, *([Kill(step)] if step is not None else []), *([Ask(bundle, ask)] if ask else [])]
    trainer = L.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=[Csv(folder / "metrics.csv")], callbacks=callbacks,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    last = bundle.last_path
    trainer.fit(model, datamodule=data, ckpt_path=str(last) if resume and last.exists() else None, weights_only=True)
    return bundle


def differences(a, b, path="") -> list[str]:
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [d for key in a for d in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, list | tuple):
        assert len(a) == len(b), path
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    return [] if a == b else [f"{path}: {a} is not {b}"]


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(folder)
    return folder


def assert_same_end(folder: Path, whole: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        assert differences(load(whole / "checkpoints" / name), load(folder / "checkpoints" / name)) == []
    assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


@pytest.mark.parametrize("step", [5, *later(8, 9), *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 23))])
@pytest.mark.parametrize("every", [0.0, 1e9], ids=["saved-each-step", "saved-once"])
def test_killed_at_any_step(tmp_path, never_killed, step, every):
    with pytest.raises(SystemExit, match="killed"):
        fit(tmp_path, every, step=step)
    fit(tmp_path, every, resume=True)
    assert_same_end(tmp_path, never_killed)


@pytest.mark.parametrize("step", [7, *later(1, 8)])
def test_stopped_by_a_signal(tmp_path, never_killed, step):
    with pytest.raises(Stopped, match="SIGTERM"):
        fit(tmp_path, ask=step)
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] in (step + 1, step + 2)
    fit(tmp_path, resume=True)
    assert_same_end(tmp_path, never_killed)


@pytest.mark.parametrize(
    "patience", [pytest.param(None, marks=pytest.mark.slow, id="all epochs"), pytest.param(2, id="stopped early")]
)
def test_killed_after_training(tmp_path, patience):
    """While it samples or measures: nothing is trained again and no figure is lost."""
    fit(tmp_path / "whole", patience=patience)
    fit(tmp_path / "killed", patience=patience)
    before = (tmp_path / "killed" / "metrics.csv").read_text()
    assert len(before.splitlines()) == 1 + (EPOCHS if patience is None else 1 + patience)
    fit(tmp_path / "killed", resume=True, patience=patience)
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_sigkill_of_the_command(tmp_path):
    """The real thing: the command killed twice by the system, then finished by ckpt_path=last alone."""

    def command(*extra: str) -> list[str]:
        options = ["model=vae", "data=iris", "epochs=400", "save_every_seconds=0", f"root={tmp_path / 'killed'}"]
        return [sys.executable, "-m", "src.train", *options, *extra]

    subprocess.run([*command()[:-1], f"root={tmp_path / 'whole'}"], check=True, capture_output=True)
    for extra in ([], ["ckpt_path=last"]):
        process = subprocess.Popen(command(*extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for_checkpoint(tmp_path / "killed", process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not list((tmp_path / "killed").rglob("result.json"))
    subprocess.run(command("ckpt_path=last"), check=True, capture_output=True)
    (whole,), (killed,) = ((tmp_path / name).glob("*/*-vae-iris") for name in ("whole", "killed"))
    ours, theirs = load(killed / "checkpoints/last.ckpt"), load(whole / "checkpoints/last.ckpt")
    for part in ("state_dict", "optimizer_states", "random", "best"):
        assert differences(theirs[part], ours[part]) == []
    for name in ("metrics.csv", "synthetic.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def wait_for_checkpoint(root: Path, process: subprocess.Popen) -> None:
    """Until a checkpoint newer than the last look is there, so that the kill falls inside training."""
    import time

    before = {p: p.stat().st_mtime_ns for p in root.rglob("last.ckpt")}
    for _ in range(1200):
        now = {p: p.stat().st_mtime_ns for p in root.rglob("last.ckpt")}
        if any(before.get(path) != stamp for path, stamp in now.items()):
            return
        assert process.poll() is None, process.stdout.read().decode()
        time.sleep(0.05)
    raise AssertionError("no checkpoint within a minute")
