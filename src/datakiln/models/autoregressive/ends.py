"""How sequences of different lengths end: which of their steps count, and the odds that a step is the last one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from datakiln.spec import Batch, DataSpec

PRIOR = 2.0  # sequences that the odds of ending are drawn towards the usual ones by


def alive(x: Tensor, spec: DataSpec) -> Tensor:
    """Which steps of sequences (B, T, D) count, (B, T): those up to the first that says the sequence has ended."""
    counts = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if spec.ends:
        counts[:, 1:] = ~(x[:, :-1, -1] > 0.5).cummax(dim=1).values
    return counts


def lengths_of(loader: Iterable[Batch], spec: DataSpec, steps: int) -> Tensor:
    """Lengths of some sequences of a loader, (n,): of as many as have so many steps together, or of all."""
    found, seen = [], 0
    for batch in loader:
        found.append(alive(batch.x, spec).sum(dim=1).cpu())
        seen += int(found[-1].sum())
        if seen >= steps:
            break
    return torch.cat(found)


def odds_of_ending(lengths: Tensor, longest: int) -> Tensor:
    """Log-odds that a sequence of 1, 2, ... steps ends there, and last those at any step, (longest + 1,).

    Shares are drawn towards that of all steps, as by two more sequences (Kaplan and Meier, 1958, with a prior).

    Arguments:
        lengths: Of some sequences, (n,).
        longest: Most steps of one.
    """
    ends = torch.bincount(lengths - 1, minlength=longest)[:longest].double()
    risk = ends.flip(0).cumsum(0).flip(0)
    usual = (ends.sum() / risk.sum().clamp(min=1)).clamp(1e-6, 1 - 1e-6)
    odds = (ends + PRIOR * usual) / (risk - ends + PRIOR * (1 - usual))
    return torch.cat([odds, usual[None] / (1 - usual)]).log().float()


def ending(pace: Tensor, at: Tensor) -> Tensor:
    """What the places of steps (R,), from 0, add to the logits of going on and of ending there, (R, 2).

    Arguments:
        pace: By place, (T + 1,); the last is of all places behind the longest training sequence, of which nothing is
            known.
        at: Places of steps.
    """
    more = pace[at.clamp(max=len(pace) - 1)]
    return torch.stack([torch.zeros_like(more), more], dim=-1)
