"""Least-squares GAN (Mao et al., 2017, https://arxiv.org/abs/1611.04076)."""

from __future__ import annotations

from typing import Any

from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.conv import ConvCritic, ConvGenerator
from datakiln.nets.losses import LeastSquares
from datakiln.spec import DataSpec


class LSGAN(ImageGAN):
    """The nets of `DCGAN`, trained on squared distances from the targets 0 and 1.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        label_smoothing: The critic's target of real pictures is 1 less this.
        conditional: False, true (concatenation), or a way; see `way_of`.
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
        super().__init__(spec, generator, critic, LeastSquares(label_smoothing), latent_dim, way, **options)
