"""A use of a model as a figure: its value beside what plain means and real data come to, over several draws."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datakiln.data.base import GenerativeData
from datakiln.metrics.tables.references import interval
from datakiln.metrics.tables.shuffling import auc
from datakiln.results import NOT_OFFERED, Better, Score
from datakiln.sampling.synthesizer import Synthesizer

DRAWN = 100  # times that examples are drawn again
KINDS = {
    "table": "datakiln.studies.uses.tables.table_uses",
    "series": "datakiln.studies.uses.series.series_uses",
    "image": "datakiln.studies.uses.pictures.picture_uses",
}


def uses_of(data: GenerativeData, synthesizer: Synthesizer, synthetic: Any, seed: int) -> list[Score]:
    """All uses of a model of this kind of data; those it does not offer say so.

    Arguments:
        data: The run's data module, after `setup`.
        synthesizer: The trained model.
        synthetic: What it has sampled, as the proof of this kind of data keeps it.
        seed: Of everything that is drawn.
    """
    module, _, name = KINDS[data.kind].rpartition(".")
    found: list[Score] = getattr(importlib.import_module(module), name)(data, synthesizer, synthetic, seed)
    return found


def between(
    name: str,
    value: float,
    better: Better,
    floors: Sequence[float],
    ceilings: Sequence[float] = (),
    *,
    low: float | None = 0.0,
    high: float | None = 1.0,
    n: int | None = None,
    note: str = "",
    detail: Mapping[str, float] | None = None,
    is_mean: bool = False,
    own: Sequence[float] = (),
) -> Score:
    """A figure between the means of its floors and ceilings, with the range that chance gives these.

    Arguments:
        name: Of the figure.
        value: Of it.
        better: Which way.
        floors: One value a draw.
        ceilings: The same; none where there is no such thing.
        low: Lowest possible value.
        high: Highest possible value.
        n: Examples it was judged on.
        note: What a reader must know.
        detail: Named parts.
        is_mean: Whether the value is a mean over as many draws, so that chance is that of a mean.
        own: The value of every draw where the floor is of the same draws: its range is then that of the difference.
    """
    ends = mean_ends if is_mean else interval
    floor, *floor_ends = ends(list(floors))
    if own:
        middle, *around = ends(np.subtract(own, floors).tolist())
        floor_ends = [floor + end - middle for end in around]
    ceiling, *ceiling_ends = ends(list(ceilings)) if ceilings else (None, None, None)
    return Score(
        name, value, better, low, high, ceiling, floor, n=n, note=note,
        detail=None if detail is None else {key: float(part) for key, part in detail.items()},
        floor_range=floor_ends if len(floors) > 1 else None,
        ceiling_range=ceiling_ends if len(ceilings) > 1 else None,  # type: ignore[arg-type]
        draws=len(ceilings) or None,
    )  # fmt: skip


def told_apart(
    name: str,
    own: tuple[NDArray[np.float64], NDArray[np.float64]],
    plain: tuple[NDArray[np.float64], NDArray[np.float64]],
    note: str,
) -> Score:
    """The AUC of a score of usual and of strange examples beside that of a plain one of the same examples.

    The range of the floor is that of the difference where examples are drawn again (bootstrap, 95 %).
    """
    rng, more = np.random.default_rng(len(own[0])), []
    for _ in range(DRAWN):
        usual, strange = (rng.integers(len(part), size=len(part)) for part in own)
        more.append(auc(own[0][usual], own[1][strange]) - auc(plain[0][usual], plain[1][strange]))
    floor = auc(*plain)
    score = between(name, auc(*own), "higher", [floor], n=len(own[0]), note=note)
    score.floor_range = [floor + float(end) for end in np.quantile(more, (0.025, 0.975)) - np.mean(more)]
    return score


def mean_ends(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of some draws, and Student's interval of it at 95 %."""
    from scipy.stats import t as student

    centre, n = float(np.mean(values)), len(values)
    if n < 2:
        return centre, centre, centre
    half = float(student.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return centre, centre - half, centre + half


def not_offered(name: str, why: str) -> Score:
    """A use that the model does not have: it counts as one that does not beat its baseline."""
    return Score(name, None, why=f"{NOT_OFFERED}: {why}")


def not_computed(name: str, why: str) -> Score:
    """A use that these data leave no way to measure, whatever the model."""
    return Score(name, None, why=f"not computed: {why}")


def mean(values: Sequence[float]) -> float:
    """Of at least one value."""
    return float(np.mean(values))
