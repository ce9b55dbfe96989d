"""log.txt of a run: what was said, what was measured, whatever ends the run; bounded, and of no cost."""

import io
import logging
import time
from types import SimpleNamespace

import pytest
import torch
from rich.table import Table
from rich.text import Text

from datakiln.callbacks import log as module
from datakiln.callbacks.log import RunLog, TrainingLines, kept_log
from datakiln.callbacks.progress import TrainingBar, figures_text
from datakiln.console import Console
from datakiln.errors import UserError


def a_terminal():
    return Console(file=io.StringIO(), width=60, force_terminal=True)


def a_trainer(epoch=0, epochs=10, **figures):
    known = {name.replace("__", "/"): torch.tensor(value) for name, value in figures.items()}
    return SimpleNamespace(callback_metrics=known, current_epoch=epoch, max_epochs=epochs, global_step=4 * epoch)


def test_what_the_terminal_says_is_written_without_escape_codes_and_bars(tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program that has set up none
    console, path = a_terminal(), tmp_path / "log.txt"
    with kept_log(path, console) as log:
        console.print("[bold red]loud[/] \x1b[31mbell\x07", style="green")
        assert not path.exists(), "a run that is refused leaves nothing behind"
        log.begin()
        with console.work("spinning", 3) as work:
            work.step("round and round")
            time.sleep(0.2)
            console.print(Text("while it spins " * 20), soft_wrap=True)
            logging.getLogger("datakiln.somewhere").warning("said by Python itself")
        table = Table("a", "b")
        table.add_row("1", "2")
        console.print(table)
        logging.getLogger("datakiln.somewhere").warning("slow down")
    text = path.read_text()
    assert "\x1b" not in text and "\x07" not in text and "spinning" not in text and "round" not in text
    assert (
        text.startswith("[bold red]loud[/] \\x1b[31mbell\\x07") and "while it spins " * 19 in text and "a ┃ b" in text
    )
    assert text.endswith("  slow down\n") and text.count("said by Python itself") == 1
    assert console._render_hooks == [] and logging.getLogger("datakiln").handlers == []


def test_a_refused_run_leaves_no_log_and_a_failed_one_says_what_ended_it(tmp_path):
    with pytest.raises(UserError), kept_log(tmp_path / "log.txt", a_terminal()):
        raise UserError("no such option")
    assert not (tmp_path / "log.txt").exists()
    for begun, error in (
        (False, RuntimeError("it\nbroke")),
        (True, UserError("diverged")),
        (True, KeyboardInterrupt()),
    ):
        path = tmp_path / f"{type(error).__name__}.txt"
        with pytest.raises(type(error)), kept_log(path, a_terminal()) as log:
            if begun:
                log.begin()
            raise error
        assert f"ended by {type(error).__name__}" in path.read_text() and path.read_text().endswith("\n")
    assert "broke" not in (tmp_path / "RuntimeError.txt").read_text()


def test_a_resumed_run_adds_to_its_log_and_mends_a_torn_line(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("first part\ntorn by a ki")
    with kept_log(path, a_terminal()) as log:
        log.begin()
        log.line("second part")
    lines = path.read_text().splitlines()
    assert lines[:2] == ["first part", "torn by a ki"] and lines[2].endswith("  second part")


def test_the_log_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    log = RunLog(tmp_path / "log.txt", a_terminal())
    log.begin()
    log.write("x" * 100_000 + "\n")
    for _ in range(200):
        log.line("y" * 100)
    text = (tmp_path / "log.txt").read_text()
    assert len(text) < 5500 and text.count("no more is written") == 1 and "x" * 2001 not in text


def test_a_line_every_so_often_tells_the_losses_and_the_monitor(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    log = RunLog(tmp_path / "log.txt", a_terminal())
    lines = TrainingLines(log, "val/fid")
    model = SimpleNamespace(steps=7)
    trainer = a_trainer(0, 50_000, train__critic_loss=0.5, val__critic_loss=0.25, train__diversity=0.9)
    lines.on_train_start(trainer, model)
    for epoch in range(50_000):
        clock[0] += 2.0  # a day and more in all
        trainer.current_epoch = epoch
        if epoch == 3:  # measured seldom, and shown ever after
            trainer.callback_metrics["val/fid"] = torch.tensor(30.5)
        lines.on_train_epoch_start(trainer, model)
        lines.on_train_batch_end(trainer, model)
    trainer.current_epoch = 50_000
    lines.on_train_end(trainer, model)
    text = (tmp_path / "log.txt").read_text().splitlines()
    assert "training from epoch 1, 50000 epochs in all" in text[0]
    assert text[1].endswith("epoch 1 of 50000, step 7: train/critic_loss 0.5  val/critic_loss 0.25")
    assert text[-2].endswith("epoch 50000 of 50000, step 7: val/fid 30.5  train/critic_loss 0.5  val/critic_loss 0.25")
    assert text[-1].endswith("trained in 27 h 46 min")
    assert 200 < len(text) < 2000, "a log that can be read, however long the run"


def test_the_monitor_of_every_kind_of_model_is_shown():
    known = {"train__loss": 2.0, "val__loss": 1.0, "val__fid": 3.0, "val__fidelity": 0.5, "val__kl": 9.0}
    for monitor in ("val/loss", "val/fid", "val/fidelity"):
        assert figures_text(a_trainer(**known), monitor).split()[0] == monitor
    assert figures_text(a_trainer(**known), "val/never") == "train/loss 2"
    console = a_terminal()
    bar = TrainingBar(console, "val/fid")
    trainer = a_trainer(1, 3, val__fid=3.25)
    bar.on_train_start(trainer, SimpleNamespace())
    bar.on_train_epoch_end(trainer, SimpleNamespace())
    bar.on_train_end(trainer, SimpleNamespace())
    assert "val/fid 3.25" in console.file.getvalue()


def test_a_log_that_already_is_the_console_is_not_written_twice(tmp_path):
    path = tmp_path / "log.txt"
    with path.open("a", buffering=1) as file:
        console = Console(file=file)
        with kept_log(path, console) as log:
            log.begin()
            console.print("said once")
            log.line("and a line")
    assert path.read_text().count("said once") == 1 and path.read_text().count("and a line") == 1


def test_telling_costs_nothing(tmp_path):
    lines = TrainingLines(RunLog(tmp_path / "log.txt", a_terminal()), "val/loss")
    trainer, model = a_trainer(train__loss=1.0), SimpleNamespace(steps=1)
    lines.on_train_start(trainer, model)
    start = time.perf_counter()
    for _ in range(10_000):
        lines.on_train_batch_end(trainer, model)
    assert time.perf_counter() - start < 0.1, "ten microseconds a step, where the smallest net takes a thousand"
