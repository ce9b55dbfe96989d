"""The network of an any-order autoregressive model: one column from any others, in the manner of DeepNADE."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.nets.codes import Codes
from src.nets.codetable import CodeTable
from src.nets.linear import Linear, linear


class Network(nn.Module):
    """Log-probabilities of the codes of each column given the embeddings of other columns, summed.

    Arguments:
        codes: The columns.
        width: Size of an embedding.
        blocks: Residual blocks.
        hidden: Size of a block's hidden layer.
        dropout: Share of hidden units left out while training.
    """

    def __init__(self, codes: Codes, width: int, blocks: int, hidden: int, dropout: float) -> None:
        """See the class."""
        super().__init__()
        self.codes = codes
        self.embedding = CodeTable(codes, width, scale=0.3)
        self.target = nn.Parameter(torch.randn(len(codes), width) * 0.3)
        self.blocks = nn.ModuleList([_Block(width, hidden, dropout) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)
        self.out = CodeTable(codes, width, scale=0.0)
        self.bias = nn.Parameter(torch.zeros(codes.total))

    def features(self, context: Tensor, column: int | slice) -> Tensor:
        """What the summed embeddings (..., H) say about a column, or (B, C, H) about all of them; same shape."""
        h = context + self.target[column]
        for block in self.blocks:
            h = block(h)
        return functional.silu(self.norm(h))

    def logits(self, features: Tensor, column: int) -> Tensor:
        """Unnormalised log-probabilities of the column's codes, (B, H) to (B, size); exact unless training."""
        part = self.codes.part(column)
        if self.training:
            return linear(features, self.out.of(column)).float() + self.bias[part]
        with torch.autocast(features.device.type, enabled=False):
            return linear(features.float(), self.out.of(column), self.bias[part])


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = Linear(width, hidden), Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.dropout(functional.silu(self.up(self.norm(x)))))
