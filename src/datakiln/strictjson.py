"""Dataclasses to strict JSON and back: no NaN tokens, no half-written file, nothing taken that does not fit."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal

from datakiln.storage import replacing


def write(value: Any, path: Path) -> None:  # noqa: ANN401 (a dataclass, a dict or a list)
    """Writes a value under the final name only once it is complete; numbers that are not finite become null."""
    state = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(plain(state), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def parse(text: str) -> Any:  # noqa: ANN401 (any JSON value)
    """The value of a JSON text; raises ValueError for anything else, the tokens NaN and Infinity included."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def plain(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """The same value in types that JSON knows."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "item"):  # scalars of numpy and torch
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def read(kind: Any, value: Any, where: str = "") -> Any:  # noqa: ANN401 (any type)
    """A parsed value as the annotated type, dataclasses built; raises ValueError naming the place that does not fit."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _read_dataclass(kind, value, where)
    if origin in (types.UnionType, typing.Union):
        return read(next((part for part in parts if _fits(part, value)), parts[0]), value, where)
    if origin is list and isinstance(value, list):
        return [read(parts[0], part, f"{where}[{i}]") for i, part in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: read(parts[1], part, f"{where}.{key}") for key, part in value.items()}
    if value in parts if origin is Literal else origin is None and _fits(kind, value):
        return _number(value) if kind is float else value
    raise ValueError(f"{where.lstrip('.') or 'the whole file'} is {json.dumps(value)[:60]}")


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number is too large") from None


def _refuse(token: str) -> None:
    raise ValueError(f"the token {token} is not JSON")


def _read_dataclass(kind: Any, state: dict[str, Any], where: str) -> Any:  # noqa: ANN401
    hints = typing.get_type_hints(kind)
    for part in dataclasses.fields(kind):
        optional = part.default is not dataclasses.MISSING or part.default_factory is not dataclasses.MISSING
        if part.name not in state and not optional:
            raise ValueError(f"{f'{where}.{part.name}'.lstrip('.')} is missing")
    return kind(**{key: read(hints[key], part, f"{where}.{key}") for key, part in state.items() if key in hints})


def _fits(kind: Any, value: Any) -> bool:  # noqa: ANN401
    """Whether a parsed value is of a type, looking no deeper than its outside; true and false are no numbers."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        return value in typing.get_args(kind)
    if dataclasses.is_dataclass(kind) or origin is dict:
        return isinstance(value, dict)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, list) if origin is list else isinstance(value, kind)
