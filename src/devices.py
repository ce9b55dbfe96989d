"""Where models work: a name the person gave, as a device this machine has."""

from __future__ import annotations

import torch

from src.errors import UserError


def usable_device(name: str) -> torch.device:
    """The device of that name; raises `UserError` for one that is unknown or that this machine does not have."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device={name} is not known; write cpu, cuda, cuda:1 or mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(
            f"device={name}: torch finds {count or 'no'} CUDA device{'s' * (count != 1)} here; use device=cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}: torch finds no such device here; use device=cpu")
    return device
