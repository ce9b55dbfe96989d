"""What the normalizing flows of pictures share: dequantisation, several scales, the bound and the way back.

With x a picture of levels 0 to 255, u in [0, 1) drawn from q(u | x), and p(v) the flow's exact density at v = x + u,

    log p(x) >= E_q[log p(x + u) - log q(u | x)]        (Ho et al., 2019, eq. 12).

A density of the levels themselves would grow without bound on each of them, and say nothing. Pictures of an odd side
have a row and a column of noise e beside them, which the flow maps as well (Huang et al., 2020,
https://arxiv.org/abs/2002.07101): log p(x) >= E_q[log p(x + u, e) - log q(u, e | x)].
"""

from __future__ import annotations

import abc
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.models.pictures import PictureModel
from datakiln.nets.couplings import ActNorm, Chain, Coupling, Invertible, log_normal
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

LEVELS = 256
HALF = (LEVELS - 1) / 2  # levels of a number in [-1, 1] are (x + 1) * HALF
WIDEST = 0.25  # most that `edge` may be
SMALLEST = 4  # side from which maps are not halved any more
LARGEST_GRADIENT = 10.0  # norm: a rare picture far from all others would undo many good steps
NOISE_STEPS = 2  # couplings of the flow that draws u


class PictureFlow(PictureModel, abc.ABC):
    """Couplings on maps that are halved from scale to scale, half of the channels leaving at each (Dinh et al., 2017).

    The loss is an upper bound on bits a dimension, given the class where the model is told it.

    Arguments:
        spec: A picture's spec, of any side from 2.
        steps: Of the flow at each scale.
        width: Hidden channels of the nets inside the couplings.
        dequantise: "variational", u drawn by a small flow that sees the picture, or "uniform".
        edge: Numbers in [0, 1] are brought to [edge, 1 - edge] before their logit is taken. By 0.05, as in the paper,
            all of black is a spike; the smaller it is, the wider black and white are spread. The default is that of
            runs from before it could be told, which do not say it; conf/model has a smaller one.
        **shared: See `PictureModel`.
    """

    options = frozenset({"temperature"})
    likelihood = "whole"
    directions = {"loss": "lower", "bits_per_dim": "lower"}
    begun: Tensor

    def __init__(
        self,
        spec: DataSpec,
        steps: int = 8,
        width: int = 64,
        dequantise: Literal["variational", "uniform", "none"] = "variational",
        edge: float = 0.05,
        **shared: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        super().__init__(spec, **shared)
        if dequantise not in ("variational", "uniform"):
            told = f"model.dequantise={dequantise}: pictures have {LEVELS} levels, on which a density has no bound"
            raise UserError(f"{told}; choose variational or uniform")
        if not 1e-6 <= edge <= WIDEST:
            raise ValueError(f"edge={edge} must be between 1e-6 and {WIDEST}")
        self.edge = edge
        channels, height, wide = spec.shape
        self.even = (channels, height + height % 2, wide + wide % 2)
        if steps < 1:
            raise ValueError(f"steps={steps} must be at least 1")
        self.scales = nn.ModuleList()
        side = self.even[1]
        while True:
            channels, side = 4 * channels, side // 2
            self.scales.append(Chain([part for i in range(steps) for part in self.step(channels, width, i)]))
            if side % 2 or side <= SMALLEST:
                break
            channels //= 2
        self.latent_dim = math.prod(self.even)
        self.noise = _Noise(spec.shape[0], width, self.classes) if dequantise == "variational" else None
        self.register_buffer("begun", torch.tensor(False))

    @abc.abstractmethod
    def step(self, channels: int, width: int, i: int) -> list[Invertible]:
        """The layers of step i at one scale."""

    @property
    def activations(self) -> int:
        """Those of a coupling's net at the largest map."""
        width: int = self.scales[0].layers[-1].middle.out_channels  # type: ignore[union-attr,assignment,index]
        return width * self.spec.shape[1] * self.spec.shape[2] // 4

    @torch.no_grad()
    def on_train_start(self) -> None:
        """Lets the first batch decide where scales and shifts begin, once."""
        if bool(self.begun):
            return
        batch = next(iter(self.trainer.train_dataloader)).to(self.device)  # type: ignore[arg-type]
        norms = [module for module in self.modules() if isinstance(module, ActNorm)]
        for norm in norms:
            norm.is_learning = True
        self.bound(batch.x, self.told(batch.y, len(batch.x)))
        for norm in norms:
            norm.is_learning = False
        self.begun.fill_(True)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """At the trainer's norm, where it has one, else at `LARGEST_GRADIENT`."""
        self.clip_gradients(optimizer, gradient_clip_val or LARGEST_GRADIENT, gradient_clip_algorithm or "norm")

    def forwards(self, v: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits v, (B, *even), to noise (B, C * H * W) and the log-determinant (B,)."""
        left, total, parts = v, v.new_zeros(len(v)), []
        for i, scale in enumerate(self.scales):
            left, log_det = scale(F.pixel_unshuffle(left, 2), y)
            total = total + log_det
            if i < len(self.scales) - 1:
                done, left = left.chunk(2, dim=1)
                parts.append(done.flatten(1))
        return torch.cat([*parts, left.flatten(1)], dim=1), total

    def backwards(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Inverse of `forwards`: noise to logits."""
        channels, height, wide = self.even
        shapes = []
        for i in range(len(self.scales)):
            channels, height, wide = 4 * channels, height // 2, wide // 2
            channels = channels // 2 if i < len(self.scales) - 1 else channels
            shapes.append((channels, height, wide))
        parts = [
            part.unflatten(1, shape)
            for part, shape in zip(z.split([math.prod(s) for s in shapes], 1), shapes, strict=True)
        ]
        left = parts[-1]
        for i in reversed(range(len(self.scales))):
            if i < len(self.scales) - 1:
                left = torch.cat([parts[i], left], dim=1)
            left = F.pixel_shuffle(self.scales[i].inverse(left, y), 2)  # type: ignore[operator]
        return left

    def log_density(self, v: Tensor, y: Tensor | None) -> Tensor:
        """Exact log-density of logits v, (B, *even), in nats, shape (B,)."""
        z, log_det = self.forwards(v, y)
        return log_normal(z) + log_det

    def bound(self, x: Tensor, y: Tensor | None) -> Tensor:
        """A draw of the bound on log p(x | y), x at level centres in [-1, 1]: in nats, shape (B,)."""
        level = ((x + 1.0) * HALF).round()
        w, log_q = self._drawn(x) if self.noise is None else self.noise(x, y, self.even)
        height, wide = x.shape[2:]
        inner = w[:, :, :height, :wide]  # the logit of u
        scale = (1.0 - 2.0 * self.edge) / LEVELS
        below = self.edge + scale * (level + torch.sigmoid(inner))
        above = self.edge + scale * (LEVELS - 1 - level + torch.sigmoid(-inner))  # 1 - below, where that would cancel
        v = below.log() - above.log()
        stretch = math.log(scale) - below.log() - above.log()
        if w.shape != v.shape:  # beside the picture stays what was drawn
            beside = torch.cat([v, w[:, :, :height, wide:]], dim=3)
            v = torch.cat([beside, w[:, :, height:]], dim=2)
        return self.log_density(v, y) + stretch.flatten(1).sum(dim=1) - log_q

    def _drawn(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of u ~ U(0, 1) with e ~ N(0, 1) beside them, (B, *even), and log q(u, e), shape (B,)."""
        height, wide = x.shape[2:]
        w = torch.randn(len(x), *self.even, device=x.device, dtype=x.dtype)
        inner = w[:, :, :height, :wide]
        log_q = log_normal(w) - log_normal(inner)
        inner.copy_(torch.rand_like(x).logit(1e-6))
        return w, log_q

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Bits a dimension, from noise that outside training is the same at every epoch."""
        y = self.told(batch.y, len(batch.x))
        if self.training:
            return {"loss": self._bits(self.bound(batch.x, y))}
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            bits = self._bits(self.bound(batch.x, y))
        return {"loss": bits, "bits_per_dim": bits}

    def _bits(self, log_prob: Tensor) -> Tensor:
        return -log_prob.mean() / (math.prod(self.spec.shape) * math.log(2))

    def log_prob(self, x: Tensor) -> Tensor:
        """A draw of the bound in nats, shape (B,); of a model that is told the class, summed over the classes."""
        if not self.classes:
            return self.bound(x, None)
        each = [self.bound(x, torch.full((len(x),), k, device=x.device)) for k in range(self.classes)]
        return (torch.stack(each, dim=1) + self.class_shares.log()).logsumexp(dim=1)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Noise, at the scale of a temperature, through the inverse flow; shape (n, C, H, W)."""
        return self.walk(torch.randn(n, self.latent_dim, device=self.device), condition, options)

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of these latents."""
        z = keys if options.temperature is None else options.temperature * keys
        height, wide = self.spec.shape[1:]
        inside = torch.sigmoid(self.backwards(z, self.wanted(condition, len(z)))[:, :, :height, :wide])
        level = ((inside - self.edge) / (1.0 - 2.0 * self.edge) * LEVELS).floor().clamp(0, LEVELS - 1)
        return level.nan_to_num(0.0) / HALF - 1.0

    def latents_of(self, batch: Batch) -> Tensor:
        """Noise of pictures in the middle of their levels, u = 1/2 and e = 0, from which `walk` gives them exactly."""
        level = ((batch.x + 1.0) * HALF).round()
        scale = (1.0 - 2.0 * self.edge) / LEVELS
        v = torch.log(self.edge + scale * (level + 0.5)) - torch.log(self.edge + scale * (LEVELS - level - 0.5))
        height, wide = batch.x.shape[2:]
        v = F.pad(v, (0, self.even[2] - wide, 0, self.even[1] - height))
        return self.forwards(v, self.told(batch.y, len(v)))[0]


class _Noise(nn.Module):
    """Draws u in (0, 1) for every number of a picture, by a flow that is told the picture (Ho et al., 2019, sec. 3.1).

    Arguments:
        channels: Of a picture.
        width: Hidden channels.
        classes: Number of classes; 0 for none.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        """See the class."""
        super().__init__()
        wide, context = 4 * channels, width // 2
        self.look = nn.Sequential(
            nn.Conv2d(wide, context, 3, padding=1), nn.SiLU(), nn.Conv2d(context, context, 3, padding=1)
        )
        couplings = [Coupling(wide, width, classes, context, is_other=bool(i % 2)) for i in range(2 * NOISE_STEPS)]
        self.flow = Chain([part for coupling in couplings for part in (ActNorm(wide), coupling)])

    def forward(self, x: Tensor, y: Tensor | None, even: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Draws for pictures (B, C, H, W) and labels (B,).

        Returns:
            The logit of u, with e beside it where a side is odd, shape (B, *even), and log q(u, e | x), shape (B,).
        """
        height, wide = x.shape[2:]
        x = F.pad(x, (0, even[2] - wide, 0, even[1] - height))
        noise = torch.randn_like(x)
        moved, log_det = self.flow(F.pixel_unshuffle(noise, 2), y, self.look(F.pixel_unshuffle(x, 2)))
        w = F.pixel_shuffle(moved, 2)
        inner = w[:, :, :height, :wide]
        squash = F.logsigmoid(inner) + F.logsigmoid(-inner)
        return w, log_normal(noise) - log_det - squash.flatten(1).sum(dim=1)
