"""Which part of an encoded row a model makes, and which part it is told."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.spec import Block, DataSpec


class Rows(nn.Module):
    """The modelled part of a table's rows: all of it, or all but the label, which is then given.

    Arguments:
        spec: A table's spec.
        conditional: Whether the label is given, where there is one.

    Attributes:
        columns: Blocks of each column of the modelled part, without gaps, from position 0.
        blocks: The same in one list.
        classes: Number of classes that are given; 0 where none is.
        width: Positions of the modelled part.
    """

    kept: Tensor
    shares: Tensor
    identity: Tensor

    def __init__(self, spec: DataSpec, conditional: bool) -> None:
        """See the class."""
        super().__init__()
        label = spec.label if conditional and spec.classes else None
        kept = [column.blocks for column in spec.columns if column is not label]
        if not kept:
            raise UserError("the label is the only column left to model; add columns, or set model.conditional=false")
        positions = [i for blocks in kept for block in blocks for i in range(block.start, block.stop)]
        new = {old: i for i, old in enumerate(positions)}
        self.columns = [
            [Block(new[b.start], new[b.stop - 1] + 1, b.kind, None if b.gate is None else new[b.gate]) for b in blocks]
            for blocks in kept
        ]
        self.blocks = [block for blocks in self.columns for block in blocks]
        self.classes = len(spec.classes) if conditional else 0
        self.width, self.row_width = len(positions), spec.shape[0]
        self.label_start = None if label is None else label.blocks[0].start
        self.register_buffer("kept", torch.tensor(positions), persistent=False)
        self.register_buffer("shares", torch.tensor(spec.class_shares or (1.0,)), persistent=False)
        self.register_buffer(
            "identity", torch.cat([torch.eye(self.classes), torch.zeros(1, self.classes)]), persistent=False
        )

    def take(self, x: Tensor) -> Tensor:
        """Rows (B, D) to their modelled part (B, width)."""
        if self.label_start is None:
            return x
        before, after = x[:, : self.label_start], x[:, self.label_start + self.row_width - self.width :]
        return torch.cat([before, after], dim=1)  # several times faster than to gather

    def put(self, part: Tensor, y: Tensor | None) -> Tensor:
        """Inverse of `take`, the given label written into its place."""
        if self.label_start is None or y is None:
            return part
        x = part.new_zeros(len(part), self.row_width).index_copy_(1, self.kept, part)
        return x.scatter(1, (self.label_start + y).unsqueeze(1), 1.0)

    def given(self, y: Tensor | None, n: int) -> Tensor:
        """What the model is told, one-hot, shape (n, classes); labels that are not given are drawn by their shares."""
        at = self.labels(y, n) % len(self.identity)  # an unknown label, -1, is the last row: zeros
        return self.identity.index_select(0, at)  # F.one_hot checks every index, which costs a step dear

    def labels(self, y: Tensor | None, n: int) -> Tensor:
        """The labels, or n drawn by their training shares."""
        return torch.multinomial(self.shares, n, replacement=True) if y is None else y
