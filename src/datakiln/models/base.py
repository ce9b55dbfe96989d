"""The interface every generative model has, and the training loop its family shares.

A model knows its `DataSpec` and tensors in model space; files, frames and pictures are other people's business.
"""

from __future__ import annotations

import abc
import hashlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Protocol

import lightning as L
import torch
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.meter import Meter
from datakiln.privacy.gradients import PrivateGradients
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling
from datakiln.wording import with_article

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], Any]
Conditioning = Literal["none", "label", "categories", "columns"]


class Diverged(UserError):
    """A loss that is NaN or infinite, with where it happened; the command adds the last good checkpoint."""

    def __init__(self, epoch: int, step: int, remedy: str) -> None:
        """Arguments: epoch (from 0) and step (optimizer updates) of the loss, and what to try."""
        super().__init__(f"the loss became NaN or infinite in epoch {epoch + 1}, step {step}; {remedy}")


class Protection(Protocol):
    """What counts the steps of a training under differential privacy."""

    spent: float

    def permit(self) -> bool:
        """Whether one more step is paid for."""


class GenerativeModel(L.LightningModule, abc.ABC):
    """A trainable sampler over tensors of shape (B, *spec.shape).

    Attributes:
        supports: Kinds of `DataSpec` the model can be built on.
        reads: Kinds of `Block` that the model can read.
        conditioning: What `draw` can be told: "none"; "label", class indices of shape (n,) and dtype long; "columns",
            encoded rows of shape (n, *spec.shape) with NaN where the model is free, all of which it meets;
            "categories", such rows of which it goes by the categories alone, and may fail to meet some.
        likelihood: What `log_prob` can tell of: "none"; "whole", examples without gaps; "partial", the known cells of
            an example with NaN where it is unknown.
        options: Names of `Sampling` that its samples follow.
        restricts: Whether `draw` heeds `allowed`: codes that columns are to be drawn from, shape (codes of the column,)
            and dtype bool, by the column's place. A cell may still fall outside, so that rows are to be looked at.
        redraws: Whether the steps of a series that `accepts` does not take are drawn again, one by one.
        accepts: Which steps (n, D) in model space may stand in a sample, (n,) and dtype bool; None for all.
        spec: What one example looks like.
        mixes: What of its training looks at several examples at once, so that no gradient is of one alone; "" for what
            is not known.
        adopts: Whether its parameters can be those of a mixture fitted to noisy marginals; see `Mixture.adopt`.
        alone: Why it is trained in one process only; "" where several can, each on its share of every batch.
        directions: Which of its logged figures are better "lower" or "higher".
        remedy: What to try when a loss is not finite.
        varies: Whether `transform` draws: it makes another example of the same input every time.
        beside: What it needs in `Batch.other`: "" for nothing, "domain" for pictures of a second set (`data.other`),
            "partner" for another picture of the same class (`data.partners`).
        reads_labels: Whether a model of pictures looks at classes although it is not told them.
        trained_with: Names of the extractors of `datakiln.metrics.extractors` that its losses look through: they decide
            nothing of its pictures.
        hidden_layer: What `hidden_of` gives, in words; "" for a model that has latents, or no such layer.
    """

    supports: ClassVar[frozenset[str]]
    reads: ClassVar[frozenset[str]] = frozenset({"value", "choice"})
    directions: ClassVar[dict[str, Literal["higher", "lower"]]] = {"loss": "lower"}
    remedy: ClassVar[str] = "try a lower model.optimizer.lr or trainer.gradient_clip_val=1"
    options: ClassVar[frozenset[str]] = frozenset()
    adopts: ClassVar[bool] = False
    mixes: ClassVar[str] = ""
    likelihood: ClassVar[Literal["none", "whole", "partial"]] = "none"
    beside: ClassVar[Literal["", "domain", "partner"]] = ""
    reads_labels: ClassVar[bool] = False
    varies: ClassVar[bool] = False
    conditioning: Conditioning = "none"
    restricts: ClassVar[bool] = False
    redraws: ClassVar[bool] = False
    accepts: Callable[[Tensor], Tensor] | None = None
    alone: ClassVar[str] = ""
    trained_with: ClassVar[frozenset[str]] = frozenset()
    hidden_layer: ClassVar[str] = ""

    gather_gradients: Callable[[Any], None] | None = None  # those of all processes, where several train
    guard: PrivateGradients | None = None  # clips and hides gradients, under differential privacy
    protection: Protection | None = None  # counts its steps

    def __init__(self, spec: DataSpec) -> None:
        """Arguments: spec: what one example looks like; raises `UserError` for a kind the model cannot model."""
        super().__init__()
        if spec.kind not in self.supports:
            kinds = " or ".join(sorted(self.supports))
            told = f"model {type(self).__name__} is for {kinds} data, not for {with_article(spec.kind)}"
            raise UserError(f"{told}; choose another model")
        strange = {block.kind for block in spec.blocks} - self.reads
        if strange:
            way = "data.codec.compact=false" if "code" in strange else "encoding=bins data.codec.compact=true"
            raise UserError(f"model {type(self).__name__} cannot read this encoding of the table; use {way}")
        self.spec = spec
        self.allowed: Mapping[int, Tensor] = {}
        self.watcher: Callable[[float], None] | None = None  # told how many more examples are made
        self._counted = 0.0
        self.meter = Meter()
        self._still: list[str] = []
        self._frozen: list[str] = []  # those of them that no checkpoint holds
        self._bad_step: Tensor | None = None
        self.earlier: tuple[int, int] | None = None  # epochs and updates of the fit before, where this one is a second
        self.fresh: dict[str, float] = {}  # figures of the running epoch, for monitors that must not see stale ones

    @abc.abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Values to log, scalars or vectors (one figure per element); "loss" is the one minimised."""

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """One chunk of samples in model space, shape (n, *spec.shape); see `conditioning` for the condition."""
        raise UserError(f"{type(self).__name__} draws nothing by itself: it takes an input; give {self.way_in}=DIR")

    def transform(self, x: Tensor, target: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """One chunk of examples made from others: translated, upscaled, restored.

        Arguments:
            x: Inputs in model space, shape (B, *), of a shape the model was trained to take.
            target: Index of what each is to become, a class or a domain, shape (B,); None where there is no choice.
            options: See `Sampling`.

        Returns:
            Examples in model space, shape (B, *spec.shape).
        """
        raise UserError(f"{type(self).__name__} takes no input, it draws: leave out translate=")

    def complete(self, x: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """One chunk of pictures whose unknown pixels are drawn given the known ones.

        Arguments:
            x: Pictures in model space with NaN where they are unknown, shape (B, C, H, W).
            y: Class indices, shape (B,); None where the model is to find them by itself, or is told none.
            options: See `Sampling`.

        Returns:
            Pictures of the same shape; what was known is as it was.
        """
        raise UserError(f"fill=: {type(self).__name__} cannot be told a part of an example and draw the rest")

    def enlarge(self, x: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """One chunk of pictures drawn given what they are when made smaller.

        Arguments:
            x: Means over blocks in model space, shape (B, C, H / k, W / k) for a whole k.
            y: As of `complete`.
            options: See `Sampling`.

        Returns:
            Pictures of shape (B, *spec.shape).
        """
        raise UserError(f"upscale=: {type(self).__name__} cannot be told a smaller picture and draw a larger one")

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Examples at given latents, shape (n, latent_dim) to (n, *spec.shape): the steps of a walk between some."""
        raise UserError(f"interpolate needs a model with a latent space, not {type(self).__name__}")

    def latents_of(self, batch: Batch) -> Tensor:
        """Latents (B, latent_dim) of encoded examples: an encoder's mean, or the inverse of an invertible map."""
        raise UserError(f"{type(self).__name__} has no way from an example back to its latents")

    def hidden_of(self, batch: Batch) -> Tensor:
        """States (B, H) of `hidden_layer` for encoded examples whose class is withheld."""
        raise UserError(f"{type(self).__name__} names no hidden layer to probe")

    @property
    def style_layers(self) -> int:
        """Places at which a style enters; 1 for a model whose latents are its styles."""
        return 1

    def styles(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Where examples are edited: the latents (n, latent_dim) themselves, or what a model makes of them."""
        return keys

    def of_styles(self, styles: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Examples of styles (n, latent_dim), or of one for every layer (n, layers, latent_dim), with gradients."""
        return self.walk(styles, condition, options)

    def unroll(self, start: Tensor, steps: int, options: Sampling = PLAIN) -> Iterator[Tensor]:
        """Sequences in model space (n, t, D) continued by `steps` steps, in pieces (n, k, D), at constant memory."""
        raise UserError(
            f"{type(self).__name__} makes sequences of {self.spec.shape[0]} steps and cannot go on with one"
        )

    @property
    def can_unroll(self) -> bool:
        """Whether it goes on with a sequence for as long as wished."""
        return type(self).unroll is not GenerativeModel.unroll

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability, or a lower bound on it, of encoded examples (B, *spec.shape), in nats, shape (B,)."""
        raise UserError(f"{type(self).__name__} has no likelihood")

    @property
    def takes(self) -> tuple[int, ...]:
        """Shape of one input of `transform`; that of an example unless a model says otherwise."""
        return self.spec.shape

    @property
    def enlarges(self) -> int:
        """How many times as large as its input, of any size, what `transform` makes is; 1 where sizes are fixed."""
        return 1

    @property
    def way_in(self) -> str:
        """The option that gives `transform` its inputs."""
        return "upscale" if self.enlarges > 1 else "vary" if self.varies else "translate"

    @property
    def can_draw(self) -> bool:
        """Whether it makes examples by itself."""
        return type(self).draw is not GenerativeModel.draw

    @property
    def can_transform(self) -> bool:
        """Whether it makes examples from others."""
        return type(self).transform is not GenerativeModel.transform

    @property
    def can_walk(self) -> bool:
        """Whether it has a latent space to walk through."""
        return type(self).walk is not GenerativeModel.walk

    @property
    def can_encode(self) -> bool:
        """Whether it tells the latents of an example."""
        return type(self).latents_of is not GenerativeModel.latents_of

    @property
    def can_enlarge(self) -> bool:
        """Whether it can be told a picture made smaller and draw the larger one."""
        return type(self).enlarge is not GenerativeModel.enlarge

    @property
    def can_fill(self) -> bool:
        """Whether it can be told a part of an example and draw the rest."""
        return self.conditioning == "columns" or type(self).complete is not GenerativeModel.complete

    @classmethod
    def has_option(cls, name: str) -> bool:
        """Whether `model.NAME=` is an argument of the class, or an optional one of what it passes its own on to."""
        is_own = True
        for base in cls.__mro__:
            if inspect.isfunction(init := vars(base).get("__init__")):
                parameters = inspect.signature(init).parameters
                if name in parameters:  # what a base cannot do without, the class gives it
                    return is_own or parameters[name].default is not inspect.Parameter.empty
                if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
                    return False
                is_own = False
        return False

    def check_options(self, options: Sampling) -> None:
        """Refuses a choice that would do nothing here.

        Raises:
            UserError: The option, its value, and those that the model follows.
        """
        for name, value in options.given().items():
            if name not in self.options:
                known = f"it follows {', '.join(sorted(self.options))}" if self.options else "it follows none of them"
                raise UserError(f"{name}={value} changes nothing about samples of {type(self).__name__}; {known}")

    def ways(self) -> Sequence[Sampling]:
        """Ways of being asked, in order, among which who measures samples while training chooses; often none.

        Neighbours differ little, so that a choice can go from one to the next.
        """
        return ()

    def keep_to(self, way: Sampling) -> None:
        """Samples are drawn in this way from now on, unless asked otherwise; one of `ways`."""
        raise NotImplementedError(f"{type(self).__name__} leaves nothing open")

    @torch.no_grad()
    def sample(self, n: int, condition: Tensor | None = None, options: Sampling = PLAIN) -> Tensor:
        """Samples in model space, shape (n, *spec.shape), in eval mode and chunks; draws from torch's global generator.

        Chunks are sized so that the activations stay in the processor's cache: twice as fast as large ones.

        Raises:
            ValueError: n is not positive, the condition has another length than n, or the model takes none.
            UserError: An option that the model does not follow, or a model that only transforms.
        """
        if n <= 0:
            raise ValueError(f"n={n} must be positive")
        self.check_options(options)
        if condition is not None:
            if self.conditioning == "none":
                raise ValueError(f"{type(self).__name__} takes no condition")
            if len(condition) != n:
                raise ValueError(f"condition has {len(condition)} rows, n={n}")
        chunk = self.rows_at_once
        sizes = [min(chunk, n - start) for start in range(0, n, chunk)]
        told = [None] * len(sizes) if condition is None else condition.split(chunk)
        with self.evaluating():
            parts = []
            for size, part in zip(sizes, told, strict=True):
                with self.making(size):
                    parts.append(self.draw(size, part, options))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @contextmanager
    def making(self, n: int) -> Iterator[None]:
        """Inside, n examples are made; what `tell` was not called with is told at the end."""
        before = self._counted
        yield
        self.tell(n - (self._counted - before))

    def tell(self, more: float) -> None:
        """Says that so many more examples are made: parts of some count, where one takes long."""
        self._counted += more
        if self.watcher is not None:
            self.watcher(more)

    @torch.no_grad()
    def transformed(self, x: Tensor, target: Tensor | None = None, options: Sampling = PLAIN) -> Tensor:
        """`transform` in eval mode and chunks, shape (n, *spec.shape).

        Raises:
            UserError: An option that the model does not follow, or a model that takes no input.
        """
        self.check_options(options)
        chunk = self.rows_at_once
        targets = [None] * -(-len(x) // chunk) if target is None else target.split(chunk)
        with self.evaluating():
            parts = [self.transform(part, told, options) for part, told in zip(x.split(chunk), targets, strict=True)]
        return torch.cat(parts)

    @contextmanager
    def within(self, allowed: Mapping[int, Tensor]) -> Iterator[None]:
        """Inside, rows are drawn from these codes, as far as the model `restricts`; see there."""
        before, self.allowed = self.allowed, {j: codes.to(self.device) for j, codes in allowed.items()}
        try:
            yield
        finally:
            self.allowed = before

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode within the block, and the mode it was in behind it."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    def impute(self, x: Tensor) -> Tensor:
        """Rows with NaN for unknown cells, filled by a draw given the known ones; for conditioning by "columns"."""
        if self.conditioning != "columns":
            raise ValueError(f"{type(self).__name__} cannot be told columns")
        return self.sample(len(x), x)

    @property
    def activations(self) -> int:
        """Numbers that the widest layer holds for one example; as many as the example has unless a model says more."""
        return math.prod(self.spec.shape)

    @property
    def rows_at_once(self) -> int:
        """Most examples that `sample` asks `draw` for together, bounded by their activations."""
        return min(max(2**20 // self.activations, 16), 16_384)

    def hold_still(self, *names: str, in_checkpoint: bool = False) -> None:
        """Holds parts still: no gradients, always in eval mode, in no optimizer.

        Arguments:
            *names: Of submodules, such as "features"; called in the constructor, once they are there.
            in_checkpoint: Whether averages and checkpoints hold their weights, as they do of a first stage. Otherwise
                they hold none, and a checkpoint keeps their hash: building the model brings the very same weights
                again, as published ones of a package, or the checkpoint is refused.
        """
        for name in names:
            part = self.get_submodule(name).requires_grad_(False).eval()
            self._still.append(name)
            if not in_checkpoint:
                part.register_state_dict_post_hook(_left_out)
                part.register_load_state_dict_pre_hook(_brought_along)
                self._frozen.append(name)

    def frozen_hashes(self) -> dict[str, str]:
        """SHA-256 of the weights of every part that checkpoints leave out, by name."""
        return {name: _hash_of(self.get_submodule(name)) for name in self._frozen}

    def check_frozen(self, hashes: Mapping[str, str]) -> None:
        """Refuses frozen parts that are others than those a checkpoint was trained with; raises `UserError`."""
        for name, found in self.frozen_hashes().items():
            if hashes.get(name) != found:
                told = f"the frozen part {name} of {type(self).__name__} has other weights than it was trained with"
                raise UserError(f"{told} ({found[:12]}, then {hashes.get(name, 'none')[:12]}); bring those back")

    def train(self, mode: bool = True) -> GenerativeModel:
        """Training or eval mode; frozen parts stay in eval mode."""
        super().train(mode)
        for name in self._still:
            self.get_submodule(name).eval()
        return self

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that an optimizer may move, in order."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def progress(self) -> float:
        """Share of training done, in [0, 1]; 1 outside a training run."""
        if self._trainer is None:
            return 1.0
        trainer = self.trainer
        if trainer.max_steps > 0:
            return min(self.steps / trainer.max_steps, 1.0)
        if not trainer.max_epochs or trainer.max_epochs < 0 or trainer.num_training_batches == float("inf"):
            return 1.0
        batches = trainer.num_training_batches
        done = trainer.current_epoch * batches + trainer.fit_loop.epoch_loop.batch_progress.current.completed % batches
        return min(done / (trainer.max_epochs * batches), 1.0)

    @property
    def networks(self) -> frozenset[str]:
        """Names of `trained_with`, or hashes as in an extractor's tag where a model knows them."""
        return self.trained_with

    def averaged(self) -> nn.Module:
        """The part whose weights an EMA averages: what `draw` needs."""
        return self

    def chosen_options(self) -> dict[str, Any]:
        """Options, by name, that a second fit on all rows takes over: what validation rows have chosen in this one.

        Also those that would make training longer than the trainer's epochs say.
        """
        return {}

    def lengths(self) -> dict[str, Any]:
        """Options, by name, with which training is no longer than the trainer's epochs say; none unless overridden."""
        return {}

    def epoch_figures(self) -> dict[str, float]:
        """Further figures at the end of a training epoch, named without their stage."""
        return {}

    def protect(self, clip: float, sigma: float, expected: float) -> None:
        """Trains under differential privacy from now on: gradients come from `guard`, and no loss is logged.

        Arguments:
            clip: See `PrivateGradients`, as for the others.
            sigma: See there.
            expected: See there.

        Raises:
            UserError: The model is not trained by gradients of single examples.
        """
        why = self.mixes or "a loss that is no mean over single examples"
        told = f"privacy=dp_sgd: {type(self).__name__} has {why}"
        raise UserError(f"{told}; take model=vae, tvae, tabddpm, gan or cgan, or privacy=marginals for tables")

    def protected_layers(self) -> list[tuple[str, nn.Module]]:
        """The part whose gradients see examples."""
        return list(self.named_modules())

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Whatever a loss would log of its examples is dropped."""
        kept, self.meter = self.meter, Meter()
        try:
            yield
        finally:
            self.meter = kept

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's means once; under differential privacy what was spent, and nothing of the examples."""
        if self.guard is not None:
            self.publish("train", {"epsilon": self.protection.spent if self.protection is not None else 0.0})
            return
        self._raise_together()
        self.publish("train", {**self.meter.pop("train"), **self.epoch_figures()})

    def on_validation_epoch_end(self) -> None:
        """Logs the validation means once."""
        self.publish("val", self.meter.pop("val"))

    def on_test_epoch_end(self) -> None:
        """Logs the test means once."""
        self.publish("test", self.meter.pop("test"))

    def publish(self, stage: str, figures: dict[str, float]) -> None:
        """Hands figures to loggers and monitors under "stage/name", once an epoch.

        Not through `self.log`: its bookkeeping took as long as the training of a small table did. A second fit, on all
        rows, goes on counting epochs and updates where the first one ended, and its "train" is called "refit".
        """
        epochs, updates = self.earlier or (0, 0)
        stage = "refit" if self.earlier is not None and stage == "train" else stage
        named = {f"{stage}/{name}": value for name, value in figures.items()}
        self.fresh.update(named)
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in named.items()})
        for logger in self.trainer.loggers:
            logger.log_metrics({**named, "epoch": epochs + self.current_epoch}, step=updates + self.steps)

    def on_train_epoch_start(self) -> None:
        """A new epoch has no figures yet."""
        self.fresh.clear()

    @property
    def steps(self) -> int:
        """Updates of the sampling network so far; Lightning's `global_step` counts those of every optimizer."""
        return self.global_step

    def check_finite(self, loss: Tensor) -> None:
        """Remembers the first step whose loss is NaN or infinite; on a CPU, where looking is free, raises at once."""
        if loss.device.type == "cpu" and processes.count() == 1:  # several must all leave at the same place
            if not math.isfinite(loss.item()):
                raise Diverged(self.current_epoch, self.steps, self.remedy)
            return
        if self._bad_step is None:
            self._bad_step = torch.full((), -1, dtype=torch.long, device=loss.device)
        is_first = (self._bad_step < 0) & ~torch.isfinite(loss.detach())
        self._bad_step = torch.where(is_first, torch.full_like(self._bad_step, self.steps), self._bad_step)

    def raise_if_diverged(self) -> None:
        """Raises `Diverged` if any loss so far was not finite; called before anything is saved and once an epoch."""
        if self._bad_step is not None and int(self._bad_step) >= 0:
            raise Diverged(self.current_epoch, int(self._bad_step), self.remedy)

    def _raise_together(self) -> None:
        """The same, in all of several processes if in one of them."""
        if processes.count() > 1:
            bad = torch.full((1,), float(self._bad_step is not None and int(self._bad_step) >= 0), device=self.device)
            if processes.total(bad) > 0 and (self._bad_step is None or int(self._bad_step) < 0):
                self._bad_step = torch.full((), self.steps, dtype=torch.long, device=self.device)
        self.raise_if_diverged()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches made on the device pass through untouched."""
        return batch if batch.x.device == device else batch.to(device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the half-done epoch's sums, so that a run resumed inside an epoch reports the same means."""
        checkpoint["meter"] = self.meter.state()
        checkpoint["frozen"] = self.frozen_hashes()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the half-done epoch's sums."""
        self.meter.load(checkpoint.get("meter", {}))
        self.check_frozen(checkpoint.get("frozen", {}))


