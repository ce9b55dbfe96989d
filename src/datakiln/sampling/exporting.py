"""A trained model as three plain files that other programs read: config.json, weights.safetensors, metadata.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datakiln import strictjson
from datakiln.sampling.checkpoints import find_checkpoint, read_checkpoint

TENSOR = "$tensor"  # in config.json, what stands for a tensor: its name in weights.safetensors


def export(run: str | Path) -> dict[str, bytes]:
    """The files' contents by name; tensors of the codec are named `codec.…`, weights `model.…`.

    Arguments:
        run: A run's folder, or a checkpoint.

    Raises:
        UserError: See `datakiln.sampling.checkpoints`.
    """
    from safetensors.torch import save

    content = read_checkpoint(find_checkpoint(run))
    own = content["datakiln"]
    # safetensors keeps no two tensors of one memory
    tensors = {f"model.{name}": _apart(value) for name, value in content["state_dict"].items()}
    config = {
        name: _without_tensors(own[name], name, tensors)
        for name in ("format", "model", "spec", "codec", "constraints")
        if name in own
    }
    told = {"origin": own["origin"], "parameters": sum(value.numel() for value in content["state_dict"].values())}
    files = {"config.json": _json(config), "metadata.json": _json(told)}
    return {**files, "weights.safetensors": save(tensors, {"format": "pt"})}


def _apart(value: Tensor) -> Tensor:
    return value.detach().cpu().clone().contiguous()


def _without_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 (any part of a state)
    if isinstance(value, Tensor):
        tensors[name] = _apart(value)
        return {TENSOR: name}
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _without_tensors(part, f"{name}.{key}", tensors) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(part, f"{name}.{i}", tensors) for i, part in enumerate(value)]
    return value


def _json(value: Any) -> bytes:  # noqa: ANN401 (any JSON value)
    return (json.dumps(strictjson.plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
