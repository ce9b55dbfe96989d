"""An autoregressive model of table rows that can be told any columns, after Uria et al. (2014).

As in DeepNADE (https://arxiv.org/abs/1310.1757) one network serves every order: a column is predicted from the sum of
the embeddings of the columns before it. We differ in which orders are learnt. Given any set of known columns, the
others always follow in one fixed order, from the column of least entropy to that of most: rows made of nothing, rows of
which some cells are known, and the likelihood of either need no other context, so none is learnt in vain. And all
columns of a row are predicted in one pass, each from its own context.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory
from datakiln.nets.anyorder import Ancestral, Network
from datakiln.nets.codes import Codes, resample
from datakiln.nets.linear import half_precision
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

WARM_UP = 0.1  # share of training over which the rate rises
FIRST, LAST = 0.1, 0.001  # of the highest rate, where training begins and ends
CLIP = 1.0  # norm that gradients are clipped to
PSEUDO = 0.1  # rows that every code is credited with when the biases are set to the columns' own shares
COUNTED = 2**18  # training rows that shares and entropies are taken from, at most
CHUNK = 2**17  # rows of a sample that are spread evenly together, candidates included
ROWS = 4096  # rows whose likelihood is worked out at once


class TabAR(LikelihoodModel):
    """p(x) = product over columns j of p(x_j | columns before j), also for rows of which any cells are given.

    The loss is the negative log-likelihood in nats a row; while training, a random set of columns counts as known in
    part of the rows.

    Arguments:
        spec: A table of code blocks.
        width: Size of the embeddings.
        blocks: Residual blocks of the network.
        hidden: Size of a block's hidden layer.
        dropout: Share of its units left out while training.
        known: Share of training rows of which a random set of columns counts as known; the others are learnt in the
            fixed order alone. More makes conditions and imputation better, less the rows made of nothing.
        min_updates: Updates that even a small table gets: `epochs` grows until they are reached.
        candidates: Rows drawn for each row of which cells are given; see `draw`.
        even: Whether the rows of a sample are spread evenly (see `Strata`) instead of drawn independently.
        bf16: Whether matrix products are in bfloat16; None for yes where the processor has it.
        optimizer: See `LikelihoodModel`; its rate is the highest of a one-cycle schedule.
    """

    supports = frozenset({"table"})
    reads = frozenset({"code"})
    options = frozenset({"temperature"})
    likelihood = "partial"
    rank: Tensor
    counted: Tensor

    def __init__(
        self,
        spec: DataSpec,
        width: int = 192,
        blocks: int = 1,
        hidden: int = 256,
        dropout: float = 0.1,
        known: float = 0.6,
        min_updates: int = 0,
        candidates: int = 16,
        even: bool = True,
        bf16: bool | None = None,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer)
        if not 0.0 <= known <= 1.0:
            raise ValueError(f"known={known} must lie in [0, 1]")
        if candidates < 1:
            raise ValueError(f"candidates={candidates} must be at least 1")
        self.conditioning, self.candidates = "columns", candidates
        self.codes = Codes(spec.blocks)
        self.known_share, self.min_updates, self.even, self.bf16 = known, min_updates, even, bf16
        self.net = Network(self.codes, width, blocks, hidden, dropout)
        self.register_buffer("rank", torch.arange(len(self.codes)))
        self.register_buffer("counted", torch.zeros((), dtype=torch.long))

    def averaged(self) -> nn.Module:
        """The network."""
        return self.net

    @property
    def rows_at_once(self) -> int:
        """Many: the more rows, the more evenly they can be spread."""
        return CHUNK

    def on_fit_start(self) -> None:
        """Sets biases and order from the training rows, and the epochs of a small table.

        Raises:
            RuntimeError: The trainer was given loaders instead of a data module.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise RuntimeError("TabAR counts the training rows first: call trainer.fit(model, datamodule=...)")
        loader = data.train_dataloader()
        if self.trainer.max_epochs and self.trainer.max_epochs > 0 and hasattr(loader, "__len__"):
            needed = math.ceil(self.min_updates / len(loader))
            self.trainer.fit_loop.max_epochs = max(self.trainer.max_epochs, needed)
        if int(self.counted) == 0:
            self._count(loader)

    def chosen_options(self) -> dict[str, Any]:
        """A fit of known length is no longer than that."""
        return {"min_updates": 0}

    @torch.no_grad()
    def _count(self, loader: Iterable[Batch]) -> None:
        """Biases start at the columns' shares of codes; the order goes from least to most entropy."""
        counts = torch.full((self.codes.total,), PSEUDO, device=self.device)
        for batch in loader:
            counts += self.codes.counts(*self.codes.read(batch.x.to(self.device)))
            self.counted += len(batch.x)
            if int(self.counted) >= COUNTED:
                break
        shares = counts / self.codes.sums(counts)[self.codes.column]
        self.net.bias.copy_(shares.log())
        order = self.codes.sums(-shares * shares.log()).argsort(stable=True)
        self.rank[order] = torch.arange(len(order), device=self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The negative log-likelihood; while training of rows partly known, and as "nll" of the others."""
        codes, known = self.codes.read(batch.x)
        if not self.training:
            return {"loss": -self.log_prob(batch.x).mean()}
        rank, whole = self._ranks(len(codes))
        with self._precision():
            nll = -self._log_probs(codes, known, rank).sum(dim=1)
        figures = {"loss": nll.mean()}
        return figures if whole == 0 else {**figures, "nll": nll[:whole].mean()}

    def _ranks(self, n: int) -> tuple[Tensor, int]:
        """Places of the columns of each row, (n, C), and how many rows at the front have the fixed order.

        In the others a set of columns stands in front of the rest. Its size follows the arcsine law: mostly few
        columns, as in conditions, or nearly all, as in imputation.
        """
        whole = round(n * (1.0 - self.known_share))
        share = (torch.rand(n, 1, device=self.device) * (math.pi / 2)).sin().square()
        later = torch.rand(n, len(self.codes), device=self.device) >= share
        later[:whole] = False
        return self.rank + later * len(self.codes), whole

    def _log_probs(self, codes: Tensor, known: Tensor, rank: Tensor) -> Tensor:
        """Log-probability of every known cell given those of lower rank, (B, C); 0 for unknown cells."""
        embedded = functional.embedding(codes, self.net.embedding())
        sees = (rank[:, None, :] < rank[:, :, None]) & known[:, None, :]
        features = self.net.features(torch.bmm(sees.to(embedded.dtype), embedded), slice(None))
        cells = codes - self.codes.first
        parts = [
            -functional.cross_entropy(self.net.logits(features[:, j], j), cells[:, j], reduction="none")
            for j in range(len(self.codes))
        ]
        return torch.stack(parts, dim=1) * known

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the known cells of rows (B, C), NaN where unknown, in nats, shape (B,)."""
        rank = self.rank.expand(1, -1)
        return torch.cat([self._log_probs(*self.codes.read(rows), rank).sum(dim=1) for rows in x.split(ROWS)])

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Column after column in the fixed order; known cells count from the start.

        What follows from cells given out of order is learnt from a part of training only, and badly for rare values,
        while the whole row's likelihood is learnt well. So several candidates are drawn for each such row, and rows
        are taken from those of the same condition with the odds of their likelihood over the probability they were
        drawn with (Rubin, 1988, sampling importance resampling).
        """
        ancestral = self._ancestral(options.temperature)
        if condition is None:
            return self._drawn(torch.full((n, len(self.codes)), math.nan, device=self.device), ancestral)[0].float()
        return torch.cat([self._chosen(rows, ancestral) for rows in condition.split(max(CHUNK // self.candidates, 1))])

    def _chosen(self, condition: Tensor, ancestral: Ancestral) -> Tensor:
        if self.candidates == 1:
            return self._drawn(condition, ancestral)[0].to(condition.dtype)
        _, alike = torch.unique(condition.nan_to_num(-1.0), dim=0, return_inverse=True)
        order = alike.argsort(stable=True)
        codes, log_q = self._drawn(condition[order].repeat_interleave(self.candidates, dim=0), ancestral)
        log_odds = ancestral.log_prob(codes) - log_q
        chosen = resample(log_odds, alike[order].repeat_interleave(self.candidates), len(order))
        # those chosen more than once stand together: mix them among the rows of their condition
        mixed = torch.randperm(len(order), device=order.device)
        mixed = mixed[alike[order][mixed].argsort(stable=True)]
        drawn = torch.empty_like(condition)
        drawn[order[mixed]] = codes[chosen].to(condition.dtype)
        return drawn

    def _drawn(self, condition: Tensor, ancestral: Ancestral) -> tuple[Tensor, Tensor]:
        """Rows of codes (n, C), and the log-probability that their unknown cells were drawn with, (n,)."""
        codes, known = self.codes.read(condition)
        codes -= self.codes.first
        return codes, ancestral.draw(codes, known, self.even)

    def _ancestral(self, temperature: float | None = None) -> Ancestral:
        return Ancestral(self.net, self.rank.argsort().tolist(), self._precision, temperature or 1.0)

    def _precision(self) -> AbstractContextManager[None]:
        return half_precision(self.device, self.bf16)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """The one-cycle rate (Smith and Topin, 2018), a function of progress alone: a resumed run has it too."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * one_cycle(self.progress)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips the gradient."""
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Weight decay is for matrices."""
        if self.optimizer_factory is None:
            raise UserError("TabAR was built without an optimizer: it can sample, not train")
        parameters = list(self.net.parameters())
        vectors = [p for p in parameters if p.ndim < 2]
        matrices = [p for p in parameters if p.ndim >= 2]
        groups: Any = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        return self.optimizer_factory(groups)


def one_cycle(progress: float) -> float:
    """Factor of the highest rate: up along a cosine over the first tenth of training, down over the rest."""
    if progress < WARM_UP:
        start, stop, share = FIRST, 1.0, progress / WARM_UP
    else:
        start, stop, share = 1.0, LAST, (progress - WARM_UP) / (1.0 - WARM_UP)
    return stop + (start - stop) * (1.0 + math.cos(math.pi * share)) / 2
