"""Gated convolutions over pictures in reading order (van den Oord et al., 2016, https://arxiv.org/abs/1606.05328).

A vertical stack sees all rows above, a horizontal one what is to the left in its own row and, through the vertical one,
all above; together every pixel before, and none after. Kernels are shifted by padding, not masked, so that nothing is
multiplied by zeros. Maps are (B, width, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.nets.conv import embedded

REACH = 3  # rows above, and pixels to the left, that the first layer sees


def dilations(layers: int, side: int) -> list[int]:
    """Powers of two in turn, as few as reach across the side of a picture in all layers together, without holes.

    Raises:
        UserError: So few layers reach across no such picture, and pixels far away would have no say.
    """
    for period in range(1, layers + 1):
        found = [2 ** (i % period) for i in range(layers)]
        if 1 + sum(found) >= side - 1:  # to the right, where the first layer sees least
            return found
    raise UserError(
        f"model.layers={layers} see {2**layers} px far in pictures of {side}; give {(side - 2).bit_length()}"
    )


class GatedLayer(nn.Module):
    """One layer of both stacks, told the class.

    Arguments:
        width_in: Channels that come in.
        width: Channels of each stack that go out.
        classes: Number of classes; 0 for none.
        dilation: Distance of the positions that a kernel sees; 0 for the first layer, which sees neighbours and not
            the pixel itself.
    """

    def __init__(self, width_in: int, width: int, classes: int, dilation: int) -> None:
        """See the class."""
        super().__init__()
        self.dilation, self.is_first = max(dilation, 1), dilation == 0
        rows, left = (REACH, REACH) if self.is_first else (2, 2)
        self.vertical = nn.Conv2d(width_in, 2 * width, (rows, 3), dilation=self.dilation)
        self.horizontal = nn.Conv2d(width_in, 2 * width, (1, left), dilation=self.dilation)
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.label = nn.Embedding(classes, 4 * width) if classes else None

    def told(self, y: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """What the class adds to either stack, (B, 2 width, 1, 1)."""
        if self.label is None:
            return 0.0, 0.0
        to_v, to_h = embedded(self.label, y)[:, :, None, None].chunk(2, dim=1)
        return to_v, to_h

    def above(self, v: Tensor) -> Tensor:
        """Pads so that a row sees itself and the row above, the first layer only rows above."""
        if self.is_first:
            return F.pad(v, (1, 1, REACH, 0))[:, :, :-1]
        return F.pad(v, (self.dilation, self.dilation, self.dilation, 0))

    def before(self, h: Tensor) -> Tensor:
        """Pads so that a pixel sees itself and one to the left, the first layer only those to the left."""
        return F.pad(h, (REACH, 0))[:, :, :, :-1] if self.is_first else F.pad(h, (self.dilation, 0))

    def forward(self, v: Tensor, h: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both stacks (B, width_in, H, W) and labels (B,) to both stacks (B, width, H, W)."""
        to_v, to_h = self.told(y)
        v_in = self.vertical(self.above(v)) + to_v
        h_in = self.horizontal(self.before(h)) + self.across(v_in) + to_h
        out = self.out(gate(h_in))
        return gate(v_in), out if self.is_first else h + out


def gate(x: Tensor) -> Tensor:
    """Half of the channels, by how far the other half lets them through (eq. 2 of the paper).

    tanh(x) is 2 sigmoid(2 x) - 1, and torch's takes seven times as long on processors.
    """
    value, through = x.chunk(2, dim=1)
    return (2.0 * torch.sigmoid(2.0 * value) - 1.0) * torch.sigmoid(through)


