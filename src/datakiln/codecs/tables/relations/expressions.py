"""Arithmetic over columns as plain nested lists, which a checkpoint can hold: ["+", ["column", "a"], 1.0].

Numbers are 64-bit floats, dates are days since 1970, a missing cell is NaN and makes what is computed from it NaN.

Two operations go round the clock (see `datakiln.codecs.tables.relations.clocks`):
    ["clock", form, step, start, form of start, elapsed, per, low]: a time of day so much later than another.
    ["elapsed", start, form, end, form, per, low]: what lies between two of them.
Forms are "time", a share of a day, "hhmm", a whole number, and "hhmm24", which writes midnight as 2400. Of an elapsed
time `per` make a day, less than 0 for what is taken away; it lies within the day that begins at `low`, in days, None
where it does not. The step is in seconds.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datakiln.codecs.tables.relations.calendar import BEHIND, part_of
from datakiln.wording import counted

Tree = Any  # a float, or a list: an operation and its operands
Cells = Mapping[str, np.ndarray]

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": np.divide,
    "**": np.power,
    "//": np.floor_divide,
    "%": np.mod,
}
EXTREMES: dict[str, Callable[[Any, Any], Any]] = {"max": np.maximum, "min": np.minimum}  # of two
FUNCTIONS = ("abs", "sqrt", "exp", "log", "log10", "log1p", "expm1", "floor", "ceil")  # of one number
STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 3}
ROUNDING = 1e-9  # of a day
SPANS = {"day": 1.0, "hour": 24.0, "minute": 1440.0, "second": 86_400.0}  # of each in a day
INVERSES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    # the left operand from result and right one, and the right operand from result and left one
    "+": (lambda made, right: made - right, lambda made, left: made - left),
    "-": (lambda made, right: made + right, lambda made, left: left - made),
    "*": (np.divide, np.divide),
    "/": (lambda made, right: made * right, lambda made, left: left / made),
}


SHAPES = {  # of what follows the kind: a name, a tree, a number, perhaps none, a unit, a form of times of day
    "column": "s", "part": "ss", "span": "nu", "pair": "tt", "clock": "fntftno", "elapsed": "tftfno",
    **dict.fromkeys(OPERATIONS, "tt"), **dict.fromkeys(EXTREMES, "tt"), **dict.fromkeys(FUNCTIONS, "t"),
}  # fmt: skip
FORMS = ("time", "hhmm", "hhmm24")


def check(tree: Any) -> None:  # noqa: ANN401 (part of a checkpoint, whatever it is)
    """Raises `ValueError` for what is no arithmetic over columns."""
    if _is_number(tree):
        return
    shape = SHAPES.get(tree[0]) if isinstance(tree, list) and tree and isinstance(tree[0], str) else None
    if shape is None or len(tree) != 1 + len(shape):
        raise ValueError(f"{str(tree)[:60]} is no arithmetic over columns")
    for kind, operand in zip(shape, tree[1:], strict=True):
        if kind == "t":
            check(operand)
        elif not FITS[kind](operand):
            raise ValueError(f"{str(operand)[:40]!r} has no place in {str(tree)[:60]}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FITS: dict[str, Callable[[Any], bool]] = {
    "s": lambda value: isinstance(value, str),
    "n": _is_number,
    "o": lambda value: value is None or _is_number(value),
    "u": lambda value: isinstance(value, str) and value in SPANS,
    "f": lambda value: isinstance(value, str) and value in FORMS,
}


def column(name: str) -> Tree:
    """A column."""
    return ["column", name]


def pair(one: str, two: str) -> Tree:
    """Two columns together, which are nothing to reckon with: the key of a function."""
    return ["pair", column(one), column(two)]


def columns_of(tree: Tree) -> tuple[str, ...]:
    """The columns it reads, each once, in order."""
    return tuple(dict.fromkeys(_names(tree)))


def _names(tree: Tree) -> Iterator[str]:
    if not isinstance(tree, list):
        return
    if tree[0] in ("column", "part"):
        yield tree[-1]
        return
    for operand in tree[1:]:
        yield from _names(operand)


def worked_out(tree: Tree, cells: Cells) -> Any:  # noqa: ANN401 (an array, or one number for all rows)
    """Its value in each row."""
    with np.errstate(all="ignore"):
        return _value(tree, cells)


def _value(tree: Tree, cells: Cells) -> Any:  # noqa: ANN401
    if not isinstance(tree, list):
        return float(tree)
    kind = tree[0]
    if kind == "column":
        return cells[tree[1]]
    if kind == "part":
        return part_of(cells[tree[2]], tree[1])
    if kind == "span":
        return tree[1] / SPANS[tree[2]]
    if kind in FUNCTIONS:
        return getattr(np, kind)(_value(tree[1], cells))
    if kind == "clock":
        _, form, step, start, of_start, elapsed, per, _ = tree
        return reading_of(days_of(_value(start, cells), of_start) + _value(elapsed, cells) / per, form, step)
    if kind == "elapsed":
        _, start, of_start, end, of_end, per, low = tree
        return whole_days_away(days_of(_value(end, cells), of_end) - days_of(_value(start, cells), of_start), low) * per
    if kind in EXTREMES:
        return EXTREMES[kind](_value(tree[1], cells), _value(tree[2], cells))
    return OPERATIONS[kind](_value(tree[1], cells), _value(tree[2], cells))


def days_of(readings: Any, form: str) -> Any:  # noqa: ANN401
    """Times of day as shares of a day; see above for the forms."""
    if form == "time":
        return readings
    return (60.0 * np.floor_divide(readings, 100.0) + np.mod(readings, 100.0)) / SPANS["minute"]


def reading_of(days: Any, form: str, step: float = 60.0) -> Any:  # noqa: ANN401
    """Inverse of `days_of`, rounded to a step in seconds; whole days are left away."""
    steps = SPANS["second"] / (step or 1e-6)
    share = np.mod(np.round(days * steps), steps) / steps
    if form == "time":
        return share
    minutes = np.round(share * SPANS["minute"])
    made = 100.0 * np.floor_divide(minutes, 60.0) + np.mod(minutes, 60.0)
    return np.where(made == 0, 2400.0, made) if form == "hhmm24" else made


def whole_days_away(days: Any, low: float) -> Any:  # noqa: ANN401
    """The same up to whole days, from `low` to a day above, what reckoning with floats misses at that end included."""
    return low + np.mod(days - low + ROUNDING, 1.0) - ROUNDING


def solved(tree: Tree, made: Any, cells: Cells, name: str) -> Any | None:  # noqa: ANN401
    """The column's cells that give the result `made`; None where it occurs several times, or cannot be told."""
    with np.errstate(all="ignore"):
        return _solved(tree, made, cells, name)


