"""Equalities of a formula solved for one of their columns."""

from __future__ import annotations

import ast
from typing import NamedTuple

from datakiln.constraints.grammar import Grammar


class Solution(NamedTuple):
    """An equality solved for a column: the part of the formula that the column is equal to."""

    column: str
    node: ast.expr


def solutions(grammar: Grammar) -> list[Solution]:
    """Ways to meet each equality that must hold by setting one of its columns; those that need no solving first."""
    return [solution for part in parts(grammar) for solution in _of_part(grammar, part)]


def is_solved(grammar: Grammar) -> bool:
    """Whether it is nothing but equalities that can be met by setting a column."""
    return all(_of_part(grammar, part) for part in parts(grammar))


def parts(grammar: Grammar) -> list[ast.expr]:
    """What must hold together, one by one."""
    body = grammar.tree.body
    return body.values if isinstance(body, ast.BoolOp) and isinstance(body.op, ast.And) else [body]


def _of_part(grammar: Grammar, part: ast.expr) -> list[Solution]:
    if isinstance(part, ast.Compare) and len(part.ops) == 1 and isinstance(part.ops[0], ast.Eq):
        return _solved(grammar, part.left, part.comparators[0])
    return []


def _solved(grammar: Grammar, left: ast.expr, right: ast.expr) -> list[Solution]:
    if not all(isinstance(side, ast.Name | ast.BinOp | ast.UnaryOp) for side in (left, right)):
        return []  # of a column that equals a constant there is nothing to learn either
    plain: list[Solution] = []
    moved: list[Solution] = []
    for side, other in ((left, right), (right, left)):
        names = [n.id for n in ast.walk(side) if isinstance(n, ast.Name)]
        others = {n.id for n in ast.walk(other) if isinstance(n, ast.Name)}
        for name in names:
            if names.count(name) > 1 or name in others:
                continue
            node = _isolated(side, name, other)
            if node is not None:
                (plain if isinstance(side, ast.Name) else moved).append(Solution(grammar.column(name), node))
    return [*plain, *moved]


def _isolated(side: ast.expr, name: str, other: ast.expr) -> ast.expr | None:
    """What the column of that name is, where `side` equals `other`; None where it cannot be said by arithmetic."""
    if isinstance(side, ast.Name):
        return other if side.id == name else None
    if isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.USub | ast.UAdd):
        return _isolated(side.operand, name, ast.UnaryOp(side.op, other))
    if not isinstance(side, ast.BinOp) or not isinstance(side.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        return None
    if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(side.left)):
        inverse = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}[type(side.op)]()
        return _isolated(side.left, name, ast.BinOp(other, inverse, side.right))
    if isinstance(side.op, ast.Sub | ast.Div):
        return _isolated(side.right, name, ast.BinOp(side.left, side.op, other))
    inverse = ast.Sub() if isinstance(side.op, ast.Add) else ast.Div()
    return _isolated(side.right, name, ast.BinOp(other, inverse, side.left))
