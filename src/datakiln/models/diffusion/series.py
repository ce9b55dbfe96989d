"""Denoising diffusion of windows: a transformer over patches of steps, told any cells.

Denoising diffusion (Ho et al., 2020, https://arxiv.org/abs/2006.11239) on the cosine schedule of Nichol and Dhariwal
(2021, https://arxiv.org/abs/2102.09672), continuous in time, sampled as DDIM (Song et al., 2021,
https://arxiv.org/abs/2010.02502); holes are filled by a net that has learnt to be told cells, as in CSDI (Tashiro et
al., 2021, https://arxiv.org/abs/2107.03502), on the patches of `WindowModel`. The net predicts v in place of the noise
(Salimans and Ho, 2022, https://arxiv.org/abs/2202.00512): near pure noise, what a predicted noise says of the data
is its error times sigma / alpha, and series have no bounds that such data could be kept in.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from datakiln.models.windows import WindowModel
from datakiln.nets.paths import Cosine, Field, ddim, stratified
from datakiln.spec import DataSpec


class TSDiffusion(WindowModel):
    """Predicts v = alpha_t x_0 - sigma_t x_1, every time as often as any other, and takes the noise out step by step.

    Arguments:
        spec: A series of values and choices.
        steps: Of the sampler, one evaluation each.
        eta: Share of fresh noise in each step of sampling: 0 none (DDIM), 1 that of ancestral sampling.
        **shared: See `WindowModel`.
    """

    def __init__(self, spec: DataSpec, steps: int = 32, eta: float = 0.0, **shared: Any) -> None:  # noqa: ANN401
        """See the class."""
        super().__init__(spec, steps=steps, **shared)
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta={eta} must lie in [0, 1]")
        self.path, self.eta = Cosine(), eta

    def times(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Spread evenly over a batch."""
        return stratified(n, torch.device("cpu"), generator)

    def target(self, x_1: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """V at t (appendix D of Salimans and Ho, 2022)."""
        at = t[:, None, None]
        return self.path.alpha(at) * x_0 - self.path.sigma(at) * x_1

    def solve(self, field: Field, x: Tensor, steps: int) -> Tensor:
        """Even steps from t = 0 to 1, the last of which shows what is predicted of the data."""

        def noise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.path.sigma(t) * x_t + self.path.alpha(t) * field(x_t, t)

        times = torch.linspace(0.0, 1.0, steps + 1, device=x.device)
        return ddim(noise, self.path, x, times, self.eta, math.inf)
