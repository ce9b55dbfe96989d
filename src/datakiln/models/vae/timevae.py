"""TimeVAE: a variational autoencoder of windows whose decoder adds up a trend, seasons and the rest.

Desai, Freeman, Wang and Beaver, 2021, https://arxiv.org/abs/2111.08095. We differ in the likelihood: Gaussian with a
learnt noise for numbers and categorical for choices, so that the bound is exact for the data as encoded and there is no
weight of the reconstruction to choose; and static columns and ends of sequences are decoded as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory, SchedulerFactory, scaled
from datakiln.nets.heads import TableHead
from datakiln.spec import PLAIN, Batch, Block, DataSpec, Sampling


class TimeVAE(LikelihoodModel):
    """A Gaussian latent for a whole window; the loss is the negative bound, in nats a step.

    Arguments:
        spec: A series of values and choices.
        latent_dim: Size of the latent.
        channels: Of the convolutions that halve the steps, and reversed of those that double them.
        degree: Of the polynomial of the trend.
        seasons: Lengths of seasons, in steps; each gives every place in the season a value of its own.
        beta: Factor of the KL term (Higgins et al., 2017).
        optimizer: See `LikelihoodModel`.
        scheduler: See `LikelihoodModel`.
    """

    supports = frozenset({"series"})
    options = frozenset({"truncation", "mean"})
    directions = {"loss": "lower", "reconstruction": "higher"}
    powers: Tensor

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 8,
        channels: Sequence[int] = (50, 100, 200),
        degree: int = 2,
        seasons: Sequence[int] = (),
        beta: float = 1.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer, scheduler)
        if min(latent_dim, degree, *channels) < 1 or any(season < 2 for season in seasons):
            raise UserError(
                "model.latent_dim, model.degree and model.channels are at least 1, model.seasons at least 2"
            )
        self.latent_dim, self.beta, self.seasons = latent_dim, beta, list(seasons)
        static, own = spec.columns[: spec.static], spec.columns[spec.static :]
        self.offset = static[-1].blocks[-1].stop if static else 0
        steps, self.width = spec.shape[0], spec.shape[1] - self.offset
        self.head = TableHead([_moved(b, -self.offset) for c in own for b in c.blocks])
        self.static_head = TableHead([b for c in static for b in c.blocks]) if static else None
        layers: list[nn.Module] = []
        size, before = steps, self.width
        for count in channels:
            layers += [nn.Conv1d(before, count, 3, stride=2, padding=1), nn.ReLU()]
            size, before = -(-size // 2), count
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.to_latent = nn.Linear(size * before + self.offset, 2 * latent_dim)
        self.from_latent = nn.Linear(latent_dim, size * before)
        back: list[nn.Module] = []
        for count in (*reversed(channels[:-1]), channels[0]):
            back += [nn.ConvTranspose1d(before, count, 4, stride=2, padding=1), nn.ReLU()]
            before = count
        self.decoder, self.start = nn.Sequential(*back), (channels[-1], size)
        self.to_steps = nn.Conv1d(before, self.width, 1)
        self.trend = nn.Linear(latent_dim, self.width * degree)
        self.level = nn.Linear(latent_dim, self.width)
        self.seasonal = nn.ModuleList([nn.Linear(latent_dim, self.width * season) for season in self.seasons])
        self.to_static = nn.Linear(latent_dim, self.offset) if static else None
        time = torch.arange(steps) / steps
        self.register_buffer("powers", torch.stack([time ** (p + 1) for p in range(degree)]), persistent=False)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), (B, latent_dim) each, from sequences (B, T, D)."""
        seen = x[:, :, self.offset :] * self._alive(x)[..., None]
        flat = torch.cat([self.encoder(seen.transpose(1, 2)), x[:, 0, : self.offset]], dim=1)
        mean, log_var = self.to_latent(flat).chunk(2, dim=1)
        return mean, log_var.clamp(-10.0, 10.0)

    def parameters_of(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the heads are told of latents (B, latent_dim): of steps (B, T, W), and of static columns (B, S)."""
        steps = self.spec.shape[0]
        rest = self.decoder(self.from_latent(z).view(len(z), *self.start))[:, :, :steps]
        made = self.to_steps(rest).transpose(1, 2) + self.level(z)[:, None]
        made = made + torch.einsum("bwp,pt->btw", self.trend(z).view(len(z), self.width, -1), self.powers)
        at = torch.arange(steps, device=z.device)
        for season, layer in zip(self.seasons, self.seasonal, strict=True):
            made = made + layer(z).view(len(z), season, self.width)[:, at % season]
        return made, None if self.to_static is None else self.to_static(z)

    def _alive(self, x: Tensor) -> Tensor:
        alive = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if self.spec.ends:
            alive[:, 1:] = ~(x[:, :-1, -1] > 0.5).cummax(dim=1).values
        return alive

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The negative bound and its parts, in nats a step."""
        mean, log_var = self.encode(batch.x)
        noise = torch.randn_like(mean)
        if not self.training:  # the same at every epoch, so that epochs compare
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)).to(mean.device)
        steps, static = self.parameters_of(torch.addcmul(mean, noise, (0.5 * log_var).exp()))
        alive = self._alive(batch.x)
        rows = batch.x[:, :, self.offset :].flatten(0, 1)
        told = (self.head.log_prob(steps.flatten(0, 1), rows) * alive.flatten()).sum()
        if static is not None and self.static_head is not None:
            told = told + self.static_head.log_prob(static, batch.x[:, 0, : self.offset]).sum()
        count = processes.mean_of(alive.sum(), len(batch.x))
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum() / count
        reconstruction = told / count
        beta = self.beta if self.training else 1.0
        return {"loss": beta * kl - reconstruction, "reconstruction": reconstruction, "kl": kl}

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Sequences (n, T, D): of numbers the decoder's mean, as in the paper, unless a draw is asked for.

        Categories and gaps are drawn, unless `mean=true` asks for the likeliest.
        """
        return self._made(scaled(torch.randn(n, self.latent_dim, device=self.device), options), options)

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Sequences of these latents."""
        return self._made(scaled(keys, options), options)

    def latents_of(self, batch: Batch) -> Tensor:
        """Means of q(z | x)."""
        return self.encode(batch.x)[0]

    def _made(self, z: Tensor, options: Sampling) -> Tensor:
        steps, static = self.parameters_of(z)
        ways = {None: self.head.mean_of_values, True: self.head.mean, False: self.head.draw}
        rows = ways[options.mean](steps.flatten(0, 1))
        x = rows.view(len(z), self.spec.shape[0], -1)
        if static is None or self.static_head is None:
            return x
        whole = self.static_head.draw(static)[:, None].expand(-1, x.shape[1], -1)
        return torch.cat([whole, x], dim=2)


def _moved(block: Block, by: int) -> Block:
    gate = None if block.gate is None else block.gate + by
    return dataclasses.replace(block, start=block.start + by, stop=block.stop + by, gate=gate)
