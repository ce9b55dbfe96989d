"""Wasserstein GAN with a gradient penalty (Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from datakiln.models.gan.conv import conv_nets
from datakiln.models.gan.pictures import ImageGAN
from datakiln.nets.losses import Wasserstein, gradient_penalty
from datakiln.spec import DataSpec


class WGANGP(ImageGAN):
    """The critic's gradients are held near norm 1; its layers are normalised by groups of channels.

    The paper forbids BatchNorm in the critic, since the penalty is on single samples, and proposes LayerNorm, which
    GroupNorm generalises.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        penalty: Weight of the gradient penalty (lambda in algorithm 1).
        conditional: False, true (concatenation), or a way; see `way_of`.
        **options: See `ImageGAN`.
    """

    mixes = "a penalty on the critic's gradients, which are not of one picture"

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 128,
        width: int = 64,
        penalty: float = 10.0,
        conditional: bool | str = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        generator, critic, way = conv_nets(spec, latent_dim, width, conditional, "concatenation", "group", offset=False)
        super().__init__(spec, generator, critic, Wasserstein(), latent_dim, way, **options)
        self.penalty = penalty

    def penalties(self, real: Tensor, fake: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        """The gradient penalty beside whatever else was asked for."""
        penalty = gradient_penalty(lambda x: self.critic(x, y).score, real, fake)
        return {**super().penalties(real, fake, y), "penalty": self.penalty * penalty}
