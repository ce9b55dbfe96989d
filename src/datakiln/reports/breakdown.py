"""Figures taken apart: a table of columns, and one for each kind of other parts such as pairs, worst first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from datakiln.results import Score

MOST_COLUMNS, MOST_PARTS = 200, 15
RELATIONS = ("fidelity/relations_real", "fidelity/relations_synthetic", "fidelity/relations")


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
        head: What its rows are.
        scores: The figures, one for each cell of a row.
        rows: At most 200 columns or 15 other parts.
        left_out: Rows that are not in the table.
    """

    head: str
    scores: list[Score]
    rows: list[Row]
    left_out: int


def column_table(figures: Sequence[Score], columns: Collection[str] | None) -> PartTable | None:
    """Figures whose parts are named like columns, in one table; None where there are none.

    Arguments:
        figures: The figures of a run.
        columns: Column names of the data; None takes the parts of the first figure that has any.
    """
    scores = _by_column(figures, columns)
    return _table("Column", scores, MOST_COLUMNS) if scores else None


def relation_table(figures: Sequence[Score]) -> PartTable | None:
    """Relations between columns, worst kept first: share of real rows, of synthetic rows, and how well it is kept."""
    scores = [score for name in RELATIONS for score in figures if score.name == name and score.detail]
    return _table("Relation", scores, MOST_COLUMNS) if len(scores) == len(RELATIONS) else None


def other_tables(figures: Sequence[Score], columns: Collection[str] | None) -> list[PartTable]:
    """Figures with other parts, such as pairs of columns or classes; those with the same parts share a table."""
    by_column = [*_by_column(figures, columns), *(score for score in figures if score.name in RELATIONS)]
    families: list[list[Score]] = []
    for score in figures:
        if score.detail and score not in by_column:
            family = next((family for family in families if _alike(family[0], score)), None)
            families.append([score]) if family is None else family.append(score)
    return [_table("Part", family, MOST_PARTS) for family in families]


def _by_column(figures: Sequence[Score], columns: Collection[str] | None) -> list[Score]:
    detailed = [score for score in figures if score.detail]
    known = set(columns if columns is not None else (detailed[0].detail or ()) if detailed else ())
    return [score for score in detailed if known.issuperset(score.detail or ())]


def _alike(first: Score, second: Score) -> bool:
    a, b = set(first.detail or ()), set(second.detail or ())
    return a <= b or b <= a


def _table(head: str, scores: list[Score], most: int) -> PartTable:
    names = list(dict.fromkeys(name for score in scores for name in score.detail or ()))
    ends = [_ends(score) for score in scores]
    rows = [Row(name, [_cell(s, name, *at) for s, at in zip(scores, ends, strict=True)]) for name in names]
    bounded = [i for i, score in enumerate(scores) if score.low is not None and score.high is not None]
    judged = bounded or range(len(scores))  # heat against an unknown worst compares columns, not figures
    rows.sort(key=lambda row: max((row.cells[i].heat or 0.0 for i in judged), default=0.0), reverse=True)
    return PartTable(head, scores, rows[:most], max(0, len(rows) - most))


def _ends(score: Score) -> tuple[float, float]:
    """The least and the greatest value that a part may have, or that one has."""
    values = [v for v in (score.detail or {}).values() if v is not None]
    low = min(values, default=0.0) if score.low is None else score.low
    return low, max(values, default=0.0) if score.high is None else score.high


def _cell(score: Score, name: str, low: float, high: float) -> Cell:
    value = (score.detail or {}).get(name)
    if value is None or score.better == "none" or high <= low:
        return Cell(value, None)
    share = (value - low) / (high - low)
    return Cell(value, min(1.0, max(0.0, 1 - share if score.better == "higher" else share)))
