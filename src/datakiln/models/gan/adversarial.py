"""The training loop of models in which a critic judges what a generator makes."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel, OptimizerFactory, SchedulerFactory
from datakiln.models.gan.health import EXAMPLES, Health, diversity
from datakiln.privacy.gradients import PrivateGradients
from datakiln.spec import Batch, DataSpec

MEASUREMENTS = 200  # times in a run that the diversity of samples is looked at, which for a small net costs like a step


class AdversarialModel(GenerativeModel, abc.ABC):
    """Alternates updates of `critic` and of `generator`, each with its own optimizer and rate.

    Every batch makes one critic update; after `critic_steps` of them, counted over the whole run, follows one generator
    update. Critic updates carry no graph of the generator, generator updates no gradients of the critic. `steps`, and
    with it Lightning's `global_step` and `trainer.max_steps`, counts generator updates.

    Arguments:
        spec: What one example looks like.
        generator: Makes samples; its weights are what an EMA averages.
        critic: Scores samples.
        critic_steps: Critic updates for each generator update.
        accumulate: Pieces that each batch is worked through in; memory falls, the gradients stay those of the whole
            batch but for what depends on other rows of it, such as BatchNorm.
        lazy: Critic updates from one penalty on its gradients to the next, whose weight grows as much (Karras et al.,
            2020, appendix B); 1 for one at every update.
        generator_optimizer: Factory from parameters to an optimizer; None for a model that only samples.
        critic_optimizer: The same for the critic.
        generator_scheduler: Factory from the optimizer to a learning-rate scheduler stepped every epoch; None for a
            fixed rate.
        critic_scheduler: The same for the critic.
    """

    precisions: ClassVar[frozenset[str]] = frozenset({"32-true", "32", "bf16-mixed", "bf16"})  # of `trainer.precision`
    is_mean: ClassVar[bool] = False  # whether the critic's loss is a mean over examples
    told: float = 0.0  # size of a batch under differential privacy
    directions = {}  # a critic's loss measures it against its generator, not the samples
    remedy: ClassVar[str] = "try lower learning rates (model.critic_optimizer.lr, model.generator_optimizer.lr)"

    def __init__(
        self,
        spec: DataSpec,
        generator: nn.Module,
        critic: nn.Module,
        critic_steps: int = 1,
        accumulate: int = 1,
        lazy: int = 1,
        generator_optimizer: OptimizerFactory | None = None,
        critic_optimizer: OptimizerFactory | None = None,
        generator_scheduler: SchedulerFactory | None = None,
        critic_scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec)
        if critic_steps < 1:
            raise ValueError(f"critic_steps={critic_steps} must be at least 1")
        if accumulate < 1:
            raise ValueError(f"accumulate={accumulate} must be at least 1")
        self.automatic_optimization = False
        self.generator, self.critic = generator, critic
        if lazy < 1:
            raise ValueError(f"lazy={lazy} must be at least 1")
        self.critic_steps, self.accumulate, self.lazy = critic_steps, accumulate, lazy
        self.optimizer_factories = (critic_optimizer, generator_optimizer)
        self.scheduler_factories = (critic_scheduler, generator_scheduler)
        self.critic_updates = 0
        self.generator_updates = 0
        self.real_diversity: float | None = None
        self.health = Health(self.has_option)

    @abc.abstractmethod
    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars to log for one batch; "loss" is what the critic minimises. Make the fakes with `detached_fakes`.

        Where gradients are disabled, as in validation, penalties on gradients are left out.
        """

    @abc.abstractmethod
    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars to log; "loss" is what the generator minimises with fresh samples, as many as the batch has rows."""

    def judgement(self, batch: Batch) -> Tensor:
        """What the critic makes of each example, shape (B,); higher for what it takes for real."""
        raise UserError(f"the critic of {type(self).__name__} judges no single examples")

    def critic_parameters(self) -> list[nn.Parameter]:
        """What the critic's optimizer moves, asked once before training."""
        return [parameter for parameter in self.critic.parameters() if parameter.requires_grad]

    def generator_parameters(self) -> list[nn.Parameter]:
        """What the generator's optimizer moves: also a net beside it that trains with it, such as InfoGAN's Q."""
        return [parameter for parameter in self.generator.parameters() if parameter.requires_grad]

    @property
    def is_penalty_due(self) -> bool:
        """Whether this critic update pays a lazy penalty, `lazy` times its weight; counts critic updates."""
        return torch.is_grad_enabled() and self.critic_updates % self.lazy == 0

    def averaged(self) -> nn.Module:
        """The generator."""
        return self.generator

    @property
    def steps(self) -> int:
        """Generator updates so far."""
        return self.generator_updates

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Both sides' figures; "loss" is their sum, which reaches every parameter but is no measure of quality."""
        critic, generator = self.critic_losses(batch), self.generator_losses(batch)
        total = critic.pop("loss"), generator.pop("loss")
        return {"loss": total[0] + total[1], "critic_loss": total[0], "generator_loss": total[1], **critic, **generator}

    def protect(self, clip: float, sigma: float, expected: float) -> None:
        """See `GenerativeModel`: the critic's gradients are clipped and hidden; the generator learns from it alone.

        Raises:
            UserError: The critic's loss is not a mean over pictures, or anything but it looks at real ones.
        """
        if not self.is_mean:
            super().protect(clip, sigma, expected)
        self.told = expected

        def loss(batch: Batch) -> Tensor:
            return self.critic_losses(batch)["loss"]

        self.guard = PrivateGradients(self, loss, clip, sigma, expected, True, self.critic_parameters())

    def protected_layers(self) -> list[tuple[str, nn.Module]]:
        """The critic."""
        return list(self.critic.named_modules())

    def made_up(self, n: int) -> Batch:
        """What the generator's update is told of a batch of n examples, where no real one may tell it."""
        raise UserError(f"privacy=dp_sgd: {type(self).__name__} shows its generator real examples; take model=gan")

    def _private_step(self, batch: Batch) -> None:
        """One step of DP-SGD for the critic, and the generator's, which sees no real example."""
        assert self.guard is not None
        if self.protection is None or not self.protection.permit():
            return
        critic, generator = self.optimizers(use_pl_optimizer=False)  # type: ignore[misc]
        with self.muted():
            self.guard.fill(batch)
            critic.step()
            self.after_critic_update()
            self.critic_updates += 1
            if self.critic_updates % self.critic_steps == 0:
                with self._resting(critic, generator):
                    self._update("generator", self.made_up(max(round(self.told), 2)), self.optimizers()[1])  # type: ignore[index]
                self.generator_updates += 1

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One critic update and, when it is its turn, one generator update."""
        if self.guard is not None:
            self._private_step(batch)
            return
        if self.real_diversity is None:
            self.real_diversity = processes.told(float(diversity(batch.x[:EXAMPLES])))
        # the plain optimizer: Lightning's wrapper would count the critic's updates into `global_step`
        critic_optimizer = self.optimizers(use_pl_optimizer=False)[0]  # type: ignore[index]
        self._update("critic", batch, critic_optimizer)
        self.after_critic_update()
        self.critic_updates += 1
        if self.critic_updates % self.critic_steps == 0:
            with self._resting(critic_optimizer, self.optimizers(use_pl_optimizer=False)[1]):  # type: ignore[index]
                self._update("generator", batch, self.optimizers()[1])  # type: ignore[index]
            self.generator_updates += 1

    @contextmanager
    def _resting(self, critic: torch.optim.Optimizer, generator: torch.optim.Optimizer) -> Iterator[None]:
        """The critic's own parameters take no gradients in the generator's update; shared ones do."""
        moving = {id(parameter) for group in generator.param_groups for parameter in group["params"]}
        resting = [p for group in critic.param_groups for p in group["params"] if id(p) not in moving]
        for parameter in resting:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in resting:
                parameter.requires_grad_(True)

    def _update(self, side: str, batch: Batch, optimizer: Any) -> None:  # noqa: ANN401 (torch's or Lightning's)
        compute = self.critic_losses if side == "critic" else self.generator_losses
        optimizer.zero_grad(set_to_none=True)
        for piece in batch.pieces(self.accumulate):
            figures = compute(piece)
            loss = figures.pop("loss")
            self.check_finite(loss)
            self.manual_backward(loss * (len(piece.x) / len(batch.x)) if self.accumulate > 1 else loss)
            self.meter.add("train", {f"{side}_loss": loss, **figures}, len(piece.x))
        if self.gather_gradients is not None:
            self.gather_gradients(optimizer)
        self.meter.add("train", {f"{side}_gradient": gradient_norm(optimizer)}, len(batch.x))
        optimizer.step()
        # autocast keeps its bf16 copies of weights until the step ends; these weights have just changed
        torch.clear_autocast_cache()

    def after_critic_update(self) -> None:
        """Called after each critic update, for constraints on its weights."""

    def detached_fakes(self, *args: Any) -> Tensor:  # noqa: ANN401 (whatever the generator takes)
        """Samples without a graph, for the critic."""
        with torch.no_grad():
            fakes: Tensor = self.generator(*args)
        # autocast's copies of weights were made without a graph here; the generator's own update shall make its own
        torch.clear_autocast_cache()
        return fakes

    def on_fit_start(self) -> None:
        """Refuses scaled gradients, which penalties and norms would misread, and nets of another type than latents."""
        if str(self.trainer.precision) not in self.precisions:
            told = f"trainer.precision={self.trainer.precision}"
            raise UserError(f"{told}: {type(self).__name__} trains in 32-true or bf16-mixed; choose one of them")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same figures on the validation split: a critic that remembers the training data scores it lower."""
        self._measure("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same figures on the test split."""
        self._measure("test", batch)

    def _measure(self, stage: str, batch: Batch) -> None:
        figures = self.losses(batch)
        del figures["loss"]  # a sum of two opponents' losses: lower is not better
        self.meter.add(stage, figures, len(batch.x))

    def epoch_figures(self) -> dict[str, float]:
        """`diversity`: mean distance between samples of a fixed batch, over the same of real examples."""
        epochs = self.trainer.max_epochs or 0
        every = max(1, epochs // MEASUREMENTS)
        if not self.real_diversity or (self.current_epoch + 1) % every:
            return {}
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(0)
            samples = self.sample(EXAMPLES)
            samples = samples.clamp(-1.0, 1.0) if self.spec.kind == "image" else samples  # as they are decoded
        return {"diversity": float(diversity(samples)) / self.real_diversity}

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's means, warns of trouble, moves the learning rates."""
        if self.guard is not None:
            super().on_train_epoch_end()
            for config in self.trainer.lr_scheduler_configs:
                config.scheduler.step()  # type: ignore[call-arg]
            return
        self._raise_together()
        figures = {**self.meter.pop("train"), **self.epoch_figures()}
        self.publish("train", figures)
        self.health.look(figures, self.steps)
        for config in self.trainer.lr_scheduler_configs:
            config.scheduler.step()  # type: ignore[call-arg]

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's union of forms)
        """The critic's optimizer and the generator's, with their schedulers."""
        if None in self.optimizer_factories:
            raise UserError(f"{type(self).__name__} was built without optimizers: it can sample, not train")
        sides = (self.critic_parameters(), self.generator_parameters())
        optimizers = [
            make(side) for make, side in zip(self.optimizer_factories, sides, strict=True) if make is not None
        ]
        made = zip(self.scheduler_factories, optimizers, strict=True)
        return optimizers, [make(optimizer) for make, optimizer in made if make is not None]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the counters, which decide whose turn it is, beside what the base keeps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["adversarial"] = {
            "critic_updates": self.critic_updates,
            "generator_updates": self.generator_updates,
            "real_diversity": self.real_diversity,
            "health": self.health.state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the counters."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint["adversarial"]
        self.critic_updates, self.generator_updates = state["critic_updates"], state["generator_updates"]
        self.real_diversity = state["real_diversity"]
        self.health.load(state["health"])


@torch.no_grad()
def gradient_norm(optimizer: Any) -> Tensor:  # noqa: ANN401 (torch's or Lightning's)
    """Norm of all gradients that an optimizer goes by, a scalar."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return torch.stack(torch._foreach_norm(gradients)).norm()
