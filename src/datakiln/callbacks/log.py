"""`log.txt` of a run: what the terminal said, without colours and bars, and a line on training every so often."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning as L
from rich.file_proxy import FileProxy
from rich.text import Text

from datakiln.callbacks.progress import figures_text
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.saying import visible
from datakiln.wording import duration

MOST_BYTES = 2_000_000  # some twenty thousand lines
LONGEST_LINE = 2_000  # characters
WIDTH = 120
LEAST_SECONDS, SHARE = 1.0, 0.005  # between two lines on training: this long, and this part of the time so far


class RunLog:
    """The file, and what is written to it: line by line, so that a kill loses none, and no more than `MOST_BYTES`.

    Nothing is written before training begins: a run that is refused leaves no file behind. What was said until then is
    kept and comes first.

    Arguments:
        path: The file; a resumed run adds to it.
        console: Whose words are written down too, unless they go to this very file, as those of a sweep's jobs do.
    """

    def __init__(self, path: Path, console: Console) -> None:
        """See the class."""
        self.path, self.console = path, console
        self._kept: list[str] | None = []  # until training begins
        self._size = 0
        options: dict[str, Any] = {"file": self, "width": WIDTH, "force_terminal": False, "no_color": True}
        self._plain = Console(**options)

    @property
    def has_begun(self) -> bool:
        """Whether the file is written."""
        return self._kept is None

    def begin(self) -> None:
        """From now on the file is written, beginning with what was said before."""
        if self._kept is None:
            return
        kept, self._kept = self._kept, None
        self._size = self.path.stat().st_size if self.path.exists() else 0
        if self._size:  # a kill may have left a line without its end
            with self.path.open("rb") as file:
                file.seek(-1, 2)
                is_whole = file.read(1) == b"\n"
            self._append("" if is_whole else "\n")
        for text in kept:
            self._append(text)

    def write(self, text: str) -> None:
        """Adds a text as it is, without escape codes; Rich writes here too."""
        lines = visible(text, lines=True).splitlines(keepends=True)
        cut = "".join(_tidy(line) for line in lines)
        if self._kept is not None:
            self._kept.append(cut)
        else:
            self._append(cut)

    def flush(self) -> None:
        """Nothing is held back."""

    def line(self, text: str) -> None:
        """Adds a line with the time before it."""
        self.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n")

    def heard(self, said: list[Any]) -> None:
        """Writes down what the console is about to show."""
        if not self._is_shown_here():
            self._plain.print(*said, sep="\n", soft_wrap=all(isinstance(item, Text) for item in said))

    def _is_shown_here(self) -> bool:
        name = getattr(self.console.file, "name", None)
        return isinstance(name, str) and Path(name).exists() and self.path.exists() and self.path.samefile(name)

    def _append(self, text: str) -> None:
        if not text or self._size > MOST_BYTES:
            return
        self._size += len(text.encode("utf-8", "replace"))
        if self._size > MOST_BYTES:
            text += f"this log has {MOST_BYTES:,} bytes: no more is written\n"
        with self.path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(text)


def _tidy(line: str) -> str:
    """A line without the blanks at its end that fill a table, and no longer than a person reads."""
    text, end = (line[:-1], "\n") if line.endswith("\n") else (line, "")
    text = text.rstrip(" ")
    return text + end if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ...{end}"


class _Remarks(logging.Handler):
    """Remarks of the package's own loggers, which Python writes to the terminal where nobody listens."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one down, and leaves the terminal its own, which is heard by itself while a bar is drawn there."""
        shown = logging.lastResort is not None and not logging.getLogger().handlers
        if not (shown and isinstance(sys.stderr, FileProxy)):
            self.log.line(record.getMessage())
        if shown and logging.lastResort is not None:
            logging.lastResort.handle(record)


@contextmanager
def kept_log(path: Path, console: Console) -> Iterator[RunLog]:
    """Keeps the log of all that happens inside, an error that ends it included.

    Arguments:
        path: The file.
        console: Whose words are kept.
    """
    log = RunLog(path, console)
    remarks = _Remarks(log)
    ours = logging.getLogger("datakiln")
    ours.addHandler(remarks)
    try:
        with console.heard_by(log.heard):
            yield log
    except BaseException as error:
        if log.has_begun or not isinstance(error, UserError):
            told = str(error).strip().splitlines()
            log.line(f"ended by {type(error).__name__}" + (f": {told[0]}" if told else ""))
            if path.parent.is_dir():
                log.begin()
        raise
    finally:
        ours.removeHandler(remarks)


class TrainingLines(L.Callback):
    """A line on training every so often: the epoch, the step, the losses and the monitor.

    Seldom enough to cost nothing: at most one a second, and in a long run one every two hundredth of its time.

    Arguments:
        log: Where to.
        monitor: The figure that decides which epoch is best.
    """

    def __init__(self, log: RunLog, monitor: str) -> None:
        """See the class."""
        self.run_log, self.monitor = log, monitor  # Lightning gives callbacks a `log` of its own
        self._began = self._told_at = 0.0
        self._first, self._start = True, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the file."""
        self.run_log.begin()
        self._began = self._told_at = time.monotonic()
        self._start = trainer.current_epoch
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "any number of"
        self.run_log.line(f"training from epoch {trainer.current_epoch + 1}, {total} epochs in all")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tells of the epoch before, all of whose figures are there now."""
        if trainer.current_epoch > self._start and (self._first or self._is_due):
            self._first = False
            self._tell(trainer, pl_module, trainer.current_epoch)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Tells within long epochs too."""
        if self._is_due:
            self._tell(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tells what it came to."""
        self._tell(trainer, pl_module, trainer.current_epoch)
        self.run_log.line(f"trained in {duration(time.monotonic() - self._began)}")

    @property
    def _is_due(self) -> bool:
        now = time.monotonic()
        return now - self._told_at >= max(LEAST_SECONDS, SHARE * (now - self._began))

    def _tell(self, trainer: L.Trainer, module: L.LightningModule, epoch: int) -> None:
        self._told_at = time.monotonic()
        of = f" of {trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        figures = figures_text(trainer, self.monitor, every_loss=True)
        steps = getattr(module, "steps", trainer.global_step)
        self.run_log.line(f"epoch {epoch}{of}, step {steps}" + (f": {figures}" if figures else ""))
