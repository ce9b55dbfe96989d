"""Signs that adversarial training has gone wrong, told in plain words."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
    "generated %.0f %%), which leaves the generator little to learn from; %s"
)
COLLAPSED_TEXT = (
    "the samples have collapsed: they differ from each other only %.0f %% as much as real examples do; go back to an "
    "earlier checkpoint; %s"
)

DIVERGING_TEXT = (
    "training is diverging: the critic's gradients are %.0f times what they were in the calmest epoch so far; go back "
    "to an earlier checkpoint; %s"
)
RATE = {"critic_optimizer": "lower the critic's learning rate (model.critic_optimizer.lr)"}
RATES = RATE | {"generator_optimizer": "lower the generator's (model.generator_optimizer.lr)"}
PENALTIES = {
    "gamma": "raise its penalty (model.gamma)",
    "penalty": "raise its penalty (model.penalty)",
    "r1": "give it more of a penalty (model.r1)",
}
REMEDIES = {  # what may be turned, by argument: only what the model has is named
    WON_TEXT: RATE
    | {"label_smoothing": "smooth its labels (model.label_smoothing)"}
    | PENALTIES
    | {"diffaugment": "keep it from remembering the data (model.diffaugment)"},
    COLLAPSED_TEXT: RATES | PENALTIES,
    DIVERGING_TEXT: RATE | PENALTIES,
}
UNPENALISED = "choose a model with a penalty (r3gan, wgan_gp)"


def diversity(x: Tensor) -> Tensor:
    """Mean distance between different examples of a batch, a scalar, shape of x (B, *)."""
    rows = x.flatten(1).float()
    return torch.pdist(rows).mean() if len(rows) > 1 else rows.new_zeros(())


class Health:
    """Watches a run's figures and warns once of each trouble, again only after it has passed in between.

    Arguments:
        has_option: Whether the model has an argument of a name, so that no knob is advised which is not there.
    """

    def __init__(self, has_option: Callable[[str], bool]) -> None:
        """Starts well."""
        self._has_option = has_option
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
            log.warning(text, *values, self._remedy(text))
            self._told.add(name)
        elif not is_so:
            self._told.discard(name)

    def _remedy(self, text: str) -> str:
        penalty = next((name for name in PENALTIES if self._has_option(name)), None)
        others = {name: told for name, told in REMEDIES[text].items() if name not in PENALTIES or name == penalty}
        found = [told for name, told in others.items() if self._has_option(name)]
        if text == COLLAPSED_TEXT and penalty is None and self._has_option("latent_dim"):
            found.append(UNPENALISED)
        return f"{', '.join(found[:-1])}, or {found[-1]}" if len(found) > 1 else found[0]
