"""The one way to text that a person reads: literally, and with what would steer a terminal made visible.

Names of columns, categories, files and classes come from strangers. `say` prints plain text, `datakiln.console` what
has colours, tables and bars; nothing else in this program prints. `listen` brings log records, warnings and tracebacks
of all packages here too. Imports nothing heavy.
"""

from __future__ import annotations

import logging
import sys
import traceback
import unicodedata
import warnings
from types import TracebackType
from typing import Any, TextIO

LAYOUT = "\n"  # what texts of our own are laid out with


def visible(text: object, lines: bool = False) -> str:
    r"""The text with control characters, bidirectional overrides and what has no width written as `repr` does: `\x1b`.

    Arguments:
        text: Anything from the data, the command line or a file.
        lines: Whether line breaks stay line breaks, as in texts of our own.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(char if _is_shown(char) or (lines and char in LAYOUT) else _named(char) for char in plain)


def _is_shown(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"  # a no-break space steers nothing


def _named(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def say(text: object, error: bool = False) -> None:
    """Prints a text at once, on the standard output or, of an error, on the other one."""
    print(visible(text, lines=True), file=sys.stderr if error else sys.stdout, flush=True)


class _Formatter(logging.Formatter):
    """A log record's text, made visible."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record), lines=True)


def listen() -> None:
    """From now on log records, warnings and tracebacks of any package are shown by the same rule."""
    if logging.lastResort is not None:  # what shows the warnings of loggers that nobody has set up
        logging.lastResort.setFormatter(_Formatter())
    warnings.showwarning = _show_warning
    sys.excepthook = _show_traceback


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    told = warnings.formatwarning(message, category, filename, lineno, line)
    print(visible(told, lines=True), end="", file=file or sys.stderr)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:  # noqa: ANN401
    say("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), error=True)
