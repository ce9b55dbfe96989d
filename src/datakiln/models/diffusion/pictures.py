"""What the diffusion models of pictures share: a UNet that is told time and class, and how a trained one is asked."""

from __future__ import annotations

import abc
import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory
from datakiln.nets.linear import half_precision
from datakiln.nets.paths import Field, stratified
from datakiln.nets.unet import UNet
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

UNTOLD = 0.1  # share of training pictures whose class is hidden, so that one net learns both (Ho and Salimans, 2022)
SEED = 0  # of the times and the noise outside training, the same at every epoch, so that epochs compare


class DiffusionPictures(LikelihoodModel, abc.ABC):
    """Denoises pictures in model space, [-1, 1], told their class where there is one.

    Arguments:
        spec: A picture's spec.
        width: Channels of the net's largest map; see `UNet`.
        blocks: Residual blocks of each map.
        dropout: Share of hidden units left out while training.
        conditional: Whether the net is told the class, where there is one.
        guidance: How far samples are pushed towards their class unless asked otherwise; 0 not at all.
        sampling_steps: Steps of the sampler unless asked otherwise.
        warmup: Share of training in which the learning rate rises from 0; from there it falls to 0 along a cosine.
        bf16: Whether convolutions and products are in bfloat16; None for yes where the processor is faster with them.
        optimizer: See `LikelihoodModel`.
    """

    supports = frozenset({"image"})
    options = frozenset({"steps", "guidance", "temperature"})

    def __init__(
        self,
        spec: DataSpec,
        width: int = 64,
        blocks: int = 1,
        dropout: float = 0.0,
        conditional: bool = True,
        guidance: float = 0.0,
        sampling_steps: int = 10,
        warmup: float = 0.05,
        bf16: bool | None = None,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer)
        Sampling(steps=sampling_steps, guidance=guidance)
        if not 0.0 <= warmup < 1.0:
            raise ValueError(f"warmup={warmup} must lie in [0, 1)")
        self.guidance, self.sampling_steps, self.warmup, self.bf16 = guidance, sampling_steps, warmup, bf16
        classes = len(spec.classes) if conditional else 0
        self.conditioning = "label" if classes else "none"
        self.net = UNet(spec.shape, width, blocks, classes, dropout)
        shares = torch.tensor(spec.class_shares if classes else (1.0,), dtype=torch.float32)
        self.register_buffer("class_shares", shares, persistent=False)

    class_shares: Tensor

    def averaged(self) -> nn.Module:
        """The net."""
        return self.net

    @property
    def activations(self) -> int:
        """Those of the net's largest map."""
        return self.net.activations

    @property
    def is_told(self) -> bool:
        """Whether the net knows classes."""
        return self.conditioning == "label"

    def check_options(self, options: Sampling) -> None:
        """As for every model; and guidance needs a model that was told the class."""
        super().check_options(options)
        if options.guidance is not None and not self.is_told:
            told = f"guidance={options.guidance}: this {type(self).__name__} was not told the class, so nothing guides it"
            raise UserError(f"{told}; leave guidance= out, or train with model.conditional=true on labelled pictures")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One loss, at the rate that the share of training done gives."""
        rate = cosine_rate(self.progress, self.warmup)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = rate * group["initial_lr"]
        return super().training_step(batch, batch_idx)

    def _noise_and_ranks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of the shape of x and a rank in [0, 1] for the time of each, the same at every call outside training."""
        generator = None if self.training else torch.Generator(x.device).manual_seed(SEED)
        ranks = stratified(len(x), x.device, generator)
        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype), ranks

    def _labels(self, batch: Batch) -> Tensor | None:
        """What the net is told of a batch, some of it hidden while training."""
        if not self.is_told or batch.y is None:
            return None
        if not self.training:
            return batch.y
        return torch.where(torch.rand(len(batch.y), device=batch.y.device) < UNTOLD, -1, batch.y)

    def field(self, y: Tensor | None, guidance: float) -> Field:
        """What the net predicts for pictures of these classes, pushed beyond them (Ho and Salimans, 2022, eq. 6)."""

        def predicted(x: Tensor, t: Tensor) -> Tensor:
            times = t.expand(len(x))
            if not guidance or y is None:
                return self.net(x, times, y).float()
            both = self.net(torch.cat([x, x]), times.repeat(2), torch.cat([y, torch.full_like(y, -1)]))
            told, untold = both.float().chunk(2)
            return told + guidance * (told - untold)

        return predicted

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Noise turned to pictures of the given classes, or of classes drawn by their shares, shape (n, C, H, W)."""
        y = condition
        if self.is_told and y is None:
            y = torch.multinomial(self.class_shares, n, replacement=True)
        temperature = 1.0 if options.temperature is None else options.temperature
        x = temperature * torch.randn(n, *self.spec.shape, device=self.device)
        guidance = self.guidance if options.guidance is None else options.guidance
        with self._precision():
            made = self.solve(self.field(y, guidance), x, options.steps or self.sampling_steps)
        low, high = self.spec.bounds
        return made.clamp(low, high)

    def _precision(self) -> AbstractContextManager[None]:
        return half_precision(self.device, self.bf16)

    @abc.abstractmethod
    def solve(self, field: Field, x: Tensor, steps: int) -> Tensor:
        """From noise to data in so many steps.

        Arguments:
            field: What the net predicts at a point and a time.
            x: Noise in model space, shape (B, C, H, W).
            steps: At least 1.
        """


def cosine_rate(progress: float, warmup: float) -> float:
    """Factor of the learning rate: rising for a share of training, then half a cosine down to 0."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * min((progress - warmup) / (1.0 - warmup), 1.0)))
