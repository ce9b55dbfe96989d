"""One pass over images in constant memory: features out, moments and a bounded sample of rows kept."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from datakiln.metrics.base import MetricError
from datakiln.metrics.extractors.base import Extractor, out_of_memory
from datakiln.metrics.pictures.frechet import factor
from datakiln.metrics.pictures.moments import Gaussian, Moments, Reservoir, Scores, ScoreSums

log = logging.getLogger(__name__)

STORE = 8192


@dataclass(frozen=True)
class FeatureStatistics:
    """What is left of a set of images.

    Attributes:
        tag: Extractor, resize and precision the features are from.
        gaussian: Size, mean and covariance of all images.
        rows: Uniform sample of the features in random order, float32, shape (m, d).
        scores: Summed class probabilities, where the extractor has classes.
    """

    tag: str
    gaussian: Gaussian
    rows: Tensor
    scores: Scores | None = None

    @property
    def n(self) -> int:
        """Images seen."""
        return self.gaussian.n

    @property
    def all_rows(self) -> Tensor | None:
        """The rows, if none was left out."""
        return self.rows if len(self.rows) == self.n else None

    @cached_property
    def factor(self) -> Tensor:
        """F with F F^T the covariance, shape (d, r)."""
        return factor(self.gaussian.cov, self.all_rows)

    def to(self, device: torch.device) -> FeatureStatistics:
        """The same on a device, with the factor where it has been made; itself where it is there already."""
        if self.rows.device == device:
            return self
        gaussian = self.gaussian._replace(mean=self.gaussian.mean.to(device), cov=self.gaussian.cov.to(device))
        moved = FeatureStatistics(self.tag, gaussian, self.rows.to(device), self.scores)
        if "factor" in self.__dict__:
            moved.__dict__["factor"] = self.factor.to(device)
        return moved

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, fit for a file read with `weights_only=True`; the factor is among them."""
        scores = None if self.scores is None else tuple(self.scores)
        return {
            "tag": self.tag,
            "gaussian": tuple(self.gaussian),
            "rows": self.rows,
            "scores": scores,
            "factor": self.factor,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FeatureStatistics:
        """Inverse of `state`."""
        scores = None if state["scores"] is None else Scores(*state["scores"])
        statistics = cls(state["tag"], Gaussian(*state["gaussian"]), state["rows"], scores)
        statistics.__dict__["factor"] = state["factor"]  # where cached_property looks for it
        return statistics


def to_uint8(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Images from model space, in [low, high], to grey levels: rounded, not truncated; uint8 of the same shape."""
    return ((x.detach().float() - low) * (255 / (high - low))).round_().clamp_(0, 255).to(torch.uint8)


def _tried(draw: Callable[[int], Tensor], size: int) -> Tensor | None:
    """One batch, or None when memory ran out; what the failed try held is free by the time this returns."""
    try:
        return draw(size)
    except RuntimeError as error:
        if not out_of_memory(error) or size == 1:
            raise
        return None


def generated(draw: Callable[[int], Tensor], n: int, batch: int) -> Iterator[Tensor]:
    """Fakes made batch by batch, n in all; the batch is halved when memory runs out, and the run goes on.

    Arguments:
        draw: Makes that many images, uint8 (B, C, H, W).
        n: Images in all.
        batch: Images at once at most.
    """
    made = 0
    while made < n:
        images = _tried(draw, min(batch, n - made))
        if images is None:
            batch = max(1, min(batch, n - made) // 2)
            log.warning("out of memory while sampling; the batch is now %d images", batch)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        made += len(images)
        yield images


def _place() -> tuple[int, int]:
    """Rank and number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _score_sums(extractor: Extractor, home: torch.device) -> ScoreSums | None:
    if extractor.probabilities is None:
        return None
    classes = extractor.probabilities(torch.zeros(1, extractor.dim, device=extractor.device)).shape[1]
    return ScoreSums(classes).to(home)


def feature_statistics(
    extractor: Extractor, images: Iterable[Tensor], store: int = STORE, seed: int = 0
) -> FeatureStatistics:
    """Runs images through an extractor and keeps what `image_figures` needs.

    With several processes each passes its own images, every world-th one beginning at its rank; all get the statistics
    of the union. Neither the split into batches nor the number of processes changes the result beyond rounding.

    Arguments:
        extractor: Says how features are made.
        images: Batches, uint8 (B, C, H, W).
        store: Rows kept at most, for the kernel distance, neighbours and curves; 4 * store * dim bytes.
        seed: Chooses the rows that are kept where there are more than `store`.

    Raises:
        MetricError: With fewer than two images in all.
    """
    return statistics_of(extractor, (extractor(batch) for batch in images), store, seed)


def home_of(extractor: Extractor) -> torch.device:
    """Where features are kept: an mps device has no float64."""
    return torch.device("cpu") if extractor.device.type == "mps" else extractor.device


def statistics_of(extractor: Extractor, rows: Iterable[Tensor], store: int = STORE, seed: int = 0) -> FeatureStatistics:
    """The same of features that have been made already, float32 (B, dim) a batch; see `feature_statistics`."""
    home = home_of(extractor)
    moments, reservoir = Moments(extractor.dim).to(home), Reservoir(extractor.dim, store, seed).to(home)
    scores = _score_sums(extractor, home)
    rank, world = _place()
    counter = itertools.count(rank, world)
    for made in rows:
        features = made.to(home)
        index = torch.tensor(list(itertools.islice(counter, len(features))), dtype=torch.int64, device=home)
        moments.update(features)
        reservoir.update(features, index)
        if scores is not None and extractor.probabilities is not None:
            scores.update(extractor.probabilities(features.to(extractor.device)), index)
    gaussian = moments.compute()
    if gaussian.n < 2:
        raise MetricError(f"image metrics need at least 2 images, not {gaussian.n}")
    summed = None if scores is None else scores.compute()
    return FeatureStatistics(extractor.tag, gaussian, reservoir.compute(), summed)
