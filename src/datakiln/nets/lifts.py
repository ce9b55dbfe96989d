"""What the one category before it that tells most about a column says of it, counted: a tree (Chow and Liu, 1968).

Counts teach at once what a network learns of frequent categories only: what goes with a class of a dozen rows. They are
shrunk to the column's own shares by pseudo-rows, whose number leave-one-out likelihood chooses for each category. Only
categories that tell much of each of their rows have a lift, and rare codes of which much is told, whatever column comes
first: what there is to learn of others is better learnt from all columns together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_CODES = 64  # of a column that is looked at as a source
MOST_SOURCES = 64
PSEUDO = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1024.0)  # rows by which a category's counts are shrunk
ALL = 10.0  # rows for which all categories together count when that number is chosen for one
GAIN = 8.0  # nats that a category must tell of all its rows left out one by one
GAIN_OF_ROW = 0.5  # and of each of them
CAREFUL = 2.0  # times the number of pseudo-rows that is best for the rows at hand
RARE = 200  # rows of a category, below which it is looked at by itself what the one before tells of it
FLOOR = 0.1  # rows that a code is credited with whose only row is left out


def rows_of(sizes: Sequence[int], ordered: Sequence[int]) -> int:
    """Rows that a table of lifts has: one of zeros, and one for each code of the largest source."""
    return 1 + max((size for size, order in zip(sizes, ordered, strict=True) if _is_source(size, order)), default=0)


def _is_source(size: int, ordered: int) -> bool:
    return not ordered and 1 < size <= MOST_CODES


@torch.no_grad()
def fit(
    codes: Tensor, sizes: Sequence[int], ordered: Sequence[int], order: Sequence[int]
) -> tuple[list[int], dict[int, Tensor]]:
    """The source of each column and what its codes add to the logits.

    Arguments:
        codes: Of training rows, counted from the first of their column, (B, C).
        sizes: Codes of each column.
        ordered: How many of them are in an order; only categories are sources.
        order: The columns, the first drawn first.

    Returns:
        For each column the column that tells most about it, -1 for none; and the lifts of those that have one, shape
        (codes of the source, codes of the column).
    """
    source, found = [-1] * len(sizes), dict[int, Tensor]()
    before: list[int] = []
    for j in order:
        best = 0.0
        for i in before:
            pairs = codes[:, i] * sizes[j] + codes[:, j]
            counts = torch.bincount(pairs, minlength=sizes[i] * sizes[j]).view(sizes[i], sizes[j]).double()
            gain, lift = _lift(counts, not ordered[j])
            if gain > best:
                best, source[j], found[j] = gain, i, lift
        if _is_source(sizes[j], ordered[j]) and len(before) < MOST_SOURCES:
            before.append(j)
    return source, found


def _lift(counts: Tensor, by_code: bool) -> tuple[float, Tensor]:
    """Nats gained over the column's own shares, and the log of the ratio to them; counts are (S, K).

    Arguments:
        counts: Rows of each code of the source and each code of the column.
        by_code: Whether rare codes that are told of by categories which tell little else have a lift as well.
    """
    total, rows = counts.sum(dim=0), counts.sum(dim=1, keepdim=True)
    left = (total - 1.0).clamp(min=FLOOR) / total.sum()  # the shares without the row itself
    blind = counts @ left.log()
    told, shares = [], []
    for pseudo in PSEUDO:
        share = ((counts - 1.0).clamp(min=0.0) + pseudo * left) / (rows - 1.0 + pseudo).clamp(min=1e-9)
        shares.append(counts * (share.log() - left.log()))
        told.append((counts * share.log()).sum(dim=1))
    gains = torch.stack(told) - blind
    # a category of few rows goes with what serves all of them
    score = gains + ALL * gains.sum(dim=1, keepdim=True) / counts.sum().clamp(min=1.0)
    best = score.argmax(dim=0)
    weight = CAREFUL * torch.tensor(PSEUDO, dtype=counts.dtype, device=counts.device)[best][:, None]
    plain = (total + FLOOR) / (total + FLOOR).sum()
    lift = ((counts + weight * plain) / (rows + weight)).log() - plain.log()
    gain = gains.gather(0, best[None])[0]
    tells = (gain > GAIN) & (gain > GAIN_OF_ROW * rows[:, 0])
    if not by_code:
        return float((gain * tells).sum()), lift * tells[:, None]
    cells = torch.stack(shares).gather(0, best[None, :, None].expand(1, *counts.shape))[0]
    of_code = cells.sum(dim=0)
    is_told = (of_code > GAIN) & (of_code > GAIN_OF_ROW * total) & (total < RARE)
    has_lift = tells[:, None] | is_told
    return float((cells * has_lift).sum()), lift * has_lift
