"""What the models of pictures with one loss share: whether they are told the class, and the rate they learn at."""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from datakiln.models.base import LikelihoodModel, OptimizerFactory
from datakiln.spec import Batch, DataSpec


class PictureModel(LikelihoodModel, abc.ABC):
    """Pictures in model space, [-1, 1], with their class where there is one.

    Arguments:
        spec: A picture's spec.
        conditional: Whether the model is told the class, where there is one.
        warmup: Share of training in which the learning rate rises from 0; from there it falls to 0 along a cosine.
        optimizer: See `LikelihoodModel`.

    Attributes:
        classes: How many it is told of; 0 for none.
    """

    supports = frozenset({"image"})
    class_shares: Tensor

    def __init__(
        self,
        spec: DataSpec,
        conditional: bool = True,
        warmup: float = 0.05,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer)
        if not 0.0 <= warmup < 1.0:
            raise ValueError(f"warmup={warmup} must lie in [0, 1)")
        self.warmup = warmup
        self.classes = len(spec.classes) if conditional else 0
        self.conditioning = "label" if self.classes else "none"
        shares = torch.tensor(spec.class_shares if self.classes else (1.0,), dtype=torch.float32)
        self.register_buffer("class_shares", shares, persistent=False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """One loss, at the rate that the share of training done gives."""
        rate = self.rate()
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = rate * group["initial_lr"]
        return super().training_step(batch, batch_idx)

    def rate(self) -> float:
        """Factor of the learning rate now."""
        return cosine_rate(self.progress, self.warmup)

    def told(self, y: Tensor | None, n: int) -> Tensor | None:
        """Labels of n examples as the nets take them: None for a model that is told none, -1 for those unknown."""
        if not self.classes:
            return None
        return torch.full((n,), -1, device=self.device) if y is None else y

    def wanted(self, condition: Tensor | None, n: int) -> Tensor | None:
        """Classes of n samples: those asked for, else drawn by their shares."""
        if not self.classes or condition is not None:
            return condition
        return torch.multinomial(self.class_shares, n, replacement=True)


def cosine_rate(progress: float, warmup: float) -> float:
    """Factor of the learning rate: rising for a share of training, then half a cosine down to 0."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * min((progress - warmup) / (1.0 - warmup), 1.0)))
