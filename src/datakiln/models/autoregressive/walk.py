"""How a model of series draws: step by step, constraints of a step met, candidates weighed against each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from datakiln.errors import UserError
from datakiln.models.autoregressive.ends import ending
from datakiln.models.autoregressive.steps import LAGS, shifted
from datakiln.nets.ancestral import Ancestral
from datakiln.nets.beats import Beat
from datakiln.spec import Sampling

if TYPE_CHECKING:
    from datakiln.models.autoregressive.tsar import TSAR

TRIES = 200  # of a step that is to meet constraints


class Walk:
    """Sequences drawn step by step; all it keeps is the state of the net and the last steps.

    Arguments:
        model: The model.
        static: Static positions of the sequences, (n, S).
        options: See `Sampling`.
        each: Candidates of each sequence, one behind the other.
    """

    def __init__(self, model: TSAR, static: Tensor, options: Sampling, each: int) -> None:
        self.model, self.each, self.static = model, each, static
        self.order = model.rank.argsort().tolist()
        self.ancestral = Ancestral(model.net, self.order, model._precision, options.temperature or 1.0)
        self.context, state = model._told_static(static)
        self.state = state[None]
        # those that are told, and one more: whether the last one held is seen beside the two before it
        self.before = torch.full((len(static), LAGS + 1, model.spec.shape[1]), math.nan, device=static.device)
        self.weight = torch.zeros(len(static), device=static.device)  # log-odds of candidates
        self.means = static.new_zeros(0) if model.pasts is None else model.pasts.nothing(len(static))
        self.votes = static.new_zeros(0) if model.beats is None else model.beats.nothing(len(static))
        self.at = self.voted = 0  # the step to come, and that up to which the votes were heard

    @property
    def last(self) -> Tensor:
        """The step drawn last, (n, D)."""
        return self.before[:, -1]

    @property
    def told(self) -> Tensor:
        """The steps that the one to come is told of, (n, LAGS, D)."""
        return self.before[:, 1:]

    def states(self) -> Tensor | None:
        """Which numbers of the last step were as those before it said, (n, N); None where no number ever is."""
        model = self.model
        codes, coordinates, known = model._read(model._wide(self.before[:, -1:], self.before[:, :-1]))
        held = model._held(codes, coordinates, known)
        changed = model._changed(held, codes, known)
        if changed is not None and model.beats is not None and self.voted < self.at:
            self.votes = model.beats.heard(self.votes, changed, self.at - 1)
            self.voted = self.at
        return None if held is None else held.states

    def beat(self) -> Beat | None:
        """The beat at the step to come, of which nothing is drawn; `states` has been asked for."""
        if self.model.beats is None or not self.model.beats.has_any:
            return None
        return Beat(self.model.beats, self.model.beats.time(self.votes, self.at))

    def follow(self, x: Tensor) -> None:
        """Takes the steps (n, t, D) as its own, the first ones: before any is drawn."""
        model, n = self.model, len(x)
        rows = model._wide(torch.cat([x, x[:, -1:]], dim=1))  # the last one stands for the step to come
        codes, coordinates, known = model._read(rows)
        held = model._held(codes, coordinates, known)
        before = None if held is None else shifted(held.states, x.shape[1] + 1)
        added = model._of_before(codes, coordinates, known.float(), before)
        told = model._heard(added, coordinates, known).view(n, x.shape[1] + 1, -1)
        _, self.state = model.gru(told[:, :-1], self.state)
        past = model._past(codes, coordinates, known, before)
        if past is not None and model.pasts is not None:
            _, self.means = model.pasts.along(past.unflatten(0, (n, -1))[:, :-1], self.means)
        changed = model._changed(held, codes, known)
        if changed is not None and model.beats is not None:
            _, self.votes = model.beats.along(changed.unflatten(0, (n, -1))[:, :-1], self.votes)
        self.before = torch.cat([self.before, x], dim=1)[:, -LAGS - 1 :]
        self.at = self.voted = self.at + x.shape[1]

    def step(self, given: Tensor, ended: Tensor) -> Tensor | None:
        """Draws one step, given cells (n, D) with NaN where free; sequences that have ended repeat their last step.

        Returns:
            The candidates that were taken anew before it is kept, (n,), or None if none was.
        """
        model = self.model
        rows = model._wide(given[:, None], self.told)
        codes, coordinates, known = model._read(rows)
        weights = known.float()
        states = self.states()
        added = model._of_before(codes, coordinates, weights, states)
        told = model._heard(added, coordinates, known)[:, None]
        with model._precision():
            hidden, self.state = model.gru(told, self.state)
            base = model.outputs(hidden[:, 0]) + self.context
            if states is not None and model.net.holds is not None:  # what is drawn is told the rest by itself
                base = base + model.net.holds.summed(states, weights[:, model.net.numbers.numbers[model.n_numbers :]])
        at, beat = torch.full((len(given),), self.at, device=given.device), self.beat()
        if model.pace is not None:
            self.ancestral.offsets = {model.n_own - 1: ending(model.pace, at[:1])[0]}
        self.at += 1
        told_own = known[:, : model.n_own]
        past, laid = model._past(codes, coordinates, known, states), None
        if past is not None and model.pasts is not None:
            along, self.means = model.pasts.along(past[:, None], self.means)
            past = model.pasts.told(along[:, 0])
            laid = past.transpose(0, 1)  # a row first, as all that is drawn from
        given_so = (self.static, codes - model.codes.first, coordinates, known, base.float(), laid, beat)
        drawn, log_q = self._drawn(*given_so)
        if model.accepts is not None:
            self._draw_again(drawn, log_q, (~ended).nonzero()[:, 0], given_so)
        drawn = torch.where(ended[:, None], self.last, drawn)
        if self.each == 1 or not bool(told_own.any()):
            self.before = torch.cat([self.before[:, 1:], drawn[:, None]], dim=1)
            return None
        codes, coordinates, known = model._read(model._wide(drawn[:, None], self.told))
        codes = model._settled(codes, coordinates, known)
        held = model._held(codes, coordinates, known)
        whole = model.outputs(hidden[:, 0]) + self.context + added
        time = None if beat is None else beat.time
        odds = model._of_steps(whole, known.float(), codes, coordinates, known, held, at, past, time) - log_q
        self.weight = self.weight + odds.masked_fill(ended, 0.0)
        self.before = torch.cat([self.before[:, 1:], drawn[:, None]], dim=1)
        return self._taken_anew()

    def _drawn(
        self, static: Tensor, own: Tensor, coordinates: Tensor, known: Tensor, base: Tensor, past: Tensor | None,
        beat: Beat | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Steps (n, D), and the log-odds of their cells; what is told of them is left as it was."""
        own, coordinates = own.clone(), coordinates.clone()
        log_q = self.ancestral.draw(own, coordinates, known.clone(), even=False, base=base, past=past, beat=beat)
        x = self.model.codes.written(own, coordinates)[:, : self.model.step_width]
        return torch.cat([static, x], dim=1), log_q

    def _draw_again(self, drawn: Tensor, log_q: Tensor, left: Tensor, told: tuple[Any, ...]) -> None:
        """Replaces steps that may not stand so, given all that came before: the law of a step told that it may.

        Arguments:
            drawn: Steps (n, D), changed in place.
            log_q: Of their cells, likewise.
            left: Those that are looked at.
            told: What `_drawn` was told.

        Raises:
            UserError: None that may stand was drawn.
        """
        assert self.model.accepts is not None
        for _ in range(TRIES):
            left = left[~self.model.accepts(drawn[left])] if len(left) else left
            if not len(left):
                return
            again: list[Any] = [None if part is None else part[left] for part in told]
            drawn[left], log_q[left] = self._drawn(*again)
        what = f"no step that meets data.constraints came in {TRIES} draws given those before it"
        raise UserError(f"{what}; train longer, or ask less")

    def _taken_anew(self) -> Tensor:
        share = self.weight.view(-1, self.each).softmax(dim=1)
        picks = torch.multinomial(share, self.each, replacement=True)
        chosen = (picks + torch.arange(len(share), device=share.device)[:, None] * self.each).flatten()
        self.before, self.static, self.context = self.before[chosen], self.static[chosen], self.context[chosen]
        self.means, self.votes = (part[chosen] if len(part) else part for part in (self.means, self.votes))
        self.state, self.weight = self.state[:, chosen].contiguous(), torch.zeros_like(self.weight)
        return chosen

    def one_of_each(self) -> Tensor:
        """A candidate of each sequence, by its odds."""
        return torch.multinomial(self.weight.view(-1, self.each).softmax(dim=1), 1)[:, 0]
