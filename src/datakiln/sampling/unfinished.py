"""Files too long to be made in one go: what was written stays, and the same command goes on from there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from datakiln import strictjson
from datakiln.errors import Interrupted, UserError
from datakiln.storage import naming, no_room, remove_left_over, small_text

try:
    import fcntl
except ImportError:  # a system without them; two commands that write the same file are then not told apart
    fcntl = None  # type: ignore[assignment]

EVERY, COST = 2.0, 20.0  # seconds between two notes of how far it is, or so many times what the last one took
BEGIN_ANEW = "overwrite=true begins anew"


class Unfinished:
    """`x.csv.partial` beside the wanted `x.csv`, and `x.csv.partial.json` that says what it is for and how far it is.

    As a context it is open for writing, behind what an earlier command wrote; where that is left by a signal or a full
    disk both files stay, and the error says how to go on. The wanted file appears when it is complete.

    Arguments:
        path: The wanted file.
        asked: Everything that its content depends on, as plain values.
        total: Rows or pictures of it.
        overwrite: Whether to begin anew whatever there is, and to replace the wanted file.

    Attributes:
        state: Where to go on from, as it was given to `keep`; None to begin.
        done: Rows or pictures that are there.

    Raises:
        UserError: What is there was made by another command.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any], total: int, overwrite: bool = False) -> None:
        """See the class."""
        self.path, self.asked, self.total = path, strictjson.plain(dict(asked)), total
        self.partial, self.told = partial_of(path), told_of(path)
        self.replaces = overwrite
        self.state: Any = None
        self.done = self._bytes = 0
        self._kept_at, self._cost = 0.0, 0.0
        self._noted, self._is_whole = 0, False
        if overwrite:
            return
        found = read_told(path)
        if self.partial.exists() and found is None:
            raise UserError(f"{self.partial} is there, of which nothing says how it was made; {BEGIN_ANEW}")
        if self.partial.exists() and found is not None:
            self._go_on_from(found)

    def _go_on_from(self, found: Mapping[str, Any]) -> None:
        head = f"{self.partial} holds {found['done']:,} of {found['total']:,} of another sample"
        for key in sorted({*found["asked"], *self.asked}):
            was, now = found["asked"].get(key), self.asked.get(key)
            if was != now:
                other = "from another model" if key == "model" else f"with {key}={_shown(was)} and not {_shown(now)}"
                raise UserError(f"{head}, {other}; give that command to go on, or {BEGIN_ANEW}")
        if self.partial.stat().st_size < found["bytes"]:
            raise UserError(f"{self.partial} is shorter than when it was left; {BEGIN_ANEW}")
        self.state, self.done, self._bytes = found["state"], found["done"], found["bytes"]
        self.replaces = bool(found.get("replaces"))
        self._noted = self.done

    def __enter__(self) -> Unfinished:
        """Opens the file behind what is known to be whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(self.path.parent, f".{self.told.name}.*.partial")
        remove_left_over(self.path.parent, f".{self.path.name}.*.partial")
        with naming(self.partial):
            self.file: FileIO = self.partial.open("ab", buffering=0)  # a buffer would write again what did not fit
        try:
            if fcntl is not None:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise UserError(f"{self.partial} is being written by another command; let it end, or stop it") from None
        try:
            self.file.truncate(self._bytes)
            self._note()
        except BaseException:
            self.file.close()
            raise
        return self

    def write(self, content: bytes, done: int, state: Any) -> None:  # noqa: ANN401 (plain values)
        """Adds a whole piece, after which `done` are there and `state` is where to go on from."""
        with naming(self.partial):
            left = memoryview(content)
            while left:
                left = left[self.file.write(left) :]
        self._bytes += len(content)
        self.done, self.state = done, state
        if time.monotonic() - self._kept_at > max(EVERY, COST * self._cost):
            self._note()

    def _note(self) -> None:
        start = time.monotonic()
        state = self.state() if callable(self.state) else self.state
        note = {
            "about": f"{self.partial.name} is what there is of {self.path.name}; the same command goes on with it",
            "done": self.done,
            "total": self.total,
            "bytes": self._bytes,
            "replaces": self.replaces,
            "asked": self.asked,
            "state": state,
        }
        strictjson.write(note, self.told)
        self._noted = self.done
        self._kept_at = time.monotonic()
        self._cost = self._kept_at - start

    def finish(self) -> None:
        """Gives the file its name, which is all that is left to do."""
        self.file.close()
        self.check_name()
        os.replace(self.partial, self.path)
        self.told.unlink(missing_ok=True)

    def discard(self) -> None:
        """Removes what was made, when the wanted file was made of it or never will be."""
        self.file.close()
        self.partial.unlink(missing_ok=True)
        self.told.unlink(missing_ok=True)

    def check_name(self) -> None:
        """Refuses to replace a file that came there meanwhile; what was made stays."""
        self._is_whole = True
        if self.path.exists() and not self.replaces:
            raise UserError(f"{self.path} has come there meanwhile; move it away, and the same command ends its work")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keeps what can be gone on from, and says so."""
        if error is None or self.file.closed:
            return
        stays = self._is_whole or isinstance(error, Interrupted | OSError)
        full = no_room(error) if isinstance(error, OSError) else None
        if stays:
            self._leave()
        if not stays or self._noted == 0:
            self.discard()
            way_on = "nothing of it stays; the same command begins anew"
        else:
            self.file.close()
            held = f"{self.partial} holds {self._noted:,} of {self.total:,}"
            way_on = (
                f"{held}; the same command goes on with it{' without overwrite=true' * self.replaces}, {BEGIN_ANEW}"
            )
        if isinstance(error, Interrupted):
            raise Interrupted(error.reason, way_on) from error
        if full is not None:
            raise UserError(f"{full}; make room there: {way_on}") from error

    def _leave(self) -> None:
        """Notes the last whole piece; on a full disk there is room for it once what was torn is cut off."""
        try:
            self.file.truncate(self._bytes)
            self._note()
        except OSError as fault:  # then the note before stands, which is of fewer rows
            if no_room(fault) is None:
                raise


