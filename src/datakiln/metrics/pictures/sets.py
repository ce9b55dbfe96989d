"""What a metric of pictures may look at: those to judge, the training ones, real ones the model has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from datakiln.metrics.extractors.base import NetExtractor
from datakiln.metrics.extractors.build import build_extractor
from datakiln.metrics.pictures.feature_cache import StatisticsKey, cached_statistics
from datakiln.metrics.pictures.statistics import FeatureStatistics, feature_statistics
from datakiln.spec import LabelledImages

BATCH = 256


class Stack(Protocol):
    """Pictures too many for memory that can be asked for in pieces, as a tensor (n, C, H, W) could be."""

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the tensor it stands for."""
        ...

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def __getitem__(self, at: slice) -> Tensor:
        """Some of them, uint8 (B, C, H, W)."""
        ...

    def first(self, n: int) -> Stack:
        """The first n of them."""
        ...


@dataclass(frozen=True)
class ImageSets:
    """Everything a metric of pictures may look at; pictures are uint8 (n, C, H, W).

    Attributes:
        train: Gives the first n training pictures in batches, in an order that does not change.
        n_train: How many there are.
        judged: The pictures to judge.
        labels: Classes they were asked to show, shape (n,); None where nothing was asked.
        holdout: Real pictures that the model has not seen; None where there are none.
        holdout_labels: Their classes, or None.
        labelled: Training pictures with their classes in memory, or a sample of them, for a classifier; None without.
        fingerprint: (hash of the data, how it was split), under which statistics of the training pictures are cached.
        seed: Of whatever is drawn.
        device: Where features are made.
        cache: Extractors, built once for all metrics.
        classes: Names of the classes in the order of the label indices.
    """

    train: Callable[[int], Iterable[Tensor]]
    n_train: int
    judged: Tensor | Stack
    labels: Tensor | None = None
    holdout: Tensor | None = None
    holdout_labels: Tensor | None = None
    labelled: LabelledImages | None = None
    fingerprint: tuple[str, str] = ("", "")
    seed: int = 0
    device: torch.device = torch.device("cpu")
    cache: dict[tuple[str, str, str], NetExtractor] = field(default_factory=dict, compare=False, repr=False)
    classes: Sequence[str] = ()

    @property
    def size(self) -> int:
        """As many pictures as all three sides have: the distance depends on how many there are."""
        return len(self.judged) if self.holdout is None else min(len(self.judged), len(self.holdout))

    def extractor(self, name: str, precision: str, resize: str) -> NetExtractor:
        """An extractor; "auto" is the classifier for labelled grey pictures, of which ImageNet knows little."""
        whole = None if self.labelled is None or self.labelled.is_sample else self.labelled
        if name == "auto" and whole is not None and self.judged.shape[1] == 1:
            name = "classifier"
        key = (name, precision, resize)
        if key not in self.cache:
            self.cache[key] = build_extractor(
                name, precision, resize, self.device, self.labelled if name == "classifier" else whole
            )
        return self.cache[key]

    def reference(self, extractor: NetExtractor, n: int, store: int) -> FeatureStatistics:
        """Statistics of n training pictures, from the cache or made now."""
        n = min(n, self.n_train)
        key = StatisticsKey(*self.fingerprint, extractor.tag, n, store)
        make = lambda: feature_statistics(extractor, self.train(n), store)  # noqa: E731
        return cached_statistics(key, make) if self.fingerprint[0] else make()


def pieces(pictures: Tensor | Stack, n: int) -> Iterator[Tensor]:
    """The first n in batches."""
    for start in range(0, min(n, len(pictures)), BATCH):
        yield pictures[start : min(start + BATCH, n)]


def first(pictures: Tensor | Stack, n: int) -> Tensor | Stack:
    """The first n."""
    return pictures[:n] if isinstance(pictures, Tensor) else pictures.first(n)
