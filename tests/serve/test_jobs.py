"""The queue of jobs: what is finished is not begun again, and no fault of one job ends the thread that runs them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")
from datakiln.serve.jobs import CANCELLED, DONE, OVER, RUNNING, Job, Jobs  # noqa: E402
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
