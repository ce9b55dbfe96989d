"""The page of a survey, its values and its first table: `survey.html`, `survey.csv` and `survey.md`."""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datakiln.reports.comparison import Failure, Run
from datakiln.reports.page import render, write_text
from datakiln.reports.survey.cells import FAMILIES, OTHER, Cell, cells_of
from datakiln.reports.survey.measures import DIMENSIONS, Measured, measure
from datakiln.reports.survey.opinion import JUDGED, Agreement, Standing, agreement, in_all, opinion, standing
from datakiln.reports.survey.scale import interval
from datakiln.reports.sweep_plots import Plot
from datakiln.reports.watched import watched_plots

TITLES = {"gan": "GAN", "vae": "VAE"} | {name: name for name in (*FAMILIES[2:], OTHER)}
HEADS = ("dimension", "family", "model", "data", "kind", "measure", "median", "lowest", "highest", "low 95 %",
         "high 95 %", "seeds", "floor", "ceiling", "floor and ceiling", "better", "place", "score", "opinion",
         "why not", "runs")  # fmt: skip
LEFT, RIGHT, TOP, BOTTOM = 34, 690, 16, 236  # of the plot, which is 720 wide


@dataclass(frozen=True)
class Table:
    """Standings of columns, which are families or models, by dimension.

    Attributes:
        columns: Keys of the columns, in order.
        titles: What stands above each: family, and the models it is measured by.
        standings: By dimension and column.
    """

    columns: list[str]
    titles: dict[str, tuple[str, str]]
    standings: dict[str, dict[str, Standing]]


@dataclass(frozen=True)
class Line:
    """A family in the parallel plot: points of the axes where it has a score, measured and by opinion."""

    title: str
    colour: int
    measured: str
    opinion: str
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Survey:
    """All that the page shows.

    Attributes:
        cells: Models on data sets.
        measured: Every measure.
        families: One model a family and data set.
        further: The other models.
        agreements: With the survey's opinions, by dimension.
        failures: Jobs without a result.
    """

    cells: list[Cell]
    measured: list[Measured]
    families: Table
    further: Table
    agreements: list[Agreement]
    failures: list[Failure]

    @property
    def runs(self) -> list[Run]:
        """Every run that a value was read from; their numbers are their places here, from 1."""
        return [run for cell in self.cells for run in cell.all_runs]

    @property
    def numbers(self) -> dict[int, int]:
        """The number of a run, by its identity."""
        return {id(run): i for i, run in enumerate(self.runs, 1)}

    def of(self, dimension: str, data: str) -> list[tuple[str, list[Measured]]]:
        """Measures of a dimension on a data set, each with the models that have it."""
        found: dict[str, list[Measured]] = {}
        for one in self.measured:
            if one.dimension == dimension and one.cell.data == data:
                found.setdefault(one.name, []).append(one)
        return list(found.items())

    @property
    def data(self) -> list[str]:
        """The data sets."""
        return list(dict.fromkeys(cell.data for cell in self.cells))

    @property
    def stand_ins(self) -> list[str]:
        """Data sets that stand in for real ones."""
        return list(dict.fromkeys(cell.data for cell in self.cells if any(r.result.stand_in for r in cell.all_runs)))

    def watched(self, data: str) -> list[Plot]:
        """Quality against time: the runs with the default rate of each model."""
        return watched_plots({cell.model: cell.runs for cell in self.cells if cell.data == data and cell.runs})

    def seconds(self, cell: Cell) -> tuple[float, float] | None:
        """Least and most CPU-seconds of training that the runs of a cell measured."""
        found = [run.result.fit_cpu_seconds for run in cell.all_runs if run.result.fit_cpu_seconds is not None]
        return (min(found), max(found)) if found else None


def survey_of(runs: Sequence[Run], failures: Sequence[Failure] = ()) -> Survey:
    """Sorts, measures, scores and compares; raises `UserError` where there is nothing to."""
    cells = cells_of(runs, failures)
    measured = measure(cells)
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if cell.family != OTHER:
            first.setdefault((cell.family, cell.data), cell)
    own = {id(cell) for cell in first.values()}
    families = _table(cells, measured, lambda cell: cell.family if id(cell) in own else None, FAMILIES)
    further = _table(cells, measured, lambda cell: None if id(cell) in own else cell.model, None)
    agreements = [agreement(dimension, families.standings[dimension]) for dimension in DIMENSIONS]
    return Survey(cells, measured, families, further, agreements, list(failures))