UNFINISHED = "_unfinished.json"  # readers of folders of Parquet files pass over names that begin like this


class UnfinishedFolder:
    """`_unfinished.json` in a folder whose files appear one by one, for as long as some are missing.

    Arguments:
        folder: Made where it is not there.
        asked: Everything that the files depend on, as plain values.
        total: How many there are to be.
        what: What they are, in the plural.
        overwrite: Whether files of an earlier sample are replaced.

    Attributes:
        done: Files that are there, from the first on.
        was_left: Whether the same command was stopped here before.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any], total: int, what: str, overwrite: bool = False) -> None:
        """See the class."""
        self.folder, self.asked, self.total, self.what = folder, strictjson.plain(dict(asked)), total, what
        self.note = folder / UNFINISHED
        found = None if overwrite else _told(self.note)
        self.was_left = found is not None and found.get("asked") == self.asked
        self.done = int(found["done"]) if found is not None and self.was_left else 0
        self.is_of_another = found is not None and not self.was_left
        self._has_made = not folder.exists()
        self._kept_at = 0.0

    def __enter__(self) -> UnfinishedFolder:
        """Says that the folder is not complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_left_over(self.folder)
        self._keep()
        return self

    def advance(self, done: int) -> None:
        """Notes that so many are there."""
        self.done = done
        if time.monotonic() - self._kept_at > EVERY:
            self._keep()

    def _keep(self) -> None:
        about = f"not all {self.what} are here yet; the same command goes on with them"
        strictjson.write({"about": about, "done": self.done, "total": self.total, "asked": self.asked}, self.note)
        self._kept_at = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the note when all is there; else says how to go on."""
        if error is None:
            self.note.unlink(missing_ok=True)
            return
        full = no_room(error) if isinstance(error, OSError) else None
        if self.done == 0 and all(path == self.note for path in self.folder.iterdir()):
            self.note.unlink(missing_ok=True)
            if self._has_made:
                self.folder.rmdir()
            way_on = "nothing of it stays; the same command begins anew"
        else:
            held = f"{self.folder} holds {self.done:,} of {self.total:,} {self.what}, as {UNFINISHED} there says"
            way_on = f"{held}; the same command goes on, {BEGIN_ANEW}"
            if full is None:  # on a full disk the note before stands, which is of fewer files
                self._keep()
        if isinstance(error, Interrupted):
            raise Interrupted(error.reason, way_on) from error
        if full is not None:
            raise UserError(f"{full}; make room there: {way_on}") from error


def partial_of(path: Path) -> Path:
    """Where what is made of a file is kept until it is complete."""
    return path.with_name(f"{path.name}.partial")


def told_of(path: Path) -> Path:
    """Where it is told what that is for."""
    return path.with_name(f"{path.name}.partial.json")


def read_told(path: Path) -> dict[str, Any] | None:
    """What is told of an unfinished file; None if there is none, or it is no such file.

    Arguments:
        path: The wanted file.
    """
    told = _told(told_of(path))
    return told if told is not None and isinstance(told.get("bytes"), int) and "state" in told else None


def _told(path: Path) -> dict[str, Any] | None:
    try:
        told = strictjson.parse(small_text(path))
    except (OSError, ValueError):
        return None
    kinds = {"done": int, "total": int, "asked": dict}
    is_ours = isinstance(told, dict) and all(isinstance(told.get(key), kind) for key, kind in kinds.items())
    return told if is_ours else None


def may_go_on(path: Path) -> bool:
    """Whether a command that was told to replace a file was stopped before it did."""
    told = read_told(path)
    return told is not None and bool(told.get("replaces")) and partial_of(path).exists()


def _shown(value: Any) -> str:  # noqa: ANN401 (any plain value)
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
