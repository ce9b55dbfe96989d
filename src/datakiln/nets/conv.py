"""Convolutional generators and critics that size themselves from the picture.

A side of base * 2^k pixels, with a base of 4 to 7, is reached by doubling a base x base map k times, without cropping:
4 for powers of two, 7 for 28. Works in model space, [-1, 1].
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from datakiln.spec import doublings

Conditional = Literal["none", "concatenation", "acgan", "projection"]
Norm = Literal["batch", "group", "spectral", "none"]
SLOPE = 0.2  # of the leaky rectifier below zero (Radford et al., 2016)
WIDEST = 8  # channels stop growing at this many times the width
LEAST_SLOPE = 0.1  # of a bounded value on its way back
GROUP = 16  # channels that are normalised together


class Verdict(NamedTuple):
    """What a critic says: scores before any sigmoid, shape (B,), and class logits (B, K) where it tells classes.

    `told` is what else a model asks of its critic, shape (B, *): its features, or what it makes of the latents.
    """

    score: Tensor
    logits: Tensor | None = None
    told: Tensor | None = None

    def rows(self, at: slice) -> Verdict:
        """The verdict on some of the pictures."""
        logits, told = (None if part is None else part[at] for part in (self.logits, self.told))
        return Verdict(self.score[at], logits, told)


def channels(width: int, count: int) -> list[int]:
    """Channels of the maps from the smallest to the largest, halving from map to map."""
    return [width * min(2 ** (count - 1 - i), WIDEST) for i in range(count)]


def one_hot(y: Tensor | None, classes: int, like: Tensor) -> Tensor:
    """Labels as vectors, shape (B, classes), zeros for an unknown label (-1); a conditional net needs them."""
    if y is None:
        raise ValueError("a conditional net needs labels")
    return (y.unsqueeze(1) == torch.arange(classes, device=y.device)).to(like.dtype)


def embedded(table: nn.Embedding, y: Tensor | None) -> Tensor:
    """The learnt vector of each label, shape (B, width), zeros for an unknown one (-1)."""
    if y is None:
        raise ValueError("a conditional net needs labels")
    return table(y.clamp(min=0)) * (y >= 0).unsqueeze(1)


class Bound(torch.autograd.Function):
    """A hyperbolic tangent whose slope is at least `LEAST_SLOPE` towards the middle: what lies outside finds back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401 (torch's context)
        """Any shape to the same."""
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:  # noqa: ANN401
        """Descent moves values against the slope: towards the middle where both have one sign."""
        (x,) = ctx.saved_tensors
        own = 1.0 - torch.tanh(x).square()
        return slopes[0] * torch.where(x * slopes[0] > 0.0, own.clamp(min=LEAST_SLOPE), own)


def bound(x: Tensor) -> Tensor:
    """See `Bound`."""
    made: Tensor = Bound.apply(x)  # type: ignore[no-untyped-call]
    return made


class ConvGenerator(nn.Module):
    """Latents to pictures by transposed convolutions with BatchNorm (Radford et al., 2016, figure 1).

    Arguments:
        shape: (C, H, W) of a picture.
        latent_dim: Size of z.
        width: Channels of the last map before the picture; earlier ones have two, four and at most eight times as many.
        classes: Number of classes that z is joined with, one-hot; 0 for an unconditional net.
    """

    def __init__(self, shape: tuple[int, ...], latent_dim: int, width: int = 64, classes: int = 0) -> None:
        """See the class."""
        super().__init__()
        self.memory_format = torch.contiguous_format
        self.base, count = doublings(shape[1])
        maps = [*channels(width, count), shape[0]]
        self.classes = classes
        self.input: nn.Module = nn.Linear(latent_dim + classes, maps[0] * self.base**2, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(maps[0]), nn.ReLU(inplace=True)]
        for i in range(count):
            is_last = i == count - 1
            layers.append(nn.ConvTranspose2d(maps[i], maps[i + 1], 4, 2, 1, bias=is_last))
            layers += [nn.Tanh()] if is_last else [nn.BatchNorm2d(maps[i + 1]), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.apply(small_normal)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z, shape (B, latent_dim), and labels (B,) to pictures (B, C, H, W)."""
        if self.classes:
            z = torch.cat([z, one_hot(y, self.classes, z)], dim=1)
        x = self.input(z).unflatten(1, (-1, self.base, self.base))
        return self.layers(x.contiguous(memory_format=self.memory_format))


class ConvCritic(nn.Module):
    """Pictures to scores by strided convolutions with leaky rectifiers.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the first map; later ones have two, four and at most eight times as many.
        norm: "batch" (Radford et al., 2016; not in the first layer), "group", which keeps pictures of a batch apart as
            a gradient penalty demands, "spectral" (Miyato et al., 2018; every layer), or "none".
        classes: Number of classes; 0 for an unconditional net.
        conditional: How classes come in: "concatenation" adds a learnt map of the class to the picture, "acgan" lets
            the critic tell the class, "projection" adds the product of features and a vector of the class to the score.
        offset: Whether the score has one; a loss of differences of scores would never move it.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 64,
        norm: Norm = "batch",
        classes: int = 0,
        conditional: Conditional = "none",
        offset: bool = True,
    ) -> None:
        """See the class."""
        super().__init__()
        self.memory_format = torch.contiguous_format
        base, count = doublings(shape[1])
        maps = list(reversed(channels(width, count)))
        self.plane = nn.Embedding(classes, shape[1] * shape[2]) if conditional == "concatenation" else None
        widths = [shape[0] + (self.plane is not None), *maps]
        layers: list[nn.Module] = []
        for i in range(count):
            is_normed = norm in ("batch", "group") and i > 0
            layers.append(nn.Conv2d(widths[i], widths[i + 1], 4, 2, 1, bias=not is_normed))
            layers += [normalised(norm, widths[i + 1])] if is_normed else []
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = CriticHead(maps[-1] * base**2, classes, conditional, offset)
        self.apply(small_normal)
        if norm == "spectral":
            constrain(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), and labels (B,) to a verdict."""
        if self.plane is not None:
            x = torch.cat([x, embedded(self.plane, y).unflatten(1, (1, *x.shape[2:])).to(x.dtype)], dim=1)
        return self.head(self.layers(x.contiguous(memory_format=self.memory_format)), y)


class CriticHead(nn.Module):
    """Features to a verdict (projection: Miyato and Koyama, 2018, eq. 5; auxiliary classes: Odena et al., 2017).

    Arguments:
        features: Number of features.
        classes: Number of classes; 0 for an unconditional net.
        conditional: See `ConvCritic`.
        offset: See there.
    """

    def __init__(self, features: int, classes: int, conditional: Conditional, offset: bool = True) -> None:
        """See the class."""
        super().__init__()
        self.score = nn.Linear(features, 1, bias=offset)
        self.embedding = nn.Embedding(classes, features) if conditional == "projection" else None
        self.classify = nn.Linear(features, classes) if conditional == "acgan" else None

    def forward(self, h: Tensor, y: Tensor | None) -> Verdict:
        """Features, shape (B, F), and labels (B,) to a verdict."""
        score = self.score(h).squeeze(1)
        if self.embedding is not None:
            score = score + (embedded(self.embedding, y).to(h.dtype) * h).sum(dim=1)
        return Verdict(score, None if self.classify is None else self.classify(h))


def normalised(norm: Norm, width: int) -> nn.Module:
    """The normalisation layer of that name."""
    if norm == "batch":
        return nn.BatchNorm2d(width)
    groups = max(1, width // GROUP)
    return nn.GroupNorm(groups if width % groups == 0 else 1, width)


def constrain(net: nn.Module) -> None:
    """Divides every weight matrix of a net by its largest singular value (Miyato et al., 2018, eq. 8)."""
    for module in list(net.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            spectral_norm(module)


def small_normal(module: nn.Module) -> None:
    """Weights drawn from N(0, 0.02^2), biases 0 (Radford et al., 2016, section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def to_channels_last(net: nn.Module) -> None:
    """Lays the weights of a net out channels last, and its first map with them, so that every map follows."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(net, ConvGenerator | ConvCritic):
        net.memory_format = torch.channels_last
