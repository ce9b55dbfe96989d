"""A study's fits one after another: kept on disk as they end, so that the same command goes on, and capped if asked.

Each fit is a cell with a name of its own; `cells.jsonl` holds one line for every cell that has ended. What it was
measured on is in the first line: with other data or options the file is another study's and is not gone on with.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datakiln import strictjson
from datakiln.console import Console
from datakiln.errors import Interrupted, UserError
from datakiln.wording import counted, duration

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
FILE = "cells.jsonl"
Content = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One fit of a study.

    Attributes:
        name: Its own, such as "boosting/real/0".
        work: Does it; what it returns must be JSON.
        cost: About how long it takes, beside the others.
    """

    name: str
    work: Callable[[], Content]
    cost: float = 1.0


@dataclass
class Outcome:
    """What a study has come to.

    Attributes:
        done: Content of every cell that has ended, by name.
        total: Cells of the whole study.
        capped: Whether the budget ended before they did.
        seconds: Of this call.
        left: Estimated seconds of the cells that are left.
    """

    done: dict[str, Content]
    total: int
    capped: bool = False
    seconds: float = 0.0
    left: float = 0.0
    notes: list[str] = field(default_factory=list)


def seconds_of(budget: str | int | float | None) -> float | None:
    """Seconds of "90s", "2m" or "1h"; None for no cap.

    Raises:
        UserError: Anything else.
    """
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(budget).strip())
    if found is None or float(found[1]) <= 0:
        raise UserError(f"budget={budget} must be a time such as 90s, 2m or 1h")
    return float(found[1]) * UNITS[found[2]]


class Journal:
    """The cells of a study that have ended, in a folder.

    Arguments:
        folder: Where `cells.jsonl` lies or will.
        identity: What the study depends on: data, options, seed.

    Raises:
        UserError: The folder holds cells of another study, or something that is no journal.
    """

    def __init__(self, folder: Path, identity: Content) -> None:
        """See the class."""
        self.path = folder / FILE
        self.done: dict[str, Content] = {}
        self.head = head = strictjson.plain(identity)
        lines = self._lines() if self.path.exists() else []
        if len(lines) == 1:  # nothing is lost where no cell has ended
            self.path.unlink(missing_ok=True)
        elif lines and lines[0]["study"] != head:
            before = lines[0]["study"]
            differs = next(
                (key for key in head if not isinstance(before, dict) or before.get(key) != head[key]), "study"
            )
            raise UserError(
                f"{self.path} is of a study with another {differs}; choose another out=, or take the file away"
            )
        for line in lines[1:]:
            self.done[str(line["cell"])] = line["content"]

    def _lines(self) -> list[Content]:
        """The whole lines; the end of one that was being written when a process died is taken off."""
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        try:
            lines = [strictjson.parse(line) for line in whole.decode().splitlines()]
            if lines and "study" not in lines[0]:
                raise ValueError("it begins with no study")
            for line in lines[1:]:
                if not isinstance(line["cell"], str) or not isinstance(line["content"], dict):
                    raise ValueError("a line is no cell")
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self.path} is damaged ({error}); take it away, the study begins anew") from None
        return lines

    def add(self, name: str, content: Content) -> None:
        """Keeps a cell that has ended."""
        kept = strictjson.plain(content)
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"study": self.head})
        self._append({"cell": name, "content": kept})
        self.done[name] = kept

    def _append(self, line: Content) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def run_cells(cells: Sequence[Cell], journal: Journal, budget: float | None, console: Console) -> Outcome:
    """Runs the cells that have not ended yet, in order, and says how long the others will take.

    A cell is not begun if by those before it would pass the budget; the first one always is.
    """
    left = [cell for cell in cells if cell.name not in journal.done]
    outcome = Outcome(journal.done, len(cells))
    if len(left) < len(cells):
        console.print(f"going on after {counted(len(cells) - len(left), 'fit')} of {len(cells)} in {journal.path}")
    start, spent, said = time.monotonic(), 0.0, False
    total = sum(cell.cost for cell in left)
    with console.work("study", len(left)) as work:
        for i, cell in enumerate(left):
            outcome.seconds = time.monotonic() - start
            rate = outcome.seconds / spent if spent else 0.0
            outcome.left = rate * (total - spent)
            if budget is not None and i and outcome.seconds + rate * cell.cost > budget:
                outcome.capped = True
                break
            if not said and outcome.seconds > 5:
                said = True
                todo = f"about {duration(outcome.left)} left"
                console.print(f"{counted(len(left), 'fit')}, {i} done in {duration(outcome.seconds)}; {todo}")
            work.step(cell.name)
            try:
                content = cell.work()
            except Interrupted as error:
                kept = (
                    f"{counted(len(journal.done), 'fit')} of {len(cells)} {'is' if len(journal.done) == 1 else 'are'}"
                )
                raise Interrupted(error.reason, f"{kept} kept in {journal.path}; the same command goes on") from error
            journal.add(cell.name, content)
            spent += cell.cost
        else:
            outcome.seconds, outcome.left = time.monotonic() - start, 0.0
    if outcome.capped:
        done = len(cells) - len(left) + i
        told = f"budget={duration(budget or 0)}: {done} of {len(cells)} fits were done in {duration(outcome.seconds)}"
        outcome.notes.append(f"{told}, about {duration(outcome.left)} are left; the same command goes on")
        console.print(outcome.notes[-1])
    return outcome
