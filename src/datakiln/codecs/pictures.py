"""Pictures as tensors in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datakiln.codecs.base import Codec
from datakiln.errors import UserError, near
from datakiln.spec import DataSpec

CHUNK_PIXELS = 2**19  # pixels drawn at a time, at most; part of what a seed means, so it is no option


class ImageCodec(Codec):
    """uint8 (n, C, H, W) to [-1, 1] and back; level k is at k / 127.5 - 1.

    Arguments:
        shape: Channels (1 or 3), height and width.
        classes: Names of the classes in the order of the label indices; empty without labels.
        class_shares: Share of each class among the training pictures.
        size: Number of training pictures.
        domains: See `DataSpec`.
    """

    kind = "image"

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: Sequence[str] = (),
        class_shares: Sequence[float] = (),
        size: int = 0,
        domains: Sequence[str] = (),
    ) -> None:
        """See the class."""
        self.spec = DataSpec(
            kind="image", shape=shape, classes=tuple(classes), class_shares=tuple(class_shares), size=size,
            domains=tuple(domains),
        )  # fmt: skip

    def domain_index(self, name: object) -> int:
        """Index of a domain given by its name; raises `UserError` naming the known ones."""
        domains = self.spec.domains
        if not domains:
            raise UserError(f"to={name}: this model was trained on one set of pictures; leave to= out")
        if str(name) not in domains:
            raise UserError(f"to={name} is none of its domains ({', '.join(domains)}){near(str(name), domains)}")
        return domains.index(str(name))

    @property
    def chunk(self) -> int:
        """Pictures drawn at a time."""
        return max(1, CHUNK_PIXELS // (self.spec.shape[1] * self.spec.shape[2]))

    def encode(self, data: np.ndarray | Tensor) -> Tensor:
        """Pictures of shape (n, C, H, W) and type uint8 to float32, on the device they are on."""
        pictures = torch.from_numpy(data) if isinstance(data, np.ndarray) else data
        return to_model_space(pictures)

    def decode(self, x: Tensor, rng: np.random.Generator, first_row: int = 0) -> np.ndarray:
        """Model space to the nearest of the 256 levels, uint8 (n, C, H, W); raises `UserError` where one is NaN."""
        if x.isnan().any():
            raise UserError(
                "the model drew pixels that are no numbers: its weights are damaged or it diverged; train it again"
            )
        return to_levels(x).cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Shape, classes, shares, size, and domains where there are two."""
        spec = self.spec
        domains = {"domains": list(spec.domains)} if spec.domains else {}
        return {
            **domains,
            "shape": list(spec.shape),
            "classes": list(spec.classes),
            "class_shares": list(spec.class_shares),
            "size": spec.size,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ImageCodec:
        """Inverse of `state`."""
        return cls(
            tuple(state["shape"]), state["classes"], state["class_shares"], state["size"], state.get("domains", ())
        )


def to_model_space(pictures: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Levels 0 to 255 to [-1, 1]."""
    return pictures.to(dtype, copy=True).div_(127.5).sub_(1.0)


def to_levels(x: Tensor) -> Tensor:
    """[-1, 1] to the nearest level, uint8; what lies outside is clipped."""
    return x.detach().float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