def _table(
    cells: Sequence[Cell],
    measured: Sequence[Measured],
    column: Callable[[Cell], str | None],
    order: Sequence[str] | None,
) -> Table:
    """Standings by what a function of a cell names, None for none of them."""
    names = dict.fromkeys(name for cell in cells if (name := column(cell)) is not None)
    columns = [name for name in order or names if name in names]
    titles = {}
    for name in columns:
        members = [cell for cell in cells if column(cell) == name]
        models = dict.fromkeys(cell.model for cell in members)
        titles[name] = (TITLES[members[0].family], ", ".join(models))
    standings = {
        dimension: {
            name: standing([one for one in measured if one.dimension == dimension and column(one.cell) == name])
            for name in columns
        }
        for dimension in DIMENSIONS
    }
    return Table(columns, titles, standings)


def write_survey(survey: Survey, folder: Path) -> list[Path]:
    """Writes survey.csv, survey.md and survey.html; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    values, table, page = (folder / f"survey.{ending}" for ending in ("csv", "md", "html"))
    write_text(csv_text(survey, folder), values)
    write_text(markdown(survey.families), table)
    shown = {"survey": survey, "dimensions": DIMENSIONS, "titles": TITLES, "judged": JUDGED, "opinion": opinion}
    shown |= {"lines": parallel(survey.families), "axes": axes(), "in_all": in_all(survey.agreements), "id": id}
    shown |= {"path": lambda run: _path(run, folder), "places": _places, "top": TOP, "bottom": BOTTOM}
    write_text(render("survey.html", **shown), page)
    return [values, table, page]


def rows_of(table: Table) -> list[tuple[str, ...]]:
    """The first table in words: a head, and for every dimension the scores beside the survey's opinions."""
    rows = [("dimension", *(f"{title} ({models})" for title, models in (table.titles[name] for name in table.columns)))]
    for dimension, standings in table.standings.items():
        rows.append((dimension, *(_in_words(standings[name], opinion(name, dimension)) for name in table.columns)))
    return rows


def _in_words(found: Standing, thought: int | None) -> str:
    beside = "" if thought is None else f" (opinion {thought})"
    if found.score is None:
        return f"{'cannot tell' if found.blind else 'not measured'}{beside}"
    ends = f", {min(found.seeds):.1f} to {max(found.seeds):.1f}" if len(found.seeds) > 1 else ""
    return f"{found.score:.1f}{ends}{beside}"


def markdown(table: Table) -> str:
    """The first table for a README."""
    head, *rows = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows_of(table))
    return "\n".join([head, "| --- " * (1 + len(table.columns)) + "|", *rows]) + "\n"


def _path(run: Run, folder: Path) -> str:
    """A run's folder as it is found from the page."""
    return os.path.relpath(run.folder.resolve(), folder.resolve())


def _places(one: Measured) -> float | None:
    return statistics.median(one.places.values()) if one.places else None


def csv_text(survey: Survey, folder: Path) -> str:
    """One row for every measure of a model on a data set, and one for every family in a dimension."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADS)
    for one in survey.measured:
        cell = one.cell
        why = one.why or one.blind or ("its interval covers floor to ceiling" if one.covers else "")
        writer.writerow([
            one.dimension, cell.family, cell.model, cell.data, cell.kind, one.name, one.median,
            *(one.ends or (one.median, one.median)), *(one.interval or ("", "")), len(one.values), one.floor,
            one.ceiling, one.reference, one.better, _places(one), one.score, "", why,
            " ".join(_path(run, folder) for run in one.runs),
        ])  # fmt: skip
    for dimension, standings in survey.families.standings.items():
        for family, found in standings.items():
            several: Sequence[object] = (min(found.seeds), max(found.seeds)) if found.seeds else ("", "")
            writer.writerow([
                dimension, family, survey.families.titles[family][1], "all", "", "score", found.score, *several,
                *(interval(found.seeds) or ("", "")), len(found.seeds), 1, 10, "floors, ceilings", "higher", "",
                found.score, opinion(family, dimension) or "", found.why, "",
            ])  # fmt: skip
    return text.getvalue()


def axes() -> list[tuple[float, str]]:
    """Where the axes of the plot stand, and what each is of."""
    step = (RIGHT - LEFT - 40) / (len(DIMENSIONS) - 1)
    return [(LEFT + 20 + i * step, dimension) for i, dimension in enumerate(DIMENSIONS)]


def parallel(table: Table) -> list[Line]:
    """A line for each family through its scores, and one through the survey's opinions where it has any."""
    lines = []
    for colour, family in enumerate(table.columns):
        at = [(x, table.standings[dimension][family].score, opinion(family, dimension)) for x, dimension in axes()]
        dots = [(x, height(value), f"{TITLES[family]}: {value:.1f}") for x, value, _ in at if value is not None]
        thought = [(x, height(float(value))) for x, _, value in at if value is not None]
        lines.append(Line(TITLES[family], colour % 6, _points([d[:2] for d in dots]), _points(thought), dots))
    return lines


def height(value: float) -> float:
    """Where a score of 1 to 10 is drawn."""
    return BOTTOM - (value - 1) / 9 * (BOTTOM - TOP)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
