"""The queue of jobs: what is finished is not begun again, and no fault of one job ends the thread that runs them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")
from datakiln.serve.jobs import CANCELLED, DONE, FAILED, OVER, RUNNING, WAITING, Job, Jobs  # noqa: E402
from datakiln.serve.settings import Settings  # noqa: E402

NEVER = ("a-command-that-is-not-there",)


@pytest.fixture
def jobs(tmp_path):
    """`jobs(command)`: a queue over one table; those made are closed."""
    made = []

    def start(command: tuple[str, ...] = NEVER) -> Jobs:
        made.append(Jobs(Settings(tmp_path, command)))
        return made[-1]

    yield start
    for queue in made:
        queue.close()


def put(queue: Jobs, folder: Path) -> Job:
    return queue.add("local", "copula", (), folder, "x")


def over(queue: Jobs, job: Job) -> Job:
    for _ in range(200):
        now = queue.of(job.id, "local")
        if now.status in OVER:
            return now
        time.sleep(0.05)
    raise AssertionError(now)


def finish(folder: Path) -> None:
    folder.mkdir()
    (folder / "result.json").write_text("{}")


def test_a_job_that_finished_without_a_server_is_done(jobs, tmp_path):
    first = jobs()
    job = put(first, tmp_path / "run")
    first._set(job.id, status=RUNNING, pid=None)
    finish(tmp_path / "run")
    second = jobs()
    second.start()
    assert over(second, job).status == DONE


def test_a_job_that_finished_as_it_was_cancelled_is_done_when_resumed(jobs, tmp_path):
    queue = jobs()
    job = put(queue, tmp_path / "run")
    assert queue.cancel(job.id, "local").status == CANCELLED
    finish(tmp_path / "run")
    queue.resume(job.id, "local")
    queue.start()
    assert over(queue, job).status == DONE


def test_a_job_whose_folder_cannot_be_made_fails_and_others_go_on(jobs, tmp_path):
    (tmp_path / "file").write_text("no folder")
    finish(tmp_path / "run")
    queue = jobs()
    wrong, right = put(queue, tmp_path / "file" / "run"), put(queue, tmp_path / "run")
    queue.start()
    assert over(queue, right).status == DONE
    failed = over(queue, wrong)
    assert failed.status == FAILED and failed.why == "the server could not run it (Not a directory); resume it"


def test_a_job_whose_words_are_gone_fails(jobs, tmp_path):
    queue = jobs(
        (sys.executable, "-c", "import os, sys; os.unlink(sys.argv[1]); sys.exit(1)", str(tmp_path / ".run.out"))
    )
    job = put(queue, tmp_path / "run")
    queue.start()
    failed = over(queue, job)
    assert failed.status == FAILED and "No such file" in failed.why
    for _ in range(200):
        if not queue.running:
            return
        time.sleep(0.05)
    raise AssertionError(queue.running)


def test_a_table_that_cannot_be_written_for_a_moment_stops_no_job(jobs, tmp_path, monkeypatch):
    finish(tmp_path / "run")
    queue = jobs()
    job, write, faults = put(queue, tmp_path / "run"), queue._set, [sqlite3.OperationalError("disk is full")]

    def full(name: str, **values: object) -> None:
        if faults:
            raise faults.pop()
        write(name, **values)

    monkeypatch.setattr(queue, "_set", full)
    queue.start()
    assert over(queue, job).status == DONE and not faults


def test_a_process_that_the_table_cannot_be_told_of_is_not_left(jobs, tmp_path, monkeypatch):
    queue, begun = jobs((sys.executable, "-c", "import time; time.sleep(60)")), []
    job, popen = put(queue, tmp_path / "run"), subprocess.Popen

    def noted(*words: object, **options: object) -> subprocess.Popen[bytes]:
        begun.append(popen(*words, **options))
        return begun[-1]

    def full(name: str, **values: object) -> None:
        raise sqlite3.OperationalError("disk is full")

    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setattr(queue, "_set", full)
    with pytest.raises(sqlite3.OperationalError):
        queue._turn()
    assert begun[0].poll() is not None and not queue.running
    assert queue.of(job.id, "local").status == WAITING
