"""Checkpoint files as bytes: nothing of them is decoded before it is known to be whole, small enough and plain."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datakiln.errors import UserError
from datakiln.storage import seal_holds

# all that torch.save names for tensors, numbers, texts, lists and mappings
NAMES = frozenset({"torch._utils _rebuild_tensor_v2", "collections OrderedDict"})
STORAGES = frozenset(
    f"torch {kind}Storage"
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
)
NAMING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"})
MOST_PARTS, DEEPEST = 20_000_000, 64  # values of a checkpoint and how deep they nest
MOST_PICKLE = 2**30  # bytes that are not tensors
USE = "use another, such as the best.ckpt beside it"


def read_archive(path: Path) -> tuple[dict[str, Any], bool]:
    """The content of a file of `torch.save`, tensors on the CPU, and whether it is sealed.

    Raises:
        UserError: It is cut short, damaged, no such file, holds code, or would unpack to more than its own size.
    """
    try:
        sealed = seal_holds(path)
        if sealed is False:
            raise UserError(f"checkpoint {path} is damaged: its content is not what its hash says; {USE}")
        _check_members(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        if not zipfile.is_zipfile(path) and _holds_code(_head(path)):
            raise UserError(_told_code(path)) from None
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise UserError(f"checkpoint {path} is cut short, damaged or no checkpoint ({reason}); {USE}") from None
    except (MemoryError, RecursionError, OverflowError, TypeError, AttributeError, IndexError, AssertionError) as error:
        raise UserError(f"checkpoint {path} is damaged ({type(error).__name__} as it was unpacked); {USE}") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} was not written by datakiln; give the checkpoint or folder of a run")
    _check_plain(path, content)
    return content, bool(sealed)


def _check_members(path: Path) -> None:
    """Refuses an archive that would unpack to more than it weighs, or whose pickle names anything but tensors."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise UserError(f"checkpoint {path} would unpack to more than its own size and was refused; {USE}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(f"checkpoint {path} is compressed, which no checkpoint of datakiln is; {USE}")
        names = [member.filename for member in members]
        pickles = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
        if len(set(names)) < len(names) or len(pickles) != 1 or pickles[0].file_size > MOST_PICKLE:
            raise UserError(f"checkpoint {path} was not written by datakiln; give the checkpoint or folder of a run")
        if _holds_code(archive.read(pickles[0])):
            raise UserError(_told_code(path))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2**20)


def _told_code(path: Path) -> str:
    return f"checkpoint {path} holds code and was refused, not executed; use one that datakiln wrote"


def _holds_code(pickled: bytes) -> bool:
    """Whether a pickle names anything beyond what tensors and plain values need; it is read, not run."""
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in NAMING and not (opcode.name == "GLOBAL" and argument in NAMES | STORAGES):
                return True
    except ValueError:  # it is cut short or none at all: what unpacks it says so
        return False
    return False


def _check_plain(path: Path, content: Mapping[str, Any]) -> None:
    """Refuses values that are no numbers, texts, lists, mappings or tensors, and tensors larger than their bytes."""
    left = MOST_PARTS
    for name, value, depth in walk(content):
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise UserError(f"checkpoint {path} holds more values, or deeper ones, than any model has; {USE}")
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise UserError(f"checkpoint {path}: {name} claims the shape {tuple(value.shape)} without the bytes")
        elif not isinstance(value, str | int | float | list | tuple | dict | bytes | None):
            raise UserError(f"checkpoint {path}: {name} is a {type(value).__name__}, which no checkpoint holds; {USE}")


def walk(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any, int]]:  # noqa: ANN401
    """Every part of a nested value, with its place and depth; plain members of lists, mostly numbers, left out."""
    yield name, value, depth
    if depth > DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str | int):
                yield f"{name}.{key!r}", object(), depth
            yield from walk(part, f"{name}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            if isinstance(part, str | float) or (isinstance(part, int) and not isinstance(part, bool)):
                continue
            yield from walk(part, f"{name}[{i}]", depth + 1)
