"""Training under differential privacy: noise is solved from the budget, steps are counted, and its end is the budget's.

The count of steps is written before they are taken, for an epoch's worth at a time, so that a run that is killed and
goes on counts steps whose work was lost: they have looked at rows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L

from datakiln.data.base import GenerativeData
from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel
from datakiln.privacy import accountants
from datakiln.privacy.accountants import Kind
from datakiln.privacy.gradients import check_layers
from datakiln.storage import replacing, small_text

STEPS = "privacy-steps.json"


@dataclass
class Plan:
    """What was promised of a fit, and how much of it is spent.

    Attributes:
        sigma: Standard deviation of the noise over the clip.
        rate: Probability that an example takes part in a step.
        steps: That the noise is enough for.
        taken: Steps so far, those of an epoch that was begun counted whole.
    """

    sigma: float
    rate: float
    steps: int
    taken: int = 0


class PrivateTraining(L.Callback):
    """Protects a model's training, and ends it when the budget is spent.

    Arguments:
        data: Whose loader draws examples by Poisson sampling.
        folder: Of the run's checkpoints, where the count is kept.
        epsilon: For the gradients.
        delta: For the gradients.
        clip: Largest norm of an example's gradient.
        accountant: "prv" or "rdp".
    """

    def __init__(
        self, data: GenerativeData, folder: Path, epsilon: float, delta: float, clip: float, accountant: Kind
    ) -> None:
        """See the class."""
        self.data, self.path = data, folder / STEPS
        self.epsilon, self.delta, self.clip, self.accountant = epsilon, delta, clip, accountant
        self.plan: Plan | None = None
        self.spent, self.left = 0.0, 0  # epsilon; steps that are counted, but not taken

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Solves the noise, or takes up that of an earlier start, and hands the model what clips and hides."""
        assert isinstance(pl_module, GenerativeModel)
        rate, batches = self.data.poisson
        if self.path.exists():
            self.plan = self._read()
            self.spent = self._cost(self.plan.taken)
        else:
            steps = (trainer.max_epochs or 1) * batches
            sigma = accountants.noise_for(self.accountant, self.epsilon, self.delta, rate, steps)
            self.plan = Plan(sigma, rate, steps)
        pl_module.protect(self.clip, self.plan.sigma, self.data.expected)
        pl_module.protection = self
        check_layers(pl_module.protected_layers(), type(pl_module).__name__)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A budget that an earlier start has spent leaves nothing to do."""
        self._end_if_spent(trainer)

    def permit(self) -> bool:
        """Whether one more step is paid for; counts as many as an epoch has before the first of them is taken."""
        assert self.plan is not None
        if not self.left:
            self.left = min(self.data.poisson[1], self.plan.steps - self.plan.taken)
            if not self.left:
                return False
            self.plan.taken += self.left
            with replacing(self.path) as partial:
                partial.write_text(json.dumps(asdict(self.plan)) + "\n", encoding="utf-8")
            self.spent = self._cost(self.plan.taken)
        self.left -= 1
        return True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends training when no further step is paid for."""
        self._end_if_spent(trainer)

    def _end_if_spent(self, trainer: L.Trainer) -> None:
        assert self.plan is not None
        if not self.left and self.plan.taken >= self.plan.steps:
            trainer.should_stop = True

    def _cost(self, steps: int) -> float:
        assert self.plan is not None
        return accountants.spent(self.accountant, self.plan.sigma, self.plan.rate, steps, self.delta)

    def _read(self) -> Plan:
        try:
            content: Any = json.loads(small_text(self.path))
            plan = Plan(**content)
            known = {"sigma": float, "rate": float, "steps": int, "taken": int}
            if any(type(getattr(plan, name)) is not kind for name, kind in known.items()) or plan.sigma <= 0:
                raise ValueError("values of other types")
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.path} does not tell what was spent ({error}); begin a new run") from None
        return plan
