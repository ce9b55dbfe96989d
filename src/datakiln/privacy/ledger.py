"""What was spent on a table so far, in a file of its own that no run may take anything from.

Each line is one promise, written before the table is looked at, so that a run that is killed has spent what it
announced. Tables are told apart by a keyed hash: the key stays in the file, for the plain hash of a table would tell
who knows all rows but one whether the last is as they think.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from datakiln.errors import UserError
from datakiln.privacy.accounting import zcdp_epsilon
from datakiln.privacy.budget import Privacy


@dataclass(frozen=True)
class Spent:
    """One promise.

    Attributes:
        table: Keyed hash of the table.
        mechanism: "marginals" or "dp_sgd".
        epsilon: Of the run.
        delta: Of the run.
        rho: Of the run in zCDP where that is what it is counted in; 0 otherwise.
        run: The run's folder.
    """

    table: str
    mechanism: str
    epsilon: float
    delta: float
    rho: float = 0.0
    run: str = ""


class Ledger:
    """A file of promises, made with its key when it is first needed.

    Arguments:
        path: Of the file.
    """

    def __init__(self, path: str | Path) -> None:
        """See the class."""
        self.path = Path(path)

    def table(self, sha256: str) -> str:
        """What a table with this hash is called here."""
        return hmac.new(self._key(), sha256.encode(), hashlib.sha256).hexdigest()

    def spend(self, promise: Spent) -> None:
        """Writes a promise down, and waits until it is on the disk; the same run's again takes the earlier's place."""
        self._key()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(promise)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def of(self, table: str) -> list[Spent]:
        """Every promise on a table, the last one of each run."""
        found: dict[str, Spent] = {}
        for number, line in enumerate(self._lines()[1:], start=2):
            try:
                promise = Spent(**json.loads(line))
            except (ValueError, TypeError):
                raise UserError(f"{self.path}, line {number}, is no promise; put the file back as it was") from None
            if promise.table == table:
                found[promise.run] = promise
        return list(found.values())

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def _key(self) -> bytes:
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                    file.write(json.dumps({"key": os.urandom(32).hex()}) + "\n")
            except FileExistsError:  # another job of a sweep was first
                pass
        try:
            return bytes.fromhex(json.loads(self._lines()[0])["key"])
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(f"{self.path} does not begin with its key; put the file back as it was") from None


def reserve(privacy: Privacy, table: str, rho: float) -> None:
    """Writes down what a run is about to spend; raises `UserError` where that is more than all runs together may."""
    ledger = Ledger(privacy.ledger)
    mine = Spent(table, privacy.mechanism, privacy.budget, privacy.delta, rho, privacy.folder)
    before = [one for one in ledger.of(table) if one.run != mine.run]
    epsilon, _ = together([*before, mine], privacy.delta)
    if privacy.total is not None and epsilon > privacy.total:
        spent, _ = together(before, privacy.delta)
        told = f"privacy.epsilon={privacy.budget:g} after {spent:.4g} by {len(before)} earlier runs on this data"
        raise UserError(f"{told} would make {epsilon:.4g}, more than privacy.total={privacy.total:g} ({ledger.path})")
    ledger.spend(mine)


def together(promises: list[Spent], delta: float) -> tuple[float, float]:
    """Epsilon and delta of several promises on one table: the rho of marginals add up, all else by basic composition.

    Arguments:
        promises: Of one table.
        delta: At which the marginals together are told.
    """
    rho = sum(promise.rho for promise in promises)
    rest = [promise for promise in promises if not promise.rho]
    epsilon = zcdp_epsilon(rho, delta) + sum(promise.epsilon for promise in rest)
    return epsilon, (delta if rho else 0.0) + sum(promise.delta for promise in rest)
