"""A run that goes on counts what it took before."""

from __future__ import annotations

import pytest

from datakiln.callbacks import clock
from datakiln.callbacks.clock import Clock


def test_what_was_spent_before_a_break_counts(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock.time, "process_time", lambda: now[0])
    first, kept = Clock(), {}
    first.setup(None, None, "fit")
    now[0] += 7.0
    first.on_save_checkpoint(None, None, kept)
    now[0] += 1.0  # lost when the process is killed
    second = Clock()
    now[0] = 3.0  # the clock of another process
    second.setup(None, None, "fit")
    second.on_load_checkpoint(None, None, kept)
    now[0] += 2.0
    second.teardown(None, None, "fit")
    assert second.earlier == pytest.approx(7.0) and second.spent == pytest.approx(9.0)
    second.setup(None, None, "fit")  # the fit on all rows
    now[0] += 4.0
    second.on_save_checkpoint(None, None, kept)
    assert kept[clock.KEY] == pytest.approx(13.0)


def test_a_checkpoint_of_before_has_no_clock():
    started = Clock()
    started.on_load_checkpoint(None, None, {})
    assert started.earlier == 0.0


def test_the_most_memory_of_all_processes_counts(monkeypatch):
    held, kept = [900.0], {}
    monkeypatch.setattr(clock, "peak_memory_mb", lambda: held[0])
    Clock().on_save_checkpoint(None, None, kept)
    held[0] = 200.0
    second = Clock()
    second.on_load_checkpoint(None, None, kept)
    assert second.memory == 900.0
    second.on_save_checkpoint(None, None, kept)
    assert kept[clock.MEMORY] == 900.0
