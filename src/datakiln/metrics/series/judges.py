"""Judges of windows: recurrent nets by the protocol of TimeGAN's authors, a stronger one, and gradient boosting.

Discriminative and predictive score follow Yoon et al. (2019, section 5) as published tables measure them: a GRU of half
as many units as there are columns, 2,000 steps of 128 windows (5,000 for the predictive score), 80 % of the windows,
drawn at random, to learn from. Windows overlap, so that those judged are neighbours of those learnt: too few units to
know them again, as a judge of 32 units or boosting would. The two judge windows that `dealing` keeps apart.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn
from torch.nn import functional

from datakiln.metrics.base import Figure, MetricError, metric
from datakiln.metrics.series.dealing import Deal, deal, halves
from datakiln.metrics.series.sets import Floats, SeriesSets

BATCH, RATE = 128, 1e-3
PUBLISHED = 0.8  # share of the windows that the published judge learns from
UNITS = 32  # of the judge that tells more than the published one
MOST_FEATURES = 1200
TINY = 1e-9
BOOSTED = 1000  # windows of each kind, at most


@metric("series/discriminative", decides=False)
def discriminative(data: SeriesSets, steps: int = 2000, seeds: int = 1) -> list[Figure]:
    """|accuracy - 0.5| of a GRU that tells synthetic from training windows: 0 is best, 0.5 the most."""
    values = []
    for seed in range(data.seed, data.seed + seeds):
        values.append(abs(_accuracy(*halves(data, seed), steps, seed) - 0.5))
    return [_spread("series/discriminative", values, 0.5, len(data.synthetic))]


@metric("twosample/gru32_auc", decides=False)
def gru32(data: SeriesSets, steps: int = 500, seeds: int = 1) -> list[Figure]:
    """Area under the curve of a GRU of 32 units, which the score of few units does not tell from chance."""
    values, errors = [], []
    for seed in range(data.seed, data.seed + seeds):
        parts = deal(data, seed)
        middle, spread = parts.real.mean(axis=(0, 1)), parts.real.std(axis=(0, 1)) + TINY
        every = (parts.real, parts.made, parts.real_judged, parts.made_judged)
        real, made, unseen, held = ((part - middle) / spread for part in every)
        judge = _learnt(real, made, UNITS, steps, seed)
        value, error = parts.auc(_told(judge, unseen), _told(judge, held), seed)
        values.append(value)
        errors.append(error)
    return [_by_blocks("twosample/gru32_auc", values, errors, parts)]


@metric("series/predictive", decides=False)
def predictive(data: SeriesSets, steps: int = 5000, seeds: int = 1) -> list[Figure]:
    """Mean absolute error, one step ahead, of the last column told from the others: learnt of synthetic windows.

    Judged by training windows, as published tables are; of the column itself where there is no other.
    """
    real, _, made = data.scaled()
    values = [_error_ahead(made, real, max(real.shape[2] // 2, 1), steps, data.seed + i) for i in range(seeds)]
    return [_spread("series/predictive", values, None, len(made))]


@metric("utility/forecast_error", decides=False)
def forecast(data: SeriesSets, steps: int = 1000, seeds: int = 1) -> list[Figure]:
    """The same error for a net of 32 units that is judged by unseen windows: what synthetic series are good for."""
    _, unseen, made = data.scaled()
    values = [_error_ahead(made, unseen, 32, steps, data.seed + i) for i in range(seeds)]
    return [_spread("utility/forecast_error", values, None, len(made))]


@metric("twosample/boosting_auc")
def boosting(data: SeriesSets, seeds: int = 1) -> list[Figure]:
    """Area under the curve of gradient boosting on levels, differences and differences of a later lag."""
    values, errors = [], []
    for seed in range(data.seed, data.seed + seeds):
        parts = deal(data, seed)
        n = min(len(parts.real), len(parts.made), BOOSTED)
        x, y = (_features(_spaced(part, n)) for part in (parts.real, parts.made))
        judge = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, max_leaf_nodes=15, random_state=seed)
        judge.fit(np.concatenate([x, y]), np.r_[np.ones(n), np.zeros(n)])
        unseen, held = (judge.predict_proba(_features(part))[:, 1] for part in (parts.real_judged, parts.made_judged))
        value, error = parts.auc(unseen, held, seed)
        values.append(value)
        errors.append(error)
    return [_by_blocks("twosample/boosting_auc", values, errors, parts)]


def _spaced(part: Floats, n: int) -> Floats:
    return part[np.linspace(0, len(part) - 1, n).round().astype(int)]


def _features(x: Floats) -> Floats:
    """Levels, first differences, and differences over half a window, (n, F); some steps of wide windows only."""
    x = np.round(x, 6)  # of floats that were not rounded, last digits would tell
    steps = [np.diff(x, axis=1), x[:, x.shape[1] // 2 :] - x[:, : x.shape[1] - x.shape[1] // 2], x]
    each = max(MOST_FEATURES // (3 * x.shape[2]), 1)
    parts = [part[:, np.unique(np.linspace(0, part.shape[1] - 1, each).round().astype(int))] for part in steps]
    changes = np.abs(steps[0]).mean(axis=1), np.diff(x, axis=1).std(axis=1)
    return np.concatenate([*(part.reshape(len(x), -1) for part in parts), *changes], axis=1)


def _spread(name: str, values: list[float], high: float | None, n: int, ideal: float | None = None) -> Figure:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    note = f"{len(values)} judges, {min(values):.4g} to {max(values):.4g}" if len(values) > 1 else ""
    return Figure(name, float(np.mean(values)), "lower", high=high, ideal=ideal, n=n, noise=error, note=note)


def _by_blocks(name: str, values: list[float], errors: list[float | None], parts: Deal) -> Figure:
    """A figure whose error is that of the sequences, or blocks of time, that happen to be judged."""
    n = min(len(parts.real_judged), len(parts.made_judged))
    figure = _spread(name, values, 1.0, n, ideal=0.5)
    known = [error for error in errors if error is not None]
    if not known:
        return figure
    blocks = [len(np.unique(part)) for part in (parts.real_blocks, parts.made_blocks)]
    note = f"judged by {blocks[0]} real and {blocks[1]} synthetic blocks that share no step"
    noise = float(np.hypot(np.mean(known), figure.noise or 0.0))
    return dataclasses.replace(figure, noise=noise, note="; ".join(filter(None, [figure.note, note])))


class _Judge(nn.Module):
    """A GRU whose state tells: at the end, or at each step."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, units, batch_first=True)
        self.out = nn.Linear(units, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.gru(x)
        return self.out(hidden)[..., 0]


def _accuracy(real: Floats, made: Floats, steps: int, seed: int) -> float:
    """On windows that the judge has not learnt from, drawn at random."""
    rng = np.random.default_rng(seed)
    a, b = (part[rng.permutation(len(part))] for part in (real, made))
    cut, other = int(len(a) * PUBLISHED), int(len(b) * PUBLISHED)
    if min(len(a) - cut, len(b) - other) < 1:
        raise MetricError("too few windows to judge by")
    judge = _learnt(a[:cut], b[:other], max(real.shape[2] // 2, 1), steps, seed)
    told = _told(judge, a[cut:]), _told(judge, b[other:])
    return float((told[0] > 0).mean() + (told[1] <= 0).mean()) / 2.0


def _learnt(real: Floats, made: Floats, units: int, steps: int, seed: int) -> _Judge:
    a, b = (torch.from_numpy(part).float() for part in (real, made))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = _Judge(real.shape[2], units)
        optimizer = torch.optim.Adam(judge.parameters(), lr=RATE)
        half = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])
        for _ in range(steps):
            batch = torch.cat([a[torch.randint(len(a), (BATCH,))], b[torch.randint(len(b), (BATCH,))]])
            loss = functional.binary_cross_entropy_with_logits(judge(batch)[:, -1], half)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return judge


@torch.no_grad()
def _told(judge: _Judge, windows: Floats) -> Floats:
    """Logit that each window is real, (n,)."""
    return judge(torch.from_numpy(windows).float())[:, -1].numpy()


def _error_ahead(made: Floats, real: Floats, units: int, steps: int, seed: int) -> float:
    def pair(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (x[:, :-1, :-1] if x.shape[2] > 1 else x[:, :-1]), x[:, 1:, -1]

    learnt, judged = torch.from_numpy(made).float(), torch.from_numpy(real).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = _Judge(max(learnt.shape[2] - 1, 1), units)
        optimizer = torch.optim.Adam(judge.parameters(), lr=RATE)
        for _ in range(steps):
            x, y = pair(learnt[torch.randint(len(learnt), (BATCH,))])
            loss = (judge(x).sigmoid() - y).abs().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        x, y = pair(judged)
        return float((judge(x).sigmoid() - y).abs().mean())
