"""Reading and checking the files that `src.callbacks.bundle` writes; nothing in them is ever executed."""

from __future__ import annotations

import importlib
import pickle
import pickletools
from pathlib import Path
from typing import Any

import torch

from src.errors import UserError

FORMAT = 1


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
        age = "an older" if isinstance(found, int) and found < FORMAT else "another"
        raise UserError(f"checkpoint {path} is of {age} format ({found}, this program reads {FORMAT}); train it again")
    return content


def _names_code(path: Path, message: str) -> bool:
    """Whether what torch refused was an attempt to build or call something, in a torch file or in a bare pickle."""
    if "global" in message.lower():
        return True
    try:
        names = {opcode.name for opcode, _, _ in pickletools.genops(path.read_bytes())}
    except Exception:  # not a pickle at all; reading on is what tells, and it executes nothing
        return False
    return bool(names & {"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE"})


def check_targets(config: Any, where: str = "model") -> None:  # noqa: ANN401 (any part of a config)
    """Refuses a stored model config that would build anything but a class or function of this project's models.

    Raises:
        UserError: A `_target_` that is not defined in a module under `src`.
    """
    if isinstance(config, dict):
        target = config.get("_target_")
        if target is not None and not _is_ours(str(target)):
            raise UserError(f"the checkpoint's {where} wants to build {target!r}, which is not datakiln's; refused")
        for key, value in config.items():
            check_targets(value, f"{where}.{key}")
    elif isinstance(config, list | tuple):
        for i, value in enumerate(config):
            check_targets(value, f"{where}[{i}]")


def _is_ours(target: str) -> bool:
    module_name, _, name = target.rpartition(".")
    if not module_name.startswith(("src.models.", "src.nets.")) and module_name not in ("src.schedules", "src.losses"):
        return False
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        return False
    # defined there, not merely imported there: src.models.vae.math is no part of a model
    return isinstance(found, type) and found.__module__ == module_name


def model_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a model's config that sampling needs: no optimizers and schedulers, which are torch's classes."""
    return {
        key: value
        for key, value in config.items()
        if not (isinstance(value, dict) and not str(value.get("_target_", "src.")).startswith("src."))
    }
