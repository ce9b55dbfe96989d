"""The door to the extractors: a name, a precision and a resize in, an extractor out."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from datakiln.errors import UserError, near
from datakiln.metrics.extractors.base import Backbone, NetExtractor, check_precision
from datakiln.metrics.extractors.checks import CHECKED, checked_extractor
from datakiln.metrics.extractors.classifier import classifier_backbone
from datakiln.metrics.extractors.dinov2 import dinov2_backbone, find_dinov2
from datakiln.metrics.extractors.efficientnet import efficientnet_backbone
from datakiln.metrics.extractors.inception import WEIGHTS, inception_backbone
from datakiln.metrics.extractors.pixels import pixels_backbone
from datakiln.metrics.extractors.resize import check_rule
from datakiln.metrics.extractors.weights import find_weights
from datakiln.pretrained.efficientnet import find_efficientnet
from datakiln.spec import LabelledImages

log = logging.getLogger(__name__)

NAMES = ("auto", "inception", "efficientnet_lite0", "dinov2_small", "classifier", "pixels")
NO_LABELS = "extractor=classifier: needs data with labels; use efficientnet_lite0, inception or pixels"


def check_extractor(name: str, precision: str, resize: str, labelled: bool, weights: str | Path | None = None) -> None:
    """Whether `build_extractor` would give one, told before there is anything to measure; fetches missing weights.

    Arguments:
        name: See `build_extractor`, as for the next two.
        precision: See there.
        resize: See there.
        labelled: Whether there will be labelled pictures.
        weights: See there.

    Raises:
        UserError: For an unknown name, rule or precision, and where weights or labels are missing.
    """
    _check_name(name)
    check_precision(precision)
    check_rule(resize)
    if name == "classifier" and not labelled:
        raise UserError(NO_LABELS)
    _check_weights(name, weights)
    if name == "dinov2_small":
        find_dinov2(weights)
    elif name == "inception" or (name == "auto" and WEIGHTS.found() is not None):
        find_weights(WEIGHTS, weights)
    elif name in ("auto", "efficientnet_lite0"):
        find_efficientnet()


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise UserError(f"extractor={name}: known are {', '.join(NAMES)}{near(name, NAMES)}")


def auto_name(weights: str | Path | None = None) -> str:
    """What "auto" means here: Inception where its weights lie, else EfficientNet-Lite0."""
    return "inception" if weights is not None or WEIGHTS.found() is not None else "efficientnet_lite0"


def _resolve(name: str, weights: str | Path | None) -> str:
    """The name itself, or what "auto" means here; said loudly where that is not Inception."""
    _check_name(name)
    if name != "auto":
        return name
    if (found := auto_name(weights)) == "inception":
        return found
    log.warning(
        "Inception's weights are absent: image metrics use efficientnet_lite0, whose figures must not be compared with "
        "published FIDs; put %s at %s, or set extractor=inception to download it",
        WEIGHTS.url,
        WEIGHTS.home,
    )
    return found


def _check_weights(name: str, weights: str | Path | None) -> None:
    if weights is not None and name not in ("auto", "inception", "dinov2_small"):
        told = f"weights={weights}: only extractor=inception and dinov2_small take a file"
        raise UserError(f"{told}; leave it out for {name}")


def _backbone(
    name: str, device: torch.device, data: LabelledImages | None, weights: str | Path | None, download: bool
) -> Backbone:
    if name == "inception":
        return inception_backbone(weights, download, device)
    if name == "dinov2_small":
        return dinov2_backbone(weights, device)
    _check_weights(name, weights)
    if name == "efficientnet_lite0":
        return efficientnet_backbone(device)
    if name == "pixels":
        return pixels_backbone()
    if data is None:
        raise UserError(NO_LABELS)
    return classifier_backbone(data, device)


def build_extractor(
    name: str = "auto",
    precision: str = "exact",
    resize: str = "clean",
    device: torch.device | str = "cpu",
    data: LabelledImages | None = None,
    weights: str | Path | None = None,
    download: bool = True,
) -> NetExtractor:
    """An extractor, ready to run; the caller's random state stays as it was.

    Arguments:
        name: One of `NAMES`; "auto" takes Inception where its weights lie and EfficientNet-Lite0 elsewhere.
        precision: "exact", "fast" (checked, with a fall-back that is said) or "bf16".
        resize: "tf1", "clean" or "half_pixel".
        device: Where it runs.
        data: Labelled training images, for the classifier; where given, a fast precision is checked on them.
        weights: A file with Inception's or DINOv2's weights, instead of the cache.
        download: Whether "inception" may fetch its weights.

    Raises:
        UserError: For an unknown name, rule or precision, and where weights or labels are missing.
    """
    device = torch.device(device)
    images = data.images[:CHECKED] if data is not None and len(data.images) >= CHECKED else None
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are loaded; training must not notice
        backbone = _backbone(_resolve(name, weights), device, data, weights, download)
        return checked_extractor(backbone, resize, precision, device, images)
