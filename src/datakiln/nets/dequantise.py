"""Rows as continuous features, one for each block, and back (variational dequantisation, Ho et al., 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from datakiln.nets.segments import Segments
from datakiln.spec import Block

SCALE = 3.0  # encodings put a third of a normal score into model space; here a feature is the whole of it
EDGE = 1e-6  # ranks are kept this far from 0 and 1, so that the normal scores stay finite


class Dequantise(nn.Module):
    """Features v of a row: normal scores, close to standard normal column by column.

    A category holds an interval of ranks as wide as its share and becomes the normal score of a uniform draw from it. A
    value behind a closed gate, or a category never seen in training, is filled with standard normal noise.

    Arguments:
        blocks: Blocks of a row, without gaps, from position 0.

    Attributes:
        features: Number of features, one for each block, in order.
    """

    share: Tensor
    counted: Tensor
    choice_feature: Tensor
    value_feature: Tensor
    value_at: Tensor
    gate_at: Tensor

    def __init__(self, blocks: Sequence[Block]) -> None:
        """See the class."""
        super().__init__()
        self.features, self.width = len(blocks), sum(block.width for block in blocks)
        self.choices = Segments(blocks)
        values = [(i, block) for i, block in enumerate(blocks) if block.kind == "value"]
        index = {
            "choice_feature": [i for i, block in enumerate(blocks) if block.kind == "choice"],
            "value_feature": [i for i, _ in values],
            "value_at": [block.start for _, block in values],
            # an ungated value points past the row, where a column of ones is put
            "gate_at": [self.width if block.gate is None else block.gate for _, block in values],
        }
        for name, at in index.items():
            self.register_buffer(name, torch.tensor(at, dtype=torch.long), persistent=False)
        self.register_buffer("share", torch.zeros(len(self.choices.at)))
        self.register_buffer("counted", torch.tensor(False))
        self.share.copy_(1.0 / self.choices.spread(self.choices.sum(torch.ones_like(self.share)[None]))[0])

    def count(self, total: Tensor) -> None:
        """Learns the shares of the categories from the summed training rows, shape (D,)."""
        counts = total.to(torch.float64)[self.choices.at].clamp(min=0.5).float()
        self.share.copy_(counts / self.choices.spread(self.choices.sum(counts[None]))[0])
        self.counted.fill_(True)

    @property
    def ranks(self) -> tuple[Tensor, Tensor]:
        """Where each category's interval of ranks begins and ends, shapes (P,)."""
        end = self.share.cumsum(0)
        if self.choices.count:
            end = end - (end - self.share)[self.choices.first][self.choices.segment]
        return end - self.share, end

    @property
    def draws(self) -> bool:
        """Whether any feature of a row is drawn, not given by it."""
        return bool(self.choices.count) or bool((self.gate_at < self.width).any())

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows (B, D) to a draw of their features (B, F), and the log-density of that draw given the row, (B,).

        Arguments:
            x: Rows in model space.
            noise: What it is drawn by, uniform in (0, 1), one for each feature, (F,), the same for every row; None for
                another one of each row.
        """
        v = x.new_empty(len(x), self.features)
        log_q = x.new_zeros(len(x))
        if self.choices.count:
            chosen = self.choices.take(x)
            seen = self.choices.sum(chosen)
            begin, width = self.choices.sum(chosen * self.ranks[0]), self.choices.sum(chosen * self.share) + 1.0 - seen
            inside = torch.rand_like(begin) if noise is None else noise[self.choice_feature]
            score = _normal_score(begin + inside * width)
            v[:, self.choice_feature] = score
            log_q = log_q + (_log_normal(score) - width.log()).sum(dim=1)
        gate = torch.cat([x, x.new_ones(len(x), 1)], dim=1)[:, self.gate_at]
        fill = torch.randn_like(gate) if noise is None else _normal_score(noise[self.value_feature]).expand_as(gate)
        v[:, self.value_feature] = torch.where(gate > 0, SCALE * x[:, self.value_at], fill)
        log_q = log_q + torch.where(gate > 0, -math.log(SCALE), _log_normal(fill)).sum(dim=1)
        return v, log_q

    def inverse(self, v: Tensor) -> Tensor:
        """Features (B, F) to rows (B, D): the category whose interval holds the rank, values 0 behind closed gates."""
        x = v.new_zeros(len(v), self.width)
        if self.choices.count:
            rank = self.choices.spread(torch.special.ndtr(v[:, self.choice_feature]).clamp(EDGE, 1.0 - EDGE))
            first, last = self.ranks
            # rounding may leave a gap between neighbours: the last category that begins below the rank is taken
            begun = (rank >= first).float()
            at = self.choices.sum(begun).long() - 1
            x.index_copy_(1, self.choices.at, self.choices.one_hot(at))
        gate = torch.cat([x, x.new_ones(len(x), 1)], dim=1)[:, self.gate_at]
        return x.index_copy_(1, self.value_at, v[:, self.value_feature] / SCALE * gate)


def _normal_score(rank: Tensor) -> Tensor:
    return torch.special.ndtri(rank.clamp(EDGE, 1.0 - EDGE))


def _log_normal(x: Tensor) -> Tensor:
    return -0.5 * x.square() - 0.5 * math.log(2 * math.pi)
