"""Where all columns before it together expect a number: linear regression in normal scores.

It is the conditional mean of a Gaussian copula (the nonparanormal of Liu, Lafferty and Wasserman, 2009,
https://arxiv.org/abs/0903.0649), solved in closed form before training. What takes a network many updates, how dozens
of columns add up, is there from the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

PENALTIES = (1.0, 4.0, 16.0, 64.0, 256.0)  # of the slopes, in rows
GAIN = 0.1  # by which the log of the error must fall below a constant's, on rows apart
MANY = 10_000  # rows of which a network learns a loose plane by itself: there, and as drawing by planes takes longer,
GAIN_OF_MANY = 0.35  # the log of the error must fall so far
APART = 3  # each third row judges
LEVEL_ROWS = 10  # least rows of a code that counts by itself
MOST = 1000  # features at most: the rarest codes are left out, and with more numbers there are no planes
LEAST = 50  # rows in which a number has a value


@torch.no_grad()
def fit(
    scores: Tensor, valued: Tensor, codes: Tensor, order: Sequence[int], place: Mapping[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] | None:
    """Planes of N numbers over the columns before them, by ridge regression; the penalty by rows apart.

    Arguments:
        scores: Normal scores of the numbers in training rows, (B, N).
        valued: Which of them are not missing, (B, N).
        codes: Of all columns, numbered through, (B, C).
        order: The columns, the first drawn first.
        place: Where a column stands among the numbers.

    Returns:
        Slopes of the scores, (N, N); the codes that count by themselves, (K,), and what each adds, (K, N); intercepts
        (N,); standard deviations of the errors on rows apart, (N,); and which numbers a plane says something about,
        (N,). None where there is nothing to go by.
    """
    n = scores.shape[1]
    if n > MOST or len(scores) < LEAST:
        return None
    levels = _levels(codes, valued, order, place, MOST - n)
    columns, owner, of_level = [torch.ones(len(scores), dtype=torch.float64)], [-1], [-1]
    for j in order:
        if j in place:
            columns.append(torch.where(valued[:, place[j]], scores[:, place[j]], 0.0).double().cpu())
            owner.append(place[j])
            of_level.append(-1)
        for level in levels[j]:
            columns.append((codes[:, j] == level).double().cpu())
            owner.append(-1)
            of_level.append(level)
    x = torch.stack(columns, dim=1)
    targets = torch.tensor([i for i, own in enumerate(owner) if own >= 0])
    numbers = torch.tensor(owner)[targets]
    there = valued.cpu()[:, numbers]
    judges = torch.arange(len(x)) % APART == 0
    spread = _deviation(x[:, targets] - _mean(x[:, targets], there), there & judges[:, None])
    judged = x[judges].T @ x[judges]
    gram = x.T @ x
    errors = torch.stack([_errors(gram - judged, x[judges], penalty)[:, targets] for penalty in PENALTIES])
    deviations = torch.stack([_deviation(error, there[judges]) for error in errors])
    least, best = deviations.min(dim=0)
    gain = GAIN if len(x) < MANY else GAIN_OF_MANY
    says = (least.clamp(min=1e-9).log() < spread.clamp(min=1e-9).log() - gain) & (there.sum(dim=0) >= LEAST)
    slopes = torch.zeros(len(targets), len(owner), dtype=torch.float64)
    for i in best[says].unique().tolist():
        chosen = says & (best == i)
        slopes[chosen] = _slopes(gram, PENALTIES[i])[targets[chosen]]
    slopes *= _calibration(x @ slopes.T, x[:, targets], there)[:, None]
    intercept = _mean(x[:, targets] - x @ slopes.T, there)[0] * says + slopes[:, 0]
    back = numbers.argsort()
    is_level = torch.tensor(of_level) >= 0
    table = slopes[back][:, is_level].T
    counted = torch.tensor(of_level)[is_level]
    return slopes[back][:, targets][:, back], counted, table, intercept[back], least[back], says[back]


def _levels(
    codes: Tensor, valued: Tensor, order: Sequence[int], place: Mapping[int, int], most: int
) -> dict[int, list[int]]:
    """Codes of each column that count by themselves: those of categories, and of missing numbers."""
    found: list[tuple[int, int, int]] = []
    for j in order:
        column = codes[~valued[:, place[j]], j] if j in place else codes[:, j]
        points, counts = column.unique(return_counts=True)
        found += [(rows, j, level) for level, rows in zip(points.tolist(), counts.tolist(), strict=True)]
    frequent = sorted(entry for entry in found if LEVEL_ROWS <= entry[0] < len(codes))[::-1][:most]
    return {j: [level for _, column, level in frequent if column == j] for j in order}


def _factor(gram: Tensor, penalty: float) -> Tensor:
    """Cholesky factor of the penalised Gram matrix: it holds the regressions of each column on all before it."""
    diagonal = torch.full((len(gram),), penalty, dtype=gram.dtype)
    diagonal[0] = 1e-6
    return torch.linalg.cholesky(gram + diagonal.diag())


def _errors(gram: Tensor, judges: Tensor, penalty: float) -> Tensor:
    factor = _factor(gram, penalty)
    return (torch.linalg.solve_triangular(factor, judges.T, upper=False) * factor.diag()[:, None]).T


def _slopes(gram: Tensor, penalty: float) -> Tensor:
    factor = _factor(gram, penalty)
    unit = torch.eye(len(factor), dtype=gram.dtype)
    return (-torch.linalg.solve_triangular(factor, unit, upper=False) * factor.diag()[:, None]).tril(-1)


def _mean(x: Tensor, there: Tensor) -> Tensor:
    return ((x * there).sum(dim=0) / there.sum(dim=0).clamp(min=1))[None]


def _deviation(errors: Tensor, there: Tensor) -> Tensor:
    return ((errors.square() * there).sum(dim=0) / there.sum(dim=0).clamp(min=1)).sqrt()


def _calibration(predicted: Tensor, x: Tensor, there: Tensor) -> Tensor:
    """Factors of the predictions where cells are missing: those count as 0 in the regression and flatten it."""
    centred = predicted - _mean(predicted, there)
    slope = (centred * x * there).sum(dim=0) / (centred.square() * there).sum(dim=0).clamp(min=1e-9)
    return torch.where(there.all(dim=0), 1.0, slope.clamp(1.0, 4.0))
