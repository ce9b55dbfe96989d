"""Runs the benchmarks one after another, prints a table and writes `outputs/bench-<time>.json`.

    make bench                         all of them
    python -m bench foundation         one

Everything is measured in CPU-seconds of the process that does the work, peer and ours in the same run, and reported as
a ratio: seconds on a shared machine mean little.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from datakiln.console import Console
from datakiln.results import machine, package_versions

SUITES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def main(names: list[str]) -> None:
    """Runs the named suites, or all."""
    console = Console()
    unknown = set(names) - set(SUITES)
    if unknown:
        raise SystemExit(f"unknown benchmark {sorted(unknown)[0]!r}; known: {', '.join(SUITES)}")
    rows: list[dict[str, Any]] = []
    for name in names or SUITES:
        console.print(name, style="bold")
        rows += [{"suite": name, **row} for row in importlib.import_module(f"bench.{name}").run()]
    table = Table(title="Benchmarks")
    for head in ("suite", "what", "ours", "peer", "ratio", "wanted"):
        table.add_column(head)
    for row in rows:
        table.add_row(*(str(row.get(head, "")) for head in ("suite", "what", "ours", "peer", "ratio", "wanted")))
    console.print(table)
    where = machine()
    console.print(", ".join(f"{key}: {value}" for key, value in where.items()))
    path = Path("outputs") / f"bench-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"machine": where, "versions": package_versions(), "rows": rows}, indent=2))
    console.print(f"written to {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
