"""Relations as they are printed, and as a person declares them: `total = price * quantity`, `city -> country`, ..."""

from __future__ import annotations

import ast
import keyword
import re
from typing import Any, Literal, NamedTuple

from datakiln.codecs.tables.relations.calendar import BEHIND, CLOCKS, MOMENTS, PARTS
from datakiln.codecs.tables.relations.expressions import FUNCTIONS, SPANS, Tree, column, columns_of, extreme, pair, span
from datakiln.constraints.grammar import Grammar
from datakiln.errors import UserError, near

EQUALS = re.compile(r"`[^`]*`|(?<![<>=!])=(?!=)")  # what is in backticks stays
QUOTED = re.compile(r"`[^`]*`")
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
WAYS = "write auto, none, or a list such as ['total = price * quantity', 'part <= whole', 'city -> country']"
NAME = r"(?:`[^`]+`|[^\W\d]\w*)"
UNIT = rf"(?P<unit>{'|'.join(SPANS)})s?"
PART = rf"(?P<part>{'|'.join({**PARTS, **MOMENTS})})\(\s*(?P<of>{NAME})(?:\s+in\s+(?P<zone>[\w+:/-]+))?\s*\)"
EXTREME = rf"(?P<extreme>max|min)\((?P<among>\s*{NAME}(?:\s*,\s*{NAME})+)\s*\)"
SPAN = rf"(?P<count>\d+(?:\.\d+)?)\s+{UNIT}\b"
KEYWORD = rf"(?P<keyword>{'|'.join(keyword.kwlist)})\b"  # of Python, and here a column, as in to = from + days
WORDS = re.compile(rf"`[^`]*`|\b{PART}|\b{EXTREME}|\b{SPAN}|\b{KEYWORD}")  # what is in backticks stays
ONE_PART = re.compile(PART)
BY_THE_CLOCK = re.compile(r"\s+by\s+the\s+clock\s*$")
LATER = re.compile(rf"(?P<target>{NAME})\s*=\s*(?P<start>{NAME})\s*(?P<sign>[+-])\s*(?P<span>{NAME})(?:\s+{UNIT})?")
PASSED = re.compile(rf"(?P<span>{NAME})\s*=\s*(?P<end>{NAME})\s*-\s*(?P<start>{NAME})\s+in\s+{UNIT}")
APART = re.compile(rf"(?P<end>{NAME})\s*-\s*(?P<start>{NAME})")

Form = Literal["formula", "order", "function", "later", "passed", "distance"]


class Text(NamedTuple):
    """What a text says.

    Attributes:
        form: "later" is a time of day so much after another, "passed" what lies between two, "distance" that this is
            what shall be learnt; the others as in `Relation`.
        target: The column that is computed or, of an order, compared.
        tree: What it is computed from or compared with; of times of day the other two columns, or the other one.
        strict: Of an order, whether equal cells break it.
        below: Of an order, whether the target is the smaller side.
        per: Of "later" and "passed", how many units of what elapses make a day, below 0 for what is taken away.
        has_unit: Whether a unit was written.
        source: Of a function, what stands before its arrow.
    """

    form: Form
    target: str
    tree: Tree
    strict: bool = False
    below: bool = False
    per: float = 1.0
    has_unit: bool = True
    source: str = ""


def read(text: str) -> Text:
    """What a text says, whatever the columns of a table are; raises `UserError` for what is no relation."""
    if BY_THE_CLOCK.search(text):
        return _by_the_clock(text)
    if "->" in QUOTED.sub("", text):
        return _function(text)
    prefix = "word"
    while prefix in text:  # a column may be called so
        prefix += "_"
    trees: dict[str, Tree] = {}  # what Python's syntax has no words for, by the name that stands for it
    said: dict[str, str] = {}

    def kept(found: re.Match[str]) -> str:
        if found[0].startswith("`") or found["keyword"]:
            return f"`{_plain(found[0])}`"
        name = f"{prefix}{len(trees)}"
        trees[name], said[f"`{name}`"] = _word(found, text), found[0]
        return f"`{name}`"

    try:
        grammar = Grammar(EQUALS.sub(lambda found: "==" if found[0] == "=" else found[0], WORDS.sub(kept, text)))
    except UserError as error:
        told = str(error)
        for name, words in said.items():
            told = told.replace(name, words)
        raise UserError(f"data.relations: {told}") from None
    node = grammar.tree.body
    signs = {ast.Eq: "=", ast.LtE: "<=", ast.Lt: "<", ast.GtE: ">=", ast.Gt: ">"}
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or type(node.ops[0]) not in signs:
        raise UserError(f"data.relations: {text!r} is no relation; {WAYS}")
    sign = signs[type(node.ops[0])]
    left, right = (_tree(part, grammar, trees, text) for part in (node.left, node.comparators[0]))
    if sign in (">=", ">"):
        left, right, sign = right, left, sign.replace(">", "<")
    if sign != "=":
        return _order(left, right, sign, text)
    if not _is_column(left):
        left, right = right, left
    if not _is_column(left):
        raise UserError(f"data.relations: {text!r} has no single column on one side; solve it for one")
    return Text("formula", left[1], right)


