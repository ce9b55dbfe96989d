"""What the convolutional GANs of pictures share: their nets, and the signature of those that differ by loss alone."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.conv import Conditional, ConvCritic, ConvGenerator, Norm
from datakiln.nets.losses import AdversarialLoss
from datakiln.spec import DataSpec


def conv_nets(
    spec: DataSpec,
    latent_dim: int,
    width: int,
    conditional: bool | str,
    own: Conditional = "concatenation",
    norm: Norm = "batch",
    offset: bool = True,
) -> tuple[ConvGenerator, ConvCritic, Conditional]:
    """A generator, a critic, and the way the class comes in.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        conditional: False, true for the model's own way, or a way; see `way_of`.
        own: The model's own way.
        norm: The critic's normalisation.
        offset: Whether the critic's score has an offset, which cancels in a difference of scores.
    """
    way, classes = way_of(conditional, own, spec)
    generator = ConvGenerator(spec.shape, latent_dim, width, classes)
    return generator, ConvCritic(spec.shape, width, norm, classes, way, offset=offset), way


class ConvGAN(ImageGAN, abc.ABC):
    """Strided convolutions and BatchNorm on both sides; conditional by concatenation, or as AC-GAN (Odena, 2017).

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        label_smoothing: The critic's target of real pictures is 1 less this (Salimans et al., 2016).
        conditional: False, true (concatenation), or a way; see `way_of`.
        **options: See `ImageGAN`.
    """

    mixes = "BatchNorm, which mixes the pictures of a batch"

    make_loss: ClassVar[Callable[[float], AdversarialLoss]]  # from the label smoothing

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
        generator, critic, way = conv_nets(spec, latent_dim, width, conditional)
        super().__init__(spec, generator, critic, type(self).make_loss(label_smoothing), latent_dim, way, **options)
