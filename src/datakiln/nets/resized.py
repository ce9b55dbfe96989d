"""Convolutions of maps that are doubled before or halved behind them, without ever making the large map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = 64  # pixels of a map; doubling a smaller one in a convolution of its own costs more than it saves
LOW_PASS = (1.0, 3.0, 3.0, 1.0)  # of linear interpolation between pixels that lie twice as far apart


class _Conv(nn.Conv2d):
    """A 3 x 3 convolution.

    Arguments:
        inputs: Channels that come in.
        outputs: Channels that go out.
        bias: As in `torch.nn.Conv2d`.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        """See the class."""
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)


class DoublingConv(_Conv):
    """A map doubled in side by repeating its pixels, then a 3 x 3 convolution, in four ninths of the products.

    The nine weights fall on four pixels of the small map only, so that sums of them do, as a transposed convolution of
    4 x 4 and stride 2 (Shi et al., 2016, arXiv 1609.07009). Equal to the plain way but for rounding.
    """

    def forward(self, x: Tensor) -> Tensor:  # (the argument is called `input` there)
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        if x.shape[2] * x.shape[3] <= SMALL:
            return super().forward(F.interpolate(x, scale_factor=2.0))
        kernel = _summed(self.weight).flip(2, 3).transpose(0, 1)  # turned, since transposed
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class HalvingConv(_Conv):
    """A 3 x 3 convolution, then means of 2 x 2 pixels, in four ninths of the products.

    Equal to the plain way but for rounding, see `halved`. Sides must be even.
    """

    def forward(self, x: Tensor) -> Tensor:  # (the argument is called `input` there)
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        return halved(x, self.weight, self.bias)


def halved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Means of 2 x 2 pixels of a 3 x 3 convolution, as one of 4 x 4 and stride 2.

    Maps (B, I, H, W), of even sides, weights (O, I, 3, 3) and bias (O,) to (B, O, H / 2, W / 2).
    """
    return F.conv2d(x, _summed(weight) / 4.0, bias, stride=2, padding=1)


def _summed(weight: Tensor) -> Tensor:
    """Kernels (O, I, 4, 4) of sums of those weights (O, I, 3, 3) that fall on the same pixel of the small map."""
    rows = F.pad(weight, (1, 1, 1, 1))
    rows = rows[:, :, :-1] + rows[:, :, 1:]
    return rows[..., :-1] + rows[..., 1:]


def doubled_smoothly(x: Tensor, weight: Tensor) -> Tensor:
    """A 3 x 3 convolution of a map doubled by linear interpolation, in a quarter of the products.

    As a transposed convolution of stride 2 and a low-pass behind it (Karras et al., 2019, section B.1); beyond the
    border the small map is nothing, so that pixels next to it differ from those of interpolation.

    Maps (B, I, H, W) and weights (O, I, 3, 3) to (B, O, 2 H, 2 W).
    """
    large = F.conv_transpose2d(x, weight.flip(2, 3).transpose(0, 1), stride=2)
    taps = torch.tensor(LOW_PASS, dtype=x.dtype, device=x.device) / 4.0
    kernel = torch.outer(taps, taps).expand(len(weight), 1, -1, -1)
    return F.conv2d(large, kernel, padding=1, groups=len(weight))
