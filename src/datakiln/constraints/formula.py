"""Conditions on a row in the grammar of pandas' `eval`, and nothing else: no attribute, no call but a few functions.

A text is parsed to Python's syntax tree, every node of which must be of a kind listed here; it is then worked out on
whole columns by this file, never by Python's own `eval`. As in pandas, `&` and `|` bind like `and` and `or`, a name in
backticks may hold spaces, and a comparison with a missing cell is false (except !=, which is true). A missing truth
counts as false. Numbers are 64-bit floats: whole numbers beyond 2**53 lose their last digits.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import plain_cells, to_numbers
from datakiln.constraints.base import Constraint
from datakiln.domains import number_in
from datakiln.errors import UserError
from datakiln.schema import Field, Schema

MAX_LENGTH = 1000
MAX_DEPTH = 50
PIECES = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`|[&|]")  # quotes first: what is in them stays
QUOTED_NAME = "quoted_name_"

Binary = Callable[[Any, Any], Any]

ARITHMETIC: dict[type[ast.operator], Binary] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in (
        "abs", "sqrt", "exp", "log", "log10", "log1p", "expm1", "floor", "ceil", "sin", "cos", "tan", "arcsin",
        "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh",
    )
}  # fmt: skip
GROUPS = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)  # judged with the node they belong to
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Call, ast.Name, ast.Constant, ast.List,
    ast.Tuple, *GROUPS,
)  # fmt: skip


class Grammar:
    """The checked syntax of a condition on a row.

    Arguments:
        text: In pandas' `eval` grammar.

    Attributes:
        columns: Names of the columns it reads.
        tree: Its syntax.

    Raises:
        UserError: It holds anything but comparisons, arithmetic, logic, constants, columns and the functions above.
    """

    def __init__(self, text: str) -> None:
        """See the class."""
        self.text = text
        self._quoted: dict[str, str] = {}
        if len(text) > MAX_LENGTH:
            raise self.wrong(f"is longer than {MAX_LENGTH} characters")
        try:
            with warnings.catch_warnings(action="ignore"):  # Python remarks on odd code, such as 1 is 1
                self.tree = ast.parse(PIECES.sub(self._plain, text).strip(), mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise self.wrong(f"cannot be read ({getattr(error, 'msg', None) or type(error).__name__})") from None
        self._check()
        called = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        names = [node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and id(node) not in called]
        self.columns = tuple(dict.fromkeys(map(self.column, names)))
        if not self.columns:
            raise self.wrong("names no column")

    def column(self, name: str) -> str:
        """The column that a name in the tree stands for."""
        return self._quoted.get(name, name)

    def _plain(self, piece: re.Match[str]) -> str:
        found = piece[0]
        if found in "&|":
            return " and " if found == "&" else " or "
        if not found.startswith("`"):
            return found
        name = f"{QUOTED_NAME}{len(self._quoted)}"
        self._quoted[name] = found.strip("`")
        return name

    def wrong(self, what: str) -> UserError:
        """An error that begins with the text."""
        return UserError(f"the expression {self.text[:80]!r} {what}")

    def _check(self) -> None:
        """Level by level rather than by recursion, so that no nesting can exhaust the stack."""
        level: list[ast.AST] = [self.tree]
        for _ in range(MAX_DEPTH):
            for node in level:
                self._check_node(node)
            level = [child for node in level for child in ast.iter_child_nodes(node)]
            if not level:
                return
        raise self.wrong(f"is nested more than {MAX_DEPTH} deep")

    def _check_node(self, node: ast.AST) -> None:
        if not isinstance(node, ALLOWED):
            raise self.wrong(f"holds {type(node).__name__}, which is not allowed; write columns, constants, operators")
        if isinstance(node, ast.BinOp) and type(node.op) not in ARITHMETIC:
            raise self.wrong(f"holds the operator {type(node.op).__name__}, which is not allowed")
        if isinstance(node, ast.Constant) and type(node.value) not in (int, float, str, bool):
            raise self.wrong(f"holds {str(node.value)[:20]}, which is no number, text, True or False")
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else f"a {type(node.func).__name__}"
            if name not in FUNCTIONS or node.keywords:
                raise self.wrong(f"calls {name}, which is not allowed; functions: {', '.join(FUNCTIONS)}")
            if len(node.args) != (2 if name == "arctan2" else 1):
                raise self.wrong(f"calls {name} with {len(node.args)} arguments")


Kind = Literal["number", "date", "text", "truth"]

ORDERINGS: dict[type[ast.cmpop], Binary] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Value:
    """What a part of an expression comes to.

    Attributes:
        kind: What can be done with it.
        data: One entry a row, or one for all rows: float64 for numbers and dates (seconds), bool, or text with None.
        field: The date column it comes from, which says how its dates are written.
    """

    kind: Kind
    data: Any
    field: Field | None = None


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


class _Evaluation:
    """A formula worked out on the rows of one frame."""

    def __init__(self, grammar: Grammar, frame: pd.DataFrame, schema: Schema) -> None:
        self.grammar, self.frame, self.schema = grammar, frame, schema
        self.rows, self.wrong = len(frame), grammar.wrong

    def holds(self) -> np.ndarray:
        with np.errstate(all="ignore"):
            made = self._work_out(self.grammar.tree.body)
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
            return Value("number", FUNCTIONS[node.func.id](*numbers))
        if isinstance(node, ast.BinOp):
            left, right = (self._number(part) for part in (node.left, node.right))
            return Value("number", ARITHMETIC[type(node.op)](left, right))
        return self._logic(node)

    def _logic(self, node: ast.expr) -> Value:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return Value("truth", join.reduce([self._truth(part) for part in node.values]))
        assert isinstance(node, ast.UnaryOp)
        if isinstance(node.op, ast.Not | ast.Invert):
            return Value("truth", np.logical_not(self._truth(node.operand)))
        number = self._number(node.operand)
        return Value("number", -number if isinstance(node.op, ast.USub) else number)

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
        one, two = self._alike(one, two), self._alike(two, one)
        if type(sign) not in ORDERINGS:
            raise self.wrong("uses in or is without a list: write column in [a, b]")
        if one.kind != two.kind:
            raise self.wrong(f"compares a {one.kind} with a {two.kind} in {ast.unparse(node)[:40]}")
        if one.kind not in ("text", "truth"):
            return ORDERINGS[type(sign)](one.data, two.data)
        if not isinstance(sign, ast.Eq | ast.NotEq):
            raise self.wrong(f"compares a {one.kind} by something other than ==, != and in")
        equal = one.data == two.data
        if one.kind == "text" and np.ndim(one.data):
            equal = equal & pd.notna(one.data)  # missing equals nothing, not even missing
        return equal if isinstance(sign, ast.Eq) else np.logical_not(equal)

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
            return Value("number", to_numbers(series.astype(object), Field(name, "numeric", str(dtype))))
        cells = plain_cells(series).astype(object)
        return Value("text", cells.map(str, na_action="ignore").where(cells.notna(), None).to_numpy(dtype=object))


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
        """Where it is true; a comparison with a missing cell is not."""
        return self.formula.holds(frame, schema)

    def arguments(self) -> dict[str, Any]:
        """As given."""
        return {"text": self.text}

    def __str__(self) -> str:
        """Itself."""
        return self.text
