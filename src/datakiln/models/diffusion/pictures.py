"""What the diffusion models of pictures share: a net that is told time and class, and how a trained one is asked."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.models.pictures import PictureModel
from datakiln.nets.groups import Groups
from datakiln.nets.linear import half_precision
from datakiln.nets.paths import Field, Path, preconditioning, restore, stratified, with_means
from datakiln.nets.transformer import PictureTransformer
from datakiln.nets.unet import UNet
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

UNTOLD = 0.1  # share of training pictures whose class is hidden, so that one net learns both (Ho and Salimans, 2022)
FILLING_STEPS = 50  # at least, unless asked otherwise: noise that is drawn anew needs more of them
PUSHES = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)  # towards the class or group
SEED = 0  # of the times and the noise outside training, the same at every epoch, so that epochs compare


class DiffusionPictures(PictureModel, abc.ABC):
    """Denoises pictures in model space, [-1, 1], told their class where there is one, else the group they look like.

    Arguments:
        spec: A picture's spec.
        width: Channels of the net's largest map; see `UNet`.
        blocks: Residual blocks of each map but the smallest, down and up.
        middle: Residual blocks of the smallest map, each with attention.
        depth: Above 0, layers of a transformer in place of the UNet, of tokens twice as wide; see
            `PictureTransformer`. It has no blocks.
        dropout: Share of hidden units left out while training.
        groups: How many groups at most are told apart where no class is told, see `Groups`; 0 for none.
        guidance: How far samples are pushed towards their class or group unless asked otherwise; 0 not at all. None:
            not at all until samples are measured while training, which chooses among `PUSHES`.
        sampling_steps: Steps of the sampler unless asked otherwise.
        bf16: Whether convolutions and products are in bfloat16; None for yes where the processor is faster with them.
        deviation: Of pixels in model space, by which what the net sees and says is scaled, see `preconditioning`; None
            for a net that sees x_t and says the target as they are.
        **shared: See `PictureModel`.

    Attributes:
        denoised: Shape of what is denoised.
    """

    path: Path
    push: Tensor
    target: tuple[float, float]  # factors of data and of noise in what the net says
    options = frozenset({"steps", "guidance", "temperature"})

    def __init__(
        self,
        spec: DataSpec,
        width: int = 48,
        blocks: int = 1,
        middle: int = 3,
        depth: int = 0,
        dropout: float = 0.0,
        groups: int = 0,
        guidance: float | None = None,
        sampling_steps: int = 8,
        bf16: bool | None = None,
        deviation: float | None = None,
        **shared: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        super().__init__(spec, **shared)
        Sampling(steps=sampling_steps, guidance=guidance)
        if deviation is not None and deviation <= 0.0:
            raise ValueError(f"deviation={deviation} must be above 0")
        self.sampling_steps, self.bf16, self.deviation = sampling_steps, bf16, deviation
        if groups < 0:
            raise ValueError(f"groups={groups} must be at least 1, or 0 for none")
        self.groups = Groups(spec.shape, groups) if groups and not self.classes else None
        kinds = self.classes or (0 if self.groups is None else groups)
        self.is_open = guidance is None and kinds > 0
        self.register_buffer("push", torch.tensor(guidance or 0.0))
        self.register_load_state_dict_pre_hook(_guided_before)
        self.denoised = spec.shape
        self.net: UNet | PictureTransformer
        if depth < 0:
            raise ValueError(f"depth={depth} must be at least 1, or 0 for a UNet")
        if depth:
            self.net = PictureTransformer(self.denoised, width, depth, kinds, dropout)
        else:
            self.net = UNet(self.denoised, width, blocks, middle, kinds, dropout)

    def averaged(self) -> nn.Module:
        """The net."""
        return self.net

    @property
    def activations(self) -> int:
        """Those of the net's largest map."""
        return self.net.activations

    def ways(self) -> Sequence[Sampling]:
        """Pushes towards the class, where none was given: how much is best hangs on pictures and length of training."""
        return [Sampling(guidance=push) for push in PUSHES] if self.is_open else ()

    def keep_to(self, way: Sampling) -> None:
        """Pushes samples as far from now on."""
        assert way.guidance is not None
        self.push.fill_(way.guidance)

    def _pushed(self, options: Sampling) -> float:
        return float(self.push) if options.guidance is None else options.guidance

    def check_options(self, options: Sampling) -> None:
        """As for every model; and guidance needs a model that was told the class."""
        super().check_options(options)
        if options.guidance is not None and not self.classes and self.groups is None:
            told = f"guidance={options.guidance}: this {type(self).__name__} was told neither class nor group"
            raise UserError(f"{told}, so nothing guides it; leave guidance= out, or train with model.groups=50")

    def _noise_and_ranks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of the shape of x and a rank in [0, 1] for each time; outside training the same at every call."""
        generator = None if self.training else torch.Generator(x.device).manual_seed(SEED)
        ranks = stratified(len(x), x.device, generator)
        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype), ranks

    def on_fit_start(self) -> None:
        """Looks for groups among the training pictures, where the net is told them.

        Raises:
            RuntimeError: The trainer was given loaders instead of a data module.
        """
        if self.groups is None or self.groups.are_found:
            return
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            told = "looks for groups of training pictures first: call trainer.fit(model, datamodule=...), or groups=0"
            raise RuntimeError(f"{type(self).__name__} {told}")
        self.groups.find(batch.x for batch in data.train_dataloader())

    def _kinds(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        """Classes of pictures (B, C, H, W) as the net takes them, or the groups that they look like."""
        return self.told(y, len(x)) if self.groups is None else self.groups.of(x)

    def wanted(self, condition: Tensor | None, n: int) -> Tensor | None:
        """Classes of n samples, or groups by their shares."""
        if self.groups is None:
            return super().wanted(condition, n)
        if not self.groups.are_found:  # untrained
            return torch.full((n,), -1, device=self.device)
        return torch.multinomial(self.groups.shares, n, replacement=True)

    def _labels(self, batch: Batch) -> Tensor | None:
        """What the net is told of a batch, some of it hidden while training."""
        y = self._kinds(batch.x, batch.y)
        if y is None or not self.training:
            return y
        return torch.where(torch.rand(len(y), device=y.device) < UNTOLD, -1, y)

    def predict(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """The target at points (B, *denoised), times (B,) and labels (B,), in single precision."""
        with self._precision():
            if self.deviation is None:
                return self.net(x, t, y).float()
            factors = preconditioning(self.path, self.target, self.deviation, t)
            skip, enter, leave = (factor.view(-1, *[1] * (x.dim() - 1)) for factor in factors)
            return skip * x + leave * self.net(enter * x, t, y).float()

    def field(self, y: Tensor | None, guidance: float) -> Field:
        """What the net predicts for pictures of these classes, pushed beyond them (Ho and Salimans, 2022, eq. 6)."""

        def predicted(x: Tensor, t: Tensor) -> Tensor:
            times = t.expand(len(x))
            if not guidance or y is None:
                return self.predict(x, times, y)
            both = self.predict(torch.cat([x, x]), times.repeat(2), torch.cat([y, torch.full_like(y, -1)]))
            told, untold = both.chunk(2)
            return told + guidance * (told - untold)

        return predicted

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Noise turned to pictures of the given classes, or of classes drawn by their shares, shape (n, C, H, W)."""
        low, high = self.spec.bounds
        return self.made(n, condition, options).clamp(low, high)

    def made(self, n: int, condition: Tensor | None, options: Sampling) -> Tensor:
        """Noise turned to what is denoised, shape (n, *denoised)."""
        y = self.wanted(condition, n)
        temperature = 1.0 if options.temperature is None else options.temperature
        x = temperature * torch.randn(n, *self.denoised, device=self.device)
        return self.solve(self.field(y, self._pushed(options)), x, options.steps or self.sampling_steps, temperature)

    def complete(self, x: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures with their unknown pixels drawn; see `GenerativeModel.complete` and `restore`."""
        known, given = torch.isfinite(x).all(dim=1, keepdim=True), x.nan_to_num(0.0)
        return self._restored(lambda made: torch.where(known, given, made), x, y, options)

    def enlarge(self, x: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of which x are the means over blocks; see `GenerativeModel.enlarge` and `restore`."""
        return self._restored(lambda made: with_means(made, x, self.spec.bounds), x, y, options)

    def _restored(self, met: Callable[[Tensor], Tensor], x: Tensor, y: Tensor | None, options: Sampling) -> Tensor:
        """Draws pictures that agree with what is known of them."""
        told, n = self._kinds(x, y), len(x)
        is_told = y is not None or self.groups is not None
        guidance = self._pushed(options) if is_told else 0.0
        if not is_told and options.guidance is not None:
            raise UserError(f"guidance={options.guidance}: nothing says of which class the pictures are; leave it out")
        predicted, temperature = self.field(told, guidance), options.temperature or 1.0
        steps = options.steps or max(self.sampling_steps, FILLING_STEPS)
        times = torch.linspace(0.0, 1.0, steps + 1, device=self.device)
        low, high = self.spec.bounds
        noise = torch.randn(n, *self.spec.shape, device=self.device)

        def data(x_t: Tensor, t: Tensor) -> Tensor:
            return self.data_of(predicted(x_t, t), x_t, t).clamp(low, high)

        return restore(data, self.path, met, noise, times, temperature)

    def _precision(self) -> AbstractContextManager[None]:
        return half_precision(self.device, self.bf16)

    @abc.abstractmethod
    def data_of(self, predicted: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """What the net's prediction at x_t says of the picture itself, shape (B, C, H, W)."""

    @abc.abstractmethod
    def solve(self, field: Field, x: Tensor, steps: int, temperature: float = 1.0) -> Tensor:
        """From noise to data in so many steps.

        Arguments:
            field: What the net predicts at a point and a time.
            x: Noise in model space, shape (B, C, H, W).
            steps: At least 1.
            temperature: Of noise that is added on the way, as of that in x.
        """


def _guided_before(model: DiffusionPictures, state: dict[str, Any], prefix: str, *_: Any) -> None:  # noqa: ANN401
    """Refuses a push that is no guidance; one that is left out, as before it was chosen, is what the config says."""
    push = state.setdefault(f"{prefix}push", model.push)
    if push.numel() == 1:  # what is more than a number, torch refuses
        Sampling(guidance=float(push))
