"""Flow matching of windows: a transformer over patches of steps, told any cells.

Conditional flow matching on straight lines (Lipman et al., 2023, https://arxiv.org/abs/2210.02747) for series, cut into
patches of steps as by Nie et al. (2023, https://arxiv.org/abs/2211.14730); see `WindowModel`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datakiln.models.windows import WindowModel
from datakiln.nets.paths import Field, Straight
from datakiln.spec import DataSpec


class TSFlow(WindowModel):
    """Velocities from noise to windows, followed by Heun's method.

    Arguments:
        spec: A series of values and choices.
        **shared: See `WindowModel`.
    """

    def __init__(self, spec: DataSpec, **shared: Any) -> None:  # noqa: ANN401
        """See the class."""
        super().__init__(spec, **shared)
        self.path = Straight()

    def times(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Most often in the middle (Esser et al., 2024)."""
        return torch.sigmoid(torch.randn(n, generator=generator))

    def target(self, x_1: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """The velocity, the same at all times."""
        return x_1 - x_0

    def solve(self, field: Field, x: Tensor, steps: int) -> Tensor:
        """Even steps, the last of which is one of Euler's: at its end, t = 1, no velocity is learnt."""
        for i in range(steps):
            t, after = (torch.full((), (i + k) / steps, device=x.device) for k in (0, 1))
            slope = field(x, t)
            if i < steps - 1:
                slope = (slope + field(x + slope / steps, after)) / 2
            x = x + slope / steps
        return x
