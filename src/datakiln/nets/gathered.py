"""What processes that share a batch have of it, put together, with gradients; in one process all of it is the identity.

A loss that looks at the whole batch at once, through moments or neighbours, is then the same in every process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datakiln import processes


class Summed(torch.autograd.Function):
    """The sum over processes, whose gradient is summed as well, at any order."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ANN401 (autograd's)
        """See the class."""
        return processes.total(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override] # noqa: ANN401 (autograd's)
        """See the class."""
        return Summed.apply(gradient)


def mean_of_all(mean: Tensor, n: int) -> Tensor:
    """The mean over the whole batch of what this process has the mean of, over its n rows."""
    _, whole = processes.part(n)
    return mean if whole == n else Summed.apply(mean * (n / whole))  # type: ignore[no-any-return]


def rows_of_all(x: Tensor) -> Tensor:
    """The rows of the whole batch, of which this process has x, (B, *)."""
    first, whole = processes.part(len(x))
    if whole == len(x):
        return x
    before, after = x.new_zeros(first, *x.shape[1:]), x.new_zeros(whole - first - len(x), *x.shape[1:])
    return Summed.apply(torch.cat([before, x, after]))  # type: ignore[no-any-return]
