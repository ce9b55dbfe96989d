"""Whether a value is of the type that an argument is annotated with, told from the source alone.

Types are declared once, where they are used: in the signatures of classes and functions, and for the options of a
command in `datakiln.cli.options`. An annotation that says nothing here, such as a type variable, lets everything pass.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datakiln.cli import signatures
from datakiln.errors import UserError, near

UNIONS, MAPS = ("Optional", "Union"), ("dict", "Dict", "Mapping")
LISTS = ("list", "List", "Sequence", "Iterable", "set", "Set")
PATHS = ("Path", "PathLike", "PurePath")  # written as text
OBJECTS = ("Callable", "Tensor", "Module")  # built by a `_target_`
PLAIN = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "None": "null"}
OPTIMIZER = "datakiln.cli.options.Optimizer"
DEEP = 20  # aliases of aliases


@dataclass(frozen=True)
class Kind:
    """What an annotation lets pass.

    Attributes:
        name: One of `PLAIN`, "any", "object", "literal", "list", "tuple", "map", "union".
        parts: Of a union, or of what a list or tuple holds.
        choices: Of a literal.
        range: "at least N" or "between A and B", of a number; "" for all.
    """

    name: str
    parts: tuple[Kind, ...] = ()
    choices: tuple[Any, ...] = ()
    range: str = ""


ANY = Kind("any")
BRACKETS = str.maketrans("()", "[]")  # of a tuple


def kind_of(target: str, argument: str) -> Kind:
    """The kind of an argument of a class or function; `ANY` where the source does not tell."""
    found = signatures.annotation(OPTIMIZER, argument) if target.startswith("torch.optim.") else None
    found = found or signatures.annotation(target, argument)
    return ANY if found is None else _read(*found)


def checked(value: Any, target: str, argument: str, key: str) -> Any:  # noqa: ANN401 (any yaml value)
    """The value as an argument of a class or function takes it: see `fitted`.

    Arguments:
        value: As yaml or Hydra reads it.
        target: Dotted path of the class or function.
        argument: Of it.
        key: The option's full name, for the error.

    Raises:
        UserError: The option, its value and what it must be.
    """
    default = signatures.arguments(target).get(argument, ("", ""))[0]
    example = default.replace(" ", "").translate(BRACKETS) if default[:1] in ("[", "(") else ""
    return fitted(value, kind_of(target, argument), key, example)


def fitted(value: Any, kind: Kind, key: str, example: str = "") -> Any:  # noqa: ANN401 (any yaml value)
    """The value, as the kind has it: 1e3 is a whole number, and 2020 is text where text is wanted.

    Arguments:
        value: As yaml or Hydra reads it; mappings and lists are plain ones.
        kind: What it must be.
        key: The option's full name, for the error.
        example: A value that is right, as people write it; "" for none.

    Raises:
        UserError: The option, its value and what it must be.
    """
    try:
        return _as(value, kind)
    except ValueError:
        choices = [str(choice) for part in (kind, *kind.parts) for choice in part.choices]
        hint = near(str(value), choices) if choices else f", such as {example}" if example else ""
        raise UserError(f"{key}={_written(value)} must be {said(kind)}{hint}") from None


def _as(value: Any, kind: Kind) -> Any:  # noqa: ANN401 (any yaml value)
    """The value as the kind has it; raises ValueError for what is not of the kind."""
    if fits(value, kind):
        return value
    if kind.name == "union":
        for part in kind.parts:
            try:
                return _as(value, part)
            except ValueError:
                continue
    if isinstance(value, list) and kind.name == "list":
        return [_as(one, kind.parts[0]) for one in value]
    if kind.name == "int" and isinstance(value, float) and value.is_integer() and fits(int(value), kind):
        return int(value)
    if kind.name == "str" and _is_number(value):
        return str(value)
    raise ValueError(kind.name)


def fits(value: Any, kind: Kind) -> bool:  # noqa: ANN401 (any yaml value)
    """Whether a kind lets a value pass."""
    if kind.name == "any" or (isinstance(value, Mapping) and "_target_" in value):  # what that builds has arguments
        return True  # of its own, which are looked at by themselves
    if kind.name == "union":
        return any(fits(value, part) for part in kind.parts)
    if kind.name == "literal":
        return any(value == choice and type(value) is type(choice) for choice in kind.choices)
    if kind.name in ("list", "tuple"):
        return _fits_list(value, kind)
    if kind.name in ("map", "object"):
        return isinstance(value, Mapping)
    if kind.name == "None":
        return value is None
    if kind.name in ("int", "float"):
        right = _is_number(value) and (kind.name == "float" or isinstance(value, int))
        return right and _in_range(value, kind.range)
    return isinstance(value, {"str": str, "bool": bool}[kind.name])


def _fits_list(value: Any, kind: Kind) -> bool:  # noqa: ANN401 (any yaml value)
    if not isinstance(value, list):
        return False
    parts = kind.parts if kind.name == "tuple" else kind.parts * len(value)
    return len(parts) == len(value) and all(fits(one, part) for one, part in zip(value, parts, strict=True))


def said(kind: Kind) -> str:
    """What a value must be, in words."""
    if kind.name == "union":
        choices = dict.fromkeys(str(choice) for part in kind.parts for choice in part.choices)
        named = Kind("literal", choices=tuple(choices))
        others = [part for part in kind.parts if part.name != "literal"]
        is_plain = any(part.name not in ("None", "object", "map") for part in kind.parts)
        plain = [part for part in others if part.name != "object" or not is_plain]  # beside a number, a rarity
        words = [said(part) for part in ([named] if named.choices else []) + plain]
        return " or ".join(sorted(dict.fromkeys(words), key=lambda said: ", each of it" in said))  # that part goes last
    if kind.name == "literal":
        return f"one of {', '.join(map(str, kind.choices))}" if len(kind.choices) > 1 else str(kind.choices[0])
    if kind.name == "list":
        return "a list, [A,B,...]" + (f", each of it {said(kind.parts[0])}" if kind.parts[0] != ANY else "")
    if kind.name == "tuple":
        alike = {said(part) for part in kind.parts}
        return f"a list of {len(kind.parts)}" + (f", each of it {alike.pop()}" if len(alike) == 1 else "")
    if kind.name == "map":
        return "a mapping, {NAME:VALUE}"
    if kind.name == "object":
        return "built by a class, {_target_:...}"
    link = "" if not kind.range else " " if kind.range.startswith("between") else " of "
    return f"{PLAIN[kind.name]}{link}{kind.range}"


def _written(value: Any) -> str:  # noqa: ANN401 (any yaml value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _is_number(value: Any) -> bool:  # noqa: ANN401 (any yaml value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_range(value: float, wanted: str) -> bool:
    if not wanted:
        return True
    words = wanted.split()
    if words[0] == "between":
        return float(words[1]) < value < float(words[3])
    return value >= float(words[2])


def _read(node: ast.expr, module: str, depth: int = 0) -> Kind:
    """The kind of an annotation."""
    if depth > DEEP:
        return ANY
    if isinstance(node, ast.Constant):
        if node.value is None:
            return Kind("None")
        return _read(ast.parse(str(node.value), mode="eval").body, module, depth + 1)  # written as text
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_read(node.left, module, depth + 1), _read(node.right, module, depth + 1)])
    if isinstance(node, ast.Subscript):
        return _subscript(_name(node.value), node.slice, module, depth)
    name = _name(node)
    if name in PLAIN:
        return Kind(name)
    if name in PATHS:
        return Kind("str")
    if name in OBJECTS:
        return Kind("object")
    if name in LISTS:
        return Kind("list", (ANY,))
    if name in MAPS:
        return Kind("map")
    if not isinstance(node, ast.Name):
        return ANY
    meant, place = signatures.meaning_of(name, module)
    if isinstance(meant, ast.ClassDef):
        bases = {_name(base) for base in meant.bases}
        return Kind("object") if not {base for base in bases if "Enum" in base or base in PLAIN} else ANY
    return ANY if meant is None else _read(meant, place, depth + 1)


def _subscript(name: str, inside: ast.expr, module: str, depth: int) -> Kind:
    parts = list(inside.elts) if isinstance(inside, ast.Tuple) else [inside]
    if name == "Literal":
        return Kind("literal", choices=tuple(part.value for part in parts if isinstance(part, ast.Constant)))
    if name == "Annotated":
        ranges = [part.value for part in parts[1:] if isinstance(part, ast.Constant)]
        plain = _read(parts[0], module, depth + 1)
        return Kind(plain.name, plain.parts, plain.choices, str(ranges[0]) if ranges else "")
    if name in UNIONS:
        more = [Kind("None")] if name == "Optional" else []
        return _union([*(_read(part, module, depth + 1) for part in parts), *more])
    if name in LISTS:
        return Kind("list", (_read(parts[0], module, depth + 1),))
    if name in ("tuple", "Tuple"):
        if isinstance(parts[-1], ast.Constant) and parts[-1].value is Ellipsis:
            return Kind("list", (_read(parts[0], module, depth + 1),))
        return Kind("tuple", tuple(_read(part, module, depth + 1) for part in parts))
    if name in MAPS:
        return Kind("map")
    return Kind("object") if name in ("Callable", "type", "Type") else ANY


def _union(parts: list[Kind]) -> Kind:
    flat = [inner for part in parts for inner in (part.parts if part.name == "union" else (part,))]
    return ANY if ANY in flat else Kind("union", tuple(dict.fromkeys(flat)))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
