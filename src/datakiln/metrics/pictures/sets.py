"""What a metric of pictures may look at: those to judge, the training ones, real ones the model has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datakiln.metrics.base import MetricError
from datakiln.metrics.extractors.base import NetExtractor
from datakiln.metrics.extractors.build import auto_name, build_extractor
from datakiln.metrics.pictures.feature_cache import StatisticsKey, cached_statistics
from datakiln.metrics.pictures.statistics import STORE, FeatureStatistics, feature_statistics, home_of, statistics_of
from datakiln.pretrained.efficientnet import SHA256
from datakiln.spec import LabelledImages

BATCH = 256
COMPARED = 10_000  # training pictures that a figure is compared with unless it says otherwise
Told = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
KEPT = 20_000  # pictures whose features are kept for all metrics; of more they are made anew by each


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
class Part:
    """Some of the pictures of a tensor or stack; what was found of all of them serves for these too.

    Attributes:
        whole: All of them.
        rows: Which, int64 (n,).
    """

    whole: Tensor | Stack
    rows: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the tensor it stands for."""
        return len(self.rows), *self.whole.shape[1:]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.rows)

    def __getitem__(self, at: slice) -> Tensor:
        """Some of them, uint8 (B, C, H, W)."""
        rows = self.rows[at]
        if isinstance(self.whole, Tensor):
            return self.whole[rows]
        return torch.cat([self.whole[i : i + 1] for i in rows.tolist()])  # a stack knows slices only

    def first(self, n: int) -> Part:
        """The first n of them."""
        return Part(self.whole, self.rows[:n])


