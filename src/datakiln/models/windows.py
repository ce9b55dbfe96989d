"""What the models of whole windows share: a transformer over patches of steps that is told any cells.

Windows are cut into patches of steps (Nie et al., 2023, https://arxiv.org/abs/2211.14730), and noise turns to data
along a path; see `datakiln.nets.paths` for its symbols. In half of the training windows a random part is known: single
cells, runs of steps, or all up to a step; known cells enter as they are, beside a mask that says so, so that holes are
filled by the law of the data given what is there (Tashiro et al., 2021, https://arxiv.org/abs/2107.03502). Choices are
relaxed to real numbers.
"""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory, SchedulerFactory
from datakiln.nets.paths import Field, Path, between
from datakiln.nets.settling import settled
from datakiln.nets.transformer import HEADS, TransformerLayer
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

PLAIN_SHARE = 0.5  # of the training windows that nothing is known of
FOURIER = 16  # waves of the time
CLIP = 1.0


class WindowModel(LikelihoodModel, abc.ABC):
    """From noise to windows; the loss is the mean squared error of the prediction at the cells that are not known.

    Arguments:
        spec: A series of values and choices.
        width: Of the transformer.
        depth: Its layers.
        patch: Steps of a patch.
        steps: Of the sampler, unless `steps=` says otherwise when sampling.
        optimizer: See `LikelihoodModel`.
        scheduler: See `LikelihoodModel`.

    Attributes:
        path: From noise to data.
    """

    supports = frozenset({"series"})
    options = frozenset({"steps"})
    path: Path

    def __init__(
        self,
        spec: DataSpec,
        width: int = 96,
        depth: int = 3,
        patch: int = 4,
        steps: int = 16,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer, scheduler)
        if min(depth, patch, steps) < 1 or width < HEADS or width % HEADS:
            raise UserError(
                f"model.width={width} must be a multiple of {HEADS}, model.depth, patch and steps at least 1"
            )
        self.conditioning = "columns"
        length, cells = spec.shape
        self.patch, self.default_steps = patch, steps
        self.latent_dim = length * cells
        self.count = -(-length // patch)
        static = spec.columns[: spec.static]
        self.offset = static[-1].blocks[-1].stop if static else 0
        self.inputs = nn.Linear(3 * cells * patch, width)
        self.place = nn.Parameter(0.02 * torch.randn(self.count, width))
        self.time = nn.Sequential(nn.Linear(2 * FOURIER, width), nn.SiLU(), nn.Linear(width, width))
        self.transformer = nn.ModuleList([TransformerLayer(width) for _ in range(depth)])
        self.outputs = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, cells * patch))

    @abc.abstractmethod
    def times(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Times that are trained on, shape (n,), on the processor."""

    @abc.abstractmethod
    def target(self, x_1: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """What is to be predicted of data and noise (B, T, D) at times (B,)."""

    @abc.abstractmethod
    def solve(self, field: Field, x: Tensor, steps: int) -> Tensor:
        """From noise to data, both (n, T, D), in so many steps, by what is predicted at a point and a time."""

    def _patches(self, x: Tensor) -> Tensor:
        short = self.count * self.patch - x.shape[1]
        whole = nn.functional.pad(x, (0, 0, 0, short))
        return whole.view(len(x), self.count, -1)

    def predicted(self, x_t: Tensor, t: Tensor, known: Tensor, mask: Tensor) -> Tensor:
        """The target at windows (B, T, D) and times (B,), given the cells where `mask` is 1."""
        x_t = torch.where(mask > 0, known, x_t)
        told = torch.cat([self._patches(part) for part in (x_t, known * mask, mask)], dim=2)
        angles = t[:, None] * math.pi * torch.arange(1, FOURIER + 1, device=t.device)
        hidden = self.inputs(told) + self.place + self.time(torch.cat([angles.sin(), angles.cos()], dim=1))[:, None]
        for layer in self.transformer:
            hidden = layer(hidden)
        return self.outputs(hidden).view(len(x_t), -1, x_t.shape[2])[:, : x_t.shape[1]]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """At random times, the same in every validation."""
        x = batch.x
        generator = None if self.training else torch.Generator().manual_seed(0)
        noise = torch.randn(x.shape, generator=generator).to(x.device)
        t = self.times(len(x), generator).to(x.device)
        mask = self._masks(x, generator)
        x_t = between(self.path, x, noise, t)
        error = (self.predicted(x_t, t, x, mask) - self.target(x, noise, t)).square() * (1.0 - mask)
        count = processes.mean_of((1.0 - mask).sum(), len(x))
        return {"loss": error.sum() / count.clamp(min=1.0)}

    def _masks(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Which cells count as known, (B, T, D): none, single ones, runs of steps, or all steps up to one."""
        n, length, _ = x.shape
        kind = torch.rand(n, generator=generator).to(x.device)
        share = torch.rand(n, 1, generator=generator).to(x.device)
        at = torch.arange(length, device=x.device)
        cells = torch.rand(n, length, len(self.spec.columns), generator=generator).to(x.device) < share[:, :, None]
        first = (torch.rand(n, 1, generator=generator).to(x.device) * length).floor()
        hole = (at >= first) & (at < first + share * length)
        begun = at < share * length
        third = (1.0 - PLAIN_SHARE) / 3
        steps = torch.where((kind < PLAIN_SHARE + 2 * third)[:, None], ~hole, begun)[:, :, None].expand_as(cells)
        by_column = torch.where((kind < PLAIN_SHARE + third)[:, None, None], cells, steps)
        by_column = by_column & (kind >= PLAIN_SHARE)[:, None, None]
        by_column[:, :, : self.spec.static] = by_column[:, :1, : self.spec.static]  # which stand in every step
        widths = torch.tensor([c.blocks[-1].stop - c.blocks[0].start for c in self.spec.columns], device=x.device)
        return by_column.repeat_interleave(widths, dim=2).to(x.dtype)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Windows (n, T, D); of longer conditions one window after the other, half of each known of the one before."""
        length, cells = self.spec.shape
        if condition is None:
            condition = torch.full((n, length, cells), math.nan, device=self.device)
        if self.offset and condition.shape[1] > 1:
            told = condition[:, :1, : self.offset]
            condition = condition.clone()
            condition[:, :, : self.offset] = told
        size = condition.shape[1]
        x = condition.clone()
        stride = max(length // 2, 1)
        for begin in range(0, max(size, 1), stride):
            part = x[:, begin : begin + length]
            if begin and not bool(part.isnan().any()):
                continue
            made = self._window(n, part, options.steps or self.default_steps)
            if begin + length >= size:
                short = begin + length - size
                x = torch.cat([x[:, :begin], made[:, : length - short if size > length else length]], dim=1)
                break
            x[:, begin : begin + length] = made
        if self.offset:
            x[:, :, : self.offset] = x[:, :1, : self.offset]
        return x

    def _window(self, n: int, told: Tensor, steps: int) -> Tensor:
        """One window (n, T, D), met where it is told, (n, t, D) with NaN where free."""
        length, cells = self.spec.shape
        free = torch.full((n, length - told.shape[1], cells), math.nan, device=self.device)
        told = torch.cat([told, free], dim=1)
        if self.offset:
            told[:, :, : self.offset] = told[:, :1, : self.offset]
        mask = (~told.isnan()).float()
        known = told.nan_to_num(0.0)
        return self._solved(torch.randn(n, length, cells, device=self.device), known, mask, steps)

    def field(self, known: Tensor, mask: Tensor) -> Field:
        """What is predicted at windows (n, T, D) and one time, given the cells where `mask` is 1."""
        return lambda x, t: self.predicted(x, t.expand(len(x)), known, mask)

    def _solved(self, x: Tensor, known: Tensor, mask: Tensor, steps: int) -> Tensor:
        """Windows (n, T, D) of their noise, met where the mask is 1."""
        x = self.solve(self.field(known, mask), x, steps)
        if self.offset:  # drawn in every step, and one
            static = x[:, :, : self.offset].mean(dim=1, keepdim=True).expand(-1, x.shape[1], -1)
            x = torch.cat([static, x[:, :, self.offset :]], dim=2)
        return torch.where(mask > 0, known, settled(torch.where(mask > 0, known, x), self.spec.blocks))

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Windows (n, T, D) of this noise, (n, T * D), told nothing."""
        x = keys.view(-1, *self.spec.shape)
        nothing = torch.zeros_like(x)
        return self._solved(x, nothing, nothing, options.steps or self.default_steps)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips the gradient."""
        nn.utils.clip_grad_norm_(self.parameters(), CLIP)
