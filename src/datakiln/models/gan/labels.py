"""Classes that a net is to tell, of examples whose label may be unknown (-1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def known_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy over the examples whose label is known; 0 where none is."""
    total = F.cross_entropy(logits.float(), y, ignore_index=-1, reduction="sum")
    return total / (y >= 0).sum().clamp(min=1)


def known_accuracy(name: str, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Share of the known labels that are told right, under a name; nothing where none is known."""
    known = y >= 0
    return {name: (logits.argmax(dim=1) == y)[known].float().mean()} if bool(known.any()) else {}
