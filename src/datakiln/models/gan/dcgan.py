"""Deep convolutional GAN (Radford et al., 2016, https://arxiv.org/abs/1511.06434)."""

from __future__ import annotations

from typing import Any

from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.conv import ConvCritic, ConvGenerator
from datakiln.nets.losses import NonSaturating
from datakiln.spec import DataSpec


class DCGAN(ImageGAN):
    """Strided convolutions and BatchNorm on both sides; conditional by concatenation, or as AC-GAN (Odena, 2017).

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        label_smoothing: The critic's target of real pictures is 1 less this (Salimans et al., 2016).
        conditional: False, true, or a way; see `way_of`.
        **options: See `ImageGAN`.
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 100,
        width: int = 64,
        label_smoothing: float = 0.0,
        conditional: bool | str = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        way, classes = way_of(conditional, "concatenation", spec)
        generator = ConvGenerator(spec.shape, latent_dim, width, classes)
        critic = ConvCritic(spec.shape, width, "batch", classes, way)
        super().__init__(spec, generator, critic, NonSaturating(label_smoothing), latent_dim, way, **options)
