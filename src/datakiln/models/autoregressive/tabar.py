"""An autoregressive model of table rows that can be told any columns, after Uria et al. (2014).

As in DeepNADE (https://arxiv.org/abs/1310.1757) one network serves every order: a column is predicted from the sum of
the embeddings of the columns before it. We differ in which orders are learnt. Given any set of known columns, the
others always follow in one fixed order, from the column of least entropy to that of most: rows made of nothing, rows of
which some cells are known, and the likelihood of either need no other context, so none is learnt in vain. And all
columns of a row are predicted in one pass, each from its own context.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.base import LikelihoodModel, OptimizerFactory
from datakiln.nets import references
from datakiln.nets.ancestral import Ancestral
from datakiln.nets.anyorder import Network
from datakiln.nets.codes import Codes, resample
from datakiln.nets.linear import half_precision
from datakiln.nets.numbers import CLOSED
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

Size = TypeVar("Size", int, float)

WARM_UP = 0.1  # share of training over which the rate rises
FIRST, LAST = 0.1, 0.001  # of the highest rate, where training begins and ends
CLIP = 1.0  # norm that gradients are clipped to
PSEUDO = 0.1  # rows that every code is credited with when the biases are set to the columns' own shares
COUNTED = 2**18  # training rows that shares and entropies are taken from, at most
KEPT = 2**22  # cells of rows that relations between columns are taken from, about; 4,096 rows at least
CHUNK = 2**17  # rows of a sample that are spread evenly together, candidates included
USUAL_COLUMNS = 30
NEVER = -1e4  # log-odds of what lies outside of what is allowed
MANY = 32_000  # training rows from which the optimizer's rate counts in full
WIDTHS = ((0, 64), (1_000, 96), (4_000, 128), (16_000, 192))  # from so many training rows on
DROPOUTS = ((0, 0.5), (1_000, 0.4), (4_000, 0.3), (8_000, 0.2), (16_000, 0.1))
ALONE = 100_000  # rows from which each code of a number learns by itself, not with its neighbours first
LEVELS = (12, 64)  # least and most vectors that the codes of a number share, one for
LEVEL_ROWS = 500  # so many rows, but for those
OWN = 0.02  # that hold this share of its rows each
ROWS = 4096  # rows whose likelihood is worked out at once
SCALINGS = 12  # times, at most, that biases are set anew in the course of training
CALIBRATED = 2**15  # training rows, at most, that they are set by
FEW = 2.0  # rows that every code is credited with, in what is found and what is expected


class TabAR(LikelihoodModel):
    """p(x) = product over columns j of p(x_j | columns before j), also for rows of which any cells are given.

    The loss is the negative log-likelihood in nats a row; while training, a random set of columns counts as known in
    part of the rows.

    Arguments:
        spec: A table of code blocks.
        width: Size of the embeddings; None for 64 to 192 by the number of training rows.
        blocks: Residual blocks of the network.
        hidden: Size of a block's hidden layer; None for four thirds of the width.
        dropout: Share of its units left out while training; None for 0.5 to 0.1 by the number of training rows.
        known: Share of training rows of which a random set of columns counts as known; the others are learnt in the
            fixed order alone. More makes conditions and imputation better, less the rows made of nothing.
        min_updates: Updates that even a small table gets: `epochs` grows until they are reached; fewer where it has
            more than 30 columns.
        most_updates: Updates after which no further epoch begins on a large table, which one or two epochs teach what
            they can; 0 for no such end.
        candidates: Rows drawn for each row of which cells are given; see `draw`.
        even: Whether the rows of a sample are spread evenly (see `Strata`) instead of drawn independently.
        bf16: Whether matrix products are in bfloat16; None for yes where the processor has it.
        optimizer: See `LikelihoodModel`; its rate is the highest of a one-cycle schedule on 32,000 rows or more; on
            fewer it falls with the root of their number.
    """

    mixes = "a loss over columns that a whole batch shares"
    supports = frozenset({"table"})
    reads = frozenset({"code", "place"})
    options = frozenset({"temperature"})
    likelihood = "partial"
    restricts = True
    rank: Tensor
    counted: Tensor

    def __init__(
        self,
        spec: DataSpec,
        width: int | None = None,
        blocks: int = 1,
        hidden: int | None = None,
        dropout: float | None = None,
        known: float = 0.6,
        min_updates: int = 0,
        most_updates: int = 0,
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
        self.codes = Codes(spec.blocks, [column.name for column in spec.columns])
        self.known_share, self.even, self.bf16 = known, even, bf16
        self.min_updates, self.most_updates = min_updates, most_updates
        width = width or by_size(spec.size, WIDTHS)
        dropout = by_size(spec.size, DROPOUTS) if dropout is None else dropout
        slow = min(max(spec.size / ALONE, 0.1), 1.0)
        self.net = Network(self.codes, width, blocks, hidden or width * 4 // 3, dropout, slow, hinted=True)
        self.register_buffer("rank", torch.arange(len(self.codes)))
        self.register_buffer("counted", torch.zeros((), dtype=torch.long))
        self._rows = torch.zeros(0, 0)

    def averaged(self) -> nn.Module:
        """The network."""
        return self.net

    @property
    def rows_at_once(self) -> int:
        """Many: the more rows, the more evenly they can be spread."""
        return CHUNK

    def on_fit_start(self) -> None:
        """Sets biases and order from the training rows, and the epochs of a small table or a large one.

        Raises:
            RuntimeError: The trainer was given loaders instead of a data module.
        """
        self.codes.check()
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise RuntimeError("TabAR counts the training rows first: call trainer.fit(model, datamodule=...)")
        loader = data.train_dataloader()
        if self.trainer.max_epochs and self.trainer.max_epochs > 0 and hasattr(loader, "__len__"):
            wide = math.sqrt(min(1.0, USUAL_COLUMNS / len(self.codes)))  # each update teaches so many columns
            needed = math.ceil(self.min_updates * wide / len(loader))
            allowed = max(self.most_updates // len(loader), 1) if self.most_updates else math.inf
            self.trainer.fit_loop.max_epochs = int(min(max(self.trainer.max_epochs, needed), allowed))
        if int(self.counted) == 0:
            self._count(loader)
        self._rows = self._some(loader)
        numbers = self.net.numbers
        for unused in (numbers.heads, numbers.bias):  # where no number lies close to another
            unused.requires_grad_(numbers.has_components)
        if numbers.hints is not None:
            numbers.hints.requires_grad_(numbers.has_references())

    def on_validation_start(self) -> None:
        """Sets the biases anew, now and then."""
        if self.trainer.state.fn == TrainerFn.FITTING and len(self._rows):
            epochs, epoch = max(self.trainer.max_epochs or 0, 1), self.trainer.current_epoch
            is_new = epoch * SCALINGS // epochs != (epoch - 1) * SCALINGS // epochs
            if is_new or epoch & (epoch - 1) == 0:  # where a budget ends training, how many there will be is not known
                self.calibrate(self._rows)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Biases of codes and components that make rows (B, D) likelier: one round of iterative scaling.

        Weights that are averages, of a network that was trained with dropout, do not give each code its share of the
        training rows. A bias moves by the log of how often its outcome is over how often it is expected (Darroch and
        Ratcliff, 1972, https://doi.org/10.1214/aoms/1177692379); what is set stays in the average, so that with each
        round the two come nearer.
        """
        codes, known = self.codes.read(x)
        whole = known.all(dim=1)
        codes, coordinates = (codes - self.codes.first)[whole], self.codes.places(x)[whole]
        with self.evaluating():
            found, expected = self._ancestral().shares(codes, coordinates)
        steps = [((f + FEW) / (e + FEW)).log().clamp(-1.0, 1.0) for f, e in zip(found, expected, strict=True)]
        self.net.bias.add_(steps[0])
        self.net.numbers.bias[:, : steps[1].shape[1]].add_(steps[1])

    def chosen_options(self) -> dict[str, Any]:
        """A fit of known length is as long as that."""
        return {"min_updates": 0, "most_updates": 0}

    def lengths(self) -> dict[str, Any]:
        """No more epochs for few updates."""
        return {"min_updates": 0}

    def _some(self, loader: Iterable[Batch]) -> Tensor:
        """Training rows that biases are set by."""
        kept: list[Tensor] = []
        for batch in loader:
            kept.append(batch.x.to(self.device))
            if sum(map(len, kept)) >= CALIBRATED:
                break
        return torch.cat(kept)[:CALIBRATED]

    @torch.no_grad()
    def _count(self, loader: Iterable[Batch]) -> None:
        """Biases start at the columns' shares of codes; the order goes from least to most entropy."""
        counts = torch.full((self.codes.total,), PSEUDO, device=self.device)
        kept: list[Tensor] = []
        for batch in loader:
            rows = batch.x.to(self.device)
            counts += self.codes.counts(*self.codes.read(rows))
            if int(self.counted) < max(ROWS, KEPT // rows.shape[1]):
                kept.append(rows)
            self.counted += len(rows)
            if int(self.counted) >= COUNTED:
                break
        shares = counts / self.codes.sums(counts)[self.codes.column]
        self.net.bias.copy_(shares.log())
        self.net.level.copy_(levels(self.codes, shares, min(max(self.spec.size // LEVEL_ROWS, LEVELS[0]), LEVELS[1])))
        entropies = self.codes.sums(-shares * shares.log())
        order = self._behind(entropies.argsort(stable=True).tolist())
        x, numbers = torch.cat(kept), self.net.numbers
        codes, known = self.codes.read(x)
        complete = known.all(dim=1)
        if len(numbers):
            numbers.set_shares(shares)
            known = known[:, numbers.numbers] & self.net.has_value(codes)
            found = references.find(numbers, self.codes.places(x), known)
            order = self._told(order, found)
            references.keep(numbers, found, [numbers.place[j] for j in order if j in numbers.place])
        self.rank[torch.tensor(order)] = torch.arange(len(order), device=self.device)
        self.net.set_lifts(codes[complete], order)
        if len(numbers):
            numbers.set_planes(self.codes.places(x), codes, known, order)
            if numbers.has_components:
                left = numbers.set_weights(self.codes.places(x), codes, known, self.rank)
                for j, less in zip(numbers.columns, left.tolist(), strict=True):
                    self.net.bias[self.codes.part(j)][: self.codes.ordered[j]] += less

    def _told(self, order: list[int], found: list[list[references.Reference]]) -> list[int]:
        """The order with numbers moved among themselves to where those before them tell most."""
        place, columns = self.net.numbers.place, self.net.numbers.columns

        def settle(numbers: list[int]) -> list[int]:
            moved = iter(numbers)
            whole = self._behind([columns[next(moved)] if j in place else j for j in order])
            return [place[j] for j in whole if j in place]

        moved = iter(references.most_told([place[j] for j in order if j in place], found, settle))
        return self._behind([columns[next(moved)] if j in place else j for j in order])

    def _behind(self, order: list[int]) -> list[int]:
        """The order with every column behind those it may equal."""
        if not any(self.codes.equal_to):
            return order
        placed: list[int] = []
        while len(placed) < len(order):
            left = (j for j in order if j not in placed)
            placed.append(next(j for j in left if self.codes.needed(j) <= set(placed)))
        return placed

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The negative log-likelihood; while training of rows partly known, and as "nll" of the others."""
        if not self.training:
            return {"loss": -self.log_prob(batch.x).mean()}
        rank, fixed = self._ranks(len(batch.x))
        with self._precision():
            nll = -self._log_probs(batch.x, rank).sum(dim=1)
        figures = {"loss": nll.mean()}
        _, whole = processes.part(len(nll))
        if (all_fixed := self._fixed(whole)) == 0:
            return figures
        return {**figures, "nll": nll[:fixed].sum() * (whole / (len(nll) * all_fixed))}

    def _fixed(self, n: int) -> int:
        """How many of n rows, at the front, are learnt in the fixed order."""
        return round(n * (1.0 - self.known_share))

    def _ranks(self, n: int) -> tuple[Tensor, int]:
        """Places of the columns of each row, (n, C), and how many rows at the front have the fixed order.

        In the others a set of columns stands in front of the rest. Its size follows the arcsine law: mostly few
        columns, as in conditions, or nearly all, as in imputation.
        """
        first, whole = processes.part(n)
        fixed = min(max(self._fixed(whole) - first, 0), n)
        share = (torch.rand(n, 1, device=self.device) * (math.pi / 2)).sin().square()
        later = torch.rand(n, len(self.codes), device=self.device) >= share
        later[:fixed] = False
        return self.rank + later * len(self.codes), fixed

    def _log_probs(self, x: Tensor, rank: Tensor) -> Tensor:
        """Log-probability of every known cell given those of lower rank, (B, C); 0 for unknown cells."""
        codes, known = self.codes.read(x)
        coordinates = self.codes.places(x)
        codes = self._settled(codes, coordinates, known, rank.expand(len(codes), -1))
        sees = (rank[:, None, :] < rank[:, :, None]) & known[:, None, :]
        added = self.net.added(codes, coordinates)
        context, numbers = torch.bmm(sees.to(added.dtype), added), self.net.numbers
        open_ = self._open(codes, sees) if numbers.has_components else None
        predicted = numbers.predicted(coordinates) if numbers.has_references() else None
        if open_ is not None and predicted is not None:
            told = numbers.hint(predicted[1], open_[..., :-1])
            context = context.index_add(1, numbers.numbers, told.to(context.dtype))
        features = self.net.features(context, slice(None))
        cells, lifted = codes - self.codes.first, self.net.lifted(codes, sees)
        with nullcontext() if self.training else torch.autocast(features.device.type, enabled=False):
            picked, totals = self.net.scores(features if self.training else features.float(), cells, lifted, sees)
        if open_ is not None:
            valued = self.net.has_value(codes)
            location = numbers.expected(coordinates, codes, valued, predicted=predicted)
            picked, totals = self._with_components(features, picked, totals, codes, coordinates, location, open_)
        return (picked - totals) * known

    def _open(self, codes: Tensor, sees: Tensor) -> Tensor:
        """Which components of numbers have all their columns in sight, (B, N, R + 1)."""
        numbers = self.net.numbers
        columns = numbers.numbers
        before = self.rank[columns, None] > self.rank
        whole = (sees[:, columns] | ~before).view(torch.uint8).amin(dim=2).bool()  # all() takes several times as long
        return numbers.are_open_to(sees, self.net.has_value(codes), whole)

    def _settled(self, codes: Tensor, coordinates: Tensor, known: Tensor, rank: Tensor) -> Tensor:
        """Codes with states of equality only where the column that is equalled comes before, else the value's own."""
        for j in range(len(self.codes)):
            for state, terms in self.codes.states(j):
                others = list(terms.columns)
                seen = (rank[:, others] < rank[:, j, None]) & known[:, others]
                lost = (codes[:, j] == state) & ~seen.all(dim=1)
                own = coordinates[:, self.net.numbers.place[j]].floor().long() + self.codes.first[j]
                codes = codes.clone()
                codes[:, j] = torch.where(lost, own, codes[:, j])
        return codes

    def _with_components(
        self,
        features: Tensor,
        picked: Tensor,
        totals: Tensor,
        codes: Tensor,
        coordinates: Tensor,
        location: Tensor,
        open_: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Adds what the components of numbers say to the logits of cells and to their sums, (B, C) each."""
        numbers = self.net.numbers
        columns = numbers.numbers
        weight, shift, scale = numbers.components(features[:, columns], slice(None))
        weight = weight.masked_fill(~open_, CLOSED)
        dense = numbers.log_densities(coordinates, location + shift, scale, slice(None))
        total = torch.cat([totals[:, columns, None], weight], dim=2).logsumexp(dim=2)
        inside = torch.cat([picked[:, columns, None], weight + dense], dim=2).logsumexp(dim=2)
        is_inside = codes[:, columns] - self.codes.first[columns] < numbers.last
        inside = torch.where(is_inside, inside, picked[:, columns])
        return picked.index_copy(1, columns, inside), totals.index_copy(1, columns, total)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the known cells of rows (B, D), NaN where unknown, in nats, shape (B,)."""
        rank = self.rank.expand(1, -1)
        return torch.cat([self._log_probs(rows, rank).sum(dim=1) for rows in x.split(ROWS)])

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Column after column in the fixed order; known cells count from the start.

        What follows from cells given out of order is learnt from a part of training only, and badly for rare values,
        while the whole row's likelihood is learnt well. So several candidates are drawn for each such row, and rows
        are taken from those of the same condition with the odds of their likelihood over the probability they were
        drawn with (Rubin, 1988, sampling importance resampling). The same odds make up for columns that were drawn from
        some of their codes alone.
        """
        ancestral = self._ancestral(options.temperature, self.allowed)
        if condition is None:
            condition = torch.full((n, self.codes.width), math.nan, device=self.device)
            if not self.allowed:
                return self.codes.written(*self._drawn(condition, ancestral)[0])
        judge = self._ancestral(options.temperature)
        pieces = condition.split(max(CHUNK // self.candidates, 1))
        return torch.cat([self._chosen(rows, ancestral, judge) for rows in pieces])

    def _chosen(self, condition: Tensor, ancestral: Ancestral, judge: Ancestral) -> Tensor:
        if self.candidates == 1:
            return self.codes.written(*self._drawn(condition, ancestral)[0])
        _, alike = torch.unique(condition.nan_to_num(-1.0), dim=0, return_inverse=True)
        order = alike.argsort(stable=True)
        drawn, log_q = self._drawn(condition[order].repeat_interleave(self.candidates, dim=0), ancestral)
        log_odds = judge.log_prob(*drawn) - log_q
        for j, allowed in self.allowed.items():
            log_odds = log_odds.masked_fill(~allowed[drawn[0][:, j]], NEVER)
        chosen = resample(log_odds, alike[order].repeat_interleave(self.candidates), len(order))
        # those chosen more than once stand together: mix them among the rows of their condition
        mixed = torch.randperm(len(order), device=order.device)
        mixed = mixed[alike[order][mixed].argsort(stable=True)]
        rows = torch.empty_like(condition)
        rows[order[mixed]] = self.codes.written(*drawn)[chosen].to(condition.dtype)
        return rows

    def _drawn(self, condition: Tensor, ancestral: Ancestral) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Codes (n, C) and coordinates (n, N) of rows, and the log-probability that unknown cells were drawn with."""
        codes, known = self.codes.read(condition)
        codes -= self.codes.first
        coordinates = self.codes.places(condition)
        log_q = ancestral.draw(codes, coordinates, known, self.even)
        return (codes, coordinates), log_q

    def _ancestral(self, temperature: float | None = None, allowed: Mapping[int, Tensor] | None = None) -> Ancestral:
        return Ancestral(self.net, self.rank.argsort().tolist(), self._precision, temperature or 1.0, allowed)

    def _precision(self) -> AbstractContextManager[None]:
        return half_precision(self.device, self.bf16)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """The one-cycle rate (Smith and Topin, 2018), a function of progress alone: a resumed run has it too."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group.setdefault("peak", group["lr"] * self.rate) * one_cycle(self.progress)

    @property
    def rate(self) -> float:
        """What the optimizer's rate is multiplied by: few rows are learnt by heart at a high one."""
        return min(1.0, math.sqrt(max(self.spec.size, 1) / MANY))

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


def by_size(rows: int, steps: Sequence[tuple[int, Size]]) -> Size:
    """The value of the last step that so many rows reach."""
    return [value for least, value in steps if rows >= least][-1]


def levels(codes: Codes, shares: Tensor, most: int) -> Tensor:
    """The code whose vector stands for each code, (T,): frequent codes have their own, neighbours of a number share.

    Arguments:
        codes: All columns; only numbers that have a place are looked at.
        shares: Of the codes of each column, (T,).
        most: Vectors that the rarer codes of a number share.
    """
    level = torch.arange(codes.total, device=shares.device)
    for j, knots in enumerate(codes.knots):
        if knots is None or len(knots) <= most:
            continue
        begin = codes.part(j).start
        part = shares[begin : begin + len(knots)]
        rest = torch.where(part < OWN, part, 0.0)
        place = ((rest.cumsum(0) - rest / 2) / rest.sum().clamp(min=1e-9) * most).long().clamp(0, most - 1)
        for k in range(most):
            inside = begin + ((place == k) & (part < OWN)).nonzero()[:, 0]
            if len(inside):
                level[inside] = inside[0]
    return level


def one_cycle(progress: float) -> float:
    """Factor of the highest rate: up along a cosine over the first tenth of training, down over the rest."""
    if progress < WARM_UP:
        start, stop, share = FIRST, 1.0, progress / WARM_UP
    else:
        start, stop, share = 1.0, LAST, (progress - WARM_UP) / (1.0 - WARM_UP)
    return stop + (start - stop) * (1.0 + math.cos(math.pi * share)) / 2
