"""StyleGAN2 (Karras et al., 2020, https://arxiv.org/abs/1912.04958), for small pictures.

z is mapped to a style w; every convolution of the synthesis net is modulated by it, and noise is added behind each. All
weights are drawn from N(0, 1) and scaled when they are used, so that they learn at equal rates (Karras et al., 2018).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.gan.pictures import ImageGAN, way_of
from datakiln.nets.conv import SLOPE, Conditional, CriticHead, Verdict, bound, channels, embedded
from datakiln.nets.gathered import rows_of_all
from datakiln.nets.losses import NonSaturating
from datakiln.nets.resized import doubled_smoothly, halved
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling, doublings

EPS = 1e-8
GAIN = 2**0.5  # that makes up for what a rectifier takes from the size of a normal
MAPPING_RATE = 0.01  # of the mapping's weights beside the others' (Karras et al., 2019, section C)
AVERAGING = 0.995  # of the mean style, an update (the published code's `w_avg_beta`)
PATH_AVERAGING = 0.01  # of the mean path length, a measurement (appendix B)
PATH_SHARE = 2  # a batch this many times smaller is enough for path lengths (appendix B)
CLIP = 256.0  # keeps activations within what half precision holds (Karras et al., 2020, ADA, appendix D)
DEVIATIONS = 4  # pictures whose deviation the critic is told together (Karras et al., 2018, section 3)
WAYS: tuple[Conditional, ...] = ("projection", "acgan")


class StyleGAN2(ImageGAN):
    """A mapping to styles, modulated convolutions with demodulation, and skips to the picture on every map.

    The penalty R1 is paid every `lazy` critic updates, path lengths are regularised every `path_lazy` generator
    updates, each as much heavier as it is rarer (appendix B). Truncation is towards the mean style, in w.

    Arguments:
        spec: What one picture looks like.
        latent_dim: Size of z and of w.
        width: Channels of the largest map of either net.
        mapping: Layers from z to w.
        mixing: Probability that a generated picture takes the styles of two z, crossing over at a random layer.
        path: Weight of the path length regularisation (section 3.2); 0 for none.
        path_lazy: Generator updates from one to the next.
        conditional: False, true (projection; the mapping is told the class too) or "acgan"; see `way_of`.
        saturates: See `R3GAN`.
        **options: See `ImageGAN`.
    """

    mixes = "a deviation over the pictures of a batch"
    remedy = "raise model.r1, or lower the rates (model.critic_optimizer.lr, model.generator_optimizer.lr)"
    generator: StyleGenerator
    path_mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 64,
        width: int = 16,
        mapping: int = 4,
        mixing: float = 0.9,
        path: float = 2.0,
        path_lazy: int = 4,
        conditional: bool | str = False,
        saturates: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if not 0.0 <= mixing <= 1.0:
            raise ValueError(f"model.mixing={mixing} must lie in [0, 1]")
        if path < 0 or path_lazy < 1:
            raise ValueError(f"model.path={path} must not be negative, model.path_lazy={path_lazy} be at least 1")
        way, classes = way_of(conditional, "projection", spec, WAYS)
        generator = StyleGenerator(spec.shape, latent_dim, width, mapping, classes, saturates)
        critic = StyleCritic(spec.shape, width, classes, way)
        super().__init__(spec, generator, critic, NonSaturating(), latent_dim, way, **options)
        generator.mixing = mixing
        self.path, self.path_lazy = path, path_lazy
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("resized_inside", torch.tensor(True))  # maps are doubled and halved by convolutions
        self.register_load_state_dict_pre_hook(_resized_outside)

    @property
    def style_layers(self) -> int:
        """Places at which a style enters."""
        return self.generator.layers

    def styles(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """The styles w of latents, truncated, (n, latent_dim)."""
        return self.generator.truncated(
            self.generator.map(keys, self._classes(len(keys), condition)), options.truncation
        )

    def of_styles(self, styles: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of styles truncated before, (n, latent_dim) or (n, layers, latent_dim), always of one noise."""
        return self.generator.synthesis(styles, is_still=True).float()

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of these latents."""
        return self.of_styles(self.styles(keys, condition, options), condition)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of latents and noise drawn afresh, shape (n, C, H, W)."""
        return self.generator.synthesis(self.styles(self.latents(n), condition, options)).float()

    def _classes(self, n: int, y: Tensor | None) -> Tensor | None:
        if self.way != "none" and y is None:
            return torch.multinomial(self.class_shares, n, replacement=True)
        return y

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The game's loss, and in its turn the path length regularisation."""
        figures = super().generator_losses(batch)
        if not self.path or not torch.is_grad_enabled() or self.generator_updates % self.path_lazy:
            return figures
        with processes.smaller(len(batch.x), PATH_SHARE) as (n, weight):
            styles = self.generator.mixed(self.latents(n), self._classes(n, None) if self.way != "none" else None)
            lengths = path_lengths(self.generator.synthesis, styles)
            if self.training:
                with torch.no_grad():
                    self.path_mean.lerp_(processes.whole_mean(lengths.mean(), n), PATH_AVERAGING)
        penalty = self.path * weight * (lengths - self.path_mean).square().mean()
        return {**figures, "loss": figures["loss"] + self.path_lazy * penalty, "path_penalty": penalty}


