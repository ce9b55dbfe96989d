"""Spectrally normalised GAN (Miyato et al., 2018, https://arxiv.org/abs/1802.05957)."""

from __future__ import annotations

from typing import Any

from datakiln.models.gan.conv import conv_nets
from datakiln.models.gan.pictures import ImageGAN
from datakiln.nets.losses import Hinge
from datakiln.spec import DataSpec


class SNGAN(ImageGAN):
    """A critic of Lipschitz layers and the hinge loss; conditional by projection (Miyato and Koyama, 2018).

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        conditional: False, true (projection), or a way; see `way_of`.
        **options: See `ImageGAN`.
    """

    mixes = "spectral norm, whose state goes with the weights of every step"

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 128,
        width: int = 64,
        conditional: bool | str = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        generator, critic, way = conv_nets(spec, latent_dim, width, conditional, "projection", "spectral", offset=False)
        super().__init__(spec, generator, critic, Hinge(), latent_dim, way, **options)
