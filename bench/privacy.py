"""What differential privacy costs: a step of DP-SGD beside a plain one, and a table's marginals measured and fitted."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import numpy as np
import torch

from bench._process import Cost, Row, alone, row
from datakiln.data.sets.adult import COLUMNS, PUBLIC
from datakiln.data.tables.public import declared, read_public
from datakiln.models.gan.gan import GAN
from datakiln.models.vae.tvae import TVAE
from datakiln.models.vae.vae import VAE
from datakiln.privacy.accounting import zcdp_rho
from datakiln.privacy.gradients import PrivateGradients
from datakiln.privacy.marginals import release
from datakiln.spec import Batch, Block, Column, DataSpec

HERE = "bench.privacy"
ROWS, BATCH, TIMES = 30_131, 256, 30
NUMBERS, CATEGORIES = 6, (9, 16, 7, 15, 6, 5, 2, 42, 2)  # of Adult
MODELS = ("vae", "tvae", "gan critic")


def run() -> list[Row]:
    """Each measurement as a row."""
    rows = []
    for name in MODELS:
        cost = alone(HERE, f"steps({name!r})")
        what = f"dp_sgd step of {name}, batch {BATCH}, {cost['size']:,.0f} weights, CPU-ms"
        rows.append(
            row(what, f"{cost['ours']:.1f}", f"{cost['plain']:.1f} plain", cost["ours"] / cost["plain"], "<= 4")
        )
    cost = alone(HERE, "marginals()")
    told = f"privacy=marginals, {ROWS:,} generated rows with Adult's columns, epsilon 1, CPU-s"
    return [*rows, row(told, f"{cost['seconds']:.1f}", "", "", "<= 20")]


def steps(name: str) -> Cost:
    """CPU-milliseconds of a plain step and of one of DP-SGD, in turn."""
    torch.manual_seed(0)
    adam = functools.partial(torch.optim.Adam, lr=1e-3, fused=True)
    if name == "gan critic":
        spec = DataSpec("image", (1, 28, 28), size=60_000)
        gan = GAN(spec, generator_optimizer=adam, critic_optimizer=adam)
        batch, only = Batch(torch.rand(BATCH, 1, 28, 28) * 2 - 1), gan.critic_parameters()
        return _measured(gan, lambda b: gan.critic_losses(b)["loss"], batch, only)
    model = (VAE if name == "vae" else TVAE)(_spec(), optimizer=adam)
    return _measured(model, lambda b: model.losses(b)["loss"], Batch(torch.rand(BATCH, _spec().shape[0])), None)


def _measured(
    model: VAE | TVAE | GAN, loss: Callable[[Batch], torch.Tensor], batch: Batch, only: list[torch.nn.Parameter] | None
) -> Cost:
    guard = PrivateGradients(model, loss, 1.0, 1.0, BATCH, True, only)
    optimizer = torch.optim.Adam(guard.parameters.values(), lr=1e-3, fused=True)

    def plain() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def private() -> None:
        guard.fill(batch)
        optimizer.step()

    spent = {"plain": 0.0, "ours": 0.0}
    with model.muted():
        for turn in range(TIMES + 3):
            for key, step in (("plain", plain), ("ours", private)):
                start = time.process_time()
                step()
                spent[key] += (time.process_time() - start) if turn >= 3 else 0.0
    return {**{key: 1e3 * seconds / TIMES for key, seconds in spent.items()}, "size": float(guard.size)}


def marginals() -> Cost:
    """CPU-seconds of a release of generated rows."""
    public = declared(read_public(PUBLIC), list(COLUMNS), "income", "marginals")
    rng = np.random.default_rng(0)
    hidden = rng.random(ROWS)
    cells = np.stack([_dependent(rng, hidden, column.size) for column in public.columns], axis=1)
    start = time.process_time()
    release(cells, public.columns, zcdp_rho(1.0, 1e-9), "income")
    return {"seconds": time.process_time() - start}


def _dependent(rng: np.random.Generator, hidden: np.ndarray, size: int) -> np.ndarray:
    return np.minimum((rng.beta(1 + 2 * hidden, 3 - 2 * hidden) * size).astype(np.int64), size - 1)


def _spec() -> DataSpec:
    widths = [1] * NUMBERS + list(CATEGORIES)
    ends = np.cumsum(widths).tolist()
    blocks = [Block(e - w, e, "value" if w == 1 else "choice") for w, e in zip(widths, ends, strict=True)]
    return DataSpec("table", (ends[-1],), tuple(Column(f"c{i}", (b,)) for i, b in enumerate(blocks)), size=ROWS)
