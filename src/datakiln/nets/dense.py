"""Fully connected generators and critics of pictures (Goodfellow et al., 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from datakiln.nets.conv import SLOPE, Conditional, CriticHead, Verdict, one_hot
from datakiln.nets.linear import Linear

DROPOUT = 0.3  # in the critic, as in the paper, which did not say how much


class DenseGenerator(nn.Module):
    """Latents to pictures.

    Arguments:
        shape: (C, H, W) of a picture.
        latent_dim: Size of z.
        hidden: Widths of the hidden layers.
        classes: Number of classes that z is joined with, one-hot; 0 for an unconditional net.
    """

    def __init__(self, shape: tuple[int, ...], latent_dim: int, hidden: Sequence[int], classes: int = 0) -> None:
        """See the class."""
        super().__init__()
        self.shape, self.classes = shape, classes
        layers: list[nn.Module] = []
        width_in = latent_dim + classes
        for width in hidden:
            layers += [Linear(width_in, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            width_in = width
        self.layers = nn.Sequential(*layers, Linear(width_in, math.prod(shape)), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z, shape (B, latent_dim), and labels (B,) to pictures (B, C, H, W)."""
        if self.classes:
            z = torch.cat([z, one_hot(y, self.classes, z)], dim=1)
        return self.layers(z).unflatten(1, self.shape)


class DenseCritic(nn.Module):
    """Pictures to scores.

    Arguments:
        shape: (C, H, W) of a picture.
        hidden: Widths of the hidden layers.
        classes: Number of classes; 0 for an unconditional net.
        conditional: "concatenation" joins the picture with the class, one-hot; for the others see `ConvCritic`.
    """

    def __init__(
        self, shape: tuple[int, ...], hidden: Sequence[int], classes: int = 0, conditional: Conditional = "none"
    ) -> None:
        """See the class."""
        super().__init__()
        self.joined = classes if conditional == "concatenation" else 0
        layers: list[nn.Module] = []
        width_in = math.prod(shape) + self.joined
        for width in hidden:
            layers += [Linear(width_in, width), nn.LeakyReLU(SLOPE), nn.Dropout(DROPOUT)]
            width_in = width
        self.layers = nn.Sequential(*layers)
        self.head = CriticHead(width_in, classes, conditional)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), and labels (B,) to a verdict."""
        x = x.flatten(1)
        if self.joined:
            x = torch.cat([x, one_hot(y, self.joined, x)], dim=1)
        return self.head(self.layers(x), y)
