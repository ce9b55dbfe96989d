"""Ctrl-C while a model trains: the best epoch so far is kept; before there is one, the interrupt goes through."""

from __future__ import annotations

import os
import signal
import tempfile

import lightning as L
import pytest

import datakiln as dk
from datakiln.callbacks.progress import TrainingBar
from tests.api.small import FEW_FIGURES


class Interrupting(L.Callback):
    """Sends this process a signal at the end of an epoch's training, after its validation, or of a batch."""

    def __init__(self, epoch: int, number: int = signal.SIGINT, before_any: bool = False) -> None:
        self.epoch, self.number, self.before_any = epoch, number, before_any

    def on_train_epoch_end(self, trainer, pl_module):
        if not self.before_any and trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), self.number)

    def on_train_batch_end(self, trainer, pl_module, *_):
        if self.before_any:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Where temporary folders go, and nothing must stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def interrupted_by(monkeypatch, callback: L.Callback) -> None:
    monkeypatch.setattr("datakiln.api.running.progress_of", lambda progress, monitor: callback)


def test_the_best_epoch_so_far_is_given_with_a_warning(places, monkeypatch):
    interrupted_by(monkeypatch, Interrupting(epoch=3))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.warns(UserWarning, match=r"stopped by Ctrl-C in epoch \d+: this is the model of epoch [1-4], the best"):
        model = dk.fit("iris", model="vae", epochs=500, options=FEW_FIGURES)
    assert 4 <= len(model.history) < 10
    assert len(model.sample(7)) == 7
    assert model.report.figures.loc["fidelity/shape", "n"] == 105
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(places.iterdir()) == []


@pytest.mark.journey
def test_before_any_epoch_was_measured_the_interrupt_goes_through(places, monkeypatch):
    interrupted_by(monkeypatch, Interrupting(epoch=0, before_any=True))
    with pytest.raises(KeyboardInterrupt):
        dk.fit("iris", model="vae", epochs=500)
    assert list(places.iterdir()) == []


@pytest.mark.journey
def test_a_second_one_does_not_end_the_process(places, monkeypatch):
    class Twice(Interrupting):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch >= 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

    interrupted_by(monkeypatch, Twice(epoch=-1))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        dk.fit("iris", model="vae", epochs=500)
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(places.iterdir()) == []


def test_being_asked_to_end_reaches_the_program(places, monkeypatch):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    interrupted_by(monkeypatch, Interrupting(epoch=2, number=signal.SIGTERM))
    try:
        with pytest.raises(dk.Error, match="stopped by SIGTERM"):
            dk.fit("iris", model="vae", epochs=500)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert list(places.iterdir()) == []


@pytest.mark.slow
def test_a_kept_run_goes_on_from_where_it_was_stopped(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted_by(patch, Interrupting(epoch=3))
        with pytest.warns(UserWarning, match="stopped by Ctrl-C"):
            dk.fit("iris", model="vae", epochs=8, folder=tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    model = dk.fit("iris", model="vae", epochs=8, folder=tmp_path / "run", ckpt_path="last")
    assert len(model.history) == 8
    assert (tmp_path / "run" / "report.html").exists()
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("vae on iris, seed 0") == 3 and log.index("ended by Stopped") < log.index("training from epoch 5")
    assert "val/loss" in log and "Synthetic rows of iris" in log and "\x1b" not in log


def test_the_bar_is_what_a_terminal_shows():
    from datakiln.api.progress import progress_of

    assert isinstance(progress_of(False), TrainingBar)
    assert not progress_of(False).console.is_terminal