class LikelihoodModel(GenerativeModel, abc.ABC):
    """A model with one loss and one optimizer: VAEs, autoregressive models, flows, diffusion.

    Attributes:
        is_mean: Whether the loss of a training batch is the mean of losses that its examples would have alone.

    Arguments:
        spec: What one example looks like.
        optimizer: Factory from parameters to an optimizer; None for a model that only samples.
        scheduler: Factory from the optimizer to a learning-rate scheduler stepped every epoch; None for a fixed rate.
    """

    is_mean: ClassVar[bool] = False

    def __init__(
        self, spec: DataSpec, optimizer: OptimizerFactory | None = None, scheduler: SchedulerFactory | None = None
    ) -> None:
        """See the class."""
        super().__init__(spec)
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler

    def protect(self, clip: float, sigma: float, expected: float) -> None:
        """See `GenerativeModel`."""
        if not self.is_mean:
            super().protect(clip, sigma, expected)
        self.automatic_optimization = False
        self.guard = PrivateGradients(self, lambda batch: self.losses(batch)["loss"], clip, sigma, expected, True)

    def _private_step(self, batch: Batch) -> None:
        """One step of DP-SGD."""
        assert self.guard is not None
        if self.protection is None or not self.protection.permit():
            return
        optimizer: Any = self.optimizers()
        with self.muted():
            self.guard.fill(batch)
        optimizer.step()
        if self.trainer.is_last_batch:
            for config in self.trainer.lr_scheduler_configs:
                config.scheduler.step()  # type: ignore[call-arg]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """One loss; the sums for the log stay on the device until the epoch ends."""
        if self.guard is not None:
            self._private_step(batch)
            return None
        losses = self.losses(batch)
        self.check_finite(losses["loss"])
        self.meter.add("train", losses, len(batch.x))
        return losses["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same figures on the validation split."""
        self.meter.add("val", self.losses(batch), len(batch.x))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same figures on the test split."""
        self.meter.add("test", self.losses(batch), len(batch.x))

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's union of five forms)
        """The optimizer, and its scheduler where there is one."""
        if self.optimizer_factory is None:
            raise UserError(f"{type(self).__name__} was built without an optimizer: it can sample, not train")
        optimizer = self.optimizer_factory(self.trainable())
        if self.scheduler_factory is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler_factory(optimizer)}


def scaled(z: Tensor, options: Sampling) -> Tensor:
    """Latents at the scale that was asked for."""
    return z if options.truncation is None else z * options.truncation


def _left_out(part: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Takes a frozen part's weights out of a state that is being gathered."""
    for name in [name for name in state if name.startswith(prefix)]:
        del state[name]


def _brought_along(part: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:  # noqa: ANN401
    """Puts the weights that a frozen part has into a state that is being loaded: they are in no checkpoint."""
    own = itertools.chain(part.named_parameters(), part.named_buffers())
    state.update({f"{prefix}{name}": value.detach() for name, value in own})


def _hash_of(part: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(itertools.chain(part.named_parameters(), part.named_buffers())):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