def _resized_outside(_: StyleGAN2, state: dict[str, Any], prefix: str, *__: Any) -> None:  # noqa: ANN401
    """Refuses weights that learnt with maps doubled before and halved behind convolutions and rectifiers."""
    if f"{prefix}resized_inside" not in state:
        raise UserError("this StyleGAN2 is of before its convolutions doubled and halved maps; train it again")


def path_lengths(synthesis: Any, styles: Tensor) -> Tensor:  # noqa: ANN401 (styles to pictures)
    """|J^T y| for y ~ N(0, I), J the Jacobian of pictures by styles (B, layers, D) (section 3.2, eq. 4), shape (B,).

    A mean over the layers, as in the published code.
    """
    styles = styles if styles.requires_grad else styles.requires_grad_(True)
    pictures = synthesis(styles)
    y = torch.randn_like(pictures) / (pictures.shape[2] * pictures.shape[3]) ** 0.5
    (gradients,) = torch.autograd.grad((pictures * y).sum(), styles, create_graph=True)
    return (gradients.float().square().sum(dim=2).mean(dim=1) + EPS**2).sqrt()  # of pictures that never change, too


class Scaled(nn.Module):
    """A linear map or convolution whose weights are scaled when they are used.

    Arguments:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: Side of the kernel; 0 for a linear map.
        rate: Factor of the learning rate.
        bias: What the bias begins with; None for none.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 0, rate: float = 1.0, bias: float | None = 0.0) -> None:
        """See the class."""
        super().__init__()
        shape = (outputs, inputs, kernel, kernel) if kernel else (outputs, inputs)
        self.weight = nn.Parameter(torch.randn(shape) / rate)
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = rate / self.weight[0].numel() ** 0.5, rate

    def scaled(self, gain: float = 1.0) -> tuple[Tensor, Tensor | None]:
        """The weights and the bias as they are used, times a gain."""
        return self.weight * (self.scale * gain), None if self.bias is None else self.bias * (self.rate * gain)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """(B, inputs) or (B, inputs, H, W) to as many outputs, times a gain."""
        if self.weight.dim() == 2:
            return F.linear(x, *self.scaled(gain))
        return F.conv2d(x, *self.scaled(gain), padding=self.weight.shape[2] // 2)


def rectified(layer: Scaled, x: Tensor) -> Tensor:
    """A layer and a leaky rectifier that keep the size of a normal; weights, which are few, have its gain, not maps."""
    return F.leaky_relu(layer(x, GAIN), SLOPE)


class StyledConv(nn.Module):
    """A convolution modulated by a style (section 2.2, eq. 1 and 3).

    Scaling what comes in by the style and what goes out by the demodulation is the same as scaling the weights of each
    picture, without as many convolutions as pictures.

    Arguments:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: Side of the kernel.
        latent_dim: Size of w.
        doubles: Whether maps come out twice as large.
        demodulate: Whether outputs are brought back to unit size; else there is no noise and no rectifier either.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, latent_dim: int, doubles: bool = False, demodulate: bool = True
    ) -> None:
        """See the class."""
        super().__init__()
        self.doubles = doubles
        self.style = Scaled(latent_dim, inputs, bias=1.0)
        self.conv = Scaled(inputs, outputs, kernel, bias=None)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.strength = nn.Parameter(torch.zeros(())) if demodulate else None

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W), styles (B, latent_dim), noise (B or 1, 1, ...) of the size of what comes out."""
        style = self.style(w)
        x = x * style[:, :, None, None]
        weight, _ = self.conv.scaled()
        x = doubled_smoothly(x, weight) if self.doubles else self.conv(x)
        if self.strength is None:
            return x + self.bias
        factor = (GAIN * demodulation(weight, style))[:, :, None, None].to(x.dtype)
        x = x * factor if noise is None else torch.addcmul((GAIN * self.strength * noise).to(x.dtype), x, factor)
        return F.leaky_relu(x + GAIN * self.bias, SLOPE).clamp(-CLIP, CLIP)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What brings the weights of each output, scaled by styles (B, inputs), to norm 1, shape (B, outputs) (eq. 3)."""
    squares = weight.float().square().sum(dim=(2, 3))
    return torch.rsqrt(style.float().square() @ squares.T + EPS)


