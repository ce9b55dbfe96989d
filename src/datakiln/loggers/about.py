"""What a logger may know of a run beyond its config: its choices in plain words, and samples of what it made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_swept: ContextVar[tuple[str, ...]] = ContextVar("swept", default=())


@contextmanager
def varied_by(overrides: Sequence[str]) -> Iterator[None]:
    """Runs that are started inside are told apart by these overrides, as the jobs of a sweep are."""
    token = _swept.set(tuple(overrides))
    try:
        yield
    finally:
        _swept.reset(token)


@dataclass(frozen=True)
class About:
    """A run in plain words.

    Attributes:
        model: Name of the chosen model, such as "vae".
        data: Name of the chosen data set.
        seed: Of everything.
        overrides: What the person chose, each "key=value".
        learning_rate: Of the model's optimizer, the generator's where there are two; None where nothing is optimised.
        swept: Those of the overrides that tell this run from the others of its sweep; empty outside one.
    """

    model: str
    data: str
    seed: int
    overrides: tuple[str, ...] = ()
    learning_rate: float | None = None
    swept: tuple[str, ...] = field(default_factory=lambda: _swept.get())

    @property
    def name(self) -> str:
        """What varies in a sweep, else "model-data-seed"."""
        return " ".join(self.swept) or f"{self.model}-{self.data}-{self.seed}"

    @property
    def columns(self) -> dict[str, Any]:
        """Model, data, seed, rate and every override under its own name, with numbers as numbers."""
        chosen: dict[str, Any] = {}
        for override in self.overrides:
            key, sign, value = override.lstrip("+~").partition("=")
            chosen[key] = _plain(value) if sign else "removed"
        rate = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return {**chosen, "model": self.model, "data": self.data, "seed": self.seed, **rate}


@dataclass(frozen=True)
class Samples:
    """Some of what a run made: rows, or pictures with their classes.

    Attributes:
        rows: A table of rows, or None.
        pictures: Bytes (n, H, W, C), or None.
        labels: The class that each picture was asked to show; empty where there is none.
    """

    rows: pd.DataFrame | None = None
    pictures: np.ndarray[Any, Any] | None = None
    labels: tuple[str, ...] = ()


def learning_rate(model: Mapping[str, Any]) -> float | None:
    """The rate in a model's config: of `optimizer`, else of `generator_optimizer`; None where there is none."""
    for name in ("optimizer", "generator_optimizer"):
        rate = (model.get(name) or {}).get("lr")
        if isinstance(rate, int | float):
            return float(rate)
    return None


def _plain(value: str) -> Any:  # noqa: ANN401 (what a word stands for)
    """A word of the command line as the number, truth or text that it is; lists and the like stay text."""
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    if isinstance(read, str):
        try:
            return float(read)  # YAML takes 1e-3 for a text
        except ValueError:
            return read
    return read if isinstance(read, bool | int | float) else value
