"""How much each reference of a number is trusted before training, and how wide it is: by EM on training rows.

The density of a number is a mixture of its codes and of logistics about its references (see `datakiln.nets.numbers`).
With a network that has seen nothing the mixture has as many parameters as parts, which expectation and maximisation
(Dempster, Laird and Rubin, 1977) settle at once: where each step of a series is the one before it but for a little, few
updates would leave the codes, and with them jumps to anywhere, a tenth of the mass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from datakiln.nets.numbers import COMPONENTS, NARROWEST, REFERENCES, Numbers

ROUNDS = 30
ROWS = 8192  # that are looked at
LEAST = 50  # rows in which a number and its references have values
RARE, SURE = 1e-4, 1.0 - 1e-3  # least share of a part, and most of all references together
MEAN_SIZE = 2.0 * math.log(2.0)  # of a logistic of scale 1


@torch.no_grad()
def calibrate(
    numbers: Numbers, coordinates: Tensor, known: Tensor, order: Sequence[int], first: int | None = None
) -> None:
    """Sets logits and scales of the references of every number, or of the first so many.

    Those that follow a number in the order are not there when it is drawn, and are left as they are.

    Arguments:
        numbers: With its references and shares.
        coordinates: Of training rows, (B, N).
        known: Which of them there are.
        order: The numbers, the first drawn first.
        first: How many are set; None for all.
    """
    coordinates, known = coordinates[:ROWS], known[:ROWS]
    values = numbers.values(coordinates)
    rank = {number: place for place, number in enumerate(order)}
    for i in range(len(numbers) if first is None else first):
        each = [[j for j in pair if j >= 0] for pair in numbers.reference[i].tolist()]
        parts = [k for k in range(REFERENCES) if each[k] and max(rank[j] for j in each[k]) < rank[i]]
        columns = [j for k in parts for j in each[k]]
        rows = known[:, [i, *columns]].all(dim=1)
        if not parts or int(rows.sum()) < LEAST:
            continue
        at = coordinates[rows, i]
        seen = values[rows][:, numbers.reference[i, parts].clamp(min=0)]
        predicted = (seen * numbers.slope[i, parts]).sum(dim=-1) + numbers.intercept[i, parts]
        location = torch.stack([numbers.place_of(i, predicted[:, k]) for k in range(len(parts))], dim=1)
        weights, scales = _settled(numbers, i, at, location, numbers.start[i, parts].exp())
        numbers.start[i, parts] = scales.log()
        numbers.bias[i, :COMPONENTS][parts] = (weights[1:] / weights[0]).log()


def _settled(numbers: Numbers, i: int, at: Tensor, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the codes and of each reference, (1 + K,), and scales of these, (K,)."""
    node, _, code = numbers.nodes(at, i)
    own = numbers.share[code + numbers.codes.first[numbers.numbers[i]]].log()[:, None]
    is_single = numbers.lumped[node][:, None]
    error = at[:, None] - location
    weights = torch.full((1 + location.shape[1],), 1.0 / (1 + location.shape[1]), device=at.device)
    for _ in range(ROUNDS):
        wide = error / scale
        inside = functional.logsigmoid(wide) + functional.logsigmoid(-wide) - scale.log()
        low = (code[:, None] - location) / scale
        mass = (torch.sigmoid(low + 1.0 / scale) - torch.sigmoid(low)).clamp(min=1e-10).log()
        told = torch.cat([own, torch.where(is_single, mass, inside)], dim=1) + weights.log()
        share = told.softmax(dim=1)
        weights = share.mean(dim=0).clamp(min=RARE)
        weights[0] = weights[0].clamp(min=1.0 - SURE)
        weights = weights / weights.sum()
        size = (share[:, 1:] * error.abs()).sum(dim=0) / share[:, 1:].sum(dim=0).clamp(min=1e-9)
        scale = (size / MEAN_SIZE).clamp(min=2 * NARROWEST)
    return weights, scale
