"""InfoGAN (Chen et al., 2016, https://arxiv.org/abs/1606.03657): latent codes that can be read off the pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln import processes
from datakiln.models.gan.pictures import ImageGAN
from datakiln.nets.conv import SLOPE, ConvCritic, ConvGenerator, CriticHead, Verdict, small_normal
from datakiln.nets.linear import Linear
from datakiln.nets.losses import NonSaturating
from datakiln.nets.moving import moved
from datakiln.spec import Batch, DataSpec

READER = 128  # units of the layer between the critic's features and what is read off them (appendix C.1)


class InfoGAN(ImageGAN):
    """A DCGAN some of whose latents are codes, with a bound on their information in the picture maximised (eq. 5).

    Latents are standard normal throughout, so that they can be walked through as those of any other model: the codes
    are functions of the last ones. A categorical code is the place of the largest of its latents, a continuous one
    2 Phi(z) - 1, even on [-1, 1]. What is read off pictures shares the critic's layers and is trained with it, on
    generated pictures alone; no label is ever looked at but to say how well the code agrees with it.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Latents that are no code.
        codes: Sizes of the categorical codes.
        continuous: Number of continuous codes.
        width: Channels of the largest map of either net.
        hidden: Units of the layer between maps and latents in the generator, and between maps and what is told of them
            in the critic (appendix C.1); None for no such layers, as in checkpoints of before. Without them a code is
            taken for where strokes are, not for which digit they make.
        information: Weight of the bound of the categorical codes (lambda in eq. 6).
        slope: The same of the continuous codes.
        invariance: Weight of what the first code of a real picture tells of that of the same picture turned, sheared,
            scaled and shifted a little (invariant information clustering: Ji et al., 2019,
            https://arxiv.org/abs/1807.06653, eq. 3; in an InfoGAN: Ojha et al., 2020,
            https://arxiv.org/abs/1910.01112); 0 for the paper's own loss. With it a code stands for what such changes
            leave as it is, and no label is needed for that.
        **options: See `ImageGAN`.

    Attributes:
        latent_dim: All latents, codes included.
    """

    mixes = "BatchNorm, which mixes the pictures of a batch"
    directions = {"code_accuracy": "higher", "information": "higher", "shared_information": "higher"}
    reads_labels = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 62,
        codes: Sequence[int] = (10,),
        continuous: int = 2,
        width: int = 64,
        hidden: int | None = None,
        information: float = 1.0,
        slope: float = 0.1,
        invariance: float = 0.0,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if any(size < 2 for size in codes) or continuous < 0 or not (len(codes) or continuous):
            told = f"model.codes={list(codes)}, model.continuous={continuous}"
            raise ValueError(f"{told}: codes have at least 2 values, and one code there must be; try codes=[10]")
        if invariance < 0 or (invariance and not codes):
            raise ValueError(f"model.invariance={invariance} must not be negative, and needs a categorical code")
        self.codes, self.continuous = tuple(codes), continuous
        self.free = latent_dim
        total = latent_dim + sum(codes) + continuous
        generator = CodeGenerator(spec.shape, latent_dim, self.codes, continuous, width, hidden)
        critic = ReadingCritic(spec.shape, width, hidden, sum(codes), continuous)
        super().__init__(spec, generator, critic, NonSaturating(), total, "none", **options)
        self.information, self.slope, self.invariance = information, slope, invariance
        self.seen: dict[str, Tensor] = {}  # how often which code met which label, by stage

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Also what the code of real pictures tells of that of the same ones moved, where that has a weight."""
        found = super().critic_losses(batch)
        if self.invariance:
            read = self.critic(torch.cat([batch.x, moved(batch.x)])).told.float()
            shares = read[:, : self.codes[0]].softmax(dim=1)
            shared = shared_information(*shares.chunk(2))
            found = {**found, "loss": found["loss"] - self.invariance * shared, "shared_information": shared}
        return found

    def latent_losses(self, verdict: Verdict, z: Tensor) -> dict[str, Tensor]:
        """The weighted bound, negated, and what it says of the categorical codes in nats: at most their entropy."""
        assert verdict.told is not None
        read = verdict.told.float()
        code = self.generator.code(z)[:, self.free :].float()  # type: ignore[operator, union-attr]
        known, loss = read.new_zeros(()), read.new_zeros(())
        start = 0
        for size in self.codes:
            at = slice(start, start + size)
            known = known + math.log(size) + (code[:, at] * F.log_softmax(read[:, at], dim=1)).sum(dim=1).mean()
            start += size
        figures = {"information": known} if self.codes else {}
        loss = loss - self.information * known
        if self.continuous:
            mean, log_scale = read[:, start:].chunk(2, dim=1)
            off = code[:, start:] - mean
            # the negated log-density of a normal, without its constant
            nats = (0.5 * (off * torch.exp(-log_scale)).square() + log_scale).sum(dim=1).mean()
            loss = loss + self.slope * nats
            figures["code_error"] = off.square().mean()
        return {"loss": loss, **figures}

    def read(self, x: Tensor) -> Tensor:
        """The first categorical code of pictures, (B,)."""
        told = self.critic(x).told
        return told[:, : self.codes[0]].argmax(dim=1)

    def _measure(self, stage: str, batch: Batch) -> None:
        super()._measure(stage, batch)
        if batch.y is None or not self.codes or not self.spec.classes:
            return
        known = batch.y >= 0
        size, classes = self.codes[0], len(self.spec.classes)
        pairs = torch.bincount(self.read(batch.x)[known] * classes + batch.y[known], minlength=size * classes)
        self.seen[stage] = self.seen.get(stage, 0) + pairs.view(size, classes)

    def on_validation_epoch_end(self) -> None:
        """Also how well the code agrees with the labels."""
        self._tell_accuracy("val")
        super().on_validation_epoch_end()

    def on_test_epoch_end(self) -> None:
        """The same on the test pictures."""
        self._tell_accuracy("test")
        super().on_test_epoch_end()

    def _tell_accuracy(self, stage: str) -> None:
        seen = self.seen.pop(stage, None)
        if seen is not None and int((seen := processes.total(seen)).sum()):
            self.meter.add(stage, {"code_accuracy": torch.tensor(matched_accuracy(seen))}, 1)


def shared_information(one: Tensor, other: Tensor) -> Tensor:
    """Mutual information in nats of two codes of the same examples, each given as shares (B, K) (Ji et al., eq. 3)."""
    joint = one.T @ other / len(one)
    joint = ((joint + joint.T) / 2).clamp(min=1e-8)
    alone = joint.sum(dim=0)
    return (joint * (joint.log() - alone.log()[:, None] - alone.log()[None, :])).sum()


def matched_accuracy(counts: Tensor) -> float:
    """Share of examples whose code stands for their label, codes and labels matched one to one at best, from (K, L)."""
    rows, columns = linear_sum_assignment(counts.cpu().numpy(), maximize=True)
    return float(counts[rows, columns].sum() / counts.sum())


class CodeGenerator(ConvGenerator):
    """`ConvGenerator` of latents of which the last are codes, with a hidden layer before its first map.

    Arguments:
        shape: (C, H, W) of a picture.
        free: Latents that are no code.
        codes: Sizes of the categorical codes.
        continuous: Number of continuous codes.
        width: Channels of the last map before the picture.
        hidden: Units of the hidden layer; None for none.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        free: int,
        codes: tuple[int, ...],
        continuous: int,
        width: int,
        hidden: int | None = None,
    ) -> None:
        """See the class."""
        parts = (free, *codes, continuous)
        super().__init__(shape, hidden or sum(parts), width)
        self.parts = parts
        if hidden is not None:
            self.input = nn.Sequential(*_hidden(sum(parts), hidden, nn.ReLU()), self.input)

    def code(self, z: Tensor) -> Tensor:
        """Latents with their codes in place, the same shape: one-hot, and even on [-1, 1]."""
        free, *categorical, continuous = z.split(self.parts, dim=1)
        hot = [F.one_hot(part.argmax(dim=1), part.shape[1]).to(z.dtype) for part in categorical]
        return torch.cat([free, *hot, torch.erf(continuous * 2**-0.5)], dim=1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z, shape (B, latent_dim), to pictures (B, C, H, W)."""
        return super().forward(self.code(z))


class ReadingCritic(ConvCritic):
    """`ConvCritic` that also tells the codes: logits of the categorical ones, mean and log-scale of the others.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the first map.
        hidden: Units of the layer behind the maps, by which it judges and reads; None for none.
        categories: Values of all categorical codes together.
        continuous: Number of continuous codes.
    """

    def __init__(
        self, shape: tuple[int, ...], width: int, hidden: int | None, categories: int, continuous: int
    ) -> None:
        """See the class."""
        super().__init__(shape, width, "batch")
        features = int(self.head.score.in_features)
        if hidden is not None:
            self.layers.extend(_hidden(features, hidden, nn.LeakyReLU(SLOPE)))
            self.head, features = CriticHead(hidden, 0, "none"), hidden
        readings = nn.Linear(READER, categories + 2 * continuous)
        self.reader = nn.Sequential(*_hidden(features, READER, nn.LeakyReLU(SLOPE)), readings)
        self.apply(small_normal)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), to a verdict."""
        features = self.layers(x.contiguous(memory_format=self.memory_format))
        return Verdict(self.head(features, None).score, told=self.reader(features))


def _hidden(inputs: int, outputs: int, rectifier: nn.Module) -> list[nn.Module]:
    """A fully connected layer with BatchNorm and its rectifier."""
    layer = Linear(inputs, outputs, bias=False)
    small_normal(layer)
    return [layer, nn.BatchNorm1d(outputs), rectifier]
