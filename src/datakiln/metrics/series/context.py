"""Context-FID: how far apart windows lie in what a small encoder keeps of them.

Jeha et al., 2022, https://openreview.net/forum?id=Az7opqbQE-3, take the encoder of TS2Vec; ours is another one, a GRU
of 16 units that has learnt to predict each next step of the training windows, and its name stands in the figure's:
numbers of different encoders never meet.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from datakiln.metrics.base import Figure, MetricError, metric
from datakiln.metrics.series.dealing import halves
from datakiln.metrics.series.sets import Floats, SeriesSets

UNITS, BATCH, RATE = 16, 128, 5e-3
LEAST = 4 * UNITS  # windows of each side: with fewer a covariance says nothing
TINY = 1e-6


@metric("series/context_fid/gru16@next", decides=False)
def context_fid(data: SeriesSets, steps: int = 400) -> list[Figure]:
    """Fréchet distance of the encodings of training and synthetic windows, each unit scaled to deviation 1.

    The encoder has learnt of training windows alone. Real against real are two halves of all real windows.
    """
    real, made = halves(data, data.seed)
    if min(len(real), len(made)) < LEAST:
        raise MetricError(f"fewer than {LEAST} windows")
    encoder = _encoder(data.scaled()[0], steps, data.seed)
    a, b = encoder.told(real), encoder.told(made)
    scale = a.std(axis=0) + TINY
    value = frechet(a / scale, b / scale)
    return [Figure("series/context_fid/gru16@next", value, "lower", low=0.0, n=len(made))]


def frechet(a: Floats, b: Floats) -> float:
    """Squared distance of two normal distributions with the means and covariances of rows (n, D).

    |m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) (Dowson and Landau, 1982).
    """
    gap = a.mean(axis=0) - b.mean(axis=0)
    one, two = (np.cov(part, rowvar=False) for part in (a, b))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ two @ root), 0.0, None)).sum()
    return max(float(gap @ gap + np.trace(one) + np.trace(two) - 2.0 * shared), 0.0)


class _Encoder(nn.Module):
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(columns, UNITS, batch_first=True), nn.Linear(UNITS, columns)
        self.middle, self.spread = nn.Buffer(torch.zeros(columns)), nn.Buffer(torch.ones(columns))

    def ahead(self, x: torch.Tensor) -> torch.Tensor:
        """Mean squared error of each next step, in deviations."""
        x = (x - self.middle) / self.spread
        return (self.out(self.gru(x[:, :-1])[0]) - (x[:, 1:] - x[:, :-1])).square().mean()

    @torch.no_grad()
    def told(self, windows: Floats) -> Floats:
        """Mean and last state of each window, (n, 2 * UNITS)."""
        x = (torch.from_numpy(windows).float() - self.middle) / self.spread
        states, _ = self.gru(x)
        return torch.cat([states.mean(dim=1), states[:, -1]], dim=1).double().numpy()


def _encoder(train: Floats, steps: int, seed: int) -> _Encoder:
    x = torch.from_numpy(train).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = _Encoder(x.shape[2])
        encoder.middle.copy_(x.mean(dim=(0, 1)))
        encoder.spread.copy_(x.std(dim=(0, 1)) + TINY)
        optimizer = torch.optim.Adam(encoder.parameters(), lr=RATE)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            encoder.ahead(x[torch.randint(len(x), (BATCH,))]).backward()
            optimizer.step()
    return encoder
