"""Training jobs: a table in SQLite, and one process a job that runs our own command.

A job's folder is fixed before it starts, so that the same command with ckpt_path=last goes on in it, whether the job,
the server or the machine was stopped.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import secrets
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datakiln.serve.settings import MEGA, Settings

log = logging.getLogger(__name__)
TABLE = """
create table if not exists jobs (
  id text primary key, owner text not null, model text not null, words text not null, folder text not null,
  upload text not null, status text not null, why text not null default '', pid integer, born text,
  created real not null, started real, ended real, starts integer not null default 0)
"""
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
OVER = (DONE, FAILED, CANCELLED)
GRACE = 30.0  # seconds that a job has to stop cleanly
STARTS = 5  # times that a job that was killed is started again before it counts as failed
PAUSE = 0.2
TAIL = 4000  # characters of a job's last words


@dataclass(frozen=True)
class Job:
    """A row of the table."""

    id: str
    owner: str
    model: str
    words: str
    folder: str
    upload: str
    status: str
    why: str
    pid: int | None
    born: str | None
    created: float
    started: float | None
    ended: float | None
    starts: int


class Jobs:
    """The table, and the thread that starts what waits in it.

    Arguments:
        settings: Of the server.
    """

    def __init__(self, settings: Settings) -> None:
        """Takes up what an earlier server left: its running jobs are stopped and wait to go on."""
        self.settings = settings
        self.path = settings.root / "served" / "jobs.sqlite"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.table = sqlite3.connect(self.path, check_same_thread=False)
        self.table.execute("pragma journal_mode=wal")
        self.table.execute(TABLE)
        self.table.commit()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.closing = threading.Event()
        for job in self._where("status = ?", RUNNING):
            _end_orphan(job)
            self._set(job.id, status=WAITING, pid=None)
        self.thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """From now on jobs are run."""
        self.thread.start()

    def close(self) -> None:
        """Stops the running jobs cleanly; they go on when a server starts again."""
        self.closing.set()
        if self.thread.is_alive():
            self.thread.join()
        with self.lock:
            for process in self.running.values():
                _signal(process.pid, signal.SIGTERM)
            for name, process in list(self.running.items()):
                _wait_or_kill(process)
                self._settle(name, process, went_down=True)
            self.table.close()

    def add(self, owner: str, model: str, words: Sequence[str], folder: Path, upload: str) -> Job:
        """A new job, which waits."""
        name = secrets.token_hex(8)
        with self.lock, self.table:
            self.table.execute(
                "insert into jobs (id, owner, model, words, folder, upload, status, created) values (?,?,?,?,?,?,?,?)",
                (name, owner, model, json.dumps(list(words)), str(folder), upload, WAITING, time.time()),
            )
        found = self.of(name, owner)
        assert found is not None
        return found

    def of(self, name: str, owner: str) -> Job | None:
        """A job of that owner; None for any other."""
        return next(iter(self._where("id = ? and owner = ?", name, owner)), None)

    def all(self, owner: str) -> list[Job]:
        """An owner's jobs, the newest first."""
        return self._where("owner = ? order by created desc", owner)

    def waiting(self, owner: str) -> int:
        """How many jobs of an owner are not over."""
        return len(self._where("owner = ? and status in (?, ?)", owner, WAITING, RUNNING))

    def counts(self) -> dict[str, int]:
        """Jobs by status."""
        with self.lock:
            return dict(self.table.execute("select status, count(*) from jobs group by status").fetchall())

    def cancel(self, name: str, owner: str) -> Job | None:
        """Stops a job for good, or takes it out of the queue; it can be resumed."""
        with self.lock:
            job = self.of(name, owner)
            if job is None or job.status in OVER:
                return job
            self._set(name, status=CANCELLED, ended=time.time())
            process = self.running.get(name)
        if process is not None:
            _signal(process.pid, signal.SIGTERM)
            _wait_or_kill(process)
        return self.of(name, owner)

    def resume(self, name: str, owner: str) -> Job | None:
        """Lets a cancelled or failed job go on from its last checkpoint."""
        with self.lock:
            job = self.of(name, owner)
            if job is not None and job.status in (CANCELLED, FAILED):
                self._set(name, status=WAITING, why="", ended=None, starts=0)
            return self.of(name, owner)

    def _where(self, condition: str, *values: object) -> list[Job]:
        with self.lock:
            return [Job(*row) for row in self.table.execute(f"select * from jobs where {condition}", values)]

    def _set(self, name: str, **values: object) -> None:
        columns = ", ".join(f"{key} = ?" for key in values)
        with self.lock, self.table:
            self.table.execute(f"update jobs set {columns} where id = ?", (*values.values(), name))

    def _run(self) -> None:
        while not self.closing.wait(PAUSE):
            with self.lock:
                try:
                    self._turn()
                except sqlite3.Error as error:  # a full disk, for a moment; nothing is known of jobs without the table
                    log.error("the table of jobs cannot be used (%s); it is tried again", error)

    def _turn(self) -> None:
        for name, process in list(self.running.items()):
            with self._failing(name):
                if process.poll() is not None:
                    self._settle(name, process)
                else:
                    self._watch(name, process)
        for job in self._where("status = ? order by created", WAITING):
            if job.id in self.running:
                continue
            with self._failing(job.id):
                if _is_finished(job):  # while nobody watched it, or as it was stopped: a run is not begun twice
                    self._set(job.id, status=DONE, ended=time.time())
                elif len(self.running) < self.settings.parallel:
                    self._start(job)

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """Where the system hinders a job, that job fails with the reason, and the others go on."""
        try:
            yield
        except OSError as error:
            why = f"the server could not run it ({error.strerror or type(error).__name__}); resume it"
            log.error("job %s: %s", name, why)
            self._set(name, status=FAILED, why=why, ended=time.time())

    def _start(self, job: Job) -> None:
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        words = [*self.settings.command, *json.loads(job.words), "ckpt_path=last"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        with log_file(job).open("ab") as out:
            process = subprocess.Popen(
                words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, env=environment
            )
        most = self.settings.memory_mb * MEGA
        try:
            try:
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (most, most))
            except ProcessLookupError:  # it has ended at once; what it said is read below
                log.info("job %s ended before its memory was limited", job.id)
            values = {"started": time.time(), "starts": job.starts + 1, "born": _born(process.pid)}
            self._set(job.id, status=RUNNING, pid=process.pid, **values)
        except BaseException:  # of a process that is not in the table no later server would know
            _signal(process.pid, signal.SIGKILL)
            process.wait()
            raise
        self.running[job.id] = process
        log.info("job %s started, model %s", job.id, job.model)

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        job = self._where("id = ?", name)[0]
        if job.status == RUNNING and time.time() - (job.started or 0) > 60 * self.settings.minutes:
            why = f"it took longer than {self.settings.minutes} minutes"
            self._set(name, status=FAILED, why=why, ended=time.time())
            _signal(process.pid, signal.SIGTERM)
            threading.Thread(target=_wait_or_kill, args=(process,), daemon=True).start()

    def _settle(self, name: str, process: subprocess.Popen[bytes], went_down: bool = False) -> None:
        """Says how a process ended; one that was killed goes on, a few times."""
        job, code = self._where("id = ?", name)[0], process.returncode
        if job.status != RUNNING:
            self._set(name, pid=None)
        elif code == 0 and _is_finished(job):
            self._set(name, status=DONE, pid=None, ended=time.time())
        elif went_down or (code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM) and job.starts < STARTS):
            self._set(name, status=WAITING, pid=None)
        else:
            self._set(name, status=FAILED, why=_why(job, code), pid=None, ended=time.time())
        del self.running[name]  # last: what the table could not be told is told again
        log.info("job %s ended with code %s", name, code)


