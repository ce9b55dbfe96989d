"""Steps of real numbers, as nets make them, to well-formed ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datakiln.spec import Block


def settled(x: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Steps (..., D) with every choice at its largest position alone, and 0 behind a closed gate."""
    x = x.clone()
    for block in blocks:
        if block.kind == "choice":
            part = x[..., block.start : block.stop]
            one = torch.zeros_like(part).scatter(-1, part.argmax(dim=-1, keepdim=True), 1.0)
            x[..., block.start : block.stop] = one
    for block in blocks:
        if block.gate is not None:
            x[..., block.start : block.stop] *= x[..., block.gate : block.gate + 1]
    return x
