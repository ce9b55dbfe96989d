"""Endless series of `tsar` in NumPy: the law of its walk, with all that is the same in every step worked out before.

A step of a few sequences is hundreds of small operations, of which torch takes more time to start than to do. Here
there are fewer of them, and each starts in a microsecond: vectors that are added up have their mean taken off before,
so that layer normalisation need not; affine maps that follow each other are one; what the steps before tell of numbers
is described once for all columns. Only for steps of which nothing is given, with all of the steps before known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from datakiln.models.autoregressive.steps import LAGS
from datakiln.models.autoregressive.stride_beat import StrideBeat
from datakiln.models.autoregressive.stride_columns import (
    BELOW_TOP,
    EDGE,
    HALF,
    NOTHING,
    ONE,
    TINY,
    TWO,
    Affine,
    Array,
    Column,
    Number,
    array,
    centred,
    log_sum,
)  # fmt: skip
from datakiln.nets.ancestral import AGAIN
from datakiln.nets.holds import KINDS, NONE, SAME
from datakiln.nets.numbers import CLOSED, FAR, FEATURES, WAVES
from datakiln.nets.pasts import KEPT

if TYPE_CHECKING:
    from datakiln.models.autoregressive.walk import Walk


class Stride:
    """Takes over from a walk and draws on; see the module.

    Arguments:
        walk: Of a model on the processor that has drawn, or followed, `LAGS` steps at least.
    """

    def __init__(self, walk: Walk) -> None:
        """See the class."""
        model = walk.model
        net = model.net
        self.walk, self.temperature, self.own = walk, walk.ancestral.temperature, model.n_own
        self.drawn = [j for j in walk.order if not (model.spec.ends and j == model.n_own - 1)]
        table = centred(array(net.vectors()))
        self.columns = [Column(walk, j, table) for j in self.drawn]
        self.has_missing = not all(bool(net.valued[net.codes.part(j)].all()) for j in net.numbers.columns)
        self._take_layers()
        self._take_lags(table)
        self.static, self.x = array(walk.static), np.empty((len(walk.static), model.step_width), np.float32)
        if model.spec.ends:
            self.x[:, -1] = 0.0
        self.context = centred(array(walk.context) + array(model.outputs.bias))
        self.state = array(walk.state[0])
        n, numbers = len(self.static), len(net.numbers)
        lagged = self.lagged
        self.codes = np.zeros((n, LAGS, lagged), np.int64)  # of the steps before, the last one first
        self.kept_steps = np.zeros((3, n, numbers), np.float32)  # the last one first
        self.coordinates, self.values, self.exact = self.kept_steps
        self.states = np.full((n, self.n_numbers), NONE)  # of the step before, see `Holds`
        self.there = np.ones((n, numbers), bool)
        self.lag_marks: Array | None = None
        self.past_vectors: Array | None = None
        if model.pasts is not None:
            self.past_vectors = centred(array(model.pasts.vectors))
            self.past_unit, self.kept = ONE / array(model.pasts.unit), array(model.pasts.kept)
            self.means = array(walk.means)
            self.again_kept = np.tile(np.arange(3 + KINDS), len(KEPT))
        self.targets = np.stack([column.target for column in self.columns])[:, None]
        of = {column.number.number: k for k, column in enumerate(self.columns) if column.number is not None}
        self.of_numbers = np.array([of[i] for i in range(self.n_numbers)], dtype=np.int64)
        self._take_steps()
        beats = model.beats
        self.beat = None if beats is None or not beats.has_any else StrideBeat(beats, walk)

    def _take_layers(self) -> None:
        """Layer normalisations keep their scale alone: vectors come without their mean."""
        model, net = self.walk.model, self.walk.model.net
        self.eps, size = np.float32(net.norm.eps), len(net.norm.weight)
        self.mean = np.full((size, 1), 1.0 / size, np.float32)
        self.blocks = []
        block: Any
        for block in net.blocks:
            scale, shift = array(block.norm.weight), array(block.norm.bias)
            up = array(block.up.weight).T
            down = array(block.down.weight).T
            first = Affine(np.ascontiguousarray(scale[:, None] * up), shift @ up + array(block.up.bias))
            self.blocks.append((first, Affine(centred(down), centred(array(block.down.bias)))))
        self.scale, self.shift = array(net.norm.weight), array(net.norm.bias)
        gru = model.gru
        told, begin = array(model.inputs.weight).T, array(model.inputs.bias)
        into = array(gru.weight_ih_l0).T
        self.inputs = Affine(told @ into, begin @ into + array(gru.bias_ih_l0))
        self.moves = None if model.moves is None else array(model.moves.weight).T @ into
        self.again = Affine(np.ascontiguousarray(array(gru.weight_hh_l0).T), array(gru.bias_hh_l0))
        self.outputs = centred(array(model.outputs.weight).T)

    def _take_lags(self, table: Array) -> None:
        """Tables of the steps before, side by side; what recurrent states are told keeps its mean."""
        model, net = self.walk.model, self.walk.model.net
        self.lagged = model.n_own - int(model.spec.ends)
        self.whole = array(net.vectors())
        self.n_numbers = model.n_numbers
        self.lag_first = np.array([int(net.codes.first[model.n_own + k]) for k in range(LAGS * self.lagged)])
        self.lag_first = self.lag_first.reshape(LAGS, self.lagged)
        n = self.n_numbers
        self.own_first = np.array([int(net.codes.first[j]) for j in net.numbers.columns[:n]], dtype=np.int64)
        self.lag_features = array(net.numbers.features[n:]).reshape(-1, table.shape[1])
        self.below, self.share = array(net.numbers.below), array(net.numbers.share)
        self.valued = array(net.valued)
        self.number_columns = np.array(net.numbers.columns[:n], dtype=np.int64)
        self.move_unit = np.exp(-array(net.numbers.start[:n, 0]))
        self.waves = (2 * math.pi * np.arange(1, WAVES + 1)).astype(np.float32)

    def _take_steps(self) -> None:
        """The last steps of the walk."""
        model = self.walk.model
        rows = model._wide(self.walk.before[:, -1:], self.walk.told)  # the step to come counts as nothing
        codes, coordinates, known = model._read(rows)
        if not bool(known[:, model.n_own :].all()):
            raise ValueError("a stride goes on from steps that are known")
        kept = array(codes)[:, model.n_own :].reshape(len(codes), LAGS, self.lagged) - self.lag_first
        self.codes[:] = kept
        self.coordinates[:] = array(coordinates)
        self.values[:] = array(model.net.numbers.values(coordinates)) if self.n_numbers else 0.0
        self.there[:] = array(model.net.has_value(codes)) if self.n_numbers else True
        self.exact[:] = self.values
        holds = model.net.holds
        if holds is not None:
            self.exact[:] = array(holds.values(model.net.numbers, coordinates).flatten(1))
        if holds is not None and holds.has_any:
            self.states[:] = array(self.walk.states())
            marks = array(holds.marks[1])
            self.lag_marks = np.concatenate([marks, np.zeros_like(marks[:, :1])], axis=1)

    def steps(self, count: int) -> Tensor:
        """So many more steps, (n, count, D)."""
        n = len(self.static)
        made = np.empty((n, count, self.static.shape[1] + self.x.shape[1]), np.float32)
        made[:, :, : self.static.shape[1]] = self.static[:, None]
        uniforms = torch.rand(count, max(len(self.columns), 1), 2, n).numpy()
        for t in range(count):
            self._step(uniforms[t])
            made[:, t, self.static.shape[1] :] = self.x
        return torch.from_numpy(made)

    def _step(self, uniforms: Array) -> None:
        told = self._told()
        self._move_on(told)
        context = self.state @ self.outputs + self.context + told - told @ self.mean
        codes = np.empty((len(context), self.lagged), np.int64)
        own, n, last = self._own(), self.n_numbers, len(self.columns) - 1
        if self.beat is not None:
            self.beat.begin()
        for k, column in enumerate(self.columns):
            raw = column.out(self._features(context + own[k]))
            code, coordinate = self._drawn(column, raw, uniforms[k])
            added = column.table[code]
            self.x[:, column.code_at] = code
            if column.number is None:
                codes[:, column.column] = code
            else:
                codes[:, column.column], more = self._kept(column, column.number, code, coordinate, k == last)
                added = added + more
            context += added
        if self.beat is not None:
            self.beat.end()
        self.codes[:, 1:] = self.codes[:, :-1]
        self.codes[:, 0] = codes
        self.kept_steps[:, :, n:] = self.kept_steps[:, :, :-n]
        if self.has_missing:
            self.there[:, n:] = self.there[:, :-n]

    def _kept(
        self, column: Column, number: Number, code: Array, coordinate: Array, is_last: bool
    ) -> tuple[Array, Array | float]:
        """Keeps what was drawn of a number; its codes to steps behind, (n,), and what its places add here, (n, H)."""
        i = number.number
        inside, coordinate = number.settled(coordinate)
        place = np.minimum(coordinate - inside.astype(np.float32), ONE)
        value = number.value(inside, place)
        own, is_there = inside, column.valued[code] if self.has_missing else None  # equal to another: later, its own
        if is_there is not None:
            coordinate, own = np.where(is_there, coordinate, NOTHING), np.where(is_there, inside, code)
            self.there[:, i] = is_there
        self.x[:, column.place_at] = self.coordinates[:, i] = coordinate
        self.values[:, i] = value
        self.exact[:, i] = number.exact(value, coordinate)
        if number.held:
            may = self._may_hold(number)
            self.states[:, i] = self._state(number, may)
            if self.beat is not None and self.beat.has(number):
                before, ahead = self.exact[:, self.n_numbers + i], self._on_line(i)
                self.beat.hear(number, may, before, ahead, self.exact[:, i], self.there[:, i])
        if is_last:
            return own, 0.0
        rank = column.below[inside] + column.share[inside] * place
        described = self._described(rank[:, None], value[:, None])[:, 0]
        if is_there is not None:
            described *= is_there[:, None]
        if number.bins:
            described = np.concatenate([described, self._moved(number)], axis=1)
        told = described @ column.features
        return own, told + number.marks[self.states[:, i]] if number.held else told

    def _moved(self, number: Number) -> Array:
        """See `Changes.described`, of one number, (n, SHAPES)."""
        i, n = number.number, self.n_numbers
        move = np.arcsinh((self.exact[:, i] - self.exact[:, n + i]) * number.move_unit)
        if self.has_missing:
            move = move * (self.there[:, i] & self.there[:, n + i])
        return np.stack([move, np.abs(move)], axis=1)

    def _state(self, number: Number, may: Array) -> Array:
        """See `Holds.states_of`, (n,)."""
        i = number.number
        same = (np.abs(self.exact[:, i, None] - self._said(number)) <= np.float32(SAME)) & may
        same &= self.there[:, i, None]
        return np.where(same.any(axis=1), np.array(number.held)[same.argmax(axis=1)], NONE)

    def _told(self) -> Array:
        """What the steps before add to a context, (n, H), as `Network.added` has it."""
        told = self.whole[self.codes + self.lag_first].sum(axis=(1, 2))
        if not self.n_numbers:
            return told
        if self.lag_marks is not None:
            told = told + self.lag_marks[np.arange(self.n_numbers), self.states].sum(axis=1)
        n = self.n_numbers
        codes = self.codes[:, :, self.number_columns].reshape(len(told), -1)
        at = codes + self.lag_first[:, self.number_columns].reshape(-1)
        there = self.there[:, n:]
        at = np.where(there, at, 0) if self.has_missing else at
        within = np.minimum(self.coordinates[:, n:] - (np.where(there, codes, 0) if self.has_missing else codes), ONE)
        within = within.astype(np.float32)
        rank = self.below[at] + self.share[at] * within
        described = self._described(rank, self.values[:, n:])
        if self.has_missing:
            described *= there[..., None]
        return told + described.reshape(len(told), -1) @ self.lag_features

    def _own(self) -> Array:
        """What the contexts of the columns have more than that of the step, (K, 1 or n, H)."""
        if self.past_vectors is None:
            return self.targets
        own = self.targets.repeat(len(self.static), axis=1)
        own[self.of_numbers] += self._of_pasts()
        return own

    def _of_pasts(self) -> Array:
        """What the past of each number adds to its context, (N, n, H), as `Pasts` has it; its means go on by a step."""
        n = self.n_numbers
        both = self.there[:, n : 2 * n] & self.there[:, 2 * n : 3 * n]
        move = np.arcsinh((self.exact[:, n : 2 * n] - self.exact[:, 2 * n : 3 * n]) * self.past_unit) * both
        told = np.empty((*move.shape, 3 + KINDS + self.means.shape[2]), np.float32)
        told[..., 0], told[..., 1], told[..., 2] = move, np.abs(move), both
        for kind in range(KINDS):
            told[..., 3 + kind] = self.states == kind
        told[..., 3 + KINDS :] = self.means
        self.means = self.means * self.kept + told[..., self.again_kept] * (ONE - self.kept)
        found: Array = told.transpose(1, 0, 2) @ self.past_vectors
        return found

    def _described(self, rank: Array, value: Array) -> Array:
        """See `Numbers.describe`, (n, m) to (n, m, F)."""
        found = np.empty((*rank.shape, FEATURES), np.float32)
        found[..., 0] = TWO * rank - ONE
        found[..., 1] = np.minimum(np.maximum(value, np.float32(-FAR)), np.float32(FAR)) * HALF
        found[..., 2] = np.arcsinh(value)
        angles = rank[..., None] * self.waves
        np.sin(angles, out=found[..., 3 : 3 + WAVES])
        np.cos(angles, out=found[..., 3 + WAVES :])
        return found

    def _move_on(self, told: Array) -> None:
        """The recurrent state of the step to come."""
        inputs = self.inputs(told)
        if self.moves is not None:
            n = self.n_numbers
            move = np.arcsinh((self.coordinates[:, n : 2 * n] - self.coordinates[:, 2 * n : 3 * n]) * self.move_unit)
            inputs += np.concatenate([move, np.abs(move)], axis=1) @ self.moves
        before = self.again(self.state)
        size = self.state.shape[1]
        gates = ONE / (ONE + np.exp(-(inputs[:, : 2 * size] + before[:, : 2 * size])))
        keep = gates[:, size:]
        new = np.tanh(inputs[:, 2 * size :] + gates[:, :size] * before[:, 2 * size :])
        self.state = new + keep * (self.state - new)

    def _features(self, h: Array) -> Array:
        """See `Network.features`, of what has its mean taken off."""
        for up, down in self.blocks:
            inside = up(self._normed(h))
            inside /= ONE + np.exp(-inside)
            h = h + down(inside)
        h = self._normed(h) * self.scale + self.shift
        h /= ONE + np.exp(-h)
        return h

    def _normed(self, h: Array) -> Array:
        return h * (ONE / np.sqrt((h * h) @ self.mean + self.eps))

    def _shares(self, column: Column, raw: Array) -> tuple[Array, Array, Array]:
        """Shares of codes, components and bins, (n, K + R + M), and where the latter lie and how wide they are."""
        number, size = column.number, column.size
        r = 0 if number is None else len(number.parts)
        m = 0 if number is None else number.bins
        logits, held = raw[:, : size + r + m], [] if number is None else number.held
        location = width = raw[:, :0]
        if number is not None and r:
            location, width = number.located(self.values, raw[:, size + r + m + len(held) :])
            if self.has_missing:
                seen = self.there[:, number.reference] | (number.reference < 0)
                logits[:, size : size + r] = np.where(seen.all(axis=2), logits[:, size : size + r], CLOSED)
        if number is not None and m:
            i = self.n_numbers + number.number
            bounds = number.bounds(self.exact[:, i])
            wide = bounds[:, 1:] - bounds[:, :-1]
            logits[:, size + r :] = number.spread(logits[:, size + r :], wide, self.there[:, i])
            location, width = (
                np.concatenate(p, axis=1) if r else p[1] for p in ((location, bounds[:, :-1]), (width, wide))
            )
        if number is not None and held:
            may, odds = self._may_hold(number), raw[:, size + r + m : size + r + m + len(held)]
            if self.beat is not None and self.beat.has(number):
                odds = odds + self.beat.added(number, may)
            odds = np.where(may, odds, np.float32(CLOSED))
            logits = np.concatenate([logits, log_sum(logits) + odds], axis=1)
        if self.temperature != 1.0:
            logits = logits / self.temperature
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares, location, width

    def _may_hold(self, number: Number) -> Array:
        """See `Holds.open_of`, of the kinds that there are, (n, kinds)."""
        i, n = number.number, self.n_numbers
        one, two = self.there[:, n + i], self.there[:, 2 * n + i]
        line = self._on_line(i)
        inside = (line >= number.ends[0]) & (line <= number.ends[1])
        if 0 in number.held:
            inside &= np.abs(line - self.exact[:, n + i]) > np.float32(SAME)
        return np.stack([one, one & two & inside], axis=1)[:, number.held]

    def _said(self, number: Number) -> Array:
        """See `Holds.told`, of the kinds that there are, (n, kinds)."""
        i = number.number
        return np.stack([self.exact[:, self.n_numbers + i], self._on_line(i)], axis=1)[:, number.held]

    def _on_line(self, i: int) -> Array:
        return TWO * self.exact[:, self.n_numbers + i] - self.exact[:, 2 * self.n_numbers + i]

    def _drawn(self, column: Column, raw: Array, uniforms: Array) -> tuple[Array, Array]:
        """Codes (n,) and, of a number, coordinates (n,) by two uniform numbers each, (2, n)."""
        shares, location, width = self._shares(column, raw)
        sums = shares.cumsum(axis=1)
        cells = np.minimum((sums <= uniforms[0][:, None] * sums[:, -1:]).sum(axis=1), sums.shape[1] - 1)
        if column.number is None:
            return cells, uniforms[1]
        code, coordinate = self._placed(column, cells, location, width, uniforms[1])
        if column.number.held:
            code = code.copy()
            is_free = cells < column.size + len(column.number.parts) + column.number.bins
            self._set_free(column, is_free, code, coordinate, shares, location, width)
        return code, coordinate

    def _placed(
        self, column: Column, cells: Array, location: Array, width: Array, uniforms: Array
    ) -> tuple[Array, Array]:
        """See `Ancestral._placed`."""
        number, size = column.number, column.size
        assert number is not None
        inside = np.minimum(cells, number.last - 1)
        coordinate = inside.astype(np.float32) + np.minimum(uniforms, EDGE)
        code, parts, r = cells, (cells >= size).nonzero()[0], len(number.parts) + number.bins
        if number.held and len(parts):
            held = (cells >= size + r).nonzero()[0]
            coordinate[held] = self._held(number, held, np.array(number.held)[cells[held] - size - r])
            code = cells.copy()
            code[held] = np.minimum(coordinate[held].astype(np.int64), number.last - 1)
            parts = ((cells >= size) & (cells < size + r)).nonzero()[0]
        if len(parts):
            at = cells[parts] - size
            coordinate[parts] = self._of_components(number, at, location[parts, at], width[parts, at], uniforms[parts])
            code = code.copy()
            code[parts] = np.minimum(coordinate[parts].astype(np.int64), number.last - 1)
        for state, terms in enumerate(column.equal_to, start=size - len(column.equal_to)):
            rows = np.flatnonzero(cells == state)
            if len(rows):
                coordinate[rows] = number.equal(terms, self.values[rows])
        return code, coordinate

    def _set_free(
        self, column: Column, is_free: Array, code: Array, coordinate: Array, shares: Array, location: Array,
        width: Array,
    ) -> None:  # fmt: skip
        """See `Ancestral._set_free`; codes and coordinates (n,) are replaced in place where a density drew them."""
        number = column.number
        assert number is not None
        left, size, r = is_free.nonzero()[0], column.size, len(number.parts) + number.bins
        told, may = self._said(number), self._may_hold(number)
        for _ in range(AGAIN):
            inside, at = number.settled(coordinate[left])
            place = np.minimum(at - inside.astype(np.float32), ONE)
            value = number.exact(number.value(inside, place), at)
            is_held = ((np.abs(value[:, None] - told[left]) <= np.float32(SAME)) & may[left]).any(axis=1)
            if self.has_missing:
                is_held &= column.valued[code[left]]
            left = left[is_held]
            if not len(left):
                return
            uniforms = torch.rand(2, len(left)).numpy()
            sums = shares[left, : size + r].cumsum(axis=1)
            cells = np.minimum((sums <= uniforms[0][:, None] * sums[:, -1:]).sum(axis=1), size + r - 1)
            drawn = np.minimum(cells, number.last - 1).astype(np.float32) + np.minimum(uniforms[1], EDGE)
            parts = (cells >= size).nonzero()[0]
            if len(parts):
                rows, which = left[parts], cells[parts] - size
                drawn[parts] = self._of_components(
                    number, which, location[rows, which], width[rows, which], uniforms[1][parts]
                )
            code[left] = np.where(cells >= size, np.minimum(drawn.astype(np.int64), number.last - 1), cells)
            coordinate[left] = drawn

    def _held(self, number: Number, rows: Array, kinds: Array) -> Array:
        """See `Holds.places`, of some rows, the kind of each."""
        line = np.minimum(
            np.maximum(number.exact_place(self._on_line(number.number)[rows]), NOTHING), number.top - BELOW_TOP
        )
        return np.where(kinds == 0, self.coordinates[rows, self.n_numbers + number.number], number.settled(line)[1])

    def _of_components(self, number: Number, at: Array, location: Array, width: Array, uniforms: Array) -> Array:
        """Coordinates drawn from bins and components: beyond the ends, of those that are cut off there, once more."""
        if number.bins and (in_bins := at >= len(number.parts)).any():
            found = location + width * uniforms
            left = (~in_bins).nonzero()[0]
            if len(left):
                found[left] = self._of_components(number, at[left], location[left], width[left], uniforms[left])
            return np.minimum(np.maximum(found, NOTHING), number.top - BELOW_TOP)
        safe = np.minimum(np.maximum(uniforms, TINY), ONE - TINY)
        found = location + width * np.log(safe / (ONE - safe))
        beyond = ((found < number.lowest[at]) | (found > number.highest[at])).nonzero()[0]
        if len(beyond):
            again = torch.rand(len(beyond)).numpy()
            found[beyond] = number.within(location[beyond], width[beyond], at[beyond], again)
        if len(number.bent) == 0:
            found = number.place_of(found)
        elif len(number.bent) < len(number.straight):
            found = np.where(number.straight[at], number.place_of(found), found)
        return np.minimum(np.maximum(found, NOTHING), number.top - BELOW_TOP)
