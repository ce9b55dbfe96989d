"""What a run told W&B, read back from the file it leaves, and W&B as it is where nobody has logged in."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class WandbFile:
    """What a run told W&B, put together from the records of its file."""

    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    contents: dict[str, list[str]] = field(default_factory=dict)
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
                artifact = record.artifact
                told.artifacts[artifact.type] = list(artifact.aliases)
                told.contents[artifact.type] = [entry.path for entry in artifact.manifest.contents]
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
