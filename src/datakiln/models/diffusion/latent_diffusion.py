"""Latent diffusion (Rombach et al., 2022, https://arxiv.org/abs/2112.10752), flow matching in latents.

Training has two stages in one run and one checkpoint: first a VAE of ours, then, with its weights at rest, the velocity
of its standardised latents. Departures: a likelihood of 256 levels in place of perceptual and adversarial losses, for
which networks of others would be needed; flow matching in place of DDPM.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from datakiln import processes
from datakiln.models.base import GenerativeModel
from datakiln.models.diffusion.flow_matching import FlowMatching
from datakiln.models.pictures import cosine_rate
from datakiln.nets.groups import Groups
from datakiln.nets.latent_maps import MapAutoencoder
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

MOMENTUM = 0.02  # of the running mean and variance of the latents
LEAST_VARIANCE = 1e-6
NO_VELOCITY = 2.0  # mean square of noise minus data, both standardised


class LatentDiffusion(FlowMatching):
    """A VAE of maps and flow matching in them.

    While training the loss is that of the running stage: the negative bound of the VAE in bits a dimension, its KL term
    weighted by `beta`, or the squared error of the velocity. Outside training it is the latter; while the VAE moves, so
    that its latents have no fixed units, it is that of no velocity at all in standardised ones, and no epoch is better.

    Arguments:
        spec: A picture's spec.
        channels: Of the latent maps.
        factor: How many times smaller than the picture they are: 2, 4 or 8.
        vae_width: Channels of encoder and decoder.
        vae_share: Share of training spent on the VAE.
        beta: Weight of the KL term (Higgins et al., 2017): small, since the flow learns whatever the latents are like.
        **shared: See `FlowMatching`.
    """

    complete = GenerativeModel.complete  # what is known of a picture is not known of its latents
    enlarge = GenerativeModel.enlarge
    directions = {"loss": "lower", "reconstruction": "lower"}
    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        spec: DataSpec,
        channels: int = 4,
        factor: int = 4,
        vae_width: int = 48,
        vae_share: float = 0.4,
        beta: float = 0.1,
        **shared: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if not 0.0 < vae_share < 1.0:
            raise ValueError(f"vae_share={vae_share} must lie between 0 and 1: both stages need their time")
        if factor not in (2, 4, 8):
            raise ValueError(f"factor={factor} must be 2, 4 or 8")
        latents = (channels, *(-(-side // factor) for side in spec.shape[1:]))
        super().__init__(dataclasses.replace(spec, shape=latents), **shared)
        self.spec = spec
        if self.groups is not None:  # of pictures, as a model without a trained VAE sees them, too
            self.groups = Groups(spec.shape, len(self.groups.shares))
        self.vae = MapAutoencoder(spec.shape, channels, factor, vae_width)
        self.vae_share, self.beta = vae_share, beta
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("variance", torch.ones(1, channels, 1, 1))

    @property
    def activations(self) -> int:
        """Those of the decoder's largest map, of half the picture's side."""
        return max(self.net.activations, self.vae.width * math.prod(self.spec.shape[1:]) // 4)

    def rate(self) -> float:
        """A warm-up and a cosine for each stage."""
        done, share = self.progress, self.vae_share
        return cosine_rate(done / share if done < share else (done - share) / (1.0 - share), self.warmup)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """What the running stage minimises; see the class."""
        if self.training and self.progress < self.vae_share:
            return self._vae_losses(batch.x)
        with torch.no_grad():
            mean, log_var = self.vae.encode(batch.x)
            if not self.training and self.progress < self.vae_share:
                return {"loss": mean.new_tensor(NO_VELOCITY), **self._reconstruction(mean, batch.x)}
            noise = torch.zeros_like(mean) if not self.training else torch.randn_like(mean)
            u = self._standardised(torch.addcmul(mean, noise, torch.exp(0.5 * log_var)))
            figures = {} if self.training else self._reconstruction(mean, batch.x)
        return {"loss": self.error(u, self._labels(batch)), **figures}

    def _reconstruction(self, mean: Tensor, x: Tensor) -> dict[str, Tensor]:
        return {"reconstruction": -self._bits(self.vae.log_prob(mean, x))}

    def _vae_losses(self, x: Tensor) -> dict[str, Tensor]:
        mean, log_var = self.vae.encode(x)
        z = torch.addcmul(mean, torch.randn_like(mean), torch.exp(0.5 * log_var))
        with torch.no_grad():  # they rest with the VAE
            average = processes.whole_mean(z.mean(dim=(0, 2, 3), keepdim=True), len(z))
            variance = processes.whole_mean((z - average).square().mean(dim=(0, 2, 3), keepdim=True), len(z))
            self.variance.lerp_(variance, MOMENTUM)
            self.mean.lerp_(average, MOMENTUM)
        reconstruction = -self._bits(self.vae.log_prob(z, x))
        kl = self._bits(0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).flatten(1).sum(dim=1))
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def _bits(self, nats: Tensor) -> Tensor:
        """Mean of nats a picture (B,) in bits a dimension."""
        return nats.mean() / (math.prod(self.spec.shape) * math.log(2))

    def _scale(self) -> Tensor:
        return self.variance.clamp(min=LEAST_VARIANCE).sqrt()

    def _standardised(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self._scale()

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Latents, decoded: shape (n, C, H, W)."""
        return self.vae.mean(self.made(n, condition, options) * self._scale() + self.mean)
