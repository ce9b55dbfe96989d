"""The nets that tell of one step of a series, or of its static columns: columns, starting values, likelihood."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from datakiln.models.autoregressive.tabar import LEVEL_ROWS, LEVELS, PSEUDO, levels
from datakiln.nets.anyorder import Network
from datakiln.nets.codes import Codes
from datakiln.nets.holds import NONE
from datakiln.nets.numbers import CLOSED, LEAST_OF_CODES, ROWS
from datakiln.nets.references import closest_first, find, keep
from datakiln.spec import Block

WIDE = 8.0  # times the width of a reference, of the part that has moves which hardly ever are
LAGS = 2  # steps before that are columns of their own
LEAPS = (
    0.0001,
    LEAST_OF_CODES[1],
)  # least weight of the codes of a step: by them a number leaps to where others are


def with_lags(columns: Sequence[Any], offset: int, ends: bool) -> tuple[list[Block], list[str]]:
    """Blocks of a step's columns, then those of the steps before, and the columns' names."""
    blocks, names = [], []
    last = max(block.stop for column in columns for block in column.blocks) - offset
    width = last - int(ends)
    lagged = columns[:-1] if ends else columns
    for lag, group in enumerate([columns, *[lagged] * LAGS]):
        shift = -offset if lag == 0 else last + (lag - 1) * width - offset
        for column in group:
            names.append(column.name if lag == 0 else f"{column.name}, {lag} before")
            for block in column.blocks:
                moved = dataclasses.replace(block, start=block.start + shift, stop=block.stop + shift)
                if lag:
                    moved = dataclasses.replace(moved, size=block.size - len(block.equal_to), equal_to=())
                blocks.append(moved)
    return blocks, names


def set_up(
    net: Network, codes: Codes, rows: Tensor, steps: int, own: int | None = None, numbers: int | None = None,
    ends: bool = False,
) -> list[int]:  # fmt: skip
    """Sets biases, shared vectors and references; returns the order of the first `own` columns.

    Arguments:
        net: The network.
        codes: Its columns; those from `own` on are always given.
        rows: Encoded training rows, (R, D).
        steps: Training steps there are.
        own: Columns that are drawn; None for all.
        numbers: Numbers among them.
        ends: Whether the last of them goes last.
    """
    own = len(codes) if own is None else own
    numbered, known = codes.read(rows)
    coordinates = codes.places(rows)
    size = torch.tensor(codes.sizes, device=rows.device)
    over = known & (numbered - codes.first >= size)  # states of equality of a step before: counted with no code
    counts = codes.counts(numbered, known & ~over) + PSEUDO
    shares = counts / codes.sums(counts)[codes.column]
    net.bias.copy_(shares.log())
    net.level.copy_(levels(codes, shares, min(max(steps // LEVEL_ROWS, LEVELS[0]), LEVELS[1])))
    entropies = codes.sums(-shares * shares.log())[:own]
    wanted = entropies.argsort(stable=True).tolist()
    if len(net.numbers):
        net.numbers.set_shares(shares)
        # told of a step before, a state of equality is the value's own code; numbers alone have such
        inside, columns = numbered.clone(), net.numbers.numbers
        at = coordinates.nan_to_num().floor().long() + codes.first[columns]
        inside[:, columns] = torch.where(over[:, columns], at, numbered[:, columns])
        there = known[:, net.numbers.numbers] & (net.has_value(inside) | over[:, net.numbers.numbers])
        free = there  # of what is exactly as the steps before say there is no density to be fitted
        if net.holds is not None:
            net.holds.fit(net.numbers, coordinates, there)
            free = there.clone()
            free[:, : net.holds.own] &= net.holds.states(net.numbers, coordinates, there).states < 0
        place = net.numbers.place
        lags = [i for j, i in place.items() if j >= own]
        mixed = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).to(rows.device)
        found = find(net.numbers, coordinates[mixed], free[mixed], numbers)
        # what the steps before tell most of comes first: how the columns of a step go together is told by two at a time
        near = iter([net.numbers.columns[i] for i in closest_first(found, lags)])
        order = _ordered([next(near) if j in place else j for j in wanted], codes, ends)
        keep(net.numbers, found, [*lags, *(place[j] for j in order if j in place)])
        if lags:
            with_wide_parts(net, numbers or 0, set(lags))
        rank = torch.full((len(codes),), -1, device=rows.device)  # what is always given comes first
        rank[torch.tensor(order)] = torch.arange(own, device=rows.device)
        led = (
            mixed[there[mixed][:, lags].any(dim=1)] if lags else mixed
        )  # a first step says nothing of those that follow
        led = led if len(led) else mixed
        least = LEAPS if lags else LEAST_OF_CODES
        spared = net.numbers.set_weights(coordinates[led], inside[led], there[led], rank, least, free[led])
        for j, less in zip(net.numbers.columns, spared.tolist(), strict=True):
            net.bias[codes.part(j)][: codes.ordered[j]] += less if j < own else 0.0
        _with_changes(net, coordinates[led], inside[led], there[led], free[led])
        return order
    return _ordered(wanted, codes, ends)


def with_wide_parts(net: Network, own: int, lags: set[int]) -> None:
    """In each number's last place, unless that is taken, its best reference among the steps before once more, and wide.

    A move of ten usual ones is rare, but near what was before. No narrow part has it, and the codes would, among which
    all are as near.
    """
    numbers = net.numbers
    for i in range(own):
        columns = numbers.reference[i]
        told = [{j for j in pair if j >= 0} for pair in columns.tolist()]
        led = [place for place, names in enumerate(told[:-1]) if names and names <= lags]
        if led and not (told[-1] and told[-1] <= lags):
            for part in (numbers.reference, numbers.slope, numbers.intercept, numbers.straight):
                part[i, -1] = part[i, led[0]]
            numbers.start[i, len(told) - 1] = numbers.start[i, led[0]] + math.log(WIDE)


def _with_changes(net: Network, coordinates: Tensor, codes: Tensor, there: Tensor, free: Tensor) -> None:
    """Sets the bins of changes from training rows, and their weight beside codes and components; see `set_up`."""
    changes, holds, numbers = net.changes, net.holds, net.numbers
    if changes is None or holds is None:
        return
    own = slice(0, changes.own)
    values = holds.values(numbers, coordinates)
    both = there[:, own] & there[:, changes.own : 2 * changes.own]
    changes.fit(values, both & free[:, own], holds.can[:, 0])
    values, coordinates, codes, there, counts = (
        x[:ROWS] for x in (values, coordinates, codes, there, both & free[:, own])
    )
    nothing = numbers.heads.new_zeros(len(codes), changes.own, numbers.heads.shape[1])
    weight, dense, _, _ = _components(net, own, nothing, codes, coordinates, there[:, None].expand(-1, changes.own, -1))
    others = torch.cat([net.bias[codes[:, numbers.numbers[own]]][..., None], weight + dense], dim=2).logsumexp(dim=2)
    bounds = changes.bounds(numbers, holds, values[:, 1], torch.arange(changes.own, device=values.device))
    parts = [net.bias[net.codes.part(j)].exp().split([net.codes.ordered[j], net.codes.sizes[j] - net.codes.ordered[j]])
             for j in numbers.columns[own]]  # fmt: skip
    mine, besides = (torch.stack([part[k].sum() for part in parts]) for k in range(2))
    shares = (1.0 - besides).clamp(min=1e-3)
    # where no step before tells of it codes alone stand against being missing, and equal to another
    least = torch.where(besides > 0, LEAPS[1], 0.0)
    bins = changes.set_weights(bounds, coordinates[:, own], others, counts, shares, least)
    mine = (mine / shares).clamp(max=1.0)
    kept = torch.maximum(mine * (1.0 - bins), torch.minimum(least, mine))
    rest = (1.0 - bins - kept).clamp(min=0.0) / (1.0 - mine).clamp(min=1e-6)
    numbers.bias[own, : weight.shape[2]] += torch.where(mine < 1.0, rest.clamp(1e-3, 1.0), 1.0 - bins).log()[:, None]
    for j, less in zip(numbers.columns[own], (kept / mine).log().tolist(), strict=True):
        net.bias[net.codes.part(j)][: net.codes.ordered[j]] += less


def with_changes(
    net: Network, columns: Tensor, features: Tensor, picked: Tensor, totals: Tensor, codes: Tensor,
    coordinates: Tensor, values: Tensor, there: Tensor,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """Adds what bins of changes say of numbers to the logits of cells and to their sums, (B, C) each.

    Also gives the bounds and the logits of the bins, of the m numbers that have them, (B, m, M + 1) and (B, m, M).

    Arguments:
        net: The network.
        columns: Of all numbers of the step, (n,).
        features: Of those, (B, n, H).
        picked: Logits of the cells.
        totals: Logits of all else together.
        codes: Of all columns, numbered through, (B, C).
        coordinates: Of all numbers, (B, N).
        values: Standardised, of the step and those before, (B, 3, n).
        there: Which numbers have a value, (B, N).
    """
    changes, holds, numbers = net.changes, net.holds, net.numbers
    assert changes is not None and holds is not None
    which = changes.has.nonzero()[:, 0]
    columns = columns[which]
    bounds = changes.bounds(numbers, holds, values[:, 1], which)
    logits = changes.spread(changes.logits(features, which), bounds, there[:, changes.own + which])
    at, dense = changes.log_densities(bounds, coordinates[:, which])
    mine = logits.gather(2, at[..., None])[..., 0] + dense
    inside = torch.logaddexp(picked[:, columns], mine)
    is_inside = codes[:, columns] - net.codes.first[columns] < numbers.last[which]
    inside = torch.where(is_inside, inside, picked[:, columns])
    total = torch.cat([totals[:, columns, None], logits], dim=2).logsumexp(dim=2)
    return picked.index_copy(1, columns, inside), totals.index_copy(1, columns, total), (bounds, logits)


def _ordered(wanted: Sequence[int], codes: Codes, ends: bool) -> list[int]:
    """Columns in an order as wanted, but each behind those that it may equal, and the end of a sequence last."""
    left = [j for j in wanted if not ends or j != len(wanted) - 1]
    order: list[int] = []
    while left:
        order.append(next(j for j in left if codes.needed(j) <= set(order)))
        left.remove(order[-1])
    return [*order, len(wanted) - 1] if ends else order


def with_components(
    net: Network, columns: Tensor, own: slice, features: Tensor, picked: Tensor, totals: Tensor, codes: Tensor,
    coordinates: Tensor, there: Tensor,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:  # fmt: skip
    """Adds what the components of numbers say to the logits of cells and to their sums, (B, C) each.

    Also gives the logits, locations and scales of the references, (B, n, R) each.

    Arguments:
        net: The network.
        columns: Of the numbers that are predicted, (n,).
        own: Which numbers they are.
        features: Of those numbers, (B, n, H).
        picked: Logits of the cells.
        totals: Logits of all codes together.
        codes: Of all columns, numbered through, (B, C).
        coordinates: Of all numbers, (B, N).
        there: Which numbers each of them sees, (B, n, N).
    """
    numbers = net.numbers
    weight, dense, location, scale = _components(net, own, features, codes, coordinates, there)
    total = torch.cat([totals[:, columns, None], weight], dim=2).logsumexp(dim=2)
    inside = torch.cat([picked[:, columns, None], weight + dense], dim=2).logsumexp(dim=2)
    is_inside = codes[:, columns] - net.codes.first[columns] < numbers.last[own]
    inside = torch.where(is_inside, inside, picked[:, columns])
    parts = (weight[..., :-1], location[..., :-1], scale[..., :-1])
    return picked.index_copy(1, columns, inside), totals.index_copy(1, columns, total), parts


def _components(
    net: Network, own: slice, features: Tensor, codes: Tensor, coordinates: Tensor, there: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, log-densities, locations and scales of the components of numbers, (B, n, R + 1) each."""
    numbers = net.numbers
    reference = numbers.reference[own]
    flat = reference.clamp(min=0).flatten(1)
    seen = there.gather(2, flat.expand(len(there), -1, -1)).unflatten(2, reference.shape[1:])
    open_ = (seen | (reference < 0)).all(dim=-1) & (reference[..., 0] >= 0)
    open_ = torch.cat([open_, torch.zeros_like(open_[..., :1])], dim=-1)  # no plane over all columns before
    weight, shift, scale = numbers.components(features, own)
    location = numbers.expected(coordinates, codes, net.has_value(codes), own) + shift
    dense = numbers.log_densities(coordinates[:, own], location, scale, own)
    return weight.masked_fill(~open_, CLOSED), dense, location, scale


