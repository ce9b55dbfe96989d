"""Which other numbers a number lies close to, found in training rows: one or two columns, and what they predict."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datakiln.nets.numbers import NARROWEST, REFERENCES, SHARPEST, Numbers

ROWS = 2000  # that are looked at
GAIN = 0.1  # nats a row that the column's own shares, mixed with a logistic around it in equal parts, must gain by one
PAIR_GAIN = 0.15  # and more than by the best column alone, for two
CANDIDATES = 6  # columns whose linear predictions are tried, those of the highest rank correlation
FEW, MANY = 4, 40  # so many only in a table of more numbers than that
NEAREST = 16  # columns that are tried alone, those of the highest rank correlation
TRIES = 1500  # most pairs and numbers together that a difference is tried for
ALIKE = 24  # most pairs of columns much like each other whose difference is tried on all columns
MUCH = 0.7  # their rank correlation, at least
ROUNDS = 6  # of reweighting
LATER = 1  # references that follow a column in the fixed order: they serve rows of which cells are given
LEAST = 50  # rows in which all columns have a value
CLEAR = 0.01  # nats a row more that make errors look of one size among values
WIDTHS = torch.tensor([0.05, 0.2, 0.5, 1.0, 2.0, 4.0])  # scales that are tried, times that of the middle of the errors
FREQUENT = 0.1  # share of the rows from which a code is left out when nearness is judged


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
def choose(
    numbers: Numbers, coordinates: Tensor, known: Tensor, order: Sequence[int], first: int | None = None
) -> None:
    """Sets the references of every number, or of the first so many.

    Arguments:
        numbers: Its buffers are filled.
        coordinates: Of training rows, (B, N).
        known: Which of them there are.
        order: The numbers, the first drawn first.
        first: How many get references; None for all.
    """
    search = _Search(numbers, coordinates[:ROWS], known[:ROWS])
    rank = {number: place for place, number in enumerate(order)}
    for i in range(len(numbers) if first is None else first):
        found = search.of(i)
        before = [entry for entry in found if max(rank[j] for j in entry.columns) < rank[i]][: REFERENCES - LATER]
        after = [entry for entry in found if entry not in before and len(entry.columns) == 1]
        for place, entry in enumerate([*before, *after][:REFERENCES]):
            for side, (j, slope) in enumerate(zip(entry.columns, entry.slopes, strict=True)):
                numbers.reference[i, place, side], numbers.slope[i, place, side] = j, slope
            numbers.intercept[i, place] = entry.intercept
            numbers.straight[i, place] = entry.straight
            numbers.start[i, place] = math.log(entry.scale if entry.straight else max(entry.scale, 0.1))


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
        single = [entry for j in tried if j != i for entry in self._lines(i, (j,), j in near)]
        close = sorted(entry for entry in single if entry.loss < -GAIN)
        best: dict[tuple[int, ...], Reference] = {}
        for entry in close:
            best.setdefault(entry.columns, entry)
        pairs = {pair: True for pair in itertools.combinations(sorted(near), 2)}
        pairs.update({pair: False for pair in self.alike if i not in pair and pair not in pairs})
        for pair, is_near in pairs.items():
            for entry in self._lines(i, pair, is_near):
                least = min([PAIR_GAIN - GAIN, *(best[j,].loss for j in pair if (j,) in best)])
                if entry.loss < least - PAIR_GAIN and entry.loss < best.get(pair, entry).loss + 1e-12:
                    best[pair] = entry
        return sorted(best.values())

    def _lines(self, i: int, columns: tuple[int, ...], is_near: bool) -> list[Reference]:
        rows = self.counted[:, i] & self.known[:, columns].all(dim=1)
        if int(rows.sum()) < LEAST:
            return []
        x, y = self.values[rows][:, columns], self.values[rows, i]
        signs = [(1.0,)] if len(columns) == 1 else [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0)]
        plain = []
        for sign in signs:  # the very value of the other column, or the sum or difference of two
            slopes = tuple(s * self.unit[j] / self.unit[i] for s, j in zip(sign, columns, strict=True))
            middle = sum(s * self.middle[j] for s, j in zip(sign, columns, strict=True))
            plain.append((slopes, (middle - self.middle[i]) / self.unit[i]))
        lines = [*plain, _robust_plane(x, y)] if is_near else plain
        found = []
        for slopes, intercept in lines:
            predicted = (x * torch.tensor(slopes, dtype=x.dtype)).sum(dim=1) + intercept
            at = self.numbers.place_of(i, predicted.float())
            loss, is_straight, scale = self._shape(i, rows, self.coordinates[rows, i] - at, y - predicted)
            found.append(Reference(loss, columns, slopes, intercept, is_straight, scale))
        return found

    def _shape(self, i: int, rows: Tensor, of_coordinates: Tensor, of_values: Tensor) -> tuple[float, bool, float]:
        """The loss of a prediction with these errors, whether they are of one size among values, and their scale."""
        numbers = self.numbers
        node, _, code = numbers.nodes(self.coordinates[rows, i], i)
        begin, size = int(numbers.codes.first[numbers.numbers[i]]), int(numbers.last[i])
        every = numbers.share[begin : begin + size].double()
        share = (every[code] / every[every < FREQUENT].sum().clamp(min=1e-9)).log()  # among the rows that are looked at
        rate, lumped = numbers.rate[node].double(), numbers.lumped[node]
        gain, scale = _logistic(of_coordinates.double(), torch.ones_like(rate), lumped, NARROWEST, share)
        if not bool(numbers.has_gaps[i]):
            straight, of_one_size = _logistic(of_values, rate, lumped, SHARPEST, share)
            if straight > gain + CLEAR:
                return -straight, True, of_one_size
        return -gain, False, scale


def _logistic(errors: Tensor, rate: Tensor, lumped: Tensor, narrowest: float, blind: Tensor) -> tuple[float, float]:
    """What a mixture in equal parts with a logistic around 0 gains over the log-densities given, and its scale.

    Arguments:
        errors: In coordinates or values, (n,).
        rate: How many of these one coordinate has there.
        lumped: Whether the coordinate is a code of a single value, with a mass instead of a density.
        narrowest: Least scale.
        blind: Log-densities of coordinates, or log-masses, without the logistic.
    """
    size = errors.abs()
    scales = (float(size.median()) / math.log(3.0) * WIDTHS.double()).clamp(min=narrowest)[:, None]
    z = size / scales
    dense = -z - 2.0 * torch.log1p((-z).exp()) - scales.log() + rate.log()
    mass = torch.sigmoid((rate / 2 - size) / scales) - torch.sigmoid((-rate / 2 - size) / scales)
    likely = torch.where(lumped, mass.clamp(min=1e-10).log(), dense) - blind
    gain = (torch.logaddexp(likely, torch.zeros_like(likely)) - math.log(2.0)).mean(dim=1)
    best = int(gain.argmax())
    return float(gain[best]), float(scales[best])


def _rank_correlations(coordinates: Tensor, known: Tensor) -> Tensor:
    """Sizes of those of all pairs, (N, N), -1 on the diagonal; coordinates are ranks but for ties."""
    x = torch.where(known, coordinates, torch.nan).double()
    x = torch.nan_to_num((x - x.nanmean(dim=0)), nan=0.0)
    x = x / x.square().sum(dim=0).sqrt().clamp(min=1e-9)
    return (x.T @ x).abs().fill_diagonal_(-1.0)


def _robust_plane(x: Tensor, y: Tensor) -> tuple[tuple[float, ...], float]:
    """Slopes and intercept by weights that fall with the residual (Cauchy), from the least-squares plane."""
    design = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    weight, solution = torch.ones_like(y), torch.zeros(design.shape[1], dtype=y.dtype)
    ridge = 1e-9 * len(y) * torch.eye(design.shape[1], dtype=y.dtype)
    for _ in range(ROUNDS):
        weighted = design * weight[:, None]
        solution = torch.linalg.solve(weighted.T @ design + ridge, weighted.T @ y)
        error = (y - design @ solution).abs()
        weight = 1.0 / (1.0 + (error / (2.0 * error.median()).clamp(min=1e-9)).square())
    return tuple(solution[:-1].tolist()), float(solution[-1])
