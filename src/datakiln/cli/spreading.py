"""The parts of one plan over several processes: of this machine, of a SLURM cluster, or of a Ray cluster.

Each process runs the same command with a `worker=i/k` of its own and knows nothing of the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import datakiln
from datakiln.cli.calling import with_extra
from datakiln.errors import UserError
from datakiln.saying import say

LAUNCHERS = ("local", "slurm", "ray")
MINUTES = 60 * 24  # that SLURM is asked for; who needs others starts the workers by hand


def spread(argv: Sequence[str], launcher: str, workers: int) -> None:
    """Runs `sample` once for each worker and waits for all.

    Arguments:
        argv: The words of the command.
        launcher: One of `LAUNCHERS`; what it needs is imported now.
        workers: How many.

    Raises:
        UserError: The launcher is not installed, or a worker has failed; the same command goes on.
    """
    rest = [word for word in argv if word.partition("=")[0].lstrip("+") not in ("launcher", "workers")]
    tasks = [[*rest, f"worker={i}/{workers}"] for i in range(1, workers + 1)]
    started = {"local": _local, "slurm": _slurm, "ray": _ray}[launcher](tasks)
    failed = []
    for number, (code, told) in enumerate(started, 1):
        say(f"worker {number} of {workers}: {told}")
        failed += [f"worker {number}: {told}"] if code else []
    if failed:
        raise UserError(f"{failed[0].removesuffix('.')}; the same command goes on with what is missing")


def work(words: Sequence[str], place: str) -> tuple[int, str]:
    """One worker, wherever this runs; returns its exit status and the last line that it said."""
    command = [sys.executable, "-m", "datakiln", "sample", *words]
    environment = {**os.environ, "PYTHONPATH": _packages()}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    lines = (done.stderr.strip() if done.returncode else done.stdout.strip()).splitlines()
    return done.returncode, lines[-1] if lines else f"exit status {done.returncode}"


def _packages() -> str:
    """Where Python looks for packages, this one first: a clone may not be installed."""
    return os.pathsep.join(filter(None, (str(Path(datakiln.__file__).parents[1]), os.environ.get("PYTHONPATH"))))


def _local(tasks: Sequence[Sequence[str]]) -> Iterator[tuple[int, str]]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(tasks)) as pool:
        yield from pool.map(work, tasks, [os.getcwd()] * len(tasks))


def _slurm(tasks: Sequence[Sequence[str]]) -> Iterator[tuple[int, str]]:
    try:
        import submitit
    except ImportError:
        raise _missing("slurm") from None
    with tempfile.TemporaryDirectory(prefix=".datakiln-slurm-", dir=os.getcwd()) as logs:  # where every node can write
        os.environ["PYTHONPATH"] = _packages()  # which SLURM hands to its jobs
        executor = submitit.AutoExecutor(folder=logs, cluster="slurm")
        executor.update_parameters(timeout_min=MINUTES, cpus_per_task=1, name="datakiln")
        jobs = executor.map_array(work, tasks, [os.getcwd()] * len(tasks))
        yield from (job.result() for job in jobs)


def _ray(tasks: Sequence[Sequence[str]]) -> Iterator[tuple[int, str]]:
    try:
        import ray
    except ImportError:
        raise _missing("ray") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": _packages()}})
    try:
        waiting = [ray.remote(work).remote(task, os.getcwd()) for task in tasks]
        yield from ray.get(waiting)
    finally:
        ray.shutdown()


def _missing(extra: str) -> UserError:
    return UserError(f"launcher={extra} needs the extra {extra}: {with_extra(extra)}")
