"""Weighted running means of what a model logs, kept on the device until somebody asks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datakiln import processes


class Meter:
    """Means over an epoch, per stage; adding costs no synchronisation with the device.

    Of several processes each adds what it has of a batch, and all get the means of the whole.

    Attributes:
        scale: What weights are multiplied by, where several processes add the same.
    """

    FOLD = 64  # how many batches are held before they are summed into one

    def __init__(self) -> None:
        """Starts empty."""
        self.scale = 1.0
        self._held: dict[str, dict[str, list[tuple[Tensor, float]]]] = {}

    def add(self, stage: str, values: dict[str, Tensor], weight: float) -> None:
        """Adds one batch of scalars or vectors with its weight, usually its number of rows."""
        held = self._held.setdefault(stage, {})
        for name, value in values.items():
            entries = held.setdefault(name, [])
            entries.append((value.detach(), weight * self.scale))
            if len(entries) >= self.FOLD:
                held[name] = [_fold(entries)]

    def pop(self, stage: str) -> dict[str, float]:
        """Weighted means since the last call; a vector `kl_dim` becomes `kl_dim/0`, `kl_dim/1`, ..."""
        means: dict[str, float] = {}
        for name, entries in self._held.pop(stage, {}).items():
            mean = _over_processes(*_fold(entries)).tolist()
            if isinstance(mean, list):
                means.update({f"{name}/{i}": value for i, value in enumerate(mean)})
            else:
                means[name] = mean
        return means

    def state(self) -> dict[str, Any]:
        """What is held, as plain tensors and numbers."""
        return {stage: {name: list(entries) for name, entries in held.items()} for stage, held in self._held.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self._held = {stage: {name: list(entries) for name, entries in held.items()} for stage, held in state.items()}


def _fold(entries: list[tuple[Tensor, float]]) -> tuple[Tensor, float]:
    if len(entries) == 1:
        return entries[0]
    weights = torch.tensor([weight for _, weight in entries], dtype=torch.float64, device=entries[0][0].device)
    stacked = torch.stack([value for value, _ in entries]).to(torch.float64)
    return torch.tensordot(weights / weights.sum(), stacked, dims=1), float(weights.sum())


def _over_processes(mean: Tensor, weight: float) -> Tensor:
    if processes.count() == 1:
        return mean
    sums = torch.cat([mean.reshape(-1).double() * weight, mean.new_full((1,), weight, dtype=torch.float64)])
    sums = processes.total(sums)
    return (sums[:-1] / sums[-1]).view_as(mean)
