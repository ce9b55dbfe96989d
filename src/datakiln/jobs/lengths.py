"""What a person's options say of the length of training. Imports nothing heavy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from datakiln.errors import UserError

LENGTHS = ("epochs=", "trainer.max_epochs=", "trainer.max_steps=", "debugging=")  # options that say how long to train
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def is_length_told(overrides: Iterable[Any]) -> bool:
    """Whether one of a run's options says how long to train."""
    return any(str(word).lstrip("+").startswith(LENGTHS) for word in overrides)


def budget_seconds(budget: Any) -> float | None:  # noqa: ANN401 (any yaml value)
    """Seconds of CPU time that `budget=` allows; None where it sets no bound.

    Raises:
        UserError: It is no time.
    """
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(budget).strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else math.nan
    if not 0.0 < seconds < math.inf:
        raise UserError(
            f"budget={budget} must be a time of the processor, above 0, such as 30s, 5m, 1h or 90 (seconds)"
        )
    return seconds
