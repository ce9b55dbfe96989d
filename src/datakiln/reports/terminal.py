"""The figures of one run, and the comparison of many, as tables for a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from datakiln.console import styled
from datakiln.reports.groups import Comparison, spread_text
from datakiln.results import RunResult, Score, headlines
from datakiln.wording import ARROWS, number


def terminal_table(result: RunResult) -> Table:
    """The main figures of one run between floor and ceiling, for the end of a training run; fits 80 characters."""
    stand_in = (" (stand-in data)" if result.stand_in else "", "bold yellow")
    title = f"{result.model} on {result.data}, seed {result.seed}"
    table = Table(title=styled(title, stand_in), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("figure", overflow="fold")
    for head in ("synthetic", "floor", "ceiling"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("floor to ceiling", overflow="fold")
    for score in headlines(result.figures):
        colour, meter = _meter(score)
        ceiling = number(score.ceiling) + (f" (n{score.other_ceiling_n})" if score.other_ceiling_n else "")
        cells: list[Text | str] = [styled((number(score.value), colour)), number(score.floor), ceiling]
        table.add_row(_named(score.name, score.better), *cells, score.why if score.value is None else meter)
    return table


def lacking(result: RunResult) -> str:
    """One line on the figures that could not be computed, and why; "" if there are none."""
    by_reason: dict[str, list[str]] = {}
    for score in result.figures:
        if score.value is None:
            by_reason.setdefault(score.why.removeprefix("not computed: ") or "no reason is known", []).append(
                score.name
            )
    reasons = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
    return f"not computed: {reasons}" if reasons else ""


def comparison_table(comparison: Comparison) -> Table:
    """The groups, best first within each data set, with the figures to show."""
    ranked = f", best first by {comparison.objective}" if comparison.objective else ""
    table = Table(title=f"median ± standard deviation over seeds{ranked}", title_justify="left")
    for name in comparison.keys:
        table.add_column(name, overflow="fold")
    table.add_column("seeds", justify="right")
    for name in comparison.columns:
        head = _named(name.replace("/", "/\n", 1), comparison.better.get(name, "none"))  # keeps columns narrow
        table.add_column(head, justify="right", overflow="fold")
    for groups in comparison.by_data.values():
        table.add_section()
        for group in groups:
            cells = [spread_text(group.figures.get(name), len(group.runs)) for name in comparison.columns]
            best = [comparison.is_best(group, name) for name in comparison.columns]
            styles = ["bold green" if is_best else "" for is_best in best]
            marked = [styled(pair) for pair in zip(cells, styles, strict=True)]
            table.add_row(*map(str, group.key.values()), str(len(group.runs)), *marked)
    return table


def _named(name: str, better: str) -> Text:
    return styled(f"{name} ", (ARROWS[better], "dim"))


def _meter(score: Score, width: int = 10) -> tuple[str, Text]:
    """The colour of a figure's standing, and a bar of it."""
    at = score.standing
    if at is None:
        return "default", styled("")
    colour = "green" if at >= 0.9 else "yellow" if at >= 0.5 else "red"
    if not 0 <= at <= 1:
        return colour, styled(("below the floor" if at < 0 else "beyond the ceiling", colour))
    full = round(at * width)
    return colour, styled(("━" * full, colour), ("─" * (width - full), "dim"), f" {at:.0%}")
