"""Raw values to tensors and back."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from datakiln.errors import UserError, near
from datakiln.spec import NOUNS, DataSpec

CHUNK = 131_072


class Codec(abc.ABC):
    """An invertible map between user units and model space, fitted on the training split only.

    Its state is numbers, strings, lists and tensors, never a pickled object, so that a checkpoint that carries it loads
    with `weights_only=True`.
    """

    kind: ClassVar[str]
    spec: DataSpec

    @property
    def chunk(self) -> int:
        """Examples drawn at a time; part of what a seed means, so it is no option."""
        return CHUNK

    @abc.abstractmethod
    def encode(self, data: Any) -> Tensor:  # noqa: ANN401 (frame, image array or series array)
        """User units to model space, shape (n, *spec.shape), dtype float32."""

    @abc.abstractmethod
    def decode(self, x: Tensor, rng: np.random.Generator, first_row: int = 0) -> Any:  # noqa: ANN401
        """Model space to user units; `rng` draws what the encoding does not hold; ids count from `first_row`."""

    def class_index(self, value: object) -> int:
        """Index of a class given by its name; raises `UserError` naming the known ones."""
        classes = self.spec.classes
        if not classes:
            raise UserError(f"condition.class={value}: the training {NOUNS[self.kind]}s had no classes")
        if str(value) in classes:
            return classes.index(str(value))
        known = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
        raise UserError(f"condition.class={value} is not among the classes ({known}){near(str(value), classes)}")

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything `from_state` needs."""

    @classmethod
    @abc.abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Codec:
        """Inverse of `state`."""
