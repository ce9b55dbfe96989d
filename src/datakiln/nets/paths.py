"""How pictures turn to noise, at which times a net looks at it, and the ways back: three separate things.

Symbols throughout: x_1 is data, x_0 standard normal noise, x_t = alpha_t x_1 + sigma_t x_0 what lies between, at a time
t in [0, 1] that rises towards the data (Lipman et al., 2023). Works in model space, on tensors (B, *), times (B,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln import processes

HALVINGS = 30  # of how far a block may have to move: to single precision
Field = Callable[[Tensor, Tensor], Tensor]  # (x_t, t of shape ()) to something of the shape of x_t


class Path(Protocol):
    """What is left of the data, and how much noise there is, at each time."""

    def alpha(self, t: Tensor) -> Tensor:
        """Factor of the data."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """Factor of the noise."""
        ...


@dataclass(frozen=True)
class Straight:
    """Straight lines from noise to data (Lipman et al., 2023, eq. 22 with sigma_min = 0; Liu et al., 2023)."""

    def alpha(self, t: Tensor) -> Tensor:
        """The time itself."""
        return t

    def sigma(self, t: Tensor) -> Tensor:
        """What the time lacks of 1."""
        return 1.0 - t


@dataclass(frozen=True)
class Cosine:
    """Variance stays 1 along a quarter of a circle (Nichol and Dhariwal, 2021, eq. 17), its time reversed.

    Arguments:
        offset: s of eq. 17: how far from the data the first step of noise is.
    """

    offset: float = 0.008
    most: float = 0.9999  # share of the way to pure noise at t = 0: there sigma_t / alpha_t must be finite

    def _angle(self, t: Tensor) -> Tensor:
        return ((1.0 - t) * self.most + self.offset) / (1.0 + self.offset) * (math.pi / 2)

    def alpha(self, t: Tensor) -> Tensor:
        """Square root of alpha-bar of the paper."""
        return torch.cos(self._angle(t))

    def sigma(self, t: Tensor) -> Tensor:
        """Square root of 1 - alpha-bar."""
        return torch.sin(self._angle(t))


def between(path: Path, x_1: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    """x_t of data, noise (B, *) and times (B,)."""
    at = t.view(-1, *[1] * (x_1.dim() - 1))
    return path.alpha(at) * x_1 + path.sigma(at) * x_0


def preconditioning(
    path: Path, target: tuple[float, float], deviation: float, t: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Factors of x_t beside the net, of x_t before it, and of what it says (Karras et al., 2022, eq. 7 and table 1).

    Were data normal with mean 0, the first would give the mean of the target given x_t; what the net is shown and what
    it is to say then have variance 1 at every time, so that it need not carry the noise through all its layers.

    Arguments:
        path: Between noise and data.
        target: Factors of data and of noise in what is learnt: (1, -1) for the velocity of straight lines.
        deviation: Of data.
        t: Times (B,).
    """
    alpha, sigma, variance = path.alpha(t), path.sigma(t), deviation**2
    whole = alpha.square() * variance + sigma.square()
    skip = (target[0] * alpha * variance + target[1] * sigma) / whole
    out = (target[0] * sigma - target[1] * alpha).abs() * deviation * whole.rsqrt()
    return skip, whole.rsqrt(), out


@dataclass(frozen=True)
class LogitNormal:
    """Times of which the logit is normal: most often in the middle, where the task is hardest (Esser et al., 2024).

    Arguments:
        mean: Of the logit; above 0 nearer to the data.
        deviation: Of the logit, above 0.
    """

    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        """Refuses a width that no distribution has."""
        if self.deviation <= 0:
            raise ValueError(f"deviation={self.deviation} must be positive")

    def __call__(self, rank: Tensor) -> Tensor:
        """Times of these ranks: uniform numbers in [0, 1] to times in (0, 1)."""
        return torch.sigmoid(self.mean + self.deviation * torch.special.ndtri(rank.clamp(1e-6, 1 - 1e-6)))


@dataclass(frozen=True)
class Uniform:
    """Every time as often as any other."""

    def __call__(self, rank: Tensor) -> Tensor:
        """The ranks themselves."""
        return rank


