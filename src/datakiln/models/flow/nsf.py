"""Neural spline flow (Durkan et al., 2019, https://arxiv.org/abs/1906.04032) over dequantised rows, through zuko.

With v a row as continuous features, drawn from q(v | row) (`datakiln.nets.dequantise`), and p(v) the flow's exact
density,

    log p(row) >= E_q[log p(v) - log q(v | row)]        (Ho et al., 2019, eq. 11),

an equality for a table of numbers only. Densities of numbers are in model space. Training draws v once a row; a score
is the logarithm of the mean over several draws, a closer bound (Burda et al., 2016, https://arxiv.org/abs/1509.00519).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zuko.flows import NSF as SplineFlow
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.lazy import LazyTransform
from zuko.utils import unpack

from datakiln.models.base import LikelihoodModel, OptimizerFactory, SchedulerFactory
from datakiln.nets.dequantise import Dequantise
from datakiln.nets.rows import Rows
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

DRAWS = 16  # of a row, for its score: more of them change it by less than a hundredth of what rows differ by


class NSF(LikelihoodModel):
    """Monotone rational-quadratic splines whose knots depend on the features before, and on the label.

    Arguments:
        spec: A table's spec, its numbers best as normal scores (`encoding=dequantised`).
        transforms: Number of autoregressive transformations, alternately in the order of the blocks and against it.
        bins: Bins of each spline.
        hidden: Widths of the hidden layers of the nets that place the knots.
        passes: Steps of an inverse pass: None for one a feature (autoregressive); 2 for coupling layers, which sample
            faster and fit worse.
        conditional: Whether the flow is told the label, where there is one.
        optimizer: See `LikelihoodModel`.
        scheduler: See `LikelihoodModel`.
    """

    mixes = "masked layers, whose gradients are not kept by row"
    supports = frozenset({"table"})
    options = frozenset({"temperature"})
    likelihood = "whole"
    directions = {"loss": "lower"}

    def __init__(
        self,
        spec: DataSpec,
        transforms: int = 3,
        bins: int = 8,
        hidden: Sequence[int] = (128, 128),
        passes: int | None = None,
        conditional: bool = True,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer, scheduler)
        self.rows = Rows(spec, conditional)
        self.conditioning = "label" if self.rows.classes else "none"
        self.dequantise = Dequantise(self.rows.blocks)
        self.flow = SplineFlow(
            self.dequantise.features,
            self.rows.classes,
            bins=bins,
            transforms=transforms,
            passes=passes,
            hidden_features=tuple(hidden),
        )

    def averaged(self) -> nn.Module:
        """The flow, without the counted shares."""
        return self.flow

    @torch.no_grad()
    def on_train_start(self) -> None:
        """Counts the categories of the training rows, once."""
        if bool(self.dequantise.counted):
            return
        total = torch.zeros(self.rows.width, dtype=torch.float64, device=self.device)
        for batch in self.trainer.train_dataloader:  # type: ignore[union-attr]
            total += self.rows.take(batch.x.to(self.device)).sum(dim=0, dtype=torch.float64)
        self.dequantise.count(total)

    def log_likelihood(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """A draw of the bound on log p(row), or on log p(row | label) if that is given, in nats, shape (B,)."""
        v, log_q = self.dequantise(self.rows.take(batch.x), noise)
        context = self.rows.given(batch.y, len(v)) if self.rows.classes else None
        return self.flow(context).log_prob(v) - log_q

    def log_prob(self, x: Tensor) -> Tensor:
        """A bound on log p(row), the label's share included where the model is told it, in nats, shape (B,).

        All rows are drawn by the same noise, at every call: a row has one score, whatever rows stand beside it.
        """
        y, share = None, torch.zeros((), device=x.device)
        if self.rows.classes:
            start = self.rows.label_start
            assert start is not None
            y = x[:, start : start + self.rows.classes].argmax(dim=1)
            share = self.rows.shares[y].log()
        noise = self._noise().to(x)
        each = torch.stack([self.log_likelihood(Batch(x, y), draw) for draw in noise])
        return share + each.logsumexp(dim=0) - math.log(len(noise))

    def _noise(self) -> Tensor:
        """What a score is drawn by, shape (draws, F): of each feature a draw in each part of equal width, shuffled."""
        generator = torch.Generator().manual_seed(0)
        count, features = DRAWS if self.dequantise.draws else 1, self.dequantise.features
        part = torch.stack([torch.randperm(count, generator=generator) for _ in range(features)], dim=1)
        return (part + torch.rand(count, features, generator=generator)) / count

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The mean negative log-likelihood in nats a row."""
        return {"loss": -self.log_likelihood(batch).mean()}

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Noise through the inverse flow; labels that are not given are drawn by their shares."""
        y = self.rows.labels(condition, n) if self.rows.classes else None
        context = None if y is None else self.rows.given(y, n)
        temperature = 1.0 if options.temperature is None else options.temperature
        v = temperature * torch.randn(n, self.dequantise.features, device=self.device)
        for transform in reversed(self.flow.transform.transforms):
            v = invert(transform, v, context)
        return self.rows.put(self.dequantise.inverse(v), y)


def invert(transform: LazyTransform, y: Tensor, context: Tensor | None) -> Tensor:
    """Inverse of one of the flow's transformations, shape (B, F) to (B, F).

    Of the net that places the knots, each step works out those of its own features only; zuko's inverse works out all
    of them at every step.
    """
    if not isinstance(transform, MaskedAutoregressiveTransform):
        return transform(context).inv(y)  # a single feature: no steps
    *body, last = transform.hyper
    weight, x = last.mask * last.weight, torch.zeros_like(y)
    for step in range(transform.passes):
        at = (transform.order == step).nonzero().flatten()
        out = (at[:, None] * transform.total + torch.arange(transform.total, device=at.device)).flatten()
        hidden = x if context is None else torch.cat([x, context], dim=1)
        for layer in body:
            hidden = layer(hidden)
        knots = F.linear(hidden, weight[out], last.bias[out]).unflatten(1, (len(at), transform.total))
        spline = transform.univariate(*unpack(knots, transform.shapes))
        x[:, at] = spline.inv(y[:, at])
    return x
