"""Models that are fitted by counting, without gradients, and still train, save, resume and sample like any other."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel
from datakiln.nets.codes import Codes
from datakiln.spec import Batch, DataSpec


class WithoutGradients(GenerativeModel, abc.ABC):
    """What models have in common that no optimizer trains; how a batch is taken in is theirs to say.

    Arguments:
        spec: What one example looks like.
    """

    def __init__(self, spec: DataSpec) -> None:
        """See the class."""
        super().__init__(spec)
        self.automatic_optimization = False

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss on the validation split."""
        self.meter.add("val", self.losses(batch), len(batch.x))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss on the test split."""
        self.meter.add("test", self.losses(batch), len(batch.x))

    def configure_optimizers(self) -> None:
        """None: nothing has a gradient."""
        return None

    def averaged(self) -> nn.Module:
        """Refuses: an average of parameters of different passes is no model."""
        raise UserError(f"model {type(self).__name__} has no weights to average; leave ema=null")


class ClosedFormModel(WithoutGradients, abc.ABC):
    """A density of rows of codes whose parameters are functions of sums over the training rows.

    An epoch is one pass: every batch is added to sums that are kept in buffers, so that memory does not grow with the
    rows and a run resumed inside an epoch goes on exactly; after the last batch the sums become parameters.

    Arguments:
        spec: A table of code blocks.
    """

    mixes = "no gradients: it is fitted by counting"
    supports = frozenset({"table"})
    reads = frozenset({"code"})
    likelihood = "partial"
    alone = "counting a batch is less work than telling another process of it"
    gathered: Tensor

    def __init__(self, spec: DataSpec) -> None:
        """See the class."""
        super().__init__(spec)
        self.conditioning = "columns"
        self.codes = Codes(spec.blocks)
        self.register_buffer("gathered", torch.zeros((), dtype=torch.long))

    @abc.abstractmethod
    def gather(self, x: Tensor) -> None:
        """Adds rows (B, C), NaN where unknown, to the sums of this pass."""

    @abc.abstractmethod
    def settle(self) -> dict[str, Tensor]:
        """Turns the sums of a pass into parameters and clears them; returns figures, among them "loss", nats a row."""

    @abc.abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the known cells of rows (B, C) in nats, shape (B,)."""

    def on_fit_start(self) -> None:
        """Refuses a table of which nothing can be learnt."""
        self.codes.check()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The mean negative log-probability."""
        return {"loss": -self.log_prob(batch.x).mean()}

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts; the last batch of a pass settles it, since validation comes before the end of the epoch."""
        self.gather(batch.x)
        self.gathered += 1
        if self.trainer.is_last_batch:
            self.meter.add("train", self.settle(), 1.0)

    @property
    def steps(self) -> int:
        """Batches counted so far."""
        return int(self.gathered)