def _solved(tree: Tree, made: Any, cells: Cells, name: str) -> Any | None:  # noqa: ANN401
    if not isinstance(tree, list):
        return None
    if tree[0] == "column":
        return made if tree[1] == name else None
    if tree[0] == "clock":
        return _turned_back(tree, made, cells, name)
    if tree[0] not in INVERSES:
        return None
    left, right = tree[1], tree[2]
    sides = (name in _names(left), name in _names(right))
    if all(sides) or not any(sides):
        return None
    of_left, of_right = INVERSES[tree[0]]
    if sides[0]:
        return _solved(left, of_left(made, _value(right, cells)), cells, name)
    return _solved(right, of_right(made, _value(left, cells)), cells, name)


def _turned_back(tree: Tree, made: Any, cells: Cells, name: str) -> Any | None:  # noqa: ANN401
    """The time that a time of day was counted from, or what had elapsed."""
    _, form, step, start, of_start, elapsed, per, low = tree
    if start == column(name):
        return reading_of(days_of(made, form) - _value(elapsed, cells) / per, of_start, step)
    if low is None or elapsed != column(name):
        return None
    return whole_days_away(days_of(made, form) - days_of(_value(start, cells), of_start), low) * per


def magnitude(tree: Tree, cells: Cells) -> Any:  # noqa: ANN401
    """An upper bound of what is added up on the way: rounding of 64-bit numbers is relative to it."""
    if not isinstance(tree, list) or tree[0] in ("column", "part"):
        return np.abs(_value(tree, cells))
    if tree[0] in ("+", "-"):
        return magnitude(tree[1], cells) + magnitude(tree[2], cells)
    with np.errstate(all="ignore"):
        return np.abs(_value(tree, cells))