class GatedStacks(nn.Module):
    """All layers, a picture to features of every pixel that know all pixels before it and none after.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of each stack.
        layers: Besides the first.
        classes: Number of classes; 0 for none.
        outputs: Channels that come out.
    """

    def __init__(self, shape: tuple[int, ...], width: int, layers: int, classes: int, outputs: int) -> None:
        """See the class."""
        super().__init__()
        self.channels, self.width = shape[0], width
        first = GatedLayer(shape[0] + 1, width, classes, 0)
        rest = [GatedLayer(width, width, classes, dilation) for dilation in dilations(layers, shape[1])]
        self.layers = nn.ModuleList([first, *rest])
        self.inner, self.last = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, outputs, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Pictures (B, C, H, W) in [-1, 1] and labels (B,) to (B, outputs, H, W)."""
        return self.last(F.silu(self.inner(F.silu(self.features(x, y)))))

    def features(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The same to the horizontal stack of the last layer, (B, width, H, W)."""
        v = h = _framed(x).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            v, h = layer(v, h, y)
        return h

    def walker(self, n: int, side: tuple[int, ...], y: Tensor | None) -> Walker:
        """Works out the same pixel by pixel, for pictures that come about on the way."""
        return Walker(self, n, side, y)


def _framed(x: Tensor) -> Tensor:
    """A channel of ones beside the picture, by which a dark pixel differs from none at all (Salimans et al., 2017)."""
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


@dataclass
class Row:
    """What a layer keeps of the running row: its part from above, and what comes into its horizontal stack."""

    from_above: Tensor
    coming: Tensor


class Walker:
    """The stacks in reading order, every row of the vertical and every pixel of the horizontal one worked out once.

    `GatedStacks` over a whole picture for each of its pixels does H W times the work.

    Arguments:
        net: The stacks.
        n: Pictures.
        side: Their height and width.
        y: Labels (n,), or None.
    """

    def __init__(self, net: GatedStacks, n: int, side: tuple[int, ...], y: Tensor | None) -> None:
        """See the class."""
        self.net, self.layers = net, cast("list[GatedLayer]", list(net.layers))
        self.told = [layer.told(y) for layer in self.layers]
        height, wide = side
        like = net.inner.weight
        self.coming = [  # what each layer's vertical stack takes, padded at the sides and above
            like.new_zeros(
                n, net.channels + 1 if layer.is_first else net.width,
                height + (REACH if layer.is_first else layer.dilation), wide + 2 * layer.dilation,
            )
            for layer in self.layers
        ]  # fmt: skip
        self.rows: list[Row] = []

    def start(self, r: int, wide: int) -> None:
        """Goes to row r, all rows above being known: the vertical stack of this row."""
        self.rows = []
        for i, layer in enumerate(self.layers):
            d, held = layer.dilation, self.coming[i]
            seen = held[:, :, r : r + REACH] if layer.is_first else held[:, :, r : r + d + 1 : d]
            kernel = F.conv2d(seen, layer.vertical.weight, layer.vertical.bias, dilation=(1, d)) + self.told[i][0]
            if i + 1 < len(self.coming):
                after = self.layers[i + 1].dilation
                self.coming[i + 1][:, :, r + after, after:-after] = gate(kernel)[:, :, 0]
            from_above = layer.across(kernel) + self.told[i][1]
            left = REACH if layer.is_first else d
            self.rows.append(Row(from_above[:, :, 0], held.new_zeros(len(held), held.shape[1], wide + left)))

    def at(self, c: int) -> Tensor:
        """Features of pixel c of the row, those before it being known: (n, outputs)."""
        h: Tensor | None = None
        for layer, row in zip(self.layers, self.rows, strict=True):
            if h is not None:
                row.coming[:, :, c + layer.dilation] = h
            seen = (
                row.coming[:, :, c : c + REACH] if layer.is_first else row.coming[:, :, c :: layer.dilation][:, :, :2]
            )
            h_in = F.linear(seen.flatten(1), layer.horizontal.weight.flatten(1), layer.horizontal.bias)
            out = _pointwise(layer.out, gate(h_in + row.from_above[:, :, c]))
            h = out if h is None else h + out
        assert h is not None
        return _pointwise(self.net.last, F.silu(_pointwise(self.net.inner, F.silu(h))))

    def put(self, r: int, c: int, pixel: Tensor) -> None:
        """Pixel (r, c) is known from now on, (n, C)."""
        framed = torch.cat([pixel, torch.ones_like(pixel[:, :1])], dim=1)
        self.coming[0][:, :, r + REACH, c + 1] = framed
        self.rows[0].coming[:, :, c + REACH] = framed


def _pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1 x 1 convolution of single pixels, (n, width_in) to (n, width_out)."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)
