"""Where matrix products in half precision are worth it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def half_precision(device: torch.device, wanted: bool | None) -> AbstractContextManager[None]:
    """Autocast to bfloat16: as wanted, or for None where the processor multiplies bfloat16 faster than float32."""
    enabled = has_bf16(device) if wanted is None else wanted
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
