"""How near made pictures are to those they should be: signal to noise, structure, and what is left after shrinking.

Pictures are uint8 (n, C, H, W); every function gives one value a picture, float64 (n,).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5  # of the Gaussian window (Wang et al., 2004, section III-B)
K1, K2, PEAK = 0.01, 0.03, 255.0
MOST_DB = 100.0  # of pictures that are equal


def psnr(made: Tensor, real: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared difference), 100 for equal pictures."""
    squares = (made.double() - real.double()).square().flatten(1).mean(dim=1)
    return (10.0 * torch.log10(PEAK**2 / squares.clamp(min=1e-12))).clamp(max=MOST_DB)


def ssim(made: Tensor, real: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004, eq. 13), the mean over windows that lie inside, and over channels."""
    x, y = made.double(), real.double()
    channels, side = x.shape[1], min(x.shape[2:])
    window = _window(min(WINDOW, side - (side + 1) % 2)).expand(channels, 1, -1, -1)

    def smooth(values: Tensor) -> Tensor:
        return F.conv2d(values, window, groups=channels)

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    together = smooth(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    index = (2 * mean_x * mean_y + c1) * (2 * together + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return index.flatten(1).mean(dim=1)


def _window(side: int) -> Tensor:
    """A Gaussian window that sums to 1, shape (1, 1, side, side)."""
    at = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    row = torch.exp(-(at**2) / (2 * SIGMA**2))
    return (row[:, None] * row[None, :] / row.sum() ** 2)[None, None]


def consistency(made: Tensor, small: Tensor) -> Tensor:
    """How far means over blocks of an enlarged picture are from the small one, in grey levels (RMS)."""
    shrunk = F.adaptive_avg_pool2d(made.double(), (small.shape[2], small.shape[3]))
    return (shrunk - small.double()).square().flatten(1).mean(dim=1).sqrt()


def feature_distance(made: Tensor, real: Tensor) -> Tensor:
    """1 - cosine of features (n, d) of pairs: 0 for pictures that a network takes for the same, up to 2."""
    return 1.0 - F.cosine_similarity(made.double(), real.double(), dim=1)


def bicubic(small: Tensor, factor: int) -> Tensor:
    """Small pictures enlarged by bicubic interpolation, uint8 (n, C, factor * h, factor * w)."""
    large = F.interpolate(small.float(), scale_factor=float(factor), mode="bicubic", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8)
