"""TimeGAN: a generator in the latent space of an autoencoder, with a supervisor that steps ahead in it.

Yoon, Jarrett and van der Schaar, 2019, https://papers.nips.cc/paper/8789. Three phases, one after the other: embedding
(eq. 7), supervised (eq. 9) and joint (eqs. 7 to 9 and the moments of the published code). The windows are scaled once,
by the codec; the published code scales twice, and its generator learns the scale of the second. Static columns stand in
every step, and one value of each is shown for all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel, OptimizerFactory
from datakiln.nets.gathered import mean_of_all
from datakiln.nets.settling import settled
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

SUPERVISED, MOMENTS, RECONSTRUCTION = 100.0, 100.0, 10.0  # weights of the published code
RESTS_BELOW = 0.15  # loss of the critic at which it is not updated
LEAST = 256  # samples that moments are told by
GENERATOR_TURNS = 2  # for each of the critic's
TINY = 1e-6


class TimeGAN(GenerativeModel):
    """Trains four nets by the published schedule; its loss is how far means and deviations of samples are off.

    Arguments:
        spec: A series of values and choices.
        hidden: Size of the latent steps, of the noise and of all recurrent nets.
        layers: Of each recurrent net; the supervisor has one less.
        embedding: Share of training that the autoencoder has alone.
        supervised: Share after it that the supervisor has.
        gamma: Weight of what the critic says of latent steps before the supervisor.
        optimizer: Factory of each of the four optimizers; None for a model that only samples.
    """

    supports = frozenset({"series"})
    directions = {"loss": "lower", "reconstruction": "lower", "supervised": "lower"}
    mixes = "moments of a whole batch"

    def __init__(
        self,
        spec: DataSpec,
        hidden: int = 24,
        layers: int = 3,
        embedding: float = 0.3,
        supervised: float = 0.2,
        gamma: float = 1.0,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec)
        if hidden < 1 or layers < 2:
            raise UserError(f"model.hidden={hidden} must be at least 1, and model.layers={layers} at least 2")
        if min(embedding, supervised) <= 0 or embedding + supervised >= 1:
            raise UserError(f"model.embedding={embedding} and model.supervised={supervised} must leave a share to all")
        self.automatic_optimization = False
        self.hidden, self.gamma, self.shares = hidden, gamma, (embedding, embedding + supervised)
        self.optimizer_factory = optimizer
        static = spec.columns[: spec.static]
        self.offset = static[-1].blocks[-1].stop if static else 0
        width = spec.shape[1]
        self.embedder = _Recurrent(width, hidden, hidden, layers, "sigmoid")
        self.recovery = _Recurrent(hidden, hidden, width, layers, "none")
        self.generator = _Recurrent(hidden, hidden, hidden, layers, "sigmoid")
        self.supervisor = _Recurrent(hidden, hidden, hidden, layers - 1, "sigmoid")
        self.critic = _Recurrent(hidden, hidden, 1, layers, "none")
        self.updates, self.latent_dim = 0, spec.shape[0] * hidden

    @property
    def steps(self) -> int:
        """Batches learnt from."""
        return self.updates

    @property
    def phase(self) -> str:
        """What is trained at this point of a run."""
        done = self.progress
        return "embedding" if done < self.shares[0] else "supervised" if done < self.shares[1] else "joint"

    def averaged(self) -> nn.Module:
        """Refuses: the nets change their task from phase to phase."""
        raise UserError("model TimeGAN trains in phases, over which weights cannot be averaged; leave ema=null")

    def _noise(self, n: int) -> Tensor:
        return torch.rand(n, self.spec.shape[0], self.hidden, device=self.device)

    def _reconstruction(self, x: Tensor) -> Tensor:
        return _root(mean_of_all(functional.mse_loss(self.recovery(self.embedder(x)), x), len(x)))

    def _supervised(self, latent: Tensor) -> Tensor:
        return mean_of_all(functional.mse_loss(self.supervisor(latent)[:, :-1], latent[:, 1:]), len(latent))

    def _made(self, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latent steps before and after the supervisor, and what the recovery makes of the latter."""
        before = self.generator(noise)
        after = self.supervisor(before)
        return before, after, self.recovery(after)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of one batch, all phases' figures."""
        x = batch.x
        latent = self.embedder(x)
        if processes.part(len(x))[1] >= LEAST:
            made = self._made(self._noise(len(x)))[2]
        else:
            with processes.by_itself():
                made = self._made(self._noise(LEAST))[2]
        return {
            "loss": _moments(made, x),
            "reconstruction": self._reconstruction(x),
            "supervised": self._supervised(latent),
        }

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One update of the phase's nets."""
        figures = getattr(self, f"_{self.phase}_turn")(batch.x)
        self.meter.add("train", figures, len(batch.x))
        self.updates += 1

    def _embedding_turn(self, x: Tensor) -> dict[str, Tensor]:
        loss = self._reconstruction(x)
        self._update(0, RECONSTRUCTION * loss)
        return {"reconstruction": loss.detach()}

    def _supervised_turn(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            latent = self.embedder(x)
        loss = self._supervised(latent)
        self._update(1, loss)
        return {"supervised": loss.detach()}

    def _joint_turn(self, x: Tensor) -> dict[str, Tensor]:
        figures: dict[str, Tensor] = {}
        for turn in range(GENERATOR_TURNS):
            with torch.no_grad():
                latent = self.embedder(x)
            before, after, made = self._made(self._noise(len(x)))
            fooled = _judged(self.critic(after), 1.0) + self.gamma * _judged(self.critic(before), 1.0)
            ahead, moments = self._supervised(latent), _moments(made, x)
            self._update(2, fooled + SUPERVISED * _root(ahead) + MOMENTS * moments, counts=False)
            reconstruction = self._reconstruction(x)
            self._update(0, RECONSTRUCTION * reconstruction + 0.1 * self._supervised(self.embedder(x)), turn == 0)
            figures = {"generator": fooled, "moments": moments, "supervised": ahead, "reconstruction": reconstruction}
        with torch.no_grad():
            latent = self.embedder(x)
            before, after, _ = self._made(self._noise(len(x)))
        told = _judged(self.critic(latent), 1.0) + _judged(self.critic(after), 0.0)
        loss = told + self.gamma * _judged(self.critic(before), 0.0)
        self.check_finite(loss)
        if float(processes.whole_mean(loss.detach(), len(x))) > RESTS_BELOW:  # without a gradient Adam would move on
            self._update(3, loss, counts=False)
        return {name: value.detach() for name, value in {**figures, "critic": loss}.items()}

    def _update(self, which: int, loss: Tensor, counts: bool = True) -> None:
        """One step of an optimizer; of each batch one counts into `global_step`, which Lightning's wrapper sees to."""
        self.check_finite(loss)
        optimizers: Any = self.optimizers(use_pl_optimizer=counts)
        optimizer = optimizers[which]
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The figures of the validation split."""
        self.meter.add("val", self.losses(batch), len(batch.x))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The figures of the test split."""
        self.meter.add("test", self.losses(batch), len(batch.x))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Of the autoencoder, the supervisor alone, generator and supervisor together, and the critic."""
        if self.optimizer_factory is None:
            raise UserError("TimeGAN was built without an optimizer: it can sample, not train")
        groups = (
            (self.embedder, self.recovery), (self.supervisor,), (self.generator, self.supervisor), (self.critic,),
        )  # fmt: skip
        return [self.optimizer_factory([p for net in nets for p in net.parameters()]) for nets in groups]

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Windows (n, T, D)."""
        return self._shown(self._noise(n))

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Windows of normal latents (n, T * hidden), whose distribution function gives the uniform noise."""
        return self._shown(torch.special.ndtr(keys).view(-1, self.spec.shape[0], self.hidden))

    def _shown(self, noise: Tensor) -> Tensor:
        x = self._made(noise)[2]
        if self.offset:
            static = x[:, :, : self.offset].mean(dim=1, keepdim=True)
            x = torch.cat([static.expand(-1, x.shape[1], -1), x[:, :, self.offset :]], dim=2)
        return settled(x, self.spec.blocks)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the count of updates beside what the base keeps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["updates"] = self.updates

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores it."""
        super().on_load_checkpoint(checkpoint)
        self.updates = checkpoint["updates"]


class _Recurrent(nn.Module):
    """GRUs and a linear layer on each step."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int, end: str) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, outputs)
        self.end = nn.Sigmoid() if end == "sigmoid" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Steps (B, T, inputs) to (B, T, outputs)."""
        return self.end(self.out(self.gru(x)[0]))


def _root(error: Tensor) -> Tensor:
    return (error + TINY).sqrt()


def _judged(logits: Tensor, label: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _moments(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of means and of standard deviations, by step and column."""
    means, spreads = zip(*map(_mean_and_deviation, (made, real)), strict=True)
    return (means[0] - means[1]).abs().mean() + (spreads[0] - spreads[1]).abs().mean()


def _mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of a whole batch, of which this process has x."""
    mean = mean_of_all(x.mean(dim=0), len(x))
    return mean, _root(mean_of_all((x - mean).square().mean(dim=0), len(x)))
