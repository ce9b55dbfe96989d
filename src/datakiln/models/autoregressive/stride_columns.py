"""What an endless series draws of each column, laid out for NumPy; see `datakiln.models.autoregressive.stride`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datakiln.nets.changes import LEAST_WIDTH
from datakiln.nets.codes import Terms
from datakiln.nets.holds import SAME
from datakiln.nets.numbers import BELOW, CLOSED, COMPONENTS

if TYPE_CHECKING:
    from datakiln.models.autoregressive.walk import Walk

Array = np.ndarray

EDGE = np.float32(1.0 - 2.0**-12)  # a place inside a code stays below it
TINY, BELOW_TOP = np.float32(1e-7), np.float32(BELOW)
NOTHING, HALF, ONE, TWO, THREE = (np.float32(x) for x in (0.0, 0.5, 1.0, 2.0, 3.0))


@dataclass(frozen=True)
class Affine:
    """A linear map (I, O) and what is added to it, (O,)."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        """Of vectors (n, I), (n, O)."""
        return x @ self.weight + self.bias


class Number:
    """Codes and places of one number, and where its references lie.

    Arguments:
        walk: Gives the net.
        number: Its place among the numbers.
    """

    def __init__(self, walk: Walk, number: int) -> None:
        numbers = walk.model.net.numbers
        self.number, self.last = number, int(numbers.last[number])
        self.steps = int(numbers.steps[number])
        nodes = slice(int(numbers.first[number]), int(numbers.first[number]) + self.last * (self.steps + 1))
        self.knots = array(numbers.knots[nodes])
        self.lumped = array(numbers.lumped[nodes])[:: self.steps + 1]
        self.any_lumped = bool(self.lumped.any())
        self.ends, self.top = array(numbers.ends[number]), np.float32(self.last)
        top = int((numbers.rising[number] < math.inf).sum())
        self._take_line(array(numbers.rising[number, :top]), array(numbers.at[number, :top]))
        reference = array(numbers.reference[number])
        before = [j for j in walk.order[: walk.order.index(numbers.columns[number])] if j in numbers.place]
        told = {-1, *(numbers.place[j] for j in before), *range(walk.model.n_numbers, len(numbers))}
        there = [reference[k, 0] >= 0 and set(reference[k].tolist()) <= told for k in range(len(reference))]
        self.parts = np.flatnonzero(there)  # those that there ever are when it is drawn
        self.reference = reference[self.parts]
        self.slope, self.intercept = array(numbers.slope[number])[self.parts], array(numbers.intercept[number])
        self.intercept, self.straight = self.intercept[self.parts], array(numbers.straight[number])[self.parts]
        self.bent = np.flatnonzero(~self.straight)
        self.place = numbers.place
        self.spread_of, self.middle_of = (np.array(part) for part in (numbers.spread, numbers.middle))
        holds = walk.model.net.holds  # kinds in which it is as the steps before say
        self.held = [] if holds is None or not holds.has(number) else holds.can[number].nonzero()[:, 0].tolist()
        self.piece_at: Array | None = None  # of the pieces that steps share values in, with their sizes and values
        if holds is not None and self.held:
            marks = centred(array(holds.marks[0, number]))
            self.marks = np.concatenate([marks, np.zeros_like(marks[:1])])  # nothing of `NONE`
        if holds is not None and bool(holds.has_pieces[number]):
            top = int((holds.begin[number] < math.inf).sum())
            pieces = (holds.begin, holds.size, holds.low, holds.high)
            self.piece_at, self.piece, self.from_value, self.to_value = (array(p[number, :top]) for p in pieces)
        changes = walk.model.net.changes  # bins of its moves
        self.bins = 0 if changes is None or not changes.has_of(number) else changes.bins
        if changes is not None and self.bins:
            self.edges, self.move_unit = array(changes.edges[number]), ONE / array(changes.unit[number])
            self.move_marks = centred(array(changes.marks[number]))
            self.by_width = bool(changes.by_width)
        self.lowest = np.where(self.straight, self.ends[0], NOTHING)  # of the components
        self.highest = np.where(self.straight, self.ends[1], self.top)
        self.start = array(numbers.start[number])[self.parts]
        self.unit = np.exp(self.start)
        self.least = array(numbers._least(number))[self.parts]

    def _take_line(self, rising: Array, at: Array) -> None:
        """The line from values to coordinates as a slope and an intercept of each piece, the outer ones once more."""
        self.rising = rising
        if len(rising) < 2:
            rising, at = np.repeat(rising, 2), np.repeat(at, 2)
        rising, at = rising.astype(np.float64), at.astype(np.float64)
        wide, high = np.diff(rising), np.diff(at)
        slope = np.where(wide > 0, high / np.maximum(wide, 1e-12), 0.0)
        begin = np.where(wide > 0, at[:-1] - slope * rising[:-1], at[:-1] + 0.5 * high)
        self.line_slope, self.line_begin = (np.concatenate([part[:1], part, part[-1:]]) for part in (slope, begin))
        if len(self.rising) < 2:  # values beside the only one are of the same piece
            self.line_slope, self.line_begin = self.line_slope[:2], self.line_begin[:2]
        self.line_ends = at[0] - 2.0 * high[0], at[-1] + 2.0 * high[-1]

    def place_of(self, values: Array) -> Array:
        """See `Numbers.place_of`."""
        piece = self.rising.searchsorted(values)
        found = self.line_begin[piece] + self.line_slope[piece] * values
        return np.minimum(np.maximum(found, self.line_ends[0]), self.line_ends[1]).astype(np.float32)

    def within(self, location: Array, width: Array, at: Array, uniforms: Array) -> Array:
        """Draws (n,) of its components (n,), where they are not cut off; see `Numbers.drawn`."""
        return location + width * truncated(
            (self.lowest[at] - location) / width, (self.highest[at] - location) / width, uniforms
        )

    def equal(self, terms: Terms, values: Array) -> Array:
        """Coordinates (n,) at which it is the sum of others, of which the standardised values are (n, N)."""
        user = np.zeros(len(values))
        for column, sign in zip(terms.columns, terms.signs, strict=True):
            other = self.place[column]
            user += sign * (values[:, other] * self.spread_of[other] + self.middle_of[other])
        value = (user - self.middle_of[self.number]) / self.spread_of[self.number]
        at = self.place_of(value.astype(np.float32))
        return self.settled(np.minimum(np.maximum(at, NOTHING), self.top - BELOW_TOP))[1]

    def located(self, values: Array, raw: Array) -> tuple[Array, Array]:
        """Where its components lie and how wide they are, (n, R), from the values of all numbers, (n, N).

        Arguments:
            values: Standardised.
            raw: Shifts and scales of the components by the net, (n, 2 * R).
        """
        r = len(self.parts)
        told = values[:, self.reference] * self.slope
        location = told[:, :, 0] + told[:, :, 1] + self.intercept
        if len(self.bent) == r:
            location = self.place_of(location)
        elif len(self.bent):
            location[:, self.bent] = self.place_of(location[:, self.bent])
        width = np.maximum(np.exp(self.start + np.minimum(np.maximum(raw[:, r:], -6.0), 6.0)), self.least)
        return location + raw[:, :r] * self.unit, width

    def bounds(self, before: Array) -> Array:
        """See `Changes.bounds_of`, (n,) to (n, M + 1)."""
        told = before[:, None] + self.edges
        if self.piece_at is None:
            found = self.place_of(told)
        else:
            at = self.from_value.searchsorted(told - np.float32(SAME)) - 1
            low = np.maximum(at, 0)
            width = self.to_value[low] - self.from_value[low]
            share = np.where(width > 0, (told - self.from_value[low]) / np.maximum(width, np.float32(1e-12)), ONE)
            found = self.piece_at[low] + self.piece[low] * np.minimum(np.maximum(share, NOTHING), ONE)
            found = np.where(at < 0, NOTHING, found)
        found = np.minimum(np.maximum(found, NOTHING), self.top)
        if not self.any_lumped:
            return found
        code = np.minimum(found.astype(np.int64), self.last - 1)
        is_whole = self.lumped[code] & (found < self.top)
        whole = code + (told > self.knots[code * (self.steps + 1)] - np.float32(SAME))
        return np.where(is_whole, whole, found).astype(np.float32)

    def spread(self, logits: Array, wide: Array, there: Array) -> Array:
        """See `Changes.spread`, of bins so wide, (n, M)."""
        is_open = (wide > 0) & there[:, None]
        if self.by_width:
            total = log_sum(logits)
            counts = np.maximum(wide / (ONE + wide), np.float32(LEAST_WIDTH))
            logits = np.where(is_open, logits + np.log(counts), np.float32(CLOSED))
            logits = logits + total - log_sum(logits)
        return np.where(is_open, logits, np.float32(CLOSED))

    def exact(self, values: Array, coordinates: Array) -> Array:
        """See `Holds.values`: what coordinates (n,) of such values (n,) come back as."""
        if self.piece_at is None:
            return values
        at = np.maximum(self.piece_at.searchsorted(coordinates, side="right") - 1, 0)
        share = np.minimum(np.maximum((coordinates - self.piece_at[at]) / self.piece[at], NOTHING), ONE)
        found: Array = self.from_value[at] + share * (self.to_value[at] - self.from_value[at])
        return found

    def exact_place(self, values: Array) -> Array:
        """See `Holds.place_of`."""
        if self.piece_at is None:
            return self.place_of(values)
        at = np.maximum(self.from_value.searchsorted(values + np.float32(SAME), side="right") - 1, 0)
        width = self.to_value[at] - self.from_value[at]
        inside = (values - self.from_value[at]) / np.maximum(width, np.float32(1e-12))
        share = np.where(width > 0, np.minimum(np.maximum(inside, NOTHING), ONE), HALF)
        found: Array = self.piece_at[at] + self.piece[at] * share
        return found

    def settled(self, coordinates: Array) -> tuple[Array, Array]:
        """Codes of coordinates (n,), and the coordinates with those in a code of a single value in its middle."""
        code = np.minimum(coordinates.astype(np.int64), self.last - 1)
        if self.any_lumped:
            coordinates = np.where(self.lumped[code], code.astype(np.float32) + HALF, coordinates)
        return code, coordinates

    def value(self, code: Array, within: Array) -> Array:
        """Standardised values of places (n,) inside codes (n,)."""
        scaled = within * self.steps
        step = np.minimum(scaled.astype(np.int64), self.steps - 1)
        node = code * (self.steps + 1) + step
        low = self.knots[node]
        return low + (scaled - step.astype(np.float32)) * (self.knots[node + 1] - low)


class Column:
    """What is drawn of one column: its net's last layer, codes first, then weights, shifts and scales of components.

    Arguments:
        walk: Gives the net.
        column: One of the step's own.
        table: Vectors of all codes, centred, (T, H).
    """

    def __init__(self, walk: Walk, column: int, table: Array) -> None:
        net = walk.model.net
        codes = net.codes
        part = codes.part(column)
        self.column, self.first, self.size = column, part.start, codes.sizes[column]
        self.equal_to = codes.equal_to[column]
        self.target = centred(array(net.target[column]))
        self.table = table[part]
        self.valued = array(net.valued[part])
        self.code_at = int(codes.position[column])
        weight, bias = [array(net.out.of(column)).T], [array(net.bias[part])]
        self.number: Number | None = None
        if column in net.numbers.place:
            i = net.numbers.place[column]
            self.number = Number(walk, i)
            self.place_at = int(codes.place_position[i])
            heads, begin = array(net.numbers.heads[i]), array(net.numbers.bias[i])
            parts = [self.number.parts + k * COMPONENTS for k in range(3)]
            weight.append(heads[:, parts[0]])
            bias.append(begin[parts[0]])
            if net.changes is not None and self.number.bins:
                weight.append(array(net.changes.heads[i]))
                bias.append(array(net.changes.bias[i]))
            if net.holds is not None and self.number.held:
                weight.append(array(net.holds.heads[i])[:, self.number.held])
                bias.append(array(net.holds.bias[i])[self.number.held])
            weight.append(heads[:, np.concatenate(parts[1:])])
            bias.append(begin[np.concatenate(parts[1:])])
            self.features = centred(array(net.numbers.features[i]))
            if self.number.bins:
                self.features = np.concatenate([self.features, self.number.move_marks])
            self.below, self.share = array(net.numbers.below[part]), array(net.numbers.share[part])
        self.out = Affine(np.ascontiguousarray(np.concatenate(weight, axis=1)), np.concatenate(bias))


def array(x: Any) -> Array:  # noqa: ANN401 (a tensor of a module, which mypy takes for either)
    """Its own copy."""
    return x.detach().cpu().numpy().copy()


def truncated(low: Array, high: Array, uniforms: Array) -> Array:
    """See `datakiln.nets.numbers.truncated`, of (n,) each."""
    low, high, left = (part.astype(np.float64) for part in (low, high, uniforms))
    is_above = low + high > 0
    low, high = np.where(is_above, -high, low), np.where(is_above, -low, high)
    left = np.minimum(np.maximum(np.where(is_above, 1.0 - left, left), 1e-9), 1.0 - 1e-9)
    below = -np.logaddexp(0.0, -low)
    inner = -np.expm1(-np.maximum(high - low, 1e-9))
    mass = -np.logaddexp(0.0, -high) - np.logaddexp(0.0, low) + np.log(inner)
    rank = np.logaddexp(below, np.log(left) + mass)
    found = np.minimum(rank - np.log1p(-np.exp(rank)), high)
    found = np.maximum(found, low)
    return np.where(is_above, -found, found).astype(np.float32)


def log_sum(logits: Array) -> Array:
    """Log of the sum of exponentials of each row, (n, K) to (n, 1)."""
    top = logits.max(axis=1, keepdims=True)
    found: Array = top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return found


def centred(x: Array) -> Array:
    """Vectors (..., H) without their mean."""
    return np.ascontiguousarray(x - x.mean(axis=-1, keepdims=True))
