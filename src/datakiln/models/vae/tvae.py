"""TVAE (Xu et al., 2019, section 4.4, https://arxiv.org/abs/1907.00503): a VAE over mode-specific normalised columns.

Departures: the label can be given to both nets instead of being modelled (Sohn et al., 2015); categories are drawn from
their probabilities; a missing cell or a spike has a state of its own and leaves its value out of the likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from datakiln.models.base import LikelihoodModel, OptimizerFactory, SchedulerFactory, scaled
from datakiln.nets.heads import TableHead
from datakiln.nets.linear import Linear, half_precision
from datakiln.nets.rows import Rows
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling


class TVAE(LikelihoodModel):
    """q(z | row) and p(row | z), two fully connected nets with ReLU; z is Gaussian.

    The loss is -E[log p(row | z)] + beta * KL(q(z | row) || N(0, I)), mean over the batch, in nats; outside training
    beta is 1, so that it is the negative ELBO.

    Arguments:
        spec: A table's spec, its numbers best as modes (`encoding=modes`).
        latent_dim: Size of z.
        hidden: Widths of the encoder's hidden layers, reversed in the decoder.
        beta: Factor of the KL term while training.
        conditional: Whether the nets are told the label, where there is one.
        bf16: Whether matrix products are in bfloat16 while training; None for yes where the processor has it.
        optimizer: See `LikelihoodModel`.
        scheduler: See `LikelihoodModel`.
    """

    supports = frozenset({"table"})
    options = frozenset({"truncation", "mean"})
    directions = {"loss": "lower", "elbo": "higher"}
    is_mean = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 128,
        hidden: Sequence[int] = (128, 128),
        beta: float = 1.0,
        conditional: bool = True,
        bf16: bool | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer, scheduler)
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim} must be at least 1")
        self.latent_dim, self.beta, self.bf16 = latent_dim, beta, bf16
        self.rows = Rows(spec, conditional)
        self.conditioning = "label" if self.rows.classes else "none"
        self.head = TableHead(self.rows.blocks, squash=True)
        self.encoder = _mlp(self.rows.width + self.rows.classes, hidden, 2 * latent_dim)
        self.decoder = _mlp(latent_dim + self.rows.classes, tuple(reversed(hidden)), self.head.width)

    def _told(self, x: Tensor, y: Tensor | None) -> Tensor:
        return torch.cat([x, self.rows.given(y, len(x))], dim=1) if self.rows.classes else x

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, the ELBO and its two parts, in nats a row."""
        x = self.rows.take(batch.x)
        with self._precision():
            code = self.encoder(self._told(x, batch.y)).float()
        mean, log_var = code[:, : self.latent_dim], code[:, self.latent_dim :].clamp(-10.0, 10.0)
        z = torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_var))
        with self._precision():
            h = self.decoder[:-1](self._told(z, batch.y)).float()
        # in full precision: a mean rounded to bfloat16 would be further off than the narrowest columns' noise
        reconstruction = self.head.log_prob(self.decoder[-1](h), x).mean()
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum(dim=1).mean()
        beta = self.beta if self.training else 1.0
        elbo = reconstruction - kl
        return {"loss": beta * kl - reconstruction, "elbo": elbo, "reconstruction": reconstruction, "kl": kl}

    def _precision(self) -> AbstractContextManager[None]:
        return half_precision(self.device, self.bf16 if self.training else False)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Z from the prior, then a row from p(row | z); labels that are not given are drawn by their shares."""
        y = self.rows.labels(condition, n) if self.rows.classes else None
        return self._decoded(torch.randn(n, self.latent_dim, device=self.device), y, options)

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Rows of these latents."""
        return self._decoded(keys, self.rows.labels(condition, len(keys)) if self.rows.classes else None, options)

    def latents_of(self, batch: Batch) -> Tensor:
        """Means of q(z | row)."""
        return self.encoder(self._told(self.rows.take(batch.x), batch.y))[:, : self.latent_dim]

    def _decoded(self, z: Tensor, y: Tensor | None, options: Sampling) -> Tensor:
        parameters = self.decoder(self._told(scaled(z, options), y))
        return self.rows.put(self.head.mean(parameters) if options.mean else self.head.draw(parameters), y)


def _mlp(width_in: int, hidden: Sequence[int], width_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [Linear(width_in, width), nn.ReLU()]
        width_in = width
    return nn.Sequential(*layers, Linear(width_in, width_out))
