"""What adversarial models share that take a picture and give one: no latents of their own, and a rate over training."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from torch import Tensor, nn

from datakiln.models.gan.adversarial import AdversarialModel
from datakiln.models.gan.health import diversity
from datakiln.nets.losses import AdversarialLoss
from datakiln.spec import Batch, DataSpec


class PictureToPicture(AdversarialModel, abc.ABC):
    """Makes pictures of pictures (`transform`), and draws none by itself; see `AdversarialModel` for its arguments.

    Attributes:
        loss: What either side minimises.
    """

    supports = frozenset({"image"})
    alone = "what is shown beside its pictures is dealt by one process"
    doubles: ClassVar[bool] = True  # as of `ImageGAN`

    def __init__(
        self, spec: DataSpec, generator: nn.Module, critic: nn.Module, loss: AdversarialLoss, **training: Any
    ) -> None:  # fmt: skip
        """See the class."""
        super().__init__(spec, generator, critic, **training)
        if self.lazy > 1 and not self.has_penalty:
            raise ValueError(f"lazy={self.lazy} spaces out a penalty, and there is none; set lazy=1")
        self.loss = loss

    @property
    def has_penalty(self) -> bool:
        """Whether the critic pays for its gradients."""
        return False

    def rate(self) -> float:
        """Factor of the learning rates now; 1 throughout unless a model says otherwise."""
        return 1.0

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """See `AdversarialModel`, at the rate that the share of training done gives."""
        self.set_rates()
        super().training_step(batch, batch_idx)

    def set_rates(self) -> None:
        """Brings every optimizer to the rate of now."""
        optimizers: Any = self.optimizers(use_pl_optimizer=False)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
                group["lr"] = self.rate() * group["initial_lr"]

    def epoch_figures(self) -> dict[str, float]:
        """None: how various the made pictures are is a figure of every batch here."""
        return {}

    def judged(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The share of either kind that the critic takes for what it is, from its scores."""
        assert self.loss.threshold is not None
        at = self.loss.threshold
        return {
            "real_accuracy": (real.detach() > at).float().mean(),
            "fake_accuracy": (fake.detach() <= at).float().mean(),
        }


def variety(made: Tensor, real: Tensor) -> Tensor:
    """How far made pictures of a batch are from each other, over the same of real ones, a scalar."""
    return diversity(made.detach()) / diversity(real).clamp(min=1e-6)
