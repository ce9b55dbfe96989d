"""Noisy marginals of a table, the next one to measure chosen by how far the mixture so far is off.

The choice within the budget is the idea of AIM (McKenna, Mullins, Sheldon and Miklau, 2022,
https://arxiv.org/abs/2201.12677): measure the marginal whose error is larger than the noise that measuring it would
add. Ours starts from one-way histograms of public cells, measures several marginals a round, and fits mixtures in
place of a graphical model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datakiln.errors import UserError
from datakiln.privacy.cells import Bins, PublicColumn, onto_simplex
from datakiln.privacy.fitting import MixtureFit
from datakiln.privacy.noise import choose, discrete_gaussian, variance_for

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ONE_WAY = 0.15  # share of the budget for the histograms of single columns
CHOOSING = 0.1  # share of a round for choosing what to measure
BASE = 0.75  # share of the rest with which every marginal is measured before any is chosen
CLEAR = 1.0  # noise in the classes of the target, as a share of the rows, below which all pairs are measured in them
ROUNDS, PICKS = 8, 4  # in which the worst ones are measured again
FITS = 4  # mixtures whose mean is released: what each makes of the noise differs, what the counts tell does not
BETWEEN, FIRST, LAST = 25, 150, 150  # steps between rounds, and at the end with a full and with a falling rate
LEAST_BINS, BINS = 3, 20  # of a number; as many as there are rows enough for
MOST_CODES = 4_000
MOST_CLASSES = 12  # of a label in which pairs are measured


@dataclass(frozen=True)
class Measured:
    """One marginal that was measured: its columns, by name, and the standard deviation of its noise."""

    columns: tuple[str, ...]
    noise: float


@dataclass
class Release:
    """All that the mechanism gives away, in public terms: to look at it further costs nothing.

    Attributes:
        columns: Those that take part.
        bins: Of each number, by name.
        rows: About how many rows there are.
        theta: Shape (T, K).
        pi: Shape (K,).
        sizes: Codes of each column.
        rho: What it cost, in zCDP.
        measured: Every marginal, in order.
    """

    columns: list[PublicColumn]
    bins: dict[str, Bins]
    rows: float
    theta: Floats
    pi: Floats
    sizes: list[int]
    rho: float
    measured: list[Measured] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {
            "names": [column.field.name for column in self.columns],
            "bins": {n: (torch.tensor(b.first), torch.tensor(b.shares)) for n, b in self.bins.items()},
            "rows": self.rows,
            "theta": torch.tensor(self.theta),
            "pi": torch.tensor(self.pi),
            "sizes": list(self.sizes),
            "rho": self.rho,
            "measured": [(list(one.columns), one.noise) for one in self.measured],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], columns: Sequence[PublicColumn]) -> Release:
        """Inverse of `state`, of columns declared as then."""
        by_name = {column.field.name: column for column in columns}
        bins = {n: Bins(by_name[n], first.numpy(), shares.numpy()) for n, (first, shares) in state["bins"].items()}
        measured = [Measured(tuple(names), noise) for names, noise in state["measured"]]
        theta, pi = state["theta"].numpy(), state["pi"].numpy()
        return cls(list(columns), bins, state["rows"], theta, pi, list(state["sizes"]), state["rho"], measured)


def histograms(cells: Ints, columns: Sequence[PublicColumn], rho: float) -> tuple[list[Floats], int]:
    """Noisy counts of the cells of each column, and the variance of their noise; together they cost rho."""
    variance = variance_for(rho / len(columns))
    counts = []
    for at, column in zip(cells.T, columns, strict=True):
        true = np.bincount(at[at >= 0], minlength=column.size)
        counts.append((true + discrete_gaussian(variance, column.size)).astype(np.float64))
    return counts, variance


def release(
    cells: Ints,
    columns: Sequence[PublicColumn],
    rho: float,
    label: str | None = None,
    adaptive: bool = True,
    classes: int = 128,
) -> Release:
    """Measures marginals within the budget and fits the mixture.

    Arguments:
        cells: The cell of each value, shape (n, columns), -1 where it counts nowhere; see `PublicColumn.cells`.
        columns: What is public of them.
        rho: The whole budget, in zCDP, for tables that differ by one row added or removed.
        label: Column whose marginals with two others are measured; None to treat all columns alike.
        adaptive: Whether marginals are chosen by how far the mixture is off; else all are measured once.
        classes: Of the mixture.

    Raises:
        UserError: Too many codes for pairs of them to be counted.
    """
    most = sum(column.size if column.field.is_choice else min(column.size, BINS) for column in columns)
    if most > MOST_CODES:  # before anything is spent
        told = f"privacy=marginals counts pairs among {most} categories and bins, more than {MOST_CODES}"
        raise UserError(f"{told}; keep fewer columns with data.columns=[...], or declare fewer categories")
    base = _Coarse(cells, columns, rho * ONE_WAY, len(columns) * (len(columns) - 1) / 2 / (rho * (1.0 - ONE_WAY)))
    left, rows, coarse = rho * (1.0 - ONE_WAY), base.rows, base.counts
    sizes = [len(y) for y in coarse]
    names = [column.field.name for column in columns]
    at_label = names.index(label) if label in names else None
    if at_label is not None and (sizes[at_label] > MOST_CLASSES or len(columns) < 3):
        at_label = None
    counted = _Counted(base.codes, sizes, at_label)
    fit = MixtureFit(sizes, at_label, rows, coarse, base.precision, classes)
    measured = [Measured((name,), math.sqrt(base.variance)) for name in names]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices of a few hundred codes: sharing the work costs more than doing it
    try:
        measured += _measure(fit, counted, left, names, adaptive)
        # anew: the one that led the choice knows old noise by heart
        fits = [fit.again(seed) for seed in range(1, FITS + 1)]
        for one in fits:
            one.descend(FIRST)
            one.descend(LAST, settle=True)
    finally:
        torch.set_num_threads(threads)
    with torch.no_grad():
        found = [one.parameters() for one in fits]
    theta = torch.cat([theta for theta, _ in found], dim=1).double().numpy()
    pi = torch.cat([pi for _, pi in found]).double().numpy() / FITS
    return Release(list(columns), base.bins, rows, theta, pi, sizes, rho, measured)


def histograms_only(cells: Ints, columns: Sequence[PublicColumn], rho: float) -> Release:
    """Noisy histograms of single columns alone: a mixture of one class, for an encoding to go by. See `release`."""
    base = _Coarse(cells, columns, rho, len(columns) / rho)
    sizes = [len(y) for y in base.counts]
    shares = [(onto_simplex(y, base.rows) + 1e-3 * base.rows / len(y)) for y in base.counts]
    theta = np.concatenate([share / share.sum() for share in shares])[:, None]
    measured = [Measured((column.field.name,), math.sqrt(base.variance)) for column in columns]
    return Release(list(columns), base.bins, base.rows, theta, np.ones(1), sizes, rho, measured)


class _Coarse:
    """Noisy histograms of single columns, and the bins that they give.

    Arguments:
        cells: See `release`.
        columns: See `release`.
        rho: Of the histograms.
        precision: One over the rho that each later marginal will have, which the width of bins goes by.
    """

    def __init__(self, cells: Ints, columns: Sequence[PublicColumn], rho: float, precision: float) -> None:
        """Measures."""
        ones, variance = histograms(cells, columns, rho)
        self.variance = variance
        self.rows = max(float(np.average([y.sum() for y in ones], weights=[1.0 / len(y) for y in ones])), 1.0)
        # a bin should hold more rows than the noise that a pair of bins will have
        wanted = int(np.clip(math.sqrt(self.rows / math.sqrt(max(precision, 1.0) / 2)), LEAST_BINS, BINS))
        self.bins: dict[str, Bins] = {}
        self.counts: list[Floats] = []
        self.precision: list[Floats] = []
        codes = []
        for at, column, y in zip(cells.T, columns, ones, strict=True):
            if column.field.is_choice:
                codes.append(at)
                self.counts.append(y)
                self.precision.append(np.full(len(y), 1.0 / variance))
                continue
            inner = onto_simplex(y, self.rows)[: len(y) - column.missing]
            made = self.bins[column.field.name] = Bins.of(column, inner, wanted)
            codes.append(made.codes(at))
            first = np.append(made.first[:-1], len(inner)) if column.missing else made.first[:-1]
            self.counts.append(np.add.reduceat(y, first))
            self.precision.append(1.0 / (variance * np.diff(np.append(first, len(y)))))
        self.codes = np.stack(codes, axis=1)


@dataclass(frozen=True)
class _Candidate:
    """Two columns, and whether they are counted in each class of the label."""

    a: int
    b: int
    in_classes: bool = False


class _Counted:
    """The true counts of all candidates: what only noise may leave.

    Arguments:
        codes: Shape (n, columns), -1 where a value counts nowhere.
        sizes: Codes of each column.
        label: See `MixtureFit`.
    """

    def __init__(self, codes: Ints, sizes: Sequence[int], label: int | None) -> None:
        """See the class."""
        self.starts, self.sizes, self.label = np.concatenate([[0], np.cumsum(sizes)]), list(sizes), label
        self.pairs = [_Candidate(a, b) for a, b in itertools.combinations(range(len(sizes)), 2)]
        self.triples: list[_Candidate] = []
        if label is not None:
            self.triples = [_Candidate(one.a, one.b, True) for one in self.pairs if label not in (one.a, one.b)]
        depth = 1 if label is None else sizes[label]
        total = int(self.starts[-1])
        self.counts = np.zeros((depth, total, total))
        for level in range(depth):
            rows = codes if label is None else codes[codes[:, label] == level]
            for piece in np.array_split(rows, max(len(rows) // 20_000, 1)):
                hot = np.zeros((len(piece), total), dtype=np.float32)
                for j, start in enumerate(self.starts[:-1]):
                    known = np.flatnonzero(piece[:, j] >= 0)
                    hot[known, start + piece[known, j]] = 1.0
                self.counts[level] += hot.T @ hot

    def of(self, one: _Candidate, table: Floats) -> Floats:
        """A candidate's part of a table of all, shape (A, B), or (L, A, B) in the classes of the label."""
        s = self.starts
        part = table[:, s[one.a] : s[one.a + 1], s[one.b] : s[one.b + 1]]
        return part if one.in_classes else part.sum(axis=0)

    def noisy(self, one: _Candidate, variance: int) -> Floats:
        """Its counts with noise."""
        true = self.of(one, self.counts)
        return np.round(true) + discrete_gaussian(variance, true.size).reshape(true.shape)

    def cells(self, candidates: Sequence[_Candidate]) -> Floats:
        """How many counts each has."""
        return np.array([self.of(one, self.counts).size for one in candidates], dtype=np.float64)

    def errors(self, candidates: Sequence[_Candidate], expected: Floats) -> Floats:
        """Sum of the absolute errors of each candidate: one row changes it by 1 at most."""
        off = self.counts - expected
        return np.array([np.abs(self.of(one, off)).sum() for one in candidates])


