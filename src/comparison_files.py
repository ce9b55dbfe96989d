"""A comparison of runs as files: a CSV for programs and a page for people."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from src.page import render, write_text
from src.run_groups import Comparison, Group

STATISTICS = ("mean", "std", "median", "n")


@dataclass(frozen=True)
class Strip:
    """Where the runs of a group lie on the objective's axis, in percent of the axis of their data set."""

    values: list[float]
    median: float


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes comparison.csv, with every figure, and comparison.html; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, page = folder / "comparison.csv", folder / "comparison.html"
    write_text(csv_text(comparison), table)
    strips = {
        id(group): strip for groups in comparison.by_data.values() for group, strip in _strips(comparison, groups)
    }
    write_text(render("comparison.html", comparison=comparison, strips=strips, id=id), page)
    return [table, page]


def csv_text(comparison: Comparison) -> str:
    """One row a group: its key, its seeds, and mean, standard deviation, median and number of runs of every figure."""
    names = comparison.all_figures
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*comparison.keys, "runs", "seeds", *(f"{name} {what}" for name in names for what in STATISTICS)])
    for group in comparison.groups:
        row: list[object] = [*group.key.values(), len(group.runs), " ".join(str(run.result.seed) for run in group.runs)]
        for name in names:
            found = group.figures.get(name)
            row += ["", "", "", 0] if found is None else [found.mean, found.deviation, found.median, found.n]
        writer.writerow(row)
    return text.getvalue()


def _strips(comparison: Comparison, groups: list[Group]) -> list[tuple[Group, Strip]]:
    found = [(group, group.figures[comparison.objective]) for group in groups if comparison.objective in group.figures]
    values = [value for _, spread in found for value in spread.values]
    if len(values) < 2 or max(values) == min(values):
        return []
    low, span = min(values), max(values) - min(values)
    return [
        (group, Strip([2 + 96 * (v - low) / span for v in spread.values], 2 + 96 * (spread.median - low) / span))
        for group, spread in found
    ]
