"""Compares finished runs: `python -m src.report PATH...`; also the table that a training run ends with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from src.errors import UserError, near
from src.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from src.results import RunResult, Score
    from src.run_groups import Comparison

USAGE = """\
python -m src.report PATH... [out=DIR] [figures=NAME,NAME] [debug=true]

Compares finished runs. A PATH is a run's folder, a folder of runs or a sweep's folder; results are found below it.
Runs that differ in nothing but the seed share a row: median and standard deviation over seeds, best first by the
objective. Jobs that failed are listed.

  out=DIR        where comparison.csv and comparison.html go (default: the given folder)
  figures=A,B    figures to show, such as figures=fidelity/shape,utility/tstr_auc; the CSV always holds all
  debug=true     show where an error came from

  python -m src.report outputs
  python -m src.report outputs/DATE/TIME-sweep figures=fidelity/shape out=."""
OPTIONS = ("out", "figures", "debug")
WIDTH_OF_A_FILE = 200  # characters, where the output is no terminal


def main(argv: list[str]) -> None:
    """Reads, compares, prints and writes."""
    from rich.console import Console

    from src.comparison import collect, compare
    from src.comparison_files import write_comparison

    paths, options = _arguments(argv)
    target = Path(options["out"]) if "out" in options else _common_folder(paths)
    if target.is_file():
        raise UserError(f"out={target} is a file; give a folder")
    runs, failures = collect(paths)
    comparison = compare(runs, failures, [name for name in options.get("figures", "").split(",") if name])
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH_OF_A_FILE)
    if comparison.groups:
        console.print(comparison_table(comparison))
    for failure in failures:
        console.print(f"failed: {failure.folder} ({failure.overrides}): {failure.message}", style="red", markup=False)
    if comparison.repeated:
        left_out = f"{counted(comparison.repeated, 'older run')} with the options and seed of a newer one"
        console.print(f"{left_out} {'is' if comparison.repeated == 1 else 'are'} left out")
    for path in write_comparison(comparison, target):
        console.print(f"written: {path}", soft_wrap=True, highlight=False)


def terminal_table(result: RunResult) -> Table:
    """The main figures of one run between floor and ceiling, for the end of a training run; fits 80 characters."""
    from rich import box
    from rich.table import Table

    from src.formatting import number
    from src.results import headlines

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
    from rich.table import Table

    from src.formatting import spread

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
            cells = [spread(group.figures.get(name), len(group.runs)) for name in comparison.columns]
            best = [comparison.is_best(group, name) for name in comparison.columns]
            marked = [f"[bold green]{cell}[/]" if is_best else cell for cell, is_best in zip(cells, best, strict=True)]
            table.add_row(*map(escape, group.key.values()), str(len(group.runs)), *marked)
    return table


def _arguments(argv: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Paths are those that exist or hold no "="; all others are options."""
    paths, options = [], {}
    for word in argv:
        key, sign, value = word.partition("=")
        if not sign or Path(word).exists():
            if word.startswith("-"):
                raise UserError(f"unknown option {word}{near(word.lstrip('-'), OPTIONS)}; known: {', '.join(OPTIONS)}")
            paths.append(Path(word))
        elif key not in OPTIONS:
            raise UserError(f"unknown option {key!r}{near(key, OPTIONS)}; known: {', '.join(OPTIONS)}")
        elif not value:
            raise UserError(f"{key}= has no value; see --help")
        else:
            options[key] = value
    if not paths:
        raise UserError("no folder given; for example: python -m src.report outputs")
    return paths, options


def _common_folder(paths: Sequence[Path]) -> Path:
    import os

    folders = [path.parent if path.is_file() else path for path in paths]
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.resolve() for folder in folders]))


def _named(name: str, better: str) -> str:
    from src.formatting import ARROWS

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


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
    else:
        from src.cli import command

        command(main)
