"""Differentiable augmentation of real and generated pictures alike (Zhao et al., 2020, https://arxiv.org/abs/2006.10738).

It keeps a critic from remembering a small training set, without the augmentations showing in the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.errors import UserError, near

SHIFT, HOLE = 1 / 8, 1 / 2  # of the side (Zhao et al., appendix)


def build_diffaugment(names: Sequence[str]) -> Callable[[Tensor], Tensor]:
    """The augmentations of these names, or of one name, applied one after another; none for none.

    Raises:
        UserError: A name that is not among them.
    """
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in AUGMENTATIONS:
            known = ",".join(AUGMENTATIONS)
            raise UserError(f"model.diffaugment: {name!r} is not among [{known}]{near(name, AUGMENTATIONS)}")

    def augment(x: Tensor) -> Tensor:
        for name in names:
            x = AUGMENTATIONS[name](x)
        return x

    return augment


def color(x: Tensor) -> Tensor:
    """Brightness up to 0.5 up or down, saturation by a factor of 0 to 2, contrast by 0.5 to 1.5."""
    x = x + (_draw(x) - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (2.0 * _draw(x)) + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * (_draw(x) + 0.5) + mean


def translation(x: Tensor) -> Tensor:
    """Shifted by up to an eighth of the side each way; mid-grey comes in."""
    count, channels, height, width = x.shape
    rows = _shifted(count, height, x.device)
    columns = _shifted(count, width, x.device)
    at = rows[:, :, None] * (width + 2) + columns[:, None, :]
    flat = F.pad(x, (1, 1, 1, 1)).flatten(2)
    return flat.gather(2, at.reshape(count, 1, -1).expand(-1, channels, -1)).reshape(x.shape)


def _shifted(count: int, side: int, device: torch.device) -> Tensor:
    """Positions along one padded side, each sample moved by its own offset, shape (count, side)."""
    reach = max(1, round(side * SHIFT))
    offset = torch.randint(-reach, reach + 1, (count, 1), device=device)
    return (torch.arange(side, device=device) + offset + 1).clamp(0, side + 1)


def cutout(x: Tensor) -> Tensor:
    """A square of half the side, anywhere and also partly outside, set to mid-grey."""
    keep = [_outside(len(x), side, x.device) for side in x.shape[2:]]
    return x * (keep[0][:, None, :, None] | keep[1][:, None, None, :])


def _outside(count: int, side: int, device: torch.device) -> Tensor:
    size = max(1, round(side * HOLE))
    middle = torch.randint(0, side + 1 - size % 2, (count, 1), device=device)
    first = middle - size // 2
    at = torch.arange(side, device=device)
    return (at < first) | (at >= first + size)


def _draw(x: Tensor) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {"color": color, "translation": translation, "cutout": cutout}
