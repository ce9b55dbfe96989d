"""Whether half precision may stand in for float32: decided by measurement when an extractor is built."""

from __future__ import annotations

import copy
import logging
import time

import torch
from torch import Tensor

from datakiln.metrics.extractors.base import Backbone, NetExtractor, check_precision

log = logging.getLogger(__name__)

BOUND = 0.02  # largest root-mean-square error of the features, as a share of their root mean square
CHECKED, TIMED = 64, 4


def example_images(n: int, side: int = 64) -> Tensor:
    """Smooth random colour fields with some noise, uint8 (n, 3, side, side); the same in every run."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    noise = 0.05 * torch.randn(n, 3, side, side, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255).to(torch.uint8)


def relative_error(reduced: Tensor, exact: Tensor) -> float:
    """Root mean square of the difference over that of the exact features, each (B, d)."""
    return float((reduced - exact).square().mean().sqrt() / exact.square().mean().sqrt().clamp(min=1e-12))


def _seconds(extractor: NetExtractor, images: Tensor) -> float:
    extractor(images[:1])
    start = time.perf_counter()
    extractor(images)
    return time.perf_counter() - start


def _why_not(reduced: NetExtractor, exact: NetExtractor, images: Tensor) -> str:
    """The reason against the reduced precision, or "" where there is none."""
    if exact.device.type == "cpu":
        slow, fast = (_seconds(extractor, images[:TIMED]) for extractor in (exact, reduced))
        if fast > slow:
            return f"this processor takes {fast / slow:.1f} times as long with it"
    error = relative_error(reduced(images[:CHECKED]), exact(images[:CHECKED]))
    log.info("%s: features differ from float32 by %.2g of their size", reduced.tag, error)
    return "" if error <= BOUND else f"features differ from float32 by {error:.2g} of their size, more than {BOUND}"


def checked_extractor(
    backbone: Backbone, resize: str, precision: str, device: torch.device, images: Tensor | None = None
) -> NetExtractor:
    """An extractor in the precision asked for, or in "exact" where "fast" is no faster or not close enough.

    "bf16" is never chosen for anybody, so whoever asks for it gets it; its error is said in the log.

    Arguments:
        backbone: The network; it becomes the extractor's.
        resize: Rule of `datakiln.metrics.extractors.resize`.
        precision: "exact", "fast" or "bf16".
        device: Where it runs.
        images: At least 64 images to check on, uint8 (B, C, H, W); made up where None.
    """
    check_precision(precision)
    if precision == "exact":
        return NetExtractor(backbone, resize, "exact", device)
    exact = NetExtractor(copy.deepcopy(backbone), resize, "exact", device)
    images = example_images(CHECKED) if images is None else images[:CHECKED]
    reduced = NetExtractor(backbone, resize, precision, device)
    if precision == "bf16":
        error = relative_error(reduced(images), exact(images))
        log.warning("%s: asked for; features differ from float32 by %.2g of their size", reduced.tag, error)
        return reduced
    reason = _why_not(reduced, exact, images)
    if reason:
        log.warning("precision=fast falls back to exact for %s: %s", exact.name, reason)
        return exact
    return reduced