@dataclass(frozen=True)
class Deal:
    """Judged pictures and those they are compared with, shuffled together and dealt anew; see `chance`.

    Attributes:
        turn: Number of the deal.
        level: 0 for as many on both sides as there were, 1 for half as many.
        n: Judged pictures.
    """

    turn: int
    level: int
    n: int


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
        kept: Features that were made, by extractor and pictures, for metrics to come.
        compared: Statistics of training pictures that were made, by extractor and how many there are.
        deal: Real pictures and training ones dealt anew, where features are all that is asked for; else None.
        trained_with: Names, or hashes, of the networks that the model was trained with, which decide nothing of it.
        told: What the model says of the first so many training pictures and of the first so many held-out ones, by the
            name of the attack, higher for what it knows better; None where no model is at hand.
        watch: Told how many pictures of how many a network has looked at.
    """

    train: Callable[[int], Iterable[Tensor]]
    n_train: int
    judged: Tensor | Stack
    labels: Tensor | None = None
    holdout: Tensor | Stack | None = None
    holdout_labels: Tensor | None = None
    labelled: LabelledImages | None = None
    fingerprint: tuple[str, str] = ("", "")
    seed: int = 0
    device: torch.device = torch.device("cpu")
    cache: dict[tuple[str, str, str, str | None], NetExtractor] = field(default_factory=dict, compare=False, repr=False)
    classes: Sequence[str] = ()
    kept: dict[tuple[str, int], tuple[object, Tensor]] = field(default_factory=dict, compare=False, repr=False)
    compared: dict[tuple[str, int], FeatureStatistics] = field(default_factory=dict, compare=False, repr=False)
    deal: Deal | None = None
    trained_with: frozenset[str] = frozenset()
    watch: Callable[[int, int], None] | None = field(default=None, compare=False, repr=False)
    told: Callable[[int, int], Told] | None = field(default=None, compare=False, repr=False)

    @property
    def size(self) -> int:
        """As many pictures as all three sides have: the distance depends on how many there are."""
        return len(self.judged) if self.holdout is None else min(len(self.judged), len(self.holdout))

    @property
    def goes_by_classifier(self) -> bool:
        """Whether "auto" means the classifier."""
        return self.labelled is not None and not self.labelled.is_sample and self.judged.shape[1] == 1

    def extractor(self, name: str, precision: str, resize: str, weights: str | None = None) -> NetExtractor:
        """An extractor; "auto" is the classifier for labelled grey pictures, of which ImageNet knows little."""
        whole = None if self.labelled is None or self.labelled.is_sample else self.labelled
        if name == "auto" and self.goes_by_classifier:
            name = "classifier"
        key = (name, precision, resize, weights)
        if key not in self.cache:
            self.cache[key] = build_extractor(
                name, precision, resize, self.device, self.labelled if name == "classifier" else whole, weights
            )
        return self.cache[key]

    def judging(self, name: str, precision: str, resize: str, weights: str | None = None) -> NetExtractor:
        """An extractor that may decide; "auto" goes past those that the model was trained with.

        Raises:
            MetricError: The model was trained with the one that is named.
        """
        if name == "auto":
            own = "classifier" if self.labelled is not None else "pixels"
            lite = "efficientnet_lite0"  # not built, where it is not to judge, nor said to be the one that does
            is_its_own = auto_name(weights) == lite and bool({lite, SHA256[:8]} & self.trained_with)
            for choice in (own, "pixels") if is_its_own else ("auto", own, "pixels"):
                network = self.extractor(choice, precision, resize, weights if choice == "auto" else None)
                if not {network.name, network.hash} & self.trained_with:
                    return network
        elif name not in self.trained_with:
            network = self.extractor(name, precision, resize, weights)
            if network.hash not in self.trained_with:
                return network
        told = f"the model was trained with {name}, which can decide nothing of its pictures"
        raise MetricError(f"{told}; set extractor= to another network")

    def reference(self, extractor: NetExtractor, n: int, store: int) -> FeatureStatistics:
        """Statistics of n training pictures, from the cache or made now; of others, where they were dealt anew."""
        if self.deal is not None:
            return statistics_of(extractor, self._dealt(extractor)[1].split(BATCH), store)
        n = min(n, self.n_train)
        key = StatisticsKey(*self.fingerprint, extractor.tag, n, store)
        make = lambda: feature_statistics(extractor, self._watched(self.train(n), n), store)  # noqa: E731
        made = cached_statistics(key, make) if self.fingerprint[0] else make()
        self.compared[extractor.tag, self.n_train] = made
        return made

    def features(self, extractor: NetExtractor, n: int) -> Iterator[Tensor]:
        """Features of the first n judged pictures, float32 (B, dim) a batch; few enough are made once for all metrics.

        Arguments:
            extractor: Makes them.
            n: How many at most.
        """
        if self.deal is not None:
            yield from self._dealt(extractor)[0].split(BATCH)
            return
        pictures = self.judged
        if isinstance(pictures, Part):
            rows = self._kept(extractor, pictures.whole, int(pictures.rows.max()) + 1)
            yield from rows[pictures.rows[:n].to(rows.device)].split(BATCH)
            return
        n = min(n, len(pictures))
        if n > KEPT:
            yield from (extractor(part) for part in self._watched(pieces(pictures, n), n))
        else:
            yield from self._kept(extractor, pictures, n)[:n].split(BATCH)

    def _dealt(self, extractor: NetExtractor) -> tuple[Tensor, Tensor]:
        """Features of the judged and of those they are compared with, after a shuffle of both."""
        assert self.deal is not None
        key = (extractor.tag, self.n_train)
        if key not in self.compared:
            replace(self, deal=None).reference(extractor, COMPARED, STORE)
        compared, n = self.compared[key].rows, self.deal.n
        judged = self._kept(extractor, self.judged, n)[:n]
        generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + self.deal.turn)
        order = torch.randperm(n + len(compared), generator=generator).to(judged.device)
        both = torch.cat([judged, compared.to(judged.device)])
        first, second = n >> self.deal.level, len(compared) >> self.deal.level
        return both[order[:first]], both[order[n : n + second]]

    def _kept(self, extractor: NetExtractor, pictures: Tensor | Stack, n: int) -> Tensor:
        """Features of the first n pictures or more, (m, dim); they stay in memory, and with them the pictures."""
        key = (extractor.tag, id(pictures))
        if key not in self.kept or len(self.kept[key][1]) < n:
            home = home_of(extractor)
            made = [extractor(part).to(home) for part in self._watched(pieces(pictures, n), n)]
            self.kept[key] = (pictures, torch.cat(made) if made else torch.zeros(0, extractor.dim, device=home))
        return self.kept[key][1]

    def _watched(self, batches: Iterable[Tensor], n: int) -> Iterator[Tensor]:
        done = 0
        for batch in batches:
            yield batch
            done += len(batch)
            if self.watch is not None:
                self.watch(done, n)


def pieces(pictures: Tensor | Stack, n: int) -> Iterator[Tensor]:
    """The first n in batches."""
    for start in range(0, min(n, len(pictures)), BATCH):
        yield pictures[start : min(start + BATCH, n)]


def first(pictures: Tensor | Stack, n: int) -> Tensor | Stack:
    """The first n."""
    return pictures[:n] if isinstance(pictures, Tensor) else pictures.first(n)
