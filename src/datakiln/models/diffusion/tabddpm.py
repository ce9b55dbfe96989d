"""TabDDPM (Kotelnikov et al., 2023, https://arxiv.org/abs/2209.15421): Gaussian and multinomial diffusion side by side.

Notation: a_t is the share of the signal left after t of T steps (cosine schedule). Numbers: x_t = sqrt(a_t) x_0 +
sqrt(1 - a_t) noise (Ho et al., 2020). Categories: x_t is x_0 with probability a_t and else uniform (Hoogeboom et al.,
2021). One net predicts the noise of the numbers and the logits of p(x_0 | x_t) of the categories.

Departures, so that sampling needs tens of strides and not T steps: the reverse step of a category is the mixture of
q(x_s | x_t, x_0) over p(x_0 | x_t) (Austin et al., 2021, eq. 4), and numbers follow the probability flow; both stay
right over long strides. So that training needs minutes: the net's output is added to what x_t itself says of its own
column, the noise of a standard normal number or the logits log q(x_t | x_0) of a category, and the net is left with the
relations. A value behind a closed gate is standard normal noise throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory, SchedulerFactory
from datakiln.nets.denoiser import Denoiser, cosine_alpha_bar
from datakiln.nets.rows import Rows
from datakiln.nets.segments import Segments
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

SCALE = 3.0  # encodings put a third of a unit variance into model space
LIMIT = 6.0  # predicted numbers, in standard deviations: the noise leaves them undetermined at first
TINY = 1e-30


class TabDDPM(LikelihoodModel):
    """Denoising diffusion over numbers and one-hot categories.

    While training the loss is the paper's: mean squared error of the predicted noise over the numbers, plus the mean KL
    divergence of the reverse process over the category columns. Outside training it is the variational bound on
    -log p(row) in nats.

    Arguments:
        spec: A table's spec, its numbers best as normal scores (`encoding=quantile` or `dequantised`).
        hidden: Widths of the net's hidden layers.
        steps: T, noise steps of the process.
        sampling_steps: How many of them sampling visits.
        dropout: Share of hidden units left out while training.
        conditional: Whether the net is told the label, where there is one.
        optimizer: See `LikelihoodModel`.
        scheduler: See `LikelihoodModel`.
    """

    is_mean = True
    supports = frozenset({"table"})
    options = frozenset({"steps"})
    directions = {"loss": "lower", "gaussian": "lower", "multinomial": "lower"}
    value_at: Tensor
    gate_at: Tensor
    a: Tensor
    visits: Tensor
    sizes: Tensor
    uniform: Tensor

    def __init__(
        self,
        spec: DataSpec,
        hidden: Sequence[int] = (512, 512),
        steps: int = 1000,
        sampling_steps: int = 50,
        dropout: float = 0.0,
        conditional: bool = True,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer, scheduler)
        if not 1 <= sampling_steps <= steps:
            raise ValueError(f"sampling_steps={sampling_steps} must lie between 1 and steps={steps}")
        self.T, self.sampling_steps = steps, sampling_steps
        self.rows = Rows(spec, conditional)
        self.conditioning = "label" if self.rows.classes else "none"
        self.choices = Segments(self.rows.blocks)
        values = [block for block in self.rows.blocks if block.kind == "value"]
        self.n_values = len(values)
        gates = [self.rows.width if block.gate is None else block.gate for block in values]
        self.register_buffer("value_at", torch.tensor([b.start for b in values], dtype=torch.long), persistent=False)
        self.register_buffer("gate_at", torch.tensor(gates, dtype=torch.long), persistent=False)
        self.register_buffer("a", cosine_alpha_bar(steps), persistent=False)
        self.register_buffer("visits", _visits(self.a), persistent=False)
        sizes = self.choices.member.sum(dim=0)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("uniform", self.choices.spread((1.0 / sizes)[None])[0], persistent=False)
        width = self.n_values + len(self.choices.at)
        self.denoiser = Denoiser(width, width, hidden, self.rows.classes, dropout)

    def averaged(self) -> nn.Module:
        """The net."""
        return self.denoiser

    def _predict(self, v: Tensor, c: Tensor, t: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Noise of the numbers, logits of p(x_0 | x_t): what the column's own x_t says and what the net adds."""
        out = self.denoiser(torch.cat([v, c], dim=1), t / self.T, y)
        a = self.a[t, None]
        noise = (1 - a).sqrt() * v + a.sqrt() * out[:, : self.n_values]
        own = a * c + (1 - a) * self.uniform  # q(x_t | x_0) as a function of x_0
        return noise, own.log() + out[:, self.n_values :]

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of unit variance with noise behind closed gates, one-hot categories, log-density of that noise."""
        x = self.rows.take(x)
        gate = torch.cat([x, x.new_ones(len(x), 1)], dim=1)[:, self.gate_at]
        fill = torch.randn_like(gate)
        v = torch.where(gate > 0, SCALE * x[:, self.value_at], fill)
        log_fill = torch.where(gate > 0, -math.log(SCALE), -0.5 * fill.square() - 0.5 * math.log(2 * math.pi))
        return v, self.choices.take(x), log_fill.sum(dim=1)

    def _noised(self, v: Tensor, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy numbers, their noise, noisy categories; a has shape (B, 1)."""
        noise = torch.randn_like(v)
        keep = torch.rand(len(v), self.choices.count, device=v.device) < a
        c_t = torch.where(self.choices.spread(keep.float()) > 0, c, self._uniform_draw(len(v)))
        return a.sqrt() * v + (1 - a).sqrt() * noise, noise, c_t

    def _uniform_draw(self, n: int) -> Tensor:
        picks = torch.rand(n, self.choices.count, device=self.device) * self.sizes
        return self.choices.one_hot(torch.minimum(picks, self.sizes - 1).long())

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss and its two parts: as trained, or the bound in nats a row; see the class."""
        v, c, log_fill = self._split(batch.x)
        t, weight = self._times(len(v))
        a_s, a_t = self.a[t - 1, None], self.a[t, None]
        v_t, noise, c_t = self._noised(v, c, a_t)
        predicted, logits = self._predict(v_t, c_t, t, batch.y)
        kl = self._step_kl(c, c_t, logits, a_s, a_t)
        if self.training:
            gaussian = (predicted - noise).square().mean() if self.n_values else v.new_zeros(())
            multinomial = self.T * kl.mean() if self.choices.count else v.new_zeros(())
            return {"loss": gaussian + multinomial, "gaussian": gaussian, "multinomial": multinomial}
        steps = self._gaussian_kl(predicted - noise, a_s, a_t).sum(dim=1)
        gaussian = (weight * steps + log_fill + self._prior_kl(v)).mean()
        multinomial = (weight * kl.sum(dim=1)).mean()
        return {"loss": gaussian + multinomial, "gaussian": gaussian, "multinomial": multinomial}

    def _times(self, n: int) -> tuple[Tensor, Tensor]:
        """Steps t from 1 to T spread evenly over a batch, and the weights that make their mean the sum over all t.

        Outside training half of them are spread over the logarithm of the signal-to-noise ratio, where the bound of the
        numbers varies.
        """
        first, whole = processes.part(n)
        order = torch.randperm(whole, device=self.device)[first : first + n]
        at = (order + torch.rand(1, device=self.device)) / whole
        if self.training:
            return (at * self.T).long().clamp(max=self.T - 1) + 1, at.new_full((n,), self.T)
        t = torch.searchsorted(self.visits.cumsum(0), at).clamp(max=self.T - 1)
        return t + 1, 1.0 / self.visits[t]

    def _step_kl(self, c: Tensor, c_t: Tensor, logits: Tensor, a_s: Tensor, a_t: Tensor) -> Tensor:
        """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) by column, shape (B, C); at s = 0 it is -log p(x_0 | x_1)."""
        ahead = (a_t / a_s) * c_t + (1 - a_t / a_s) * self.uniform
        target = ahead * (a_s * c + (1 - a_s) * self.uniform)
        target = target / self.choices.spread(self.choices.sum(target)).clamp(min=TINY)
        reverse = self._reverse(c_t, logits, a_s, a_t)
        kl = torch.where(target > 0, target * (target.clamp(min=TINY).log() - reverse.clamp(min=TINY).log()), 0.0)
        return self.choices.sum(kl) * self.choices.sum(c)  # a category never seen in training counts nothing

    def _reverse(self, c_t: Tensor, logits: Tensor, a_s: Tensor, a_t: Tensor) -> Tensor:
        """p(x_s | x_t), shape (B, P): q(x_s | x_t, x_0) averaged over the predicted p(x_0 | x_t)."""
        ahead = (a_t / a_s) * c_t + (1 - a_t / a_s) * self.uniform  # q(x_t | x_s) as a function of x_s
        floor = (1 - a_s) * self.uniform
        evidence = a_s * ahead + floor * self.choices.spread(self.choices.sum(ahead))  # q(x_t | x_0)
        weight = self.choices.softmax(logits) / evidence
        return ahead * (a_s * weight + floor * self.choices.spread(self.choices.sum(weight)))

    def _gaussian_kl(self, noise_error: Tensor, a_s: Tensor, a_t: Tensor) -> Tensor:
        """KL of the reverse step of each number, (B, V); at s = 0 -log p(x_0 | x_1), of variance (1 - a_1) / a_1."""
        snr_t = a_t / (1 - a_t)
        snr_s = a_s / (1 - a_s).clamp(min=TINY)
        last = 0.5 * (noise_error.square() + math.log(2 * math.pi) - snr_t.log())
        return torch.where(a_s < 1, 0.5 * (snr_s / snr_t - 1) * noise_error.square(), last)

    def _prior_kl(self, v: Tensor) -> Tensor:
        """What of the numbers is left after T steps, in nats, shape (B,); of categories nothing is."""
        a = self.a[-1]
        return 0.5 * (a * v.square() - a - torch.log1p(-a)).sum(dim=1)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Backwards from noise in `sampling_steps` strides; labels that are not given are drawn by their shares."""
        y = self.rows.labels(condition, n) if self.rows.classes else None
        v, c = torch.randn(n, self.n_values, device=self.device), self._uniform_draw(n)
        strides = options.steps or self.sampling_steps
        if strides > self.T:
            raise UserError(f"steps={strides}: TabDDPM has {self.T} steps to visit; give at most as many")
        times = torch.linspace(self.T, 0, strides + 1, device=self.device).round().long()
        before: tuple[Tensor, Tensor] | None = None
        for t, s in zip(times[:-1], times[1:], strict=True):
            noise, logits = self._predict(v, c, t[None], y)
            a_s, a_t = self.a[s], self.a[t]
            clean = ((v - (1 - a_t).sqrt() * noise) / a_t.sqrt()).clamp(-LIMIT, LIMIT)
            v, before = _flow_step(v, clean, before, a_s, a_t)
            c = self.choices.one_hot(self.choices.draw(self._reverse(c, logits, a_s, a_t)))
        x = v.new_zeros(n, self.rows.width).index_copy_(1, self.choices.at, c)
        gate = torch.cat([x, x.new_ones(n, 1)], dim=1)[:, self.gate_at]
        return self.rows.put(x.index_copy_(1, self.value_at, v / SCALE * gate), y)


