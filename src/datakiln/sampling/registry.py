"""What a checkpoint or a run's folder may name: classes and metrics of this project, and those a person registered.

Both are data: their strings stay strings, nothing in them is resolved, and a name that is unknown builds nothing.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, Literal

from datakiln.errors import UserError
from datakiln.spec import DataSpec

ENTRY_POINTS = "datakiln.models"  # the group in which an installed package offers classes of its own
MOST = 2**40  # of any whole number in a config: no count, size or seed is larger
LONGEST = 80  # characters of a name that are told, and of one that a person could register
ROOMS = {
    "model": ("datakiln.models.", "datakiln.nets."),
    "data": ("datakiln.data.", "datakiln.codecs.", "datakiln.constraints."),
    "metric": ("datakiln.metrics.",),
}
Room = Literal["model", "data", "metric"]

_REGISTERED: dict[str, type] = {}


def register(cls: type, name: str = "") -> type:
    """Makes checkpoints of a person's own model or net loadable in this process; also usable as a decorator.

    What a checkpoint names is built only if it is datakiln's or was registered: never because the file says so. A
    package registers its classes for every process by an entry point of the group "datakiln.models", such as
    `mine = "mine:Model"`.

    Arguments:
        cls: The class.
        name: What checkpoints call it; by default where it is defined.
    """
    _REGISTERED[name or f"{cls.__module__}.{cls.__qualname__}"] = cls
    return cls


def register_named(names: str | Sequence[str]) -> None:
    """Registers classes by their dotted names, as a person typed them.

    Raises:
        UserError: There is no such class.
    """
    for name in names.split(",") if isinstance(names, str) else names:
        module, _, attribute = str(name).strip().rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"register={name} cannot be imported ({error}); give module.Class as the yaml did"
            ) from None
        if not isinstance(found, type):
            raise UserError(f"register={name} is no class; give module.Class as the yaml did")
        register(found, str(name).strip())


def build(config: Mapping[str, Any], room: Room = "model", **more: Any) -> Any:  # noqa: ANN401 (a class of ours)
    """Builds what a stored config describes, and what its arguments describe.

    Arguments:
        config: Plain values; a mapping with `_target_` describes an object.
        room: Where its class must be defined.
        **more: Further arguments of the outermost object.

    Raises:
        UserError: A `_target_` that is not known here, an argument that it does not have or of another type, or a key
            of Hydra's own.
    """
    return _built(config, room, room, more)


def _built(value: Any, room: Room, where: str, more: Mapping[str, Any]) -> Any:  # noqa: ANN401 (any part of a config)
    if isinstance(value, list | tuple):
        return [_built(part, room, f"{where}[{i}]", {}) for i, part in enumerate(value)]
    if not isinstance(value, Mapping):
        return _plain(value, where, room)
    if "_target_" not in value:
        return {_key(key, where): _built(part, room, f"{where}.{key}", {}) for key, part in value.items()}
    target, is_partial = str(value["_target_"]), room != "model" and value.get("_partial_") is True
    found = find(target, room)
    if found is None:
        is_ours = target.startswith(("datakiln.", "src.")) or len(target) > LONGEST
        out = "" if is_ours else f"; if it is your own, add register={target}"
        wanted = f"the stored {where} wants to build {target[:LONGEST]!r}"
        raise UserError(f"{wanted}, which is not datakiln's; refused{out}")
    hydra = {"_target_", "_partial_"} if is_partial else {"_target_"}
    arguments = {key: _built(part, room, f"{where}.{key}", {}) for key, part in value.items() if key not in hydra}
    if where != room and isinstance(arguments.get("spec"), dict):  # a first stage, with a spec of its own
        arguments["spec"] = DataSpec.from_state(arguments["spec"])
    _check_arguments(found, arguments, where, len(more) > 0 or is_partial)
    return functools.partial(found, **arguments) if is_partial else found(**arguments, **more)


def _key(key: object, where: str) -> object:
    if not isinstance(key, str | int):
        raise UserError(f"the stored {where} has the key {str(key)[:40]!r}, of type {type(key).__name__}; refused")
    return key


def _plain(value: Any, where: str, room: Room) -> Any:  # noqa: ANN401
    """A value of a config; no number that is none, none that no config needs, and no address to fetch from."""
    if room != "model" and isinstance(value, str) and "://" in value:
        raise UserError(f"the stored {where} is the address {value[:60]!r}; nothing is fetched for a file; refused")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"the stored {where} is {value}, which is no setting; refused")
    if isinstance(value, int) and abs(value) > MOST:
        raise UserError(f"the stored {where} is {str(value)[:24]}, which no setting needs; refused")
    if not isinstance(value, str | int | float | None):
        raise UserError(f"the stored {where} is a {type(value).__name__}, which is no setting; refused")
    return value


def find(target: str, room: Room) -> Callable[..., Any] | None:
    """What is known by that name: defined in the room's modules and meant to be named there, or registered."""
    if own := _registered(target):
        return own
    module_name, _, name = target.rpartition(".")
    if not f"{module_name}.".startswith(ROOMS[room]) or name.startswith("_"):
        return None
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        return None
    home = str(getattr(found, "__module__", ""))
    if not f"{home}.".startswith(f"{module_name}."):  # merely imported there, not from a module below
        return None
    is_meant = _is_metric(found) if room == "metric" else isinstance(found, type)
    return found if is_meant else None