@dataclass
class _Measuring:
    """A fit, what it may be told, and what it has been told.

    Attributes:
        fit: The mixture that leads the choice.
        counted: The true counts.
        names: Of the columns.
        measured: So far.
    """

    fit: MixtureFit
    counted: _Counted
    names: Sequence[str]
    measured: list[Measured] = field(default_factory=list)

    def take(self, one: _Candidate, variance: int) -> None:
        """Measures a candidate."""
        self.fit.measured(one.a, one.b, self.counted.noisy(one, variance), float(variance))
        columns = [self.names[one.a], self.names[one.b]]
        if one.in_classes and self.counted.label is not None:
            columns.append(self.names[self.counted.label])
        self.measured.append(Measured(tuple(columns), math.sqrt(variance)))

    def noise_of(self, candidates: Sequence[_Candidate], rho: float) -> float:
        """Mean absolute error that `all_of` would add to each of them, over the number of rows."""
        cells = self.counted.cells(candidates)
        shares = cells ** (2.0 / 3.0)
        deviations = np.sqrt(0.5 / (rho * shares / shares.sum()))
        return float((math.sqrt(2 / math.pi) * deviations * cells).mean() / self.fit.rows)

    def all_of(self, candidates: Sequence[_Candidate], rho: float) -> None:
        """Each candidate once, a large one with more of the budget.

        Shares go with the number of cells to the power of 2/3, which makes the sum of the noise's absolute errors least
        (Zhang et al., 2021, https://arxiv.org/abs/2012.15128, section 3.3).
        """
        weights = self.counted.cells(candidates) ** (2.0 / 3.0)
        for one, share in zip(candidates, weights / weights.sum(), strict=True):
            self.take(one, variance_for(rho * float(share)))

    def worst_of(self, candidates: Sequence[_Candidate], rho: float) -> None:
        """Rounds in which those are measured that the fit so far has most wrong, beyond what noise would add."""
        cells = self.counted.cells(candidates)
        picks = min(PICKS, len(candidates))
        each = rho / (ROUNDS * picks)
        variance = variance_for((1.0 - CHOOSING) * each)
        epsilon = math.sqrt(8.0 * CHOOSING * each)
        for turn in range(ROUNDS):
            self.fit.descend(BETWEEN if turn else 4 * BETWEEN)
            scores = self.counted.errors(candidates, self.fit.expected()) - math.sqrt(2 / math.pi * variance) * cells
            left = list(range(len(scores)))
            for _ in range(picks):
                pick = left.pop(choose([scores[i] for i in left], epsilon))
                self.take(candidates[pick], variance)


def _measure(fit: MixtureFit, counted: _Counted, rho: float, names: Sequence[str], adaptive: bool) -> list[Measured]:
    """See `release`."""
    measuring = _Measuring(fit, counted, names)
    if not counted.pairs:
        return []
    if adaptive:
        if counted.triples and measuring.noise_of(counted.triples, rho) < CLEAR:
            measuring.all_of(counted.triples, rho)  # nothing would be gained by leaving one out
        else:
            measuring.all_of(counted.pairs, BASE * rho)
            measuring.worst_of([*counted.pairs, *counted.triples], (1.0 - BASE) * rho)
    else:
        measuring.all_of(counted.triples or counted.pairs, rho)
    return measuring.measured
