"""BigGAN (Brock et al., 2019, https://arxiv.org/abs/1809.11096), for small pictures and without self-attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.conv import Conditional, CriticHead, Verdict, channels, embedded
from datakiln.nets.losses import Hinge
from datakiln.nets.resized import DoublingConv, HalvingConv
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling, doublings

STANDING, STANDING_BATCH = 16, 64  # passes, and samples of each, that standing statistics are means over (appendix C)
WAYS: tuple[Conditional, ...] = ("projection",)


class BigGAN(ImageGAN):
    """Residual nets with spectral norm; BatchNorm whose scale and shift come from z and from the class.

    Each block is told its own part of z beside an embedding of the class that all share (section 3). Weights begin
    orthogonal, and the generator's are held near that (section 3.1, eq. 3). Truncated samples have every value of z
    beyond the threshold drawn again, and BatchNorm's statistics are those of such samples ("standing statistics").

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the largest map of either net.
        embedding: Size of the classes' shared embedding.
        orthogonal: Weight beta of the orthogonal regularisation; 0 for none.
        conditional: True (projection) or false; see `way_of`.
        **options: See `ImageGAN`.
    """

    mixes = "BatchNorm, which mixes the pictures of a batch"
    generator: ClassGenerator

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 80,
        width: int = 32,
        embedding: int = 32,
        orthogonal: float = 1e-4,
        conditional: bool | str = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if orthogonal < 0:
            raise ValueError(f"model.orthogonal={orthogonal} must not be negative")
        way, classes = way_of(conditional, "projection", spec, WAYS)
        generator = ClassGenerator(spec.shape, latent_dim, width, embedding, classes)
        critic = BlockCritic(spec.shape, width, classes, way)
        super().__init__(spec, generator, critic, Hinge(), latent_dim, way, **options)
        self.orthogonal = orthogonal

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The game's loss and the orthogonal regularisation."""
        figures = super().generator_losses(batch)
        if not self.orthogonal:
            return figures
        penalty = self.orthogonal * sum((overlap(weight) for weight in self.generator.matrices()), torch.zeros(()))
        return {**figures, "loss": figures["loss"] + penalty, "orthogonal_penalty": penalty}

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of truncated z, shape (n, C, H, W); `truncation` is the threshold."""
        if options.truncation is None:
            return self.decode(self.latents(n), condition)
        with self.standing(options.truncation):
            return self.decode(truncated(self.latents(n), options.truncation), condition)

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of these latents, the values beyond a threshold at it."""
        if options.truncation is None:
            return self.decode(keys, condition)
        with self.standing(options.truncation):
            return self.decode(keys.clamp(-options.truncation, options.truncation), condition)

    @contextmanager
    def standing(self, threshold: float) -> Iterator[None]:
        """Within the block BatchNorm has the statistics of truncated samples; other random numbers are untouched."""
        norms = [module for module in self.generator.modules() if isinstance(module, nn.BatchNorm2d)]
        kept = [(norm.running_mean.clone(), norm.running_var.clone(), norm.momentum) for norm in norms]  # type: ignore[union-attr]
        counts = [norm.num_batches_tracked.clone() for norm in norms]  # type: ignore[union-attr]
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(0)
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # a plain mean over passes
                    norm.train()
                for _ in range(STANDING):
                    self.decode(truncated(self.latents(STANDING_BATCH), threshold))
                for norm in norms:
                    norm.eval()
            yield
        finally:
            for norm, (mean, var, momentum), count in zip(norms, kept, counts, strict=True):
                norm.running_mean.copy_(mean)  # type: ignore[union-attr]
                norm.running_var.copy_(var)  # type: ignore[union-attr]
                norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
                norm.momentum = momentum
                norm.train(self.training)


def truncated(z: Tensor, threshold: float) -> Tensor:
    """Standard normal values of which those beyond a threshold are drawn again, without a loop.

    Exact: z lies at some quantile of a normal, and moves to the same quantile of the normal within the threshold.
    """
    exact = z.detach().cpu().double()  # not every device knows it
    quantile = 0.5 * (1.0 + torch.erf(exact * 2**-0.5))
    tail = 0.5 * (1.0 + torch.erf(torch.tensor(-threshold * 2**-0.5, dtype=torch.float64)))
    inner = tail + quantile * (1.0 - 2.0 * tail)
    return (2**0.5 * torch.erfinv(2.0 * inner - 1.0)).clamp(-threshold, threshold).to(z)


def overlap(weight: Tensor) -> Tensor:
    """Summed squares of the products between different rows of a weight matrix (eq. 3), a scalar."""
    rows = weight.flatten(1).float()
    gram = rows @ rows.T
    return gram.square().sum() - gram.diagonal().square().sum()


class ClassNorm(nn.Module):
    """BatchNorm whose scale and shift are linear in what a block is told (de Vries et al., 2017).

    Arguments:
        channels: Of the maps.
        told: Size of what the block is told.
    """

    def __init__(self, channels: int, told: int) -> None:
        """See the class."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = spectral_norm(nn.Linear(told, channels, bias=False))
        self.shift = spectral_norm(nn.Linear(told, channels, bias=False))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Maps (B, C, H, W) and what is told (B, told) to maps."""
        return self.norm(x) * (1.0 + self.scale(told)[:, :, None, None]) + self.shift(told)[:, :, None, None]


