"""Which other numbers a number lies close to, found in training rows: one or two columns, and what they predict."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datakiln.nets.numbers import NARROWEST, REFERENCES, SHARPEST, Numbers

ROWS, FEWER_ROWS = 2000, 600  # that are looked at; in a table of more numbers than MANY
GAIN = 0.1  # nats a row that the column's own shares, mixed with a logistic around it in equal parts, must gain by one
PAIR_GAIN = 0.15  # and more than by the best column alone, for two
CANDIDATES = 6  # columns whose linear predictions are tried, those of the highest rank correlation
LEADING, SECOND = 2, 3  # the best columns, and for each so many others that go most with what it leaves
FEW, MANY = 4, 40  # so many only in a table of more numbers than MANY
NEAREST = 16  # columns that are tried alone, those of the highest rank correlation
TRIES = 1500  # most pairs and numbers together that a difference is tried for
ALIKE = 24  # most pairs of columns much like each other whose difference is tried on all columns
MUCH = 0.7  # their rank correlation, at least
ROUNDS = 6  # of reweighting
TRIED = 100_000  # most orders times numbers that are looked at
PAIRS = 6  # and most pairs of one number that change it, in a table of more numbers than MANY
LATER = 1  # references that follow a column in the fixed order: they serve rows of which cells are given
LEAST = 50  # rows in which all columns have a value
CLEAR = 0.01  # nats a row more that make errors look of one size among values
WIDTHS = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)  # scales that are tried, times that of the middle of the errors
LEAST_WIDTH = 0.01  # that is tried too of pairs
SHARP = 0.1  # times the scale of one column's logistic: the other one it is given where pairs are compared with it
HALF, WEIGHTS = (0.5,), (0.5, 0.15)  # of the logistic, by one column and by two
FREQUENT = 0.1  # share of the rows from which a code is left out when nearness is judged


Settle = Callable[[list[int]], list[int]]


class Reference(NamedTuple):
    """Columns that predict a number, how well, and how: standardised values are slopes times theirs plus a constant.

    The loss is the negative gain, in nats a row. Errors are of one size among values where the prediction is straight,
    else among coordinates; a logistic of this scale fits them.
    """

    loss: float
    columns: tuple[int, ...]
    slopes: tuple[float, ...]
    intercept: float
    straight: bool
    scale: float


@torch.no_grad()
def find(numbers: Numbers, coordinates: Tensor, known: Tensor, first: int | None = None) -> list[list[Reference]]:
    """What numbers lie close to, the closest first.

    Arguments:
        numbers: They have their shares already.
        coordinates: Of training rows, (B, N).
        known: Which of them there are.
        first: How many numbers are asked for; None for all.
    """
    rows = ROWS if len(numbers) <= MANY else FEWER_ROWS
    search = _Search(numbers, coordinates[:rows], known[:rows])
    return [search.of(i) for i in range(len(numbers) if first is None else first)]


def closest_first(found: Sequence[Sequence[Reference]], given: Collection[int]) -> list[int]:
    """An order of numbers in which the one comes next that those before it, and the given ones, tell most of.

    Arguments:
        found: References of each, the closest first.
        given: Numbers that are there from the start.
    """
    there, order = set(given), list[int]()
    left = [i for i in range(len(found)) if i not in there]
    while left:
        losses = [min((e.loss for e in found[i] if there.issuperset(e.columns)), default=0.0) for i in left]
        order.append(left.pop(losses.index(min(losses))))
        there.add(order[-1])
    return order


def most_told(order: Sequence[int], found: Sequence[Sequence[Reference]], settle: Settle) -> list[int]:
    """The order, with numbers moved to where pairs of columns before them tell clearly more of them.

    A number that two others tell to the digit tells as much of either of them; but they may be told by yet others. So
    moves are made one at a time, the one that all numbers together gain most by.

    Arguments:
        order: The numbers, the first drawn first.
        found: References of each, the closest first.
        settle: Moves numbers so that an order keeps to whatever else it must.
    """
    order, left = settle(list(order)), TRIED // max(len(found), 1)
    most = PAIRS if len(found) > MANY else None
    while True:
        rank = _ranks(order)
        losses = [_loss(entries, i, rank) for i, entries in enumerate(found)]
        wanted = [(i, entry) for i, entries in enumerate(found) for entry in _pairs(entries, losses[i])[:most]]
        if len(wanted) > left // 2:
            wanted = sorted(wanted, key=lambda each: each[1].loss - losses[each[0]])[: left // 2]
        left -= 2 * len(wanted)
        tried = [settle(each) for i, entry in wanted for each in _moves(order, i, entry.columns)]
        untold = [sum(_loss(entries, i, ranks) for i, entries in enumerate(found)) for ranks in map(_ranks, tried)]
        if not untold or min(untold) > sum(losses) - PAIR_GAIN:
            return order
        order = tried[untold.index(min(untold))]


def _ranks(order: Sequence[int]) -> dict[int, int]:
    return {number: place for place, number in enumerate(order)}


def _loss(entries: Sequence[Reference], i: int, rank: Mapping[int, int]) -> float:
    """Of the closest reference that comes before a number, 0 where there is none."""
    for entry in entries:
        if all(rank[j] < rank[i] for j in entry.columns):
            return min(entry.loss, 0.0)
    return 0.0


def _pairs(entries: Sequence[Reference], loss: float) -> list[Reference]:
    """Those that tell clearly more."""
    return [entry for entry in entries if len(entry.columns) == 2 and entry.loss < loss - PAIR_GAIN]


def _moves(order: Sequence[int], i: int, columns: Sequence[int]) -> Iterator[list[int]]:
    """The order with a number right behind the columns, and with those that follow it right before it."""
    rest = [k for k in order if k != i]
    after = max(rest.index(j) for j in columns) + 1
    yield [*rest[:after], i, *rest[after:]]
    late = [k for k in order[order.index(i) :] if k in columns]
    rest = [k for k in order if k not in late]
    yield [*rest[: rest.index(i)], *late, *rest[rest.index(i) :]]


def keep(numbers: Numbers, found: Sequence[Sequence[Reference]], order: Sequence[int]) -> None:
    """Sets the references of numbers, from what is found of each, for an order.

    Arguments:
        numbers: Their buffers are filled.
        found: See `find`.
        order: The numbers, the first drawn first.
    """
    rank = _ranks(order)
    for i, each in enumerate(found):
        before = _varied([entry for entry in each if max(rank[j] for j in entry.columns) < rank[i]])
        after = [entry for entry in each if entry not in before and len(entry.columns) == 1]
        for place, entry in enumerate([*before, *after][:REFERENCES]):
            for side, (j, slope) in enumerate(zip(entry.columns, entry.slopes, strict=True)):
                numbers.reference[i, place, side], numbers.slope[i, place, side] = j, slope
            numbers.intercept[i, place] = entry.intercept
            numbers.straight[i, place] = entry.straight
            numbers.start[i, place] = math.log(entry.scale if entry.straight else max(entry.scale, 0.1))


def _varied(entries: Sequence[Reference]) -> list[Reference]:
    """The closest, as many as there is room for; if all were pairs, the last gives way to the best column alone."""
    first = list(entries[: REFERENCES - LATER])
    alone = [entry for entry in entries if len(entry.columns) == 1][:1]
    return first if set(alone) & set(first) or not alone else [*first[: REFERENCES - LATER - 1], *alone]


class _Search:
    def __init__(self, numbers: Numbers, coordinates: Tensor, known: Tensor) -> None:
        _, _, code = numbers.nodes(coordinates)
        rare = numbers.share[code + numbers.codes.first[numbers.numbers]] < FREQUENT  # frequent codes tell nothing
        self.numbers, self.coordinates, self.known, self.counted = numbers, coordinates, known, known & rare
        self.values = numbers.values(coordinates).double()
        self.likeness = _rank_correlations(coordinates, known)
        self.unit, self.middle = numbers.spread, numbers.middle
        upper = self.likeness.triu(1).flatten()
        strong = upper.topk(min(ALIKE, len(upper), TRIES // max(len(numbers), 1)))
        size = len(numbers)
        self.alike = [
            (at // size, at % size)
            for like, at in zip(strong.values.tolist(), strong.indices.tolist(), strict=True)
            if like > MUCH
        ]

    def of(self, i: int) -> list[Reference]:
        """References of one number, the closest first, the best of each set of columns."""
        if int(self.counted[:, i].sum()) < LEAST:
            return []
        tried = self.likeness[i].topk(min(NEAREST, len(self.numbers))).indices.tolist()
        near = [j for j in tried[: CANDIDATES if len(self.numbers) <= MANY else FEW] if j != i]
        single = self._lines(i, {(j,): j in near for j in tried if j != i})
        close = sorted(entry for entry in single if entry.loss < -GAIN)
        best: dict[tuple[int, ...], Reference] = {}
        for entry in close:
            best.setdefault(entry.columns, entry)
        pairs: dict[tuple[int, ...], bool] = {pair: True for pair in itertools.combinations(sorted(near), 2)}
        for entry in list(best.values())[:LEADING]:
            for j in self._second(i, entry):
                pairs.setdefault((min(entry.columns[0], j), max(entry.columns[0], j)), True)
        pairs.update({pair: False for pair in self.alike if i not in pair and pair not in pairs})
        above = close[0] if close else None
        for entry in self._lines(i, pairs, above):
            least = above.loss - PAIR_GAIN if above else -GAIN
            if entry.loss < least and entry.loss < best.get(entry.columns, entry).loss + 1e-12:
                best[entry.columns] = entry
        return sorted(best.values())

    def _second(self, i: int, entry: Reference) -> list[int]:
        """Columns that go most with what a prediction by one other leaves."""
        (j,), (slope,) = entry.columns, entry.slopes
        there = self.counted[:, i] & self.known[:, j]
        left = (self.values[:, i] - self.values[:, j] * slope)[there].argsort().argsort()
        ranks = torch.where(self.known[there], self.coordinates[there], torch.nan).double()
        ranks = torch.nan_to_num(ranks - ranks.nanmean(dim=0), nan=0.0)
        like = ((left - left.double().mean()) @ ranks / ranks.square().sum(dim=0).sqrt().clamp(min=1e-9)).abs()
        like[[i, j]] = -1.0
        return like.topk(max(min(SECOND, len(like) - 2), 0)).indices.tolist()

    def _lines(
        self, i: int, columns: Mapping[tuple[int, ...], bool], above: Reference | None = None
    ) -> list[Reference]:
        """All predictions by these sets of as many columns, with a robust one by those that are near.

        What pairs gain is what they gain beside the best prediction by one column alone, if there is any.
        """
        rows = self.counted[:, i].nonzero()[:, 0]
        sets = [each for each in columns if int(self.known[rows][:, each].all(dim=1).sum()) >= LEAST]
        if not sets:
            return []
        at = torch.tensor(sets, device=rows.device)
        there = self.known[rows][:, at].all(dim=2).T  # (S, n)
        x, y = self.values[rows][:, at].transpose(0, 1), self.values[rows, i]  # (S, n, 1 or 2), (n,)
        unit, middle = (torch.tensor(each, dtype=x.dtype, device=x.device)[at] for each in (self.unit, self.middle))
        signs = [(1.0,)] if len(sets[0]) == 1 else [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0)]
        which, slopes, intercepts = [], [], []
        for sign in signs:  # the very value of the other column, or the sum or difference of two
            each = torch.tensor(sign, dtype=x.dtype, device=x.device)
            which.append(torch.arange(len(sets), device=x.device))
            slopes.append(each * unit / self.unit[i])
            intercepts.append(((each * middle).sum(dim=1) - self.middle[i]) / self.unit[i])
        near = torch.tensor([k for k, each in enumerate(sets) if columns[each]], dtype=torch.long, device=x.device)
        if len(near):
            plane = _robust_planes(x[near], y, there[near])
            which.append(near)
            slopes.append(plane[:, :-1])
            intercepts.append(plane[:, -1])
        of, slope, intercept = torch.cat(which), torch.cat(slopes), torch.cat(intercepts)
        predicted = torch.einsum("lnk,lk->ln", x[of], slope) + intercept[:, None]
        shapes = self._shapes(i, rows, predicted, there[of], above)
        lines = zip(of.tolist(), slope.tolist(), intercept.tolist(), shapes, strict=True)
        return [Reference(loss, sets[k], tuple(s), c, straight, scale) for k, s, c, (loss, straight, scale) in lines]

    def _shapes(
        self, i: int, rows: Tensor, predicted: Tensor, there: Tensor, above: Reference | None
    ) -> list[tuple[float, bool, float]]:
        """The loss of each prediction (L, n), whether its errors are of one size among values, and their scale."""
        numbers, coordinate = self.numbers, self.coordinates[rows, i]
        node, _, code = numbers.nodes(coordinate, i)
        begin, size = int(numbers.codes.first[numbers.numbers[i]]), int(numbers.last[i])
        every = numbers.share[begin : begin + size].double()
        share = (every[code] / every[every < FREQUENT].sum().clamp(min=1e-9)).log()  # among the rows that are looked at
        rate, lumped = numbers.rate[node].double(), numbers.lumped[node]
        one, gained = torch.ones_like(rate), 0.0
        weights: Sequence[float] = HALF
        widths: Sequence[float] = WIDTHS
        if above is not None:
            (j,), (slope,) = above.columns, above.slopes
            weights, widths, gained = WEIGHTS, (LEAST_WIDTH, *WIDTHS), -above.loss
            told = (self.values[rows, j] * slope + above.intercept)[None]
            seen = self.known[rows, j]
            near = self.values[rows, i] - told if above.straight else coordinate - numbers.place_of(i, told.float())
            scale = torch.tensor([[above.scale], [above.scale * SHARP]], device=near.device)
            likely = _log_density(near.double().abs(), scale, rate if above.straight else one, lumped)
            alone = torch.cat([likely, share[None]]).logsumexp(dim=0) - math.log(3.0)
            share = torch.where(seen, torch.maximum(alone, share - math.log(2.0)), share)
        errors = (coordinate - numbers.place_of(i, predicted.float())).double()
        gain, scale = _logistic(errors, there, one, lumped, NARROWEST, share, weights, widths)
        is_straight = torch.zeros_like(gain, dtype=torch.bool)
        if not bool(numbers.has_gaps[i]):
            errors = self.values[rows, i] - predicted
            straight, of_one_size = _logistic(errors, there, rate, lumped, SHARPEST, share, weights, widths)
            is_straight = straight > gain + CLEAR
            gain, scale = torch.where(is_straight, straight, gain), torch.where(is_straight, of_one_size, scale)
        return list(zip((-gain - gained).tolist(), is_straight.tolist(), scale.tolist(), strict=True))


def _logistic(
    errors: Tensor, there: Tensor, rate: Tensor, lumped: Tensor, narrowest: float, blind: Tensor,
    weights: Sequence[float], widths: Sequence[float],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What mixtures with a logistic around 0 gain over the log-densities given, and its scales, (L,) each.

    Arguments:
        errors: In coordinates or values, (L, n).
        there: Which of them there are.
        rate: How many of these one coordinate has there, (n,).
        lumped: Whether the coordinate is a code of a single value, with a mass instead of a density, (n,).
        narrowest: Least scale.
        blind: Log-densities of coordinates, or log-masses, without the logistic, (n,).
        weights: Of the logistic, that are tried.
        widths: That are tried.
    """
    size = errors.abs()
    middle = torch.where(there, size, torch.nan).nanmedian(dim=1).values
    scales = (middle / math.log(3.0) * torch.tensor(widths).to(middle)[:, None]).clamp(min=narrowest)  # (W, L)
    gains = []
    for scale in scales[..., None]:
        likely = _log_density(size, scale, rate, lumped) - blind
        for weight in weights:
            gain = torch.logaddexp(likely + math.log(weight), likely.new_tensor(math.log(1.0 - weight)))
            gains.append(torch.where(there, gain, 0.0).sum(dim=1) / there.sum(dim=1))
    scales = scales.repeat_interleave(len(weights), dim=0)
    gain, best = torch.stack(gains).max(dim=0)
    return gain, scales.gather(0, best[None])[0]


