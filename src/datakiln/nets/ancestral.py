"""Rows of an any-order autoregressive network, column after column: drawn, or their likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from datakiln.nets.anyorder import Network
from datakiln.nets.beats import Beat
from datakiln.nets.changes import Changes
from datakiln.nets.codes import Strata, invert
from datakiln.nets.holds import NONE
from datakiln.nets.numbers import BELOW, CLOSED, COMPONENTS, REFERENCES

AGAIN = 200  # draws of a number that shall not be what the steps before say
ROWS = 4096  # groups whose activations are held at once: they stay in the processor's cache


class Told(NamedTuple):
    """What the network says of a column to rows in the same groups.

    Attributes:
        rows: The rows, shape (n,).
        at: Their group among those of this piece, (n,).
        logits: Of the column's codes, (groups, size).
        parts: Logits, shifts and scales of the components of a number, (groups, R) each; None for a category.
        held: Log-odds that a number is what the steps before say, (groups, KINDS); None where it never is.
        bins: Logits of its bins of changes, (groups, M); None where it has none.
    """

    rows: Tensor
    at: Tensor
    logits: Tensor
    parts: tuple[Tensor, Tensor, Tensor] | None
    held: Tensor | None = None
    bins: Tensor | None = None


class Prefixes:
    """n rows without a cell, to which the cells of one column after another are added.

    Rows of the same codes share one context, until a number that has a place in its code tells them apart.

    Arguments:
        net: The network.
        n: Rows.
        precision: What the network's matrix products are worked out under.
        temperature: What the log-probabilities of codes are divided by before they are normalised again.
        base: What each row's context begins with, (n, H); None for nothing.
        past: What is added to that of the first numbers, of each row, (n, N, H); None for nothing.
        beat: When numbers change course; None for at any step.
    """

    def __init__(
        self,
        net: Network,
        n: int,
        precision: Callable[[], AbstractContextManager[None]],
        temperature: float = 1.0,
        base: Tensor | None = None,
        past: Tensor | None = None,
        beat: Beat | None = None,
    ) -> None:
        """See the class."""
        self.net, self.codes, self.precision, self.temperature = net, net.codes, precision, temperature
        self.past, self.beat = past, beat
        self.table: Tensor = net.vectors()
        self.context = self.table.new_zeros(1, self.table.shape[1])  # sums of vectors, (groups, H)
        self.group = torch.zeros(n, dtype=torch.long, device=self.table.device)  # of each row, (n,)
        if base is not None:
            self.context, self.group = base, torch.arange(n, device=base.device)

    def add(
        self, column: int, codes: Tensor, coordinates: Tensor, counts: Tensor, states: Tensor | None = None,
        move: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Gives rows a cell of their own in the column, where `counts` (n,) is true.

        Arguments:
            column: One of them.
            codes: Of the cells, (n,).
            coordinates: Of all numbers, (n, N).
            counts: See above.
            states: Whether the number is as the steps before said, (n,), see `Holds`; None where it never is.
            move: What its move adds to contexts, (n, H), see `Changes`; None for nothing.
        """
        size, number = self.codes.sizes[column], self.net.numbers.place.get(column)
        key = self.group * (size + 1) + torch.where(counts, codes, size)
        is_alone = 2 * len(self.context) > len(self.group)  # hardly a row is like another: no more use in looking
        if is_alone or (number is not None and not self.net.numbers.is_lumped(number)):
            group = torch.arange(len(key), device=key.device)
            added = functional.embedding(codes.clamp(max=size - 1) + self.codes.first[column], self.table)
            if number is not None:
                added = added + self._told(number, column, codes, coordinates[:, number])
            if number is not None and states is not None and self.net.holds is not None:
                added = added + self.net.holds.marked_of(number, states)
            if move is not None:
                added = added + move
            self.context = self.context.index_select(0, self.group) + added.masked_fill(~counts[:, None], 0.0)
            self.group = group
            return
        key, self.group = torch.unique(key, return_inverse=True)
        parent, code = key // (size + 1), key % (size + 1)
        added = functional.embedding(code.clamp(max=size - 1) + self.codes.first[column], self.table)
        if number is not None:
            added = added + self._told(number, column, code.clamp(max=size - 1), code + 0.5)
        if not counts.all():
            added = added.masked_fill((code == size)[:, None], 0.0)
        self.context = added.add_(self.context.index_select(0, parent))

    def _told(self, number: int, column: int, codes: Tensor, coordinates: Tensor) -> Tensor:
        features = self.net.numbers.describe(coordinates.to(self.table.dtype), number)
        features = features * self.net.valued[codes + self.codes.first[column]][:, None]
        return features @ self.net.numbers.features[number]

    def told(self, column: int, known: Known) -> Iterator[Told]:
        """Piece by piece what the network says of a column to rows of which so much is known."""
        source = int(self.net.source[column])
        number = self.net.numbers.place.get(column)
        order = self.group.argsort()
        ends = torch.bincount(self.group, minlength=len(self.context)).cumsum(0).tolist()
        for start in range(0, len(self.context), ROWS):
            stop = min(start + ROWS, len(self.context))
            rows, context = order[ends[start - 1] if start else 0 : ends[stop - 1]], self.context[start:stop]
            if number is not None and self.net.numbers.hints is not None and self.net.numbers.has_references(number):
                one = rows.new_zeros(stop - start)
                one[self.group[rows] - start] = rows  # any row of a group tells what all of them are told
                context = context + self._hinted(number, known, one)
            if number is not None and self.past is not None:  # each row is a group of its own
                one = rows.new_zeros(stop - start)
                one[self.group[rows] - start] = rows
                context = context + self.past[one, number]
            with self.precision():
                features = self.net.features(context, column)
            lifted = rows.new_zeros(stop - start)
            if source >= 0:  # rows of a group have the same code there
                lifted[self.group[rows] - start] = known.codes[rows, source] + 1
            later = self._told_by_later(column, known, rows, start, stop)
            logits, parts = self.net.logits(features, column, lifted, later), None
            held = None
            if number is not None and self.net.holds is not None and self.net.holds.has(number):
                held = self.net.holds.logits(features, number)
                if self.beat is not None and self.beat.has(number):
                    one = rows.new_zeros(stop - start)
                    one[self.group[rows] - start] = rows
                    there = self.net.holds.open_of(self.net.numbers, number, known.coordinates[one], known.there[one])
                    held = held + self.beat.added(number, one, there)
            bins = None
            if number is not None and self.net.changes is not None and self.net.changes.has_of(number):
                bins = self.net.changes.logits(features, number)
            if number is not None and (held is not None or bins is not None or self.net.numbers.has_any(number)):
                parts = self.net.numbers.components(features, number)
            yield Told(rows, self.group[rows] - start, logits, parts, held, bins)

    def _told_by_later(self, column: int, known: Known, rows: Tensor, start: int, stop: int) -> Tensor | None:
        """What `Network.lifted_by_later` says to these groups, of which any row tells for all."""
        if not (self.net.source == column).any() or not known.is_told:
            return None
        one = rows.new_zeros(stop - start)
        one[self.group[rows] - start] = rows
        return self.net.lifted_by_later(column, known.codes[one] + self.codes.first, known.seen[one])

    def _hinted(self, number: int, known: Known, rows: Tensor) -> Tensor:
        open_ = self.net.numbers.are_open_of(number, known.there[rows])[:, :-1]
        return self.net.numbers.hint_of(number, known.coordinates[rows].to(self.table.dtype), open_)


