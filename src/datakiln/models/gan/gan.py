"""Generative adversarial network with fully connected nets (Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.dense import DenseCritic, DenseGenerator
from datakiln.nets.losses import Minimax, NonSaturating
from datakiln.spec import DataSpec


class GAN(ImageGAN):
    """The original: the conditional form (Mirza and Osindero, 2014) tells both nets the class by concatenation.

    We use leaky rectifiers where the paper's critic has maxout units.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        hidden: Widths of the generator's hidden layers, and reversed of the critic's.
        saturating: Whether the generator minimises the game's own value (eq. 1) instead of -log D(G(z)) (section 3).
        label_smoothing: The critic's target of real pictures is 1 less this (Salimans et al., 2016).
        conditional: False, true, or a way; see `way_of`.
        **options: See `ImageGAN`.
    """

    doubles = False
    is_mean = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 100,
        hidden: Sequence[int] = (256, 512),
        saturating: bool = False,
        label_smoothing: float = 0.0,
        conditional: bool | str = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        way, classes = way_of(conditional, "concatenation", spec)
        generator = DenseGenerator(spec.shape, latent_dim, hidden, classes)
        critic = DenseCritic(spec.shape, tuple(reversed(hidden)), classes, way)
        loss = (Minimax if saturating else NonSaturating)(label_smoothing)
        super().__init__(spec, generator, critic, loss, latent_dim, way, **options)
