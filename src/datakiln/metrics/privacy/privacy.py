"""Does the synthetic table give its training rows away? Distances to train, read against what unseen real rows have.

The distance between two rows is L1: numbers scaled to [0, 1] over train (a missing number stands at the median and
costs a category's difference more), 1 for every category that differs; ids and free text do not count. So copies are 0
apart, and 1 is one category or the whole range of one number.

Being near to training rows is no fault where real people are just as near to each other. So every figure needs a
holdout, and its ceiling is other real rows in place of the synthetic; better than the ceiling is not better. The floor
is real rows with each column shuffled, which is private and useless. `n` is the number of synthetic rows. More than
`rows` rows of a table are cut to a random sample of that size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.base import EvalData, Figure, MetricError, metric
from datakiln.metrics.tables.columns import Coded, row_keys, tables
from datakiln.metrics.tables.nearest import Nearest, nearest, windowed
from datakiln.metrics.tables.references import Neighbours
from datakiln.metrics.tables.space import Distances, Points, Space

ROWS = 50_000
FEW = 100  # training rows with a value: of fewer, any number may be unique
NEAR_UNIQUE = 0.5  # share of different values among the training rows
STILL_APART = 0.8  # share of the training rows that the other columns must tell apart


@metric("privacy/copies", plan=Neighbours(10, 2, 50_000))
def copies(data: EvalData) -> list[Figure]:
    """Share of synthetic rows equal to a training row; no row is left out, however large the tables.

    A column of nearly unique numbers, such as a weight or an amount, is hardly ever hit again by chance, so that with
    it no row would count that is a training row in all else. Such columns are ignored where the others still tell
    nearly all training rows apart; the note names them, and the parts of the figure have the share of rows that are
    equal in them too. Where it is not known which real rows the generator saw, all of them count as training rows.
    """
    t = tables(data)
    if not data.lend:
        need_holdout(data)
    if "copied columns" not in data.cache:
        data.cache["copied columns"] = _near_unique(t.train)
    ignored = data.cache["copied columns"]
    copied = _is_in(*(replace(p, numbers=np.delete(p.numbers, ignored, axis=1)) for p in (t.synthetic, t.train)))
    notes, detail = [f"{int(copied.sum())} rows"] if copied.any() else [], None
    if ignored:
        names = ", ".join(t.numeric[i] for i in ignored)
        notes.append(f"nearly unique numbers ignored: {names}")
        detail = {f"but for {names}": float(copied.mean())}
        detail["in every column"] = float(_is_in(t.synthetic, t.train).mean())
    return [
        Figure("privacy/copies", float(copied.mean()), "lower", n=len(copied), note="; ".join(notes), detail=detail)
    ]


@metric("privacy/closer_to_train", plan=Neighbours(8, 2, holdout="all"))
def closer_to_train(data: EvalData, repeats: int = 5, rows: int = ROWS) -> list[Figure]:
    """Share of synthetic rows nearer to train than to as many unseen real rows; 0.5 shows no memory of train.

    The larger of train and holdout is cut to the size of the other, `repeats` times at random, and ties count half.
    Above 0.5 the model has kept something of its very training rows. Copies of train do not reach 1 where train is cut,
    but what the note tells: the larger train is beside the holdout, the more a little above 0.5 means.
    Below 0.5 is not better: chance, or a holdout that is not like train. The ceiling compares one half of the holdout
    with the other. A table of nothing but copies needs no holdout: nothing is nearer to a row than the row itself.

    Arguments:
        data: The tables.
        repeats: Random cuts to average over.
        rows: Most rows of each table.

    Raises:
        MetricError: No holdout, and a synthetic row that is not a copy.
    """
    if data.lend and len(data.holdout) == 0 and len(data.synthetic) and len(data.train):
        figure = _nothing_but_copies(data)
        if figure is not None:
            return [figure]
    need_holdout(data)
    space, train, holdout, synthetic = _points(data, rows)
    size = min(len(train), len(holdout))
    to_train = _cut_distances(space, synthetic, train, size, repeats)
    to_holdout = _cut_distances(space, synthetic, holdout, size, repeats)
    ties = to_train == to_holdout
    shares = ((to_train < to_holdout) + 0.5 * ties).mean(axis=1)
    copier = 0.5 + 0.5 * size / len(data.train)  # only copies of rows that the cut leaves in stand out
    note = f"{float(ties.mean()):.1%} ties; train and holdout cut to {size:,} rows each"
    note += f"; copies of train would score {copier:.2f}"
    detail = {f"cut {i}": float(share) for i, share in enumerate(shares, start=1)}
    value = float(shares.mean())
    return [Figure("privacy/closer_to_train", value, "lower", detail=detail, ideal=0.5, n=len(synthetic), note=note)]


@metric("privacy/dcr_median", "privacy/dcr_p5", plan=Neighbours())
def dcr(data: EvalData, rows: int = ROWS) -> list[Figure]:
    """Distance to the closest training record: median and 5th percentile over the synthetic rows."""
    need_holdout(data)
    found = _to_train(data, rows).synthetic.first
    return [
        Figure(f"privacy/dcr_{name}", float(np.percentile(found, q)), "higher", high=None, n=len(found))
        for name, q in (("median", 50), ("p5", 5))
    ]


@metric("privacy/dcr_ratio", plan=Neighbours(holdout="few"))
def dcr_ratio(data: EvalData, percentile: float = 50.0, rows: int = ROWS) -> list[Figure]:
    """Distance to the closest training record of synthetic rows, divided by that of holdout rows; 1 is as real ones.

    Arguments:
        data: The tables.
        percentile: Which percentile of both is compared; it is part of the figure's name unless it is the median.
        rows: Most rows of each table.

    Raises:
        MetricError: No holdout, or one that is as near as 0 to train at that percentile.
    """
    name = "privacy/dcr_ratio" + ("" if percentile == 50.0 else f"_p{percentile:g}")
    need_holdout(data, name)
    found = _to_train(data, rows)
    synthetic, holdout = (float(np.percentile(x.first, percentile)) for x in (found.synthetic, found.holdout))
    if holdout == 0.0:
        raise MetricError(f"{percentile:g} % of the holdout rows or more are equal to training rows: no ratio", name)
    detail = {"synthetic": synthetic, "holdout": holdout}
    return [Figure(name, synthetic / holdout, "higher", high=None, detail=detail, n=len(found.synthetic.first))]


@metric("privacy/nndr_median", "privacy/nndr_p5", plan=Neighbours())
def nndr(data: EvalData, rows: int = ROWS) -> list[Figure]:
    """Distance to the closest training record divided by that to the second closest: median and 5th percentile.

    Near 0 a synthetic row singles out one training row. A row equal to two or more training rows singles out none: 1.
    """
    need_holdout(data)
    found = _to_train(data, rows).synthetic
    if not np.isfinite(found.second).all():
        raise MetricError("train has one row only")
    ratio = np.where(found.second > 0, found.first / np.where(found.second > 0, found.second, 1.0), 1.0)
    return [
        Figure(f"privacy/nndr_{name}", float(np.percentile(ratio, q)), "higher", n=len(ratio))
        for name, q in (("median", 50), ("p5", 5))
    ]


@dataclass(frozen=True)
class _ToTrain:
    """Nearest training rows of the synthetic and of the holdout rows."""

    synthetic: Nearest
    holdout: Nearest


def _to_train(data: EvalData, rows: int) -> _ToTrain:
    key = f"to train {rows}"
    if key not in data.cache:
        space, train, holdout, synthetic = _points(data, rows)
        found = nearest(space, synthetic, train)
        same = data.synthetic is data.holdout
        data.cache[key] = _ToTrain(found, found if same else nearest(space, holdout, train))
    return data.cache[key]  # type: ignore[no-any-return]


def _points(data: EvalData, rows: int) -> tuple[Space, Points, Points, Points]:
    """Space and train, holdout and synthetic rows in random order, at most `rows` of each."""
    t = tables(data)
    rng = np.random.default_rng([data.seed, 4])
    space = Space.by_range(t)
    train, holdout, synthetic = (part.take(rng.permutation(len(part))[:rows]) for part in t.parts)
    return space, space.points(train), space.points(holdout), space.points(synthetic)


def _cut_distances(space: Space, queries: Points, base: Points, size: int, repeats: int) -> Distances:
    """Distance of each query to the nearest of `size` base rows, for several such cuts, shape (repeats, n).

    The base is in random order, so that successive rows are a random cut, and one pass over the distances serves all.
    """
    if size == len(base):
        return np.tile(nearest(space, queries, base).first, (repeats, 1))
    return windowed(space, queries, base, size, np.arange(repeats) * len(base) // repeats)


def _near_unique(train: Coded) -> list[int]:
    """Numbers that differ in most training rows, where the other columns alone tell the rows apart; else none."""
    rows = len(train)
    found = []
    for i, column in enumerate(train.numbers.T):
        there = column[~np.isnan(column)]
        if len(there) >= FEW and len(np.unique(there)) > NEAR_UNIQUE * len(there):
            found.append(i)
    rest = replace(train, numbers=np.delete(train.numbers, found, axis=1))
    if not found or rest.numbers.shape[1] + rest.codes.shape[1] == 0:
        return []
    return found if len(np.unique(row_keys(rest))) >= STILL_APART * rows else []


def _nothing_but_copies(data: EvalData) -> Figure | None:
    """`privacy/closer_to_train` of a table whose every row is a real one in every column, None for any other.

    A real row that comes more than once may as well come among unseen ones, and counts as a tie.
    """
    t = tables(data)
    made, real = row_keys(t.synthetic), row_keys(t.train)
    if not np.isin(made, real).all():
        return None
    keys, counts = np.unique(real, return_counts=True)
    ties = float(np.isin(made, keys[counts > 1]).mean())
    note = f"every row is a real one, at a distance of 0, so that no holdout is needed; {ties:.1%} come more than once"
    return Figure("privacy/closer_to_train", 1.0 - 0.5 * ties, "lower", ideal=0.5, n=len(made), note=note)


def _is_in(rows: Coded, others: Coded) -> NDArray[np.bool_]:
    return np.isin(row_keys(rows), row_keys(others))


def need_holdout(data: EvalData, *figures: str) -> None:
    """Raises `MetricError` where no real rows are known that the generator has not seen."""
    if len(data.holdout) == 0:
        way = "give real rows that the generator has not seen: holdout=FILE" if data.lend else "keep rows aside"
        raise MetricError(f"without a holdout there is no privacy claim; {way}", *figures)
