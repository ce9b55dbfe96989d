"""What all searches for relations share: columns as numbers, what is found so far, and what counts as proof."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.cells import cells_of, is_zoned, slack, tolerance
from datakiln.codecs.tables.relations.expressions import Tree, columns_of, magnitude, worked_out
from datakiln.codecs.tables.relations.relation import Mode, Relation
from datakiln.schema import Schema

TESTS = 50  # rows in which a relation could have failed, for it to be claimed: by chance it would hold with e^-50
NEARLY = 0.95  # of the rows, for a formula with exceptions
PARTLY = 0.6  # of the rows off the target's most frequent number, for one with many exceptions and no such excuse
MOSTLY = 0.5  # of them without the excuse that the columns it is made of are rounded: that excuses too much
COARSE = 0.1  # of a column's spread: what is rounded more coarsely fits too many formulas
DISTINCT = 20  # values of a column that formulas with exceptions are claimed for
LOOK = 2000  # rows that are looked at first; what they do not rule out is checked in all


class _Checked(NamedTuple):
    """How far a formula holds.

    Attributes:
        share: Of the rows in which it does.
        rounding: The same, where what the rounding of its sources can change is excused.
        partly: The share without that excuse among rows off the target's most frequent number.
        tests: Rows in which it could have failed.
        is_coarse: Whether rounding leaves too much open.
    """

    share: float
    rounding: float
    partly: float
    tests: int
    is_coarse: bool


class Search:
    """A table in which relations are looked for.

    Arguments:
        frame: Training rows.
        schema: Their columns.
        stay: Columns that are rather not computed: the target, and those of declared constraints.
        seed: Of the rows that are looked at first.

    Attributes:
        cells: Columns of numbers and dates as floats.
        found: Relations so far, each with a target of its own but for orders.
    """

    def __init__(self, frame: pd.DataFrame, schema: Schema, stay: Collection[str] = (), seed: int = 0) -> None:
        """See the class."""
        self.frame, self.schema, self.stay = frame, schema, {*stay, *([schema.label] if schema.label else [])}
        self.rows = len(frame)
        fields = [field for field in schema.fields if field.is_numeric or field.is_choice]
        self.names = [field.name for field in fields]
        self.cells = {name: cells for name, cells in cells_of(frame, fields).items() if np.isfinite(cells).any()}
        self.missing = {
            name: np.isnan(self.cells[name]) if name in self.cells else frame[name].isna().to_numpy()
            for name in self.names
        }
        self.place = {name: i for i, name in enumerate(schema.names)}
        self.order = np.random.default_rng(seed).permutation(self.rows)
        self.found: dict[str, Relation] = {}
        self.orders: list[Relation] = []
        self._varied: dict[str, int] = {}
        self._spread: dict[str, float] = {}

    def varied(self, name: str) -> int:
        """Rows whose number is another than the most frequent one."""
        if name not in self._varied:
            there = self.cells[name][np.isfinite(self.cells[name])]
            self._varied[name] = len(there) - int(np.unique(there, return_counts=True)[1].max())
        return self._varied[name]

    def distinct(self, name: str) -> int:
        """Different numbers."""
        return len(np.unique(self.cells[name][np.isfinite(self.cells[name])]))

    def spread(self, name: str) -> float:
        """Standard deviation of the middle nine tenths, so that a few outliers do not count."""
        if name not in self._spread:
            there = self.cells[name][np.isfinite(self.cells[name])]
            low, high = np.quantile(there, [0.05, 0.95])
            inner = there[(there >= low) & (there <= high)]
            self._spread[name] = float(inner.std()) or float(there.std())
        return self._spread[name]

    def depends(self, name: str, on: str) -> bool:
        """Whether a column is computed from another, at once or by way of others."""
        if name == on:
            return True
        return name in self.found and any(self.depends(source, on) for source in self.found[name].sources)

    def may_compute(self, target: str, sources: Iterable[str]) -> bool:
        """Whether the column is free to be computed from these."""
        if target in self.found or self.is_class(target):
            return False
        return not any(self.depends(source, target) for source in sources)

    def is_class(self, name: str) -> bool:
        """Whether it is the label with classes, which models are told: it is never computed."""
        return name == self.schema.label and self.schema[name].is_choice

    def mode(self, target: str, sources: Iterable[str]) -> Mode:
        """Computed, where the target misses exactly where a source does; else kept."""
        gone = np.zeros(self.rows, dtype=bool)
        for source in sources:
            gone |= self.missing[source]
        return "computed" if bool((gone == self.missing[target]).all()) else "kept"

    def add(self, relation: Relation) -> None:
        """Takes a relation up."""
        self.found[relation.target] = relation

    def formula(self, target: str, tree: Tree, exact: bool = False) -> Relation | None:
        """The relation target = tree, if the training rows prove it: see `TESTS`, `NEARLY` and `COARSE`.

        Arguments:
            target: The column that is computed.
            tree: What it is computed as.
            exact: Whether every row must fit.
        """
        sources = columns_of(tree)
        field = self.schema[target]
        if is_zoned(field) or min(self.varied(name) for name in (target, *sources)) < TESTS:
            return None
        first = self._checked(target, tree, self.order[:LOOK])
        checked = None if first is None or (exact and first[0] < 1.0) else self._checked(target, tree, None)
        if checked is None or (exact and checked[0] < 1.0):
            return None
        share, rounding, partly, tests, coarse = checked
        if tests < TESTS or share < MOSTLY or (max(share, rounding) < NEARLY and partly < PARTLY) or coarse:
            return None
        if share == 1.0:
            return Relation("formula", target, tree, self.mode(target, sources), share, tests)
        if field.type == "datetime" or not self.may_shift(target, sources) or self.distinct(target) < DISTINCT:
            return None
        return Relation("formula", target, tree, "shifted", share, tests, step=0.0)

    def may_shift(self, target: str, sources: Iterable[str]) -> bool:
        """Whether the target is missing wherever a source is, so that its distance tells all of it."""
        return self.schema[target].is_numeric and not any(
            (self.missing[source] & ~self.missing[target]).any() for source in sources
        )

    def _checked(self, target: str, tree: Tree, rows: np.ndarray | None) -> _Checked | None:
        """How far it holds in the rows, or in all of them; None where that is not worth a further look."""
        sources, field = columns_of(tree), self.schema[target]
        cells = {name: self.cells[name] if rows is None else self.cells[name][rows] for name in (target, *sources)}
        there = np.logical_and.reduce([np.isfinite(cells[name]) for name in cells])
        cells = {name: values[there] for name, values in cells.items()}
        made = np.broadcast_to(np.asarray(worked_out(tree, cells), dtype=np.float64), cells[target].shape)
        whole = np.isfinite(made)
        if whole.sum() < min(TESTS, self.rows) or whole.mean() < NEARLY:
            return None
        far = np.abs(cells[target] - made)
        own = tolerance(field) + slack(field) * np.asarray(magnitude(tree, cells), dtype=np.float64)
        holds = whole & (far <= own)
        share = float(holds.mean())
        if share == 1.0 and float(far.max()) <= 1e-6 * self.spread(target):
            return _Checked(share, share, share, self._tests(cells, target), False)
        error = self._rounding(tree, cells, made)
        rounding = float((whole & (far <= own + error)).mean())
        points, counts = np.unique(cells[target], return_counts=True)
        usual = cells[target] == points[counts.argmax()]  # where all are 0 nothing is said
        partly = float(holds[~usual].mean()) if not usual.all() else 0.0
        if max(share, rounding) < NEARLY - 0.02 and partly < PARTLY - 0.05:
            return None
        scale = float(np.median((own if partly >= PARTLY else own + error)[whole]))
        return _Checked(share, rounding, partly, self._tests(cells, target), scale > COARSE * self.spread(target))

    def _tests(self, cells: dict[str, np.ndarray], target: str) -> int:
        values = cells[target]
        return len(values) - int(np.unique(values, return_counts=True)[1].max()) if len(values) else 0

    def _rounding(self, tree: Tree, cells: dict[str, np.ndarray], made: np.ndarray) -> np.ndarray:
        """What the rounding of the sources can change in each row."""
        error = np.zeros(len(made))
        for name in columns_of(tree):
            step = tolerance(self.schema[name])
            if step:
                moved = worked_out(tree, {**cells, name: cells[name] + step})
                with np.errstate(all="ignore"):
                    error += np.nan_to_num(np.abs(moved - made), posinf=0.0)
        return error


def shortest_factor(made: np.ndarray, wanted: np.ndarray, margin: float) -> float | None:
    """The number of fewest digits that, times `made`, is near `wanted` in all rows; None if there is none."""
    with np.errstate(all="ignore"):
        ends = np.stack([(wanted - margin) / made, (wanted + margin) / made])
    ends = ends[:, np.isfinite(ends).all(axis=0)]
    if not ends.size:
        return None
    low, high = float(ends.min(axis=0).max()), float(ends.max(axis=0).min())
    if low > high or low * high <= 0:
        return None
    size = int(np.floor(np.log10(abs(high))))
    for digits in range(16):
        middle = round((low + high) / 2, digits - size)
        if low <= middle <= high:
            return float(middle)
    return None


def short_forms(values: np.ndarray) -> list[np.ndarray]:
    """Short numbers near these: whole ones first, then with decimals, then fractions such as 5/9."""
    forms = [np.round(values, digits) for digits in range(5)]
    forms.append(np.array([float(Fraction(float(value)).limit_denominator(12)) for value in values]))
    spans = np.sign(values) / np.array([[24.0], [1440.0], [86_400.0]])  # hours, minutes and seconds among days
    for span in spans:
        forms.append(np.where(np.abs(values - span) < 1e-3 * np.abs(span), span, np.round(values)))
    if len(values) == 1 and values[0]:
        size = int(np.floor(np.log10(abs(values[0]))))
        forms += [np.round(values, digits - size) for digits in range(1, 9)]
        if abs(values[0]) < 0.5:
            forms.append(1 / np.round(1 / values))
    forms.append(values)
    return forms