def shifted(states: Tensor, steps: int) -> Tensor:
    """Those of the step before, see `Holds`, of sequences of so many steps one behind the other, (B * T, n)."""
    whole = states.unflatten(0, (-1, steps))
    return torch.cat([torch.full_like(whole[:, :1], NONE), whole[:, :-1]], dim=1).flatten(0, 1)


def plain_log_probs(net: Network, x: Tensor, rank: Tensor, training: bool) -> Tensor:
    """Log-probability of the known cells of rows (B, S) in one order, (B,)."""
    codes, known = net.codes.read(x)
    coordinates = net.codes.places(x)
    sees = (rank[None, :] < rank[:, None])[None] & known[:, None, :]
    for j in range(len(net.codes)):
        for state, terms in net.codes.states(j):
            lost = (codes[:, j] == state) & ~sees[:, j, terms.columns].all(dim=1)
            own = coordinates[:, net.numbers.place[j]].floor().long() + net.codes.first[j]
            codes = codes.clone()
            codes[:, j] = torch.where(lost, own, codes[:, j])
    added = net.added(codes, coordinates)
    features = net.features(torch.bmm(sees.to(added.dtype), added), slice(None))
    cells = codes - net.codes.first
    with nullcontext() if training else torch.autocast(features.device.type, enabled=False):
        picked, totals = net.scores(features if training else features.float(), cells, torch.zeros_like(cells), sees)
    if net.numbers.has_components:
        columns = net.numbers.numbers
        there = sees[:, columns][:, :, columns] & net.has_value(codes)[:, None, :]
        of_numbers = features[:, columns]
        picked, totals, _ = with_components(
            net, columns, slice(None), of_numbers, picked, totals, codes, coordinates, there
        )
    return ((picked - totals) * known).sum(dim=1)
