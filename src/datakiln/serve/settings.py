"""What an operator decides: places, limits, and what is switched on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEGA = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Of one server.

    Attributes:
        root: Folder of runs; with keys, each key has a folder of its own below `root/served`.
        command: Words that start our own command `train`, as the server itself was started.
        host: Address to listen at.
        keys: File of hashed keys; None for one person on this machine, without a key.
        scoring: Whether likelihoods are told, which tell training rows of small tables from others.
        parallel: Jobs at a time.
        streams: Samples drawn at a time; as many wait again, others are answered 429.
        rate: Requests a second that one key may make, over time.
        burst: Requests that it may make at once.
        upload_mb: Size of one upload.
        quota_mb: All that a key keeps.
        rows: Rows of one sample, and of an uploaded table.
        columns: Columns of an uploaded table.
        pictures: Pictures of one sample, and of a ZIP.
        pixels: Pixels of one uploaded picture.
        zip_ratio: How many times larger than packed a ZIP's file may be.
        memory_mb: Memory that one job may take.
        minutes: Time that one job may take.
        models: Models kept in memory.
    """

    root: Path
    command: tuple[str, ...]
    host: str = "127.0.0.1"
    keys: Path | None = None
    scoring: bool = False
    parallel: int = 1
    streams: int = 8
    rate: float = 50.0
    burst: int = 100
    upload_mb: int = 200
    quota_mb: int = 5000
    rows: int = 10_000_000
    columns: int = 1000
    pictures: int = 100_000
    pixels: int = 50_000_000
    zip_ratio: int = 200
    memory_mb: int = 16_000
    minutes: int = 720
    models: int = 4

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in ("127.0.0.1", "localhost", "::1")
