"""Flow matching (Lipman et al., 2023, https://arxiv.org/abs/2210.02747): a velocity that carries noise to pictures.

With x_t = (1 - t) x_0 + t x_1 the net learns the mean of x_1 - x_0 given x_t; following it from t = 0 to 1 turns noise
into pictures. Times are drawn logit-normally (Esser et al., 2024), since neither end has much to learn.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from datakiln.models.diffusion.pictures import DiffusionPictures
from datakiln.nets.paths import Field, LogitNormal, Straight, between, euler, heun, midpoint
from datakiln.spec import Batch, DataSpec

SOLVERS = {"euler": euler, "heun": heun, "midpoint": midpoint}


class FlowMatching(DiffusionPictures):
    """Straight paths, a velocity target, and an ordinary differential equation solved in a few steps.

    The loss is the squared error of the velocity, a mean over pixels; outside training its times and its noise are the
    same at every epoch, and no class is hidden.

    Arguments:
        spec: A picture's spec.
        times: Mean and deviation of the logit of the times that are trained on.
        solver: "midpoint" or "heun", of two evaluations a step, or "euler", of one.
        **shared: See `DiffusionPictures`.
    """

    target = (1.0, -1.0)

    def __init__(
        self,
        spec: DataSpec,
        times: tuple[float, float] = (-0.5, 1.0),
        solver: Literal["euler", "heun", "midpoint"] = "midpoint",
        **shared: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        super().__init__(spec, **shared)
        if solver not in SOLVERS:
            raise ValueError(f"solver={solver} must be {', '.join(SOLVERS)}")
        self.path, self.times, self.solver = Straight(), LogitNormal(*times), SOLVERS[solver]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The squared error of the velocity (eq. 23 of the paper with sigma_min = 0)."""
        return {"loss": self.error(batch.x, self._labels(batch))}

    def error(self, x_1: Tensor, y: Tensor | None) -> Tensor:
        """Mean squared error of the velocity, of what is denoised, (B, *denoised), and labels (B,)."""
        x_0, ranks = self._noise_and_ranks(x_1)
        t = self.times(ranks)
        velocity = self.predict(between(self.path, x_1, x_0, t), t, y)
        return (velocity - (x_1 - x_0)).square().mean()

    def data_of(self, predicted: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Where the velocity leads in what is left of the time."""
        return x + (1.0 - t) * predicted

    def solve(self, field: Field, x: Tensor, steps: int, temperature: float = 1.0) -> Tensor:
        """Even steps from t = 0 to 1."""
        return self.solver(field, x, torch.linspace(0.0, 1.0, steps + 1, device=x.device))
