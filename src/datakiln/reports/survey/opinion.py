"""The survey's opinions, the only figures here that nobody measured, and how well they agree with what was."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from datakiln.reports.survey.measures import Measured
from datakiln.reports.survey.scale import by_chance, pairs_alike, resampled, score, spearman

OPINIONS = {  # 1 to 10, of GANs, VAEs and autoregressive models
    "data quality": (9, 6, 8),
    "diversity": (6, 8, 7),
    "training stability": (4, 8, 9),
    "flexibility and control": (7, 9, 7),
    "computational efficiency": (5, 8, 6),
    "latent space": (4, 9, 5),
    "applications": (9, 7, 8),
    "data augmentation": (7, 8, 7),
}
JUDGED = ("gan", "vae", "autoregressive")


@dataclass(frozen=True)
class Standing:
    """What one family, or one model, comes to in one dimension.

    Attributes:
        score: Mean over data sets of the mean over measures, 1 to 10; None where nothing was measured.
        seeds: The same, a seed at a time, where every seed has it.
        n: Measures that count.
        why: Why there is no score.
        blind: Whether something was measured that cannot tell.
    """

    score: float | None
    seeds: tuple[float, ...] = ()
    n: int = 0
    why: str = ""
    blind: bool = False


@dataclass(frozen=True)
class Agreement:
    """Of one dimension: how far measured scores and opinions put the families in the same order."""

    dimension: str
    families: tuple[str, ...]
    correlation: float | None
    ends: tuple[float, float] | None
    chance: float | None
    pairs: tuple[int, int]


def opinion(family: str, dimension: str) -> int | None:
    """What the survey gave; None for a family that it does not judge."""
    return OPINIONS[dimension][JUDGED.index(family)] if family in JUDGED else None


def standing(measured: Sequence[Measured]) -> Standing:
    """The score of measures of one dimension.

    Arguments:
        measured: Of one dimension, of one model for each data set.
    """
    counted = [one for one in measured if one.counts]
    if not counted:
        reasons = dict.fromkeys(one.why or one.blind or "its interval covers floor to ceiling" for one in measured)
        return Standing(None, why="; ".join(reasons) or "no run", blind=any(one.values for one in measured))
    whole = _mean_of_data(counted, None)
    assert whole is not None
    seeds = sorted({seed for one in counted for seed in one.places if seed is not None})
    each = [found for seed in seeds if (found := _mean_of_data(counted, seed)) is not None]
    return Standing(whole, tuple(each), len(counted))


def _mean_of_data(counted: Sequence[Measured], seed: int | None) -> float | None:
    """Mean over data sets of the mean over measures: of their medians, or of one seed where that has values."""
    by_data: dict[str, list[float]] = {}
    for one in counted:
        at = one.places.get(seed) if seed is not None and seed in one.places else statistics.median(one.places.values())
        if at is not None:
            by_data.setdefault(one.cell.data, []).append(score(at))
    return statistics.fmean(statistics.fmean(values) for values in by_data.values()) if by_data else None


def agreement(dimension: str, standings: dict[str, Standing]) -> Agreement:
    """Measured scores beside opinions, over the families that have both."""
    families = tuple(f for f in JUDGED if f in standings and standings[f].score is not None)
    scores = [float(standings[f].score or 0.0) for f in families]
    opinions = [float(opinion(f, dimension) or 0) for f in families]
    samples = [standings[f].seeds for f in families]
    return Agreement(
        dimension, families, spearman(scores, opinions), resampled(samples, opinions) if len(families) > 1 else None,
        by_chance(scores, opinions), pairs_alike(scores, opinions),
    )  # fmt: skip


def in_all(found: Sequence[Agreement]) -> tuple[int, int]:
    """Pairs of families in the survey's order, over all dimensions, and how many there are."""
    return sum(one.pairs[0] for one in found), sum(one.pairs[1] for one in found)
