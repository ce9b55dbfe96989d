"""WaveNet: an autoregressive model over time by dilated causal convolutions, for sound, text and series of codes.

Van den Oord et al., 2016, https://arxiv.org/abs/1609.03499: gated units (eq. 2), told what holds for the whole
sequence (section 2.5, global conditioning), residual and skip connections. Samples are drawn with the inputs of every
layer kept (Le Paine et al., 2016, https://arxiv.org/abs/1611.09482): a step costs the same at any length. We differ in
the columns: a step may have several codes, each predicted from the steps before and the columns before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from datakiln import processes
from datakiln.errors import UserError
from datakiln.models.autoregressive.ends import alive, ending, lengths_of, odds_of_ending
from datakiln.models.base import LikelihoodModel, OptimizerFactory, SchedulerFactory
from datakiln.nets.codes import Codes
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

PIECE = 256  # steps that `unroll` gives at a time
TOGETHER = 2**16  # steps whose likelihood is worked out at once
COUNTED = 2**15  # steps that the odds of ending are taken from


class WaveNet(LikelihoodModel):
    """Exact likelihood and continuation for as long as wished; the loss is in nats a step, `bits` in bits.

    Arguments:
        spec: A series of code blocks.
        channels: Of the residual connections.
        skip: Channels of the skip connections and of the head.
        layers: Layers of one stack; their dilations are 1, 2, 4, ..., those alone that are below the length of an
            example, since the others would learn nothing.
        stacks: Stacks, one after the other; together they see `stacks * (2 ** layers - 1) + 1` steps back.
        paced: Whether the odds that a sequence ends begin with those of the training sequences that are as long; else
            with even ones at every step, as in checkpoints of before.
        optimizer: See `LikelihoodModel`.
        scheduler: See `LikelihoodModel`.
    """

    supports = frozenset({"series"})
    reads = frozenset({"code"})
    options = frozenset({"temperature"})
    directions = {"loss": "lower", "bits": "lower"}
    likelihood = "whole"
    pace: Tensor | None

    def __init__(
        self,
        spec: DataSpec,
        channels: int = 48,
        skip: int = 96,
        layers: int = 7,
        stacks: int = 1,
        paced: bool = False,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        """See the class."""
        super().__init__(spec, optimizer, scheduler)
        if min(channels, skip, layers, stacks) < 1 or layers > 16:
            raise UserError(
                f"model.channels={channels}, skip={skip}, layers={layers} and stacks={stacks} are at least 1, and "
                "model.layers at most 16"
            )
        self.conditioning = "columns"
        static, own = spec.columns[: spec.static], spec.columns[spec.static :]
        self.offset = static[-1].blocks[-1].stop if static else 0
        self.dilations = [2**i for _ in range(stacks) for i in range(layers) if 2**i < spec.shape[0]]
        self.channels = channels
        codes = Codes([b for c in own for b in c.blocks], [c.name for c in own])
        self.step = _Columns(codes, skip)
        self.embedding = nn.Embedding(codes.total, channels)
        self.begin = nn.Parameter(torch.zeros(channels))
        self.convolutions = nn.ModuleList([_Layer(channels, skip) for _ in self.dilations])
        self.head = nn.Linear(skip, skip)
        # log-odds of the end at each step, (T + 1,)
        self.register_buffer("pace", torch.zeros(spec.shape[0] + 1) if paced and spec.ends else None)
        self.static: _Columns | None = None
        if static:
            self.static = _Columns(Codes([b for c in static for b in c.blocks], [c.name for c in static]), skip)
            self.static_begin = nn.Parameter(torch.zeros(skip))
            self.static_embedding = nn.Embedding(self.static.codes.total, channels)
            self.to_gates = nn.Linear(channels, 2 * channels * len(self.convolutions), bias=False)

    @property
    def sees(self) -> int:
        """Steps before one that decide it."""
        return sum(self.dilations) + 1

    @property
    def rows_at_once(self) -> int:
        """Many: a step takes as long for one sequence as for hundreds."""
        return 1024

    def on_fit_start(self) -> None:
        """Takes the odds of ending from the training sequences."""
        if self.pace is None:
            return
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise RuntimeError("WaveNet counts how sequences end first: call trainer.fit(model, datamodule=...)")
        lengths = lengths_of(data.train_dataloader(), self.spec, COUNTED)
        self.pace.copy_(odds_of_ending(lengths, len(self.pace) - 1))

    def _ending(self, at: Tensor) -> Tensor | None:
        """What the places of steps, from 0, add to the logits of their last column, (R,) to (R, 2)."""
        return None if self.pace is None else ending(self.pace, at)

    def _told(self, codes: Tensor, known: Tensor) -> Tensor:
        """Steps of codes (..., C) as inputs (..., channels)."""
        return (self.embedding(codes) * known[..., None]).sum(dim=-2)

    def _gates(self, static: Tensor) -> list[Tensor | float]:
        """What the static columns (B, S) add to the gates of every layer, (B, 2 * channels) each."""
        if self.static is None:
            return [0.0] * len(self.convolutions)
        codes, known = self.static.codes.read(static)
        told = (self.static_embedding(codes) * known[..., None]).sum(dim=-2)
        return list(self.to_gates(told).chunk(len(self.convolutions), dim=1))

    def _contexts(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the head is told of the step behind each prefix of steps (B, T, D), the empty one first, (B, T + 1, H).

        Beside it the inputs of each layer, (B, T + 1, channels).
        """
        codes, known = self.step.codes.read(x[:, :, self.offset :].flatten(0, 1))
        told = self._told(codes, known).view(len(x), x.shape[1], -1)
        hidden = torch.cat([self.begin.expand(len(x), 1, -1), told], dim=1)
        inputs, skips = [], hidden.new_zeros(())
        gates = self._gates(x[:, 0, : self.offset])
        for layer, dilation, gate in zip(self.convolutions, self.dilations, gates, strict=True):
            inputs.append(hidden)
            past = functional.pad(hidden, (0, 0, dilation, 0))[:, : hidden.shape[1]]
            hidden, skip = layer(hidden, past, gate[:, None] if isinstance(gate, Tensor) else gate)
            skips = skips + skip
        return self.head(skips.relu()), inputs

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The negative log-likelihood of sequences, in nats and in bits a step."""
        steps, static = self._log_probs(batch.x)
        count = processes.mean_of(alive(batch.x, self.spec).sum(), len(batch.x))
        loss = -(steps.sum() + static.sum()) / count
        return {"loss": loss, "bits": loss.detach() / math.log(2.0)}

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of sequences (B, T, D), in nats, shape (B,); what no training step has does not count."""
        return self.log_probs(x).sum(dim=1)

    def log_probs(self, x: Tensor) -> Tensor:
        """The same of each step, (B, T), that of the static columns with the first one's."""
        found = []
        for part in x.split(max(1, TOGETHER // x.shape[1])):
            steps, static = self._log_probs(part)
            found.append(torch.cat([steps[:, :1] + static[:, None], steps[:, 1:]], dim=1))
        return torch.cat(found)

    def _log_probs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        contexts, _ = self._contexts(x)
        at = torch.arange(x.shape[1], device=x.device).repeat(len(x))
        own = x[:, :, self.offset :].flatten(0, 1)
        steps = self.step.log_probs(contexts[:, :-1].flatten(0, 1), own, self._ending(at))
        static = x.new_zeros(len(x))
        if self.static is not None:
            static = self.static.log_probs(self.static_begin.expand(len(x), -1), x[:, 0, : self.offset])
        return steps.view(x.shape[:2]) * alive(x, self.spec), static

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Static columns first, then step by step; cells may be given from the first step on, as a begin is.

        Raises:
            UserError: A cell is given behind one that is free: what came before it could not heed it.
        """
        length, width = self.spec.shape
        if condition is None:
            condition = torch.full((n, length, width), math.nan, device=self.device)
        elif condition.shape[1] < length:
            rest = torch.full((n, length - condition.shape[1], width), math.nan, device=self.device)
            condition = torch.cat([condition, rest], dim=1)
        free = torch.isnan(condition[:, :, self.offset :]).flatten(1)
        if bool((free.cummax(dim=1).values & ~free).any()):
            raise UserError("WaveNet draws what follows, not what came before: it fills no holes; train model=tsar")
        temperature = options.temperature or 1.0
        x = condition.clone()
        if self.static is not None:
            drawn = self.static.draw(self.static_begin.expand(n, -1), x[:, 0, : self.offset], temperature)
            x[:, :, : self.offset] = drawn[:, None]
        walk = _Walk(self, x[:, 0, : self.offset], temperature)
        ended = torch.zeros(n, dtype=torch.bool, device=self.device)
        for t in range(x.shape[1]):
            step = walk.next(x[:, t, self.offset :])
            if t:
                step = torch.where(ended[:, None], x[:, t - 1, self.offset :], step)
            x[:, t, self.offset :] = step
            if self.spec.ends:
                ended = ended | (step[:, -1] > 0.5)
        return x

    def unroll(self, start: Tensor, steps: int, options: Sampling = PLAIN) -> Iterator[Tensor]:
        """See `GenerativeModel`; the last inputs of every layer are all that is kept."""
        with self.evaluating(), torch.no_grad():
            static = start[:, 0, : self.offset]
            walk = _Walk(self, static, options.temperature or 1.0)
            walk.follow(start)
            free = torch.full((len(start), self.spec.shape[1] - self.offset), math.nan, device=self.device)
            if self.spec.ends:
                free[:, -1] = 0.0  # as long as wished, whatever the usual length
            for done in range(0, steps, PIECE):
                made = [walk.next(free) for _ in range(min(PIECE, steps - done))]
                part = torch.stack(made, dim=1)
                yield torch.cat([static[:, None].expand(-1, len(made), -1), part], dim=2)


class _Layer(nn.Module):
    """A dilated convolution of two taps with gated units; where the second tap lies is up to the caller."""

    def __init__(self, channels: int, skip: int) -> None:
        super().__init__()
        self.now, self.past = nn.Linear(channels, 2 * channels), nn.Linear(channels, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels + skip)
        self.channels = channels

    def forward(self, hidden: Tensor, past: Tensor, gate: Tensor | float) -> tuple[Tensor, Tensor]:
        """The layer's output, (..., channels), and what it adds to the skip connections."""
        signal, opening = (self.now(hidden) + self.past(past) + gate).chunk(2, dim=-1)
        out = self.out(signal.tanh() * opening.sigmoid())
        return hidden + out[..., : self.channels], out[..., self.channels :]


class _Columns(nn.Module):
    """The codes of a step, or the static columns, one after the other given a context, (R, H)."""

    def __init__(self, codes: Codes, width: int) -> None:
        super().__init__()
        self.codes = codes
        self.out = nn.Linear(width, codes.total)
        self.before = nn.Embedding(codes.total, width) if len(codes) > 1 else None

    def logits(self, column: int, context: Tensor) -> Tensor:
        """Of the codes of a column, (R, K); the context has the columns before it added."""
        part = self.codes.part(column)
        return functional.linear(context.relu(), self.out.weight[part], self.out.bias[part])

    def added(self, context: Tensor, column: int, code: Tensor) -> Tensor:
        """The context with a column's code, counted from its first, -1 for an unknown one."""
        if self.before is None:
            return context
        told = self.before(code.clamp(min=0) + self.codes.first[column])
        return context + told * (code >= 0)[:, None]

    def log_probs(self, context: Tensor, x: Tensor, last: Tensor | None = None) -> Tensor:
        """Of the known codes of rows (R, C), (R,); `last` (R, K) is added to the logits of the last column."""
        codes, known = self.codes.read(x)
        cells = torch.where(known, codes - self.codes.first, -1)
        total = context.new_zeros(len(x))
        for j in range(len(self.codes)):
            logits = self._logits(j, context, last)
            told = functional.cross_entropy(logits, cells[:, j], ignore_index=-1, reduction="none")
            total = total - told
            context = self.added(context, j, cells[:, j])
        return total

    def _logits(self, column: int, context: Tensor, last: Tensor | None) -> Tensor:
        logits = self.logits(column, context)
        return logits if last is None or column != len(self.codes) - 1 else logits + last

    def draw(self, context: Tensor, given: Tensor, temperature: float, last: Tensor | None = None) -> Tensor:
        """Rows of codes (R, C), where they are not given; see `log_probs`."""
        made = given.clone()
        for j in range(len(self.codes)):
            shares = (self._logits(j, context, last) / temperature).softmax(dim=1)
            drawn = torch.multinomial(shares, 1)[:, 0]
            made[:, j] = torch.where(torch.isnan(given[:, j]), drawn.to(given.dtype), given[:, j])
            context = self.added(context, j, made[:, j].long())
        return made


class _Walk:
    """Sequences drawn step by step; of each layer the last inputs are kept, as many as its dilation.

    Arguments:
        model: The model.
        static: Static positions of the sequences, (n, S).
        temperature: See `Sampling`.
    """

    def __init__(self, model: WaveNet, static: Tensor, temperature: float) -> None:
        self.model, self.temperature = model, temperature
        self.t = self.at = 0  # steps that count among what is kept, and all steps before the one to come
        self.gates = model._gates(static)
        self.kept = [torch.zeros(d, len(static), model.channels, device=static.device) for d in model.dilations]
        self.hidden = model.begin.expand(len(static), -1)

    def follow(self, x: Tensor) -> None:
        """Takes the steps (n, T, D) as its own, those that still matter in one pass."""
        self.at += x.shape[1]
        x = x[:, -self.model.sees :] if x.shape[1] > self.model.sees else x
        _, inputs = self.model._contexts(x)
        self.t = x.shape[1]
        for kept, part, dilation in zip(self.kept, inputs, self.model.dilations, strict=True):
            for s in range(max(self.t - dilation, 0), self.t):
                kept[s % dilation] = part[:, s]
        self.hidden = inputs[0][:, -1]

    def context(self) -> Tensor:
        """What the head is told of the step to come, (n, H)."""
        hidden, skips = self.hidden, self.hidden.new_zeros(())
        for layer, dilation, gate, kept in zip(
            self.model.convolutions, self.model.dilations, self.gates, self.kept, strict=True
        ):
            at = self.t % dilation
            past = kept[at].clone()
            kept[at] = hidden
            hidden, skip = layer(hidden, past, gate)
            skips = skips + skip
        self.t += 1
        return self.model.head(skips.relu())

    def next(self, given: Tensor) -> Tensor:
        """The own columns of the next step, (n, C), NaN in `given` where they are free."""
        at = torch.full((len(given),), self.at, device=given.device)
        made = self.model.step.draw(self.context(), given, self.temperature, self.model._ending(at))
        self.at += 1
        codes, known = self.model.step.codes.read(made)
        self.hidden = self.model._told(codes, known)
        return made
