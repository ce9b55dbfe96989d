"""What a person's options say of the length of training. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

LENGTHS = ("epochs=", "trainer.max_epochs=", "trainer.max_steps=", "debugging=")  # options that say how long to train


def is_length_told(overrides: Iterable[Any]) -> bool:
    """Whether one of a run's options says how long to train."""
    return any(str(word).lstrip("+").startswith(LENGTHS) for word in overrides)
