"""All choice blocks of a row at once: softmax, Gumbel softmax and draws without a loop over the blocks.

The positions of the choice blocks are laid side by side, P of them in C segments. Sums over segments are products with
a 0/1 matrix, which costs far less than padding every block to the widest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.spec import Block


class Segments(nn.Module):
    """Operations on the choice blocks among `blocks`.

    Arguments:
        blocks: Blocks of a row; those of another kind are passed over.

    Attributes:
        at: Positions of the choice blocks in the row, shape (P,).
        segment: Segment that each of them belongs to, shape (P,).
        count: Number of segments C.
    """

    at: Tensor
    segment: Tensor
    member: Tensor
    first: Tensor
    widths: Tensor
    padded: Tensor

    def __init__(self, blocks: Sequence[Block]) -> None:
        """See the class."""
        super().__init__()
        widths = [block.width for block in blocks if block.kind == "choice"]
        self.count = len(widths)
        at = [i for block in blocks if block.kind == "choice" for i in range(block.start, block.stop)]
        sizes = torch.tensor(widths, dtype=torch.long)
        first, last = sizes.cumsum(0) - sizes, sizes.cumsum(0) - 1
        widest = max(widths, default=1)
        segment = torch.repeat_interleave(torch.arange(self.count), sizes)
        # the last position stands in for those a narrow segment lacks: it changes no maximum
        padded = torch.minimum(first[:, None] + torch.arange(widest), last[:, None])
        member = torch.zeros(len(at), self.count).scatter_(1, segment[:, None], 1.0)
        index = {"at": torch.tensor(at, dtype=torch.long), "segment": segment, "first": first, "widths": sizes}
        for name, value in {**index, "padded": padded, "member": member}.items():
            self.register_buffer(name, value, persistent=False)

    def take(self, x: Tensor) -> Tensor:
        """The choice positions of rows (B, D), shape (B, P)."""
        return x.index_select(1, self.at)

    def sum(self, values: Tensor) -> Tensor:
        """(B, P) to sums over each segment, (B, C)."""
        return values @ self.member

    def spread(self, values: Tensor) -> Tensor:
        """(B, C) to each position of its segment, (B, P)."""
        return values @ self.member.T

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Log-probabilities within each segment, (B, P) to (B, P)."""
        shifted = logits - self._maxima(logits)
        return shifted - self.spread(self.sum(shifted.exp()).log())

    def softmax(self, logits: Tensor) -> Tensor:
        """Probabilities within each segment, (B, P) to (B, P)."""
        weights = (logits - self._maxima(logits)).exp()
        return weights / self.spread(self.sum(weights))

    def gumbel_softmax(self, logits: Tensor, temperature: float) -> Tensor:
        """A relaxed draw from each segment (Jang et al., 2017, eq. 2), (B, P) to (B, P)."""
        return self.softmax((logits + gumbel(logits)) / temperature)

    def draw(self, weights: Tensor) -> Tensor:
        """Index within each segment, shape (B, C), dtype long, drawn in proportion to weights (B, P) of any scale."""
        end = weights.cumsum(dim=1)
        begin = (end - weights).index_select(1, self.first)
        rank = begin + torch.rand_like(begin) * self.sum(weights)
        passed = (end <= rank.index_select(1, self.segment)).to(weights.dtype)
        # rounding may carry a rank past the end of its segment
        return torch.minimum(self.sum(passed).long(), self.widths - 1)

    def largest(self, values: Tensor) -> Tensor:
        """Index of the largest position within each segment, shape (B, C), dtype long."""
        return self._padded(values).argmax(dim=1).T

    def one_hot(self, index: Tensor) -> Tensor:
        """Indices within segments, (B, C), to one-hot segments, (B, P)."""
        return torch.zeros(len(index), len(self.at), device=index.device).scatter_(1, index + self.first, 1.0)

    @torch.no_grad()
    def _maxima(self, logits: Tensor) -> Tensor:
        return self._padded(logits).amax(dim=1).index_select(0, self.segment).T

    def _padded(self, values: Tensor) -> Tensor:
        """Shape (C, widest, B): with the rows last, gathering whole lines is ten times faster."""
        return values.T.contiguous().index_select(0, self.padded.flatten()).view(*self.padded.shape, len(values))


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise of this shape."""
    # the lower limit keeps the logarithm finite: a uniform draw of 0 happens in float32
    return torch.rand_like(like, requires_grad=False).clamp_(min=1e-9).log_().neg_().log_().neg_()
