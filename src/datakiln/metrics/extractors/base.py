"""What every extractor offers, and the one class that runs a network as an extractor."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from datakiln.errors import UserError, near
from datakiln.metrics.extractors.resize import check_rule, resize, three_channels


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """No autocast, no TF32 and no reduced float32 products inside; the caller's settings again afterwards."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


log = logging.getLogger(__name__)

Precision = Literal["exact", "fast", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
DTYPES = {"exact": torch.float32, "fast": torch.float16, "bf16": torch.bfloat16}


class Extractor(Protocol):
    """Images in, features out.

    Attributes:
        name: Short name of the network.
        hash: Eight hex digits of the hash of its weights.
        resize: Rule by which images are brought to `side`.
        side: Height and width the network sees.
        dim: Number of features.
        precision: Arithmetic of the network: "exact", "fast" or "bf16".
        tag: All of these that change a figure: "name@hash-resize-precision".
        device: Where it runs.
        probabilities: Features (B, dim) to class probabilities (B, K); None where the network has no classes.
    """

    name: str
    hash: str
    resize: str
    side: int
    dim: int
    precision: str
    device: torch.device
    probabilities: Callable[[Tensor], Tensor] | None

    @property
    def tag(self) -> str:
        """See the class."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Images, uint8 (B, C, H, W) with C of 1 or 3, to features, float32 (B, dim)."""
        ...


def tag_of(extractor: Extractor) -> str:
    """How figures of an extractor are marked."""
    return f"{extractor.name}@{extractor.hash}-{extractor.resize}-{extractor.precision}"


def check_precision(precision: str) -> None:
    """Raises a UserError for an unknown precision."""
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision}: known are {', '.join(PRECISIONS)}{near(precision, PRECISIONS)}")


def hash_of(net: nn.Module) -> str:
    """Eight hex digits of the SHA-256 of all weights, by name."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def fold_batchnorm(net: nn.Module) -> nn.Module:
    """Folds each BatchNorm named `bn` into the convolution named `conv` beside it; for evaluation only, in place."""
    for module in net.modules():
        children = dict(module.named_children())
        conv, norm = children.get("conv"), children.get("bn")
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return net


@torch.no_grad()
def softmax_head(head: nn.Module, features: Tensor) -> Tensor:
    """Class probabilities of each row, (B, dim) to (B, K)."""
    with full_float32(features.device):
        return torch.softmax(head(features.float()), 1)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the device or the host has no memory left."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


@dataclass(frozen=True)
class Backbone:
    """A network and what it expects.

    Attributes:
        name: Short name.
        hash: Eight hex digits of the hash of all weights.
        net: Module from (B, 3, side, side) to (B, dim).
        side: Height and width it sees.
        dim: Number of features.
        shift: Grey level that becomes 0.
        scale: Grey levels that become 1.
        batch: Images that run at once; bounds the memory of its activations.
        head: Features to class logits, or None; not a part of `net`, for it stays in float32.
        facts: Named numbers about the network, such as a classifier's accuracy on rows it was not trained on.
        trained_on: What it was trained on, in a few words; "nothing" for one without learnt weights.
    """

    name: str
    hash: str
    net: nn.Module
    side: int
    dim: int
    shift: float
    scale: float
    batch: int = 32
    head: nn.Module | None = None
    facts: dict[str, float] = field(default_factory=dict)
    trained_on: str = "nothing"


class NetExtractor:
    """A backbone in evaluation: channels_last, BatchNorm folded, batches halved when memory runs out.

    Arguments:
        backbone: The network; it is folded in place and moved.
        resize: Rule of `datakiln.metrics.extractors.resize`.
        precision: Arithmetic; `datakiln.metrics.extractors.checks` decides whether a fast one may be used.
        device: Where it runs.
    """

    def __init__(self, backbone: Backbone, resize: str, precision: str, device: torch.device) -> None:
        """See the class."""
        check_rule(resize)
        check_precision(precision)
        self.name, self.side, self.dim = backbone.name, backbone.side, backbone.dim
        self.hash, self.batch, self.facts = backbone.hash, backbone.batch, backbone.facts
        self.trained_on = backbone.trained_on
        self.resize, self.precision, self.device = resize, precision, device
        self.shift, self.scale = backbone.shift, backbone.scale
        head = None if backbone.head is None else backbone.head.eval().requires_grad_(False).to(device)
        self.probabilities: Callable[[Tensor], Tensor] | None = None if head is None else partial(softmax_head, head)
        self.net = fold_batchnorm(backbone.net.eval()).requires_grad_(False)
        self.net = self.net.to(device, DTYPES[precision]).to(memory_format=torch.channels_last)

    @property
    def tag(self) -> str:
        """See `Extractor`."""
        return tag_of(self)

    @property
    def card(self) -> str:
        """What a reader must know of the network to judge its figures: training, accuracy, hash of the weights."""
        right = f", right on {self.facts['accuracy']:.2%} of pictures it was not" if "accuracy" in self.facts else ""
        if "published_accuracy" in self.facts:
            right = f", right on {self.facts['published_accuracy']:.1%} of others as published"
        return f"{self.name}@{self.hash}, trained on {self.trained_on}{right}"

    def prepare(self, images: Tensor) -> Tensor:
        """What the network sees: resized, three channels, scaled; float32 (B, 3, side, side).

        Weights of a resize sum to 1, so scaling comes first, where the image is still small and perhaps grey.
        """
        x = (images.to(self.device).float() - self.shift) / self.scale
        x = resize(x, self.resize, self.side, -self.shift / self.scale, (255 - self.shift) / self.scale)
        return three_channels(x).contiguous(memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """See `Extractor`."""
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, not {images.dtype}; see to_uint8")
        done: list[Tensor] = []
        start = 0
        while start < len(images):
            part = self._try(images[start : start + self.batch])
            if part is None:
                self._halve()
                continue
            done.append(part)
            start += len(part)
        return torch.cat(done) if done else torch.zeros(0, self.dim, device=self.device)

    @torch.no_grad()
    def _try(self, images: Tensor) -> Tensor | None:
        """Features of one batch, or None when memory ran out; what the failed try held is free by then."""
        try:
            with full_float32(self.device):
                features: Tensor = self.net(self.prepare(images).to(DTYPES[self.precision]))
                return features.float()
        except RuntimeError as error:
            if not out_of_memory(error) or self.batch == 1:
                raise
            return None

    def _halve(self) -> None:
        self.batch //= 2
        log.warning("%s: out of memory; the batch is now %d images", self.name, self.batch)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
