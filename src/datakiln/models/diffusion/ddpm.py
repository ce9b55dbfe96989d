"""Denoising diffusion (Ho et al., 2020, https://arxiv.org/abs/2006.11239) on a cosine schedule, sampled as DDIM.

The net predicts the noise in x_t = alpha_t x_1 + sigma_t x_0 (here x_1 is the picture, and t rises towards it). The
schedule is that of Nichol and Dhariwal (2021), continuous in time as in Kingma et al. (2021), so that the steps of
sampling (Song et al., 2021) need not be those of training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datakiln.models.diffusion.pictures import DiffusionPictures
from datakiln.nets.paths import Cosine, Field, Uniform, between, ddim
from datakiln.spec import Batch, DataSpec


class DDPM(DiffusionPictures):
    """Noise as the target, every time as often as any other.

    The loss is the squared error of the noise, a mean over pixels (eq. 14 of the paper); outside training its times and
    its noise are the same at every epoch, and no class is hidden.

    Arguments:
        spec: A picture's spec.
        eta: Share of fresh noise in each step of sampling: 0 none (DDIM), 1 that of ancestral sampling.
        **shared: See `DiffusionPictures`.
    """

    target = (0.0, 1.0)

    def __init__(self, spec: DataSpec, eta: float = 0.0, **shared: Any) -> None:  # noqa: ANN401
        """See the class."""
        super().__init__(spec, **shared)
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta={eta} must lie in [0, 1]")
        self.path, self.times, self.eta = Cosine(), Uniform(), eta

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The squared error of the predicted noise."""
        x_0, ranks = self._noise_and_ranks(batch.x)
        t = self.times(ranks)
        noise = self.predict(between(self.path, batch.x, x_0, t), t, self._labels(batch))
        return {"loss": (noise - x_0).square().mean()}

    def data_of(self, predicted: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """What is left without the noise."""
        return (x - self.path.sigma(t) * predicted) / self.path.alpha(t)

    def solve(self, field: Field, x: Tensor, steps: int, temperature: float = 1.0) -> Tensor:
        """Even steps from t = 0 to 1, the last of which shows what is predicted of the picture."""
        limit = max(abs(bound) for bound in self.spec.bounds)
        times = torch.linspace(0.0, 1.0, steps + 1, device=x.device)
        return ddim(field, self.path, x, times, self.eta, limit, temperature)
