"""Linear layers in single precision at the rate of the processor.

On processors of AMD torch multiplies float32 matrices with kernels that leave half of the vector units idle; oneDNN,
which is part of torch as well, uses them all, and for large products takes half the time. Its results are as exact.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def half_precision(device: torch.device, wanted: bool | None) -> AbstractContextManager[None]:
    """Autocast to bfloat16: as wanted, or for None where the processor multiplies bfloat16 faster than float32."""
    enabled = is_faster_in_bf16(device) if wanted is None else wanted
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def is_faster_in_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32.

    Those of Intel with AVX-512's bfloat16 but without AMX do not: half of their vector units know it, and products take
    1.4 times as long as in float32, convolutions up to 1.8 times. Those of AMD have it in all of them.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    return torch.cpu._is_amx_tile_supported() or (torch.cpu._is_avx512_bf16_supported() and _is_amd())


LARGE = 2**22  # multiplications from which what oneDNN saves exceeds what calling it costs


class Linear(nn.Linear):
    """`torch.nn.Linear`, faster where it can be; weights, results and gradients are the same but for rounding."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name in torch)
        """(..., in_features) to (..., out_features)."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Rows x (..., K) times the transpose of weight (N, K), plus bias (N,): shape (..., N)."""
    if not _pays(x, weight):
        return F.linear(x, weight, bias)
    rows = x if x.dim() == 2 else x.flatten(0, -2)
    out: Tensor = _Linear.apply(rows, weight, bias)
    return out if x.dim() == 2 else out.unflatten(0, x.shape[:-1])


class _Linear(torch.autograd.Function):
    """Its gradients are products of the same kind, and differentiable in turn."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        """(B, K), (N, K) and (N,) to (B, N)."""
        ctx.save_for_backward(x, weight)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # noqa: ANN401
        """With respect to all three."""
        (gradient,), (x, weight), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        return (
            linear(gradient, weight.T) if needed[0] else None,
            linear(gradient.T, x.T) if needed[1] else None,
            gradient.sum(dim=0) if needed[2] else None,
        )


def _pays(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != "cpu" or not x.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return x.numel() * len(weight) >= LARGE and _has_better_kernels()


@functools.cache
def _has_better_kernels() -> bool:
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return _is_amd() and "AVX512" in torch.backends.cpu.get_cpu_capability()


@functools.cache
def _is_amd() -> bool:
    listing = Path("/proc/cpuinfo")  # of Linux; Windows names the vendor itself
    return "AuthenticAMD" in platform.processor() + (listing.read_text()[:4096] if listing.exists() else "")


def mlp(width_in: int, hidden: Sequence[int], width_out: int) -> nn.Sequential:
    """Linear layers with SiLU between them: (B, width_in) to (B, width_out)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [Linear(width_in, width), nn.SiLU()]
        width_in = width
    return nn.Sequential(*layers, Linear(width_in, width_out))
