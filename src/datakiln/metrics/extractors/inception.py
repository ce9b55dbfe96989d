"""The network of the published FIDs: Inception-v3 with the 2015-12-05 TensorFlow weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from datakiln.errors import UserError
from datakiln.metrics.extractors import inception_network as inception
from datakiln.metrics.extractors.base import Backbone
from datakiln.metrics.extractors.weights import WeightsFile, find_weights

WEIGHTS = WeightsFile(
    name="pt_inception-2015-12-05-6726825d.pth",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    aliases=("weights-inception-2015-12-05-6726825d.pth",),
)
CPU_BATCH, GPU_BATCH = 8, 64  # 16 is a tenth faster on a CPU and takes 130 MB more

PUBLISHED = 0.788  # top-1 on ImageNet's validation pictures, one crop (Szegedy et al., 2016, table 3)


def as_backbone(net: inception.FIDInception, weights_hash: str, device: torch.device) -> Backbone:
    """The network with its grey levels and class head.

    Class probabilities come from the logits without bias, as in the published Inception Scores.
    """
    head = nn.Linear(inception.FEATURES, inception.CLASSES, bias=False)
    head.load_state_dict({"weight": net.fc.weight.detach()})
    return Backbone(
        name="inception",
        hash=weights_hash,
        net=net,
        side=inception.SIDE,
        dim=inception.FEATURES,
        shift=128.0,
        scale=128.0,
        batch=CPU_BATCH if device.type == "cpu" else GPU_BATCH,
        head=head,
        facts={"published_accuracy": PUBLISHED},
        trained_on="1.2 million photographs of ImageNet",
    )


def inception_backbone(path: str | Path | None, download: bool, device: torch.device) -> Backbone:
    """Inception with its published weights.

    Raises:
        UserError: Where the weights are absent, or are others.
    """
    file = find_weights(WEIGHTS, path, download)
    net = inception.FIDInception()
    try:
        net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise UserError(f"{file}: not the state dict of the FID Inception ({str(error).splitlines()[0]})") from error
    return as_backbone(net, WEIGHTS.sha256[:8], device)