def columns_named(text: str) -> list[str]:
    """The columns that a declared relation names, whether a table has them or not."""
    said = read(text)
    return [said.target, *columns_of(said.tree)]


def _order(left: Tree, right: Tree, sign: str, text: str) -> Text:
    """Of two columns the larger one is the target; else the one that several others are all below, or above."""
    if _is_column(right) and isinstance(left, list) and left[0] in ("column", "max"):
        return Text("order", right[1], left, sign == "<")
    if _is_column(left) and isinstance(right, list) and right[0] == "min":
        return Text("order", left[1], right, sign == "<", below=True)
    told = "orders something else than two columns, max(a, b) <= c or c <= min(a, b)"
    raise UserError(f"data.relations: {text!r} {told}; use data.constraints")


def _function(text: str) -> Text:
    arrow = next(found for found in re.finditer(r"`[^`]*`|->", text) if found[0] == "->")
    source, target = text[: arrow.start()].strip(), _plain(text[arrow.end() :])
    if found := ONE_PART.fullmatch(source):
        return Text("function", target, _part(found, text), source=source)
    names = [_plain(part) for part in re.findall(r"(?:`[^`]*`|[^,`])+", source) if part.strip()]
    if len(names) == 2 and names[0] != names[1]:
        return Text("function", target, pair(*names), source=source)
    return Text("function", target, column(_plain(source)), source=source)  # perhaps one whose name has commas in it


def _by_the_clock(text: str) -> Text:
    bare = BY_THE_CLOCK.sub("", text).strip()
    if found := PASSED.fullmatch(bare):
        first, last = _plain(found["start"]), _plain(found["end"])
        if first == last:
            raise UserError(f"data.relations: {text!r} names {first} twice")
        return Text("passed", _plain(found["span"]), ["-", column(last), column(first)], per=SPANS[found["unit"]])
    if found := LATER.fullmatch(bare):
        per = SPANS[found["unit"] or "day"] * (1 if found["sign"] == "+" else -1)
        start, elapsed = _plain(found["start"]), _plain(found["span"])
        if start == elapsed:
            raise UserError(f"data.relations: {text!r} names {start} twice")
        tree = [found["sign"], column(start), column(elapsed)]
        return Text("later", _plain(found["target"]), tree, per=per, has_unit=found["unit"] is not None)
    if found := APART.fullmatch(bare):
        return Text("distance", _plain(found["end"]), column(_plain(found["start"])))
    ways = "'left = planned + late minutes by the clock', 'hours = end - begin in hours by the clock'"
    raise UserError(
        f"data.relations: {text!r} is no relation by the clock; write {ways}, or 'end - begin by the clock'"
    )


def _word(found: re.Match[str], text: str) -> Tree:
    """A part of a date, the greatest or least of some columns, or a time."""
    if found["part"]:
        return _part(found, text)
    if found["extreme"]:
        return extreme(found["extreme"], [_plain(name) for name in re.findall(NAME, found["among"])])
    return span(float(found["count"]) / SPANS[found["unit"]])  # 1.5 hours are 90 minutes


def _part(found: re.Match[str], text: str) -> Tree:
    part, zone = found["part"], found["zone"]
    if zone and zone not in CLOCKS:
        raise UserError(f"data.relations: {text!r} reads the clock of {zone}, which is not known{near(zone, CLOCKS)}")
    return ["part", part + (f"{BEHIND}{zone}" if zone else ""), _plain(found["of"])]


def _plain(name: str) -> str:
    return name.strip().strip("`")


def _is_column(tree: Tree) -> bool:
    return isinstance(tree, list) and tree[0] == "column"


def _tree(node: Any, grammar: Grammar, trees: dict[str, Tree], text: str) -> Tree:  # noqa: ANN401 (Python's syntax)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name):
        name = grammar.column(node.id)
        return trees[name] if name in trees else column(name)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return ["-", 0.0, _tree(node.operand, grammar, trees, text)]
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = (_tree(part, grammar, trees, text) for part in (node.left, node.right))
        return [OPERATORS[type(node.op)], left, right]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        return [node.func.id, _tree(node.args[0], grammar, trees, text)]
    raise UserError(f"data.relations: {text!r} holds {ast.unparse(node)[:40]!r}, which is no arithmetic")
