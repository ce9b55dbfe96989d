"""Where a figure stands between the naive floor and real data, and how far chance moves real data on that way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datakiln.results import Score


@dataclass(frozen=True)
class Bar:
    """Places on a bar, in percent of its width: the floor stands at 0.

    Attributes:
        standing: Where the value stands, 1 being real data; it may lie outside of the bar.
        at: The value's place, at an end where it lies outside.
        band: Where chance puts real data, or None where that is not known.
        beyond: Whether the value lies outside, and where.
    """

    standing: float
    at: float
    band: tuple[float, float] | None
    beyond: Literal["", "below", "beyond"]


def bar_of(score: Score) -> Bar | None:
    """The bar of a figure; None where the floor is no worse than real data, or one of them is unknown."""
    at = score.standing
    if at is None or score.ceiling is None or score.floor is None or score.decides is False:
        return None
    ends = [] if score.ceiling_range is None else [_place(score, end) for end in score.ceiling_range]
    right = max([1.0, *ends])
    band = (100 * max(0.0, min(ends)) / right, 100 * max(ends) / right) if ends else None
    beyond: Literal["", "below", "beyond"] = "below" if at < 0 else "beyond" if at > right else ""
    return Bar(at, 100 * min(max(at / right, 0.0), 1.0), band, beyond)


def _place(score: Score, value: float) -> float:
    """The standing that another value of the same figure would have."""
    assert score.ceiling is not None and score.floor is not None
    if score.ideal is None:
        return (value - score.floor) / (score.ceiling - score.floor)
    off = [abs(x - score.ideal) for x in (value, score.ceiling, score.floor)]
    return (off[2] - off[0]) / (off[2] - off[1])
