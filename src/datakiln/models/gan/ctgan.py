"""CTGAN (Xu et al., 2019, https://arxiv.org/abs/1907.00503): a conditional Wasserstein GAN over mixed columns.

Each generated row is asked for one category of one discrete column; the critic sees real rows that have it. Sampling
goes beyond the paper: rows that lack what they were asked for are drawn again, so that a wanted category is delivered
and the other columns come with it. A missing cell or a spike is a state of its own that gates its value. The gradient
penalty is on the rows, not on the conditions, which real and generated rows share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.models.gan.adversarial import AdversarialModel
from datakiln.nets.conditional import Conditions
from datakiln.nets.ctgan import FoldedGenerator, PackedCritic, RowGenerator
from datakiln.nets.linear import is_faster_in_bf16
from datakiln.nets.losses import Wasserstein, between, far_from_one
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

PIECE = 2048  # rows made at a time, so that the layers stay in the processor's cache
FEW = 1024  # rows drawn again together at least: fewer cost hardly less
TRIES = 20  # a row that was asked for something is drawn again at most so often


class CTGAN(AdversarialModel):
    """Generator with Gumbel softmax, critic with gradient penalty on packs of rows, training by sampling.

    Arguments:
        spec: A table's spec, its numbers best as modes (`encoding=modes`).
        latent_dim: Size of z.
        generator_hidden: Widths of the generator's hidden layers.
        critic_hidden: Widths of the critic's hidden layers.
        pac: Rows the critic judges together; of a batch, the largest multiple of it is used.
        penalty: Weight of the gradient penalty.
        fast_sampling: Whether samples are worked out in bfloat16, which some processors do several times faster; None
            for yes where they do.
        **options: See `AdversarialModel`.
    """

    mixes = "balanced sampling and packs of rows, so that rare rows are seen more often"
    supports = frozenset({"table"})
    alone = "it draws its training rows by category itself, in packs"
    generator: RowGenerator
    critic: PackedCritic
    asked_at: Tensor

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 128,
        generator_hidden: Sequence[int] = (256, 256),
        critic_hidden: Sequence[int] = (256, 256),
        pac: int = 10,
        penalty: float = 10.0,
        fast_sampling: bool | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        for name, value in (("latent_dim", latent_dim), ("pac", pac)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        conditions = Conditions(spec.columns)
        generator = RowGenerator(spec.blocks, latent_dim, conditions.count, generator_hidden)
        critic = PackedCritic(spec.shape[0], conditions.count, pac, critic_hidden)
        super().__init__(spec, generator, critic, **options)
        self.conditions = conditions
        self.conditioning = "categories" if conditions.columns else "none"
        self.latent_dim, self.pac, self.penalty = latent_dim, pac, penalty
        self.fast_sampling = fast_sampling
        self.loss = Wasserstein()
        at = torch.searchsorted(generator.choices.at, conditions.segments.at)  # conditions among the choice positions
        self.register_buffer("asked_at", at, persistent=False)
        self._pool: Tensor | None = None

    def on_train_start(self) -> None:
        """Sorts the training rows by category."""
        x = getattr(self.trainer.train_dataloader, "x", None)
        if x is None:
            raise UserError("ctgan draws its training rows by category and needs them in memory; choose model=tvae")
        self._pool = x
        self.conditions.count_rows(x)

    def _conditions(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Real rows and conditions they meet: by sampling while training, else of the rows x; n a multiple of pac."""
        n = max(len(x) // self.pac, 1) * self.pac
        x = x if n == len(x) else x[torch.arange(n, device=x.device) % len(x)]
        if not self.conditions.columns:
            return x, None
        if not (self.training and self.conditions.is_counted):
            return x, self.conditions.of_rows(x)
        assert self._pool is not None
        condition = self.conditions.draw(n, by_log=True)
        return self._pool[self.conditions.rows(condition)], condition

    @property
    def rows_at_once(self) -> int:
        """Many: what is drawn again is drawn for many rows together. It works in pieces anyway."""
        return min(max(2**23 // self.spec.shape[0], 16), 32_768)

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.latent_dim, device=self.device)

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Wasserstein estimate and gradient penalty, over packs."""
        x, condition = self._conditions(batch.x)
        real = self.critic.pack(x)
        fake = self.critic.pack(self.detached_fakes(self._noise(len(x)), condition))
        twice = None if condition is None else torch.cat([condition, condition])
        loss = self.loss.critic(*self.critic(torch.cat([real, fake]), twice).chunk(2))
        if not self.is_penalty_due:
            return {"loss": loss, "distance": -loss}
        penalty = far_from_one(self.critic.slopes(between(real, fake), condition).float())
        return {"loss": loss + self.penalty * self.lazy * penalty, "distance": -loss, "penalty": penalty}

    def judgement(self, batch: Batch) -> Tensor:
        """The critic's score of packs that hold one row only, over and over."""
        x = batch.x.repeat_interleave(self.pac, dim=0)
        condition = self.conditions.of_rows(x) if self.conditions.columns else None
        return self.critic(self.critic.pack(x), condition).flatten()

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Wasserstein loss, and the cross-entropy of the category that was asked for."""
        n = max(len(batch.x) // self.pac, 1) * self.pac
        if self.training and self.conditions.is_counted:
            condition: Tensor | None = self.conditions.draw(n, by_log=True)
        else:
            condition = self._conditions(batch.x)[1]
        logits, values = self.generator.raw(self._noise(n), condition)
        loss = self.loss.generator(self.critic(self.critic.pack(self.generator.soften(logits, values)), condition))
        if condition is None:
            return {"loss": loss}
        log_p = self.generator.choices.log_softmax(logits)
        asked = -log_p.gather(1, self.asked_at[condition].unsqueeze(1)).mean()
        return {"loss": loss + asked, "asked": asked}

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Rows that meet what they are asked for: the given categories, or else one drawn by its training share.

        Of several given categories the generator is told the rarest. Numbers cannot be told; what a row was asked for
        and does not have after many tries is left to the caller to reject.
        """
        net = FoldedGenerator(self.generator, torch.bfloat16 if self._is_fast else torch.float32)
        if not self.conditions.columns:
            return self._made(net, n, None)
        wanted, told = self._wanted(n, condition)
        x = self._made(net, n, told)
        left, tries = torch.nonzero(~_meets(x, wanted)).squeeze(1), TRIES
        while len(left) and tries:
            times = min(max(FEW // len(left), 1), tries)  # several draws for each row at once, when few rows are left
            again = left.repeat_interleave(times)
            made = self._made(net, len(again), told[again])
            met = _meets(made, wanted[again]).view(-1, times)
            is_met = met.any(dim=1)
            first = torch.where(is_met, met.int().argmax(dim=1), times - 1)
            x[left] = made.view(-1, times, x.shape[1])[torch.arange(len(left), device=self.device), first]
            left, tries = left[~is_met], tries - times
        return x

    @property
    def _is_fast(self) -> bool:
        return is_faster_in_bf16(self.device) if self.fast_sampling is None else self.fast_sampling

    def _made(self, net: FoldedGenerator, n: int, told: Tensor | None) -> Tensor:
        """Rows (n, D), made in pieces whose sizes are powers of two: for every new size, kernels have to be made."""
        x = torch.empty(n, *self.spec.shape, device=self.device)
        for start in range(0, n, PIECE):
            rows = slice(start, min(start + PIECE, n))
            size = 1 << (rows.stop - start - 1).bit_length()
            condition = None if told is None else F.pad(told[rows], (0, size - (rows.stop - start)))
            logits, values = net.raw(self._noise(size), condition)
            x[rows] = self.generator.harden(logits, values)[: rows.stop - start]
        return x

    def _wanted(self, n: int, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Positions that must be 1 in each row, -1 for none, (n, K), and the category the generator is told, (n,)."""
        drawn, at = self.conditions.draw(n, by_log=False), self.conditions.segments.at
        if condition is None:
            return at[drawn].unsqueeze(1), drawn
        given = self.conditions.segments.take(condition).nan_to_num(0.0)
        rarest = self.conditions.rarest(given)
        told = torch.where(rarest < 0, drawn, rarest)
        places = at[self.conditions.segments.largest(given) + self.conditions.segments.first]
        wanted = torch.where(self.conditions.segments.sum(given) > 0, places, -1)
        wanted[:, 0] = torch.where(rarest < 0, at[drawn], wanted[:, 0])
        return wanted, told


def _meets(x: Tensor, wanted: Tensor) -> Tensor:
    """Which rows (B, D) are 1 at all their wanted positions (B, K), shape (B,)."""
    return ((x.gather(1, wanted.clamp(min=0)) == 1) | (wanted < 0)).all(dim=1)
