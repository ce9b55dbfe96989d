"""Examples of a model while it trains, whether it draws them or makes them from others.

Short, because every callback that watches samples needs it, and none of them should ask which of the two a model does.
"""

from __future__ import annotations

from torch import Tensor

from datakiln.data.base import GenerativeData
from datakiln.models.base import GenerativeModel


def examples_of(model: GenerativeModel, data: GenerativeData, n: int, condition: Tensor | None = None) -> Tensor:
    """Encoded examples (n, *spec.shape): drawn, or made from validation examples, at most as many as there are."""
    if model.can_draw:
        return model.sample(n, condition)
    return model.transformed(data.inputs("val", n, model.takes).to(model.device))
