"""Numbers that change with training progress, such as the weight of the KL term.

A schedule is a callable from progress, the share of training done in [0, 1], to a value. Progress, unlike steps, makes
a preset mean the same on a small and a large data set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A value as a function of training progress in [0, 1]."""

    def __call__(self, progress: float) -> float:
        """Value at this progress."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same value throughout."""

    value: float = 1.0

    def __call__(self, progress: float) -> float:
        """Value at this progress."""
        return self.value


@dataclass(frozen=True)
class Linear:
    """Rises from `start` to `stop` over the first `share` of training, then stays (Bowman et al., 2016)."""

    start: float = 0.0
    stop: float = 1.0
    share: float = 0.3

    def __post_init__(self) -> None:
        """Refuses a share that no training reaches."""
        _check_share(self.share)

    def __call__(self, progress: float) -> float:
        """Value at this progress."""
        return self.start + (self.stop - self.start) * min(progress / self.share, 1.0)


@dataclass(frozen=True)
class Cyclic:
    """Restarts the linear rise `cycles` times; within a cycle it rises for `share`, then stays (Fu et al., 2019)."""

    start: float = 0.0
    stop: float = 1.0
    cycles: int = 4
    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuses a share or a number of cycles without meaning."""
        _check_share(self.share)
        if self.cycles < 1:
            raise ValueError(f"cycles={self.cycles} must be at least 1")

    def __call__(self, progress: float) -> float:
        """Value at this progress; the end of training counts as the end of the last cycle."""
        position = 1.0 if progress >= 1.0 else (progress * self.cycles) % 1.0
        return self.start + (self.stop - self.start) * min(position / self.share, 1.0)


@dataclass(frozen=True)
class Sigmoid:
    """Logistic rise from `start` to `stop`, half way at `middle`, within about 4 x `width` (Bowman et al., 2016)."""

    start: float = 0.0
    stop: float = 1.0
    middle: float = 0.2
    width: float = 0.05

    def __post_init__(self) -> None:
        """Refuses a width that would divide by zero."""
        if self.width <= 0:
            raise ValueError(f"width={self.width} must be positive")

    def __call__(self, progress: float) -> float:
        """Value at this progress."""
        # tanh form: the plain logistic overflows for a small width far from the middle
        rise = 0.5 * (1.0 + math.tanh((progress - self.middle) / (2.0 * self.width)))
        return self.start + (self.stop - self.start) * rise


@dataclass(frozen=True)
class Falling:
    """The share of a learning rate after so many epochs, for `LambdaLR`: 1, and in a line to 0 over the last of them.

    Arguments:
        epochs: Of training.
        share: Of the epochs, over which it falls.
    """

    epochs: int
    share: float = 1 / 3

    def __post_init__(self) -> None:
        """Refuses a share that is none."""
        _check_share(self.share)

    def __call__(self, epoch: int) -> float:
        """Value after this many epochs, which is 0 only behind the last one."""
        return min(1.0, max(self.epochs - epoch, 0) / (self.share * self.epochs))


def _check_share(share: float) -> None:
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share={share} must lie in (0, 1]")
