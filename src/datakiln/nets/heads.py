"""Likelihoods of one encoded example given what a decoder says about it.

A head owns p(x | parameters): how many parameters it needs, its log-density and how to draw from it. All work in model
space.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from datakiln.nets.segments import Segments
from datakiln.spec import Block


class Head(nn.Module, abc.ABC):
    """A likelihood with `width` parameters per example."""

    width: int

    @abc.abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-density of x, shape (B,), in nats."""

    @abc.abstractmethod
    def draw(self, parameters: Tensor) -> Tensor:
        """One example for each row of parameters."""

    @abc.abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """What is expected of each row of parameters; of a choice the likeliest."""


class TableHead(Head):
    """Gaussian values with a learnt noise scale per column, categorical choices; columns independent given the decoder.

    A gated value counts only where its gate is open, so that missing cells and spikes cost the likelihood of their
    state and nothing else. A choice block of zeros (a category never seen in training) counts nothing.

    Arguments:
        blocks: The blocks of one row, without gaps, from position 0.
        min_sigma: Lower limit of the noise scale in model space; without one, a column of repeated values lets the
            density grow without bound.
        squash: Whether a tanh keeps the means of values inside [-1, 1].
    """

    rowwise = ("log_sigma",)  # parameters that may have a row for each example
    value_at: Tensor
    gate_at: Tensor
    ungated: Tensor

    def __init__(self, blocks: Sequence[Block], min_sigma: float = 0.01, squash: bool = False) -> None:
        """See the class."""
        super().__init__()
        self.width = sum(block.width for block in blocks)
        values = [block for block in blocks if block.kind == "value"]
        self.min_log_sigma, self.squash = math.log(min_sigma), squash
        self.has_gates = any(block.gate is not None for block in values)
        self.log_sigma = nn.Parameter(torch.full((len(values),), -1.0))
        self.choices = Segments(blocks)
        self.register_buffer("value_at", torch.tensor([block.start for block in values], dtype=torch.long), False)
        self.register_buffer("gate_at", torch.tensor([block.gate or 0 for block in values], dtype=torch.long), False)
        self.register_buffer("ungated", torch.tensor([float(block.gate is None) for block in values]), False)

    def _gates(self, x: Tensor) -> Tensor:
        return torch.maximum(x.index_select(1, self.gate_at), self.ungated)

    def _means(self, parameters: Tensor) -> Tensor:
        means = parameters.index_select(1, self.value_at)
        return means.tanh() if self.squash else means

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-density of rows x, shape (B, D), given means and logits of the same shape."""
        log_sigma = self.log_sigma.clamp(min=self.min_log_sigma)
        error = (x.index_select(1, self.value_at) - self._means(parameters)) * torch.exp(-log_sigma)
        density = -0.5 * error.square() - log_sigma - 0.5 * math.log(2 * math.pi)
        if self.has_gates:
            density = density * self._gates(x)
        total = density.sum(dim=1)
        if self.choices.count:
            total = total + self.choices.log_likelihood(parameters, x)
        return total

    def draw(self, parameters: Tensor) -> Tensor:
        """Rows drawn from the likelihood, shape (B, D): one-hot choices, values 0 where their gate is closed."""
        mean = self._means(parameters)
        values = torch.addcmul(mean, torch.randn_like(mean), self.log_sigma.clamp(min=self.min_log_sigma).exp())
        return self._row(parameters, self._picks, values)

    def mean(self, parameters: Tensor) -> Tensor:
        """Means and likeliest choices, shape (B, D): values 0 where their gate is closed."""
        return self._row(parameters, self.choices.largest, self._means(parameters))

    def mean_of_values(self, parameters: Tensor) -> Tensor:
        """Means of values and drawn choices, shape (B, D): categories that are never the likeliest occur, too."""
        return self._row(parameters, self._picks, self._means(parameters))

    def _picks(self, logits: Tensor) -> Tensor:
        return self.choices.draw(self.choices.softmax(logits))

    def _row(self, parameters: Tensor, picks: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        x = torch.zeros_like(parameters)
        if self.choices.count:
            chosen = self.choices.one_hot(picks(self.choices.take(parameters)))
            x.index_copy_(1, self.choices.at, chosen.to(x.dtype))
        if self.has_gates:
            values = values * self._gates(x)
        return x.index_copy_(1, self.value_at, values)