def stratified(n: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Gives n ranks, one in each n-th part of [0, 1], in random order, shape (n,): their mean hardly varies."""
    first, whole = processes.part(n)
    order = torch.randperm(whole, generator=generator, device=device)[first : first + n]
    return (order + torch.rand(n, generator=generator, device=device)) / whole


def heun(velocity: Field, x: Tensor, times: Tensor) -> Tensor:
    """Follows dx/dt = velocity(x, t) through the times by the trapezoidal rule, two evaluations a step.

    Arguments:
        velocity: At a point and a time.
        x: Where it starts, shape (B, *).
        times: Rising, shape (steps + 1,).

    Returns:
        Where it is at the last time.
    """
    for t, after in zip(times[:-1], times[1:], strict=True):
        slope = velocity(x, t)
        ahead = velocity(x + (after - t) * slope, after)
        x = x + 0.5 * (after - t) * (slope + ahead)
    return x


def midpoint(velocity: Field, x: Tensor, times: Tensor) -> Tensor:
    """The same by the midpoint rule: two evaluations a step, none at the ends; arguments as of `heun`."""
    for t, after in zip(times[:-1], times[1:], strict=True):
        half = 0.5 * (after - t)
        x = x + 2.0 * half * velocity(x + half * velocity(x, t), t + half)
    return x


def euler(velocity: Field, x: Tensor, times: Tensor) -> Tensor:
    """The same by Euler's rule, one evaluation a step; arguments as of `heun`."""
    for t, after in zip(times[:-1], times[1:], strict=True):
        x = x + (after - t) * velocity(x, t)
    return x


def ddim(
    noise: Field,
    path: Path,
    x: Tensor,
    times: Tensor,
    eta: float = 0.0,
    limit: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """From noise to data along a path that keeps the variance (Song et al., 2021, eq. 12 and 16).

    Arguments:
        noise: Predicts x_0, the noise in x_t.
        path: Of which alpha_t^2 + sigma_t^2 = 1.
        x: Noise, shape (B, *).
        times: Rising, shape (steps + 1,); what is predicted of the data at the last step is returned.
        eta: Share of fresh noise: 0 none (DDIM), 1 as much as ancestral sampling has (DDPM).
        limit: Data lies within [-limit, limit], and predictions of it are kept there.
        temperature: Of fresh noise, as of that in x.
    """
    for i, (t, after) in enumerate(zip(times[:-1], times[1:], strict=True)):
        alpha, sigma = path.alpha(t), path.sigma(t)
        data = ((x - sigma * noise(x, t)) / alpha).clamp(-limit, limit)
        if i == len(times) - 2:
            return data
        pure = (x - alpha * data) / sigma  # the noise that belongs to the data as it was kept
        alpha_after, sigma_after = path.alpha(after), path.sigma(after)
        fresh = eta * sigma_after / sigma * (1.0 - (alpha / alpha_after).square()).clamp(min=0.0).sqrt()
        x = alpha_after * data + (sigma_after.square() - fresh.square()).clamp(min=0.0).sqrt() * pure
        if eta:
            x = x + temperature * fresh * torch.randn_like(x)
    return x


def restore(
    data: Field, path: Path, met: Callable[[Tensor], Tensor], noise: Tensor, times: Tensor, temperature: float = 1.0
) -> Tensor:
    """Draws pictures of which something is known: at each step it takes the place of what is predicted of it.

    For what is known by a linear map, as some of the pixels or their means over blocks are, this is the projection of
    Wang et al. (2023, DDNM, eq. 13). Noise is drawn anew at every step, so that the known and the rest come to fit each
    other (Lugmayr et al., 2022, without going back in time). The result follows p(rest | known) approximately.

    Arguments:
        data: Predicts x_1 from x_t.
        path: Of the model.
        met: The pictures that agree with what is known and are nearest to given ones; both of the shape of `noise`.
        noise: Standard normal, shape (B, C, H, W).
        times: Rising, shape (steps + 1,).
        temperature: Of the noise.
    """
    x = temperature * noise
    for i, (t, after) in enumerate(zip(times[:-1], times[1:], strict=True)):
        predicted = met(data(x, t))
        if i == len(times) - 2:
            break
        x = path.alpha(after) * predicted + temperature * path.sigma(after) * torch.randn_like(noise)
    return predicted


def with_means(x: Tensor, means: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The pictures nearest to x, (B, C, H, W), within bounds, whose blocks have these means, (B, C, H / k, W / k).

    All pixels of a block are moved by as much, and those that come to a bound stay there: how far is found by halving,
    since a sum clipped afterwards would not have the means.
    """
    factor, (low, high) = x.shape[2] // means.shape[2], bounds
    means = means.clamp(low, high)

    def moved(by: Tensor) -> Tensor:
        return (x + F.interpolate(by, scale_factor=float(factor), mode="nearest")).clamp(low, high)

    least, most = low - F.max_pool2d(x, factor), high + F.max_pool2d(-x, factor)
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        is_less = F.avg_pool2d(moved(middle), factor) < means
        least, most = torch.where(is_less, middle, least), torch.where(is_less, most, middle)
    return moved((least + most) / 2)
