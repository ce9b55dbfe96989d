"""What of a `last.ckpt` only training reads: every key and type in it is checked before Lightning and torch take it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datakiln.errors import UserError
from datakiln.sampling.registry import fits

KINDS: dict[str, Any] = {  # of the keys that every last.ckpt has
    "epoch": int,
    "global_step": int,
    "state_dict": dict[str, Tensor],
    "loops": dict[str, dict[str, Any]],
    "callbacks": dict[str, Any],
    "optimizer_states": list[dict[str, Any]],
    "lr_schedulers": list[dict[str, Any]],
    "random": dict[str, Any],
    "best": dict[str, Any],
    "meter": dict[str, dict[str, list[tuple[Tensor, float]]]],
    "frozen": dict[str, str],
}
SOMETIMES: dict[str, Any] = {
    "averaged": dict[str, Tensor],
    "ema_updates": int,
    "adversarial": dict[str, Any],
    "cpu_seconds": float,
    "fit_cpu_seconds": float,
    "peak_memory_mb": float,
}
BEST: dict[str, Any] = {"score": float | None, "epoch": int | None, "waited": int}
RANDOM: dict[str, Any] = {"torch": Tensor, "python": tuple[int, list[int], float | None]}
OPTIMIZER: dict[str, Any] = {"state": dict[int, dict[str, Any]], "param_groups": list[dict[str, Any]]}
LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
WORDS = 625  # of the state of Python's generator


def check_training_state(path: Path, content: Mapping[str, Any]) -> None:
    """Refuses what no training leaves behind; raises `UserError` with the file, the key and what is there."""
    where = f"checkpoint {path}"
    _of_kinds(content, KINDS, where, "")
    _of_kinds(content, {name: kind for name, kind in SOMETIMES.items() if name in content}, where, "")
    for name in ("epoch", "global_step"):
        if content[name] < 0:
            raise _refused(where, name, content[name])
    for name in ("cpu_seconds", "fit_cpu_seconds", "peak_memory_mb"):
        if not 0.0 <= content.get(name, 0.0) < math.inf:
            raise _refused(where, name, content[name])
    _of_kinds(content["best"], BEST, where, "best")
    _check_random(content["random"], where)
    for i, state in enumerate(content["optimizer_states"]):
        if state == {}:  # of a model without an optimizer
            continue
        _check_optimizer(state, where, f"optimizer_states[{i}]")
    for i, state in enumerate(content["lr_schedulers"]):
        _only_texts(state, where, f"lr_schedulers[{i}]")
    _check_loops(content["loops"], where)


def _refused(where: str, name: str, value: Any) -> UserError:  # noqa: ANN401
    told = f"of type {type(value).__name__}" if isinstance(value, Tensor | dict | list | tuple) else repr(value)[:40]
    return UserError(f"{where}: its {name} is {told}, which no training leaves; begin anew without ckpt_path=")


def _of_kinds(part: Mapping[str, Any], kinds: Mapping[str, Any], where: str, inside: str) -> None:
    for name, kind in kinds.items():
        full = f"{inside}.{name}".lstrip(".")
        if name not in part:
            raise UserError(f"{where} lacks {full}, which every training leaves; begin anew without ckpt_path=")
        if not fits(kind, part[name]):
            raise _refused(where, full, part[name])


def _only_texts(part: Mapping[Any, Any], where: str, name: str) -> None:
    for key in part:
        if not isinstance(key, str):
            raise _refused(where, f"{name}.{str(key)[:40]}", part[key])


def _check_random(state: Mapping[str, Any], where: str) -> None:
    _of_kinds(state, RANDOM, where, "random")
    own = torch.get_rng_state()
    found, words = state["torch"], state["python"][1]
    if found.dtype != own.dtype or found.shape != own.shape:
        raise _refused(where, "random.torch", found)
    if len(words) != WORDS or not all(0 <= word < 2**32 for word in words):
        raise _refused(where, "random.python", words)
    for i, on_a_gpu in enumerate(state.get("cuda", [])):
        if not isinstance(on_a_gpu, Tensor) or on_a_gpu.dtype != own.dtype:
            raise _refused(where, f"random.cuda[{i}]", on_a_gpu)


def _check_optimizer(state: Mapping[str, Any], where: str, name: str) -> None:
    _of_kinds(state, OPTIMIZER, where, name)
    for key, values in state["state"].items():
        if not isinstance(key, int):
            raise _refused(where, f"{name}.state.{str(key)[:40]}", values)
        for part, value in values.items():
            if not (isinstance(part, str) and isinstance(value, Tensor | int | float | None)):
                raise _refused(where, f"{name}.state.{key}.{str(part)[:40]}", value)
    for i, group in enumerate(state["param_groups"]):
        _only_texts(group, where, f"{name}.param_groups[{i}]")
        _of_kinds(group, {"params": list[int]}, where, f"{name}.param_groups[{i}]")


def _check_loops(loops: Mapping[str, Any], where: str) -> None:
    """Progress is what a new trainer's would be, but for its numbers."""
    _of_kinds(loops, {name: dict[str, Any] for name in LOOPS}, where, "loops")
    for name, usual in _new_loops().items():
        _like(loops[name], usual, where, f"loops.{name}")
    for i, state in enumerate(loops["fit_loop"]["state_dict"].get("combined_loader", [])):
        if not isinstance(state, dict) or not isinstance(state.get("position", 0), int):
            raise _refused(where, f"loops.fit_loop.state_dict.combined_loader[{i}]", state)


@functools.cache
def _new_loops() -> dict[str, Any]:
    trainer = L.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    return {name: getattr(trainer, name).state_dict() for name in LOOPS}


def _like(found: Any, usual: Any, where: str, name: str) -> None:  # noqa: ANN401
    if type(found) is not type(usual):
        raise _refused(where, name, found)
    if isinstance(usual, dict):
        for key, part in usual.items():
            if key not in found:
                raise UserError(f"{where} lacks {name}.{key}, which every training leaves; begin anew")
            _like(found[key], part, where, f"{name}.{key}")
    elif isinstance(usual, int) and found < 0:
        raise _refused(where, name, found)
