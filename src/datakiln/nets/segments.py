"""All choice blocks of a row at once: softmax, Gumbel softmax and draws without a loop over the blocks.

The positions of the choice blocks are laid side by side, P of them in C segments. Sums over segments are products with
a 0/1 matrix, which costs far less than padding every block to the widest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from datakiln.spec import Block

MODERATE = 60.0  # logits no further from 0 have exponentials that float32 holds and whose sums it can divide by


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
    place: Tensor
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
        # the same for positions of the whole row
        place = torch.zeros(max((block.stop for block in blocks), default=0), self.count)
        place[torch.tensor(at, dtype=torch.long)] = member
        index = {"at": torch.tensor(at, dtype=torch.long), "segment": segment, "first": first, "widths": sizes}
        for name, value in {**index, "padded": padded, "member": member, "place": place}.items():
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

    def log_likelihood(self, logits: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the choices of whole rows x (B, D) given logits for each position (B, D), shape (B,)."""
        if not self._is_moderate(logits):
            return (self.take(x) * self.log_softmax(self.take(logits))).sum(dim=1)
        with torch.autocast(logits.device.type, enabled=False):
            likelihood: Tensor = _LogLikelihood.apply(logits.float(), x, self.place)
        return likelihood

    def softmax(self, logits: Tensor) -> Tensor:
        """Probabilities within each segment, (B, P) to (B, P)."""
        weights = self._shifted(logits).exp()
        return weights / self.spread(self.sum(weights))

    def gumbel_softmax(self, logits: Tensor, temperature: float) -> Tensor:
        """A relaxed draw from each segment (Jang et al., 2017, eq. 2), (B, P) to (B, P)."""
        return self.softmax((logits + gumbel(logits)) / temperature)

    def draw(self, weights: Tensor) -> Tensor:
        """Index within each segment, shape (B, C), dtype long, drawn in proportion to weights (B, P) of any scale."""
        end = weights.cumsum(dim=1)
        begin = end.index_select(1, self.first) - weights.index_select(1, self.first)
        total = end.index_select(1, self.first + self.widths - 1) - begin
        rank = begin + torch.rand_like(begin) * total
        passed = (end <= rank.index_select(1, self.segment)).to(weights.dtype)
        # rounding may carry a rank past the end of its segment
        return torch.minimum(self.sum(passed).long(), self.widths - 1)

    def largest(self, values: Tensor) -> Tensor:
        """Index of the largest position within each segment, shape (B, C), dtype long."""
        return self._padded(values).argmax(dim=1).T

    def one_hot(self, index: Tensor) -> Tensor:
        """Indices within segments, (B, C), to one-hot segments, (B, P)."""
        return torch.zeros(len(index), len(self.at), device=index.device).scatter(1, index + self.first, 1.0)

    def _shifted(self, logits: Tensor) -> Tensor:
        return logits if self._is_moderate(logits) else logits - self._maxima(logits)

    def _is_moderate(self, logits: Tensor) -> bool:
        """Whether the costly maxima can be left out; to look is cheap on a CPU, elsewhere it waits for the device."""
        if logits.device.type != "cpu" or not logits.numel() or is_mapped(logits):
            return False
        lowest, highest = logits.detach().aminmax()
        return -MODERATE <= float(lowest) and float(highest) <= MODERATE

    @torch.no_grad()
    def _maxima(self, logits: Tensor) -> Tensor:
        return self._padded(logits).amax(dim=1).index_select(0, self.segment).T

    def _padded(self, values: Tensor) -> Tensor:
        """Shape (C, widest, B): with the rows last, gathering whole lines is ten times faster."""
        return values.T.contiguous().index_select(0, self.padded.flatten()).view(*self.padded.shape, len(values))


class _LogLikelihood(torch.autograd.Function):
    """Sum of x * log_softmax(logits) over the segments, with the few products its gradient needs."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor, place: Tensor) -> Tensor:  # noqa: ANN401
        """Of logits and rows (B, D); `place` (D, C) is 1 where a position is in a segment."""
        weights = logits.exp()
        sums, chosen = weights @ place, x @ place  # a segment of x without a category counts nothing
        ctx.save_for_backward(weights, sums, chosen, x, place)
        return (x * logits) @ place.sum(dim=1) - (sums.log() * chosen).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """With respect to the logits."""
        weights, sums, chosen, x, place = ctx.saved_tensors
        expected = weights * ((chosen / sums) @ place.T)
        return torch.addcmul(-expected, x, place.sum(dim=1)).mul_(gradient[:, None]), None, None


def is_mapped(x: Tensor) -> bool:
    """Whether `torch.func` maps over examples: there is no value to look at, nor may one decide for the others."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise of this shape."""
    # the lower limit keeps the logarithm finite: a uniform draw of 0 happens in float32
    return torch.rand_like(like, requires_grad=False).clamp_(min=1e-9).log_().neg_().log_().neg_()
