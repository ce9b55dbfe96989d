"""The Inception-v3 of the Frechet inception distance: the 2015-12-05 TensorFlow graph, not torchvision's network.

Szegedy et al. 2016 (https://arxiv.org/abs/1512.00567). What the published FID weights expect beyond the paper: 1,008
classes, no auxiliary head, padding left out of every average, and a maximum instead of an average in the pool branch of
the last block. Modules carry the names of the ported weights, so their state dict loads strictly.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES, CLASSES, SIDE = 2048, 1008, 299

Path = tuple[str, ...]
Convs = dict[str, dict[str, Any]]


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, pad: Any = 0) -> None:
        """See `torch.nn.Conv2d` for the arguments."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H', W')."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _shrink(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


POOLS = {"average": _average, "maximum": _maximum, "shrink": _shrink}


class Mixed(nn.Module):
    """A block of parallel paths whose outputs are concatenated.

    Arguments:
        paths: For each path the convolutions and pools it runs through, in order of concatenation. Paths that begin
            alike share that beginning.
        convs: Name to the arguments of its `ConvNorm`.
    """

    def __init__(self, paths: list[Path], convs: dict[str, ConvNorm]) -> None:
        """See the class."""
        super().__init__()
        self.paths = paths
        for name, conv in convs.items():
            self.add_module(name, conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, sum of the paths' channels, H', W')."""
        done: dict[Path, Tensor] = {(): x}
        for path in self.paths:
            for i, step in enumerate(path, 1):
                if path[:i] not in done:
                    module = POOLS.get(step) or self.get_submodule(step)
                    done[path[:i]] = module(done[path[: i - 1]])
        return torch.cat([done[path] for path in self.paths], 1)


def _block_35(inputs: int, pool: int) -> Mixed:
    """Figure 5 of the paper, at 35 x 35."""
    return Mixed(
        [
            ("branch1x1",),
            ("branch5x5_1", "branch5x5_2"),
            ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            ("average", "branch_pool"),
        ],
        {
            "branch1x1": ConvNorm(inputs, 64, 1),
            "branch5x5_1": ConvNorm(inputs, 48, 1),
            "branch5x5_2": ConvNorm(48, 64, 5, pad=2),
            "branch3x3dbl_1": ConvNorm(inputs, 64, 1),
            "branch3x3dbl_2": ConvNorm(64, 96, 3, pad=1),
            "branch3x3dbl_3": ConvNorm(96, 96, 3, pad=1),
            "branch_pool": ConvNorm(inputs, pool, 1),
        },
    )


def _reduce_35() -> Mixed:
    """From 35 x 35 to 17 x 17."""
    return Mixed(
        [("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), ("shrink",)],
        {
            "branch3x3": ConvNorm(288, 384, 3, 2),
            "branch3x3dbl_1": ConvNorm(288, 64, 1),
            "branch3x3dbl_2": ConvNorm(64, 96, 3, pad=1),
            "branch3x3dbl_3": ConvNorm(96, 96, 3, 2),
        },
    )


def _block_17(width: int) -> Mixed:
    """Figure 6 of the paper, at 17 x 17, with 7 x 7 convolutions split in two."""
    across: dict[str, Any] = {"kernel": (1, 7), "pad": (0, 3)}
    down: dict[str, Any] = {"kernel": (7, 1), "pad": (3, 0)}
    return Mixed(
        [
            ("branch1x1",),
            ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
            tuple(f"branch7x7dbl_{i}" for i in range(1, 6)),
            ("average", "branch_pool"),
        ],
        {
            "branch1x1": ConvNorm(768, 192, 1),
            "branch7x7_1": ConvNorm(768, width, 1),
            "branch7x7_2": ConvNorm(width, width, **across),
            "branch7x7_3": ConvNorm(width, 192, **down),
            "branch7x7dbl_1": ConvNorm(768, width, 1),
            "branch7x7dbl_2": ConvNorm(width, width, **down),
            "branch7x7dbl_3": ConvNorm(width, width, **across),
            "branch7x7dbl_4": ConvNorm(width, width, **down),
            "branch7x7dbl_5": ConvNorm(width, 192, **across),
            "branch_pool": ConvNorm(768, 192, 1),
        },
    )


def _reduce_17() -> Mixed:
    """From 17 x 17 to 8 x 8."""
    return Mixed(
        [("branch3x3_1", "branch3x3_2"), tuple(f"branch7x7x3_{i}" for i in range(1, 5)), ("shrink",)],
        {
            "branch3x3_1": ConvNorm(768, 192, 1),
            "branch3x3_2": ConvNorm(192, 320, 3, 2),
            "branch7x7x3_1": ConvNorm(768, 192, 1),
            "branch7x7x3_2": ConvNorm(192, 192, (1, 7), pad=(0, 3)),
            "branch7x7x3_3": ConvNorm(192, 192, (7, 1), pad=(3, 0)),
            "branch7x7x3_4": ConvNorm(192, 192, 3, 2),
        },
    )


def _block_8(inputs: int, pool: str) -> Mixed:
    """Figure 7 of the paper, at 8 x 8, with paths that fork at their end."""
    return Mixed(
        [
            ("branch1x1",),
            ("branch3x3_1", "branch3x3_2a"),
            ("branch3x3_1", "branch3x3_2b"),
            ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a"),
            ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3b"),
            (pool, "branch_pool"),
        ],
        {
            "branch1x1": ConvNorm(inputs, 320, 1),
            "branch3x3_1": ConvNorm(inputs, 384, 1),
            "branch3x3_2a": ConvNorm(384, 384, (1, 3), pad=(0, 1)),
            "branch3x3_2b": ConvNorm(384, 384, (3, 1), pad=(1, 0)),
            "branch3x3dbl_1": ConvNorm(inputs, 448, 1),
            "branch3x3dbl_2": ConvNorm(448, 384, 3, pad=1),
            "branch3x3dbl_3a": ConvNorm(384, 384, (1, 3), pad=(0, 1)),
            "branch3x3dbl_3b": ConvNorm(384, 384, (3, 1), pad=(1, 0)),
            "branch_pool": ConvNorm(inputs, 192, 1),
        },
    )


class FIDInception(nn.Module):
    """Images to the 2,048 pooled features of which the FID is made.

    `fc` is kept apart: the Inception Score of the published code reads its logits without the bias.
    """

    def __init__(self) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, pad=1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_35(192, 32), _block_35(256, 64), _block_35(288, 64)
        self.Mixed_6a = _reduce_35()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = _block_17(128), _block_17(160), _block_17(160)
        self.Mixed_6e = _block_17(192)
        self.Mixed_7a = _reduce_17()
        self.Mixed_7b, self.Mixed_7c = _block_8(1280, "average"), _block_8(2048, "maximum")
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Images in [-1, 1], (B, 3, 299, 299), to features, (B, 2048)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_shrink(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(_shrink(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))
