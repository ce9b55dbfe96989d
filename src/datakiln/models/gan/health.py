"""Signs that adversarial training has gone wrong, told in plain words."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

WON, WON_EPOCHS = 0.99, 5  # a critic this sure of both kinds for so many epochs in a row teaches the generator nothing
COLLAPSED = 0.1  # samples this much closer to each other than real ones are nearly one sample
DIVERSE = 0.3  # what has been this far apart has collapsed when it no longer is; an untrained generator never was
PATIENCE = 500  # generator updates that both troubles must last, since a beginning looks the same
BLOWN_UP = 100.0  # times that the critic's gradients may grow over their calmest epoch
EXAMPLES = 64  # a fixed batch is judged by this many

WON_TEXT = (
    "the discriminator has won: for %d epochs it has told real from generated almost without error (real %.0f %%, "
    "generated %.0f %%), which leaves the generator little to learn from; lower its learning rate "
    "(model.critic_optimizer.lr), smooth its labels (model.label_smoothing), give it a penalty (model.r1), or keep it "
    "from remembering the data (model.diffaugment)"
)
COLLAPSED_TEXT = (
    "the samples have collapsed: they differ from each other only %.0f %% as much as real examples do; go back to an "
    "earlier checkpoint, lower the learning rates (model.generator_optimizer.lr, model.critic_optimizer.lr), or choose "
    "a model with a penalty (r3gan, wgan_gp)"
)

DIVERGING_TEXT = (
    "training is diverging: the critic's gradients are %.0f times what they were in the calmest epoch so far; go back "
    "to an earlier checkpoint, lower its learning rate (model.critic_optimizer.lr), or raise its penalty (model.r1, "
    "model.gamma, model.penalty, as the model has it)"
)


def diversity(x: Tensor) -> Tensor:
    """Mean distance between different examples of a batch, a scalar, shape of x (B, *)."""
    rows = x.flatten(1).float()
    return torch.pdist(rows).mean() if len(rows) > 1 else rows.new_zeros(())


class Health:
    """Watches a run's figures and warns once of each trouble, again only after it has passed in between."""

    def __init__(self) -> None:
        """Starts well."""
        self.sure_epochs = 0
        self.sure_since = 0
        self.was_diverse = False
        self.calmest: float | None = None  # norm of the critic's gradients, a mean over an epoch
        self._told: set[str] = set()

    def look(self, figures: dict[str, float], steps: int) -> None:
        """Looks at one epoch.

        Arguments:
            figures: `real_accuracy` and `fake_accuracy` where they mean something, or `pair_accuracy` of a loss on
                pairs; `diversity` where it was measured; `critic_gradient`.
            steps: Generator updates so far.
        """
        pairs = figures.get("pair_accuracy", 0.0)
        real, fake = figures.get("real_accuracy", pairs), figures.get("fake_accuracy", pairs)
        self.sure_epochs = self.sure_epochs + 1 if min(real, fake) >= WON else 0
        self.sure_since = self.sure_since if self.sure_epochs else steps
        has_won = self.sure_epochs >= WON_EPOCHS and steps - self.sure_since >= PATIENCE
        self._tell("won", has_won, WON_TEXT, self.sure_epochs, 100 * real, 100 * fake)
        share = figures.get("diversity")
        if share is not None:
            self.was_diverse |= share >= DIVERSE
            is_collapsed = share < COLLAPSED and (self.was_diverse or steps >= PATIENCE)
            self._tell("collapsed", is_collapsed, COLLAPSED_TEXT, 100 * share)
        gradient = figures.get("critic_gradient", 0.0)
        if gradient > 0 and steps >= PATIENCE:
            self.calmest = gradient if self.calmest is None else min(self.calmest, gradient)
            times = gradient / self.calmest
            self._tell("diverging", times > BLOWN_UP, DIVERGING_TEXT, times)

    def state(self) -> dict[str, int | bool | float | None]:
        """What a resumed run must know."""
        known = {"sure_epochs": self.sure_epochs, "sure_since": self.sure_since, "was_diverse": self.was_diverse}
        return {**known, "calmest": self.calmest}

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.calmest = state.get("calmest")
        self.sure_epochs, self.sure_since = int(state["sure_epochs"]), int(state["sure_since"])
        self.was_diverse = bool(state["was_diverse"])

    def _tell(self, name: str, is_so: bool, text: str, *values: float) -> None:
        if is_so and name not in self._told:
            log.warning(text, *values)
            self._told.add(name)
        elif not is_so:
            self._told.discard(name)
