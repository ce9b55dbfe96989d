"""Files in an object store, named, opened and watched as those of this machine are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, NamedTuple, cast

from pyarrow import ArrowException, fs

from datakiln.errors import UserError

REFUSED = re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|CREDENTIALS|TOKEN|HTTP status 40[13]", re.IGNORECASE)
LONGEST = 200  # characters of what a store says


class Stat(NamedTuple):
    """What tells of a file that it has changed; named as by `os.stat`."""

    st_size: int
    st_mtime_ns: int

    @property
    def st_mtime(self) -> float:
        """Seconds since 1970."""
        return self.st_mtime_ns / 1e9


@dataclass(frozen=True)
class Stored:
    """A file in an object store; of `pathlib.Path` it has what tables need.

    Attributes:
        store: As pyarrow reaches it.
        path: In the store, its bucket first.
        scheme: Such as "s3".
    """

    store: fs.FileSystem
    path: str
    scheme: str

    def __str__(self) -> str:
        """Its address."""
        return f"{self.scheme}://{self.path}"

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.rpartition("/")[2]

    def open(self, mode: str = "rb") -> BufferedReader:
        """For reading from its start; raises `OSError`."""
        return cast(BufferedReader, self.store.open_input_stream(self.path))

    def exists(self) -> bool:
        """Whether it is there; raises `OSError` where the store does not answer."""
        return bool(self.store.get_file_info(self.path).is_file)

    def stat(self) -> Stat:
        """Its size and time of change; raises `OSError`."""
        info = self.store.get_file_info(self.path)
        if not info.is_file:
            raise FileNotFoundError(str(self))
        return Stat(info.size, info.mtime_ns)


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Inside, what a store says comes as one line with the way out.

    Raises:
        UserError: There is no such bucket or prefix, the credentials do not do, or the store does not answer.
    """
    shown = address.partition("?")[0]
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"data.path={shown}: there is nothing under this prefix; check its spelling") from None
    except (OSError, ArrowException) as error:
        raise UserError(f"data.path={shown}: {_explained(error)}") from None


def _explained(error: Exception) -> str:
    said = str(error).splitlines()[0]
    if "NO_SUCH_BUCKET" in said or re.search(r"Bucket '.*' not found", said):
        return "there is no bucket of this name; check its spelling, and the region"
    if REFUSED.search(said):
        return (
            f"the store refuses these credentials, or there are none ({said[:LONGEST]}); set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    return f"the store cannot be read ({said[:LONGEST]})"


def files_at(address: str) -> tuple[list[Stored], str]:
    """All files of a store whose address is this one or begins with it, and the folder that their names go on from.

    Raises:
        UserError: See `reaching`.
    """
    with reaching(address):
        store, root = fs.FileSystem.from_uri(address)
        root, scheme = root.rstrip("/"), address.partition("://")[0]
        one: Any = store.get_file_info(root)
        if one.is_file:
            return [Stored(store, root, scheme)], root.rpartition("/")[0]
        found = store.get_file_info(fs.FileSelector(root, recursive=True))
        return [Stored(store, info.path, scheme) for info in found if info.is_file], root