class Known:
    """What the cells that stand so far say of numbers: worked out once a column, as every later one asks for it.

    Arguments:
        net: The network.
        codes: Of all columns, counted from the first of each, (n, C).
        coordinates: Of the numbers, (n, N).
        seen: Which cells stand, (n, C); more do as the columns are gone through.

    Attributes:
        valued: Which numbers are not missing, (n, N); meaningless where a cell does not stand, as `scores` are.
        there: And of them those that stand.
        scores: Their normal scores, 0 for the missing; None where no plane asks for them.
    """

    def __init__(self, net: Network, codes: Tensor, coordinates: Tensor, seen: Tensor) -> None:
        """See the class."""
        self.net, self.codes, self.coordinates, self.seen = net, codes, coordinates, seen
        self.is_told = bool(seen.any())
        self.valued = net.has_value(codes + net.codes.first)
        self.there = seen[:, net.numbers.numbers] & self.valued
        has_planes = bool(net.numbers.has_plane.any())
        self.scores = net.numbers.scores(coordinates) * self.valued if has_planes else None

    def add(self, column: int) -> None:
        """A column whose cells stand in all rows from now on."""
        number = self.net.numbers.place.get(column)
        if number is None:
            return
        valued = self.net.valued[self.codes[:, column] + self.net.codes.first[column]]
        self.valued[:, number] = self.there[:, number] = valued
        if self.scores is not None:
            self.scores[:, number] = self.net.numbers.scores(self.coordinates[:, number], number) * valued


