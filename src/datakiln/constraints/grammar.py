"""The grammar of formulas: a text parsed to Python's syntax tree, every node of which must be of a kind listed here."""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from datakiln.errors import UserError

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
        self._prefix = QUOTED_NAME
        while self._prefix in text:  # a column may be called so
            self._prefix += "_"
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
        name = f"{self._prefix}{len(self._quoted)}"
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
        if isinstance(node, ast.Attribute) and all(map(str.isidentifier, (name := ast.unparse(node)).split("."))):
            raise self.wrong(f"holds {name!r}; a column of that name stands in backticks, `{name}`")
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