class UpBlock(nn.Module):
    """To maps twice as large (figure 15, b).

    Arguments:
        inputs: Channels that come in.
        outputs: Channels that go out.
        told: Size of what its norms are told.
    """

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        """See the class."""
        super().__init__()
        self.norms = nn.ModuleList([ClassNorm(inputs, told), ClassNorm(outputs, told)])
        both = DoublingConv(inputs, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.convs = nn.ModuleList(spectral_norm(conv) for conv in both)
        self.skip = spectral_norm(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        inner = self.convs[0](F.relu(self.norms[0](x, told)))
        inner = self.convs[1](F.relu(self.norms[1](inner, told)))
        # a convolution of single pixels may as well come before they are doubled
        return inner + F.interpolate(self.skip(x), scale_factor=2.0)


class ClassGenerator(nn.Module):
    """Latents and labels to pictures.

    Arguments:
        shape: (C, H, W) of a picture.
        latent_dim: Size of z, of which the first layer and each block get a part.
        width: Channels of the largest map.
        embedding: Size of the shared embedding of classes.
        classes: Number of classes; 0 for an unconditional net.
    """

    def __init__(self, shape: tuple[int, ...], latent_dim: int, width: int, embedding: int, classes: int) -> None:
        """See the class."""
        super().__init__()
        self.base, count = doublings(shape[1])
        maps = channels(width, count)
        maps = [maps[0], *maps]
        if latent_dim < count + 1:
            raise ValueError(f"latent_dim={latent_dim} must be at least {count + 1}: each block has its own part of it")
        part = latent_dim // (count + 1)
        self.parts = (latent_dim - part * count, *[part] * count)
        self.embedding = nn.Embedding(classes, embedding) if classes else None
        told = part + (embedding if classes else 0)
        self.input = spectral_norm(nn.Linear(self.parts[0], maps[0] * self.base**2))
        self.blocks = nn.ModuleList(UpBlock(a, b, told) for a, b in zip(maps, maps[1:], strict=False))
        self.norm = nn.BatchNorm2d(maps[-1])
        self.output = spectral_norm(nn.Conv2d(maps[-1], shape[0], 3, padding=1))
        orthogonal_(self)

    def matrices(self) -> list[Tensor]:
        """The weights that are held near orthogonal, before spectral norm: all but the embedding."""
        held = (m for m in self.modules() if isinstance(m, nn.Linear | nn.Conv2d))
        return [m.parametrizations.weight.original for m in held]  # type: ignore[union-attr, misc]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z, shape (B, latent_dim), and labels (B,) to pictures (B, C, H, W)."""
        first, *parts = z.split(self.parts, dim=1)
        x = self.input(first).unflatten(1, (-1, self.base, self.base))
        of_class = None if self.embedding is None else embedded(self.embedding, y).to(z.dtype)
        for block, part in zip(self.blocks, parts, strict=True):
            x = block(x, part if of_class is None else torch.cat([part, of_class], dim=1))
        return torch.tanh(self.output(F.relu(self.norm(x))))


class DownBlock(nn.Module):
    """To maps half as large (figure 15, c).

    Arguments:
        inputs: Channels that come in.
        outputs: Channels that go out.
        is_first: Whether pictures come in, which are not rectified.
    """

    def __init__(self, inputs: int, outputs: int, is_first: bool) -> None:
        """See the class."""
        super().__init__()
        self.is_first = is_first
        self.convs = nn.ModuleList([nn.Conv2d(inputs, outputs, 3, padding=1), HalvingConv(outputs, outputs)])
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        inner = self.convs[1](F.relu(self.convs[0](x if self.is_first else F.relu(x))))
        return inner + self.skip(F.avg_pool2d(x, 2))


class BlockCritic(nn.Module):
    """Pictures to scores, with the class by projection.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the largest map.
        classes: Number of classes; 0 for an unconditional net.
        conditional: How they come in: see `CriticHead`.
    """

    def __init__(self, shape: tuple[int, ...], width: int, classes: int, conditional: Conditional) -> None:
        """See the class."""
        super().__init__()
        maps = [shape[0], *channels(width, doublings(shape[1])[1])[::-1]]
        pairs = list(zip(maps, maps[1:], strict=False))
        self.blocks = nn.Sequential(*(DownBlock(a, b, i == 0) for i, (a, b) in enumerate(pairs)))
        self.head = CriticHead(maps[-1], classes, conditional)
        orthogonal_(self)
        for module in list(self.modules()):
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
                spectral_norm(module)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), and labels (B,) to a verdict."""
        return self.head(F.relu(self.blocks(x)).sum(dim=(2, 3)), y)


def orthogonal_(net: nn.Module) -> None:
    """Orthogonal weights (Saxe et al., 2014), those under spectral norm too; biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            normed: Any = module.parametrizations["weight"] if is_parametrized(module) else None  # type: ignore[index, operator]
            nn.init.orthogonal_(module.weight if normed is None else normed.original)
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
