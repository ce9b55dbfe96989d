"""An autoencoder of pictures whose latents are maps: they keep where things are (Rombach et al., 2022, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.nets.conv_autoencoder import LevelHead
from datakiln.nets.resized import DoublingConv
from datakiln.nets.unet import GROUPS, ResidualBlock


class MapAutoencoder(nn.Module):
    """Pictures to means and log-variances of latent maps, and latents to what a likelihood of pictures needs.

    Arguments:
        shape: (C, H, W) of a picture; sides that are no multiples of `factor` are filled up by repeating pixels.
        channels: Of the latent maps.
        factor: How many times smaller their sides are: 2, 4 or 8.
        width: Channels of the nets.
    """

    def __init__(self, shape: tuple[int, ...], channels: int, factor: int, width: int) -> None:
        """See the class."""
        super().__init__()
        self.sides = shape[1:]
        self.lacks = (0, -shape[2] % factor, 0, -shape[1] % factor)
        self.width, self.head = width, LevelHead(shape[0])
        halvings = factor.bit_length() - 2  # the first is made by turning pixels into channels
        down: list[nn.Module] = [nn.Conv2d(4 * shape[0], width, 3, padding=1), ResidualBlock(width, 0)]
        up: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), ResidualBlock(width, 0)]
        for _ in range(halvings):
            down += [nn.Conv2d(width, width, 3, stride=2, padding=1), ResidualBlock(width, 0)]
            # (a place is kept free where once stood the doubling by itself: weights have their names by place)
            up += [nn.Identity(), DoublingConv(width, width), ResidualBlock(width, 0)]
        down += [nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, 2 * channels, 3, padding=1)]
        up += [nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, 4 * self.head.width, 3, padding=1)]
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, C, H, W) to mean and log-variance of q(z | x), each (B, channels, H / factor, W / factor)."""
        x = F.pad(x, self.lacks, mode="replicate") if any(self.lacks) else x
        inside = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        mean, log_var = self.down(inside).chunk(2, dim=1)
        return mean, log_var.clamp(-10.0, 10.0)

    def _decode(self, z: Tensor) -> Tensor:
        whole = F.pixel_shuffle(self.up(z.contiguous(memory_format=torch.channels_last)), 2)
        return whole[:, :, : self.sides[0], : self.sides[1]]

    def log_prob(self, z: Tensor, x: Tensor) -> Tensor:
        """Log p(x | z) in nats, shape (B,)."""
        return self.head.log_prob(self._decode(z), x)

    def mean(self, z: Tensor) -> Tensor:
        """Means of p(x | z) at level centres, (B, C, H, W)."""
        return self.head.mean(self._decode(z))
