"""`datakiln report PATH...`: finished runs compared."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from datakiln.cli.calling import as_called, called_as
from datakiln.cli.commands import command
from datakiln.errors import UserError, near
from datakiln.saying import say
from datakiln.wording import counted

USAGE = """\
python -m src.report PATH... [out=DIR] [figures=NAME,NAME] [study=survey] [debug=true]

Compares finished runs. A PATH is a run's folder, a folder of runs or a sweep's folder; results are found below it.
Runs that differ in nothing but the seed share a row: median and standard deviation over seeds, best first by the
objective. Jobs that failed are listed.

  out=DIR        where comparison.csv and comparison.html go (default: the given folder)
  figures=A,B    figures to show, such as figures=fidelity/shape,utility/tstr_auc; the CSV always holds all
  study=survey   the runs of sweep=survey by family and dimension: survey.csv, survey.md, survey.html
  debug=true     show where an error came from

  python -m src.report outputs
  python -m src.report outputs/DATE/TIME-sweep figures=fidelity/shape out=."""
OPTIONS = ("out", "figures", "study", "debug")
WIDTH_OF_A_FILE = 200  # characters, where the output is no terminal


def main(argv: list[str]) -> None:
    """Reads, compares, prints and writes."""
    from datakiln.console import Console
    from datakiln.reports.comparison import collect, compare, write_comparison
    from datakiln.reports.terminal import comparison_table, survey_table

    paths, options = _arguments(argv)
    target = Path(options["out"]) if "out" in options else _common_folder(paths)
    if target.is_file():
        raise UserError(f"out={target} is a file; give a folder")
    if options.get("study", "survey") != "survey":
        raise UserError(f"study={options['study']} is no report of several runs; study=survey is")
    runs, failures = collect(paths)
    comparison = compare(runs, failures, [name for name in options.get("figures", "").split(",") if name])
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH_OF_A_FILE)
    survey = None
    if comparison.groups and ("study" not in options or "figures" in options):
        console.print(comparison_table(comparison, console.width))
    if "study" in options:
        from datakiln.reports.survey.page import rows_of, survey_of, write_survey

        survey = survey_of(runs, failures)
        console.print(survey_table(rows_of(survey.families)))
    for failure in failures:
        console.print(f"failed: {failure.folder} ({failure.overrides}): {failure.message}", style="red")
    if comparison.repeated:
        left_out = f"{counted(comparison.repeated, 'older run')} with the options and seed of a newer one"
        console.print(f"{left_out} {'is' if comparison.repeated == 1 else 'are'} left out")
    written = write_comparison(comparison, target)
    if survey is not None:
        written += write_survey(survey, target)
    for path in written:
        console.print(f"written: {path}", soft_wrap=True)


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
        raise UserError(f"no folder given; for example: {called_as('report')} outputs")
    return paths, options


def _common_folder(paths: Sequence[Path]) -> Path:
    import os

    folders = [path.parent if path.is_file() else path for path in paths]
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.resolve() for folder in folders]))


def run() -> None:
    """The command."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        say(as_called(USAGE))
    else:
        command(main)
