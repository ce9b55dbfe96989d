"""Resizing of images as two small matrix products, by a named rule.

Each rule is linear and separable: an output of side S is `rows @ image @ columns.T`, with matrices of shape (S, H) and
(S, W) whose rows sum to 1. The rule changes the distance (Parmar et al. 2022, https://arxiv.org/abs/2104.11222), so it
is part of every figure's name:

- "tf1": bilinear on the grid `i * H / S`, which is not centred: the resize of the original TensorFlow code of the FID.
- "half_pixel": bilinear on the grid `(i + 1/2) * H / S - 1/2`, without antialiasing: `torch.nn.functional.interpolate`.
- "clean": bicubic (a = -1/2) on the centred grid, widened when shrinking so that nothing aliases, clamped to the range
  of the pixels: Pillow's filter, as in clean-fid.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from datakiln.errors import UserError, near

ResizeRule = Literal["tf1", "clean", "half_pixel"]
RULES: tuple[str, ...] = get_args(ResizeRule)


def check_rule(rule: str) -> None:
    """Raises a UserError for an unknown rule."""
    if rule not in RULES:
        raise UserError(f"resize={rule}: known are {', '.join(RULES)}{near(rule, RULES)}")


def _bilinear(positions: Tensor, source: int) -> Tensor:
    positions = positions.clamp(0, source - 1)
    distance = (positions[:, None] - torch.arange(source, dtype=torch.float64)).abs()
    return (1 - distance).clamp(min=0)


def _keys(x: Tensor) -> Tensor:
    """The cubic convolution kernel of Keys (1981) with a = -1/2."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))


def _antialiased(source: int, target: int) -> Tensor:
    scale = source / target
    width = max(scale, 1.0)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(source, dtype=torch.float64) + 0.5
    weights = _keys((pixels - centres[:, None]) / width)
    return weights / weights.sum(1, keepdim=True)


def resize_matrix(rule: str, source: int, target: int) -> Tensor:
    """Weights of the source pixels in each target pixel, shape (target, source), float64; each row sums to 1."""
    check_rule(rule)
    grid = torch.arange(target, dtype=torch.float64)
    if rule == "clean":
        return _antialiased(source, target)
    return _bilinear((grid + 0.5) * source / target - 0.5 if rule == "half_pixel" else grid * source / target, source)


@lru_cache(maxsize=32)
def _on_device(rule: str, source: int, target: int, device: torch.device) -> Tensor:
    return resize_matrix(rule, source, target).float().to(device)


def resize(x: Tensor, rule: str, side: int, low: float = 0.0, high: float = 255.0) -> Tensor:
    """Resizes a batch to squares; an image that already has the side passes unchanged.

    Arguments:
        x: Images, shape (B, C, H, W), float32.
        rule: One of `RULES`.
        side: Height and width of the result.
        low: Darkest value a pixel can have; "clean" overshoots and is clamped to the range.
        high: Brightest value a pixel can have.

    Returns:
        Float32 images, shape (B, C, side, side).
    """
    check_rule(rule)
    height, width = x.shape[-2:]
    if (height, width) == (side, side):
        return x
    x = x @ _on_device(rule, width, side, x.device).T
    x = torch.matmul(_on_device(rule, height, side, x.device).expand(*x.shape[:-2], side, height), x)
    return x.clamp_(low, high) if rule == "clean" else x


def three_channels(images: Tensor) -> Tensor:
    """The one rule for grey: the channel is repeated.

    Arguments:
        images: Shape (B, C, H, W) with C of 1 or 3.

    Returns:
        Shape (B, 3, H, W), a view where the images were grey.

    Raises:
        UserError: For any other number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise UserError(f"images have {images.shape[1]} channels; convert them to grey (1) or RGB (3) first")
    return images.expand(-1, 3, -1, -1)
