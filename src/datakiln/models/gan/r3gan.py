"""R3GAN: a relativistic game with both gradient penalties and no tricks (Huang et al., 2024, arXiv 2501.05441).

Smaller than the paper's nets: one residual block a map instead of two, and none at the picture's own size, which a
strided convolution leads from and to.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.conv import SLOPE, Conditional, CriticHead, Verdict, bound, channels, one_hot
from datakiln.nets.losses import Relativistic, slopes
from datakiln.spec import DataSpec, doublings

WAYS: tuple[Conditional, ...] = ("projection", "acgan")


class R3GAN(ImageGAN):
    """The relativistic loss on pairs, R1 at real and R2 at generated pictures; plain residual nets without any norm.

    Every example is paired with a generated one, so that a critic cannot be content with half the space, and both
    penalties together make the game converge locally (section 2). Their weight falls over training along a cosine.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        blocks: Residual blocks of each map.
        gamma: Weight of both penalties at the beginning.
        gamma_end: The same at the end of training.
        conditional: False, true (projection) or "acgan"; see `way_of`.
        saturates: Whether pictures end in a plain hyperbolic tangent, as of checkpoints that do not say. Without any
            norm that of pictures which are mostly black is soon flat everywhere, and nothing is learnt any more; false:
            its gradients find back (`Bound`). The paper's pictures are bounded by nothing, but then a background is
            never quite black.
        **options: See `ImageGAN`; its `r1` would be a third penalty, and is refused.
    """

    mixes = "penalties on the critic's gradients, which are not of one picture"
    remedy = "raise model.gamma, or lower the rates (model.critic_optimizer.lr, model.generator_optimizer.lr)"

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 64,
        width: int = 64,
        blocks: int = 1,
        gamma: float = 1.0,
        gamma_end: float = 0.1,
        conditional: bool | str = False,
        saturates: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if options.get("r1"):
            raise ValueError(f"r1={options['r1']}: R3GAN weighs its R1 and R2 by gamma; set model.gamma")
        for name, value in (("gamma", gamma), ("gamma_end", gamma_end)):
            if value <= 0:
                raise ValueError(f"model.{name}={value} must be above 0: without penalties the game does not converge")
        if blocks < 1:
            raise ValueError(f"model.blocks={blocks} must be at least 1")
        way, classes = way_of(conditional, "projection", spec, WAYS)
        generator = ResidualGenerator(spec.shape, latent_dim, width, blocks, classes, saturates)
        critic = ResidualCritic(spec.shape, width, blocks, classes, way)
        super().__init__(spec, generator, critic, Relativistic(), latent_dim, way, **options)
        self.gamma, self.gamma_end = gamma, gamma_end

    @property
    def weight(self) -> float:
        """Gamma now."""
        share = 0.5 * (1.0 + math.cos(math.pi * self.progress)) if self._trainer is not None else 1.0
        return self.gamma_end + (self.gamma - self.gamma_end) * share

    def verdicts(self, real: Tensor, fake: Tensor, y: Tensor | None) -> tuple[Verdict, Verdict, dict[str, Tensor]]:
        """Both kinds in one pass, whose scores the penalties (section 2, gamma / 2 times either) differentiate too."""
        due, n = self.is_penalty_due, len(real)
        x = torch.cat([real, fake.to(real.dtype)]).requires_grad_(due)
        verdict = self.critic(x, None if y is None else torch.cat([y, y]))
        of_real, of_fake = verdict.rows(slice(None, n)), verdict.rows(slice(n, None))
        if not due:
            return of_real, of_fake, {}
        norms = 0.5 * self.weight * slopes(verdict.score, x).square().sum(dim=1)
        return of_real, of_fake, {"r1_penalty": norms[:n].mean(), "r2_penalty": norms[n:].mean()}

    def penalties(self, real: Tensor, fake: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        """R1 and R2 by themselves."""
        return self.verdicts(real, fake, y)[2]


class ResidualBlock(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1, added to the input (section 3.4, configuration D).

    The paper's last step, groups of 16 channels in a block twice as wide, is slow on a processor, where the second
    derivative of a grouped convolution, which penalties need, is taken group by group. Without a norm, weights are
    small enough for as many blocks to add up to a map of the same size, and the last is 0 (Zhang et al., 2019, Fixup).

    Arguments:
        width: Channels.
        depth: Blocks of the whole net.
    """

    def __init__(self, width: int, depth: int) -> None:
        """See the class."""
        super().__init__()
        self.first = nn.Conv2d(width, width, 1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, width, 1, bias=False)
        for conv in (self.first, self.second):
            rectified(conv, depth**-0.25)
        nn.init.zeros_(self.third.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        inner = F.leaky_relu(self.second(F.leaky_relu(self.first(x), SLOPE)), SLOPE)
        return x + self.third(inner)


def rectified(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> None:
    """Weights that keep the size of what goes through them and a leaky rectifier (He et al., 2015), times a gain."""
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    with torch.no_grad():
        layer.weight.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _stages(shape: tuple[int, ...], width: int) -> tuple[int, list[int]]:
    """Side of the smallest map, and channels of every map from it to half the picture's size."""
    base, count = doublings(shape[1])
    return base, channels(width, count)


class ResidualGenerator(nn.Module):
    """A learnt smallest map whose channels z scales, then blocks, each map twice as large by linear interpolation.

    Arguments:
        shape: (C, H, W) of a picture.
        latent_dim: Size of z.
        width: Channels of the largest map.
        blocks: Of each map.
        classes: Number of classes that z is joined with; 0 for an unconditional net.
        saturates: See `R3GAN`.
    """

    def __init__(
        self, shape: tuple[int, ...], latent_dim: int, width: int, blocks: int, classes: int, saturates: bool = True
    ) -> None:
        """See the class."""
        super().__init__()
        self.saturates = saturates
        base, maps = _stages(shape, width)
        self.classes = classes
        self.basis = nn.Parameter(torch.randn(maps[0], base, base))
        self.modulate = nn.Linear(latent_dim + classes, maps[0], bias=False)
        rectified(self.modulate)
        depth = blocks * len(maps)
        self.stages = nn.ModuleList(nn.Sequential(*(ResidualBlock(c, depth) for _ in range(blocks))) for c in maps)
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(maps, maps[1:], strict=False))
        self.output = nn.ConvTranspose2d(maps[-1], shape[0], 4, 2, 1)
        for conv in self.narrow:
            nn.init.normal_(conv.weight, 0.0, conv.in_channels**-0.5)  # type: ignore[arg-type, operator]
        nn.init.normal_(self.output.weight, 0.0, (4 * maps[-1]) ** -0.5)  # a pixel is a sum over 4 places

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z, shape (B, latent_dim), and labels (B,) to pictures (B, C, H, W)."""
        if self.classes:
            z = torch.cat([z, one_hot(y, self.classes, z)], dim=1)
        x = self.basis * self.modulate(z)[:, :, None, None]
        for i, stage in enumerate(self.stages):
            if i:
                x = F.interpolate(self.narrow[i - 1](x), scale_factor=2.0, mode="bilinear")
            x = stage(x)
        x = self.output(x)
        return torch.tanh(x) if self.saturates else bound(x)


class ResidualCritic(nn.Module):
    """The generator turned around: blocks, each map half the one before, and one weight for every place of the last.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the first map.
        blocks: Of each map.
        classes: Number of classes; 0 for an unconditional net.
        conditional: How they come in: see `CriticHead`.
    """

    def __init__(self, shape: tuple[int, ...], width: int, blocks: int, classes: int, conditional: Conditional) -> None:
        """See the class."""
        super().__init__()
        base, maps = _stages(shape, width)
        maps = maps[::-1]
        depth = blocks * len(maps)
        self.input = nn.Conv2d(shape[0], maps[0], 4, 2, 1)
        self.stages = nn.ModuleList(nn.Sequential(*(ResidualBlock(c, depth) for _ in range(blocks))) for c in maps)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(maps, maps[1:], strict=False))
        self.basis = nn.Parameter(torch.randn(maps[-1], base, base) / base)
        self.head = CriticHead(maps[-1], classes, conditional, offset=False)
        for layer in (self.input, *self.widen):
            inputs = layer.weight[0].numel()  # type: ignore[index, operator, union-attr]
            nn.init.normal_(layer.weight, 0.0, inputs**-0.5)  # type: ignore[arg-type]
        for part in self.head.children():
            nn.init.normal_(part.weight, 0.0, maps[-1] ** -0.5)  # type: ignore[arg-type]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), and labels (B,) to a verdict."""
        x = self.input(x)
        for i, stage in enumerate(self.stages):
            if i:
                x = self.widen[i - 1](F.avg_pool2d(x, 2))  # what linear interpolation to half the side is
            x = stage(x)
        return self.head((x * self.basis).sum(dim=(2, 3)), y)