def written(tree: Tree) -> str:
    """As a person would write it."""
    return _written(tree, 0)


def _written(tree: Tree, around: int) -> str:
    if not isinstance(tree, list):
        return f"{tree:.15g}"
    kind = tree[0]
    if kind == "column":
        return quoted(tree[1])
    if kind == "part":
        part, behind, clock = tree[1].partition(BEHIND)
        return f"{part}({quoted(tree[2])}{behind}{clock})"
    if kind == "span":
        return counted(round(tree[1]), tree[2])
    if kind == "pair":
        return f"{_written(tree[1], 0)}, {_written(tree[2], 0)}"
    if kind in FUNCTIONS:
        return f"{kind}({_written(tree[1], 0)})"
    if kind == "clock":
        sign, unit = "-" if tree[6] < 0 else "+", _unit(abs(tree[6]))
        return f"{_written(tree[3], 1)} {sign} {_written(tree[5], 2)}{unit} by the clock"
    if kind == "elapsed":
        return f"{_written(tree[3], 1)} - {_written(tree[1], 2)}{_unit(tree[5], 'in')} by the clock"
    if kind in EXTREMES:
        return f"{kind}({', '.join(_written(part, 0) for part in _joined(tree, kind))})"
    own = STRENGTH[kind]
    text = f"{_written(tree[1], own)} {kind} {_written(tree[2], own + (kind not in '+*'))}"
    return f"({text})" if own < around else text


def _unit(per: float, before: str = "") -> str:
    """Such as " minutes", for so many in a day; nothing for columns that are times themselves."""
    return next((f" {before} {unit}s".replace("  ", " ") for unit, n in SPANS.items() if n == per and n > 1), "")


def _joined(tree: Tree, kind: str) -> list[Tree]:
    """What is compared, where the greatest of the greatest is the greatest of all."""
    if not isinstance(tree, list) or tree[0] != kind:
        return [tree]
    return [part for operand in tree[1:] for part in _joined(operand, kind)]


def extreme(kind: str, names: Sequence[str]) -> Tree:
    """The greatest ("max") or the least ("min") of some columns."""
    tree = column(names[0])
    for name in names[1:]:
        tree = [kind, tree, column(name)]
    return tree


def quoted(name: str) -> str:
    """A column's name, in backticks where Python's syntax would read another word, or none."""
    is_word = re.fullmatch(r"[^\W\d]\w*", name) is not None
    return name if is_word and unicodedata.normalize("NFKC", name) == name else f"`{name}`"


def span(days: float) -> Tree:
    """A time as a whole number of days, hours, minutes or seconds; as it is where it is none."""
    for unit, size in SPANS.items():
        if abs(days * size - round(days * size)) < 1e-9 * size:
            return ["span", float(round(days * size)), unit]
    return float(days)


def weighted_sum(weights: Mapping[str, float], constant: float, in_time: bool = False) -> Tree:
    """Such as 2 * a - b + 1, what is added before what is taken away.

    Arguments:
        weights: By column.
        constant: What is added.
        in_time: Whether the constant is a time.
    """
    tree: Tree | None = None
    for name, weight in sorted(weights.items(), key=lambda item: item[1] < 0):
        size = abs(weight)
        term = column(name) if size == 1 else ["*", size, column(name)]
        if size < 1 and abs(1 / size - round(1 / size)) < 1e-9 and size != round(size, 3):
            term = ["/", column(name), float(round(1 / size))]
        if tree is None and weight < 0:
            tree, constant = ["-", float(constant), term], 0.0
        elif tree is None:
            tree = term
        else:
            tree = ["+" if weight > 0 else "-", tree, term]
    if tree is None:
        return float(constant)
    return (
        tree
        if constant == 0
        else ["+" if constant > 0 else "-", tree, span(abs(constant)) if in_time else float(abs(constant))]
    )
