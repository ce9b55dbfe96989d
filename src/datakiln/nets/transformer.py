"""Transformers over patches: layers that pictures and series share, and the net of pictures made of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.nets.conv import embedded
from datakiln.nets.denoiser import FREQUENCIES, time_features
from datakiln.nets.linear import Linear

HEADS = 4
TOKENS = 8  # patches of a side, at most: what attention costs grows with their fourth power
WIDER = 2  # numbers of a token for each of `width`, which for a convolutional net are the channels of its largest map


class TransformerLayer(nn.Module):
    """Attention over patches and a net on each, with norms before them.

    Where the layer is told something, that scales and shifts what the norms give, and scales what is added to the
    patches (Peebles and Xie, 2023, section 3.2, adaLN-Zero): each layer begins as nothing.

    Arguments:
        width: Numbers of a patch.
        told: Width of what it is told; 0 for nothing.
        dropout: Share of hidden units left out while training.
    """

    def __init__(self, width: int, told: int = 0, dropout: float = 0.0) -> None:
        """See the class."""
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width, elementwise_affine=not told) for _ in range(2)])
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.net = nn.Sequential(Linear(width, 2 * width), nn.GELU(), Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)
        self.told = Linear(told, 6 * width) if told else None
        if self.told is not None:
            nn.init.zeros_(self.told.weight)
            nn.init.zeros_(self.told.bias)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """(B, patches, width), and (B, told), to the same shape as the first."""
        if self.told is None:
            x = x + self.dropout(self._attended(self.norms[0](x)))
            return x + self.dropout(self.net(self.norms[1](x)))
        shift, scale, share, *of_net = self.told(told).unsqueeze(1).chunk(6, dim=2)
        h = torch.addcmul(shift, self.norms[0](x), 1.0 + scale)
        x = torch.addcmul(x, share, self.dropout(self._attended(h)))
        shift, scale, share = of_net
        h = torch.addcmul(shift, self.norms[1](x), 1.0 + scale)
        return torch.addcmul(x, share, self.dropout(self.net(h)))

    def _attended(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attended(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (B, heads, positions, width each), on a processor in single precision at least: it is faster."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.to(dtype), k.to(dtype), v.to(dtype))


class PictureTransformer(nn.Module):
    """Pictures, times and labels to pictures of as many channels, by a transformer over patches of pixels.

    After Peebles and Xie (2023, https://arxiv.org/abs/2212.09748): each layer is told time and class. Patches are so
    large that there are at most 8 x 8 of them.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Half of the numbers of a patch, a multiple of 8.
        depth: Layers.
        classes: Number of classes; 0 for a net that is not told.
        dropout: Share of hidden units left out while training.
    """

    def __init__(
        self, shape: tuple[int, ...], width: int = 48, depth: int = 6, classes: int = 0, dropout: float = 0.0
    ) -> None:
        """See the class."""
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width={width} must be a multiple of 8")
        if depth < 1:
            raise ValueError(f"depth={depth} must be at least 1")
        channels, height, wide = shape
        self.patch = -(-max(height, wide) // TOKENS)
        self.grid = (-(-height // self.patch), -(-wide // self.patch))
        tokens, count = WIDER * width, self.grid[0] * self.grid[1]
        self.time = nn.Sequential(Linear(2 * FREQUENCIES, tokens), nn.SiLU(), Linear(tokens, tokens))
        self.label = nn.Embedding(classes, tokens) if classes else None
        self.enter = Linear(channels * self.patch**2, tokens)
        self.place = nn.Parameter(0.02 * torch.randn(count, tokens))
        self.layers = nn.ModuleList([TransformerLayer(tokens, tokens, dropout) for _ in range(depth)])
        self.normalise = nn.LayerNorm(tokens, elementwise_affine=False)
        self.last_told = Linear(tokens, 2 * tokens)
        self.leave = Linear(tokens, channels * self.patch**2)
        for layer in (self.last_told, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.activations = 3 * count * tokens

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, C, H, W), times (B,) in [0, 1] and labels (B,), -1 for none, to (B, C, H, W)."""
        height, wide = x.shape[2:]
        x = F.pad(x, (0, self.grid[1] * self.patch - wide, 0, self.grid[0] * self.patch - height))
        told = self.time(time_features(t))
        if self.label is not None:
            told = told + embedded(self.label, y)
        told = F.silu(told)
        h = self.enter(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)) + self.place
        for layer in self.layers:
            h = layer(h, told)
        scale, shift = self.last_told(told).unsqueeze(1).chunk(2, dim=2)
        h = self.leave(torch.addcmul(shift, self.normalise(h), 1.0 + scale))
        out = F.pixel_shuffle(h.transpose(1, 2).unflatten(2, self.grid), self.patch)
        return out[:, :, :height, :wide].contiguous()
