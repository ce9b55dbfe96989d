"""LSTMs over pictures in reading order (van den Oord et al., 2016, https://arxiv.org/abs/1601.06759, section 3).

Maps are (B, width, H, W); every position knows pixels before it in reading order, and none after.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.nets.conv import embedded

REACH = 3  # rows above, and pixels to either side of them or to the left, that the first layer sees: 7 x 7 in all


class First(nn.Module):
    """The convolution of mask A: what lies before a pixel within 7 x 7, and not the pixel itself.

    Arguments:
        channels: That come in.
        width: That go out.
    """

    def __init__(self, channels: int, width: int) -> None:
        """See the class."""
        super().__init__()
        self.above = nn.Conv2d(channels, width, (REACH, 2 * REACH + 1))
        self.left = nn.Conv2d(channels, width, (1, REACH))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, width, H, W)."""
        above = self.above(F.pad(x, (REACH, REACH, REACH, 0))[:, :, :-1])
        return above + self.left(F.pad(x, (REACH, 0))[:, :, :, :-1])


class RowLSTM(nn.Module):
    """Row by row; the state of a position comes from three neighbours in the row above (section 3.1).

    Arguments:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        """See the class."""
        super().__init__()
        self.input = nn.Conv2d(width, 4 * width, (1, 2))
        self.state = nn.Conv1d(width, 4 * width, 3, padding=1, bias=False)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        gates = self.input(F.pad(x, (1, 0)))
        h = c = torch.zeros_like(x[:, :, 0])
        rows = []
        for r in range(x.shape[2]):
            h, c = _step(gates[:, :, r] + self.state(h), c)
            rows.append(h)
        return x + self.out(torch.stack(rows, dim=2))


class DiagonalLSTM(nn.Module):
    """Along both diagonals; the state comes from the left, or the right, and from above (section 3.2).

    Arguments:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        """See the class."""
        super().__init__()
        self.inputs = nn.ModuleList(nn.Conv2d(width, 4 * width, 1) for _ in range(2))
        self.states = nn.ModuleList(nn.Conv1d(width, 4 * width, 2, bias=False) for _ in range(2))
        self.out = nn.Conv2d(width, width, 1)

    def _along(self, x: Tensor, which: int) -> Tensor:
        """From the upper left: position (r, c) knows itself and all (r', c') with r' <= r and c' <= c."""
        gates, state = skewed(self.inputs[which](x)), self.states[which]
        h = c = torch.zeros_like(x[:, :, :, 0])
        steps = []
        for d in range(gates.shape[3]):
            h, c = _step(gates[:, :, :, d] + state(F.pad(h, (1, 0))), c)
            steps.append(h)
        return straightened(torch.stack(steps, dim=3), x.shape[3])

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        right = self._along(x.flip(3), 1).flip(3)
        # one row lower, or it would know what is to the right in its own row
        return x + self.out(self._along(x, 0) + F.pad(right, (0, 0, 1, 0))[:, :, :-1])


class PixelLSTM(nn.Module):
    """Pictures to features of every pixel that know pixels before it and none after.

    Arguments:
        channels: Of a picture.
        kind: "row" or "diagonal".
        width: Of all maps.
        layers: LSTMs.
        classes: Number of classes; 0 for none.
        outputs: Channels that come out.
    """

    def __init__(
        self, channels: int, kind: Literal["row", "diagonal"], width: int, layers: int, classes: int, outputs: int
    ) -> None:
        """See the class."""
        super().__init__()
        kinds = {"row": RowLSTM, "diagonal": DiagonalLSTM}
        if kind not in kinds:
            raise ValueError(f"kind={kind} must be row or diagonal")
        if layers < 1:
            raise ValueError(f"layers={layers} must be at least 1")
        self.channels, self.width = channels, width
        self.first = First(channels + 1, width)
        self.label = nn.Embedding(classes, width) if classes else None
        self.layers = nn.ModuleList(kinds[kind](width) for _ in range(layers))
        inner, last = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, outputs, 1)
        self.leave = nn.Sequential(nn.SiLU(), inner, nn.SiLU(), last)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Pictures (B, C, H, W) in [-1, 1] and labels (B,) to (B, outputs, H, W)."""
        # a column beyond the right edge knows the last pixel of each row, which is no neighbour of the next row's first
        h = self.first(F.pad(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), (0, 1)))
        if self.label is not None:
            h = h + embedded(self.label, y)[:, :, None, None]
        for layer in self.layers:
            h = layer(h)
        return self.leave(h[:, :, :, :-1])

    def walker(self, n: int, side: tuple[int, ...], y: Tensor | None) -> Anew:
        """Works out the rows so far anew for every pixel."""
        return Anew(self, torch.zeros(n, self.channels, *side, device=self.first.left.weight.device), y)


class Anew:
    """A walk in reading order that keeps the picture alone.

    Arguments:
        net: Whose features are asked for.
        x: What is known so far, (n, C, H, W).
        y: Labels (n,), or None.
    """

    def __init__(self, net: PixelLSTM, x: Tensor, y: Tensor | None) -> None:
        """See the class."""
        self.net, self.x, self.y, self.row = net, x, y, 0

    def start(self, r: int, wide: int) -> None:
        """Goes to row r."""
        self.row = r

    def at(self, c: int) -> Tensor:
        """Features of pixel c of the row, (n, outputs)."""
        return self.net(self.x[:, :, : self.row + 1], self.y)[:, :, self.row, c]

    def put(self, r: int, c: int, pixel: Tensor) -> None:
        """Pixel (r, c) is known from now on, (n, C)."""
        self.x[:, :, r, c] = pixel


def skewed(x: Tensor) -> Tensor:
    """Every row shifted to the right by its number: (B, C, H, W) to (B, C, H, W + H - 1)."""
    height, wide = x.shape[2:]
    return F.pad(x, (0, height)).flatten(2)[:, :, :-height].unflatten(2, (height, wide + height - 1))


def straightened(x: Tensor, wide: int) -> Tensor:
    """Inverse of `skewed`, for rows of this width."""
    height = x.shape[2]
    return F.pad(x.flatten(2), (0, height)).unflatten(2, (height, wide + height))[:, :, :, :wide]


def _step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """New state and memory of gates (B, 4 width, *) and the memory before (eq. 3 of the paper)."""
    out, forget, enter, content = gates.chunk(4, dim=1)
    c = forget.sigmoid() * c + enter.sigmoid() * content.tanh()
    return out.sigmoid() * c.tanh(), c
