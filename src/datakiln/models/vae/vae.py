"""Variational autoencoder (Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114), also conditional on the label.

The bound is exact for the data as encoded: a Gaussian with learnt noise for numbers, a categorical for choices, never a
squared error on one-hot vectors. Conditional form: Sohn et al., 2015.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory, SchedulerFactory, scaled
from datakiln.nets.autoencoder import build_autoencoder
from datakiln.nets.schedules import Constant, Schedule
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

EVALUATION_DRAWS = 16  # draws of z a row outside training, for tables
ACTIVE_VARIANCE = (
    0.01  # a latent unit whose posterior mean varies less than this over the data is inactive (Burda et al.)
)


class VAE(LikelihoodModel):
    """A Gaussian latent z of size `latent_dim`, an encoder q(z | x) with diagonal covariance, a decoder p(x | z).

    The training loss is -E[log p(x | z)] + weight * beta * KL(q(z | x) || N(0, I)), batch means in nats; outside
    training it is the negative ELBO itself (weight = beta = 1, no free bits), so that losses of epochs compare.

    Arguments:
        spec: What one example looks like.
        latent_dim: Size of z.
        hidden: Widths of the hidden layers of the encoder, and reversed of the decoder.
        annealing: Weight of the KL term over training progress.
        beta: Constant factor of the KL term (Higgins et al., 2017).
        free_bits: KL in nats that each latent dimension may use at no cost (Kingma et al., 2016).
        conditional: Whether encoder and decoder are told the label, which then is not modelled itself.
        iwae_samples: Importance samples K of the log-likelihood bound that `test` reports (Burda et al., 2016).
        optimizer: See `LikelihoodModel`.
        scheduler: See `LikelihoodModel`.

    Raises:
        UserError: `conditional` on data without a label.
    """

    supports = frozenset({"table", "image"})
    options = frozenset({"truncation", "mean"})
    doubles = True  # as of `ImageGAN`
    directions = {"loss": "lower", "elbo": "higher", "iwae": "higher"}
    is_mean = True
    class_shares: Tensor

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 5,
        hidden: Sequence[int] = (128, 128),
        annealing: Schedule = Constant(),
        beta: float = 1.0,
        free_bits: float = 0.0,
        conditional: bool = False,
        iwae_samples: int = 64,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer, scheduler)
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim} must be at least 1")
        self.latent_dim = latent_dim
        self.annealing, self.beta, self.free_bits = annealing, beta, free_bits
        self.iwae_samples = iwae_samples
        self.conditional = conditional
        if conditional:
            self.conditioning = "label"
        self.net = build_autoencoder(spec, latent_dim, hidden, conditional)
        shares = torch.tensor(spec.class_shares or (1.0,), dtype=torch.float32)
        self.register_buffer("class_shares", shares, persistent=False)

    def protect(self, clip: float, sigma: float, expected: float) -> None:
        """See `GenerativeModel`; free bits are a limit on the mean over a batch, which mixes its rows."""
        if self.free_bits:
            told = f"privacy=dp_sgd: model.free_bits={self.free_bits:g} limits a mean over the rows of a batch"
            raise UserError(f"{told}; set model.free_bits=0")
        super().protect(clip, sigma, expected)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), each of shape (B, latent_dim)."""
        mean, log_var = self.net.encode(batch.x, batch.y).chunk(2, dim=1)
        return mean, log_var.clamp(-10.0, 10.0)

    def decode(self, z: Tensor, y: Tensor | None = None, options: Sampling = PLAIN) -> Tensor:
        """A draw from p(x | z), or its mean, in model space, shape (B, *spec.shape).

        Of pictures the mean unless draws are asked for, as is usual: a draw adds independent noise to every pixel.
        """
        is_mean = self.spec.kind == "image" if options.mean is None else options.mean
        return self.net.mean(z, y) if is_mean else self.net.draw(z, y)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, the ELBO and its parts in nats a row, the KL of each latent dimension."""
        mean, log_var = self.encode(batch)
        reconstruction = self._reconstruction(batch, mean, log_var)
        kl_dim = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).mean(dim=0)
        kl = kl_dim.sum()
        figures = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl, "kl_dim": kl_dim}
        if not self.training:
            if self.spec.kind == "image":
                figures["bits_per_dim"] = (kl - reconstruction) / (math.prod(self.spec.shape) * math.log(2))
            return {"loss": kl - reconstruction, **figures}
        weight = self.annealing(self.progress)
        paid = kl_dim.clamp(min=self.free_bits).sum() if self.free_bits else kl
        self.meter.add("units", {"mean": mean.mean(dim=0), "square": mean.square().mean(dim=0)}, len(mean))
        return {"loss": weight * self.beta * paid - reconstruction, **figures, "kl_weight": torch.tensor(weight)}

    def _reconstruction(self, batch: Batch, mean: Tensor, log_var: Tensor) -> Tensor:
        """Mean of log p(x | z) over the batch; in training one draw of z a row.

        Otherwise several draws from noise that is the same at every epoch: with a single draw, which epoch is best on a
        few dozen validation rows was mostly luck.
        """
        if self.training:
            z = torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_var))
            return self.net.log_prob(z, batch.x, batch.y).mean()
        draws = EVALUATION_DRAWS if self.spec.kind == "table" else 1
        generator = torch.Generator(mean.device).manual_seed(0)
        total = mean.new_zeros(())
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
            total += self.net.log_prob(torch.addcmul(mean, noise, torch.exp(0.5 * log_var)), batch.x, batch.y).mean()
        return total / draws

    def epoch_figures(self) -> dict[str, float]:
        """Number of latent units whose posterior mean varies over the data (Burda et al., 2016)."""
        moments = self.meter.pop("units")
        variances = [moments[f"square/{i}"] - moments[f"mean/{i}"] ** 2 for i in range(self.latent_dim)]
        return {"active_units": float(sum(variance > ACTIVE_VARIANCE for variance in variances))}

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Draws z from the prior, then x from p(x | z); without a condition, labels are drawn by share."""
        z = scaled(torch.randn(n, self.latent_dim, device=self.device), options)
        return self.decode(z, self._told(condition, n), options)

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Examples of these latents."""
        return self.decode(scaled(keys, options), self._told(condition, len(keys)), options)

    def latents_of(self, batch: Batch) -> Tensor:
        """Means of q(z | x)."""
        return self.encode(batch)[0]

    def _told(self, condition: Tensor | None, n: int) -> Tensor | None:
        if self.conditional and condition is None:
            return torch.multinomial(self.class_shares, n, replacement=True)
        return condition

    @torch.no_grad()
    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """Importance-weighted lower bound on log p(x) in nats, shape (B,) (Burda et al., 2016, eq. 8, k = samples)."""
        mean, log_var = self.encode(batch)
        weights = []
        for _ in range(samples):
            noise = torch.randn_like(mean)
            z = mean + noise * torch.exp(0.5 * log_var)
            prior = -0.5 * z.square().sum(dim=1)
            posterior = -0.5 * (noise.square() + log_var).sum(dim=1)  # the constants of both Gaussians cancel
            weights.append(self.net.log_prob(z, batch.x, batch.y) + prior - posterior)
        return torch.logsumexp(torch.stack(weights), dim=0) - math.log(samples)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The validation figures and the importance-weighted log-likelihood."""
        super().test_step(batch, batch_idx)
        self.meter.add("test", {"iwae": self.log_likelihood(batch, self.iwae_samples).mean()}, len(batch.x))
