"""All learners of a study on Adult (or a table of its shape): one arm, no tuning, importances left out."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench._process import Row, alone, row
from bench.tables import _source

WANTED = 60.0  # seconds on two cores


def run() -> list[Row]:
    """The time of each learner's fit and of its judgement on 16,281 test rows with intervals, and of all."""
    with tempfile.TemporaryDirectory() as folder:
        source, named = _source(Path(folder))
        cost = alone("bench.studies", f"seconds({source})", OMP_NUM_THREADS="2")
    learners = {name: value for name, value in cost.items() if name != "rows"}
    total = sum(learners.values())
    parts = ", ".join(f"{name} {value:.1f}" for name, value in learners.items())
    what = f"six learners, one arm of {cost['rows']:,.0f} rows without tuning, judged with intervals, s"
    return [row(f"{what}: {named}", f"{total:.1f}", parts, WANTED / total, f"<= {WANTED:.0f} s")]


def seconds(source: list[str]) -> dict[str, float]:
    """Wall seconds of each learner."""
    from bench._tables import _composed
    from datakiln.studies import learners, scores
    from datakiln.studies.tables import task_of
    from datakiln.studies.utility import judged

    data, _ = _composed("copula", source)
    task = task_of(data.schema, data.frames["train"], data.frames["test"], [])
    drawn = scores.weights(len(task.test), 0)
    found = {"rows": float(len(task.train))}
    for name in learners.NAMES:
        start = time.perf_counter()
        judged(learners.fit(name, task, task.train, 0)[0], task, drawn)
        found[name] = time.perf_counter() - start
    return found
