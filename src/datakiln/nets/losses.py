"""Losses and penalties of adversarial training, shared by every model of the family.

D(x) is the critic's score before any sigmoid; x = G(z) is a generated sample. Scores have shape (B,) and are taken in
float32, whatever precision made them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

Critic = Callable[[Tensor], Tensor]


class AdversarialLoss(abc.ABC):
    """What the critic minimises and what the generator minimises.

    Attributes:
        threshold: Score from which a sample counts as taken for real; None where scores have no natural zero.
        sees_real: Whether the generator's loss depends on the scores of real samples.
    """

    threshold: ClassVar[float | None] = 0.0
    sees_real: ClassVar[bool] = False

    @abc.abstractmethod
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss, a scalar, from its scores of real and of generated samples."""

    @abc.abstractmethod
    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """The generator's loss, a scalar, from the scores of its samples; of real ones too where it `sees_real`."""


@dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """Cross-entropy; the generator minimises -log sigmoid(D(G(z))) (Goodfellow et al., 2014, section 3).

    Attributes:
        smoothing: The target of real samples is 1 - smoothing, that of generated ones stays 0 (Salimans et al., 2016).
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuses a smoothing that would turn real into fake."""
        _check_smoothing(self.smoothing)

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Cross-entropy of telling real from generated."""
        real, fake = real.float(), fake.float()
        taken = F.softplus(-real) + self.smoothing * real  # = -(1 - s) log sigmoid(D) - s log(1 - sigmoid(D))
        return taken.mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """-log sigmoid(D(G(z))): a gradient where the critic is sure, unlike `Minimax`."""
        return F.softplus(-fake.float()).mean()


@dataclass(frozen=True)
class Minimax(NonSaturating):
    """The zero-sum game itself: the generator minimises log(1 - sigmoid(D(G(z)))) (Goodfellow et al., 2014, eq. 1)."""

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """log(1 - sigmoid(D(G(z)))), whose gradient vanishes when the critic is sure."""
        return -F.softplus(fake.float()).mean()


@dataclass(frozen=True)
class LeastSquares(AdversarialLoss):
    """Squared distance of scores from targets 1 (real) and 0 (generated) (Mao et al., 2017, eq. 9: a = 0, b = c = 1).

    Attributes:
        smoothing: The critic's target of real samples is 1 - smoothing.
    """

    threshold = 0.5
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuses a smoothing that would turn real into fake."""
        _check_smoothing(self.smoothing)

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the squared distances from the targets."""
        return 0.5 * (real.float() - (1.0 - self.smoothing)).square().mean() + 0.5 * fake.float().square().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Half the squared distance from the target of real samples."""
        return 0.5 * (fake.float() - 1.0).square().mean()


@dataclass(frozen=True)
class Wasserstein(AdversarialLoss):
    """Difference of mean scores (Arjovsky et al., 2017, eq. 2); the critic needs a Lipschitz constraint beside it."""

    threshold = None

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """The negative estimate of the distance."""
        return fake.float().mean() - real.float().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Mean score of generated samples, negated."""
        return -fake.float().mean()


@dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """Scores beyond a margin of 1 cost the critic nothing (Lim and Ye, 2017; Miyato et al., 2018, eq. 16 and 17)."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge of real scores below 1 and of generated ones above -1."""
        return F.relu(1.0 - real.float()).mean() + F.relu(1.0 + fake.float()).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Mean score of generated samples, negated."""
        return -fake.float().mean()


@dataclass(frozen=True)
class Relativistic(AdversarialLoss):
    """How much more real a real sample looks than a generated one (Jolicoeur-Martineau, 2019, eq. 5, its pairs)."""

    threshold = None
    sees_real = True

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log sigmoid(D(x) - D(G(z))) over pairs."""
        return F.softplus(fake.float() - real.float()).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """The same with the sides exchanged."""
        assert real is not None
        return F.softplus(real.float() - fake.float()).mean()


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """Mean squared distance of the critic's gradient norm from 1 between samples (Gulrajani et al., 2017, eq. 3).

    Arguments:
        critic: Samples of shape (B, *) to scores of shape (B,) or (B, 1).
        real: Samples in model space, shape (B, *).
        fake: Generator samples of the same shape; no gradient flows back to the generator.

    Returns:
        A scalar, not yet multiplied by the penalty weight.
    """
    return far_from_one(_gradients(critic, between(real, fake)))


def between(real: Tensor, fake: Tensor) -> Tensor:
    """A point drawn evenly from the line between each real and each generated sample, without their graphs."""
    share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device, dtype=real.dtype)
    return torch.lerp(fake.detach().to(real.dtype), real.detach(), share)


def far_from_one(gradients: Tensor) -> Tensor:
    """Mean squared distance from 1 of the norms of gradients (B, D)."""
    return (gradients.norm(2, dim=1) - 1.0).square().mean()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """Half the mean squared norm of the critic's gradient at real samples (Mescheder et al., 2018, eq. 9)."""
    return 0.5 * _gradients(critic, real.detach()).square().sum(dim=1).mean()


def _gradients(critic: Critic, x: Tensor) -> Tensor:
    x = x.requires_grad_(True)
    return slopes(critic(x), x)


def slopes(score: Tensor, x: Tensor) -> Tensor:
    """Gradients of each sample's score with respect to the sample, shape (B, D), differentiable once more."""
    (gradients,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradients.flatten(1).float()


def _check_smoothing(smoothing: float) -> None:
    if not 0.0 <= smoothing < 0.5:
        raise ValueError(f"model.label_smoothing={smoothing} must lie in [0, 0.5)")
