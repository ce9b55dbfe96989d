"""Which other numbers a number lies close to, found in training rows: pairs of columns, and how the one predicts the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from datakiln.nets.numbers import REFERENCES, Numbers

ROWS = 4000  # that are looked at
CLOSE = 0.12  # share of a number's codes within which half of its rows lie around their prediction
BETTER = 0.5  # of the error of a constant, at most
CANDIDATES = 8  # columns whose linear predictions are tried, those of the highest rank correlation
ROUNDS = 6  # of reweighting
LATER = 1  # references that follow a column in the fixed order: they serve rows of which cells are given
FREQUENT = 0.1  # share of the rows from which a code is left out when nearness is judged
LEAST = 30  # rows in which both columns have a value


@torch.no_grad()
def choose(numbers: Numbers, coordinates: Tensor, known: Tensor, order: Sequence[int]) -> None:
    """Sets the references of every number.

    Arguments:
        numbers: Its buffers are filled.
        coordinates: Of training rows, (B, N).
        known: Which of them there are.
        order: The numbers, the first drawn first.
    """
    coordinates, known = coordinates[:ROWS], known[:ROWS]
    values = numbers.values(coordinates).double()
    rank = {number: place for place, number in enumerate(order)}
    likeness = _rank_correlations(coordinates, known).abs()
    unit = torch.tensor(numbers.spread, dtype=torch.float64)
    middle = torch.tensor(numbers.middle, dtype=torch.float64)
    rare = _rare(numbers, coordinates)
    for i in range(len(numbers)):
        found: list[tuple[float, int, float, float]] = []
        for j in range(len(numbers)):
            both = known[:, i] & known[:, j] & rare[:, i]
            if j == i or int(both.sum()) < LEAST:
                continue
            same = (float(unit[j] / unit[i]), float((middle[j] - middle[i]) / unit[i]))
            lines = [same]
            if j in likeness[i].topk(min(CANDIDATES, len(numbers))).indices.tolist():
                lines.append(_robust_line(values[both, j], values[both, i]))
            for slope, intercept in lines:
                predicted = (values[both, j] * slope + intercept).float()
                at = numbers.locate(predicted.expand(len(numbers), -1))[i]
                error = float((coordinates[both, i] - at).abs().median())
                found.append((error, j, slope, intercept))
        alone = coordinates[known[:, i] & rare[:, i], i]
        blind = float((alone - alone.median()).abs().median()) if len(alone) else 0.0
        limit = min(CLOSE * int(numbers.last[i]), BETTER * blind)
        close = sorted(entry for entry in found if entry[0] < limit)
        before = _distinct([entry for entry in close if rank[entry[1]] < rank[i]])[: REFERENCES - LATER]
        after = _distinct([entry for entry in close if rank[entry[1]] > rank[i]])[: REFERENCES - len(before)]
        for place, (error, j, slope, intercept) in enumerate([*before, *after]):
            numbers.reference[i, place] = j
            numbers.slope[i, place], numbers.intercept[i, place] = slope, intercept
            numbers.start[i, place] = math.log(max(error, 0.1))


def _rare(numbers: Numbers, coordinates: Tensor) -> Tensor:
    """Which cells do not hold one of their column's most frequent codes, (B, N): those tell nothing of nearness."""
    _, _, code = numbers.nodes(coordinates)
    return numbers.share[code + numbers.codes.first[numbers.numbers]] < FREQUENT


def _distinct(entries: list[tuple[float, int, float, float]]) -> list[tuple[float, int, float, float]]:
    """The best entry of each column, then the second lines of columns."""
    first: dict[int, tuple[float, int, float, float]] = {}
    for entry in entries:
        first.setdefault(entry[1], entry)
    return list(first.values())


def _rank_correlations(coordinates: Tensor, known: Tensor) -> Tensor:
    """Of all pairs, (N, N), 0 on the diagonal; coordinates are ranks but for ties."""
    x = torch.where(known, coordinates, torch.nan).double()
    x = torch.nan_to_num((x - x.nanmean(dim=0)), nan=0.0)
    x = x / x.square().sum(dim=0).sqrt().clamp(min=1e-9)
    return (x.T @ x).fill_diagonal_(0.0)


def _robust_line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Slope and intercept by weights that fall with the residual (Cauchy), from the least-squares line."""
    weight = torch.ones_like(x)
    slope = intercept = torch.zeros((), dtype=x.dtype)
    for _ in range(ROUNDS):
        total = weight.sum()
        mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
        variance = (weight * (x - mean_x).square()).sum()
        slope = (weight * (x - mean_x) * (y - mean_y)).sum() / variance.clamp(min=1e-12)
        intercept = mean_y - slope * mean_x
        error = (y - slope * x - intercept).abs()
        weight = 1.0 / (1.0 + (error / (2.0 * error.median()).clamp(min=1e-9)).square())
    return float(slope), float(intercept)
