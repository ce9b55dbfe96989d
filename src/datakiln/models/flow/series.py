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
from datakiln.spec import Batch, DataSpec

ROUNDS = 8  # of the iteration that undoes a step of the sampler


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
            x = x + _increment(field, x, i, steps)
        return x

    def latents_of(self, batch: Batch) -> Tensor:
        """Noise (B, T * D) of windows: each step of the sampler undone, x_i = x_(i + 1) - step(x_i), by iteration."""
        x, nothing = batch.x, torch.zeros_like(batch.x)
        field = self.field(nothing, nothing)
        for i in reversed(range(self.default_steps)):
            before = x
            for _ in range(ROUNDS):
                before = x - _increment(field, before, i, self.default_steps)
            x = before
        return x.flatten(1)


def _increment(field: Field, x: Tensor, i: int, steps: int) -> Tensor:
    """What step i of Heun's method adds; the last one is Euler's."""
    t, after = (torch.full((), (i + k) / steps, device=x.device) for k in (0, 1))
    slope = field(x, t)
    if i < steps - 1:
        slope = (slope + field(x + slope / steps, after)) / 2
    return slope / steps
