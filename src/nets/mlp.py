"""Fully connected blocks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from src.nets.linear import Linear


def mlp(width_in: int, hidden: Sequence[int], width_out: int) -> nn.Sequential:
    """Linear layers with SiLU between them: (B, width_in) to (B, width_out)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [Linear(width_in, width), nn.SiLU()]
        width_in = width
    return nn.Sequential(*layers, Linear(width_in, width_out))
