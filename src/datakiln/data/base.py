"""What every data module offers: splits made before anything is fitted, a codec, a spec, where the data is from."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import lightning as L
import torch
from torch import Tensor

from datakiln.codecs.base import Codec
from datakiln.errors import UserError
from datakiln.spec import NOUNS, Batch, DataSpec


@dataclass(frozen=True)
class Provenance:
    """Where the data of a run comes from.

    Attributes:
        kind: "files", "download", "embedded" (in an installed package), "generated", or "stand-in" (simulated in place
            of real data that could not be had).
        detail: One line a person can read: a path, an address, a generator with its seed.
        sha256: Hash of the data as it was read.
    """

    kind: str
    detail: str
    sha256: str

    @property
    def is_stand_in(self) -> bool:
        """Whether a report on this data must be marked."""
        return self.kind == "stand-in"


@dataclass(frozen=True)
class StepReport:
    """What one preprocessing step did: its name and settings, and how many rows or cells it touched."""

    name: str
    detail: str
    rows: int = 0
    cells: int = 0


class Loader(abc.ABC):
    """What every loader of ours keeps: the epoch, which with the seed decides the order, and where its pass stands.

    Arguments:
        batch_size: Rows a batch.
        seed: With the epoch, decides the order.
    """

    def __init__(self, batch_size: int, seed: int = 0) -> None:
        """See the class."""
        self.batch_size, self.seed = batch_size, seed
        self.epoch = 0
        self._position = 0
        self._resume_at = 0
        self.sampler = self  # Lightning calls loader.sampler.set_epoch before each epoch
        self.batch_sampler = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Batches a pass."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """One pass, from the start or from where a restored state stood."""

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass."""
        self.epoch = epoch

    def start(self) -> int:
        """The batch that a pass begins with: 0, or once where a restored state stood."""
        self._position, self._resume_at = self._resume_at, 0
        return self._position

    def state_dict(self) -> dict[str, Any]:
        """Where this pass stands; Lightning keeps it in checkpoints."""
        return {"position": self._position % len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next pass begins where the saved one stood."""
        self._resume_at = state["position"]


class TensorLoader(Loader):
    """Batches by index from tensors already in memory: no workers, no collation, the order set by (seed, epoch) alone.

    Arguments:
        x: Encoded examples, shape (n, *).
        y: Label indices, shape (n,), or None.
        batch_size: Rows a batch.
        shuffle: Whether each epoch has an order of its own.
        seed: With the epoch, decides the order.
        drop_last: Whether a last, smaller batch is left out.
    """

    def __init__(
        self, x: Tensor, y: Tensor | None, batch_size: int, shuffle: bool, seed: int = 0, drop_last: bool = False
    ) -> None:
        """See the class."""
        super().__init__(min(batch_size, len(x)), seed)
        self.x, self.y = x, y
        self.shuffle, self.drop_last = shuffle, drop_last

    def __len__(self) -> int:
        """Batches a pass."""
        return len(self.x) // self.batch_size if self.drop_last else -(-len(self.x) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One pass, from the start or from where a restored state stood."""
        for at in self.plan():
            yield Batch(self.x, self.y).rows(at)

    def plan(self) -> Iterator[slice | Tensor]:
        """The rows of each batch of one pass; keeps account of where the pass stands."""
        first = self.start()
        n = len(self) * self.batch_size if self.drop_last else len(self.x)
        order = None
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(len(self.x), generator=generator)[:n].to(self.x.device)
        for i in range(first, len(self)):
            self._position = i + 1
            rows = slice(i * self.batch_size, min((i + 1) * self.batch_size, n))
            yield rows if order is None else order[rows]


class GenerativeData(L.LightningDataModule, abc.ABC):
    """A data module that a job can use.

    Attributes:
        spec: What one encoded example looks like; set by `setup`.
        codec: Fitted on the training split; set by `setup`.
        provenance: Where the data comes from; set by `setup`.
        reports: What each preprocessing step did; set by `setup`.
    """

    kind: ClassVar[str]
    spec: DataSpec
    codec: Codec
    provenance: Provenance
    reports: list[StepReport]

    def declared(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data besides its codec, as plain values; nothing unless overridden."""
        return {}

    @property
    def n_synthetic(self) -> int:
        """Size of the synthetic data unless it is said: as many as training examples."""
        return self.spec.size

    def inputs(self, split: Literal["train", "val", "test"], n: int, shape: tuple[int, ...]) -> Tensor:
        """At most n encoded examples of a split, brought to a shape, for models that make examples from others.

        Arguments:
            split: Of the data.
            n: How many.
            shape: That of one input; for pictures (C, H, W).

        Raises:
            UserError: This kind of data cannot be brought to that shape.
        """
        raise UserError(f"a model that takes {NOUNS[self.kind]}s of shape {shape} cannot be trained on this data")

    @property
    def device(self) -> torch.device:
        """The device that trains, or the CPU outside a run."""
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
