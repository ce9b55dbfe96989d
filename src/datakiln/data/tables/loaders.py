"""Batches of a table that stays on disk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

import torch
from torch import Tensor

from datakiln import processes
from datakiln.data.base import Loader
from datakiln.spec import Batch

BUFFER_GROUPS = 16  # row groups whose rows are shuffled together,
BUFFER_CELLS = 1 << 26  # unless they have more encoded cells than this, 256 MB; one group at least

Encoded = tuple[Tensor, Tensor | None]


class StreamLoader(Loader):
    """Shuffled batches from row groups: their order, and that of rows in a buffer of some, is new every epoch.

    The order depends on (seed, epoch) alone, and where a batch begins is known beforehand: a resumed pass reads only
    the buffers it still needs. Rows far apart in the file meet in a batch only if their groups share a buffer: of a
    file sorted by a column, a batch sees as many places as a buffer has groups.

    Processes that train together share out the groups of a buffer, so that each is read and encoded by one of them, and
    give each other what they read: all have the batches that one process has, and end together.

    Arguments:
        sizes: Training rows of each row group.
        read: Encodes the training rows of a row group: x of shape (n, D), label indices (n,) or None.
        is_labelled: Whether there are label indices.
        width: D.
        batch_size: Rows a batch.
        seed: With the epoch, decides the order.
        sample: Encodes a uniform sample of the training rows.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        read: Callable[[int], Encoded],
        is_labelled: bool,
        width: int,
        batch_size: int,
        seed: int = 0,
        sample: Callable[[], Tensor] | None = None,
    ) -> None:
        """See the class."""
        super().__init__(min(batch_size, sum(sizes)), seed)
        self.sizes, self.read, self.width, self.sample = list(sizes), read, width, sample
        self.is_labelled = is_labelled

    @property
    def x(self) -> Tensor | None:
        """The sample, for models that draw their rows by category and cannot do so from disk; None without one."""
        return None if self.sample is None else self.sample()

    def __len__(self) -> int:
        """Batches a pass."""
        return -(-sum(self.sizes) // self.batch_size)

    def buffers(self) -> Iterator[list[int]]:
        """Row groups in this epoch's order, those together that are shuffled together."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = [g for g in torch.randperm(len(self.sizes), generator=generator).tolist() if self.sizes[g]]
        waiting: list[int] = []
        for group in order:
            rows = sum(self.sizes[g] for g in [*waiting, group])
            if waiting and (len(waiting) == BUFFER_GROUPS or rows * self.width > BUFFER_CELLS):
                yield waiting
                waiting = []
            waiting.append(group)
        if waiting:
            yield waiting

    def __iter__(self) -> Iterator[Batch]:
        """One pass, from the start or from where a restored state stood."""
        first = self.start() * self.batch_size
        begin, left = 0, None
        for number, groups in enumerate(self.buffers()):
            end = begin + sum(self.sizes[g] for g in groups)
            if end > first:
                left = yield from self._batches(number, groups, max(first - begin, 0), left)
            begin = end
        if left is not None:
            self._position += 1
            yield left

    def _batches(
        self, number: int, groups: list[int], skip: int, left: Batch | None
    ) -> Generator[Batch, None, Batch | None]:
        """The whole batches of a buffer, after the rows that an earlier one left over; returns what it leaves over."""
        x, y = self._filled(groups)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 1_000_003 + number + 1)
        order = torch.randperm(len(x), generator=generator)[skip:]
        wanted = self.batch_size - (0 if left is None else len(left.x))
        while len(order) >= wanted:
            batch = _joined(left, Batch(x[order[:wanted]], None if y is None else y[order[:wanted]]))
            order, wanted, left = order[wanted:], self.batch_size, None
            self._position += 1
            yield batch
        if len(order):
            left = _joined(left, Batch(x[order], None if y is None else y[order]))
        return left

    def _filled(self, groups: list[int]) -> Encoded:
        """The rows of a buffer in the order of its groups."""
        x = torch.empty(sum(self.sizes[g] for g in groups), self.width)
        y = torch.empty(len(x), dtype=torch.int64) if self.is_labelled else None
        rows = torch.tensor([0, *(self.sizes[g] for g in groups)]).cumsum(0).tolist()
        for turn, group in enumerate(groups):
            if turn % processes.count() != processes.rank():
                continue
            at = slice(rows[turn], rows[turn + 1])
            part, labels = self.read(group)
            if len(part) != self.sizes[group]:
                told = f"row group {group} had {self.sizes[group]} training rows and now has {len(part)}"
                raise RuntimeError(f"{told}: the file has changed")
            x[at] = part
            if y is not None and labels is not None:
                y[at] = labels
        for turn in range(len(groups)):
            at, reader = slice(rows[turn], rows[turn + 1]), turn % processes.count()
            processes.spread(x[at], reader)
            if y is not None:
                processes.spread(y[at], reader)
        return x, y


def _joined(left: Batch | None, right: Batch) -> Batch:
    if left is None:
        return right
    return Batch.joined([left, right])
