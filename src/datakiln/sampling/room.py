"""Whether a disk can hold what is asked for, told before much of it is written. Imports nothing heavy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from datakiln.errors import UserError

BLOCK = 4096  # bytes that a small file takes, however small


def check_room(path: str | Path, n: int, each: float, asked: str = "", files: bool = False) -> None:
    """Refuses more than there is room for.

    Arguments:
        path: Where it is to be written; need not exist.
        n: Rows or pictures.
        each: Bytes of one, a lower bound or as measured of the first.
        asked: The option and its value that n comes from; "n=..." by default.
        files: Whether each is a file of its own.

    Raises:
        UserError: The option, what it would take, what is free, and what would fit.
    """
    place = next(p for p in (Path(path).absolute(), *Path(path).absolute().parents) if p.exists())
    told = f"{asked or f'n={n}'} "
    free = shutil.disk_usage(place).free
    if n * each > free:
        need = f"would take about {size(n * each)} in {path}, where {size(free)} are free"
        raise UserError(f"{told}{need}; ask for at most {_round(free / each)}, or choose another place")
    if files and hasattr(os, "statvfs"):
        left = os.statvfs(place).f_favail
        if 0 < left < n:  # some file systems count none, and say 0
            raise UserError(f"{told}would make as many files in {path}, where {left} more can be; choose another place")


def size(count: float) -> str:
    """Bytes in words, such as "20 TB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB", "EB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} ZB"


def _round(count: float) -> int:
    """Two digits of a number, rounded down."""
    whole = int(count)
    scale = 10 ** max(0, len(str(whole)) - 2)
    return whole // scale * scale
