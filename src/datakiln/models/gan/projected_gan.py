"""Projected GAN (Sauer et al., 2021, https://arxiv.org/abs/2111.01007): critics that look through a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.conv import SLOPE, Conditional, CriticHead, Verdict, channels, one_hot
from datakiln.nets.losses import Hinge
from datakiln.nets.resized import DoublingConv
from datakiln.pretrained.efficientnet import SCALE, SHA256, SHIFT, published_efficientnet, without_norms
from datakiln.spec import Batch, DataSpec, doublings

STAGES = (3, 5, 11, 16)  # EfficientNet-Lite0's blocks up to each of its four scales (strides 4, 8, 16, 32)
FEATURES = (24, 40, 112, 320)  # channels there
LEAST = 64  # pixels: smaller pictures are brought to this side before the network looks, or no scale is left
SEED = 0  # of the random projections, which are the same for every model
JUDGED = 64  # features that each critic ends with
EXCITED = 4  # side of the maps that a skip excitation looks at
WAYS: tuple[Conditional, ...] = ("projection",)


class ProjectedGAN(ImageGAN):
    """Four small critics, each on features of one scale, mixed at random across channels and scales (section 3.2).

    The network is EfficientNet-Lite0 with its ImageNet weights, as in the paper; it and the random projections are held
    still and are in no checkpoint, and no figure measured through it decides anything of this model. The generator is
    FastGAN's (Liu et al., 2021): gated convolutions and skips that scale channels of large maps by small ones.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z.
        width: Channels of the generator's largest map.
        mixed: Channels of the mixed features of the largest scale; deeper ones have twice as many each.
        conditional: False or true (projection; the generator is told by concatenation); see `way_of`.
        **options: See `ImageGAN`.
    """

    mixes = "BatchNorm, which mixes the pictures of a batch"

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 100,
        width: int = 16,
        mixed: int = 32,
        conditional: bool | str = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        way, classes = way_of(conditional, "projection", spec, WAYS)
        generator = GatedGenerator(spec.shape, latent_dim, width, classes)
        critic = ProjectedCritics(spec.shape, mixed, classes, way)
        super().__init__(spec, generator, critic, Hinge(), latent_dim, way, **options)
        self.hold_still("critic.features")

    @property
    def networks(self) -> frozenset[str]:
        """EfficientNet-Lite0."""
        return frozenset({SHA256[:8]})

    def judgement(self, batch: Batch) -> Tensor:
        """Mean of the critics' scores of each picture."""
        return self.critic(batch.x, self._labels(batch)).score.mean(dim=1).float()


class Features(nn.Module):
    """A trained network's maps of four scales, mixed by random convolutions; nothing here learns (figure 2).

    Channels of each scale are mixed by a 1 x 1 convolution; from the deepest scale on, what is mixed is doubled in side
    and added to the next scale, by 3 x 3 convolutions.

    Arguments:
        mixed: See `ProjectedGAN`.
    """

    def __init__(self, mixed: int) -> None:
        """See the class."""
        super().__init__()
        published = published_efficientnet()
        self.stem = published.stem
        starts = (0, *STAGES[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(*published.blocks[start:stop]) for start, stop in zip(starts, STAGES, strict=True)
        )
        widths = [mixed * 2**i for i in range(len(FEATURES))]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.across_channels = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(FEATURES, widths, strict=True))
            self.across_scales = nn.ModuleList(
                nn.Conv2d(b, widths[max(i - 1, 0)], 3, padding=1) for i, b in enumerate(widths)
            )
            for conv in (*self.across_channels, *self.across_scales):
                nn.init.kaiming_normal_(conv.weight)  # type: ignore[arg-type]
        self.widths = [widths[max(i - 1, 0)] for i in range(len(widths))]
        # no part of the module: the hash of what is held still is that of the weights as they were published
        self._folded: tuple[nn.Module, ...] = ()

    @property
    def network(self) -> tuple[nn.Module, ...]:
        """The stem and the stages with their BatchNorms folded in, where the published weights lie."""
        weight = self.stem.conv.weight
        held = next(self._folded[0].parameters()) if self._folded else None
        if held is None or (held.device, held.dtype) != (weight.device, weight.dtype):
            with torch.inference_mode(False):  # they are used where gradients are wanted, too
                self._folded = tuple(without_norms(part) for part in (self.stem, *self.stages))
        return self._folded

    def forward(self, x: Tensor) -> list[Tensor]:
        """Pictures (B, C, H, W) in model space to the mixed maps of four scales, the largest first."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        if x.shape[2] < LEAST:
            x = F.interpolate(x, (LEAST, LEAST), mode="bilinear")
        if x.device.type == "cpu" and x.requires_grad:
            # depthwise convolutions have slow gradients in bfloat16 on a processor: single precision is faster there
            with torch.autocast("cpu", enabled=False):
                return self._mixed(x.float())
        return self._mixed(x)

    def _mixed(self, x: Tensor) -> list[Tensor]:
        stem, *stages = self.network
        x = stem(((x + 1.0) * 127.5 - SHIFT) / SCALE)
        maps = []
        for stage, across in zip(stages, self.across_channels, strict=True):
            x = stage(x)
            maps.append(across(x))
        mixed: list[Tensor] = []
        below: Tensor | None = None
        for i in reversed(range(len(maps))):
            both = maps[i] if below is None else maps[i] + F.interpolate(below, maps[i].shape[2:], mode="bilinear")
            below = self.across_scales[i](both)
            mixed.insert(0, below)
        return mixed


class ProjectedCritics(nn.Module):
    """A critic on each scale of the features; scores (B, 4).

    Arguments:
        shape: (C, H, W) of a picture.
        mixed: See `ProjectedGAN`.
        classes: Number of classes; 0 for an unconditional net.
        conditional: How they come in: see `CriticHead`.
    """

    def __init__(self, shape: tuple[int, ...], mixed: int, classes: int, conditional: Conditional) -> None:
        """See the class."""
        super().__init__()
        self.features = Features(mixed)
        side = max(shape[1], LEAST)
        sides = [-(-side // stride) for stride in (4, 8, 16, 32)]
        self.critics = nn.ModuleList(
            ScaleCritic(width, at, classes, conditional) for width, at in zip(self.features.widths, sides, strict=True)
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), and labels (B,) to scores by scale, (B, 4)."""
        scores = [critic(maps, y) for critic, maps in zip(self.critics, self.features(x), strict=True)]
        return Verdict(torch.stack(scores, dim=1))


