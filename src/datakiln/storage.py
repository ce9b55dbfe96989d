"""Where files are kept, and files that are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parent
# beside the package's rooms in a wheel, at the top of a clone; found by file, since an editable install maps no `conf`
CONF = next((place for place in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if place.is_dir()), PACKAGE / "conf")


def cache_dir() -> Path:
    """`$DATAKILN_CACHE`, or `datakiln` in the user's cache folder; not created here."""
    chosen = os.environ.get("DATAKILN_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "datakiln"


MOST_TEXT = 2**25  # bytes of a result or a description: 32 MB, some hundred times what any run has left


def small_text(path: Path, most: int = MOST_TEXT) -> str:
    """The text of a file that a run or another program has left, which may be anything by now.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no file but a pipe, a device or a folder, whose reading may never end; or has more bytes.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return raw.decode("utf-8")


_traces: ContextVar[bool] = ContextVar("traces", default=True)


@contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Inside, `write_atomically` writes nothing: what a cache holds already is still read."""
    token = _traces.set(False)
    try:
        yield
    finally:
        _traces.reset(token)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the final name if the block ends well, else it is removed.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


SEAL = b"datakiln sha256 "  # what a seal begins with; the hash follows in hexadecimal digits
_SEALED = len(SEAL) + 64
_PIECE = 2**22


def seal(path: Path) -> None:
    """Adds the hash of all that a zip file holds as its comment: then one flipped bit is an error, wherever it is.

    `torch.save` writes zip files, and reads them with their comment too.
    """
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        if file.read() != b"\0\0":
            raise ValueError(f"{path} ends in a comment already, or is no zip file")
        file.seek(-2, os.SEEK_END)
        file.write(_SEALED.to_bytes(2, "little"))
        file.seek(0)
        digest = _digest(file, path.stat().st_size)
        file.seek(0, os.SEEK_END)
        file.write(SEAL + digest)


def seal_holds(path: Path) -> bool | None:
    """Whether a sealed file is what it was when it was sealed; None where it has no seal."""
    size = path.stat().st_size
    if size < _SEALED:
        return None
    with path.open("rb") as file:
        file.seek(-_SEALED, os.SEEK_END)
        found = file.read()
        if not found.startswith(SEAL):
            return None
        file.seek(0)
        return _digest(file, size - _SEALED) == found[len(SEAL) :]


def _digest(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest().encode()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A failed write inside says of which file it was: that of an open file names none, and torch's is no `OSError`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(error.filename) == path.with_name(f".{path.name}.{os.getpid()}.partial"):
            raise OSError(error.errno, error.strerror, str(path)) from error
        if error.filename is not None:
            raise
        number = error.errno or _number_in(str(error))
        told = error.strerror or (os.strerror(number) if number else str(error))
        raise OSError(number or errno.EIO, told, str(path)) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error) and "unexpected pos" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def _number_in(text: str) -> int | None:
    """The system's number of an error that a library tells in words, as Arrow does, if it tells one."""
    found = re.search(r"errno (\d+)", text, re.IGNORECASE)
    return int(found[1]) if found else None


def remove_left_over(folder: Path, pattern: str = ".*.partial") -> None:
    """Removes what killed processes left of files that `replacing` was to make; those of a running one stay."""
    for partial in folder.glob(pattern) if folder.is_dir() else ():
        process = partial.suffixes[-2][1:] if len(partial.suffixes) > 1 else ""
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def no_room(error: OSError) -> str | None:
    """What a full disk kept from being written, in words; None for any other error."""
    if error.errno not in FULL:
        return None
    why = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up", errno.EFBIG: "it would be too large"}
    return f"{error.filename or 'a file'} cannot be written: {why[error.errno]}"


def write_atomically(path: Path, state: Any) -> bool:  # noqa: ANN401 (what torch can save)
    """Saves tensors so that a reader sees the old file or the new one, never a part; False where that is impossible.

    It is also False inside of `leaving_no_trace`.
    """
    import torch

    if not _traces.get():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            torch.save(state, partial)
            seal(partial)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        log.warning("cannot write %s (%s); set DATAKILN_CACHE to a folder with room", path, error)
        return False
    return True


def read_state(path: Path) -> Any | None:  # noqa: ANN401 (what torch has saved)
    """What `write_atomically` saved; None, said in the log, where the file is damaged."""
    import torch

    if not path.is_file():
        return None
    try:
        whole = seal_holds(path)
        if whole:
            return torch.load(path, map_location="cpu", weights_only=True)
        why = "of before such files were sealed" if whole is None and zipfile.is_zipfile(path) else "damaged"
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = f"damaged: {str(error).splitlines()[0]}" if str(error) else "damaged"
    log.warning("%s is %s; it is made again", path, why)
    return None