TINY = torch.finfo(torch.float32).tiny  # least probability of a given cell: odds of 0 to 0 would tell nothing


class Ancestral:
    """Goes through the columns in one order; codes count from the first of their column.

    Arguments:
        net: The network.
        order: All columns, the first drawn first.
        precision: What the network's matrix products are worked out under.
        temperature: See `Prefixes`.
        allowed: Codes that columns have, (size,) by column; what a component of a number gives may lie outside of them.
    """

    def __init__(
        self,
        net: Network,
        order: Sequence[int],
        precision: Callable[[], AbstractContextManager[None]],
        temperature: float = 1.0,
        allowed: Mapping[int, Tensor] | None = None,
    ) -> None:
        """See the class."""
        self.net, self.order, self.precision, self.temperature = net, order, precision, temperature
        self.allowed = allowed or {}
        self.offsets: dict[int, Tensor] = {}  # what is added to the logits of columns, (size,) by column
        lifting = [j for j in range(len(net.codes)) if net.numbers.level[net.codes.part(j)].any()]
        self.lifting = torch.tensor(lifting, dtype=torch.long, device=net.numbers.level.device)

    def log_prob(self, codes: Tensor, coordinates: Tensor) -> Tensor:
        """Log-probability of whole rows of codes (n, C) and coordinates (n, N), shape (n,)."""
        prefixes = Prefixes(self.net, len(codes), self.precision, self.temperature)
        total = torch.zeros(len(codes), device=codes.device)
        everywhere = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        known = Known(self.net, codes, coordinates, torch.zeros_like(codes, dtype=torch.bool))
        for j in self.order:
            for told in prefixes.told(j, known):
                log_share, place = self._shares(told, j, known)
                total[told.rows] += self._log_prob(told, j, log_share, place, known)
            known.add(j)
            if j != self.order[-1]:
                prefixes.add(j, codes[:, j], coordinates, everywhere)
        return total

    @torch.no_grad()
    def shares(self, codes: Tensor, coordinates: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """How often outcomes are, and how often the network expects them, over whole rows (n, C) and (n, N).

        The outcomes are codes and components of numbers: sums over the rows of their probabilities with the row's own
        cell known and without, each a pair of (T,) and (N, R). Where biases are as likely as can be, the two agree.
        """
        net, numbers = self.net, self.net.numbers
        components = numbers.bias.shape[1] // 3
        found, expected = (
            (numbers.bias.new_zeros(net.codes.total), numbers.bias.new_zeros(len(numbers), components))
            for _ in range(2)
        )
        prefixes = Prefixes(net, len(codes), self.precision, self.temperature)
        known = Known(net, codes, coordinates, torch.zeros_like(codes, dtype=torch.bool))
        everywhere = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        for j in self.order:
            part, size = net.codes.part(j), net.codes.sizes[j]
            for told in prefixes.told(j, known):
                log_share, place = self._shares(told, j, known)
                cells = codes[told.rows, j]
                if place is None:
                    rows = torch.bincount(told.at, minlength=len(log_share)).to(log_share.dtype)
                    expected[0][part] += rows @ log_share.exp()
                    found[0][part] += torch.bincount(cells, minlength=size)
                    continue
                number, (location, scale) = numbers.place[j], place
                share = log_share.exp().sum(dim=0)
                expected[0][part] += share[:size]
                expected[1][number] += share[size:]
                dense = numbers.log_densities(coordinates[told.rows, number], location, scale, number)
                dense = dense.masked_fill((cells >= int(numbers.last[number]))[:, None], -math.inf)
                plain = log_share.gather(1, cells[:, None])
                likely = torch.cat([plain, log_share[:, size:] + dense], dim=1).softmax(dim=1)
                found[0][part] = found[0][part].index_add(0, cells, likely[:, 0])
                found[1][number] += likely[:, 1:].sum(dim=0)
            known.add(j)
            if j != self.order[-1]:
                prefixes.add(j, codes[:, j], coordinates, everywhere)
        return found, expected

    def draw(
        self, codes: Tensor, coordinates: Tensor, known: Tensor, even: bool, base: Tensor | None = None,
        past: Tensor | None = None, beat: Beat | None = None,
    ) -> Tensor:  # fmt: skip
        """Fills the cells of codes (n, C) that are not known (n, C); the known ones count from the start.

        Arguments:
            codes: Whatever stands in unknown cells is replaced, in place.
            coordinates: Of the numbers, likewise, (n, N).
            known: Which cells are given.
            even: See `Strata`.
            base: See `Prefixes`; with it, known cells of the order count from their place in it, not from the start.
            past: See `Prefixes`.
            beat: See `Prefixes`; it hears what is drawn.

        Returns:
            The log-probability that the unknown cells were drawn with, (n,).
        """
        prefixes = Prefixes(self.net, len(codes), self.precision, self.temperature, base, past, beat)
        seen = known.clone()
        if base is not None:
            seen[:, self.order] = False
        for j in range(codes.shape[1]):
            if seen[:, j].any():
                prefixes.add(j, codes[:, j], coordinates, seen[:, j])
        log_q = torch.zeros(len(codes), device=codes.device)
        strata, so_far = Strata(len(codes), codes.device, even), Known(self.net, codes, coordinates, seen)
        for j in self.order:
            if not known[:, j].all():
                self._draw_column(prefixes, j, so_far, known, strata, log_q)
            new = ~seen[:, j]
            seen[:, j] = True
            so_far.add(j)
            if beat is not None:
                self._heard(beat, j, so_far)
            if j != self.order[-1] and new.any():
                prefixes.add(j, codes[:, j], coordinates, new, self._states(j, so_far), self._move(j, so_far))
            strata.sort(codes[:, j])
        return log_q

    def _draw_column(
        self, prefixes: Prefixes, j: int, so_far: Known, known: Tensor, strata: Strata, log_q: Tensor
    ) -> None:
        codes, coordinates = so_far.codes, so_far.coordinates
        uniforms, number = strata.uniforms(), self.net.numbers.place.get(j)
        inner = torch.rand(len(codes), device=codes.device) if number is not None else uniforms
        for told in prefixes.told(j, so_far):
            rows, given = told.rows, known[told.rows, j]
            log_share, place = self._shares(told, j, so_far)
            at = told.at if told.parts is None else torch.arange(len(rows), device=rows.device)
            cells = invert(log_share.exp(), at, uniforms[rows])
            cells = self._within(cells, j, log_share, at, coordinates[rows])
            if number is None:
                codes[rows, j] = torch.where(given, codes[rows, j], cells)
            else:
                code, coordinate = self._placed(told, j, number, cells, place, inner[rows], codes, coordinates)
                if told.held is not None:
                    self._set_free(told, j, so_far, cells, code, coordinate, log_share, place)
                codes[rows, j] = torch.where(given, codes[rows, j], code)
                coordinates[rows, number] = torch.where(given, coordinates[rows, number], coordinate)
            log_p = self._log_prob(told, j, log_share, place, so_far)
            log_q[rows] += log_p.masked_fill(given, 0.0)

    def _set_free(
        self, told: Told, j: int, known: Known, cells: Tensor, code: Tensor, coordinate: Tensor, log_share: Tensor,
        place: tuple[Tensor, Tensor] | None,
    ) -> None:  # fmt: skip
        """Draws numbers again that a density made exactly what the steps before say: that has odds of its own.

        Arguments:
            told: What the network says.
            j: The column.
            known: What stands so far.
            cells: What was drawn, (n,).
            code: Its code, (n,), replaced in place, as is
            coordinate: its coordinate.
            log_share: Of all cells, (n, size + R + KINDS).
            place: Where the components lie and their scales.
        """
        holds, number = self.net.holds, self.net.numbers.place[j]
        assert holds is not None and place is not None
        free = self.net.codes.sizes[j] + COMPONENTS + _width(told.bins)
        left = (cells < free).nonzero()[:, 0]
        may = self._may_hold(number, known, told.rows)
        weights = log_share.exp()
        for _ in range(AGAIN):
            rows = told.rows[left]
            drawn = known.coordinates[rows].clone()
            drawn[:, number] = coordinate[left]
            valued = self.net.valued[code[left] + self.net.codes.first[j]]
            is_held = holds.states_of(self.net.numbers, number, drawn, may[left] & valued[:, None]) >= 0
            left = left[is_held]
            if not len(left):
                return
            one = torch.arange(len(left), device=left.device)
            uniforms = torch.rand(2, len(left), device=left.device)
            cell = invert(weights[left, :free], one, uniforms[0])
            part = (place[0][left], place[1][left])
            again = told._replace(rows=told.rows[left])
            found = self._placed(again, j, number, cell, part, uniforms[1], known.codes, known.coordinates)
            code[left], coordinate[left] = found

    def _within(self, cells: Tensor, j: int, log_share: Tensor, at: Tensor, coordinates: Tensor) -> Tensor:
        """Cells (n,) with those drawn again that would be a sum of two where that lies beyond the column's values."""
        codes, numbers = self.net.codes, self.net.numbers
        sums = [(state - codes.part(j).start, terms) for state, terms in codes.states(j) if len(terms.columns) > 1]
        beyond = [(cells == state) & numbers.is_beyond(numbers.place[j], terms, coordinates) for state, terms in sums]
        if not sums or not (again := torch.stack(beyond).any(dim=0)).any():
            return cells
        weights = log_share.exp()[at[again]]
        weights[:, [state for state, _ in sums]] = 0.0
        rows = torch.arange(len(weights), device=cells.device)
        cells = cells.clone()
        cells[again] = invert(weights, rows, torch.rand(len(weights), device=cells.device))
        return cells

    def _shares(self, told: Told, j: int, known: Known) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Log-shares of the codes by group, (groups, size), or with those of the components by row, (n, size + R).

        With the latter comes where the components lie and their scales, (n, R) each. Behind them is what a number is
        held at, whose scale says nothing.
        """
        told = told if j not in self.offsets else told._replace(logits=told.logits + self.offsets[j])
        logits = told.logits if j not in self.allowed else told.logits.masked_fill(~self.allowed[j], CLOSED)
        if told.parts is None:
            return (logits / self.temperature).log_softmax(dim=1, dtype=torch.float32), None
        number, rows = self.net.numbers.place[j], told.rows
        numbers = self.net.numbers
        # columns are drawn in the fixed order: all before this one are there
        open_ = numbers.are_open_of(number, known.there[rows])
        weight, shift, scale = (part[told.at] for part in told.parts)
        everything = torch.cat([logits[told.at], weight.masked_fill(~open_, CLOSED)], dim=1)
        lifting = known.codes[rows[:, None], self.lifting] + self.net.codes.first[self.lifting]
        scores = None if known.scores is None else known.scores[rows]
        location = numbers.expected_of(number, known.coordinates[rows], lifting, scores) + shift
        if told.bins is not None:
            bounds, logits = self._bins(told, number, known)
            everything = torch.cat([everything, logits], dim=1)
            location = torch.cat([location, bounds[:, :-1]], dim=1)
            scale = torch.cat([scale, bounds.diff(dim=1)], dim=1)
        if told.held is not None:
            assert self.net.holds is not None
            held = told.held[told.at].masked_fill(~self._may_hold(number, known, rows), CLOSED)
            everything = torch.cat([everything, everything.logsumexp(dim=1, keepdim=True) + held], dim=1)
            location = torch.cat([location, self.net.holds.places(numbers, number, known.coordinates[rows])], dim=1)
            scale = torch.cat([scale, torch.ones_like(held)], dim=1)
        return (everything / self.temperature).log_softmax(dim=1, dtype=torch.float32), (location, scale)

    def _log_rest(
        self, number: int, size: int, known: Known, rows: Tensor, may: Tensor, log_share: Tensor,
        place: tuple[Tensor, Tensor], bins: int,
    ) -> Tensor:  # fmt: skip
        """See `Holds.log_rest`, (n,)."""
        holds, numbers = self.net.holds, self.net.numbers
        assert holds is not None
        told = holds.told(holds.values_of(numbers, number, known.coordinates[rows]))
        spans = holds.spans_of(numbers, number, told, may)
        free = size + COMPONENTS + bins
        shares = (log_share - log_share[:, :free].logsumexp(dim=1, keepdim=True)).exp()
        masses = None
        if bins:
            low, wide = (part[:, COMPONENTS : COMPONENTS + bins] for part in place)
            bounds = torch.cat([low, low[:, -1:] + wide[:, -1:]], dim=1)
            masses = Changes.masses(bounds, shares[:, size + COMPONENTS : free], spans)
        location, scale = (part[:, :REFERENCES] for part in place)
        parts = (shares[:, size : size + REFERENCES], location, scale)
        return holds.log_rest(numbers, spans, shares.gather(1, spans[0].long()), parts, number, masses)

    def _bins(self, told: Told, number: int, known: Known) -> tuple[Tensor, Tensor]:
        """Where the bins of changes lie, (n, M + 1), and their logits, (n, M)."""
        net, coordinates = self.net, known.coordinates[told.rows]
        assert told.bins is not None and net.changes is not None and net.holds is not None
        before = net.holds.values_of(net.numbers, number, coordinates)[:, 1]
        bounds = net.changes.bounds_of(net.numbers, net.holds, number, before)
        there = known.there[told.rows, net.holds.own + number]
        return bounds, net.changes.spread(told.bins[told.at], bounds, there)

    def _states(self, j: int, known: Known) -> Tensor | None:
        """Of which kind the numbers of a column that stands are, (n,), see `Holds`; None where they never are."""
        number, holds = self.net.numbers.place.get(j), self.net.holds
        if number is None or holds is None or not holds.has(number):
            return None
        may = holds.open_of(self.net.numbers, number, known.coordinates, known.there) & known.there[:, number, None]
        return holds.states_of(self.net.numbers, number, known.coordinates, may)

    def _heard(self, beat: Beat, j: int, known: Known) -> None:
        """Tells the beat whether the number of a column that stands has changed course."""
        number, holds = self.net.numbers.place.get(j), self.net.holds
        if number is None or holds is None or not beat.has(number):
            return
        numbers, coordinates, there = self.net.numbers, known.coordinates, known.there[:, number]
        values = holds.values_of(numbers, number, coordinates)
        is_open = holds.open_of(numbers, number, coordinates, known.there)
        beat.hear(number, is_open, holds.told(values), values[:, 0], there)

    def _move(self, j: int, known: Known) -> Tensor | None:
        """What the move of the number of a column that stands adds to contexts, (n, H); None where it has no bins."""
        net, number = self.net, self.net.numbers.place.get(j)
        if number is None or net.changes is None or net.holds is None or not net.changes.has_of(number):
            return None
        values = net.holds.values_of(net.numbers, number, known.coordinates)
        both = known.there[:, number] & known.there[:, net.holds.own + number]
        return net.changes.marked_of(number, values, both)

    def _may_hold(self, number: int, known: Known, rows: Tensor) -> Tensor:
        assert self.net.holds is not None
        return self.net.holds.open_of(self.net.numbers, number, known.coordinates[rows], known.there[rows])

    def _placed(
        self,
        told: Told,
        j: int,
        number: int,
        cells: Tensor,
        place: tuple[Tensor, Tensor] | None,
        uniforms: Tensor,
        codes: Tensor,
        coordinates: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Codes and coordinates (n,) of what was drawn: a code, a component, or a state of equality."""
        numbers, size = self.net.numbers, self.net.codes.sizes[j]
        inside = cells.clamp(max=int(numbers.last[number]) - 1)
        coordinate = numbers.settled(inside + uniforms.clamp(max=1.0 - 2.0**-12), number)
        if place is not None:
            location, scale = place
            at = (cells - size).clamp(min=0)[:, None]
            where, component = location.gather(1, at)[:, 0], at[:, 0].clamp(max=COMPONENTS - 1)
            drawn = numbers.drawn(where, scale.gather(1, at)[:, 0], uniforms, number, component)
            even = numbers.settled(where + uniforms * scale.gather(1, at)[:, 0], number)
            is_bin = (at[:, 0] >= COMPONENTS) & (at[:, 0] < COMPONENTS + _width(told.bins))
            even = even.clamp(max=float(numbers.last[number]) - BELOW)
            drawn = torch.where(at[:, 0] < COMPONENTS, drawn, torch.where(is_bin, even, where))
            coordinate = torch.where(cells >= size, drawn, coordinate)
            cells = torch.where(cells >= size, drawn.floor().long(), cells)
        # a missing number has no place: 0, as where it is read
        coordinate = coordinate.masked_fill(~self.net.valued[cells + self.net.codes.first[j]], 0.0)
        equal_to = self.net.codes.equal_to[j]
        for state, terms in enumerate(equal_to, start=size - len(equal_to)):
            coordinate = torch.where(cells == state, numbers.equal(number, terms, coordinates[told.rows]), coordinate)
        return cells, coordinate

    def _log_prob(
        self,
        told: Told,
        j: int,
        log_share: Tensor,
        place: tuple[Tensor, Tensor] | None,
        known: Known,
    ) -> Tensor:
        """Log-density of the cells of the column in the rows, (n,)."""
        codes, coordinates = known.codes, known.coordinates
        cells = codes[told.rows, j]
        if place is None:
            return log_share[told.at, cells].clamp(min=math.log(TINY))
        size, number = self.net.codes.sizes[j], self.net.numbers.place[j]
        location, scale = (part[:, :COMPONENTS] for part in place)
        dense = self.net.numbers.log_densities(coordinates[told.rows, number], location, scale, number)
        plain = log_share.gather(1, cells[:, None])
        inside = torch.cat([plain, log_share[:, size : size + COMPONENTS] + dense], dim=1).logsumexp(dim=1)
        bins = _width(told.bins)
        if bins:
            low, wide = (part[:, COMPONENTS : COMPONENTS + bins] for part in place)
            at = coordinates[told.rows, number, None] - low
            even = torch.where((at >= 0) & (at < wide), -wide.clamp(min=1e-6).log(), CLOSED)
            shares = log_share[:, size + COMPONENTS : size + COMPONENTS + bins]
            inside = torch.logaddexp(inside, (shares + even).logsumexp(dim=1))
        is_inside = cells < int(self.net.numbers.last[number])
        found = torch.where(is_inside, inside, plain[:, 0])
        if told.held is not None:
            assert self.net.holds is not None
            may = self._may_hold(number, known, told.rows)
            states = self.net.holds.states_of(self.net.numbers, number, coordinates[told.rows], may)
            states = states.masked_fill(~self.net.valued[cells + self.net.codes.first[j]], NONE)
            found = found - self._log_rest(number, size, known, told.rows, may, log_share, place, bins)
            held = log_share[:, size + COMPONENTS + bins :].gather(1, states.clamp(min=0)[:, None])[:, 0]
            found = torch.where(states >= 0, held, found)
        return found.clamp(min=math.log(TINY))


def _width(bins: Tensor | None) -> int:
    """Bins of changes that a number has."""
    return 0 if bins is None else bins.shape[1]
