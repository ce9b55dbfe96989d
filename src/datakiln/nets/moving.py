"""Pictures moved a little, as a hand that draws them again would."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TURN, SHEAR, RESIZE = 0.4, 0.3, 0.2  # how far pictures are moved at most: radians, slope, log of a factor
SHIFT = 0.15  # and of half a side


def moved(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W), each turned, sheared, scaled and shifted a little, at random; borders go on outwards."""
    with torch.autocast(x.device.type, enabled=False):  # places of half precision lie between pixels
        return _moved(x.float())


def _moved(x: Tensor) -> Tensor:
    turn, shear, *sizes, down, right = (2.0 * torch.rand(6, len(x), device=x.device) - 1.0).unbind()
    turn, high, wide = TURN * turn, *(torch.exp(RESIZE * size) for size in sizes)
    cos, sin = torch.cos(turn), torch.sin(turn)
    rows = torch.stack([wide * cos, -wide * sin + SHEAR * shear, SHIFT * right], dim=1)
    columns = torch.stack([high * sin, high * cos, SHIFT * down], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
