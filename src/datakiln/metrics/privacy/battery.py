"""A fixed battery of membership attacks on real records, by the synthetic ones and by what the model says.

With S the synthetic records, R a reference sample of real ones that the generator has not learnt from, and d_k(x, S)
the distance of x to its k-th nearest record of S:

- "distance": -d_1(x, S) (Chen et al., 2020, GAN-Leaks, https://arxiv.org/abs/1909.03935, full black-box attack).
- "distance, calibrated": log d_1(x, R) - log d_1(x, S): what is near to S as it is to everything tells nothing.
- "distance, beside other members": log d_1(x, T) - log d_1(x, S) with T the members but x itself. It takes no reference
  sample, so that it is the one to look at where few records were held out; an auditor can ask it, an attacker cannot.
- "nearest over k-th nearest": -d_1(x, S) / d_k(x, S): one single synthetic record clings to x.
- "density ratio, k-nearest": the mean of log d_j(x, R) - log d_j(x, S) for j = 1 to k, that is DOMIAS (van Breugel et
  al., 2023, https://arxiv.org/abs/2302.12580, eq. 2) with nearest-neighbour densities, but for a factor.
- "density ratio, boosting": the same by a boosting classifier that tells S from R: its log-odds. Its leaves are small,
  since what it learns by heart of S is what S has learnt by heart.
- "local likelihood ratio": how much more likely the synthetic records nearest to x become, if x is added to R, under a
  kernel density of R with the bandwidth of its k-th neighbour (the idea of Ward et al., 2025, Gen-LRA,
  https://arxiv.org/abs/2508.21146).
- with the model: whatever it says of a record (likelihood or loss, a critic's score), plain and less what a reference
  model says.

The reference sample is one half of the non-members for the records judged with the other half, and the other way round:
every non-member is judged once, and none by a sample it is part of. Members are dealt to the same two turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.base import MetricError
from datakiln.metrics.privacy.closest import Closest, Matrix, closest
from datakiln.metrics.privacy.games import LEAST, Outcome, Scores, play_all
from datakiln.metrics.privacy.records import Records, joined
from datakiln.metrics.tables.columns import Ints

NEIGHBOURS = 5
DECILE = 0.1
TINY = 1e-6  # added to distances before logarithms: copies are 0 apart
PAIRS = 2_000_000_000  # of real and synthetic records that are compared
FEWEST = 5_000  # members that are judged all the same
LEAF = 5
LEARNT = 50_000  # records that a boosting learns from
BINS = 128  # of a number, that it sees
ALL, OUTLIERS = "all records", "outlier decile"


@dataclass(frozen=True)
class Audit:
    """What a battery is played with.

    Attributes:
        members: Records that the generator has learnt from.
        others: Real records of the same kind that it has not.
        synthetic: What it made; all of what is to be released, since more records tell more.
        reference: Further real records that it has not learnt from; None where there are none.
        told: What the model itself says of members and of non-members, by attack; higher for what it knows better.
        why: Attacks with the model that were not possible, and why.
        categories: Which columns of `Records.plain` are categories.
        seed: Deals the halves.
    """

    members: Records
    others: Records
    synthetic: Records
    reference: Records | None = None
    told: Mapping[str, tuple[Scores, Scores]] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    categories: NDArray[np.bool_] | None = None
    seed: int = 0


def play_battery(audit: Audit, progress: Callable[[str], None] | None = None) -> Outcome:
    """Every attack on all records and on the outlier decile: those farthest from the reference records.

    Raises:
        MetricError: Fewer than 20 members, non-members or synthetic records.
    """
    sizes = {"members": audit.members, "non-members": audit.others, "synthetic records": audit.synthetic}
    for what, records in sizes.items():
        if len(records) < LEAST:
            raise MetricError(f"{len(records)} {what} are fewer than {LEAST}: no attack can be judged")
    scores: dict[str, tuple[Scores, Scores]] = {}
    missing = dict(audit.why)
    n = len(audit.members)
    real = joined([audit.members, audit.others])
    near = closest(real.space, audit.synthetic.space, min(NEIGHBOURS, len(audit.synthetic)))
    found = {"distance": -near.distance[:, 0].astype(np.float64), "nearest over k-th nearest": -_ratio(near)}
    beside = _to_other_members(real, audit.members)
    found["distance, beside other members"] = np.log(beside + TINY) - np.log(TINY - found["distance"])
    turns = _turns(audit)
    far: Scores | None = None
    if min(len(turn.reference) for turn in turns) >= LEAST:
        with_reference, far = _by_reference(audit, real, near, turns)
        found |= with_reference
    else:
        few = min(len(turn.reference) for turn in turns)
        told = f"{few} reference records are fewer than {LEAST}; keep more rows aside"
        missing |= dict.fromkeys(REFERENCED, told)
    scores = {name: (values[:n], values[n:]) for name, values in found.items()}
    scores |= audit.told
    units, other_units = audit.members.units, audit.others.units
    scores = {name: (_by_unit(a, units), _by_unit(b, other_units)) for name, (a, b) in scores.items()}
    sizes_of = int(units.max()) + 1, int(other_units.max()) + 1
    groups = {ALL: (np.ones(sizes_of[0], dtype=bool), np.ones(sizes_of[1], dtype=bool))}
    distance = far if far is not None else _apart(audit, real)
    groups[OUTLIERS] = _farthest(_by_unit(distance[:n], units), _by_unit(distance[n:], other_units))
    return play_all(scores, groups, missing, audit.seed)


REFERENCED = (
    "distance, calibrated",
    "density ratio, k-nearest",
    "density ratio, boosting",
    "local likelihood ratio",
)


@dataclass(frozen=True)
class _Turn:
    """One half: which of all real records are judged, and by which reference records."""

    judged: Ints
    reference: Records


def _turns(audit: Audit) -> list[_Turn]:
    """Two halves of members and non-members, by entity; the reference of one is the non-members of the other."""
    rng = np.random.default_rng([audit.seed, 23])
    halves = []
    for records in (audit.members, audit.others):
        units = records.units
        side = rng.permutation(int(units.max()) + 1) % 2
        halves.append(side[units])
    n = len(audit.members)
    turns = []
    for turn in (0, 1):
        judged = np.concatenate([np.flatnonzero(halves[0] == turn), n + np.flatnonzero(halves[1] == turn)])
        reference = [audit.others.take(halves[1] != turn), *([] if audit.reference is None else [audit.reference])]
        turns.append(_Turn(judged, joined(reference)))
    return turns


def _by_reference(audit: Audit, real: Records, near: Closest, turns: list[_Turn]) -> tuple[dict[str, Scores], Scores]:
    """The attacks that need reference records, and how far each real record is from these."""
    total = len(real)
    found = {name: np.empty(total) for name in REFERENCED}
    far = np.empty(total)
    made = audit.synthetic
    for turn in turns:
        at, reference = turn.judged, turn.reference
        k = min(NEIGHBOURS, len(reference), near.distance.shape[1])
        known = closest(real.space[at], reference.space, k)
        logs = [np.log(c.astype(np.float64) + TINY) for c in (known.distance, near.distance[at])]
        found["distance, calibrated"][at] = logs[0][:, 0] - logs[1][:, 0]
        found["density ratio, k-nearest"][at] = (logs[0] - logs[1][:, :k]).mean(axis=1)
        found["local likelihood ratio"][at] = _local(Closest(near.distance[at], near.index[at]), made, reference, k)
        found["density ratio, boosting"][at] = _boosted(audit, real.learnt[at], reference)
        far[at] = known.distance.mean(axis=1)
    return found, far


def _to_other_members(real: Records, members: Records) -> Scores:
    """Distance of each real record to the nearest member of another entity; the first ones are the members."""
    units = members.units
    own = np.concatenate([units, np.full(len(real) - len(members), -1)])
    found = closest(real.space, members.space, min(int(np.bincount(units).max()) + 1, len(members)))
    first = np.argmax(units[found.index] != own[:, None], axis=1)
    return np.take_along_axis(found.distance, first[:, None], axis=1)[:, 0].astype(np.float64)


def _ratio(near: Closest) -> Scores:
    """Nearest over k-th nearest; 1 where even that is 0 apart: then no single record clings."""
    first, last = near.distance[:, 0].astype(np.float64), near.distance[:, -1].astype(np.float64)
    return np.where(last > 0, first / np.where(last > 0, last, 1.0), 1.0)


def _local(near: Closest, made: Records, reference: Records, k: int) -> Scores:
    """Sum over the k nearest synthetic records s of log (p_R+x(s) / p_R(s)), but for a constant.

    With a Gaussian kernel whose bandwidth h is the distance of s to its k-th reference record, and the k nearest of
    these, p_R+x(s) / p_R(s) = 1 + K(s, x) / sum_r K(s, r), times m / (m + 1).
    """
    around, place = np.unique(near.index[:, :k], return_inverse=True)
    known = closest(made.space[around], reference.space, k).distance.astype(np.float64)
    width = known[:, -1] + TINY
    density = np.exp(-0.5 * (known / width[:, None]) ** 2).sum(axis=1)
    place = place.reshape(len(near.index), k)
    own = np.exp(-0.5 * (near.distance[:, :k] / width[place]) ** 2)
    # a wide bandwidth is a thin place: there, one record more counts more, as p_R is small
    return np.asarray(np.log1p(own / density[place]).sum(axis=1))


def _boosted(audit: Audit, judged: Matrix, reference: Records) -> Scores:
    """Log-odds of a boosting that tells synthetic from reference records, of which it sees as many at most."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng([audit.seed, 24])
    parts = [audit.synthetic.learnt, reference.learnt]
    parts = [part[rng.permutation(len(part))[:LEARNT]] for part in parts]
    x, y = np.concatenate(parts), np.repeat([1, 0], [len(part) for part in parts])
    weight = np.repeat([0.5 / len(part) for part in parts], [len(part) for part in parts]) * len(x)
    learner = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.15, min_samples_leaf=LEAF, early_stopping=False,
        categorical_features=audit.categories, random_state=audit.seed,
    )  # fmt: skip
    seen, asked = _binned(x, judged, audit.categories)
    learner.fit(seen, y, sample_weight=weight)
    return np.asarray(learner.decision_function(asked), dtype=np.float64)


