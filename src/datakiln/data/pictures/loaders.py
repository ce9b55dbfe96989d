"""Batches of pictures: uint8 by index, from memory or files; normalised, cut and mirrored on the device that trains."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datakiln.codecs.pictures import to_model_space
from datakiln.data.base import TensorLoader
from datakiln.data.pictures.files import PictureFiles, threads
from datakiln.privacy.gradients import poisson
from datakiln.spec import Batch

AHEAD = 2  # batches that each decoding thread has waiting


class ImageLoader(TensorLoader):
    """Batches in model space, from pictures kept as uint8.

    What is random depends on (seed, epoch, batch) alone, so that a resumed epoch ends as it would have ended.

    Arguments:
        x: Pictures, uint8 (n, C, H, W), on the device that trains; or files, decoded ahead by threads.
        y: Label indices, shape (n,), or None.
        batch_size: Pictures a batch.
        shuffle: Whether this is training: each epoch has an order of its own, crops and flips are random, and a last,
            smaller batch is left out, for which batch statistics would be poor.
        side: Height and width of what is served; the middle is cut out where it is not random.
        flip: Whether half the pictures are mirrored, left to right, when shuffling.
        device: Where the batches go.
        dtype: Type of the batches: float32, or what a run in pure bf16 or float64 computes in.
        seed: See the class.
    """

    def __init__(
        self,
        x: Tensor | PictureFiles,
        y: Tensor | None,
        batch_size: int,
        shuffle: bool,
        side: int,
        flip: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        """See the class."""
        super().__init__(x, y, batch_size, shuffle, seed, drop_last=shuffle)  # type: ignore[arg-type]
        self.side, self.flip, self.dtype = side, flip, dtype
        self.device = device or torch.device("cpu")

    def __iter__(self) -> Iterator[Batch]:
        """One pass, from the start or from where a restored state stood."""
        first = self._resume_at
        for i, (pictures, at) in enumerate(self._fetched(list(self.plan())), first):
            self._position = i + 1
            if self.shuffle:
                generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 1_000_003 + i)
                pictures = randomly_cut(pictures, self.side, self.flip, generator)
            else:
                pictures = middle(pictures, self.side)
            y = None if self.y is None else self.y[at].to(self.device)
            others = self.beside(i, at)
            other = None if others is None else to_model_space(others, self.dtype)
            yield Batch(to_model_space(pictures, self.dtype), y, other=other)

    def beside(self, i: int, at: slice | Tensor) -> Tensor | None:
        """Pictures that are shown beside those of batch i, uint8 (B, C, side, side); None for none."""
        return None

    def take(self, rows: Tensor) -> Batch:
        """These pictures, their middles, neither moved nor mirrored."""
        at = rows.to(self.x.device) if isinstance(self.x, Tensor) else rows.cpu()
        pictures = middle(self.x[at], self.side).to(self.device)
        y = None if self.y is None else self.y[rows.to(self.y.device)].to(self.device)
        return Batch(to_model_space(pictures, self.dtype), y)

    def _fetched(self, plan: list[slice | Tensor]) -> Iterator[tuple[Tensor, slice | Tensor]]:
        if isinstance(self.x, Tensor):
            yield from ((self.x[at], at) for at in plan)
            return
        with threads() as pool:
            waiting: deque[tuple[Future[Tensor], slice | Tensor]] = deque()
            for at in plan:
                waiting.append((pool.submit(self.x.__getitem__, at), at))
                if len(waiting) > AHEAD * pool._max_workers:
                    future, done = waiting.popleft()
                    yield future.result().to(self.device, non_blocking=True), done
            for future, done in waiting:
                yield future.result().to(self.device, non_blocking=True), done


class PoissonImageLoader(ImageLoader):
    """Batches in which each picture is by itself with one probability; see `PoissonLoader`.

    Arguments:
        rate: The probability.
        steps: Batches a pass.
        *parts: See `ImageLoader`.
    """

    def __init__(self, rate: float, steps: int, *parts: Any) -> None:  # noqa: ANN401 (those of the base)
        """See the class."""
        super().__init__(*parts)
        self.rate, self.steps = rate, steps

    def __len__(self) -> int:
        """Batches a pass."""
        return self.steps

    def plan(self) -> Iterator[Tensor]:
        """The pictures of each batch of one pass."""
        for _ in range(self.start(), self.steps):
            yield poisson(len(self.x), self.rate)


def middle(pictures: Tensor, side: int) -> Tensor:
    """The middle of each picture, shape (B, C, side, side)."""
    top, left = (pictures.shape[2] - side) // 2, (pictures.shape[3] - side) // 2
    return pictures[:, :, top : top + side, left : left + side]


@dataclass(frozen=True)
class Middles:
    """The middles of pictures in files, which are decoded when they are asked for; looks like a uint8 tensor.

    Attributes:
        files: The pictures.
        side: Height and width of their middles.
    """

    files: PictureFiles
    side: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of the tensor it stands for."""
        return len(self.files), self.files.channels, self.side, self.side

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.files)

    def __getitem__(self, at: slice) -> Tensor:
        """Some of them, uint8 (B, C, side, side)."""
        return middle(self.files[at], self.side)

    def first(self, n: int) -> Middles:
        """The first n of them."""
        return Middles(self.files.first(n), self.side)


def randomly_cut(pictures: Tensor, side: int, flip: bool, generator: torch.Generator) -> Tensor:
    """A random window of each picture, mirrored half the time, shape (B, C, side, side); one gather for both."""
    count, channels, height, width = pictures.shape
    if not flip and (height, width) == (side, side):
        return pictures
    steps = torch.arange(side)
    rows = torch.randint(height - side + 1, (count, 1), generator=generator) + steps
    columns = torch.randint(width - side + 1, (count, 1), generator=generator) + steps
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    at = rows[:, :, None] * width + columns[:, None, :]
    flat = at.reshape(count, 1, -1).expand(-1, channels, -1).to(pictures.device)
    return pictures.reshape(count, channels, -1).gather(2, flat).reshape(count, channels, side, side)