class ScaleCritic(nn.Module):
    """Strided convolutions with spectral norm until the map is small, then one score.

    Arguments:
        width: Channels of the features.
        side: Of their maps.
        classes: See `ProjectedCritics`, as for the next.
        conditional: See there.
    """

    def __init__(self, width: int, side: int, classes: int, conditional: Conditional) -> None:
        """See the class."""
        super().__init__()
        layers: list[nn.Module] = []
        while side > 4:
            layers += [spectral_norm(nn.Conv2d(width, JUDGED, 4, 2, 1, bias=False)), nn.BatchNorm2d(JUDGED)]
            layers.append(nn.LeakyReLU(SLOPE))
            width, side = JUDGED, side // 2
        layers += [spectral_norm(nn.Conv2d(width, JUDGED, side)), nn.LeakyReLU(SLOPE), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.head = CriticHead(JUDGED, classes, conditional)
        for part in list(self.head.children()):
            spectral_norm(part)

    def forward(self, maps: Tensor, y: Tensor | None) -> Tensor:
        """Features (B, width, side, side) to scores (B,)."""
        return self.head(self.layers(maps), y).score


class GatedBlock(nn.Module):
    """Doubles the side, then a 3 x 3 convolution, BatchNorm, and one half of the channels gating the other.

    Arguments:
        inputs: Channels that come in.
        outputs: Channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """See the class."""
        super().__init__()
        self.conv = spectral_norm(DoublingConv(inputs, 2 * outputs, bias=False))
        self.norm = nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        return F.glu(self.norm(self.conv(x)), dim=1)


class Excitation(nn.Module):
    """Scales the channels of a large map by what a small one shows (Liu et al., 2021, section 3.1).

    Arguments:
        inputs: Channels of the small map.
        outputs: Channels of the large one.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """See the class."""
        super().__init__()
        self.look = nn.Conv2d(inputs, outputs, EXCITED, bias=False)
        self.gate = nn.Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        """Two maps to one of the shape of the large one."""
        seen = F.silu(self.look(F.adaptive_avg_pool2d(small, EXCITED)))
        return large * torch.sigmoid(self.gate(seen))


class GatedGenerator(nn.Module):
    """Latents and labels to pictures.

    Arguments:
        shape: (C, H, W) of a picture.
        latent_dim: Size of z.
        width: Channels of the largest map.
        classes: Number of classes that z is joined with, one-hot; 0 for an unconditional net.
    """

    def __init__(self, shape: tuple[int, ...], latent_dim: int, width: int, classes: int) -> None:
        """See the class."""
        super().__init__()
        self.base, count = doublings(shape[1])
        maps = channels(width, count + 1)
        self.classes = classes
        self.input = spectral_norm(nn.Linear(latent_dim + classes, 2 * maps[0] * self.base**2, bias=False))
        self.norm = nn.BatchNorm2d(2 * maps[0])
        self.blocks = nn.ModuleList(GatedBlock(a, b) for a, b in zip(maps, maps[1:], strict=False))
        # a map of the second half of the blocks is scaled by one half of the blocks before it
        self.reach = (count + 1) // 2 + 1
        pairs: Sequence[tuple[int, int]] = [(maps[i - self.reach], maps[i]) for i in range(self.reach, count + 1)]
        self.excitations = nn.ModuleList(Excitation(a, b) for a, b in pairs)
        self.output = spectral_norm(nn.Conv2d(maps[-1], shape[0], 3, padding=1))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z, shape (B, latent_dim), and labels (B,) to pictures (B, C, H, W)."""
        if self.classes:
            z = torch.cat([z, one_hot(y, self.classes, z)], dim=1)
        maps = [F.glu(self.norm(self.input(z).unflatten(1, (-1, self.base, self.base))), dim=1)]
        for i, block in enumerate(self.blocks, 1):
            x = block(maps[-1])
            maps.append(x if i < self.reach else self.excitations[i - self.reach](maps[i - self.reach], x))
        return torch.tanh(self.output(maps[-1]))
