"""Conditions on a row in the grammar of pandas' `eval`, and nothing else: no attribute, no call but a few functions.

A text is parsed to Python's syntax tree, every node of which must be of a kind listed here; it is then worked out on
whole columns by this file, never by Python's own `eval`. As in pandas, `&` and `|` bind like `and` and `or`, a name in
backticks may hold spaces, and a comparison with a missing cell is false (except !=, which is true). A missing truth
counts as false. Numbers are 64-bit floats: whole numbers beyond 2**53 lose their last digits.

Beyond pandas: the difference of two dates is a number of days, and days can be added to a date; a comparison of what
was reckoned forgives rounding, `column == ...` to half a unit of the column's last decimal; a date at or before a day
may be at any time of it. An equality can also be solved for one of its columns.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import from_numbers, plain_cells, to_numbers, with_columns
from datakiln.constraints.base import Constraint
from datakiln.constraints.grammar import ARITHMETIC, FUNCTIONS, Binary, Grammar
from datakiln.constraints.solving import is_solved, parts, solutions
from datakiln.domains import day_in, number_in
from datakiln.schema import Field, Schema

DAY = 86_400.0  # seconds
Kind = Literal["number", "date", "text", "truth"]
ORDERINGS: dict[type[ast.cmpop], Binary] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ROUNDING, SLACK = 1e-12, 1e-6  # of the numbers themselves, and of a unit of the last decimal
MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}


@dataclass(frozen=True)
class Value:
    """What a part of an expression comes to.

    Attributes:
        kind: What can be done with it.
        data: One entry a row, or one for all rows: float64 for numbers and dates (seconds), bool, or text with None.
        field: The date column it comes from, which says how its dates are written.
        decimals: Of the columns it comes from, the most that one of them is rounded to.
        is_reckoned: Whether it is the result of arithmetic.
    """

    kind: Kind
    data: Any
    field: Field | None = None
    decimals: int | None = None
    is_reckoned: bool = False


class Formula:
    """A condition on a row.

    Arguments:
        text: In pandas' `eval` grammar.

    Attributes:
        columns: Names of the columns it reads.

    Raises:
        UserError: See `Grammar`.
    """

    def __init__(self, text: str) -> None:
        """See the class."""
        self.grammar = Grammar(text)
        self.columns = self.grammar.columns

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """For which rows it is true, shape (n,); raises `UserError` where the columns' types do not fit."""
        return _Evaluation(self.grammar, frame, schema).holds()

    def holds_of_known(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """As `holds`, where each of its parts counts as true in rows that lack a column of it."""
        return _Evaluation(self.grammar, frame, schema).holds_of_known()

    def solved(self, frame: pd.DataFrame, schema: Schema, fixed: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
        """See `Expression`; a cell that cannot be reckoned, since another of its row is missing, stays."""
        done: list[str] = []
        used: set[str] = set()
        for column, node in solutions(self.grammar):
            read = {self.grammar.column(n.id) for n in ast.walk(node) if isinstance(n, ast.Name)}
            group = frozenset({column, *read})
            field = schema[column]
            is_met = any(group <= {*earlier} for earlier in self._groups(done))
            if column in {*fixed, *done, *used} or not field.is_numeric or is_met:
                continue
            values = _Evaluation(self.grammar, frame, schema).value(node)
            known = np.isfinite(values)
            if is_solved(self.grammar):  # a missing cell breaks nothing, and stays
                known &= frame[column].notna().to_numpy()
            cells = from_numbers(np.where(known, values, 0.0), field)
            cells.index = frame.index
            frame = with_columns(frame, {column: cells if known.all() else frame[column].where(~known, cells)})
            done.append(column)
            used |= read
        return frame, done

    def _groups(self, done: list[str]) -> list[frozenset[str]]:
        """The columns of each equality that one of these was solved for."""
        found = []
        for column, node in solutions(self.grammar):
            if column in done:
                found.append(
                    frozenset({column, *(self.grammar.column(n.id) for n in ast.walk(node) if isinstance(n, ast.Name))})
                )
        return found


class _Evaluation:
    """A formula worked out on the rows of one frame."""

    def __init__(self, grammar: Grammar, frame: pd.DataFrame, schema: Schema) -> None:
        self.grammar, self.frame, self.schema = grammar, frame, schema
        self.rows, self.wrong = len(frame), grammar.wrong

    def holds_of_known(self) -> np.ndarray:
        kept = np.ones(self.rows, dtype=bool)
        for part in parts(self.grammar):
            names = [self.grammar.column(node.id) for node in ast.walk(part) if isinstance(node, ast.Name)]
            kept &= self.holds(part) | self.frame[names].isna().any(axis=1).to_numpy()
        return kept

    def holds(self, part: ast.expr | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            made = self._work_out(self.grammar.tree.body if part is None else part)
        if made.kind != "truth":
            raise self.wrong(f"gives a {made.kind}, not true or false; compare it with something")
        return np.broadcast_to(made.data, (self.rows,))

    def _work_out(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant):
            return _constant(node.value)
        if isinstance(node, ast.Name):
            return self._column(self.grammar.column(node.id))
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.List | ast.Tuple):
            raise self.wrong("holds a list outside of: column in [...]")
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            numbers = [self._number(part) for part in node.args]
            return Value("number", FUNCTIONS[node.func.id](*numbers), is_reckoned=True)
        if isinstance(node, ast.BinOp):
            return self._reckon(node)
        return self._logic(node)

    def _reckon(self, node: ast.BinOp) -> Value:
        """Arithmetic on numbers; on dates, differences in days, and days later or earlier."""
        one, two = self._work_out(node.left), self._work_out(node.right)
        decimals = max((v.decimals for v in (one, two) if v.decimals is not None), default=None)
        if one.kind == "date" and two.kind == "date" and isinstance(node.op, ast.Sub):
            return Value("number", (one.data - two.data) / DAY, is_reckoned=True)
        for date, number, signs in ((one, two, ast.Add | ast.Sub), (two, one, ast.Add)):
            if date.kind == "date" and number.kind == "number" and isinstance(node.op, signs):
                data = ARITHMETIC[type(node.op)](date.data, number.data * DAY)
                return Value("date", data, date.field, is_reckoned=True)
        for part, value in ((node.left, one), (node.right, two)):
            if value.kind != "number":
                hint = "; dates can be subtracted, which gives days, or moved by days" if value.kind == "date" else ""
                told = f"reckons with {ast.unparse(part)[:40]}, which is a {value.kind}, no number"
                raise self.wrong(f"{told}{hint}")
        made = ARITHMETIC[type(node.op)](one.data, two.data)
        return Value("number", made, decimals=decimals, is_reckoned=True)

    def value(self, node: ast.expr) -> np.ndarray:
        """What a part of the formula comes to for each row, dates in seconds."""
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(self._work_out(node).data, dtype=np.float64), (self.rows,))

    def _logic(self, node: ast.expr) -> Value:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return Value("truth", join.reduce([self._truth(part) for part in node.values]))
        assert isinstance(node, ast.UnaryOp)
        if isinstance(node.op, ast.Not | ast.Invert):
            return Value("truth", np.logical_not(self._truth(node.operand)))
        value = self._work_out(node.operand)
        number = self._number(node.operand)
        return replace(value, data=-number if isinstance(node.op, ast.USub) else number)

    def _number(self, node: ast.expr) -> Any:
        value = self._work_out(node)
        if value.kind != "number":
            raise self.wrong(f"reckons with {ast.unparse(node)[:40]}, which is a {value.kind}, no number")
        return value.data

    def _truth(self, node: ast.expr) -> Any:
        value = self._work_out(node)
        if value.kind != "truth":
            raise self.wrong(f"takes {ast.unparse(node)[:40]} for true or false, but it is a {value.kind}")
        return np.broadcast_to(value.data, (self.rows,))

    def _compare(self, node: ast.Compare) -> Value:
        """Also chained, as in 0 < a <= b."""
        met = np.ones(self.rows, dtype=bool)
        parts = [node.left, *node.comparators]
        for left, sign, right in zip(parts, node.ops, parts[1:], strict=False):
            if isinstance(right, ast.List | ast.Tuple):
                met = met & self._among(left, sign, right)
            else:
                one, two = (self._work_out(part) for part in (left, right))
                met = met & self._ordered(node, sign, one, two)
        return Value("truth", met)

    def _among(self, left: ast.expr, sign: ast.cmpop, right: ast.List | ast.Tuple) -> Any:
        if not isinstance(sign, ast.In | ast.NotIn | ast.Eq | ast.NotEq):
            raise self.wrong("compares with a list by something other than in, not in, == and !=")
        value = self._work_out(left)
        found = np.zeros(self.rows, dtype=bool)
        for part in right.elts:
            found |= self._ordered(right, ast.Eq(), value, self._work_out(part))
        return found if isinstance(sign, ast.In | ast.Eq) else ~found

    def _ordered(self, node: ast.expr, sign: ast.cmpop, one: Value, two: Value) -> Any:
        if type(sign) in ORDERINGS and (whole := self._whole_day(sign, one, two)) is not None:
            return whole
        one, two = self._alike(one, two), self._alike(two, one)
        if type(sign) not in ORDERINGS:
            raise self.wrong("uses in or is without a list: write column in [a, b]")
        if one.kind != two.kind:
            raise self.wrong(f"compares a {one.kind} with a {two.kind} in {ast.unparse(node)[:40]}")
        if one.kind not in ("text", "truth"):
            return _compared(sign, one, two)
        if not isinstance(sign, ast.Eq | ast.NotEq):
            raise self.wrong(f"compares a {one.kind} by something other than ==, != and in")
        equal = one.data == two.data
        if one.kind == "text" and np.ndim(one.data):
            equal = equal & pd.notna(one.data)  # missing equals nothing, not even missing
        return equal if isinstance(sign, ast.Eq) else np.logical_not(equal)

    def _whole_day(self, sign: ast.cmpop, one: Value, two: Value) -> Any:
        """A date beside a day that is written without a time: at any time of the day; None for anything else."""
        if two.kind == "date" and one.kind == "text":
            return self._whole_day(MIRRORED.get(type(sign), type(sign))(), two, one)
        if one.kind != "date" or two.kind != "text" or not isinstance(two.data, str):
            return None
        assert one.field is not None
        span = day_in(two.data, one.field)
        if span is None:
            return None
        inside = (one.data >= span) & (one.data < span + DAY)
        within = {ast.Eq: inside, ast.NotEq: ~inside, ast.LtE: one.data < span + DAY, ast.Gt: one.data >= span + DAY}
        return within.get(type(sign), ORDERINGS[type(sign)](one.data, span))

    def _alike(self, value: Value, other: Value) -> Value:
        """Constants as what they are compared with: text as a date, True as the text of a column of any values."""
        if value.kind == "truth" and other.kind == "text" and np.ndim(value.data) == 0:
            return Value("text", str(value.data))
        if value.kind != "text" or other.kind != "date" or not isinstance(value.data, str):
            return value
        assert other.field is not None
        seconds = number_in(value.data, other.field)
        if seconds is None:
            raise self.wrong(f"compares {other.field.name!r} with {value.data!r}, which is no date")
        return Value("date", seconds)

    def _column(self, name: str) -> Value:
        field, series = self.schema[name], self.frame[name]
        if field.type == "datetime":
            return Value("date", to_numbers(series, field), field)
        dtype = series.dtype.categories.dtype if isinstance(series.dtype, pd.CategoricalDtype) else series.dtype
        if pd.api.types.is_bool_dtype(dtype) and not pd.api.types.is_object_dtype(dtype):
            return Value("truth", series.astype(object).eq(True).to_numpy(dtype=bool))
        if field.is_numeric or pd.api.types.is_numeric_dtype(dtype):
            known = field if field.is_numeric else Field(name, "numeric", str(dtype))
            cells = series if field.is_numeric else series.astype(object)
            return Value("number", to_numbers(cells, known), decimals=field.decimals)
        cells = plain_cells(series).astype(object)
        return Value("text", cells.map(str, na_action="ignore").where(cells.notna(), None).to_numpy(dtype=object))


def _compared(sign: ast.cmpop, one: Value, two: Value) -> Any:
    """Numbers or dates; where either was reckoned, what rounding may have added is forgiven."""
    order = ORDERINGS[type(sign)]
    if not (one.is_reckoned or two.is_reckoned):
        return order(one.data, two.data)
    known = [value.decimals for value in (one, two) if value.decimals is not None]
    slack = ROUNDING * np.maximum(np.abs(one.data), np.abs(two.data)) + SLACK * 10.0 ** -max(known, default=9)
    columns = [v for v in (one, two) if not v.is_reckoned and np.ndim(v.data) and v.decimals is not None]
    if columns and isinstance(sign, ast.Eq | ast.NotEq):  # the column holds what was reckoned, rounded
        slack = slack + 0.5 * 10.0 ** -min(v.decimals for v in columns if v.decimals is not None)
    gap = one.data - two.data
    equal = (one.data == two.data) | (np.isfinite(gap) & (np.abs(gap) <= slack))
    if isinstance(sign, ast.Eq | ast.NotEq):
        return equal if isinstance(sign, ast.Eq) else ~equal
    return (
        order(one.data, two.data) | equal if isinstance(sign, ast.LtE | ast.GtE) else order(one.data, two.data) & ~equal
    )


def _constant(value: Any) -> Value:
    """Numbers as floats, which overflow to infinity instead of growing without bound as Python's whole numbers do."""
    if isinstance(value, bool):
        return Value("truth", np.bool_(value))
    if isinstance(value, str):
        return Value("text", value)
    try:
        return Value("number", np.float64(value))
    except OverflowError:
        return Value("number", np.float64(np.inf if value > 0 else -np.inf))


class Expression(Constraint):
    """A condition on a row in pandas' `eval` grammar: see `datakiln.constraints.formula`.

    Arguments:
        text: Such as "age >= 18 or job == 'pupil'".
    """

    def __init__(self, text: str) -> None:
        """Raises `UserError` for anything but a condition on columns."""
        self.text = str(text)
        self.formula = Formula(self.text)
        self.columns = self.formula.columns

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Where it is true; a comparison with a missing cell is not, an equality is then neither kept nor broken."""
        if is_solved(self.formula.grammar):
            return self.formula.holds_of_known(frame, schema)
        return self.formula.holds(frame, schema)

    def solved(self, frame: pd.DataFrame, schema: Schema, fixed: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
        """Rows that meet its equalities, by setting a column of each that is not fixed; and which were set."""
        return self.formula.solved(frame, schema, fixed)

    def arguments(self) -> dict[str, Any]:
        """As given."""
        return {"text": self.text}

    def __str__(self) -> str:
        """Itself."""
        return self.text
