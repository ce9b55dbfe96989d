"""Wasserstein GAN with weight clipping (Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datakiln.models.gan.conv import conv_nets
from datakiln.models.gan.pictures import ImageGAN
from datakiln.nets.losses import Wasserstein
from datakiln.spec import DataSpec


class WGAN(ImageGAN):
    """The nets of `DCGAN`; every weight of the critic is clipped after each of its updates.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        clip: Largest magnitude of a critic's weight (c in algorithm 1).
        conditional: False, true (concatenation), or a way; see `way_of`.
        **options: See `ImageGAN`.
    """

    mixes = "BatchNorm, which mixes the pictures of a batch"

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 100,
        width: int = 64,
        clip: float = 0.01,
        conditional: bool | str = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if clip <= 0:
            raise ValueError(f"clip={clip} must be positive")
        generator, critic, way = conv_nets(spec, latent_dim, width, conditional, offset=False)
        super().__init__(spec, generator, critic, Wasserstein(), latent_dim, way, **options)
        self.clip = clip

    @torch.no_grad()
    def after_critic_update(self) -> None:
        """Clips the critic's weights (algorithm 1, line 7)."""
        parameters: list[Tensor] = list(self.critic.parameters())
        torch._foreach_clamp_min_(parameters, -self.clip)
        torch._foreach_clamp_max_(parameters, self.clip)
