"""Measurements in a process of their own, on one thread, so that CPU-seconds and peak memory belong to one thing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Cost = dict[str, float]


def alone(module: str, call: str, **environment: str) -> Cost:
    """What a function of a module returns, run in a new process on one thread."""
    code = f"import json, {module} as module; print(json.dumps(module.{call}))"
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module}.{call}: {done.stderr[-2000:]}")
    answer: Cost = json.loads(done.stdout.splitlines()[-1])
    return answer


def memory(field: str) -> float:
    """Memory of this process in MB: "VmRSS" is what it holds now, "VmHWM" the most it held since the last reset."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return int(found[1]) / 1024


def cost_of(work: Callable[[], Any], warm_up: Callable[[], Any] | None = None) -> Cost:
    """CPU-seconds of a call, the MB it added at its peak, and its value where that is a number."""
    if warm_up is not None:
        warm_up()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory("VmRSS"), time.process_time()
    result = work()
    seconds = time.process_time() - start
    value = float(result) if isinstance(result, int | float) else 0.0
    return {"seconds": seconds, "megabytes": memory("VmHWM") - before, "value": value}


def row(what: str, ours: str, peer: str, ratio: float | str, wanted: str = "") -> Row:
    """One line of the table."""
    shown = ratio if isinstance(ratio, str) else f"{ratio:.2f}"
    return {"what": what, "ours": ours, "peer": peer, "ratio": shown, "wanted": wanted}
