"""How much memory a table may take."""

from __future__ import annotations

import os
from pathlib import Path

GROUPS = (  # most and used bytes of a control group, which a container's limit is
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> int:
    """Bytes that this process could still take, as the system says, or a container's limit if that is less."""
    rooms = [_of_system()]
    for most, used in GROUPS:
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