def _flow_step(
    v: Tensor, clean: Tensor, before: tuple[Tensor, Tensor] | None, a_s: Tensor, a_t: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One stride of the numbers along the probability flow, and what the next one needs of it.

    DPM-Solver++(2M) (Lu et al., 2022, algorithm 2): a stride of the plain reverse process loses the variance of x_0
    given x_t, which makes columns too narrow when strides are long.

    Arguments:
        v: Numbers at t.
        clean: Prediction of x_0 from them.
        before: The same at the stride before, and the length of that stride in half the log signal-to-noise ratio.
        a_s: Share of the signal at the end of the stride.
        a_t: Share of the signal at t.
    """
    if a_s == 1:
        return clean, (clean, a_s)
    length = 0.5 * (torch.log(a_s / (1 - a_s)) - torch.log(a_t / (1 - a_t)))
    towards = clean if before is None else clean + 0.5 * length / before[1] * (clean - before[0])
    moved = ((1 - a_s) / (1 - a_t)).sqrt() * v - a_s.sqrt() * torch.expm1(-length) * towards
    return moved, (clean, length)


def _visits(a: Tensor) -> Tensor:
    """How often the bound looks at each step, shape (T,): half evenly, half by the fall of the log signal-to-noise."""
    ratio = torch.log(a[1:]) - torch.log1p(-a[1:])
    fall = torch.cat([ratio[:1].abs(), ratio[:-1] - ratio[1:]])
    return 0.5 / len(fall) + 0.5 * fall / fall.sum()
