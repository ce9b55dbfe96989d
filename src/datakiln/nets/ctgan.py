"""Generator and critic of CTGAN (Xu et al., 2019, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.nets.linear import Linear, linear
from datakiln.nets.segments import Segments
from datakiln.spec import Block

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
    value_gate_at: Tensor
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
        self.layers = nn.ModuleList(Linear(a, b, bias=i == len(hidden)) for i, (a, b) in enumerate(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(units) for units in hidden)
        self.told = nn.ModuleList(nn.Embedding(conditions, units) for units in ([*hidden, out] if conditions else []))
        for table in self.told:
            nn.init.uniform_(table.get_parameter("weight"), -(conditions**-0.5), conditions**-0.5)
        self._index(blocks)

    def _index(self, blocks: Sequence[Block]) -> None:
        place = {int(p): i for i, p in enumerate(self.choices.at)}
        ones = len(place)  # an ungated block points past the choices, where `_gated` puts a column of ones
        choices, values = ([b for b in blocks if b.kind == kind] for kind in ("choice", "value"))
        width = sum(block.width for block in blocks)
        index = {
            "value_gate_at": [width if b.gate is None else b.gate for b in values],  # the same among all positions
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
        picks = self.choices.draw(self.choices.softmax(logits))
        x = values.new_zeros(len(values), len(self.order))
        x.scatter_(1, self.choices.at[self.choices.first] + picks, 1.0)
        if self.has_gates:
            values = values * torch.cat([x, x.new_ones(len(x), 1)], dim=1).index_select(1, self.value_gate_at)
        return x.index_copy_(1, self.value_at, values)


class FoldedGenerator:
    """A `RowGenerator` as it samples, with fewer and cheaper products: its normalisation is part of its weights.

    What a layer gives is written in front of what it was given, so that nothing is copied together.

    Arguments:
        net: Its weights now; later changes do not reach the folded ones.
        dtype: Of the products.
    """

    @torch.no_grad()
    def __init__(self, net: RowGenerator, dtype: torch.dtype) -> None:
        """See the class."""
        self.net, self.dtype = net, dtype
        self.weights: list[Tensor] = []
        self.tables: list[Tensor] = []  # what a condition adds, (Q, units)
        for i, layer in enumerate(net.layers):
            weight: Tensor = layer.get_parameter("weight")
            told = net.told[i].get_parameter("weight") if len(net.told) else weight.new_zeros(1, len(weight))
            weight, told = self._folded(i, weight, told)
            self.weights.append(weight.to(dtype))
            self.tables.append(told.to(dtype))

    def _folded(self, i: int, weight: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        if i == len(self.net.norms):
            order = torch.cat([self.net.choices.at, self.net.value_at])  # choices side by side, then values
            return weight[order], (told + self.net.layers[i].get_parameter("bias"))[:, order]
        norm: Any = self.net.norms[i]
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return weight * factor[:, None], told * factor + norm.bias - norm.running_mean * factor

    @torch.no_grad()
    def raw(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `RowGenerator.raw` in eval mode."""
        asked = torch.zeros(len(z), dtype=torch.long, device=z.device) if condition is None else condition
        width = self.weights[-1].shape[1]
        h = z.new_empty(len(z), width, dtype=self.dtype)
        start = width - z.shape[1]
        h[:, start:] = z
        with torch.autocast(z.device.type, enabled=False):
            for weight, told in zip(self.weights[:-1], self.tables[:-1], strict=True):
                out = torch.addmm(told.index_select(0, asked), h[:, start:], weight.T)
                torch.clamp_min(out, 0.0, out=h[:, start - len(weight) : start])
                start -= len(weight)
            out = torch.addmm(self.tables[-1].index_select(0, asked), h, self.weights[-1].T).float()
        choices = len(self.net.choices.at)
        return out[:, :choices], out[:, choices:].tanh()


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
        self.enter = Linear(self.width, hidden[0])
        self.told = nn.EmbeddingBag(pac * conditions, hidden[0], mode="sum") if conditions else None
        if self.told is not None:
            nn.init.uniform_(self.told.weight, -(self.width**-0.5), self.width**-0.5)
        # scores are only ever compared, so an offset common to all of them would never learn
        sizes = zip(hidden, [*hidden[1:], 1], strict=True)
        self.layers = nn.ModuleList(Linear(a, b, bias=i + 1 < len(hidden)) for i, (a, b) in enumerate(sizes))

    def pack(self, rows: Tensor) -> Tensor:
        """Rows (B, D) to packs (B / pac, pac * D)."""
        return rows.view(-1, self.width)

    def forward(self, packs: Tensor, condition: Tensor | None) -> Tensor:
        """Packs and the conditions of their rows (B,) to scores, shape (B / pac,)."""
        return self._through(packs, condition)[0]

    def slopes(self, packs: Tensor, condition: Tensor | None) -> Tensor:
        """Gradients of the scores with respect to the packs, (B / pac, pac * D), differentiable in the weights.

        Between its kinks the critic is linear: its gradient is a product of weights and of factors that do not depend
        on them. Written as such it takes half of what differentiating twice does.
        """
        with torch.no_grad():
            factors = self._through(packs, condition)[1]
        slopes: Tensor = self.layers[-1].get_parameter("weight")
        for factor, layer in zip(reversed(factors), [*reversed(self.layers[:-1]), self.enter], strict=True):
            slopes = linear(slopes * factor, layer.get_parameter("weight").T)
        return slopes

    def _through(self, packs: Tensor, condition: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Scores, and the factor of each hidden unit."""
        h, factors = self.enter(packs), []
        if self.told is not None and condition is not None:
            place = torch.arange(self.pac, device=packs.device) * self.conditions
            h = h + self.told(condition.view(-1, self.pac) + place)
        for layer in self.layers:
            factors.append(self._factor(h))
            h = layer(h * factors[-1])
        return h.squeeze(1), factors

    @torch.no_grad()
    def _factor(self, h: Tensor) -> Tensor:
        """What a leaky ReLU of slope 0.2, and in training dropout of one half, multiply each unit by."""
        factor = (h > 0).to(h.dtype).mul_(0.8).add_(0.2)
        return factor.mul_(torch.rand_like(h) < 0.5).mul_(2.0) if self.training else factor
