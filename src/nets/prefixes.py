"""Rows of an autoregressive model grouped by the cells they have so far, so that it is asked once for rows alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional

from src.nets.anyorder import Network

ROWS = 4096  # groups whose activations are held at once: they stay in the processor's cache


class Prefixes:
    """n rows without a cell, to which the codes of one column after another are added.

    Arguments:
        net: The network.
        n: Rows.
        precision: What the network's matrix products are worked out under.
    """

    def __init__(self, net: Network, n: int, precision: Callable[[], AbstractContextManager[None]]) -> None:
        """See the class."""
        self.net, self.codes, self.precision = net, net.codes, precision
        self.table: Tensor = net.embedding()
        self.context = self.table.new_zeros(1, self.table.shape[1])  # sums of embeddings, (groups, H)
        self.group = torch.zeros(n, dtype=torch.long, device=self.table.device)  # of each row, (n,)

    def add(self, column: int, codes: Tensor, counts: Tensor) -> None:
        """Gives rows a code of their own in the column, where `counts` (n,) is true."""
        size = self.codes.sizes[column]
        key = self.group * (size + 1) + torch.where(counts, codes, size)
        if 2 * len(self.context) > len(self.group):  # hardly a row is like another: no more use in looking
            self.group = torch.arange(len(key), device=key.device)
        else:
            key, self.group = torch.unique(key, return_inverse=True)
        parent, code = key // (size + 1), key % (size + 1)
        added = functional.embedding(code.clamp(max=size - 1) + self.codes.first[column], self.table)
        if not counts.all():
            added = added.masked_fill((code == size)[:, None], 0.0)
        self.context = added.add_(self.context.index_select(0, parent))

    def shares(self, column: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Piece by piece: rows, probabilities of the column's codes in some groups, and which of these each row is."""
        order = self.group.argsort()
        ends = torch.bincount(self.group, minlength=len(self.context)).cumsum(0).tolist()
        for start in range(0, len(self.context), ROWS):
            stop = min(start + ROWS, len(self.context))
            with self.precision():
                features = self.net.features(self.context[start:stop], column)
            rows = order[ends[start - 1] if start else 0 : ends[stop - 1]]
            share = self.net.logits(features, column).softmax(dim=1, dtype=torch.float32)
            yield rows, share, self.group[rows] - start
