"""Generator and critic of CTGAN (Xu et al., 2019, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.segments import Segments
from src.spec import Block

TEMPERATURE = 0.2  # of the Gumbel softmax, from the paper


class RowGenerator(nn.Module):
    """Noise z and a condition to rows, through layers that each see z, the condition and all layers before them.

    The conditional vector is one-hot, so what a layer makes of it is looked up, not multiplied.

    Arguments:
        blocks: Blocks of a row, without gaps, from position 0.
        latent_dim: Size of z.
        conditions: Number of conditions; 0 for none.
        hidden: Widths of the hidden layers.
    """

    choice_gate: Tensor
    value_gate: Tensor
    value_at: Tensor
    order: Tensor

    def __init__(self, blocks: Sequence[Block], latent_dim: int, conditions: int, hidden: Sequence[int]) -> None:
        """See the class."""
        super().__init__()
        self.choices = Segments(blocks)
        out = sum(block.width for block in blocks)
        widths = [latent_dim + sum(hidden[:i]) for i in range(len(hidden) + 1)]
        # what is normalised needs no offset before
        sizes = zip(widths, [*hidden, out], strict=True)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=i == len(hidden)) for i, (a, b) in enumerate(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(units) for units in hidden)
        self.told = nn.ModuleList(nn.Embedding(conditions, units) for units in ([*hidden, out] if conditions else []))
        for table in self.told:
            nn.init.uniform_(table.weight, -(conditions**-0.5), conditions**-0.5)
        self._index(blocks)

    def _index(self, blocks: Sequence[Block]) -> None:
        place = {int(p): i for i, p in enumerate(self.choices.at)}
        ones = len(place)  # an ungated block points past the choices, where `_gated` puts a column of ones
        choices, values = ([b for b in blocks if b.kind == kind] for kind in ("choice", "value"))
        index = {
            "choice_gate": [ones if b.gate is None else place[b.gate] for b in choices for _ in range(b.width)],
            "value_gate": [ones if b.gate is None else place[b.gate] for b in values],
            "value_at": [b.start for b in values],
        }
        for name, at in index.items():
            self.register_buffer(name, torch.tensor(at, dtype=torch.long), persistent=False)
        order = torch.argsort(torch.cat([self.choices.at, self.value_at]))
        self.register_buffer("order", order, persistent=False)
        self.has_gates = any(block.gate is not None for block in blocks)

    def raw(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits of the choice positions (B, P) and values in [-1, 1], (B, V), from z and conditions (B,)."""
        h = z
        for i, norm in enumerate(self.norms):
            h = torch.cat([F.relu(norm(self._layer(i, h, condition))), h], dim=1)
        out = self._layer(len(self.norms), h, condition)
        return self.choices.take(out), out.index_select(1, self.value_at).tanh()

    def _layer(self, i: int, h: Tensor, condition: Tensor | None) -> Tensor:
        out: Tensor = self.layers[i](h)
        return out if condition is None else out + self.told[i](condition)

    def soften(self, logits: Tensor, values: Tensor) -> Tensor:
        """Rows (B, D) with relaxed draws of the choices; blocks behind closed gates are near 0, as in the data."""
        choices = self.choices.gumbel_softmax(logits, TEMPERATURE)
        if self.has_gates:
            open_gates = torch.cat([choices, choices.new_ones(len(choices), 1)], dim=1)
            choices = choices * open_gates.index_select(1, self.choice_gate)
            values = values * open_gates.index_select(1, self.value_gate)
        return torch.cat([choices, values], dim=1).index_select(1, self.order)

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Noise (B, latent_dim) and conditions (B,) to relaxed rows (B, D)."""
        return self.soften(*self.raw(z, condition))

    def harden(self, logits: Tensor, values: Tensor) -> Tensor:
        """Rows (B, D) with drawn one-hot choices, values 0 behind closed gates."""
        choices = self.choices.one_hot(self.choices.draw(self.choices.softmax(logits)))
        if self.has_gates:
            open_gates = torch.cat([choices, choices.new_ones(len(choices), 1)], dim=1)
            values = values * open_gates.index_select(1, self.value_gate)
        return torch.cat([choices, values], dim=1).index_select(1, self.order)


class PackedCritic(nn.Module):
    """Scores several rows together, so that it sees when they are too alike (PacGAN: Lin et al., 2018).

    Arguments:
        width: Of a row.
        conditions: Number of conditions; 0 for none.
        pac: Rows judged together.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, width: int, conditions: int, pac: int, hidden: Sequence[int]) -> None:
        """See the class."""
        super().__init__()
        self.pac, self.width, self.conditions = pac, pac * width, conditions
        self.enter = nn.Linear(self.width, hidden[0])
        self.told = nn.EmbeddingBag(pac * conditions, hidden[0], mode="sum") if conditions else None
        if self.told is not None:
            nn.init.uniform_(self.told.weight, -(self.width**-0.5), self.width**-0.5)
        layers: list[nn.Module] = []
        for inside, units in zip(hidden, hidden[1:], strict=False):
            layers += [nn.Linear(inside, units), nn.LeakyReLU(0.2), nn.Dropout(0.5)]
        # scores are only ever compared, so an offset common to all of them would never learn
        self.net = nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.5), *layers, nn.Linear(hidden[-1], 1, bias=False))

    def pack(self, rows: Tensor) -> Tensor:
        """Rows (B, D) to packs (B / pac, pac * D)."""
        return rows.view(-1, self.width)

    def forward(self, packs: Tensor, condition: Tensor | None) -> Tensor:
        """Packs and the conditions of their rows (B,) to scores, shape (B / pac,)."""
        h = self.enter(packs)
        if self.told is not None and condition is not None:
            place = torch.arange(self.pac, device=packs.device) * self.conditions
            h = h + self.told(condition.view(-1, self.pac) + place)
        return self.net(h).squeeze(1)
