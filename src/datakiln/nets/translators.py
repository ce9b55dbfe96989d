"""Nets that take a picture and give one, and the critic of patches that judges them.

All are convolutional and size themselves from the side; they work in model space, [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.nets.conv import SLOPE, small_normal
from datakiln.spec import doublings

MOST_HALVINGS = 2  # of the translator (Johnson et al., 2016)
MOST_STRIDES = 3  # of the critic of patches (Isola et al., 2017, appendix 6.1.2)
SKIP_WIDEST = 4  # channels stop growing at this many times the width


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, instance-normalised, borders mirrored (Johnson et al., 2016)."""

    def __init__(self, width: int) -> None:
        """Arguments: width: channels in and out."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        return x + self.layers(x)


class Translator(nn.Module):
    """A picture to one of the other domain: down at most twice, residual blocks, up again (Zhu et al., 2017, 7.2).

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the largest map; twice as many at each halving.
        blocks: Residual blocks of the smallest map.
    """

    def __init__(self, shape: tuple[int, ...], width: int = 32, blocks: int = 4) -> None:
        """See the class."""
        super().__init__()
        if blocks < 1:
            raise ValueError(f"blocks={blocks} must be at least 1")
        count = min(MOST_HALVINGS, doublings(shape[1])[1])
        maps = [width * 2**i for i in range(count + 1)]
        layers = _normed(nn.Conv2d(shape[0], width, 5, padding=2, padding_mode="reflect", bias=False), width)
        for narrow, wide in zip(maps, maps[1:], strict=False):
            layers += _normed(nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), wide)
        layers += [ResidualBlock(maps[-1]) for _ in range(blocks)]
        for wide, narrow in zip(maps[::-1], maps[-2::-1], strict=False):
            # 4 x 4 covers every pixel equally often, unlike the paper's 3 x 3, which leaves a chequered pattern
            layers += _normed(nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False), narrow)
        layers += [nn.Conv2d(width, shape[0], 5, padding=2, padding_mode="reflect"), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(small_normal)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.layers(x.contiguous(memory_format=torch.channels_last))


def _normed(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(width, affine=True), nn.ReLU(inplace=True)]


class PatchCritic(nn.Module):
    """Scores of overlapping patches of a picture (Isola et al., 2017).

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the first map; every later one has twice as many.
    """

    def __init__(self, shape: tuple[int, ...], width: int = 32) -> None:
        """See the class."""
        super().__init__()
        count = min(MOST_STRIDES, doublings(shape[1])[1])
        maps = [shape[0], *(width * 2**i for i in range(count))]
        layers: list[nn.Module] = []
        for i, (narrow, wide) in enumerate(zip(maps, maps[1:], strict=False)):
            layers.append(nn.Conv2d(narrow, wide, 4, 2, 1, bias=i == 0))
            layers += [nn.InstanceNorm2d(wide, affine=True)] if i else []
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        layers.append(nn.Conv2d(maps[-1], 1, 3, padding=1))
        self.layers = nn.Sequential(*layers)
        self.apply(small_normal)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to scores before any sigmoid, (B, H', W')."""
        return self.layers(x.contiguous(memory_format=torch.channels_last)).squeeze(1)


class Classifier(nn.Module):
    """A small convolutional classifier whose gradients a generator can follow.

    Arguments:
        shape: (C, H, W) of a picture.
        classes: Number of classes.
        width: Channels of the first map.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 32) -> None:
        """See the class."""
        super().__init__()
        layers: list[nn.Module] = []
        maps = [shape[0], width, 2 * width, 2 * width]
        for i, (narrow, wide) in enumerate(zip(maps, maps[1:], strict=False)):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.GroupNorm(8, wide), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)] if i < 2 else []
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        return self.layers(x)


class Modulated(nn.Module):
    """A convolution, normalised by groups, whose maps a latent scales and shifts (Perez et al., 2018).

    Arguments:
        narrow: Channels in.
        wide: Channels out.
        latent_dim: Size of z.
    """

    def __init__(self, narrow: int, wide: int, latent_dim: int) -> None:
        """See the class."""
        super().__init__()
        self.convolution = nn.Conv2d(narrow, wide, 3, padding=1)
        self.norm = nn.GroupNorm(_groups(wide), wide, affine=False)
        self.told = nn.Linear(latent_dim, 2 * wide)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(B, narrow, H, W) and z (B, latent_dim) to (B, wide, H, W)."""
        scale, shift = self.told(z)[:, :, None, None].chunk(2, dim=1)
        return F.leaky_relu(torch.addcmul(shift, self.norm(self.convolution(x)), 1.0 + scale), SLOPE)


