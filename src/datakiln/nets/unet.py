"""The convolutional net that diffusion models of pictures work with, small enough for a processor.

After Ho et al. (2020, appendix B) and Dhariwal and Nichol (2021): residual blocks with GroupNorm, told time and class
by a scale and a shift, and attention in the smallest map. Patches of pixels become channels at the entrance
(space-to-depth, Shi et al., 2016), since a map of 28 x 28 costs four times what one of 14 x 14 does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.nets.conv import embedded
from datakiln.nets.denoiser import FREQUENCIES, time_features
from datakiln.nets.linear import Linear
from datakiln.nets.transformer import attended

GROUPS = 8  # of channels that are normalised together
LARGEST = 16  # side of the largest map that a picture is brought to
SMALLEST = 8  # side from which maps are not halved any more
MOST_PIXELS = 4  # side of a patch at most: what is cut into larger ones loses its details


class UNet(nn.Module):
    """Pictures, times and labels to as many or more channels, of pictures of any side.

    Maps on the way up are added to those on the way down, not joined with them, and most blocks work on the smallest
    map (Hoogeboom et al., 2023): on a processor that is three times as fast.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the largest map; every smaller one has twice as many, at most four times the width.
        blocks: Residual blocks of each map but the smallest, on the way down and on the way up.
        middle: Residual blocks of the smallest map, each followed by attention.
        classes: Number of classes; 0 for a net that is not told.
        dropout: Share of hidden units left out while training.
        outputs: Channels that come out; those of a picture unless given.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 64,
        blocks: int = 1,
        middle: int = 3,
        classes: int = 0,
        dropout: float = 0.0,
        outputs: int | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width={width} must be a multiple of {GROUPS}")
        if blocks < 1 or middle < 1:
            raise ValueError(f"blocks={blocks} and middle={middle} must be at least 1")
        self.patch, maps = layout(shape[1])
        widths = [width * min(2**i, 4) for i in range(maps)]
        told = 4 * width
        self.time = nn.Sequential(Linear(2 * FREQUENCIES, told), nn.SiLU(), Linear(told, told))
        self.label = nn.Embedding(classes, told) if classes else None
        self.enter = nn.Conv2d(shape[0] * self.patch**2, width, 3, padding=1)

        def level(wide: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(wide, told, dropout) for _ in range(blocks))

        steps = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(level(wide) for wide, _ in steps)
        self.shrink = nn.ModuleList(nn.Conv2d(wide, deeper, 3, stride=2, padding=1) for wide, deeper in steps)
        self.middle = nn.ModuleList(ResidualBlock(widths[-1], told, dropout) for _ in range(middle))
        self.attention = nn.ModuleList(Attention(widths[-1]) for _ in range(middle))
        self.grow = nn.ModuleList(nn.Conv2d(deeper, wide, 1) for wide, deeper in reversed(steps))
        self.up = nn.ModuleList(level(wide) for wide, _ in reversed(steps))
        self.normalise = GroupNorm(GROUPS, width)
        self.leave = nn.Conv2d(width, (outputs or shape[0]) * self.patch**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        self.activations = width * (-(-shape[1] // self.patch)) ** 2
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, C, H, W), times (B,) in [0, 1] and labels (B,), -1 for none, to (B, outputs, H, W)."""
        height, wide = x.shape[2:]
        x = F.pad(x, (0, -wide % self.patch, 0, -height % self.patch))
        told = self.time(time_features(t))
        if self.label is not None:
            told = told + embedded(self.label, y)
        told = F.silu(told)
        h = self.enter(F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last))
        kept = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, told)
                kept.append(h)
            h = shrink(h)
        for block, attention in zip(self.middle, self.attention, strict=True):
            h = attention(block(h, told))
        for blocks, grow in zip(self.up, self.grow, strict=True):
            h = F.interpolate(grow(h), size=kept[-1].shape[2:], mode="nearest")
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h + kept.pop(), told)
        out = F.pixel_shuffle(self.leave(F.silu(self.normalise(h))), self.patch)
        return out[:, :, :height, :wide].contiguous()


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, in single precision on a processor, which takes three times as long in bfloat16."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name in torch)
        """Any shape (B, C, ...) to the same."""
        if input.device.type != "cpu" or input.dtype == torch.float32:
            return super().forward(input)
        return super().forward(input.float()).to(input.dtype)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; time and class scale and shift the map between them.

    Arguments:
        width: Channels.
        told: Width of the vector of time and class; 0 for a block that is told neither.
        dropout: See `UNet`.
    """

    def __init__(self, width: int, told: int, dropout: float = 0.0) -> None:
        """See the class."""
        super().__init__()
        self.first_norm = GroupNorm(GROUPS, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.told = Linear(told, 2 * width) if told else None
        self.second_norm = GroupNorm(GROUPS, width)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # each block begins as its shortcut

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """(B, width, H, W) and (B, told) to (B, width, H, W)."""
        h = self.second_norm(self.first(F.silu(self.first_norm(x))))
        if self.told is not None:
            scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1.0 + scale)
        return x + self.second(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over the positions of a map, in one head for every 32 channels.

    Arguments:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        """See the class."""
        super().__init__()
        self.heads = max(width // 32, 1)
        if width % self.heads:
            self.heads = 1
        self.normalise = GroupNorm(GROUPS, width)
        self.read = nn.Conv2d(width, 3 * width, 1)
        self.write = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.write.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        height, wide = x.shape[2:]
        parts = self.read(self.normalise(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        mixed = attended(*parts.unbind(1)).transpose(-1, -2).flatten(1, 2).unflatten(-1, (height, wide))
        return x + self.write(mixed.contiguous(memory_format=torch.channels_last))


def layout(side: int) -> tuple[int, int]:
    """Side of a patch in pixels, and how many maps there are, each half of the one before."""
    patch, maps = 1, 1
    while side > patch * LARGEST and patch < MOST_PIXELS:
        patch *= 2
    side = -(-side // patch)
    while side > SMALLEST:
        side, maps = -(-side // 2), maps + 1
    return patch, maps
