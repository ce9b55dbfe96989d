"""An autoregressive model of series: over time by a recurrent net, over the columns of a step as `tabar` does.

p(sequence) = p(static columns) * product over steps t and columns j of p(x_tj | x_t before j, x before t, static). A
step is a row of `tabar` (any-order network, codes with places, mixtures about other numbers; see
`datakiln.models.autoregressive.tabar`) in which the two steps before are further columns that are always given: a
number may be predicted as the one before it plus a change, or a line through the two before. The numbers of a step come
in the order in which the steps before, and the numbers there already, tell most of the next. What lies further back
comes from a gated recurrent unit (Cho et al., 2014, https://arxiv.org/abs/1406.1078) whose state is added to the
context of every column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.autoregressive.ends import alive, ending, odds_of_ending
from datakiln.models.autoregressive.steps import (
    LAGS,
    plain_log_probs,
    set_up,
    shifted,
    with_changes,
    with_components,
    with_lags,
)
from datakiln.models.autoregressive.stride import Stride
from datakiln.models.autoregressive.tabar import (
    DROPOUTS,
    MANY,
    WIDTHS,
    by_size,
    one_cycle,
)
from datakiln.models.autoregressive.walk import Walk
from datakiln.models.base import LikelihoodModel, OptimizerFactory
from datakiln.nets.ancestral import Ancestral
from datakiln.nets.anyorder import Network
from datakiln.nets.beats import CLOSED_ODDS, Beats
from datakiln.nets.changes import Changes
from datakiln.nets.codes import Codes
from datakiln.nets.holds import KINDS, Held, Holds
from datakiln.nets.linear import half_precision
from datakiln.nets.pasts import Pasts
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

MOVES = 2  # features of the change of a number from one step to the next
CLIP = 1.0  # norm that gradients are clipped to
COUNTED = 2**15  # steps that shares, entropies and references are taken from
ACTIVATIONS = 2**24  # numbers that a likelihood holds at once
PIECE = 256  # steps that `unroll` gives at a time


class TSAR(LikelihoodModel):
    """Exact likelihood, continuation for as long as wished, any cell given; the loss is in nats a step.

    Arguments:
        spec: A series of code blocks.
        width: Size of the embeddings; None for 64 to 192 by the number of training steps.
        state: Size of the recurrent state; None for the width.
        hidden: Size of a block's hidden layer; None for four thirds of the width.
        blocks: Residual blocks of the network of a step.
        dropout: Share of its units left out while training, and of the recurrent state's; None for 0.5 to 0.1 by the
            number of training steps.
        min_updates: Updates that even few sequences get: `epochs` grows until they are reached.
        candidates: Sequences drawn for each one of which some cells are given; see `draw`.
        paced: Whether the odds that a sequence ends begin with those of the training sequences that are as long; else
            with the same at every step, as in checkpoints of before.
        holding: Whether a number may be exactly as the step before, or on the line through the two before, where the
            training steps are; else of a density alone, as in checkpoints of before.
        beats: Whether numbers that change course every so many steps only are told when the next of these is due, where
            training steps have such; not so in checkpoints of before.
        changes: Bins of how far a number moves from one step to the next, where they fit the training steps; 0 for
            none, as in checkpoints of before.
        told: Columns of a step that the net is told at once while training, on average, others being left out for the
            whole of a sequence: where there are many, those of two steps would be as good as a date, and what followed
            it be learnt by heart. None for all.
        pasts: Whether what a number did in the steps before is told to it by itself, beside the sum over all columns;
            not so in checkpoints of before.
        bf16: Whether matrix products are in bfloat16; None for yes where the processor has it.
        optimizer: See `LikelihoodModel`; its rate is the highest of a one-cycle schedule on 32,000 steps or
            more; on fewer it falls with the root of their number.
    """

    supports = frozenset({"series"})
    reads = frozenset({"code", "place"})
    options = frozenset({"temperature"})
    likelihood = "partial"
    redraws = True
    rank: Tensor
    static_rank: Tensor
    counted: Tensor
    pace: Tensor | None

    def __init__(
        self,
        spec: DataSpec,
        width: int | None = None,
        state: int | None = None,
        hidden: int | None = None,
        blocks: int = 1,
        dropout: float | None = None,
        min_updates: int = 0,
        candidates: int = 16,
        paced: bool = False,
        holding: bool = False,
        beats: bool = False,
        changes: int = 0,
        told: int | None = None,
        pasts: bool = False,
        bf16: bool | None = None,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer)
        if candidates < 1 or (told is not None and told < 1):
            raise ValueError(f"candidates={candidates} and told={told} must be at least 1")
        if changes and (changes < 2 or not holding):
            raise ValueError(f"changes={changes} must be 0, or at least 2 with holding=true")
        if beats and not holding:
            raise ValueError("beats=true needs holding=true: between beats numbers hold")
        self.conditioning, self.candidates, self.min_updates, self.bf16 = "columns", candidates, min_updates, bf16
        width = width or by_size(spec.steps, WIDTHS)
        hidden = hidden or width * 4 // 3
        dropout = by_size(spec.steps, DROPOUTS) if dropout is None else dropout
        static, own = spec.columns[: spec.static], spec.columns[spec.static :]
        self.offset = static[-1].blocks[-1].stop if static else 0
        blocks_, names = with_lags(own, self.offset, spec.ends)
        self.step_width = spec.shape[1] - self.offset
        self.codes = Codes(blocks_, names)
        self.n_own = len(own)
        self.net = Network(self.codes, width, blocks, hidden, dropout)
        self.n_numbers = sum(j < self.n_own for j in self.net.numbers.columns)
        if holding and self.n_numbers:
            self.net.holds = Holds(self.net.numbers, self.n_numbers, width)
            if changes:
                self.net.changes = Changes(self.n_numbers, width, changes)
        self.beats = Beats(self.n_numbers) if beats and self.n_numbers else None
        self.pasts = Pasts(self.n_numbers, width) if pasts and self.n_numbers else None
        lagged = self.n_own - int(spec.ends)
        self.left_out = 0.0 if told is None else max(1.0 - told / lagged, 0.0)
        size = state or width
        self.inputs = nn.Linear(width, size)
        self.moves = nn.Linear(MOVES * self.n_numbers, size, bias=False) if self.n_numbers else None
        self.gru = nn.GRU(size, size, batch_first=True)
        self.outputs = nn.Linear(size, width)
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Parameter(torch.zeros(size))
        self.static_net: Network | None = None
        if static:
            static_codes = Codes([b for c in static for b in c.blocks], [c.name for c in static])
            rare = by_size(spec.size, DROPOUTS) if spec.ends else dropout
            self.static_net = Network(static_codes, width, blocks, hidden, rare)
            self.to_state, self.to_context = nn.Linear(width, size), nn.Linear(width, width)
        self.register_buffer("rank", torch.arange(self.n_own))
        self.register_buffer("static_rank", torch.arange(len(static)))
        self.register_buffer("counted", torch.zeros((), dtype=torch.long))
        # log-odds of the end at each step beyond those at any, (T + 1,)
        self.register_buffer("pace", torch.zeros(spec.shape[0] + 1) if paced and spec.ends else None)
        self.register_load_state_dict_pre_hook(_paced_before)

    @property
    def activations(self) -> int:
        """See `GenerativeModel`."""
        changes = self.net.changes
        bins = 0 if changes is None else int(changes.has.sum()) * changes.bins
        return len(self.codes) * self.net.target.shape[1] + bins

    @property
    def rows_at_once(self) -> int:
        """Many: a step takes as long for one sequence as for hundreds."""
        return 4096

    def on_fit_start(self) -> None:
        """Sets biases, orders and references from the training steps, and the epochs of few sequences.

        Raises:
            RuntimeError: The trainer was given loaders instead of a data module.
        """
        self.codes.check()
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise RuntimeError("TSAR counts the training steps first: call trainer.fit(model, datamodule=...)")
        loader = data.train_dataloader()
        if self.trainer.max_epochs and self.trainer.max_epochs > 0:
            needed = math.ceil(self.min_updates / len(loader))
            self.trainer.fit_loop.max_epochs = max(self.trainer.max_epochs, needed)
        if int(self.counted) == 0:
            self._count(loader)
        if self.net.holds is not None:
            self.net.holds.requires_grad_(self.net.holds.has_any)
        if self.net.changes is not None:
            self.net.changes.requires_grad_(bool(self.net.changes.has.any()))
        nets = [self.net] if self.static_net is None else [self.net, self.static_net]
        for net in nets:
            has = net.numbers.has_components
            for unused in (net.numbers.heads, net.numbers.bias):  # where no number lies close to another
                unused.requires_grad_(has)

    @torch.no_grad()
    def _count(self, loader: Iterable[Batch]) -> None:
        """Biases start at the columns' shares of codes; orders go from least to most entropy."""
        kept, whole, lengths, seen, batches = [], [], [], 0, []
        for batch in loader:
            x = batch.x.to(self.device)
            batches.append(x)
            kept.append(self._wide(x)[alive(x, self.spec).flatten()])
            whole.append(x[:, 0, : self.offset])
            lengths.append(alive(x, self.spec).sum(dim=1))
            seen += len(kept[-1])
            if seen >= COUNTED:
                break
        rows = torch.cat(kept)
        self.counted += len(rows)
        if self.pace is not None:
            odds = odds_of_ending(torch.cat(lengths), len(self.pace) - 1)
            self.pace.copy_(odds - odds[-1])
        order = set_up(self.net, self.codes, rows, self.spec.steps, self.n_own, self.n_numbers, self.spec.ends)
        self.rank[torch.tensor(order)] = torch.arange(len(order), device=self.device)
        if self.pasts is not None:
            codes, coordinates, known = self._read(rows)
            self.pasts.fit(self._values(coordinates), self._there(codes, known))
        if self.beats is not None and self.net.holds is not None and self.net.holds.has_any:
            told = [(*self._holding(x), alive(x, self.spec)) for x in batches]
            holds = self.net.holds
            self.beats.fit(told, torch.where(holds.can, holds.bias, CLOSED_ODDS), self._number_rank)
        if self.static_net is not None:
            static = torch.cat(whole)
            order = set_up(self.static_net, self.static_net.codes, static, self.spec.size)
            self.static_rank[torch.tensor(order)] = torch.arange(len(order), device=self.device)

    def _holding(self, x: Tensor) -> tuple[Held, Tensor]:
        """What the numbers of all steps hold, and which are there, (B * T, n)."""
        codes, coordinates, known = self._read(self._wide(x))
        held = self._held(codes, coordinates, known)
        assert held is not None
        return held, self._there(codes, known)[:, : self.n_numbers]

    @property
    def _number_rank(self) -> Tensor:
        """In which order numbers are drawn, (n,)."""
        return self.rank[self.net.numbers.numbers[: self.n_numbers]]

    def _wide(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """Steps beside those before them, (B, T, D) to (B * T, W), NaN where there is none before.

        Arguments:
            x: Encoded steps.
            before: The LAGS steps before the first one, (B, LAGS, D); None at the begin of sequences.
        """
        own = x[:, :, self.offset :]
        if before is None:
            head = torch.full_like(own[:, :1].expand(-1, LAGS, -1), math.nan)
        else:
            head = before[:, :, self.offset :]
        whole = torch.cat([head, own], dim=1)
        lagged = [whole[:, LAGS - lag : whole.shape[1] - lag] for lag in range(1, LAGS + 1)]
        lags = self.step_width - int(self.spec.ends)
        return torch.cat([own, *(part[:, :, :lags] for part in lagged)], dim=2).flatten(0, 1)

    def _read(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of codes (R, C), coordinates (R, N) and what is known, (R, C), of rows beside their steps before.

        A state of equality holds between the columns of a step; told of a step before it is the value's own code.
        """
        codes, known = self.codes.read(rows)
        coordinates = self.codes.places(rows)
        first = self.codes.first
        places = coordinates.floor().long() + first[self.net.numbers.numbers]
        size = torch.tensor(self.codes.sizes, device=codes.device)
        over = (codes - first >= size)[:, self.net.numbers.numbers]
        codes = codes.index_copy(
            1, self.net.numbers.numbers, torch.where(over, places, codes[:, self.net.numbers.numbers])
        )
        return codes, coordinates, known

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The negative log-likelihood of sequences, in nats a step."""
        steps, static = self._log_probs(batch.x)
        count = processes.mean_of(alive(batch.x, self.spec).sum(), len(batch.x))
        figures = {"loss": -(steps.sum() + static.sum()) / count}
        if self.static_net is not None:
            figures["static"] = -static.mean()
        return figures

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the known cells of sequences (B, T, D), NaN where unknown, in nats, shape (B,).

        An unknown cell tells what follows nothing; it is not averaged over.
        """
        return self.log_probs(x).sum(dim=1)

    def log_probs(self, x: Tensor) -> Tensor:
        """The same of each step, (B, T), that of the static columns with the first one's."""
        size = max(1, ACTIVATIONS // (self.activations * x.shape[1]))
        return torch.cat([self._with_static(part) for part in x.split(size)])

    def _with_static(self, x: Tensor) -> Tensor:
        steps, static = self._log_probs(x)
        return torch.cat([steps[:, :1] + static[:, None], steps[:, 1:]], dim=1)

    def _log_probs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of steps (B, T) and of static columns (B,)."""
        counts = alive(x, self.spec)
        rows = self._wide(x)
        with self._precision():
            context, state = self._told_static(x[:, 0, : self.offset])
            codes, coordinates, known = self._read(rows)
            codes = self._settled(codes, coordinates, known)
            held = self._held(codes, coordinates, known)
            weights = self._some(known.to(self.net.bias.dtype), len(x))
            before = None if held is None else shifted(held.states, x.shape[1])
            told = self._of_before(codes, coordinates, weights, before)
            past = self._past(codes, coordinates, known, before)
            if past is not None and self.pasts is not None:
                means = self.pasts.nothing(len(x))
                along, _ = self.pasts.along(past.unflatten(0, (len(x), -1)), means)
                past = self.pasts.told(along.flatten(0, 1))
            heard = self._heard(told, coordinates, known).view(*x.shape[:2], -1)
            hidden, _ = self.gru(heard, state[None])
            base = (self.outputs(self.dropout(hidden)) + context[:, None]).flatten(0, 1) + told
            at = torch.arange(x.shape[1], device=x.device).repeat(len(x))
            changed, time = self._changed(held, codes, known), None
            if changed is not None and self.beats is not None:
                along, _ = self.beats.along(changed.unflatten(0, (len(x), -1)), self.beats.nothing(len(x)))
                time = along.flatten(0, 1)
            steps = self._of_steps(base, weights, codes, coordinates, known, held, at, past, time)
            static = x.new_zeros(len(x))
            if self.static_net is not None:
                static = plain_log_probs(self.static_net, x[:, 0, : self.offset], self.static_rank, self.training)
        return steps.view(x.shape[:2]) * counts, static

    def _held(self, codes: Tensor, coordinates: Tensor, known: Tensor) -> Held | None:
        """Which numbers of rows beside their steps before are as those say, and may be; see `Holds.states`."""
        holds, numbers = self.net.holds, self.net.numbers
        if holds is None or not holds.has_any:
            return None
        return holds.states(numbers, coordinates, self._there(codes, known))

    def _changed(self, held: Held | None, codes: Tensor, known: Tensor) -> Tensor | None:
        """Which numbers of rows beside their steps before change course there, (R, n); None where none has a beat."""
        if held is None or self.beats is None or not self.beats.has_any:
            return None
        return self.beats.changed(held, self._there(codes, known))

    def _there(self, codes: Tensor, known: Tensor) -> Tensor:
        """Which numbers have a value, of rows beside their steps before, (R, N)."""
        return known[:, self.net.numbers.numbers] & self.net.has_value(codes)

    def _values(self, coordinates: Tensor) -> Tensor:
        """Standardised values of all numbers, (R, N) to (R, 1 + LAGS, n)."""
        if self.net.holds is not None:
            return self.net.holds.values(self.net.numbers, coordinates)
        return self.net.numbers.values(coordinates).unflatten(1, (1 + LAGS, self.n_numbers))

    def _past(self, codes: Tensor, coordinates: Tensor, known: Tensor, states: Tensor | None) -> Tensor | None:
        """What each number did in the step before, (R, n, EACH), see `Pasts.features`; None where it is not told of it.

        Arguments:
            codes: Of rows beside their steps before, numbered through, (R, C).
            coordinates: Of all numbers, (R, N).
            known: Which columns are known, (R, C).
            states: Which numbers of the step before were as those before it say, (R, n), see `Holds`; None: no such.
        """
        if self.pasts is None:
            return None
        return self.pasts.features(self._values(coordinates), self._there(codes, known), states)

    def _of_before(self, codes: Tensor, coordinates: Tensor, weights: Tensor, states: Tensor | None) -> Tensor:
        """What the steps before add to every context, (R, H).

        Arguments:
            codes: Of rows beside their steps before, numbered through, (R, C).
            coordinates: Of all numbers, (R, N).
            weights: Of all cells, (R, C).
            states: Which numbers of the step before were as those before it say, (R, n), see `Holds`; None for no such.
        """
        told = self.net.summed(codes, self.net.described(codes, coordinates, weights), weights, self.n_own)
        if states is None or self.net.holds is None:
            return told
        return told + self.net.holds.summed(states, weights[:, self.net.numbers.numbers[self.n_numbers :]])

    def _some(self, weights: Tensor, n: int) -> Tensor:
        """Weights of cells, (n * T, C), while training without some of the columns of each sequence."""
        if not self.training or not self.left_out:
            return weights
        own = self.n_own - int(self.spec.ends)
        kept = (torch.rand(n, own, device=weights.device) >= self.left_out).to(weights.dtype) / (1.0 - self.left_out)
        ends = [torch.ones_like(kept[:, :1])] if self.spec.ends else []
        kept = torch.cat([kept, *ends, *[kept] * LAGS], dim=1)
        return (weights.unflatten(0, (n, -1)) * kept[:, None]).flatten(0, 1)

    def _heard(self, told: Tensor, coordinates: Tensor, known: Tensor) -> Tensor:
        """What the recurrent net is told of rows beside their steps before, (R, G): what they were, and how they moved.

        Arguments:
            told: What the embeddings of the steps before add up to, (R, H).
            coordinates: Of all numbers, (R, N).
            known: Which columns are known, (R, C).
        """
        heard = self.inputs(told)
        n = self.n_numbers
        if self.moves is None:
            return heard
        last, before = coordinates[:, n : 2 * n], coordinates[:, 2 * n : 3 * n]
        columns = self.net.numbers.numbers
        there = known[:, columns[n : 2 * n]] & known[:, columns[2 * n : 3 * n]]
        move = (last - before) / self.net.numbers.start[:n, 0].exp()  # in usual errors of the best prediction
        move = torch.asinh(move) * there
        return heard + self.moves(torch.cat([move, move.abs()], dim=1))

    def _settled(self, codes: Tensor, coordinates: Tensor, known: Tensor) -> Tensor:
        """Codes with states of equality only where the column that is equalled is known, else the value's own."""
        for j in range(self.n_own):
            for state, terms in self.codes.states(j):
                others = list(terms.columns)
                seen = (self.rank[others] < self.rank[j]) & known[:, others]
                lost = (codes[:, j] == state) & ~seen.all(dim=1)
                own = coordinates[:, self.net.numbers.place[j]].floor().long() + self.codes.first[j]
                codes = codes.clone()
                codes[:, j] = torch.where(lost, own, codes[:, j])
        return codes

    def _of_steps(
        self, base: Tensor, weights: Tensor, codes: Tensor, coordinates: Tensor, known: Tensor,
        held: Held | None, at: Tensor, past: Tensor | None, time: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Log-probability of the known cells of each step, (R,).

        Arguments:
            base: What each context begins with, that of the steps before among it, (R, H).
            weights: Of all cells in the contexts of later ones, (R, C).
            codes: Of rows beside their steps before, numbered through, (R, C).
            coordinates: Of all numbers, (R, N).
            known: Which columns are known, (R, C).
            held: See `_held`.
            at: Which step of its sequence each is, from 0, (R,).
            past: What the past of each number adds to its context, (n, R, H); None for nothing.
            time: Where each clock is by the steps before, (R, CLOCKS), see `Beats`; None for no clocks.
        """
        n, order = self.n_own, self.rank.argsort()
        described = self.net.described(codes, coordinates, weights)
        moves = None
        if self.net.changes is not None and self.net.changes.has.any():
            there = known[:, self.net.numbers.numbers] & self.net.has_value(codes)
            values = self._values(coordinates)
            moves = self.net.changes.described(values, there)
        added = self.net.each(codes, described, weights, order, None if held is None else held.states, moves)
        so_far = torch.cat([torch.zeros_like(added[:1]), added[:-1].cumsum(dim=0)])[self.rank]  # (own, R, H)
        if past is not None:
            so_far = so_far.index_add(0, self.net.numbers.numbers[: self.n_numbers], past.to(so_far.dtype))
        # a column behind the other, rows together: most of the time is spent on moving these to and fro
        features = self.net.through(so_far + base + self.net.target[:n, None]).transpose(0, 1)
        seen = torch.cat([self.rank, self.rank.new_full((len(self.codes) - n,), -1)])
        sees = seen[None, :] < self.rank[:, None]  # (own, C)
        cells = (codes - self.codes.first)[:, :n]
        with nullcontext() if self.training else torch.autocast(features.device.type, enabled=False):
            cells, spans = cells[..., None], None
            if held is not None and self.net.holds is not None:
                spans = self.net.holds.spans(self.net.numbers, held.told, held.is_open)
                others = cells.new_zeros(*cells.shape[:2], KINDS)
                others[:, self.net.numbers.numbers[: self.n_numbers]] = spans[0].long()
                cells = torch.cat([cells, others], dim=2)
            scores, totals = self.net.scores_of(
                features if self.training else features.float(), cells, torch.zeros_like(cells[..., 0])
            )
            picked, cells = scores[..., 0], cells[..., 0]
            if self.pace is not None:
                end = self.net.logits(features[:, -1], n - 1, cells.new_zeros(len(cells))) + ending(self.pace, at)
                last = cells.new_full((1,), n - 1)
                picked = picked.index_copy(1, last, end.gather(1, cells[:, -1:]).to(picked.dtype))
                totals = totals.index_copy(1, last, end.logsumexp(dim=1, keepdim=True).to(totals.dtype))
        columns = self.net.numbers.numbers[: self.n_numbers]
        of_numbers = features if self.n_numbers == n else features[:, columns]  # the copy of all would be a large one
        parts = None
        if self.n_numbers and self.net.numbers.has_components:
            numbers, own = self.net.numbers, slice(0, self.n_numbers)
            seen_so = (
                sees[columns][:, numbers.numbers] & (known[:, numbers.numbers] & self.net.has_value(codes))[:, None]
            )
            picked, totals, parts = with_components(
                self.net, columns, own, of_numbers, picked, totals, codes, coordinates, seen_so
            )
        bins = None
        if moves is not None:
            picked, totals, bins = with_changes(
                self.net, columns, of_numbers, picked, totals, codes, coordinates, values, there
            )
        if held is not None and self.net.holds is not None:
            assert spans is not None
            holds, total = self.net.holds, totals[:, columns, None]
            if parts is not None:
                parts = ((parts[0] - total).exp(), *parts[1:])
            shares = (scores[:, columns, 1:] - total).exp()
            masses = None
            if bins is not None:
                assert self.net.changes is not None
                (bounds, logits), which = bins, self.net.changes.has.nonzero()[:, 0]
                some = spans[0][:, which], spans[1][:, which]
                masses = Changes.masses(bounds, (logits - total[:, which]).exp(), some)
                masses = masses.new_zeros(total.shape[:2]).index_copy(1, which, masses)
            rest = holds.log_rest(self.net.numbers, spans, shares, parts, slice(0, self.n_numbers), masses)
            free, logits = picked[:, columns] - rest, holds.logits(of_numbers)
            if time is not None and self.beats is not None:
                changed = self.beats.changed(held, self._there(codes, known))
                logits = logits + self.beats.added(self.beats.states(time, changed, self._number_rank), held.is_open)
            cells, every = holds.added(logits, held.is_open, held.states, free, totals[:, columns])
            picked, totals = picked.index_copy(1, columns, cells), totals.index_copy(1, columns, every)
        return ((picked - totals) * known[:, :n]).sum(dim=1)

    def _told_static(self, static: Tensor) -> tuple[Tensor, Tensor]:
        """What the static columns say: an addition to every context (B, H), and the state at the begin (B, G)."""
        if self.static_net is None:
            state = self.first.expand(len(static), -1)
            return static.new_zeros(len(static), self.net.target.shape[1]), state.contiguous()
        codes, known = self.static_net.codes.read(static)
        added = self.static_net.added(codes, self.static_net.codes.places(static))
        told = (added * known[..., None]).sum(dim=1)
        return self.to_context(told), self.first + self.to_state(told)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Static columns first, then step by step, each column after column.

        Cells that are given count from there on. That those drawn before them fit, too, several candidates of each
        sequence see to: at every step they are taken anew with the odds that the given cells have after them (a
        particle filter; Gordon, Salmond and Smith, 1993). Static columns that are given come first anyway.
        """
        length, width = self.spec.shape
        if condition is None:
            condition = torch.full((n, length, width), math.nan, device=self.device)
        elif condition.shape[1] < length:  # what is given of the first steps, such as static columns alone
            rest = torch.full((n, length - condition.shape[1], width), math.nan, device=self.device)
            condition = torch.cat([condition, rest], dim=1)
        late = ~torch.isnan(condition[:, 1:, self.offset :])
        is_plain = not bool(late.any())
        each = 1 if is_plain else self.candidates
        given = condition.repeat_interleave(each, dim=0)
        static = self._draw_static(given[:, 0, : self.offset], options)
        walk = Walk(self, static, options, each)
        x = torch.empty(len(given), given.shape[1], width, device=self.device)
        ended = torch.zeros(len(given), dtype=torch.bool, device=self.device)
        for t in range(given.shape[1]):
            if t and bool(ended.all()):
                x[:, t:] = x[:, t - 1 : t]
                break
            chosen = walk.step(given[:, t], ended)
            if chosen is not None:
                x[:, :t], ended = x[chosen, :t], ended[chosen]
            x[:, t] = walk.last
            if self.spec.ends:
                ended = ended | (x[:, t, -1] > 0.5)
        if each == 1:
            return x
        pick = torch.arange(n, device=self.device) * each
        return x[pick + walk.one_of_each()]

    def unroll(self, start: Tensor, steps: int, options: Sampling = PLAIN) -> Iterator[Tensor]:
        """See `GenerativeModel`; the state of the recurrent net and the last steps are all that is kept."""
        with self.evaluating(), torch.no_grad():
            walk = Walk(self, start[:, 0, : self.offset], options, 1)
            walk.follow(start)
            nothing = torch.full((len(start), self.spec.shape[1]), math.nan, device=self.device)
            ended = torch.zeros(len(start), dtype=torch.bool, device=self.device)
            if self.spec.ends:
                nothing[:, -1] = 0.0  # as long as wished, whatever the usual length
            is_plain = self.accepts is None and self.device.type == "cpu"
            walked = min(steps, LAGS) if is_plain else steps  # a stride wants the steps before known, all of them
            for begin in range(0, walked, PIECE):
                made = []
                for _ in range(min(PIECE, walked - begin)):
                    walk.step(nothing, ended)
                    made.append(walk.last)
                yield torch.stack(made, dim=1)
            stride = Stride(walk) if walked < steps else None
            for begin in range(walked, steps, PIECE):
                assert stride is not None
                yield stride.steps(min(PIECE, steps - begin))

    def _draw_static(self, given: Tensor, options: Sampling) -> Tensor:
        if self.static_net is None:
            return given
        codes, known = self.static_net.codes.read(given)
        codes -= self.static_net.codes.first
        coordinates = self.static_net.codes.places(given)
        order = self.static_rank.argsort().tolist()
        Ancestral(self.static_net, order, self._precision, options.temperature or 1.0).draw(
            codes, coordinates, known, even=True
        )
        return self.static_net.codes.written(codes, coordinates)

    def _precision(self) -> AbstractContextManager[None]:
        """For training only: what is drawn and what is likely must agree to the last digits."""
        return half_precision(self.device, self.bf16 if self.training else False)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """The one-cycle rate (Smith and Topin, 2018), a function of progress alone: a resumed run has it too."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group.setdefault("peak", group["lr"] * self.rate) * one_cycle(self.progress)

    @property
    def rate(self) -> float:
        """What the optimizer's rate is multiplied by: few steps are learnt by heart at a high one."""
        return min(1.0, math.sqrt(max(self.spec.steps, 1) / MANY))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips the gradient."""
        nn.utils.clip_grad_norm_(self.parameters(), CLIP)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Weight decay is for matrices."""
        if self.optimizer_factory is None:
            raise UserError("TSAR was built without an optimizer: it can sample, not train")
        parameters = list(self.parameters())
        vectors = [p for p in parameters if p.ndim < 2]
        matrices = [p for p in parameters if p.ndim >= 2]
        groups: Any = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        return self.optimizer_factory(groups)


def _paced_before(model: TSAR, state: dict[str, Any], prefix: str, *_: Any) -> None:  # noqa: ANN401
    """A checkpoint of before says nothing of places behind the longest sequence: the odds there are those at any."""
    name = f"{prefix}pace"
    if model.pace is not None and name in state and len(state[name]) == len(model.pace) - 1:
        state[name] = torch.cat([state[name], state[name].new_zeros(1)])
