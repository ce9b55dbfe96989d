"""EfficientNet-Lite0 with its ImageNet weights as an extractor: the default without a network."""

from __future__ import annotations

import torch

from datakiln.metrics.extractors.base import Backbone
from datakiln.pretrained.efficientnet import FEATURES, SCALE, SHA256, SHIFT, SIDE, published_efficientnet

CPU_BATCH, GPU_BATCH = 16, 128
PUBLISHED = 0.751  # top-1 on ImageNet's validation pictures, float model of the authors' table


def efficientnet_backbone(device: torch.device) -> Backbone:
    """EfficientNet-Lite0 with its published weights.

    Raises:
        UserError: Where the package with the weights is absent or damaged.
    """
    net = published_efficientnet()
    return Backbone(
        name="efficientnet_lite0",
        hash=SHA256[:8],
        net=net,
        side=SIDE,
        dim=FEATURES,
        shift=SHIFT,
        scale=SCALE,
        batch=CPU_BATCH if device.type == "cpu" else GPU_BATCH,
        head=net.fc,
        facts={"published_accuracy": PUBLISHED},
        trained_on="1.2 million photographs of ImageNet",
    )
