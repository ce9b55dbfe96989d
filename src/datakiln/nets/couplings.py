"""Invertible layers of pictures, each with the log of its Jacobian's determinant.

Every layer maps (B, C, H, W) to the same shape, as z = f(x) and x = f^-1(z); `forward` gives z and log |det dz/dx|,
shape (B,), `inverse` gives x. Couplings after Dinh et al. (2017), the rest after Kingma and Dhariwal (2018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.nets.conv import embedded

STRETCH = 2.0  # log-scales of a coupling lie within this of 0, softly: a single step cannot blow up its inverse


class Invertible(nn.Module):
    """A layer; see the module."""

    def forward(self, x: Tensor, y: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W), labels (B,) and what the layer is told of every position to z and the log-determinant."""
        raise NotImplementedError

    def inverse(self, z: Tensor, y: Tensor | None, context: Tensor | None) -> Tensor:
        """From z, (B, C, H, W), to x."""
        raise NotImplementedError


class ActNorm(Invertible):
    """A scale and a shift for each channel, at first those that give a batch mean 0 and variance 1 (section 3.1).

    Arguments:
        channels: Of the map.
    """

    def __init__(self, channels: int) -> None:
        """See the class."""
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.is_learning = False  # whether the next batch decides where it begins

    def forward(self, x: Tensor, y: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Invertible`."""
        if self.is_learning:
            deviation, mean = torch.std_mean(x.detach(), dim=(0, 2, 3), keepdim=True)
            with torch.no_grad():
                self.log_scale.copy_(-(deviation + 1e-6).log())
                self.shift.copy_(-mean)
        log_det = x.shape[2] * x.shape[3] * self.log_scale.sum()
        return (x + self.shift) * self.log_scale.exp(), log_det.expand(len(x))

    def inverse(self, z: Tensor, y: Tensor | None, context: Tensor | None) -> Tensor:
        """See `Invertible`."""
        return z * torch.exp(-self.log_scale) - self.shift


class InvertibleConv(Invertible):
    """A 1 x 1 convolution P L (U + diag(s)), at first a random rotation (Glow, eq. 10 and 11); P and signs stay.

    Arguments:
        channels: Of the map.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        """See the class."""
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels))
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())

    def weight(self) -> Tensor:
        """(C, C)."""
        one = torch.eye(len(self.sign), device=self.sign.device, dtype=self.lower.dtype)
        diagonal = torch.diag(self.sign.to(self.lower.dtype) * self.log_diagonal.exp())
        return self.permutation.to(self.lower.dtype) @ (self.lower.tril(-1) + one) @ (self.upper.triu(1) + diagonal)

    def forward(self, x: Tensor, y: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Invertible`."""
        log_det = x.shape[2] * x.shape[3] * self.log_diagonal.sum()
        return F.conv2d(x, self.weight()[:, :, None, None]), log_det.expand(len(x))

    def inverse(self, z: Tensor, y: Tensor | None, context: Tensor | None) -> Tensor:
        """See `Invertible`."""
        return F.conv2d(z, torch.linalg.inv(self.weight())[:, :, None, None])


class Coupling(Invertible):
    """Half of the numbers are scaled and shifted by what a net makes of the other half (Dinh et al., 2017, eq. 7 to 9).

    Arguments:
        channels: Of the map.
        width: Hidden channels of the net.
        classes: Number of classes; 0 for none.
        context: Channels that the net is told besides.
        is_checkered: Whether the halves are the fields of a chessboard; otherwise halves of the channels.
        is_other: Whether the halves change places.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        classes: int,
        context: int = 0,
        is_checkered: bool = False,
        is_other: bool = False,
    ) -> None:
        """See the class."""
        super().__init__()
        self.is_checkered, self.is_other = is_checkered, is_other
        self.first = channels if is_checkered else channels // 2
        told = self.first if is_checkered or not is_other else channels - self.first
        moved = channels if is_checkered else channels - told
        self.enter = nn.Conv2d(told + context, width, 3, padding=1)
        self.label = nn.Embedding(classes, width) if classes else None
        self.middle = nn.Conv2d(width, width, 1)
        self.leave = nn.Conv2d(width, 2 * moved, 3, padding=1)
        nn.init.zeros_(self.leave.weight)  # at first nothing moves
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What stays, and what moves."""
        if self.is_checkered:
            stays = self._fields(x)
            return x * stays, x * (1.0 - stays)
        one, other = x[:, : self.first], x[:, self.first :]
        return (other, one) if self.is_other else (one, other)

    def _fields(self, x: Tensor) -> Tensor:
        """1 where the chessboard stays, (H, W)."""
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape[2:])
        return ((rows[:, None] + columns + self.is_other) % 2).to(x.dtype)

    def _joined(self, stays: Tensor, moved: Tensor) -> Tensor:
        if self.is_checkered:
            return stays + moved * (1.0 - self._fields(moved))
        return torch.cat([moved, stays] if self.is_other else [stays, moved], dim=1)

    def _scale_and_shift(self, stays: Tensor, y: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        h = self.enter(stays if context is None else torch.cat([stays, context], dim=1))
        if self.label is not None:
            h = h + embedded(self.label, y)[:, :, None, None]
        raw, shift = self.leave(F.silu(self.middle(F.silu(h)))).chunk(2, dim=1)
        return STRETCH * torch.tanh(raw / STRETCH), shift

    def forward(self, x: Tensor, y: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Invertible`."""
        stays, moves = self._halves(x)
        log_scale, shift = self._scale_and_shift(stays, y, context)
        z = self._joined(stays, moves * log_scale.exp() + shift)
        counted = log_scale * (1.0 - self._fields(x)) if self.is_checkered else log_scale
        return z, counted.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, y: Tensor | None, context: Tensor | None) -> Tensor:
        """See `Invertible`."""
        stays, moved = self._halves(z)
        log_scale, shift = self._scale_and_shift(stays, y, context)
        return self._joined(stays, (moved - shift) * torch.exp(-log_scale))


class Chain(Invertible):
    """Layers one after another.

    Arguments:
        layers: In the order from data to noise.
    """

    def __init__(self, layers: list[Invertible]) -> None:
        """See the class."""
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, y: Tensor | None, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Invertible`."""
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x, y, context)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, y: Tensor | None, context: Tensor | None = None) -> Tensor:
        """See `Invertible`."""
        for layer in reversed(self.layers):
            z = layer.inverse(z, y, context)  # type: ignore[operator]
        return z


def log_normal(z: Tensor) -> Tensor:
    """Standard normal log-density of all numbers of an example, (B, *) to (B,)."""
    return (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).flatten(1).sum(dim=1)
