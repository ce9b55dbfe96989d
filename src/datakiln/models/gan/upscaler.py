"""Single-picture super-resolution: a residual net with L1 (Lim et al., 2017, https://arxiv.org/abs/1707.02921).

With an adversarial term where it is asked for (Ledig et al., 2017, https://arxiv.org/abs/1609.04802): sharper, and less
true to the single pixel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.models.gan.picture_to_picture import PictureToPicture
from datakiln.models.pictures import cosine_rate
from datakiln.nets.conv import ConvCritic
from datakiln.nets.losses import Hinge
from datakiln.nets.translators import Enlarger
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

FACTORS = (2, 4, 8)
WARM_UP = 0.02  # share of training in which the rate rises


class Upscaler(PictureToPicture):
    """A picture of any size to one `factor` times as large; learns from pictures and what averaging leaves of them.

    Arguments:
        spec: What one large picture looks like.
        factor: 2, 4 or 8.
        width: Channels of every map.
        blocks: Residual blocks.
        adversarial: Weight of the adversarial term beside L1; 0 for none, and then there is no critic.
        critic_width: Channels of the critic's largest map.
        **training: See `AdversarialModel`.

    Raises:
        UserError: A side that the factor does not divide, or that a critic's nets do not reach.
    """

    doubles = False
    alone = "its only optimizer is stepped by one process"
    directions = {"l1": "lower", "psnr": "higher"}

    def __init__(
        self,
        spec: DataSpec,
        factor: int = 4,
        width: int = 48,
        blocks: int = 6,
        adversarial: float = 0.0,
        critic_width: int = 32,
        **training: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if factor not in FACTORS:
            raise UserError(f"model.factor={factor} must be one of {', '.join(map(str, FACTORS))}")
        if spec.kind == "image" and spec.shape[1] % factor:
            raise UserError(
                f"model.factor={factor} does not divide the side of {spec.shape[1]} px; choose another side"
            )
        if adversarial < 0:
            raise ValueError(f"adversarial={adversarial} must not be negative")
        channels = spec.shape[0]
        critic = ConvCritic(spec.shape, critic_width, "spectral", offset=False) if adversarial else nn.Identity()
        super().__init__(spec, Enlarger(channels, factor, width, blocks), critic, Hinge(), **training)
        self.factor, self.adversarial, self.width = factor, adversarial, width

    @property
    def takes(self) -> tuple[int, ...]:
        """A picture of the side divided by the factor; `transform` takes any other size too."""
        channels, height, width = self.spec.shape
        return channels, height // self.factor, width // self.factor

    @property
    def enlarges(self) -> int:
        """The factor."""
        return self.factor

    @property
    def activations(self) -> int:
        """Of the map before the picture."""
        return self.width * math.prod(self.spec.shape[1:])

    def rate(self) -> float:
        """Rising for a moment, then falling along a cosine."""
        return cosine_rate(self.progress, WARM_UP)

    def shrunk(self, x: Tensor) -> Tensor:
        """Large pictures (B, C, H, W) as they are given to the net: means of factor x factor pixels."""
        return F.avg_pool2d(x, self.factor)

    def transform(self, x: Tensor, target: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures (B, C, h, w) of any size to (B, C, factor * h, factor * w)."""
        return self.generator(x).float().clamp(-1.0, 1.0)

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The critic's loss on pictures and on enlarged ones; nothing without a critic."""
        if not self.adversarial:
            return {"loss": batch.x.new_zeros(())}
        fake = self.detached_fakes(self.shrunk(batch.x))
        of_real, of_fake = self.critic(batch.x).score, self.critic(fake).score
        return {"loss": self.loss.critic(of_real, of_fake), **self.judged(of_real, of_fake)}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """L1, with the adversarial term where there is one, and the peak signal-to-noise ratio in dB."""
        made = self.generator(self.shrunk(batch.x))
        l1 = F.l1_loss(made.float(), batch.x.float())
        with torch.no_grad():
            squares = (made.float().clamp(-1, 1) - batch.x).square().flatten(1).mean(dim=1)
            psnr = (10.0 * torch.log10(4.0 / squares.clamp(min=1e-10))).mean()
        loss = l1
        if self.adversarial:
            loss = loss + self.adversarial * self.loss.generator(self.critic(made).score)
        return {"loss": loss, "l1": l1, "psnr": psnr}

    def judgement(self, batch: Batch) -> Tensor:
        """See `AdversarialModel`; refused without a critic."""
        return self.critic(batch.x).score.flatten().float() if self.adversarial else super().judgement(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """See `PictureToPicture`; without a critic the generator's update alone."""
        if self.adversarial:
            super().training_step(batch, batch_idx)
            return
        self.set_rates()
        self._update("generator", batch, self.optimizers())
        self.generator_updates += 1

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's union of forms)
        """Both sides' optimizers; without a critic the generator's alone."""
        (_, make), (_, schedule) = self.optimizer_factories, self.scheduler_factories
        if self.adversarial or make is None:
            return super().configure_optimizers()
        optimizer = make(self.generator_parameters())
        return [optimizer], [] if schedule is None else [schedule(optimizer)]
