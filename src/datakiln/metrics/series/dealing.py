"""Which windows a judge learns from and which it judges, so that no luck of the split passes for a difference.

A generator imitates all of its training windows. A judge that learns from part of them and judges the rest finds that
the rest is missing among the real ones it knows and present among the synthetic: on a panel of a dozen firms even a
copy of the training rows is then told "the wrong way round", with an area under the curve near 0. Here a judge learns
from some training and some synthetic sequences, dealt independently, and judges unseen real windows and the other
synthetic ones: what was imitated is as often known to be real as to be synthetic. Real against real deals all real
windows to the four parts at random, in blocks that share no step, so that nothing tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from datakiln.metrics.base import MetricError
from datakiln.metrics.series.sets import Floats, SeriesSets

LEARNT = 0.6  # share of the sequences of each kind
MANY = 10  # sequences from which on whole ones are dealt
WIDE = 2  # windows that a block of time is long, where there are fewer
ROUNDS = 200  # resamples of blocks for the error of a figure
LEAST = 2  # windows of each part


@dataclass(frozen=True)
class Deal:
    """Windows (n, T, C) of four parts, and the block of each one that is judged."""

    real: Floats
    made: Floats
    real_judged: Floats
    made_judged: Floats
    real_blocks: Floats
    made_blocks: Floats

    def auc(self, real: Floats, made: Floats, seed: int) -> tuple[float, float | None]:
        """Area under the curve of what a judge says of the windows judged, and its error by resampling of blocks."""
        value = _auc(real, made)
        rng = np.random.default_rng(seed)
        fewest = min(len(np.unique(part)) for part in (self.real_blocks, self.made_blocks))
        if fewest < LEAST:
            return value, None
        again = [
            _auc(real[_resampled(self.real_blocks, rng)], made[_resampled(self.made_blocks, rng)])
            for _ in range(ROUNDS)
        ]
        return value, float(np.std(again) * np.sqrt(fewest / (fewest - 1)))


def deal(data: SeriesSets, seed: int) -> Deal:
    """The four parts, numbers scaled as in `SeriesSets.scaled`.

    Raises:
        MetricError: A part has too few windows.
    """
    rng = np.random.default_rng(seed)
    train, test, made = data.scaled()
    length = train.shape[1]
    if data.is_real:
        pool = np.concatenate([train, test])
        blocks = _joined(_blocks(data, "train", length), _blocks(data, "test", length))
        parts = _dealt(blocks, [LEARNT, LEARNT, 1 - LEARNT, 1 - LEARNT], rng)
        own = [blocks[part, 0] for part in parts]
        real, learnt, judged, held = (pool[part] for part in parts)
        found = Deal(real, learnt, judged, held, own[2], own[3])
    else:
        known, _ = _dealt(_blocks(data, "train", length), [LEARNT, 1 - LEARNT], rng)
        blocks = _blocks(data, "synthetic", length)
        learn, hold = _dealt(blocks, [LEARNT, 1 - LEARNT], rng)
        found = Deal(train[known], made[learn], test, made[hold], _blocks(data, "test", length)[:, 0], blocks[hold, 0])
    if min(len(found.real), len(found.made), len(found.real_judged), len(found.made_judged)) < LEAST:
        raise MetricError("too few windows that share no step to judge by")
    return found


def halves(data: SeriesSets, seed: int) -> tuple[Floats, Floats]:
    """Real and synthetic windows, scaled, by the protocol of published tables; real against real two halves of all."""
    train, test, made = data.scaled()
    if not data.is_real:
        return train, made
    blocks = _joined(_blocks(data, "train", train.shape[1]), _blocks(data, "test", train.shape[1]))
    pool = np.concatenate([train, test])
    a, b = _dealt(blocks, [0.5, 0.5], np.random.default_rng(seed))
    return pool[a], pool[b]


def _blocks(data: SeriesSets, name: str, length: int) -> Floats:
    """Block of the first and of the last step of each window of a part, (n, 2)."""
    origin = data.origins.get(name)
    count = len(getattr(data, name))
    if origin is None:
        return np.repeat(np.arange(count)[:, None], 2, axis=1)
    sequence, first = origin[:, 0], origin[:, 1]
    _, of = np.unique(sequence, return_inverse=True)
    if of.max(initial=0) + 1 >= MANY:
        return np.stack([of, of], axis=1)
    ends = np.stack([first, first + length - 1], axis=1) // (WIDE * length)
    _, found = np.unique(of[:, None] * (ends.max() + 1) + ends, return_inverse=True)
    return found.reshape(-1, 2)


def _joined(a: Floats, b: Floats) -> Floats:
    return np.concatenate([a, b + a.max(initial=-1) + 1])


def _dealt(blocks: Floats, shares: list[float], rng: np.random.Generator) -> list[Floats]:
    """Windows of each part, in order: blocks are dealt at random, and windows on a border of two parts are left out."""
    count = int(blocks.max(initial=-1)) + 1
    if count < len(shares):
        raise MetricError("too few windows that share no step to judge by")
    cuts = np.round(np.cumsum(shares) / np.sum(shares) * count).astype(int)
    for i in range(len(cuts)):  # one block each at least
        low, high = (cuts[i - 1] + 1 if i else 1), count - (len(cuts) - 1 - i)
        cuts[i] = min(max(cuts[i], low), high)
    part = np.zeros(count, dtype=int)
    order = rng.permutation(count)
    for i, (start, stop) in enumerate(zip([0, *cuts[:-1]], cuts, strict=True)):
        part[order[start:stop]] = i
    of = part[blocks]
    return [np.flatnonzero((of[:, 0] == i) & (of[:, 1] == i)) for i in range(len(shares))]


def _resampled(blocks: Floats, rng: np.random.Generator) -> Floats:
    """Windows of as many blocks, drawn with replacement."""
    order = np.argsort(blocks, kind="stable")
    _, starts, sizes = np.unique(blocks[order], return_index=True, return_counts=True)
    drawn = rng.integers(0, len(starts), len(starts))
    return np.concatenate([order[starts[i] : starts[i] + sizes[i]] for i in drawn])


def _auc(real: Floats, made: Floats) -> float:
    labels = np.r_[np.ones(len(real)), np.zeros(len(made))]
    return float(roc_auc_score(labels, np.r_[real, made]))
