"""Models of one long series whose law is known, and how likely a step is beside what it was drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.bins import Bins
from datakiln.data.base import Provenance
from datakiln.data.series.series import SeriesData
from datakiln.data.tables.sources import RawTable
from datakiln.models.autoregressive.tsar import TSAR
from datakiln.models.autoregressive.walk import Walk
from datakiln.spec import PLAIN


def wandering(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A number that forgets a tenth of itself at each step."""
    x = np.zeros(steps)
    for t in range(1, steps):
        x[t] = 0.9 * x[t - 1] + rng.normal(0.0, 0.4)
    return x


def staying(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A number that stays as it was in two of three steps, and else is a third of x."""
    stays = np.zeros(len(x))
    for t in range(1, len(x)):
        stays[t] = stays[t - 1] if rng.random() < 2 / 3 else x[t] / 3
    return stays


def counted(frame: pd.DataFrame, window: int, **options: Any) -> tuple[TSAR, SeriesData]:
    """A model that has counted the training steps of one long series, without an update."""
    codec = SeriesCodec(lambda: Bins(smooth=True), compact=True, places=True)
    source = RawTable(frame, None, Provenance("generated", "a test", "0"))
    data = SeriesData(lambda _: source, codec, seed=0, window=window)
    data.setup("fit")
    torch.manual_seed(0)
    model = TSAR(data.spec, **options).eval()
    model._count(data.train_dataloader())
    return model, data


@torch.no_grad()
def check_steps_are_as_likely_as_drawn(model: TSAR, parts: Sequence[Tensor], steps: int = 24) -> None:
    """Draws by weights at random in those parts, all nothing before and after."""
    generator = torch.Generator().manual_seed(0)
    for part in parts:
        part.copy_(0.2 * torch.randn(part.shape, generator=generator))
    torch.manual_seed(1)
    free, told, made = torch.full((40, model.spec.shape[1]), torch.nan), [], []
    walk = Walk(model, free[:, :0], PLAIN, 1)
    draw = walk.ancestral.draw
    walk.ancestral.draw = lambda *a, **k: told.append(draw(*a, **k)) or told[-1]
    for _ in range(steps):
        walk.step(free, torch.zeros(len(free), dtype=torch.bool))
        made.append(walk.last)
    found, _ = model._log_probs(torch.stack(made, dim=1))
    assert torch.allclose(torch.stack(told, dim=1), found, atol=1e-4)
    for part in parts:
        part.zero_()