class StyleGenerator(nn.Module):
    """The mapping and the synthesis net.

    Arguments:
        shape: (C, H, W) of a picture.
        latent_dim: Size of z and of w.
        width: Channels of the largest map.
        mapping: Layers from z to w.
        classes: Number of classes that the mapping is told; 0 for an unconditional net.
        saturates: See `R3GAN`.
    """

    mean_style: Tensor
    mixing = 0.0  # see `StyleGAN2`

    def __init__(
        self, shape: tuple[int, ...], latent_dim: int, width: int, mapping: int, classes: int, saturates: bool = True
    ) -> None:
        """See the class."""
        super().__init__()
        self.saturates = saturates
        self.base, count = doublings(shape[1])
        maps = channels(width, count + 1)
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        inputs = [latent_dim * (2 if classes else 1), *[latent_dim] * (mapping - 1)]
        self.mapping = nn.ModuleList(Scaled(size, latent_dim, rate=MAPPING_RATE) for size in inputs)
        self.constant = nn.Parameter(torch.randn(maps[0], self.base, self.base))
        self.first = StyledConv(maps[0], maps[0], 3, latent_dim)
        pairs = list(zip(maps, maps[1:], strict=False))
        self.up = nn.ModuleList(StyledConv(a, b, 3, latent_dim, doubles=True) for a, b in pairs)
        self.same = nn.ModuleList(StyledConv(b, b, 3, latent_dim) for _, b in pairs)
        self.show = nn.ModuleList(StyledConv(c, shape[0], 1, latent_dim, demodulate=False) for c in maps)
        self.layers = 2 * len(maps)  # the last is that of the last picture; earlier ones share the next map's first
        self.register_buffer("mean_style", torch.zeros(latent_dim))
        sides = [self.base, *(self.base * 2**k for k in range(1, count + 1) for _ in range(2))]
        still = torch.Generator().manual_seed(0)
        for i, side in enumerate(sides):
            noise = torch.randn(1, 1, side, side, generator=still)
            self.register_buffer(f"noise_{i}", noise, persistent=False)

    def map(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Styles w of latents, (B, latent_dim)."""
        x = _unit(z)
        if self.embedding is not None:
            x = torch.cat([x, _unit(embedded(self.embedding, y))], dim=1)
        for layer in self.mapping:
            x = rectified(layer, x)  # type: ignore[arg-type]
        return x

    def truncated(self, w: Tensor, truncation: float | None) -> Tensor:
        """Styles moved towards the mean style (Karras et al., 2019, appendix B): 1 leaves them, 0 makes all one."""
        return w if truncation is None else torch.lerp(self.mean_style.to(w.dtype), w, truncation)

    def mixed(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Styles for every layer, (B, layers, latent_dim), some of two latents; follows the mean style in training."""
        w = self.map(z, y)
        if self.training:
            with torch.no_grad():
                mean = processes.whole_mean(w.mean(dim=0), len(w))
                self.mean_style.lerp_(mean.to(self.mean_style.dtype), 1.0 - AVERAGING)
        styles = w.unsqueeze(1).expand(-1, self.layers, -1)
        if not self.training or not self.mixing:
            return styles
        other = self.map(torch.randn_like(z), y)
        crossing = torch.randint(1, self.layers, (len(z), 1, 1), device=z.device)
        crossing = torch.where(torch.rand(len(z), 1, 1, device=z.device) < self.mixing, crossing, self.layers)
        place = torch.arange(self.layers, device=z.device)[None, :, None]
        return torch.where(place < crossing, styles, other.unsqueeze(1))

    def synthesis(self, styles: Tensor, is_still: bool = False) -> Tensor:
        """Styles (B, latent_dim), or one for every layer, to pictures (B, C, H, W) in model space."""
        if styles.dim() == 2:
            styles = styles.unsqueeze(1).expand(-1, self.layers, -1)
        n = len(styles)
        x = self.constant.expand(n, -1, -1, -1)
        x = self.first(x, styles[:, 0], self._noise(0, n, is_still))
        picture = self.show[0](x, styles[:, 1])
        for i, (up, same) in enumerate(zip(self.up, self.same, strict=True)):
            x = up(x, styles[:, 2 * i + 1], self._noise(2 * i + 1, n, is_still))
            x = same(x, styles[:, 2 * i + 2], self._noise(2 * i + 2, n, is_still))
            picture = F.interpolate(picture, scale_factor=2.0, mode="bilinear")
            picture = picture + self.show[i + 1](x, styles[:, 2 * i + 3])
        return torch.tanh(picture) if self.saturates else bound(picture)

    def _noise(self, i: int, n: int, is_still: bool) -> Tensor:
        still: Tensor = getattr(self, f"noise_{i}")
        return still if is_still else torch.randn(n, *still.shape[1:], device=still.device)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z, shape (B, latent_dim), and labels (B,) to pictures (B, C, H, W)."""
        return self.synthesis(self.mixed(z, y))


def _unit(z: Tensor) -> Tensor:
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + EPS)


class StyleCritic(nn.Module):
    """Residual blocks to the smallest map, whose deviations over pictures it is told too.

    Arguments:
        shape: (C, H, W) of a picture.
        width: Channels of the largest map.
        classes: Number of classes; 0 for an unconditional net.
        conditional: How they come in: see `CriticHead`.
    """

    def __init__(self, shape: tuple[int, ...], width: int, classes: int, conditional: Conditional) -> None:
        """See the class."""
        super().__init__()
        base, count = doublings(shape[1])
        maps = channels(width, count + 1)[::-1]
        self.input = Scaled(shape[0], maps[0], 1)
        pairs = list(zip(maps, maps[1:], strict=False))
        self.same = nn.ModuleList(Scaled(a, a, 3) for a, _ in pairs)
        self.down = nn.ModuleList(Scaled(a, b, 3) for a, b in pairs)
        self.skip = nn.ModuleList(Scaled(a, b, 1, bias=None) for a, b in pairs)
        self.last = Scaled(maps[-1] + 1, maps[-1], 3)
        self.dense = Scaled(maps[-1] * base**2, maps[-1])
        self.head = CriticHead(maps[-1], classes, conditional)
        for part in self.head.children():
            nn.init.normal_(part.weight, 0.0, maps[-1] ** -0.5)  # type: ignore[arg-type]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), and labels (B,) to a verdict."""
        x = rectified(self.input, x)
        for same, down, skip in zip(self.same, self.down, self.skip, strict=True):
            # the sum of the two ways, each of unit size, is divided by what the rectifier's gain would be
            inner = F.leaky_relu(halved(rectified(same, x), *down.scaled()), SLOPE)  # type: ignore[arg-type, operator]
            x = inner + skip(F.avg_pool2d(x, 2), 1.0 / GAIN)
        x = rectified(self.last, torch.cat([x, deviations(x)], dim=1))
        return self.head(rectified(self.dense, x.flatten(1)), y)


def deviations(x: Tensor) -> Tensor:
    """Mean deviation of maps over each few pictures of a batch, one map of it for each picture, (B, 1, H, W)."""
    every = rows_of_all(x.float())
    n = len(every)
    together = next(size for size in range(min(DEVIATIONS, n), 0, -1) if n % size == 0)
    groups = every.unflatten(0, (-1, together))
    spread = (groups.var(dim=1, correction=0) + EPS).sqrt().mean(dim=(1, 2, 3))
    first, _ = processes.part(len(x))
    own = spread.repeat_interleave(together)[first : first + len(x)]
    return own.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:]).to(x.dtype)
