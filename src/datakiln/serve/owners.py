"""Who asks: keys, kept as hashes only, each with a folder, a quota and a rate of its own."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datakiln import strictjson
from datakiln.errors import UserError
from datakiln.serve.settings import MEGA, Settings
from datakiln.storage import replacing

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
LOCAL = "local"  # whoever sits at this machine, where there are no keys


@dataclass(frozen=True)
class Owner:
    """One key's holder.

    Attributes:
        name: As the operator called it.
        runs: Where models are; `<date>/<run>` below it.
        uploads: Where uploads are.
    """

    name: str
    runs: Path
    uploads: Path

    def used(self) -> int:
        """Bytes that the holder keeps; runs of the command line, in a server without keys, do not count."""
        folders = (self.uploads,) if self.name == LOCAL else (self.uploads, self.runs)
        return sum(_sizes(folders))


def _sizes(folders: tuple[Path, ...]) -> Iterator[int]:
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                yield path.stat().st_size if path.is_file() else 0
            except FileNotFoundError:  # a job has just replaced it
                continue


@dataclass
class Bucket:
    """Requests that a key may still make: `rate` more a second, `burst` at most."""

    rate: float
    burst: int
    left: float = 0.0
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Full at first."""
        self.left = float(self.burst)

    def take(self) -> float:
        """Takes one; seconds to wait where none is left, else 0."""
        now = time.monotonic()
        self.left, self.at = min(self.burst, self.left + (now - self.at) * self.rate), now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) / self.rate


class Owners:
    """All holders of keys.

    Arguments:
        settings: Of the server.

    Raises:
        UserError: The file of keys is damaged or empty, or others reach the server and there are no keys.
    """

    def __init__(self, settings: Settings) -> None:
        """See the class."""
        if settings.keys is None and not settings.is_local:
            told = f"host={settings.host} can be reached by others, who need a key"
            raise UserError(f"{told}; give keys=FILE, made by keys=FILE new_key=NAME")
        self.settings = settings
        self.hashes = {} if settings.keys is None else read_keys(settings.keys)
        if settings.keys is not None and not self.hashes:
            raise UserError(f"keys={settings.keys} holds no key; make one by keys={settings.keys} new_key=NAME")
        self.buckets: dict[str, Bucket] = {}
        self.came: Counter[str] = Counter()
        self.lock = threading.Lock()

    def of_key(self, key: str | None) -> Owner | None:
        """The holder of a key; None for a wrong one."""
        if self.settings.keys is None:
            return self.named(LOCAL)
        found, digest = None, hashed(key or "")
        for name, known in self.hashes.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, digest):
                found = name
        return None if found is None else self.named(found)

    def named(self, name: str) -> Owner:
        """A holder, whose folders are made."""
        own = self.settings.root / "served" / name
        owner = Owner(name, self.settings.root if name == LOCAL else own / "runs", own / "uploads")
        for folder in (owner.runs, owner.uploads):
            folder.mkdir(parents=True, exist_ok=True)
        return owner

    def wait(self, name: str) -> float:
        """Counts a request; seconds that its holder has to wait, or 0."""
        with self.lock:
            bucket = self.buckets.setdefault(name, Bucket(self.settings.rate, self.settings.burst))
            return bucket.take()

    def room(self, owner: Owner) -> Callable[[int], bool]:
        """Walks all that a holder keeps; what it returns counts bytes that come, and says whether they may be kept.

        Bytes of uploads that come at the same time count too.
        """
        until = self.came[owner.name] + self.settings.quota_mb * MEGA - owner.used()

        def holds(size: int) -> bool:
            with self.lock:
                self.came[owner.name] += size
                return self.came[owner.name] <= until

        return holds


def hashed(key: str) -> str:
    """A key has 256 random bits: no salt or slow hash makes it harder to guess."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> dict[str, str]:
    """Hashes by name; raises `UserError` for a file that is none of ours."""
    if not path.exists():
        return {}
    try:
        found = strictjson.read(dict[str, str], strictjson.parse(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"keys={path} cannot be read ({error}); give a file made by new_key=NAME") from None
    return found


def new_key(path: Path, name: str) -> str:
    """Makes a key, adds its hash to the file, and returns it: it is kept nowhere.

    Raises:
        UserError: The name is taken, or none.
    """
    if not NAME.fullmatch(name) or name == LOCAL:
        raise UserError(f"new_key={name} must be up to 32 of a-z, 0-9, _ and -, and not {LOCAL}")
    known = read_keys(path)
    if name in known:
        raise UserError(f"new_key={name} is there already in {path}; take its line out to replace it")
    key = secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        strictjson.write({**known, name: hashed(key)}, partial)
        partial.chmod(0o600)
    return key
