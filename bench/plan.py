"""A plan of very many parts on workers that fail: work lost, work repeated, and the time of it, by simulation.

    python -m bench plan

Worker i of k makes parts i, i + k, i + 2k, ...; it fails at times that are exponentially distributed, loses the part
that was in the making, and is started again by its scheduler after a while. Two ways to hand out parts are compared: to
a worker from the start, as `worker=i/k` does, and the next one to whoever is free, which needs somebody to hand them
out. What one part costs is measured here: rows of a small table, pictures of a small GAN.
"""

from __future__ import annotations

import heapq
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._process import Row, alone

ROWS = 100_000
LARGE = (1024 / 64) ** 2  # pixels of a large picture over those of the one that is measured
AWAY = 120.0  # seconds until a failed worker is back
DAY = 86_400.0


def run() -> list[Row]:
    """The unit costs, then three plans."""
    costs = alone("bench.plan", "unit_costs()")
    per_row, size = costs["seconds"], costs["bytes"]
    rows: list[Row] = [
        {
            "what": "one row of ten columns by tabar; one picture of 64 px by dcgan",
            "ours": f"{per_row * 1e6:.0f} CPU-us, {size:.0f} bytes of Parquet; {costs['picture'] * 1e3:.1f} CPU-ms",
            "peer": "",
            "ratio": "",
            "wanted": "",
        }
    ]
    plans = [
        ("1e12 rows, 1e6 parts, 1,000 workers", 10**6, 10**6 * per_row, 1000),
        (
            "1e6 pictures of 1,024 px (by pixels), 10,000 parts, 100 workers",
            10_000,
            100 * costs["picture"] * LARGE,
            100,
        ),
        ("1,000 runs of an hour, 100 workers", 1000, 3600.0, 100),
    ]
    for what, parts, seconds, workers in plans:
        rows += [_row(what, parts, seconds, workers, days) for days in (1.0, 30.0)]
    return rows


def _row(what: str, parts: int, seconds: float, workers: int, days: float) -> Row:
    fixed = simulated(parts, seconds, workers, days * DAY, fixed=True)
    free = simulated(parts, seconds, workers, days * DAY, fixed=False)
    ideal = parts * seconds / workers
    return {
        "what": f"{what}, a worker fails every {days:g} days",
        "ours": f"{fixed['time'] / 3600:.1f} h ({fixed['time'] / ideal:.2f} of ideal), {fixed['lost']:.2%} lost",
        "peer": f"handed out one by one: {free['time'] / 3600:.1f} h, {free['lost']:.2%}",
        "ratio": f"{fixed['time'] / free['time']:.2f}",
        "wanted": "about 1",
    }


def simulated(parts: int, seconds: float, workers: int, between: float, fixed: bool, seed: int = 0) -> dict[str, float]:
    """The time until all parts are made, and the share of the work that was lost.

    Arguments:
        parts: How many.
        seconds: That one takes.
        workers: How many.
        between: Mean seconds between two failures of a worker.
        fixed: Whether each worker has its parts from the start.
        seed: Of the failures.
    """
    rng = random.Random(seed)
    left = [len(range(i, parts, workers)) for i in range(workers)]
    common, lost, end = parts, 0.0, 0.0
    fails = [rng.expovariate(1 / between) for _ in range(workers)]
    queue = [(0.0, i) for i in range(workers)]
    while queue:
        now, i = heapq.heappop(queue)
        if (left[i] if fixed else common) == 0:
            continue
        if (
            now + seconds <= fails[i]
        ):  # as many parts as it makes before it fails, at once, where nobody else wants them
            many = min(left[i], int((fails[i] - now) / seconds)) if fixed else 1
            left[i] -= many
            common -= many
            end = max(end, now + many * seconds)
            heapq.heappush(queue, (now + many * seconds, i))
            continue
        lost += fails[i] - now
        back = fails[i] + AWAY
        fails[i] = back + rng.expovariate(1 / between)
        heapq.heappush(queue, (back, i))
        if seconds > between * 20:
            raise ValueError(f"a part of {seconds:.0f} s is never done by workers that fail every {between:.0f} s")
    return {"time": end, "lost": lost / (lost + parts * seconds)}


def unit_costs() -> dict[str, float]:
    """CPU-seconds and bytes of one row by a quickly trained tabar; CPU-seconds of one picture of 64 px by a DCGAN."""
    import torch

    import datakiln as dk
    from datakiln.models.gan.dcgan import DCGAN
    from datakiln.spec import DataSpec

    frame = table()
    model = dk.fit(frame, model="tabar", epochs=2)
    model.sample(1000)
    since = time.process_time()
    rows = model.sample(ROWS)
    seconds = (time.process_time() - since) / ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        rows.to_parquet(path)
        size = path.stat().st_size / ROWS
    gan = DCGAN(DataSpec("image", (3, 64, 64), size=1000))
    gan.sample(16)
    since = time.process_time()
    with torch.no_grad():
        gan.sample(256)
    return {"seconds": seconds, "bytes": size, "picture": (time.process_time() - since) / 256}


def table() -> Any:  # noqa: ANN401 (a DataFrame)
    """2,000 rows of five numbers and five categories that hang together."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    base = rng.normal(size=(2000, 5)).cumsum(axis=1)
    numbers = {f"x{j}": base[:, j].round(2) for j in range(5)}
    kinds = {f"k{j}": np.array(list("abcdefgh"))[np.clip(base[:, j].astype(int) + 4, 0, 7)] for j in range(5)}
    return pd.DataFrame({**numbers, **kinds})
