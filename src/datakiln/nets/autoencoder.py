"""Encoder, decoder and likelihood of an autoencoder, sized from the data it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.nets.conv import one_hot
from datakiln.nets.conv_autoencoder import ImageAutoencoder
from datakiln.nets.heads import TableHead
from datakiln.nets.linear import mlp
from datakiln.spec import Block, DataSpec


class TableAutoencoder(nn.Module):
    """Fully connected nets for rows; a conditional one sees the label and leaves its column to it.

    Arguments:
        spec: A table's spec.
        latent_dim: Size of z.
        hidden: Widths of the encoder's hidden layers.
        conditional: Whether both nets are told the label.
    """

    kept: Tensor

    def __init__(self, spec: DataSpec, latent_dim: int, hidden: Sequence[int], conditional: bool) -> None:
        """See the class."""
        super().__init__()
        label = spec.label if conditional else None
        self.classes = len(spec.classes) if conditional else 0
        self.row_width = spec.shape[0]
        kept = [block for column in spec.columns if column is not label for block in column.blocks]
        if not kept:
            raise UserError("the label is the only column left to model; add columns, or choose model=vae")
        positions = [i for block in kept for i in range(block.start, block.stop)]
        self.is_partial = label is not None
        self.register_buffer("kept", torch.tensor(positions), False)
        self.label_start = label.blocks[0].start if label is not None else 0
        self.head = TableHead(_close_gaps(kept, positions))
        self.encoder = mlp(len(positions) + self.classes, hidden, 2 * latent_dim)
        self.decoder = mlp(latent_dim + self.classes, tuple(reversed(hidden)), self.head.width)

    def _given(self, x: Tensor, y: Tensor | None) -> Tensor:
        if not self.classes:
            return x
        return torch.cat([x, one_hot(y, self.classes, x)], dim=1)

    def encode(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Mean and log-variance side by side, shape (B, 2 * latent_dim)."""
        return self.encoder(self._given(x[:, self.kept] if self.is_partial else x, y))

    def log_prob(self, z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        """Log p(x | z) in nats, shape (B,); without the label where that is given."""
        return self.head.log_prob(self.decoder(self._given(z, y)), x[:, self.kept] if self.is_partial else x)

    def draw(self, z: Tensor, y: Tensor | None) -> Tensor:
        """A draw from p(x | z), shape (B, D), with the given label written into its place."""
        return self._whole(self.head.draw(self.decoder(self._given(z, y))), y)

    def mean(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The means of p(x | z) and its likeliest categories, shape (B, D)."""
        return self._whole(self.head.mean(self.decoder(self._given(z, y))), y)

    def _whole(self, part: Tensor, y: Tensor | None) -> Tensor:
        if not self.is_partial or y is None:
            return part
        x = part.new_zeros(len(part), self.row_width)
        x[:, self.kept] = part
        return x.scatter(1, (self.label_start + y).unsqueeze(1), 1.0)


def _close_gaps(blocks: Sequence[Block], positions: Sequence[int]) -> list[Block]:
    new = {old: i for i, old in enumerate(positions)}
    return [
        Block(new[b.start], new[b.start] + b.width, b.kind, None if b.gate is None else new[b.gate]) for b in blocks
    ]


Autoencoder = TableAutoencoder | ImageAutoencoder
AUTOENCODERS: dict[str, Callable[..., Autoencoder]] = {"table": TableAutoencoder, "image": ImageAutoencoder}


def build_autoencoder(spec: DataSpec, latent_dim: int, hidden: Sequence[int], conditional: bool) -> Autoencoder:
    """The autoencoder for this kind of data; raises `UserError` for a conditional one without a label."""
    if conditional and not spec.classes:
        if spec.label is not None:
            told = f"model=cvae is told a class, and the label {spec.label.name!r} is a number"
            raise UserError(f"{told}: set data.target to a column of classes, or choose model=vae")
        raise UserError(
            "model=cvae needs a label with classes: set data.target or use class folders, or choose model=vae"
        )
    return AUTOENCODERS[spec.kind](spec, latent_dim, hidden, conditional)
