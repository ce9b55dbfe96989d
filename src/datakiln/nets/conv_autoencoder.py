"""Convolutional encoder and decoder of pictures, with an exact likelihood of their 256 levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from datakiln.nets.conv import channels, one_hot
from datakiln.nets.heads import Head
from datakiln.nets.levels import LIMITS, LOG_SCALE, at_levels, level_log_prob
from datakiln.nets.linear import mlp
from datakiln.spec import DataSpec, doublings

WIDTH = 32  # channels of the largest map


class LevelHead(Head):
    """Each of 256 levels has the probability a logistic density gives its interval (Salimans et al., 2017, eq. 2).

    The lowest level takes all that lies below it, the highest all above, so the probabilities sum to 1: the bound of a
    VAE is one on the probability of the picture itself, not on a density. One logistic a pixel, with its own scale.

    Arguments:
        parts: Channels of a picture.
    """

    def __init__(self, parts: int) -> None:
        """See the class."""
        super().__init__()
        self.width = 2 * parts  # a location and a scale each

    def _logistic(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        location, log_scale = parameters.float().chunk(2, dim=1)
        return location, (log_scale + LOG_SCALE).clamp(*LIMITS)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-probability of pictures x, shape (B, C, H, W), at level centres, given (B, 2 C, H, W)."""
        location, log_scale = self._logistic(parameters)
        return level_log_prob(x, location, log_scale).flatten(1).sum(dim=1)

    def draw(self, parameters: Tensor) -> Tensor:
        """Pictures drawn from the likelihood, at level centres, shape (B, C, H, W)."""
        location, log_scale = self._logistic(parameters)
        u = torch.rand_like(location).clamp(1e-6, 1 - 1e-6)
        x = location + torch.exp(log_scale) * torch.logit(u)
        return at_levels(x)

    def mean(self, parameters: Tensor) -> Tensor:
        """The locations, at level centres, shape (B, C, H, W): what remains of a picture without its pixels' noise."""
        return at_levels(self._logistic(parameters)[0])


class ImageAutoencoder(nn.Module):
    """Strided convolutions down to a small map, fully connected layers to z, and back.

    Arguments:
        spec: A picture's spec.
        latent_dim: Size of z.
        hidden: Widths of the encoder's fully connected layers.
        conditional: Whether both nets are told the label.
    """

    def __init__(self, spec: DataSpec, latent_dim: int, hidden: Sequence[int], conditional: bool) -> None:
        """See the class."""
        super().__init__()
        self.base, count = doublings(spec.shape[1])
        self.classes = len(spec.classes) if conditional else 0
        self.head = LevelHead(spec.shape[0])
        maps = channels(WIDTH, count)
        flat = maps[0] * self.base**2
        self.down = nn.Sequential(*_strided([spec.shape[0], *reversed(maps)]), nn.Flatten())
        self.encoder = mlp(flat + self.classes, hidden, 2 * latent_dim)
        self.decoder = mlp(latent_dim + self.classes, tuple(reversed(hidden)), flat)
        self.up = nn.Sequential(*_doubling([*maps, self.head.width]))

    def _given(self, h: Tensor, y: Tensor | None) -> Tensor:
        return torch.cat([h, one_hot(y, self.classes, h)], dim=1) if self.classes else h

    def encode(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Mean and log-variance side by side, shape (B, 2 * latent_dim)."""
        return self.encoder(self._given(self.down(x), y))

    def _decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.up(self.decoder(self._given(z, y)).unflatten(1, (-1, self.base, self.base)))

    def log_prob(self, z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        """Log p(x | z) in nats, shape (B,)."""
        return self.head.log_prob(self._decode(z, y), x)

    def draw(self, z: Tensor, y: Tensor | None) -> Tensor:
        """A draw from p(x | z), shape (B, C, H, W)."""
        return self.head.draw(self._decode(z, y))

    def mean(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The means of p(x | z), shape (B, C, H, W)."""
        return self.head.mean(self._decode(z, y))


def _strided(widths: Sequence[int]) -> list[nn.Module]:
    return [
        layer
        for width_in, width_out in zip(widths, widths[1:], strict=False)
        for layer in (nn.Conv2d(width_in, width_out, 4, 2, 1), nn.SiLU())
    ]


def _doubling(widths: Sequence[int]) -> list[nn.Module]:
    return [
        layer
        for width_in, width_out in zip(widths, widths[1:], strict=False)
        for layer in (nn.SiLU(), nn.ConvTranspose2d(width_in, width_out, 4, 2, 1))
    ]
