"""Relations between the columns of a table: found in its training rows, declared by a person, or none."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.cells import is_reckoned
from datakiln.codecs.tables.relations.expressions import FUNCTIONS, Tree, column, columns_of
from datakiln.codecs.tables.relations.finding import find_relations, in_order
from datakiln.codecs.tables.relations.functions import declared_function, may_pair
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import PARTLY, TESTS, Search
from datakiln.constraints.grammar import Grammar
from datakiln.errors import UserError, near
from datakiln.schema import Schema

EQUALS = re.compile(r"(?<![<>=!])=(?!=)")
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
WAYS = "write auto, none, or a list such as ['total = price * quantity', 'part <= whole', 'city -> country']"


def check_relations(option: object) -> None:
    """Raises `UserError` for a value of `data.relations` that no table could follow."""
    if option in ("auto", "none"):
        return
    if not isinstance(option, list | tuple) or not all(isinstance(text, str) for text in option):
        raise UserError(f"data.relations={option}: {WAYS}")
    for text in option:
        if text != "auto" and "->" not in text:
            _read(text)


def chosen_relations(
    option: str | Sequence[str], frame: pd.DataFrame, schema: Schema, stay: Collection[str] = ()
) -> list[Relation]:
    """The relations that a codec is to keep, each after those that compute its sources.

    Arguments:
        option: "auto" to find them; "none"; or a list of declared ones, in which "auto" stands for those found beside.
        frame: Training rows.
        schema: Their columns.
        stay: Columns that are rather not computed from others.

    Raises:
        UserError: A declared one names no column, or does not hold in the training rows.
    """
    if option == "none":
        return []
    if option == "auto":
        return find_relations(frame, schema, stay)
    declared = [_declared(text, frame, schema) for text in option if text != "auto"]
    targets: dict[str, Relation] = {}
    for relation in declared:
        if relation.form == "order":
            continue
        if relation.target in targets:
            raise UserError(f"data.relations: {relation.text!r} computes {relation.target!r} a second time; keep one")
        targets[relation.target] = relation
    _check_circles(targets)
    found = find_relations(frame, schema, stay, declared=list(targets.values())) if "auto" in option else declared
    orders = [relation for relation in declared if relation.form == "order" and relation not in found]
    return in_order([*found, *orders])


def columns_named(text: str) -> list[str]:
    """The columns that a declared relation names, whether a table has them or not."""
    if "->" in text:
        return [part.strip().strip("`") for side in text.split("->", 1) for part in side.split(",")]
    target, _, tree = _read(text)
    return [target, *columns_of(tree)]


def _check_circles(targets: dict[str, Relation]) -> None:
    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise UserError(f"data.relations: {targets[name].text!r} goes round in a circle; leave one of them out")
        for source in targets[name].sources if name in targets else ():
            visit(source, (*above, name))

    for name in targets:
        visit(name, ())


def _declared(text: str, frame: pd.DataFrame, schema: Schema) -> Relation:
    if "->" in text:
        source, target = (part.strip().strip("`") for part in text.split("->", 1))
        sources = [source] if source in schema.names else [part.strip().strip("`") for part in source.split(",")]
        for name in (*sources, target):
            _check_column(text, name, schema)
        if len(sources) > 2:
            raise UserError(f"data.relations: {text!r} looks a value up by {len(sources)} columns; take one or two")
        wrong = next((name for name in sources if not may_pair(schema[name])), None)
        if len(sources) == 2 and wrong is not None:
            told = f"data.relations: {text!r} looks pairs up by {wrong}, of type {schema[wrong].type}"
            raise UserError(f"{told}; say data.types.{wrong}=category")
        found = declared_function(Search(frame, schema), sources, target)
        if found is None:
            raise UserError(f"data.relations: {text!r} does not hold: some {source} has several values of {target}")
        return found.changed(text=text)
    target, sign, tree = _read(text)
    for name in (target, *columns_of(tree)):
        _check_column(text, name, schema)
        if not is_reckoned(schema[name]):
            raise UserError(f"data.relations: {text!r} reckons with {name}, which is of type {schema[name].type}")
    if target in columns_of(tree):
        raise UserError(f"data.relations: {text!r} computes {target} from itself")
    search = Search(frame, schema)
    if sign != "=":
        relation = Relation("order", target, tree, "checked", strict=sign == "<", text=text)
    else:
        if search.is_class(target):
            raise UserError(f"data.relations: {text!r} computes the target; solve it for another column")
        relation = Relation("formula", target, tree, search.mode(target, columns_of(tree)), text=text)
    there = np.logical_and.reduce([frame[name].notna().to_numpy() for name in relation.columns])
    share = float(1 - relation.breaks(frame, schema)[there].mean()) if there.any() else 0.0
    if share < (1.0 if sign != "=" else PARTLY):
        least = "every one" if sign != "=" else f"{PARTLY:.0%}"
        told = f"holds in {int(share * 1e4) / 100:g} % of the training rows, not in {least}"
        raise UserError(f"data.relations: {text!r} {told}; mend the rows, or leave it out")
    if share < 1.0:
        if not search.may_shift(target, columns_of(tree)):
            raise UserError(
                f"data.relations: {text!r} has exceptions and other missing cells than {target}; leave it out"
            )
        relation = relation.changed(mode="shifted")
    return relation.changed(share=share, tests=int(there.sum()))


def _check_column(text: str, name: str, schema: Schema) -> None:
    if name not in schema.names:
        raise UserError(f"data.relations: {text!r} names no column {name!r}{near(name, schema.names)}")
    if not (schema[name].is_numeric or schema[name].is_choice):
        raise UserError(f"data.relations: {text!r} names {name}, which is of type {schema[name].type}: it is made anew")


def _read(text: str) -> tuple[str, str, Tree]:
    """Target, "=", "<=" or "<", and what it is compared with; of an order the larger column is the target."""
    try:
        grammar = Grammar(EQUALS.sub("==", text))
    except UserError as error:
        raise UserError(f"data.relations: {error}") from None
    node = grammar.tree.body
    signs = {ast.Eq: "=", ast.LtE: "<=", ast.Lt: "<", ast.GtE: ">=", ast.Gt: ">"}
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or type(node.ops[0]) not in signs:
        raise UserError(f"data.relations: {text!r} is no relation; {WAYS}")
    sign = signs[type(node.ops[0])]
    left, right = (_tree(part, grammar, text) for part in (node.left, node.comparators[0]))
    if sign in (">=", ">"):
        left, right, sign = right, left, sign.replace(">", "<")
    if sign != "=":
        if not (_is_column(left) and _is_column(right)):
            raise UserError(f"data.relations: {text!r} orders something else than two columns; use data.constraints")
        return right[1], sign, left
    if not _is_column(left):
        left, right = right, left
    if not _is_column(left):
        raise UserError(f"data.relations: {text!r} has no single column on one side; solve it for one")
    return left[1], sign, right


def _is_column(tree: Tree) -> bool:
    return isinstance(tree, list) and tree[0] == "column"


def _tree(node: Any, grammar: Grammar, text: str) -> Tree:  # noqa: ANN401 (a node of Python's syntax)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name):
        return column(grammar.column(node.id))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return ["-", 0.0, _tree(node.operand, grammar, text)]
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = (_tree(part, grammar, text) for part in (node.left, node.right))
        return [OPERATORS[type(node.op)], left, right]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        return [node.func.id, _tree(node.args[0], grammar, text)]
    raise UserError(f"data.relations: {text!r} holds {ast.unparse(node)[:40]!r}, which is no arithmetic")


def described(relations: Sequence[Relation]) -> str:
    """One line on how many there are and what is done with them."""
    modes = [relation.mode for relation in relations]
    parts = [
        f"{modes.count('computed') + modes.count('kept')} computed" if {"computed", "kept"} & set(modes) else "",
        f"{modes.count('shifted')} learnt as a distance" if "shifted" in modes else "",
        f"{modes.count('checked')} checked" if "checked" in modes else "",
    ]
    return ", ".join(part for part in parts if part) or f"none that {TESTS} rows prove"
