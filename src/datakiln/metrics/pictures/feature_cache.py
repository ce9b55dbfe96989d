"""Statistics of real images on disk, under a key of everything they depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datakiln.metrics.pictures.statistics import FeatureStatistics
from datakiln.storage import cache_dir, read_state, write_atomically

log = logging.getLogger(__name__)

FORMAT = 1  # to be raised when the same key would give other numbers


@dataclass(frozen=True)
class StatisticsKey:
    """Everything that statistics of real images depend on.

    Attributes:
        data: Hash of the data as it was read, with whatever was done to it since.
        split: Name of the split, with its seed and share where it was drawn.
        extractor: Tag of the extractor: its name, hash, resize and precision.
        n: Images asked for; None for all.
        store: Rows kept at most.
        seed: Chooses the kept rows.
    """

    data: str
    split: str
    extractor: str
    n: int | None = None
    store: int = 0
    seed: int = 0

    def path(self) -> Path:
        """Where these statistics lie."""
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, sort_keys=True)
        return cache_dir() / "statistics" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.pt"


def _agreed(found: bool) -> bool:
    """The first process decides for all: making statistics gathers every process, so none may stay away."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return found
    answers: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(answers, found)
    return all(answers)


def cached_statistics(key: StatisticsKey, make: Callable[[], FeatureStatistics]) -> FeatureStatistics:
    """Statistics read from disk, or made and then written by the first process.

    The factor of the covariance is stored with them, so its eigendecomposition is made once too.
    """
    path = key.path()
    state = read_state(path)
    if _agreed(state is not None) and state is not None:
        log.info("statistics of the real images: %s", path)
        return FeatureStatistics.from_state(state)
    statistics = make()
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        write_atomically(path, statistics.state())
    return statistics
