"""The fully connected net that diffusion models of tables denoise with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from datakiln.nets.conv import embedded
from datakiln.nets.linear import Linear

FREQUENCIES = 64


def time_features(t: Tensor) -> Tensor:
    """Sines and cosines of times t of shape (B,), roughly in [0, 1], at frequencies 1 to 1000: (B, 128)."""
    rates = torch.logspace(0.0, 3.0, FREQUENCIES, device=t.device)
    angles = t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Denoiser(nn.Module):
    """Rows, a time and a label to as many or other numbers; time and label are added to the first layer's output.

    As in TabDDPM (Kotelnikov et al., 2023, eq. 8), with residual connections between layers of equal width.

    Arguments:
        width_in: Width of the noisy rows.
        width_out: Width of what is predicted.
        hidden: Widths of the hidden layers.
        classes: Number of classes; 0 without labels.
        dropout: Share of hidden units left out while training.
    """

    def __init__(self, width_in: int, width_out: int, hidden: Sequence[int], classes: int, dropout: float) -> None:
        """See the class."""
        super().__init__()
        first = hidden[0]
        self.enter = Linear(width_in, first)
        self.time = nn.Sequential(Linear(2 * FREQUENCIES, first), nn.SiLU(), Linear(first, first))
        self.label = nn.Embedding(classes, first) if classes else None
        widths = zip([first, *hidden[:-1]], hidden, strict=True)
        self.layers = nn.ModuleList(Linear(a, b) for a, b in widths)
        self.leave = Linear(hidden[-1], width_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """(B, width_in), times (B,), labels (B,) to (B, width_out)."""
        h = self.enter(x) + self.time(time_features(t))
        if self.label is not None:
            h = h + embedded(self.label, y)
        for layer in self.layers:
            new = self.dropout(nn.functional.silu(layer(h)))
            h = h + new if h.shape == new.shape else new
        return self.leave(h)


def cosine_alpha_bar(steps: int) -> Tensor:
    """Signal left after t of `steps` noise steps, shape (steps + 1,), from 1 (Nichol and Dhariwal, 2021, eq. 17)."""
    t = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
    kept = (f[1:] / f[:-1]).clamp(min=0.001)  # no step adds more than 0.999, as in the paper
    return torch.cat([torch.ones(1, dtype=torch.float64), kept.cumprod(0)]).float()
