"""The hand-off from data to model: what one encoded example looks like.

A data module publishes a `DataSpec` once its codec is fitted; a model sizes its layers from it; a checkpoint stores it.
Nothing here knows about files, frames or networks.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from datakiln.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["table", "image", "series"]
BlockKind = Literal["value", "choice", "code"]


class Batch(NamedTuple):
    """Encoded examples in model space.

    Attributes:
        x: Examples, shape (B, *spec.shape).
        y: Label indices into `spec.classes`, shape (B,), dtype long; None where the data has no label.
    """

    x: Tensor
    y: Tensor | None = None


@dataclass(frozen=True)
class Block:
    """A run of neighbouring positions of an encoded table row that has one likelihood.

    Attributes:
        start: First position.
        stop: One past the last position.
        kind: "value" for one real number, "choice" for a one-hot vector, "code" for the index of a category, a whole
            number in one position, NaN where the category is unknown.
        gate: Position of the one-hot element that must be 1 for this value to have been observed, or None if it always
            is. A numeric column with missing cells or spikes is a choice block (its state) and a gated value block.
        size: Number of categories of a code; 0 for the other kinds.
        ordered: How many of them, from the first, stand for rising numbers; the rest are of no order.
    """

    start: int
    stop: int
    kind: BlockKind
    gate: int | None = None
    size: int = 0
    ordered: int = 0

    @property
    def width(self) -> int:
        """Number of positions."""
        return self.stop - self.start


@dataclass(frozen=True)
class Column:
    """One column of a table and the blocks that encode it, in order of position."""

    name: str
    blocks: tuple[Block, ...]
    is_label: bool = False


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data.

    Attributes:
        kind: "table", "image" or "series".
        shape: Shape of one encoded example: (D,), (C, H, W) or (T, D).
        columns: Encoded columns of a table or of one time step of a series; empty for images.
        classes: Label values as text, in the order of the label indices; empty without a label.
        class_shares: Share of each class among the training rows, summing to 1; same length as `classes`.
        bounds: Lowest and highest value a sample can take in model space.
        size: Number of training examples.
    """

    kind: Kind
    shape: tuple[int, ...]
    columns: tuple[Column, ...] = ()
    classes: tuple[str, ...] = ()
    class_shares: tuple[float, ...] = ()
    bounds: tuple[float, float] = (-1.0, 1.0)
    size: int = 0

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of all columns, in order of position."""
        return tuple(block for column in self.columns for block in column.blocks)

    @property
    def label(self) -> Column | None:
        """The encoded label column, if the label is part of the encoded row."""
        return next((column for column in self.columns if column.is_label), None)

    def state(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, fit for a checkpoint read with `weights_only=True`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> DataSpec:
        """Inverse of `state`."""
        columns = tuple(
            Column(column["name"], tuple(Block(**block) for block in column["blocks"]), column["is_label"])
            for column in state["columns"]
        )
        return cls(
            kind=state["kind"],
            shape=tuple(state["shape"]),
            columns=columns,
            classes=tuple(state["classes"]),
            class_shares=tuple(state["class_shares"]),
            bounds=(state["bounds"][0], state["bounds"][1]),
            size=state["size"],
        )


@dataclass(frozen=True)
class LabelledImages:
    """The training split of a data set with labels.

    Attributes:
        images: Shape (n, C, H, W), uint8.
        labels: Class of each, int64, shape (n,).
        sha256: Hash of the data; with the recipe, the key of the cached network.
        is_sample: Whether they are a sample of pictures too many for memory: good for a judge that is asked for, but no
            reason to choose the classifier by itself.
    """

    images: Tensor
    labels: Tensor
    sha256: str
    is_sample: bool = False

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1

    @property
    def side(self) -> int:
        """What the classifier sees: the images' own height, between 8 and 64."""
        return min(max(int(self.images.shape[2]), 8), 64)


def doublings(side: int) -> tuple[int, int]:
    """(base, k) with side = base * 2^k and a base of 4 to 7; raises `UserError` for a side that has none."""
    base, count = side, 0
    while base % 2 == 0 and base > 7:
        base, count = base // 2, count + 1
    if not 4 <= base <= 7 or count < 1:
        raise UserError(f"these nets do not fit pictures of {side} px; set data.side to 8, 16, 28, 32, 64 or 128")
    return base, count
