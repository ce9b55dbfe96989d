"""What every data module offers: splits made before anything is fitted, a codec, a spec, where the data is from."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import lightning as L
import torch
from torch import Tensor

from datakiln.codecs.base import Codec
from datakiln.data.stored import Stored
from datakiln.errors import UserError
from datakiln.privacy.budget import Privacy
from datakiln.privacy.gradients import poisson
from datakiln.privacy.marginals import Release
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


class Inputs:
    """Files as they were when they were about to be read.

    Arguments:
        paths: The files, in the order that their hash goes by.
        is_read_again: Whether training reads them again, and not what was read of them at the start.
        told: What else there is of the data besides their content, such as what the names of their folders tell.
    """

    def __init__(self, paths: Sequence[Path | Stored], is_read_again: bool = False, told: str = "") -> None:
        """See the class."""
        self.paths, self.is_read_again, self.told = list(paths), is_read_again, told
        self._stats = [_stat(path) for path in self.paths]

    @property
    def size(self) -> int:
        """Bytes of all that were there."""
        return sum(stat[0] for stat in self._stats if stat is not None)

    def sha256(self, always_joined: bool = False) -> str:
        """See `files_sha256`; raises `OSError`."""
        return files_sha256(self.paths, always_joined, self.told)

    def only(self, kept: Sequence[int], is_read_again: bool) -> Inputs:
        """Of those alone, by position, as they were at the time."""
        made = Inputs([], is_read_again)
        made.paths, made._stats = [self.paths[i] for i in kept], [self._stats[i] for i in kept]
        return made

    def touched(self) -> list[Path | Stored]:
        """Those with another size or time of change than at the start, or that are gone."""
        return [path for path, before in zip(self.paths, self._stats, strict=True) if _stat(path) != before]


def _stat(path: Path | Stored) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def files_sha256(paths: Sequence[Path | Stored], always_joined: bool = False, told: str = "") -> str:
    """SHA-256 of a file, or of the hashes of several.

    Arguments:
        paths: The files, in order.
        always_joined: Whether a single one is hashed as several are.
        told: See `Inputs`; hashed as well where there is any.
    """
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1 and not always_joined and not told:
        return digests[0]
    return hashlib.sha256(("".join(digests) + told).encode()).hexdigest()


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

    def take(self, rows: Tensor) -> Batch:
        """These rows, as they are: for a model that draws some of its examples itself."""
        return Batch(self.x, self.y).rows(rows.to(self.x.device))

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


class PoissonLoader(Loader):
    """Batches in which each example is by itself with one probability, by the system's secure source.

    Arguments:
        x: Encoded examples, shape (n, *).
        y: Label indices, shape (n,), or None.
        rate: The probability.
        steps: Batches a pass.
    """

    def __init__(self, x: Tensor, y: Tensor | None, rate: float, steps: int) -> None:
        """See the class."""
        super().__init__(max(round(rate * len(x)), 1))
        self.x, self.y, self.rate, self.steps = x, y, rate, steps

    def __len__(self) -> int:
        """Batches a pass."""
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        """One pass; no seed decides who is in it, and no state tells."""
        for step in range(self.start(), self.steps):
            self._position = step + 1
            yield Batch(self.x, self.y).rows(poisson(len(self.x), self.rate).to(self.x.device))


class GenerativeData(L.LightningDataModule, abc.ABC):
    """A data module that a job can use.

    Attributes:
        spec: What one encoded example looks like; set by `setup`.
        codec: Fitted on the training split; set by `setup`.
        provenance: Where the data comes from; set by `setup`.
        reports: What each preprocessing step did; set by `setup`.
        originals: The files it was read from, where they are a person's own; set by `setup`.
        privacy: The options of `privacy=`.
        released: What was given away of a table before training, under differential privacy; else None.
    """

    kind: ClassVar[str]
    spec: DataSpec
    codec: Codec
    provenance: Provenance
    reports: list[StepReport]
    originals: Inputs | None = None
    privacy: Privacy = Privacy()
    released: Release | None = None

    def changed_input(self) -> Path | Stored | None:
        """A file that is no more what was read of it, by size, time of change and then content; None: all are."""
        touched = self.originals.touched() if self.originals is not None else []
        if not touched or self.originals is None:
            return None
        try:
            now = self.originals.sha256(always_joined=self.kind == "image")
        except OSError:  # gone, or not to be read any more
            return touched[0]
        return touched[0] if now != self.provenance.sha256 else None

    @property
    def released_cost(self) -> tuple[float, float]:
        """Epsilon and delta that were spent before training."""
        return 0.0, 0.0

    @property
    def paid_share(self) -> float:
        """Under dp_sgd, the share of the budget that was spent before training."""
        return 0.0

    @property
    def poisson(self) -> tuple[float, int]:
        """Under dp_sgd, the probability that an example takes part in a step, and the steps of an epoch."""
        raise UserError(f"privacy=dp_sgd does not know how to sample this kind of data: {type(self).__name__}")

    @property
    def expected(self) -> float:
        """Under dp_sgd, how many examples a step has on average, as far as is public."""
        raise UserError(f"privacy=dp_sgd does not know how to sample this kind of data: {type(self).__name__}")

    @property
    def parameters(self) -> tuple[Any, Any] | None:
        """Those of a mixture, where the data brings them in place of rows to learn from; see `Mixture.adopt`."""
        return None

    def declared(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data besides its codec, as plain values; nothing unless overridden."""
        return {}

    @property
    def n_synthetic(self) -> int:
        """Size of the synthetic data unless it is said: as many as training examples."""
        return self.spec.size

    @property
    def refits(self) -> bool:
        """Whether a fit with the validation examples apart is to be followed by one on them too."""
        return False

    def train_on_all(self) -> None:
        """Makes training examples of the validation examples too, and fits the codec to them; raises `UserError`."""
        raise UserError(f"a fit on all {NOUNS[self.kind]}s is not known for this kind of data")

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
