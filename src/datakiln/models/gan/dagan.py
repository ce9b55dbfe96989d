"""Data augmentation GAN (Antoniou et al., 2018, https://arxiv.org/abs/1711.04340): from a picture another of its class.

Told a picture in place of a class, so that it can be asked about classes that it has never seen. The critic sees pairs:
a real picture with another of its class, or with what was made of it; a mere copy is found out by that.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.models.base import scaled
from datakiln.models.gan.picture_to_picture import PictureToPicture, variety
from datakiln.nets.conv import ConvCritic
from datakiln.nets.losses import Wasserstein, gradient_penalty
from datakiln.nets.translators import Varier
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling


class DAGAN(PictureToPicture):
    """A U-Net told a picture and noise, and a critic of pairs with the gradient penalty of Gulrajani et al. (2017).

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        penalty: Weight of the gradient penalty.
        **training: See `AdversarialModel`.

    Raises:
        UserError: Pictures without classes.
    """

    beside = "partner"
    varies = True
    options = frozenset({"truncation"})
    directions = {"wasserstein": "lower"}

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 64,
        width: int = 32,
        penalty: float = 10.0,
        **training: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if not spec.classes:
            raise UserError("DAGAN learns from pairs of a class; give pictures with classes: subfolders of data.path")
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim} must be at least 1")
        channels, height, wide = spec.shape
        critic = ConvCritic((2 * channels, height, wide), width, "group", offset=False)
        self.penalty = penalty  # before the base, which asks whether there is one
        super().__init__(spec, Varier(spec.shape, latent_dim, width), critic, Wasserstein(), **training)
        self.latent_dim, self.width = latent_dim, width

    @property
    def has_penalty(self) -> bool:
        """The gradient penalty."""
        return self.penalty > 0

    @property
    def activations(self) -> int:
        """Of the largest map."""
        return self.width * math.prod(self.spec.shape[1:])

    def latents(self, n: int) -> Tensor:
        """z, shape (n, latent_dim)."""
        return torch.randn(n, self.latent_dim, device=self.device)

    def transform(self, x: Tensor, target: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Another picture of the class of each, by fresh noise."""
        return self.generator(x, scaled(self.latents(len(x)), options)).float()

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Pairs of real pictures of a class against a picture with what was made of it."""
        partner = self._partner(batch)
        fake = self.detached_fakes(batch.x, self.latents(len(batch.x)))
        real_pair, fake_pair = torch.cat([batch.x, partner], dim=1), torch.cat([batch.x, fake.to(batch.x.dtype)], dim=1)
        of_real, of_fake = self.critic(real_pair).score, self.critic(fake_pair).score
        figures = {
            "wasserstein": of_real.detach().mean() - of_fake.detach().mean(),
            "diversity": variety(fake, partner),
        }
        loss = self.loss.critic(of_real, of_fake)
        if self.has_penalty and self.is_penalty_due:
            figures["penalty"] = self.penalty * gradient_penalty(
                lambda pair: self.critic(pair).score, real_pair, fake_pair
            )
            loss = loss + self.lazy * figures["penalty"]
        return {"loss": loss, **figures}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The critic's score of pairs, and how far two pictures made of one are apart, over that of two real ones."""
        made = self.generator(batch.x, self.latents(len(batch.x)))
        loss = self.loss.generator(self.critic(torch.cat([batch.x, made.to(batch.x.dtype)], dim=1)).score)
        with torch.no_grad():
            real = F.l1_loss(self._partner(batch), batch.x).clamp(min=1e-6)
            copied = F.l1_loss(made.float(), batch.x) / real
        return {"loss": loss, "distance_from_input": copied}

    def _partner(self, batch: Batch) -> Tensor:
        if batch.other is None:
            raise UserError("DAGAN learns from pairs of a class; leave data.partners at true")
        return batch.other
