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

    def walk(self, n: int, wide: int) -> RowWalk:
        """The same for n pictures of this width, position by position."""
        return RowWalk(self, n, wide)


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

    def walk(self, n: int, wide: int) -> DiagonalWalk:
        """The same for n pictures of this width, position by position."""
        return DiagonalWalk(self, n, wide)


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

    def walker(self, n: int, side: tuple[int, ...], y: Tensor | None) -> Walk:
        """Works the net out pixel by pixel, each from the states of its neighbours."""
        return Walk(self, n, side, y)


class Walk:
    """A walk in reading order through n pictures; the states of one row of each layer are kept.

    Arguments:
        net: Whose features are asked for.
        n: Number of pictures.
        side: Their height and width.
        y: Labels (n,), or None.
    """

    def __init__(self, net: PixelLSTM, n: int, side: tuple[int, ...], y: Tensor | None) -> None:
        """See the class."""
        self.net, self.row, self.wide = net, 0, side[1] + 1
        self.x = net.first.left.weight.new_zeros(n, net.channels + 1, side[0], self.wide)
        self.x[:, -1, :, :-1] = 1.0  # marks the picture, as in `PixelLSTM.forward`
        self.told = None if net.label is None else embedded(net.label, y)
        self.layers = [layer.walk(n, self.wide) for layer in net.layers]  # type: ignore[operator, union-attr]

    def start(self, r: int, wide: int) -> None:
        """Goes to row r, all rows above being known."""
        if r:
            self._features(self.wide - 1)  # beyond the right edge, which nobody has asked for
        for layer in self.layers:
            layer.start()
        seen = self.x[:, :, max(r - REACH, 0) : r]
        self.above = self.net.first.above(F.pad(seen, (REACH, REACH, REACH - seen.shape[2], 0)))[:, :, 0]
        self.row = r

    def at(self, c: int) -> Tensor:
        """What the net says of pixel c of the row, those before it being known: (n, outputs)."""
        return self.net.leave(self._features(c)[:, :, None, None])[:, :, 0, 0]

    def put(self, r: int, c: int, pixel: Tensor) -> None:
        """Pixel (r, c) is known from now on, (n, C)."""
        self.x[:, :-1, r, c] = pixel

    def _features(self, c: int) -> Tensor:
        """Of the last layer at column c of the row, (n, width)."""
        seen = self.x[:, :, self.row : self.row + 1, max(c - REACH, 0) : c]
        h = self.above[:, :, c] + self.net.first.left(F.pad(seen, (REACH - seen.shape[3], 0)))[:, :, 0, 0]
        if self.told is not None:
            h = h + self.told
        for layer in self.layers:
            h = layer.at(c, h)
        return h


class RowWalk:
    """`RowLSTM`, position by position: `start` before each row, then `at` of its columns from left to right."""

    def __init__(self, layer: RowLSTM, n: int, wide: int) -> None:
        """States of the row above begin at 0."""
        self.layer = layer
        self.h = layer.out.weight.new_zeros(n, layer.out.in_channels, wide)
        self.c = torch.zeros_like(self.h)

    def start(self) -> None:
        """Takes the row that was worked out for the one above."""
        self.from_above, self.memory = self.layer.state(self.h), self.c
        self.h, self.c = torch.empty_like(self.h), torch.empty_like(self.c)
        self.left = torch.zeros_like(self.h[:, :, 0])

    def at(self, c: int, x: Tensor) -> Tensor:
        """What comes in at column c, (n, width), to what goes out."""
        entered = self.layer.input(torch.stack([self.left, x], dim=2)[:, :, None])[:, :, 0, 0]
        h, self.c[:, :, c] = _step(entered + self.from_above[:, :, c], self.memory[:, :, c])
        self.h[:, :, c], self.left = h, x
        return x + _apply(self.layer.out, h)


class DiagonalWalk:
    """`DiagonalLSTM`, position by position; arguments and use as of `RowWalk`."""

    def __init__(self, layer: DiagonalLSTM, n: int, wide: int) -> None:
        """States of the row above begin at 0."""
        self.layer = layer
        self.above = layer.out.weight.new_zeros(n, layer.out.in_channels, wide)  # states of the left-hand walk
        self.right = torch.zeros_like(self.above)  # of the right-hand one, which is a row behind
        self.x: Tensor | None = None  # what came in along the row
        self.begun = torch.zeros_like(self.above[:, :, 0])

    def start(self) -> None:
        """Takes the row that was worked out for the one above; the right-hand walk goes through it."""
        if self.x is not None:
            h = c = self.begun
            for at in reversed(range(self.x.shape[2])):
                h, c = self._stepped(1, self.x[:, :, at], self.right[:, :, at], h, c)
                self.right[:, :, at] = h
        self.x = torch.empty_like(self.above)
        self.h = self.c = self.begun

    def _stepped(self, which: int, x: Tensor, above: Tensor, beside: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        from_states = self.layer.states[which](torch.stack([above, beside], dim=2))[:, :, 0]
        return _step(_apply(self.layer.inputs[which], x) + from_states, c)

    def at(self, c: int, x: Tensor) -> Tensor:
        """What comes in at column c, (n, width), to what goes out."""
        assert self.x is not None
        self.x[:, :, c] = x
        self.h, self.c = self._stepped(0, x, self.above[:, :, c], self.h, self.c)
        self.above[:, :, c] = self.h
        return x + _apply(self.layer.out, self.h + self.right[:, :, c])


def _apply(convolution: nn.Module, x: Tensor) -> Tensor:
    """A convolution of kernels 1 x 1 at one position, (n, C) to (n, C')."""
    out: Tensor = convolution(x[:, :, None, None])[:, :, 0, 0]
    return out


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
