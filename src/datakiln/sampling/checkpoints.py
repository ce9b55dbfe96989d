"""Reading and checking the files that `datakiln.callbacks.bundle` writes; nothing in them is ever executed."""

from __future__ import annotations

import importlib
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from datakiln.errors import UserError
from datakiln.spec import DataSpec
from datakiln.storage import PACKAGE

FORMAT = 2  # 1: of before the package was called datakiln


_REGISTERED: dict[str, type] = {}


def find_checkpoint(run: str | Path) -> Path:
    """The checkpoint file for a run folder (best before last) or for a path to a file."""
    path = Path(run)
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"run={run} does not exist; give the folder of a run, such as outputs/<date>/<time>-vae-iris")
    for candidate in ("checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        if (path / candidate).is_file():
            return path / candidate
    raise UserError(
        f"run={run} holds no checkpoints/best.ckpt or last.ckpt; give the folder of one run that has trained"
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU.

    Raises:
        UserError: The file is missing, cut short, not a checkpoint, holds code, or is of another program or version.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _names_code(Path(path), str(error)):
            raise UserError(
                f"checkpoint {path} holds code and was refused, not executed; use one that datakiln wrote"
            ) from None
        raise UserError(f"checkpoint {path} is no checkpoint or is damaged; use another, such as best.ckpt") from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise UserError(f"checkpoint {path} is cut short, damaged or no checkpoint ({reason}); use another") from None
    own = content.get("datakiln") if isinstance(content, dict) else None
    if not isinstance(own, dict) or "state_dict" not in content:
        raise UserError(f"checkpoint {path} was not written by datakiln; give the checkpoint or folder of a run")
    if own.get("format") != FORMAT:
        found = own.get("format")
        if found == 1 and str(own.get("model", {}).get("_target_", "")).startswith("src."):
            old = own["model"]["_target_"]
            raise UserError(
                f"checkpoint {path} is of before this package was called datakiln "
                f"({old} is now {_new_spelling(old)}); train it again"
            )
        age = "an older" if isinstance(found, int) and found < FORMAT else "another"
        raise UserError(f"checkpoint {path} is of {age} format ({found}, this program reads {FORMAT}); train it again")
    return content


def _new_spelling(old: str) -> str:
    """Where a model class of before the move is now."""
    module, name = old.split(".")[-2:]
    found = sorted((PACKAGE / "models").rglob(f"{module}.py"))
    return ".".join((*found[0].relative_to(PACKAGE.parent).with_suffix("").parts, name)) if found else "gone"


def _names_code(path: Path, message: str) -> bool:
    """Whether what torch refused was an attempt to build or call something, in a torch file or in a bare pickle."""
    if "global" in message.lower():
        return True
    try:
        names = {opcode.name for opcode, _, _ in pickletools.genops(path.read_bytes())}
    except Exception:  # not a pickle at all; reading on is what tells, and it executes nothing
        return False
    return bool(names & {"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE"})


def build(config: Mapping[str, Any], **more: Any) -> Any:  # noqa: ANN401 (a class of ours)
    """Builds what a stored config describes: a class of this project's models or nets, and those in its arguments.

    Strings stay strings: nothing in a checkpoint is resolved, so nothing can turn into a `_target_` after the check.

    Arguments:
        config: Plain values; a mapping with `_target_` describes an object.
        **more: Further arguments of the outermost object.

    Raises:
        UserError: A `_target_` that is not defined in a module of the models or nets, or a key of Hydra's own.
    """
    return _built(config, "model", more)


def _built(value: Any, where: str, more: Mapping[str, Any]) -> Any:  # noqa: ANN401 (any part of a config)
    if isinstance(value, list | tuple):
        return [_built(part, f"{where}[{i}]", {}) for i, part in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    arguments = {key: _built(part, f"{where}.{key}", {}) for key, part in value.items() if key != "_target_"}
    if "_target_" not in value:
        return arguments
    target = str(value["_target_"])
    found = _ours(target)
    if found is None:
        raise UserError(f"the checkpoint's {where} wants to build {target!r}, which is not datakiln's; refused")
    odd = [key for key in arguments if str(key).startswith("_")]
    if odd:
        raise UserError(f"the checkpoint's {where} holds {odd[0]!r}, which no model has; refused")
    if where != "model" and isinstance(arguments.get("spec"), dict):  # a first stage, with a spec of its own
        arguments["spec"] = DataSpec.from_state(arguments["spec"])
    return found(**arguments, **more)


def load_model(content: Mapping[str, Any], raw: bool = False) -> Any:  # noqa: ANN401 (a GenerativeModel)
    """The model of a checkpoint that `read_checkpoint` gave, with its averaged weights unless the raw ones are wanted.

    Raises:
        UserError: See `build`; or a frozen part has other weights than it was trained with.
    """
    own = content["datakiln"]
    model = build(own["model"], spec=DataSpec.from_state(own["spec"]))
    model.load_state_dict(content["state_dict"])
    model.check_frozen(content.get("frozen", {}))
    if content.get("averaged") and not raw:
        model.averaged().load_state_dict(content["averaged"])
    return model


def stage_of(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """A trained model as the first stage of another, and the config that builds it again from the other's checkpoint.

    Its weights are then part of the other's: a two-stage model keeps its first stage inside and needs no second file.
    """
    content = read_checkpoint(find_checkpoint(path))
    own = content["datakiln"]
    return load_model(content), {**own["model"], "spec": own["spec"]}


def register(cls: type, name: str = "") -> type:
    """Makes checkpoints of a person's own model or net loadable in this process; also usable as a decorator.

    What a checkpoint names is built only if it is datakiln's or was registered: never because the file says so.

    Arguments:
        cls: The class.
        name: What checkpoints call it; by default where it is defined.
    """
    _REGISTERED[name or f"{cls.__module__}.{cls.__qualname__}"] = cls
    return cls


def _ours(target: str) -> type | None:
    """The class of that name if it is defined in a module of the models or nets, not merely imported there."""
    if target in _REGISTERED:
        return _REGISTERED[target]
    module_name, _, name = target.rpartition(".")
    if not module_name.startswith(("datakiln.models.", "datakiln.nets.")):
        return None
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) and found.__module__ == module_name else None


def _is_ours(target: str) -> bool:
    return target.startswith("datakiln.") or target in _REGISTERED


def model_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a model's config that sampling needs: no optimizers and schedulers, which are classes of others."""
    return {
        key: value
        for key, value in config.items()
        if not (isinstance(value, dict) and "_target_" in value and not _is_ours(str(value["_target_"])))
    }
