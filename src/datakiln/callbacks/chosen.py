"""What a fit with the validation rows apart has chosen for the fit on all rows that follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from datakiln.errors import UserError

KINDS: dict[str, tuple[type, ...]] = {
    "epochs": (int,),
    "ran": (int,),
    "steps": (int,),
    "best_epoch": (int, type(None)),
    "score": (float, type(None)),
    "options": (dict,),
}


@dataclass(frozen=True)
class Chosen:
    """What the first of two fits leaves to the second.

    Attributes:
        epochs: How long the second one is; None where a person has said it.
        ran: Epochs of the first.
        steps: Updates of the first.
        best_epoch: The best of them by the monitor, from 0; None where it was never measured.
        score: The monitor there.
        options: Of the model, by name: see `GenerativeModel.chosen_options`.
    """

    epochs: int | None
    ran: int
    steps: int
    best_epoch: int | None
    score: float | None
    options: dict[str, Any]

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], where: str) -> Chosen:
        """Inverse of `state`.

        Raises:
            UserError: A key or type is another than `state` gives; `where` names the file.
        """
        for name in sorted({*KINDS, *state}):
            value, kinds = state.get(name), KINDS.get(name, ())
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise UserError(f"{where}: its refit.{name} is {str(value)[:40]!r}, which no fit leaves; use another")
        return cls(**state)