def _log_density(size: Tensor, scale: Tensor | float, rate: Tensor, lumped: Tensor) -> Tensor:
    """Of errors of these sizes under a logistic, (L, n), or log-masses of codes that are single values."""
    z = size / scale
    likely = -z - 2.0 * torch.log1p((-z).exp()) - torch.as_tensor(scale).log() + rate.log()
    if lumped.any():
        mass = torch.sigmoid((rate / 2 - size) / scale) - torch.sigmoid((-rate / 2 - size) / scale)
        likely = torch.where(lumped, mass.clamp(min=1e-10).log(), likely)
    return likely


def _rank_correlations(coordinates: Tensor, known: Tensor) -> Tensor:
    """Sizes of those of all pairs, (N, N), -1 on the diagonal; coordinates are ranks but for ties."""
    x = torch.where(known, coordinates, torch.nan).double()
    x = torch.nan_to_num((x - x.nanmean(dim=0)), nan=0.0)
    x = x / x.square().sum(dim=0).sqrt().clamp(min=1e-9)
    return (x.T @ x).abs().fill_diagonal_(-1.0)


def _robust_planes(x: Tensor, y: Tensor, there: Tensor) -> Tensor:
    """Slopes and intercepts, (S, k + 1), by weights that fall with the residual (Cauchy), from least squares.

    Arguments:
        x: What y is told by, (S, n, k).
        y: See above, (n,).
        there: Which rows count for each, (S, n).
    """
    design = torch.cat([x, torch.ones_like(x[..., :1])], dim=2)
    weight, solution = there.to(x.dtype), x.new_zeros(len(x), design.shape[2])
    ridge = 1e-9 * there.sum(dim=1)[:, None, None] * torch.eye(design.shape[2], dtype=x.dtype, device=x.device)
    for _ in range(ROUNDS):
        weighted = (design * weight[..., None]).transpose(1, 2)
        solution = torch.linalg.solve(weighted @ design + ridge, (weighted @ y)[..., None])[..., 0]
        error = (y - (design @ solution[..., None])[..., 0]).abs()
        typical = torch.where(there, error, torch.nan).nanmedian(dim=1, keepdim=True).values
        weight = there / (1.0 + (error / (2.0 * typical).clamp(min=1e-9)).square())
    return solution
