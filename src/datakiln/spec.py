"""The hand-off from data to model: what one encoded example looks like.

A data module publishes a `DataSpec` once its codec is fitted; a model sizes its layers from it; a checkpoint stores it.
Nothing here knows about files, frames or networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from datakiln.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Kind = Literal["table", "image", "series"]
BlockKind = Literal["value", "choice", "code", "place"]
NOUNS: dict[str, str] = {"table": "row", "image": "picture", "series": "sequence"}  # one example of each kind


class Batch(NamedTuple):
    """Encoded examples in model space. Every field but `x` is None where the data has no such thing.

    Attributes:
        x: Examples, shape (B, *spec.shape).
        y: Label indices into `spec.classes`, shape (B,), dtype long; -1 where the label of an example is unknown.
        mask: Which positions of `x` were observed, shape of `x` or of its first dimensions, dtype bool.
        length: Steps of each sequence that count, shape (B,), dtype long.
        static: What holds for a whole sequence, encoded, shape (B, S).
        other: Examples of a second domain, shape (B, *): what a translation is to look like, or what it starts from.
    """

    x: Tensor
    y: Tensor | None = None
    mask: Tensor | None = None
    length: Tensor | None = None
    static: Tensor | None = None
    other: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same change made to every field that is there."""
        return Batch(*(None if part is None else change(part) for part in self))  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> Batch:
        """On a device; copies from pinned memory do not wait."""
        return self.each(lambda part: part.to(device, non_blocking=True))

    def rows(self, at: slice | Tensor) -> Batch:
        """Some of the examples."""
        return self.each(lambda part: part[at])

    def pieces(self, count: int) -> list[Batch]:
        """At most `count` batches of about equal size, in order."""
        size = -(-len(self.x) // count)
        return [self.rows(slice(start, start + size)) for start in range(0, len(self.x), size)]

    @staticmethod
    def joined(batches: Sequence[Batch]) -> Batch:
        """One batch of several that have the same fields."""
        import torch

        return Batch(*(None if parts[0] is None else torch.cat(parts) for parts in zip(*batches, strict=True)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn; None leaves a choice to the model, which refuses those that mean nothing to it.

    Attributes:
        steps: Steps of a sampler that works in steps, at least 1.
        guidance: How far samples are pushed towards their class; 0 not beyond what was learnt of it (Ho and Salimans,
            2022).
        temperature: Above 0; below 1 likelier samples, above 1 more various ones.
        truncation: Scale of the latents, 0 to 2; below 1 trades variety for quality (Brock et al., 2019).
        mean: Whether a decoder's mean is shown in place of a draw from what it says; by default so for pictures only.
    """

    steps: int | None = None
    guidance: float | None = None
    temperature: float | None = None
    truncation: float | None = None
    mean: bool | None = None

    def __post_init__(self) -> None:
        """Refuses values that no model could use."""
        for name, value in self.given().items():
            low, high = RANGES.get(name, (None, None))
            if name == "mean":
                if not isinstance(value, bool):
                    raise UserError(f"mean={value} must be true, false or null")
            elif isinstance(value, bool) or not isinstance(value, int if name == "steps" else int | float):
                raise UserError(f"{name}={value} must be {'a whole number' if name == 'steps' else 'a number'} or null")
            elif not low <= value <= high or (name == "temperature" and value == 0):  # type: ignore[operator]
                above = "above 0 and at most 100" if name == "temperature" else f"between {low:g} and {high:g}"
                raise UserError(f"{name}={value} must be {above}, or null for the model's own")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Sampling:
        """Those of a command's options that are of this kind."""
        return cls(**{field.name: options[field.name] for field in dataclasses.fields(cls)})

    def given(self) -> dict[str, int | float | bool]:
        """The choices that were made, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


RANGES = {"steps": (1, 100_000), "guidance": (0, 100), "temperature": (0, 100), "truncation": (0, 2)}
PLAIN = Sampling()


Sum = tuple[tuple[int, str], ...]  # columns that are added up, each with its sign: ((1, "gross"), (-1, "tax"))


def sums_of(found: Iterable[object]) -> list[Sum]:
    """What a state says a column equals; names alone were single columns. Raises `ValueError` for anything else."""
    sums: list[Sum] = []
    for terms in found:
        if isinstance(terms, str):
            sums.append(((1, terms),))
            continue
        if not isinstance(terms, list | tuple) or not 1 <= len(terms) <= 2:
            raise ValueError(f"{terms!r} is no sum of columns")
        for term in terms:
            if not (
                isinstance(term, list | tuple) and len(term) == 2 and term[0] in (1, -1) and isinstance(term[1], str)
            ):
                raise ValueError(f"{term!r} is no sign and column")
        sums.append(tuple((int(sign), name) for sign, name in terms))
    return sums


@dataclass(frozen=True)
class Block:
    """A run of neighbouring positions of an encoded table row that has one likelihood.

    Attributes:
        start: First position.
        stop: One past the last position.
        kind: "value" for one real number, "choice" for a one-hot vector, "code" for the index of a category, a whole
            number in one position, NaN where the category is unknown; "place", behind the code of a number, for where
            it lies among the codes: that of its value and the place inside it in [0, 1), 0 where it is missing.
        gate: Position of the one-hot element that must be 1 for this value to have been observed, or None if it always
            is. A numeric column with missing cells or spikes is a choice block (its state) and a gated value block.
        size: Number of categories of a code; 0 for the other kinds.
        ordered: How many of them, from the first, stand for rising numbers; the rest are of no order.
        knots: Of the code of a number that has a place: values at even steps through each ordered code, in user units,
            all the same in a code of a single value; shape (ordered, steps + 1).
        equal_to: What its value is in its last codes, one for each: that of another column, or of two added up.
        pieces: Of such a number in a series, where steps share values that lie on no grid: begin and end among the
            coordinates, rising, and the value at either, in user units; the same at both for a shared one.
    """

    start: int
    stop: int
    kind: BlockKind
    gate: int | None = None
    size: int = 0
    ordered: int = 0
    knots: tuple[tuple[float, ...], ...] = ()
    equal_to: tuple[Sum, ...] = ()
    pieces: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def width(self) -> int:
        """Number of positions."""
        return self.stop - self.start


def _block(state: dict[str, Any]) -> Block:
    return Block(**{**state, "equal_to": tuple(sums_of(state.get("equal_to", ())))})


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
        static: How many columns of a series, from the first, hold for the whole of it: they stand in every step.
        ends: Whether the last column of a series says, from its last step on, that it has ended.
        steps: Training steps of a series behind the examples, which may overlap.
        domains: Names of the two sets of pictures that a model is to translate between, the first one's examples being
            `Batch.x`, the second one's `Batch.other`; empty where there is one set alone.
    """

    kind: Kind
    shape: tuple[int, ...]
    columns: tuple[Column, ...] = ()
    classes: tuple[str, ...] = ()
    class_shares: tuple[float, ...] = ()
    bounds: tuple[float, float] = (-1.0, 1.0)
    size: int = 0
    static: int = 0
    ends: bool = False
    steps: int = 0
    domains: tuple[str, ...] = ()

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
            Column(column["name"], tuple(_block(block) for block in column["blocks"]), column["is_label"])
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
            static=state.get("static", 0),
            ends=state.get("ends", False),
            steps=state.get("steps", 0),
            domains=tuple(state.get("domains", ())),
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
        fitting = [one for k in range(1, max(side, 1).bit_length()) for one in range(4 << k, 8 << k, 1 << k)]
        near = [*[one for one in fitting if one < side][-1:], *[one for one in fitting if one > side][:1]] or [8]
        told = " or ".join(map(str, near))
        raise UserError(f"these nets do not fit pictures of {side} px; set data.side to {told}, or take another model")
    return base, count
