"""Batches of windows or whole sequences, gathered from steps that are kept once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from datakiln.codecs.series.series import gathered
from datakiln.data.base import Loader
from datakiln.spec import Batch, DataSpec


class SequenceLoader(Loader):
    """Examples (B, T, D) by index; the order is set by (seed, epoch) alone.

    Arguments:
        x: Encoded steps, (N, D - S).
        static: Static positions of sequences, (E, S).
        at: First step, sequence and number of steps of each example, (n, 3).
        y: Label of each sequence, (E,), or None.
        spec: Gives T.
        batch_size: Examples a batch.
        count: Examples a pass, at most.
        shuffle: Whether each pass has an order, and a choice, of its own.
        seed: With the epoch, decides the order.
    """

    def __init__(
        self,
        x: Tensor,
        static: Tensor,
        at: Tensor,
        y: Tensor | None,
        spec: DataSpec,
        batch_size: int,
        count: int,
        shuffle: bool,
        seed: int = 0,
    ) -> None:
        """See the class."""
        self.count = min(count, len(at))
        super().__init__(min(batch_size, self.count), seed)
        self.x, self.static, self.at, self.y, self.spec, self.shuffle = x, static, at, y, spec, shuffle

    def __len__(self) -> int:
        """Batches a pass."""
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One pass, from the start or from where a restored state stood."""
        first = self.start()
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(len(self.at), generator=generator)[: self.count].to(self.x.device)
        else:  # spread evenly over all of them
            order = torch.linspace(0, len(self.at) - 1, self.count, device=self.x.device).round().long()
        for i in range(first, len(self)):
            self._position = i + 1
            yield self.batch(order[i * self.batch_size : (i + 1) * self.batch_size])

    def batch(self, examples: Tensor) -> Batch:
        """Those examples."""
        begin, of, sizes = self.at[examples].unbind(dim=1)
        x = gathered(self.x, self.static, begin, of, sizes, self.spec)
        return Batch(x, None if self.y is None else self.y[of], length=sizes)
