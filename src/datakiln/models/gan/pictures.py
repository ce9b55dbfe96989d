"""What the adversarial models of pictures share: latents, labels, augmentation, the two sides' losses."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.models.base import scaled
from datakiln.models.gan.adversarial import AdversarialModel
from datakiln.models.gan.labels import known_accuracy, known_entropy
from datakiln.nets.conv import Conditional, Verdict, to_channels_last
from datakiln.nets.diffaugment import build_diffaugment
from datakiln.nets.losses import AdversarialLoss, r1_penalty
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

WAYS: tuple[Conditional, ...] = ("concatenation", "acgan", "projection")


class ImageGAN(AdversarialModel, abc.ABC):
    """Pictures from z ~ N(0, I), conditional on the class where that was asked for.

    Arguments:
        spec: What one picture looks like.
        generator: (z, y) to pictures.
        critic: (x, y) to a `Verdict`.
        loss: What either side minimises.
        latent_dim: Size of z.
        conditional: How the class comes in; see `way_of`.
        label_weight: Weight of the classes' cross-entropy in an auxiliary classifier GAN.
        r1: Weight gamma of the R1 penalty (Mescheder et al., 2018); 0 for none.
        diffaugment: Differentiable augmentations for small sets: some of "color", "translation", "cutout".
        channels_last: Whether weights and maps are laid out channels last, which is faster on most machines.
        **training: See `AdversarialModel`.
    """

    supports = frozenset({"image"})
    options = frozenset({"truncation"})
    doubles: ClassVar[bool] = True  # whether its nets reach the side of a picture by doubling
    class_shares: Tensor

    def __init__(
        self,
        spec: DataSpec,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        latent_dim: int,
        conditional: Conditional,
        label_weight: float = 1.0,
        r1: float = 0.0,
        diffaugment: Sequence[str] = (),
        channels_last: bool = True,
        **training: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        super().__init__(spec, generator, critic, **training)
        if r1 < 0:
            raise ValueError(f"r1={r1} must not be negative")
        if self.lazy > 1 and not r1 and type(self).penalties is ImageGAN.penalties:
            raise ValueError(f"lazy={self.lazy} spaces out a penalty, and there is none; set model.r1, or lazy=1")
        self.loss, self.latent_dim, self.way = loss, latent_dim, conditional
        self.label_weight, self.r1 = label_weight, r1
        self.augment = build_diffaugment(diffaugment)
        if conditional != "none":
            self.conditioning = "label"
        if channels_last:
            to_channels_last(generator)
            to_channels_last(critic)
        shares = torch.tensor(spec.class_shares or (1.0,), dtype=torch.float32)
        self.register_buffer("class_shares", shares, persistent=False)

    def latents(self, n: int) -> Tensor:
        """z, shape (n, latent_dim)."""
        return torch.randn(n, self.latent_dim, device=self.device)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of the given classes, or of classes drawn by their shares, shape (n, C, H, W)."""
        return self.decode(scaled(self.latents(n), options), condition)

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of these latents."""
        return self.decode(scaled(keys, options), condition)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Pictures of these latents, shape (B, C, H, W) and float32."""
        if self.way != "none" and y is None:
            y = torch.multinomial(self.class_shares, len(z), replacement=True)
        return self.generator(z, y).float()

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The critic's loss with its penalties, and what it makes of real and of generated pictures."""
        y = self._labels(batch)
        real = self.augment(batch.x)
        z = self.latents(len(batch.x))
        fake = self.augment(self.detached_fakes(z, y))
        of_real, of_fake, penalties = self.verdicts(real, fake, y)
        told = self.latent_losses(of_fake, z)
        loss = self.loss.critic(of_real.score, of_fake.score) + told.pop("loss", 0.0)
        figures = {**self._judged(of_real.score, of_fake.score), **penalties, **told}
        if y is not None and self.way == "acgan":
            assert of_real.logits is not None and of_fake.logits is not None
            figures |= known_accuracy("class_accuracy", of_real.logits, y)
            loss = loss + self.label_weight * (known_entropy(of_real.logits, y) + known_entropy(of_fake.logits, y))
        for penalty in penalties.values():
            loss = loss + self.lazy * penalty
        return {"loss": loss, **figures}

    def verdicts(self, real: Tensor, fake: Tensor, y: Tensor | None) -> tuple[Verdict, Verdict, dict[str, Tensor]]:
        """What the critic makes of real and of generated pictures, and the weighted penalties that are due."""
        of_real, of_fake = self.critic(real, y), self.critic(fake, y)
        return of_real, of_fake, self.penalties(real, fake, y) if self.is_penalty_due else {}

    def latent_losses(self, verdict: Verdict, z: Tensor) -> dict[str, Tensor]:
        """What both sides pay, beside their game, for what is told of a picture's latents: "loss", and figures."""
        return {}

    def judgement(self, batch: Batch) -> Tensor:
        """The critic's score of each picture, as it is."""
        return self.critic(batch.x, self._labels(batch)).score.flatten().float()

    def penalties(self, real: Tensor, fake: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        """Weighted penalties on the critic's gradients, by name."""
        if not self.r1:
            return {}
        return {"r1_penalty": self.r1 * r1_penalty(lambda x: self.critic(x, y).score, real)}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The generator's loss on as many fresh pictures, of the same classes."""
        y = self._labels(batch)
        z = self.latents(len(batch.x))
        verdict = self.critic(self.augment(self.generator(z, y)), y)
        real = None
        if self.loss.sees_real:
            with torch.no_grad():
                real = self.critic(self.augment(batch.x), y).score
        loss = self.loss.generator(verdict.score, real) + self.latent_losses(verdict, z).get("loss", 0.0)
        if y is not None and self.way == "acgan":
            assert verdict.logits is not None
            loss = loss + self.label_weight * known_entropy(verdict.logits, y)
        return {"loss": loss}

    def protect(self, clip: float, sigma: float, expected: float) -> None:
        """See `AdversarialModel`."""
        looks = {"model.r1": self.r1, "conditional=acgan": self.way == "acgan", "model.accumulate": self.accumulate > 1}
        wrong = next((option for option, is_on in looks.items() if is_on), None)
        if wrong is not None or self.loss.sees_real or type(self).penalties is not ImageGAN.penalties:
            told = f"privacy=dp_sgd: {type(self).__name__} has {wrong or 'a penalty'}, no mean over single pictures"
            raise UserError(f"{told}; take model=gan or model=cgan without it")
        super().protect(clip, sigma, expected)

    def made_up(self, n: int) -> Batch:
        """Labels in equal shares, and no pictures."""
        y = torch.multinomial(self.class_shares, n, replacement=True) if self.way != "none" else None
        return Batch(torch.zeros(n, *self.spec.shape, device=self.device), y)

    def _labels(self, batch: Batch) -> Tensor | None:
        return None if self.way == "none" else batch.y

    def _judged(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """How far apart the scores are, and the share of either kind that is taken for what it is."""
        real, fake = real.detach().float(), fake.detach().float()
        gap = real.mean() - fake.mean()
        if self.loss.sees_real:
            return {"score_gap": gap, "pair_accuracy": (real > fake).float().mean()}
        if self.loss.threshold is None:
            return {"wasserstein": gap}
        right = (real > self.loss.threshold).float().mean(), (fake <= self.loss.threshold).float().mean()
        return {"score_gap": gap, "real_accuracy": right[0], "fake_accuracy": right[1]}


def way_of(
    conditional: bool | str, own: Conditional, spec: DataSpec, ways: Sequence[Conditional] = WAYS
) -> tuple[Conditional, int]:
    """How the class comes in, and the number of classes (0 without).

    Arguments:
        conditional: False; True for the model's own way; or "concatenation", "acgan" or "projection".
        own: The model's own way.
        spec: Of the data.
        ways: Those that the model's nets know.

    Raises:
        UserError: An unknown way, or data without classes.
    """
    if not conditional:
        return "none", 0
    way = own if conditional is True else conditional
    if way not in ways:
        raise UserError(f"conditional={conditional} must be true, false, {', '.join(ways)}")
    if not spec.classes:
        raise UserError("conditional needs pictures with classes: subfolders of data.path, or a labelled data set")
    return way, len(spec.classes)  # type: ignore[return-value]