def log_file(job: Job) -> Path:
    """What a job's process says; beside its folder, in which a run keeps a log of its own."""
    return Path(job.folder).with_name(f".{Path(job.folder).name}.out")


def _is_finished(job: Job) -> bool:
    """Whether a job's run has all of its files: the result is the last of them."""
    return (Path(job.folder) / "result.json").is_file()


def _why(job: Job, code: int) -> str:
    """The last line that a job said, without paths of the server."""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name} {job.starts} times"
    text = log_file(job).read_text(encoding="utf-8", errors="replace")[-TAIL:]
    told = next((line for line in reversed(text.splitlines()) if line.startswith("error: ")), "it ended early")
    return told.removeprefix("error: ").replace(f"{Path(job.folder).parent}/", "")


def _born(process: int) -> str | None:
    """When a process was started, in the system's ticks: with its number that is unique; None where it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _end_orphan(job: Job) -> None:
    """Stops the process of a job whose server was killed; one that has its number by now is left alone."""
    if job.pid is None or job.born is None or _born(job.pid) != job.born:
        return
    log.info("job %s of an earlier server is stopped, and goes on", job.id)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(job.pid, number)
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            if _born(job.pid) != job.born:
                return
            time.sleep(PAUSE)


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.killpg(process, number)
    except ProcessLookupError:
        log.info("process %d has ended by itself", process)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        _signal(process.pid, signal.SIGKILL)
        process.wait()
