"""How much of a file is taken in: its lines, its columns, and what it becomes in memory, told before it is there."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from datakiln.errors import UserError

CONTROL_GROUPS = (  # most and used bytes of a control group, which a container's limit is
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
GZIPPED = b"\x1f\x8b"
TEXT, CELL = 12, 80  # bytes of memory that a table takes until it trains: for each byte of text, or a cell
SHARE = 0.5  # of the available memory that a table may take
LONGEST_LINE = 1 << 24  # bytes; as much is parsed at once
MOST_COLUMNS = 4096  # unless a person says otherwise: models grow with the square of it, or worse
PIECE = 1 << 20


def available_memory() -> int:
    """Bytes that this process could still take, as the system says, or a container's limit if that is less."""
    rooms = [_of_system()]
    for most, used in CONTROL_GROUPS:
        try:
            rooms.append(max(int(Path(most).read_text()) - int(Path(used).read_text()), 0))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(rooms)


def _of_system() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    except (OSError, StopIteration):  # no Linux: half of what there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def is_too_large(path: Path) -> bool:
    """Whether reading the file whole would take more memory than is to be spared; a packed one is unpacked for it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4)
    room = int(SHARE * available_memory())
    if head == b"PAR1":
        try:
            metadata = parquet.read_metadata(path)
        except (pa.ArrowException, OSError):  # damaged: said where it is read
            return False
        return metadata.num_rows * metadata.num_columns * CELL > room
    if head.startswith(GZIPPED):
        return _unpacks_to_more(path, room // TEXT)
    return path.stat().st_size * TEXT > room


def _unpacks_to_more(path: Path, most: int) -> bool:
    size = 0
    try:
        with gzip.open(path) as file:
            while size <= most and (piece := file.read(PIECE)):
                size += len(piece)
    except (OSError, EOFError, zlib.error):  # damaged: said where it is read
        return False
    return size > most


def check_room(path: Path) -> None:
    """Raises `UserError` for a file that is to be read whole and would not leave enough memory."""
    if is_too_large(path):
        told = f"{path.name}: the table takes more than half of the memory that is left"
        raise UserError(f"{told}; give a part of it, as several files or fewer rows")


def check_line(head: bytes, name: str) -> None:
    """Raises `UserError` where the first line has no end within what a line may have."""
    if len(head) > LONGEST_LINE and not any(mark in head for mark in (b"\n", b"\r")):
        size = f"{LONGEST_LINE >> 20} MB"
        raise UserError(f"{name}: its first line is longer than {size}, so this is no table; give one row a line")


def check_width(line: bytes | str, delimiters: str, name: str, most: int) -> None:
    """Raises `UserError` for a first line of too many fields, before they are taken apart."""
    for mark in delimiters:
        fields = (line.count(mark.encode()) if isinstance(line, bytes) else line.count(mark)) + 1
        check_columns(fields, name, most)


def check_columns(count: int, name: str, most: int) -> None:
    """Raises `UserError` for a table of too many columns."""
    if count > most:
        told = f"{name}: it has {count:,} columns, and at most {most:,} are taken"
        raise UserError(f"{told}; keep those that matter, or raise data.most_columns={count}")
