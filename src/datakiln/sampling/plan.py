"""Very many rows as parts that any number of processes make, into a folder or an object store.

Part k depends on (seed, k) alone, and the plan on n and the number of parts: whoever makes them, and however often they
are stopped, the files are the same. A part counts as made when its mark is there, which is written after it; whoever
finds all marks writes the manifest. Nothing else is shared between processes: no scheduler has to know of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, fs

from datakiln import strictjson
from datakiln.codecs.tables.table import TableCodec
from datakiln.console import Console
from datakiln.data.tables.finding import is_store
from datakiln.errors import UserError
from datakiln.sampling.rejection import Request
from datakiln.sampling.synthesizer import Synthesizer, fingerprint
from datakiln.sampling.writing import write_part
from datakiln.spec import PLAIN, Sampling

MANIFEST, MARKS = "_manifest.json", "_marks"  # readers of folders of Parquet files pass over names that begin like this
PIECE = 1 << 20
MOST_PARTS = 1_000_000


@dataclass(frozen=True)
class Plan:
    """How many rows in how many parts, and which of them are this process's.

    Arguments:
        n: Rows in all.
        parts: Files in all.
        worker: Number of this process, from 1.
        workers: Number of processes.

    Raises:
        UserError: A part would be empty, or there is no such worker.
    """

    n: int
    parts: int
    worker: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        """See the class."""
        if not 1 <= self.parts <= min(self.n, MOST_PARTS):
            raise UserError(f"parts={self.parts} must be between 1 and n={self.n}, and at most {MOST_PARTS:,}")
        if not 1 <= self.worker <= self.workers:
            raise UserError(f"worker={self.worker}/{self.workers} must be i/k with i from 1 to k")

    @classmethod
    def of(cls, n: int, parts: int, worker: str | None) -> Plan:
        """With a worker as it is written, "i/k"; None for the only one."""
        found = re.fullmatch(r"(\d+)/(\d+)", worker or "1/1")
        if found is None:
            raise UserError(f"worker={worker} must be i/k, such as worker=1/4")
        return cls(n, parts, int(found[1]), int(found[2]))

    def start(self, part: int) -> int:
        """Rows before a part."""
        return part * self.n // self.parts

    def rows(self, part: int) -> int:
        """Rows of a part: as many as of any other, or one more."""
        return self.start(part + 1) - self.start(part)

    def mine(self) -> range:
        """Parts of this process."""
        return range(self.worker - 1, self.parts, self.workers)


def write_plan(
    synthesizer: Synthesizer,
    plan: Plan,
    out: str,
    condition: Mapping[str, Any],
    seed: int,
    console: Console,
    balance: str | None = None,
    options: Sampling = PLAIN,
) -> int:
    """Makes those parts of this process that are not there yet; returns how many it made.

    Raises:
        UserError: `out` cannot be reached, holds parts of another request, or rows are asked for that must not repeat.
    """
    if not isinstance(synthesizer.codec, TableCodec):
        raise UserError("parts= is for tables; leave it out")
    synthesizer.check(options)
    request = synthesizer.request(condition, balance)
    if request.rules.unique:
        raise UserError(f"parts are made apart, so '{request.rules.unique[0]}' cannot be kept; leave out parts=")
    told = {name: str(value) for name, value in condition.items()}
    asked = {"n": plan.n, "parts": plan.parts, "seed": seed, "condition": told, "balance": balance, **options.given()}
    asked = strictjson.plain({"model": fingerprint(synthesizer), **asked})
    try:
        store, root = _open(out)
        made = _made(store, root, asked, out)
        mine = [part for part in plan.mine() if part not in made]
        for part in console.tracked(mine, "sampling"):
            _make(synthesizer, request, plan, part, store, root, asked, seed, options)
        _finish(store, root, plan, asked, out)
        for line in request.repeats():
            console.print(line, soft_wrap=True)
    except (OSError, ArrowException) as error:
        told_why = str(error).splitlines()[0][:200]
        raise UserError(f"out={out} cannot be used ({told_why}); the same command goes on") from error
    return len(mine)


def _open(out: str) -> tuple[fs.FileSystem, str]:
    store, root = fs.FileSystem.from_uri(out) if is_store(out) else (fs.LocalFileSystem(), str(Path(out).resolve()))
    root = root.rstrip("/")
    store.create_dir(f"{root}/{MARKS}", recursive=True)
    return store, root


def name_of(part: int) -> str:
    """The file of a part."""
    return f"part-{part:06d}.parquet"


def _made(store: fs.FileSystem, root: str, asked: Mapping[str, Any], out: str) -> set[int]:
    """Parts whose mark is there; one mark tells of all what they were made for, since all are of one plan."""
    files = store.get_file_info(fs.FileSelector(f"{root}/{MARKS}", allow_not_found=True))
    names = sorted(file.base_name for file in files if re.fullmatch(r"\d{6}\.json", file.base_name))
    if names:
        found = _read(store, f"{root}/{MARKS}/{names[0]}").get("asked", {})
        for key in sorted({*found, *asked}):
            if found.get(key) != asked.get(key):
                other = (
                    "of another model" if key == "model" else f"with {key}={found.get(key)} and not {asked.get(key)}"
                )
                raise UserError(f"out={out} holds parts {other}; choose another place to begin anew")
    return {int(name[:6]) for name in names}


def _read(store: fs.FileSystem, path: str) -> dict[str, Any]:
    with store.open_input_stream(path) as file:
        try:
            found = strictjson.parse(file.read().decode())
        except ValueError:
            raise UserError(f"{path} is damaged; delete it, and its part is made again") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged; delete it, and its part is made again")
    return found


def _make(
    synthesizer: Synthesizer,
    request: Request,
    plan: Plan,
    part: int,
    store: fs.FileSystem,
    root: str,
    asked: Mapping[str, Any],
    seed: int,
    options: Sampling,
) -> None:
    """One part, made in a file of this machine first: a stream that breaks off would leave half an object."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name_of(part)
        pieces = synthesizer.rows(request, plan.rows(part), seed, part, plan.start(part), options, plan.parts)
        write_part(synthesizer, pieces, path, json.dumps(asked, sort_keys=True))
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        _put(store, f"{root}/{name_of(part)}", path)
    mark = {"file": name_of(part), "rows": plan.rows(part), "sha256": digest.hexdigest(), "asked": asked}
    _put(store, f"{root}/{MARKS}/{part:06d}.json", io.BytesIO(_json(mark)))


def _put(store: fs.FileSystem, path: str, content: Path | io.BytesIO) -> None:
    """Whole or not at all: an object appears when it is closed, a file when it is renamed."""
    is_local = isinstance(store, fs.LocalFileSystem)
    target = f"{path}.partial" if is_local else path
    with store.open_output_stream(target) as sink:
        if isinstance(content, io.BytesIO):
            sink.write(content.getvalue())
        else:
            with content.open("rb") as file:
                while piece := file.read(PIECE):
                    sink.write(piece)
    if is_local:
        store.move(target, path)


def _finish(store: fs.FileSystem, root: str, plan: Plan, asked: Mapping[str, Any], out: str) -> None:
    if len(_made(store, root, asked, out)) < plan.parts:
        return  # others are still at work
    marks = [_read(store, f"{root}/{MARKS}/{part:06d}.json") for part in range(plan.parts)]
    files = [{key: mark[key] for key in ("file", "rows", "sha256")} for mark in marks]
    _put(store, f"{root}/{MANIFEST}", io.BytesIO(_json({"asked": asked, "rows": plan.n, "files": files})))


def _json(value: Any) -> bytes:  # noqa: ANN401 (any JSON value)
    return (json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