def _is_metric(found: object) -> bool:
    """Whether a function's first argument is what metrics are given."""
    if not inspect.isfunction(found):
        return False
    first = next(iter(inspect.signature(found).parameters.values()), None)
    return first is not None and str(first.annotation) in ("EvalData", "ImageSets", "SeriesSets")


def _registered(target: str) -> type | None:
    """The class of a person's own of that name, if this process or an installed package offers one."""
    if target not in _REGISTERED and not target.startswith("datakiln.") and target in _offered():
        _REGISTERED[target] = _offered()[target].load()
    return _REGISTERED.get(target)


@functools.cache
def _offered() -> dict[str, metadata.EntryPoint]:
    return {entry.value.replace(":", "."): entry for entry in metadata.entry_points(group=ENTRY_POINTS)}


def is_known(target: str) -> bool:
    """Whether a model or net of that name can be built again from a checkpoint."""
    return target.startswith("datakiln.") or _registered(target) is not None


def _check_arguments(found: Callable[..., Any], arguments: Mapping[str, Any], where: str, is_partial: bool) -> None:
    """Refuses arguments that a class or function does not have, lacks, or has of another type."""
    signature = inspect.signature(found)
    try:
        signature.bind_partial(**arguments) if is_partial else signature.bind(**arguments)
    except TypeError as error:
        raise UserError(f"the stored {where} does not fit {found.__qualname__} ({error}); refused") from None
    hints = _hints(found)
    for name, value in arguments.items():
        if name in hints and not fits(hints[name], value):
            told = f"{where}.{name} is {str(value)[:40]!r}, of type {type(value).__name__}"
            raise UserError(f"the stored {told}, which {found.__qualname__} does not take; refused")


def _hints(found: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of all arguments, those included that a class passes on to the one it is made from."""
    if not isinstance(found, type):
        return _own_hints(found)
    hints: dict[str, Any] = {}
    for base in found.__mro__:
        init = vars(base).get("__init__")
        if inspect.isfunction(init):
            hints = {**_own_hints(init), **hints}
            if all(p.kind is not p.VAR_KEYWORD for p in inspect.signature(init).parameters.values()):
                break
    return hints


def _own_hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:  # a name that is imported for type checkers only
        return {}


def fits(kind: Any, value: Any) -> bool:  # noqa: ANN401 (any annotation, any value)
    """Whether a value may be of an annotated type; what an annotation leaves open is taken."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return True
    if kind is None or kind is type(None):
        return value is None
    if origin in (types.UnionType, typing.Union):
        return any(fits(part, value) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is not None and isinstance(origin, type):
        if issubclass(origin, Callable):  # type: ignore[arg-type]
            return callable(value)
        if issubclass(origin, Mapping):
            return isinstance(value, Mapping) and all(fits(parts[1], part) for part in value.values())
        if issubclass(origin, tuple):
            kinds = parts if not (len(parts) == 2 and parts[1] is Ellipsis) else parts[:1] * len(value or ())
            same = isinstance(value, list | tuple) and len(value) == len(kinds)
            return same and all(fits(part, inner) for part, inner in zip(kinds, value, strict=True))
        if issubclass(origin, Sequence):
            return isinstance(value, list | tuple) and all(fits(parts[0], part) for part in value)
        return isinstance(value, origin)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, str | int | float | list | tuple | Mapping | None)
    return isinstance(value, kind) if isinstance(kind, type) else True
