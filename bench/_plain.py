"""CTGAN and TVAE as loops over columns and rows, written plainly from Xu et al. (2019): what ours is timed against.

The same nets, sizes, losses and encoded rows as ours, the way one writes them down first: training rows picked one by
one in Python, a loop over spans for activations and for losses, the conditional vector multiplied as a dense one, the
generator's graph kept through the critic's updates.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.spec import Block, DataSpec

LATENT, HIDDEN, BATCH, PAC = 128, 256, 500, 10
TVAE_HIDDEN = 128


class Residual(nn.Module):
    """A layer that passes on its input beside what it makes of it."""

    def __init__(self, inside: int, units: int) -> None:
        """See the class."""
        super().__init__()
        self.layer, self.norm = nn.Linear(inside, units), nn.BatchNorm1d(units)

    def forward(self, h: Tensor) -> Tensor:
        """(B, D) to (B, units + D)."""
        return torch.cat([F.relu(self.norm(self.layer(h))), h], dim=1)


class Sampler:
    """Training by sampling (section 4.3): conditions, and for each of them a training row that meets it."""

    def __init__(self, x: np.ndarray, spec: DataSpec) -> None:
        """Lists the rows of each category."""
        self.x = x
        self.blocks = [column.blocks[0] for column in spec.columns if column.blocks[0].kind == "choice"]
        self.rows = [[np.flatnonzero(x[:, i]) for i in range(block.start, block.stop)] for block in self.blocks]
        widest = max(block.width for block in self.blocks)
        self.chances = np.zeros((len(self.blocks), widest))
        for i, rows in enumerate(self.rows):
            logs = np.log1p([len(found) for found in rows])
            self.chances[i, : len(rows)] = logs / logs.sum()
        self.first = np.cumsum([0, *(block.width for block in self.blocks)])
        self.width = int(self.first[-1])

    def draw(self, n: int) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
        """Conditional vectors (n, Q), which columns are asked for, one-hot (n, C), and the same as indices."""
        column = np.random.choice(len(self.blocks), n)
        category = (self.chances[column].cumsum(axis=1) < np.random.rand(n, 1)).sum(axis=1)
        category = np.minimum(category, [self.blocks[c].width - 1 for c in column])
        vector, mask = np.zeros((n, self.width), np.float32), np.zeros((n, len(self.blocks)), np.float32)
        vector[np.arange(n), self.first[column] + category] = 1.0
        mask[np.arange(n), column] = 1.0
        return torch.from_numpy(vector), torch.from_numpy(mask), column, category

    def pick(self, column: np.ndarray, category: np.ndarray) -> Tensor:
        """A training row for each condition."""
        rows = [np.random.choice(self.rows[c][k]) for c, k in zip(column, category, strict=True)]
        return torch.from_numpy(self.x[rows])


class PlainCTGAN:
    """The published training loop.

    Arguments:
        x: Encoded training rows, shape (n, D).
        spec: What they look like.
    """

    def __init__(self, x: np.ndarray, spec: DataSpec) -> None:
        """See the class."""
        self.sampler, self.blocks, width = Sampler(x, spec), spec.blocks, spec.shape[0]
        inside = LATENT + self.sampler.width
        self.generator = nn.Sequential(
            Residual(inside, HIDDEN), Residual(inside + HIDDEN, HIDDEN), nn.Linear(inside + 2 * HIDDEN, width)
        )
        self.critic = nn.Sequential(
            *(nn.Linear(PAC * (width + self.sampler.width), HIDDEN), nn.LeakyReLU(0.2), nn.Dropout(0.5)),
            *(nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(HIDDEN, 1)),
        )
        self.of_generator = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.9), weight_decay=1e-6)
        self.of_critic = torch.optim.Adam(self.critic.parameters(), lr=2e-4, betas=(0.5, 0.9), weight_decay=1e-6)

    def epoch(self) -> None:
        """One update of each net for every batch."""
        for _ in range(len(self.sampler.x) // BATCH):
            self._critic_step()
            self._generator_step()

    def _activated(self, raw: Tensor) -> Tensor:
        parts = []
        for block in self.blocks:
            part = raw[:, block.start : block.stop]
            parts.append(torch.tanh(part) if block.kind == "value" else F.gumbel_softmax(part, tau=0.2))
        return torch.cat(parts, dim=1)

    def _score(self, rows: Tensor, vector: Tensor) -> Tensor:
        scores: Tensor = self.critic(torch.cat([rows, vector], dim=1).view(len(rows) // PAC, -1))
        return scores

    def _critic_step(self) -> None:
        vector, _, column, category = self.sampler.draw(BATCH)
        order = np.random.permutation(BATCH)
        real = self.sampler.pick(column[order], category[order])
        fake = self._activated(self.generator(torch.cat([torch.randn(BATCH, LATENT), vector], dim=1)))
        real, fake = torch.cat([real, vector[order]], dim=1), torch.cat([fake, vector], dim=1)
        loss = self._of_rows(fake).mean() - self._of_rows(real).mean() + 10.0 * self._penalty(real, fake)
        self.of_critic.zero_grad()
        loss.backward()
        self.of_critic.step()

    def _of_rows(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.critic(rows.view(len(rows) // PAC, -1))
        return scores

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real) // PAC, 1, 1).expand(-1, PAC, real.shape[1]).reshape(real.shape)
        between = share * real + (1 - share) * fake
        scores = self._of_rows(between)
        (slope,) = torch.autograd.grad(scores, between, torch.ones_like(scores), create_graph=True, retain_graph=True)
        return ((slope.reshape(len(scores), -1).norm(2, dim=1) - 1.0) ** 2).mean()

    def _generator_step(self) -> None:
        vector, mask, _, _ = self.sampler.draw(BATCH)
        raw = self.generator(torch.cat([torch.randn(BATCH, LATENT), vector], dim=1))
        loss = self._asked(raw, vector, mask) - self._score(self._activated(raw), vector).mean()
        self.of_generator.zero_grad()
        loss.backward()
        self.of_generator.step()

    def _asked(self, raw: Tensor, vector: Tensor, mask: Tensor) -> Tensor:
        losses = []
        for i, block in enumerate(self.sampler.blocks):
            target = vector[:, self.sampler.first[i] : self.sampler.first[i + 1]].argmax(dim=1)
            losses.append(F.cross_entropy(raw[:, block.start : block.stop], target, reduction="none"))
        return (torch.stack(losses, dim=1) * mask).sum() / BATCH


class PlainTVAE:
    """The published training loop.

    Arguments:
        x: Encoded training rows, shape (n, D).
        spec: What they look like.
    """

    def __init__(self, x: np.ndarray, spec: DataSpec) -> None:
        """See the class."""
        self.blocks: tuple[Block, ...] = spec.blocks
        width, units = spec.shape[0], TVAE_HIDDEN
        self.body = nn.Sequential(nn.Linear(width, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU())
        self.mean, self.log_var = nn.Linear(units, LATENT), nn.Linear(units, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, width)
        )
        self.sigma = nn.Parameter(torch.full((width,), 0.1))
        nets = (self.body, self.mean, self.log_var, self.decoder)
        parameters = [self.sigma, *(p for net in nets for p in net.parameters())]
        self.optimizer = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-5)
        rows = torch.utils.data.TensorDataset(torch.from_numpy(x))
        self.loader = torch.utils.data.DataLoader(rows, BATCH, shuffle=True)

    def epoch(self) -> None:
        """One pass over the rows."""
        for (x,) in self.loader:
            h = self.body(x)
            mean, log_var = self.mean(h), self.log_var(h)
            out = self.decoder(mean + torch.randn_like(mean) * torch.exp(0.5 * log_var))
            kl = -0.5 * torch.sum(1 + log_var - mean**2 - log_var.exp())
            loss = (self._reconstruction(out, x) + kl) / len(x)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.sigma.data.clamp_(0.01, 1.0)

    def _reconstruction(self, out: Tensor, x: Tensor) -> Tensor:
        losses = []
        for block in self.blocks:
            part, true = out[:, block.start : block.stop], x[:, block.start : block.stop]
            if block.kind == "choice":
                losses.append(F.cross_entropy(part, true.argmax(dim=1), reduction="sum"))
            else:
                sigma = self.sigma[block.start]
                losses.append(((true - torch.tanh(part)) ** 2 / (2 * sigma**2)).sum() + torch.log(sigma) * len(x))
        return torch.stack(losses).sum()
