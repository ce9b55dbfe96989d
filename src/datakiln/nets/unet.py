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

GROUPS = 8  # of channels that are normalised together
LARGEST = 16  # side of the largest map that a picture is brought to
SMALLEST = 8  # side from which maps are not halved any more
MOST_PIXELS = 4  # side of a patch at most: what is cut into larger ones loses its details


class UNet(nn.Module):
    """Pictures, times and labels to as many or more channels, of pictures of any side.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the largest map; every smaller one has twice as many, at most four times the width.
        blocks: Residual blocks of each map on the way down; on the way up there is one more.
        classes: Number of classes; 0 for a net that is not told.
        dropout: Share of hidden units left out while training.
        outputs: Channels that come out; those of a picture unless given.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 64,
        blocks: int = 1,
        classes: int = 0,
        dropout: float = 0.0,
        outputs: int | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width={width} must be a multiple of {GROUPS}")
        self.patch, maps = layout(shape[1])
        widths = [width * min(2**i, 4) for i in range(maps)]
        told = 4 * width
        self.time = nn.Sequential(Linear(2 * FREQUENCIES, told), nn.SiLU(), Linear(told, told))
        self.label = nn.Embedding(classes, told) if classes else None
        self.enter = nn.Conv2d(shape[0] * self.patch**2, width, 3, padding=1)
        self.down, self.up, self.shrink, self.grow = (nn.ModuleList() for _ in range(4))
        skips, before = [width], width
        for i, wide in enumerate(widths):
            level = nn.ModuleList()
            for _ in range(blocks):
                level.append(ResidualBlock(before, wide, told, dropout))
                skips.append(wide)
                before = wide
            self.down.append(level)
            if i < maps - 1:
                self.shrink.append(nn.Conv2d(wide, wide, 3, stride=2, padding=1))
                skips.append(wide)
        self.middle = nn.ModuleList([ResidualBlock(before, before, told, dropout), Attention(before)])
        for i, wide in reversed(list(enumerate(widths))):
            level = nn.ModuleList()
            for _ in range(blocks + 1):
                level.append(ResidualBlock(before + skips.pop(), wide, told, dropout))
                before = wide
            self.up.append(level)
            if i:
                self.grow.append(nn.Conv2d(wide, wide, 3, padding=1))
        self.normalise = nn.GroupNorm(GROUPS, before)
        self.leave = nn.Conv2d(before, (outputs or shape[0]) * self.patch**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        self.activations = width * -(-shape[1] // self.patch) ** 2
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
        skips = [h]
        for i, level in enumerate(self.down):
            for block in level:  # type: ignore[attr-defined]
                h = block(h, told)
                skips.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h)
                skips.append(h)
        h = self.middle[1](self.middle[0](h, told))
        for i, level in enumerate(self.up):
            for block in level:  # type: ignore[attr-defined]
                h = block(torch.cat([h, skips.pop()], dim=1), told)
            if i < len(self.grow):
                h = self.grow[i](F.interpolate(h, size=skips[-1].shape[2:], mode="nearest"))
        out = F.pixel_shuffle(self.leave(F.silu(self.normalise(h))), self.patch)
        return out[:, :, :height, :wide].contiguous()


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; time and class scale and shift the map between them.

    Arguments:
        width_in: Channels that come in.
        width_out: Channels that go out.
        told: Width of the vector of time and class.
        dropout: See `UNet`.
    """

    def __init__(self, width_in: int, width_out: int, told: int, dropout: float) -> None:
        """See the class."""
        super().__init__()
        self.first_norm = nn.GroupNorm(GROUPS, width_in)
        self.first = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.told = Linear(told, 2 * width_out)
        self.second_norm = nn.GroupNorm(GROUPS, width_out)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(width_out, width_out, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # each block begins as its shortcut
        self.shortcut = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(B, width_in, H, W) and (B, told) to (B, width_out, H, W)."""
        h = self.first(F.silu(self.first_norm(x)))
        scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.second_norm(h), 1.0 + scale)
        return self.shortcut(x) + self.second(self.dropout(F.silu(h)))


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
        self.normalise = nn.GroupNorm(GROUPS, width)
        self.read = nn.Conv2d(width, 3 * width, 1)
        self.write = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.write.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        height, wide = x.shape[2:]
        parts = self.read(self.normalise(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        mixed = F.scaled_dot_product_attention(parts[:, 0], parts[:, 1], parts[:, 2])
        mixed = mixed.transpose(-1, -2).flatten(1, 2).unflatten(-1, (height, wide))
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
