"""An autoencoder that sees every column of a row as a token (Zhang et al., 2024, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.spec import Block


class TokenAutoencoder(nn.Module):
    """Columns to tokens of width d, through a transformer to a Gaussian latent as large; and the same way back.

    Arguments:
        columns: The blocks of each column; together they cover a row without gaps, from position 0.
        d: Width of a token.
        layers: Transformer layers of the encoder, and of the decoder.
        hidden: Width of the feed-forward nets inside them.

    Attributes:
        latent_dim: Columns times d.
    """

    member: Tensor

    def __init__(self, columns: Sequence[Sequence[Block]], d: int, layers: int, hidden: int) -> None:
        """See the class."""
        super().__init__()
        self.d, self.latent_dim = d, len(columns) * d
        width = sum(block.width for blocks in columns for block in blocks)
        member = torch.zeros(width, len(columns))
        for i, blocks in enumerate(columns):
            member[blocks[0].start : blocks[-1].stop, i] = 1.0
        self.register_buffer("member", member, persistent=False)
        self.embed, self.read = _table(width, d), _table(width, d)
        self.embed_bias, self.read_bias = nn.Parameter(torch.zeros(self.latent_dim)), nn.Parameter(torch.zeros(width))
        self.encoder, self.decoder = _transformer(d, layers, hidden), _transformer(d, layers, hidden)
        self.moments = nn.Linear(d, 2 * d)

    def _spread(self, table: Tensor) -> Tensor:
        """(W, d) to (W, C * d): each position meets its own column's token only."""
        return (table[:, None, :] * self.member[:, :, None]).flatten(1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, W) to mean and log-variance of q(z | row), each (B, latent_dim)."""
        tokens = torch.addmm(self.embed_bias, x, self._spread(self.embed)).unflatten(1, (-1, self.d))
        mean, log_var = self.moments(self.encoder(tokens)).chunk(2, dim=2)
        return mean.flatten(1), log_var.flatten(1).clamp(-12.0, 6.0)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, latent_dim) to the parameters of p(row | z), (B, W)."""
        tokens = self.decoder(z.unflatten(1, (-1, self.d))).flatten(1)
        return torch.addmm(self.read_bias, tokens, self._spread(self.read).T)


def _table(width: int, d: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(width, d) / math.sqrt(d))


def _transformer(d: int, layers: int, hidden: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(d, 1, hidden, dropout=0.0, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
