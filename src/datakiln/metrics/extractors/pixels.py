"""The pixels themselves as features: no learning, no weights, for tests and for very small images."""

from __future__ import annotations

import hashlib

from torch import nn

from datakiln.metrics.extractors.base import Backbone

SIDE = 16


def pixels_backbone() -> Backbone:
    """Colours of the image at 16 x 16, each in [0, 1]: 768 features."""
    rule = f"pixels {SIDE}"
    return Backbone(
        name="pixels",
        hash=hashlib.sha256(rule.encode()).hexdigest()[:8],
        net=nn.Flatten(),
        side=SIDE,
        dim=3 * SIDE * SIDE,
        shift=0.0,
        scale=255.0,
        batch=1024,
    )