def _groups(width: int) -> int:
    return 8 if width % 8 == 0 else 1


class Varier(nn.Module):
    """A picture and noise to another picture like it: a U-Net whose way up is told z at every map.

    After the generator of Antoniou et al. (2018, figure 3), smaller: one convolution a map, and z scales and shifts the
    maps, since a z that only joins the smallest one is easily overheard.

    Arguments:
        shape: (C, H, W) of a picture.
        latent_dim: Size of z.
        width: Channels of the largest map; smaller ones have two and at most four times as many.
    """

    def __init__(self, shape: tuple[int, ...], latent_dim: int, width: int = 32) -> None:
        """See the class."""
        super().__init__()
        base, count = doublings(shape[1])
        self.base = base
        maps = [width * min(2**i, SKIP_WIDEST) for i in range(count + 1)]
        self.enter = nn.Conv2d(shape[0], width, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(narrow, wide, 4, 2, 1), nn.GroupNorm(_groups(wide), wide), nn.LeakyReLU(SLOPE))
            for narrow, wide in zip(maps, maps[1:], strict=False)
        )
        self.seed = nn.Linear(latent_dim, maps[-1] * base**2)
        self.middle = Modulated(2 * maps[-1], maps[-1], latent_dim)
        self.up = nn.ModuleList(
            Modulated(wide + narrow, narrow, latent_dim) for wide, narrow in zip(maps[::-1], maps[-2::-1], strict=False)
        )
        self.leave = nn.Conv2d(width, shape[0], 3, padding=1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Pictures (B, C, H, W) and z (B, latent_dim) to pictures (B, C, H, W)."""
        kept = [F.leaky_relu(self.enter(x.contiguous(memory_format=torch.channels_last)), SLOPE)]
        for layer in self.down:
            kept.append(layer(kept[-1]))
        h = torch.cat([kept.pop(), self.seed(z).unflatten(1, (-1, self.base, self.base)).to(x.dtype)], dim=1)
        h = self.middle(h, z)
        for layer in self.up:
            h = layer(torch.cat([F.interpolate(h, scale_factor=2.0, mode="nearest"), kept.pop()], dim=1), z)
        return torch.tanh(self.leave(h))


class Enlarger(nn.Module):
    """A small picture of any size to one `factor` times as large: what bicubic interpolation lacks is learnt.

    The residual net of Lim et al. (2017, EDSR) without normalisation, which would tie the result to the size: blocks at
    the small side, then sub-pixel convolutions (Shi et al., 2016).

    Arguments:
        channels: Of a picture.
        factor: 2, 4 or 8.
        width: Channels of every map.
        blocks: Residual blocks.
    """

    def __init__(self, channels: int, factor: int, width: int = 48, blocks: int = 6) -> None:
        """See the class."""
        super().__init__()
        self.factor = factor
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(blocks)
        )
        steps: Sequence[int] = [2] * (factor.bit_length() - 1)
        self.grow = nn.Sequential(
            *[
                layer
                for step in steps
                for layer in (nn.Conv2d(width, width * step**2, 3, padding=1), nn.PixelShuffle(step))
            ]
        )
        self.leave = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.normal_(self.leave.weight, std=1e-3)  # it begins as bicubic interpolation, nearly
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    @property
    def reach(self) -> int:
        """How many pixels of the small picture, each way, a pixel of the large one depends on, at most."""
        return 2 * len(self.blocks) + 1 + 2 + 2 + 2  # blocks, entrance, growing, leaving, interpolation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, factor * h, factor * w)."""
        h = first = self.enter(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = h + block(h)
        large = F.interpolate(x, scale_factor=float(self.factor), mode="bicubic", align_corners=False)
        return large + self.leave(self.grow(h + first))
