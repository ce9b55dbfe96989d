"""How likely a step is, beside what it was drawn with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datakiln.models.autoregressive.tsar import TSAR
from datakiln.models.autoregressive.walk import Walk
from datakiln.spec import PLAIN


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
