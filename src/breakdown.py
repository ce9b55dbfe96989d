"""Figures taken apart: one table for the columns, one for each figure with other parts such as pairs, worst first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from src.results import Score

MOST_COLUMNS, MOST_PARTS = 200, 15


@dataclass(frozen=True)
class Cell:
    """One part of one figure: its value, and where it lies from the best possible (0) to the worst (1), if known."""

    value: float | None
    heat: float | None


@dataclass(frozen=True)
class Row:
    """One part, in all figures that have it."""

    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class PartTable:
    """Parts of one or more figures, worst first.

    Attributes:
        title: What the table shows.
        head: What its rows are.
        scores: The figures, one for each cell of a row.
        rows: At most 200 columns or 15 other parts.
        left_out: Rows that are not in the table.
    """

    title: str
    head: str
    scores: list[Score]
    rows: list[Row]
    left_out: int


def part_tables(figures: Sequence[Score], columns: Collection[str] | None) -> list[PartTable]:
    """Tables of all figures with parts; parts named like columns share the first table.

    Arguments:
        figures: The figures of a run.
        columns: Column names of the data; None takes the parts of the first figure that has any.
    """
    detailed = [score for score in figures if score.detail]
    if columns is None:
        columns = list(detailed[0].detail or ()) if detailed else []
    known = set(columns)
    by_column = [score for score in detailed if known.issuperset(score.detail or ())]
    others = [score for score in detailed if score not in by_column]
    tables = [_table("Columns, worst first", "Column", by_column, MOST_COLUMNS)] if by_column else []
    return tables + [_table(f"Worst parts of {score.name}", "Part", [score], MOST_PARTS) for score in others]


def _table(title: str, head: str, scores: list[Score], most: int) -> PartTable:
    names = list(dict.fromkeys(name for score in scores for name in score.detail or ()))
    rows = [Row(name, [_cell(score, name) for score in scores]) for name in names]
    bounded = [i for i, score in enumerate(scores) if score.low is not None and score.high is not None]
    judged = bounded or range(len(scores))  # heat against an unknown worst compares columns, not figures
    rows.sort(key=lambda row: max((row.cells[i].heat or 0.0 for i in judged), default=0.0), reverse=True)
    return PartTable(title, head, scores, rows[:most], max(0, len(rows) - most))


def _cell(score: Score, name: str) -> Cell:
    value = (score.detail or {}).get(name)
    if value is None or score.better == "none":
        return Cell(value, None)
    values = [v for v in (score.detail or {}).values() if v is not None]
    low = min(values) if score.low is None else score.low
    high = max(values) if score.high is None else score.high
    if high <= low:
        return Cell(value, None)
    share = (value - low) / (high - low)
    return Cell(value, min(1.0, max(0.0, 1 - share if score.better == "higher" else share)))