def _binned(x: Matrix, judged: Matrix, categories: NDArray[np.bool_] | None) -> tuple[Matrix, Matrix]:
    """Numbers as the bin of x that they lie in, missing ones and categories as they are; a column without a value is 0.

    With weights scikit-learn would look for each edge of each column anew, which takes longer than all trees.
    """
    columns = []
    for j, column in enumerate(x.T):
        known = column[~np.isnan(column)]
        if not len(known):
            columns.append((np.zeros_like(column), np.zeros_like(judged[:, j])))
        elif categories is not None and categories[j]:
            columns.append((column, judged[:, j]))
        else:
            edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
            both = column, judged[:, j]
            first, second = (np.where(np.isnan(c), np.nan, np.searchsorted(edges, c, side="right")) for c in both)
            columns.append((first, second))
    return np.column_stack([c for c, _ in columns]), np.column_stack([c for _, c in columns])


def _apart(audit: Audit, real: Records) -> Scores:
    """How far each real record is from others of its own kind where there is no reference sample."""
    found = closest(real.space, real.space, min(NEIGHBOURS + 1, len(real))).distance
    return np.asarray(found[:, 1:].mean(axis=1), dtype=np.float64)


def _farthest(members: Scores, others: Scores) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Those beyond the ninth decile of the non-members."""
    cut = np.quantile(others, 1 - DECILE)
    return members >= cut, others >= cut


def _by_unit(scores: Scores, units: Ints) -> Scores:
    """Mean score of the records of each entity."""
    sums = np.bincount(units, weights=scores)
    return np.asarray(sums / np.bincount(units))


def fewer(members: int, others: int, made: int, seed: int) -> tuple[Ints, Ints]:
    """Which members and which non-members are judged, so that no more than 2e9 pairs are compared.

    All synthetic records are kept, and of each kind of real ones 5,000 in any case.

    Arguments:
        members: How many there are.
        others: How many non-members there are.
        made: Synthetic records.
        seed: Of the choice.
    """
    rng = np.random.default_rng([seed, 25])
    most = max(PAIRS // max(made, 1), 2 * FEWEST)
    kept = min(others, max(most - min(members, FEWEST), FEWEST), max(most // 2, FEWEST))
    sizes = min(members, most - kept), kept
    first, second = (np.sort(rng.permutation(n)[:size]) for n, size in zip((members, others), sizes, strict=True))
    return first, second
