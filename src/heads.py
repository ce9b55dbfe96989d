"""Likelihoods of one encoded example given what a decoder says about it.

A head owns p(x | parameters): how many parameters it needs, its log-density and how to draw from it. All work in model
space.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.spec import Block


class Head(nn.Module, abc.ABC):
    """A likelihood with `width` parameters per example."""

    width: int

    @abc.abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-density of x, shape (B,), in nats."""

    @abc.abstractmethod
    def draw(self, parameters: Tensor) -> Tensor:
        """One example for each row of parameters."""


class TableHead(Head):
    """Gaussian values with a learnt noise scale per column, categorical choices; columns independent given the decoder.

    A gated value counts only where its gate is open, so that missing cells and spikes cost the likelihood of their state
    and nothing else. A choice block of zeros (a category never seen in training) counts nothing.

    Arguments:
        blocks: The blocks of one row, without gaps, from position 0.
        min_sigma: Lower limit of the noise scale in model space; without one, a column of repeated values lets the
            density grow without bound.
    """

    def __init__(self, blocks: Sequence[Block], min_sigma: float = 0.01) -> None:
        """See the class."""
        super().__init__()
        self.width = sum(block.width for block in blocks)
        values = [block for block in blocks if block.kind == "value"]
        choices = [block for block in blocks if block.kind == "choice"]
        self.min_log_sigma = math.log(min_sigma)
        self.has_gates = any(block.gate is not None for block in values)
        self.has_choices = bool(choices)
        self.log_sigma = nn.Parameter(torch.full((len(values),), -1.0))
        self.register_buffer("value_at", torch.tensor([block.start for block in values], dtype=torch.long), False)
        # an ungated value points past the row, where `_gates` puts a column of ones
        gates = [self.width if block.gate is None else block.gate for block in values]
        self.register_buffer("gate_at", torch.tensor(gates, dtype=torch.long), False)
        # choice blocks are gathered into one padded (B, blocks, widest) array: one softmax instead of a loop
        widest = max((block.width for block in choices), default=0)
        at = [[block.start + min(i, block.width - 1) for i in range(widest)] for block in choices]
        real = [[i < block.width for i in range(widest)] for block in choices]
        self.register_buffer("choice_at", torch.tensor(at, dtype=torch.long).reshape(len(choices), widest), False)
        self.register_buffer("choice_real", torch.tensor(real).reshape(len(choices), widest), False)

    def _gates(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1)[:, self.gate_at]

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-density of rows x, shape (B, D), given means and logits of the same shape."""
        log_sigma = self.log_sigma.clamp(min=self.min_log_sigma)
        error = (x[:, self.value_at] - parameters[:, self.value_at]) * torch.exp(-log_sigma)
        density = -0.5 * error.square() - log_sigma - 0.5 * math.log(2 * math.pi)
        if self.has_gates:
            density = density * self._gates(x)
        total = density.sum(dim=1)
        if self.has_choices:
            logits = parameters[:, self.choice_at].masked_fill(~self.choice_real, -math.inf)
            chosen = x[:, self.choice_at] * self.choice_real
            log_softmax = torch.log_softmax(logits, dim=2).masked_fill(~self.choice_real, 0.0)
            total = total + (chosen * log_softmax).sum(dim=(1, 2))
        return total

    def draw(self, parameters: Tensor) -> Tensor:
        """Rows drawn from the likelihood, shape (B, D): one-hot choices, values 0 where their gate is closed."""
        x = torch.zeros_like(parameters)
        if self.has_choices:
            logits = parameters[:, self.choice_at].masked_fill(~self.choice_real, -math.inf)
            # the Gumbel trick: the argmax of logits plus Gumbel noise is a draw from the softmax
            noise = torch.empty_like(logits).exponential_().log_()
            picks = (logits - noise).argmax(dim=2)
            at = self.choice_at.unsqueeze(0).expand(len(x), -1, -1).gather(2, picks.unsqueeze(2)).squeeze(2)
            x.scatter_(1, at, 1.0)
        sigma = self.log_sigma.clamp(min=self.min_log_sigma).exp()
        mean = parameters[:, self.value_at]
        values = torch.addcmul(mean, torch.randn_like(mean), sigma)
        if self.has_gates:
            values = values * self._gates(x)
        x[:, self.value_at] = values
        return x
