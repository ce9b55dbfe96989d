"""TabSyn (Zhang et al., 2024, https://arxiv.org/abs/2310.09656): a score model over the latents of a VAE.

Training has two stages in one run: first the VAE, then, with its weights at rest, the score model D(u; sigma), which
recovers standardised latents u from u + sigma * noise (Karras et al., 2022). Sampling follows the probability flow from
noise to u in a few steps of Heun's method, and decodes.

Departures: the weight of the KL term falls geometrically through the first stage, where the paper lowers it whenever
the reconstruction stalls; mean and variance of q(z | row) share one encoder; tokens are wider than the latent; numbers
have a Gaussian likelihood with a learnt scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory
from datakiln.nets.denoiser import Denoiser
from datakiln.nets.heads import TableHead
from datakiln.nets.linear import half_precision
from datakiln.nets.rows import Rows
from datakiln.nets.tokens import TokenAutoencoder
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

SIGMA_MIN, SIGMA_MAX = 0.002, 20.0  # noise levels, in standard deviations of a latent; pictures need 80, rows do not
CURVE = 7.0  # rho of eq. 5 there: how much closer together the steps are at low noise
LOG_MEAN, LOG_DEVIATION = -0.5, 1.4  # of the noise levels trained on
MOMENTUM = 0.01  # of the running mean and variance of the latents
LEAST_VARIANCE = 1e-6
MOST_STEPS = 10_000  # of sampling: more gain nothing, and a file that asks for a billion is damaged


class TabSyn(LikelihoodModel):
    """VAE and latent diffusion.

    Outside training the loss is a bound on -log p(row) in nats, of the model as it samples: reconstruction plus what
    the latent costs under the diffusion prior (Vahdat et al., 2021, eq. 5 to 7).

    Arguments:
        spec: A table's spec, its numbers best as normal scores (`encoding=quantile` or `dequantised`).
        token_dim: Numbers of the latent for each column.
        token_width: Width of a column's token inside the encoder and the decoder.
        layers: Transformer layers of the encoder, and of the decoder.
        feedforward: Width of the feed-forward nets inside them.
        hidden: Widths of the score model's hidden layers.
        vae_share: Share of training spent on the first stage.
        vae_lr: Learning rate of the first stage; that of the second is the optimizer's. Both fall to 0 by its end.
        beta: Weight of the KL term at the start and at the end of the first stage.
        sampling_steps: Steps of Heun's method, each of two evaluations but the last.
        conditional: Whether the score model is told the label, where there is one.
        bf16: Whether the score model trains with matrix products in bfloat16; None for yes where the processor is
            faster with them. The VAE, and all sampling, stay in single precision.
        optimizer: See `LikelihoodModel`.
    """

    mixes = "two stages that both see rows"
    supports = frozenset({"table"})
    options = frozenset({"steps"})
    directions = {"loss": "lower", "reconstruction": "higher", "kl": "lower"}
    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        spec: DataSpec,
        token_dim: int = 4,
        token_width: int = 16,
        layers: int = 1,
        feedforward: int = 32,
        hidden: Sequence[int] = (256, 256, 256),
        vae_share: float = 0.12,
        vae_lr: float = 2e-2,
        beta: tuple[float, float] = (0.1, 0.02),
        sampling_steps: int = 20,
        conditional: bool = True,
        bf16: bool | None = None,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer)
        if not 0.0 < vae_share < 1.0:
            raise ValueError(f"vae_share={vae_share} must lie between 0 and 1: both stages need their time")
        if not 1 <= sampling_steps <= MOST_STEPS:
            raise ValueError(f"sampling_steps={sampling_steps} must lie between 1 and {MOST_STEPS}")
        self.vae_share, self.vae_lr, self.beta, self.sampling_steps = vae_share, vae_lr, beta, sampling_steps
        self.bf16 = bf16
        self.rows = Rows(spec, conditional)
        self.conditioning = "label" if self.rows.classes else "none"
        self.vae = TokenAutoencoder(self.rows.columns, token_dim, token_width, layers, feedforward)
        self.head = TableHead(self.rows.blocks)
        with torch.no_grad():
            self.head.log_sigma.fill_(-3.0)
        d = self.vae.latent_dim
        self.denoiser = Denoiser(d, d, hidden, self.rows.classes, dropout=0.0)
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("variance", torch.ones(d))

    def averaged(self) -> nn.Module:
        """The score model: the average of a VAE would be another VAE than the one whose latents it has learnt."""
        return self.denoiser

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer, with a rate of its own for each stage's parameters."""
        if self.optimizer_factory is None:
            raise UserError("TabSyn was built without an optimizer: it can sample, not train")
        first = [*self.vae.parameters(), *self.head.parameters()]
        groups = [{"params": first, "lr": self.vae_lr}, {"params": list(self.denoiser.parameters())}]
        optimizer = self.optimizer_factory(groups)  # type: ignore[arg-type]
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """One loss of the running stage, at its rate: a cosine from the start to the end of the stage."""
        done = self.progress
        stages = done / self.vae_share, (done - self.vae_share) / (1.0 - self.vae_share)
        for group, share in zip(self.optimizers().param_groups, stages, strict=True):  # type: ignore[union-attr]
            group["lr"] = 0.5 * group["initial_lr"] * (1.0 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
        return super().training_step(batch, batch_idx)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """What the running stage minimises, or outside training the bound; see the class."""
        x = self.rows.take(batch.x)
        if not self.training:
            return self._bound(x, batch.y)
        return self._vae_losses(x) if self.progress < self.vae_share else self._score_losses(x, batch.y)

    def _vae_losses(self, x: Tensor) -> dict[str, Tensor]:
        mean, log_var = self.vae.encode(x)
        z = torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_var))
        self._follow(z.detach())
        reconstruction = self.head.log_prob(self.vae.decode(z), x).mean()
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum(dim=1).mean()
        first, last = self.beta
        beta = first * (last / first) ** (self.progress / self.vae_share)
        return {"loss": beta * kl - reconstruction, "reconstruction": reconstruction, "kl": kl}

    def _follow(self, z: Tensor) -> None:
        """Running mean and variance of the latents; they rest with the VAE."""
        variance = processes.whole_mean((z - self.mean).square().mean(dim=0), len(z))
        self.variance.lerp_(variance, MOMENTUM)
        self.mean.lerp_(processes.whole_mean(z.mean(dim=0), len(z)), MOMENTUM)

    @property
    def _scale(self) -> Tensor:
        return self.variance.clamp(min=LEAST_VARIANCE).sqrt()

    def _score_losses(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        """Denoising error weighted to be of the same size at all noise levels (Karras et al., 2022, eq. 8)."""
        with torch.no_grad():
            mean, log_var = self.vae.encode(x)
            u = (torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_var)) - self.mean) / self._scale
        sigma = torch.exp(LOG_MEAN + LOG_DEVIATION * torch.randn(len(u), 1, device=u.device))
        noisy = u + sigma * torch.randn_like(u)
        with half_precision(self.device, self.bf16):
            error = self._denoise(noisy, sigma, y) - u
        return {"loss": (error.square() * (1 + sigma.square()) / sigma.square()).mean()}

    def _denoise(self, noisy: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
        """D(u; sigma) with the preconditioning of Karras et al., 2022, table 1, for data of unit variance."""
        total = 1 + sigma.square()
        out = self.denoiser(noisy * total.rsqrt(), sigma.log().flatten() / math.log(SIGMA_MAX / SIGMA_MIN), y)
        return noisy / total + out * sigma * total.rsqrt()

    def _bound(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        mean, log_var = self.vae.encode(x)
        z = torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_var))
        reconstruction = self.head.log_prob(self.vae.decode(z), x)
        entropy = 0.5 * (log_var + math.log(2 * math.pi) + 1.0).sum(dim=1)
        kl = self._latent_cost((z - self.mean) / self._scale, y) + self._scale.log().sum() - entropy
        return {"loss": (kl - reconstruction).mean(), "reconstruction": reconstruction.mean(), "kl": kl.mean()}

    def _latent_cost(self, u: Tensor, y: Tensor | None) -> Tensor:
        """A draw of the bound on -log p(u), shape (B,) (Kingma et al., 2021, eq. 11 to 13, for sigma as the time)."""
        at = (torch.randperm(len(u), device=u.device) + torch.rand(1, device=u.device)) / len(u)
        low, high = math.log(SIGMA_MIN), math.log(SIGMA_MAX)
        sigma = torch.exp(low + (high - low) * at)[:, None]
        error = self._denoise(u + sigma * torch.randn_like(u), sigma, y) - u
        diffusion = (high - low) * (error / sigma).square().sum(dim=1)
        prior = 0.5 * u.square().sum(dim=1) / SIGMA_MAX**2
        last = 0.5 * u.shape[1] * (math.log(2 * math.pi * SIGMA_MIN**2) + 1.0)
        return diffusion + prior + last

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Latents by Heun's method (Karras et al., 2022, algorithm 1), decoded; labels not given are drawn by share."""
        y = self.rows.labels(condition, n) if self.rows.classes else None
        u = SIGMA_MAX * torch.randn(n, self.vae.latent_dim, device=self.device)
        sigmas = noise_levels(options.steps or self.sampling_steps).to(u.device)
        for sigma, after in zip(sigmas[:-1], sigmas[1:], strict=True):
            slope = (u - self._denoise(u, sigma.view(1, 1), y)) / sigma
            ahead = u + (after - sigma) * slope
            if after > 0:
                slope = 0.5 * (slope + (ahead - self._denoise(ahead, after.view(1, 1), y)) / after)
            u = u + (after - sigma) * slope
        return self.rows.put(self.head.draw(self.vae.decode(u * self._scale + self.mean)), y)


def noise_levels(steps: int) -> Tensor:
    """Falling from the highest to the lowest, then 0, shape (steps + 1,) (Karras et al., 2022, eq. 5)."""
    ends = SIGMA_MAX ** (1 / CURVE), SIGMA_MIN ** (1 / CURVE)
    ramp = torch.linspace(0.0, 1.0, steps) if steps > 1 else torch.zeros(1)
    return torch.cat([(ends[0] + ramp * (ends[1] - ends[0])) ** CURVE, torch.zeros(1)])
