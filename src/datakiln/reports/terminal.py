"""The figures of one run, and the comparison of many, as tables for a terminal."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from datakiln.reports.groups import Comparison, spread_text
from datakiln.results import RunResult, Score, headlines
from datakiln.wording import ARROWS, number


def terminal_table(result: RunResult) -> Table:
    """The main figures of one run between floor and ceiling, for the end of a training run; fits 80 characters."""
    stand_in = " [bold yellow](stand-in data)[/]" if result.stand_in else ""
    title = f"{escape(result.model)} on {escape(result.data)}, seed {result.seed}{stand_in}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("figure", overflow="fold")
    for head in ("synthetic", "floor", "ceiling"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("floor to ceiling", overflow="fold")
    for score in headlines(result.figures):
        colour, meter = _meter(score)
        ceiling = number(score.ceiling) + (f" (n{score.other_ceiling_n})" if score.other_ceiling_n else "")
        cells = [f"[{colour}]{number(score.value)}[/]", number(score.floor), ceiling]
        table.add_row(_named(score.name, score.better), *cells, escape(score.why) if score.value is None else meter)
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
        table.add_column(escape(name), overflow="fold")
    table.add_column("seeds", justify="right")
    for name in comparison.columns:
        head = _named(name, comparison.better.get(name, "none")).replace("/", "/\n", 1)  # keeps columns narrow
        table.add_column(head, justify="right", overflow="fold")
    for groups in comparison.by_data.values():
        table.add_section()
        for group in groups:
            cells = [spread_text(group.figures.get(name), len(group.runs)) for name in comparison.columns]
            best = [comparison.is_best(group, name) for name in comparison.columns]
            marked = [f"[bold green]{cell}[/]" if is_best else cell for cell, is_best in zip(cells, best, strict=True)]
            table.add_row(*map(escape, group.key.values()), str(len(group.runs)), *marked)
    return table


def _named(name: str, better: str) -> str:

    return f"{escape(name)} [dim]{ARROWS[better]}[/]"


def _meter(score: Score, width: int = 10) -> tuple[str, str]:
    """The colour of a figure's standing, and a bar of it."""
    at = score.standing
    if at is None:
        return "default", ""
    colour = "green" if at >= 0.9 else "yellow" if at >= 0.5 else "red"
    if not 0 <= at <= 1:
        return colour, f"[{colour}]{'below the floor' if at < 0 else 'beyond the ceiling'}[/]"
    full = round(at * width)
    return colour, f"[{colour}]{'━' * full}[/][dim]{'─' * (width - full)}[/] {at:.0%}"
