"""How many different pictures a sample amounts to, whatever real ones look like (Friedman & Dieng, 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from datakiln.metrics.base import Figure, metric
from datakiln.metrics.pictures.images import figure_name
from datakiln.metrics.pictures.sets import ImageSets


def vendi_score(features: Tensor) -> float:
    """The exponential of the entropy of the eigenvalues of K / n (Friedman & Dieng, 2022, definition 3.1).

    https://arxiv.org/abs/2210.02410; K holds the cosines of pairs of features. Alike examples have 1, n examples at
    right angles n.

    Arguments:
        features: Shape (n, d); a row of zeros is like no other.
    """
    rows = features.double()
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    n, d = rows.shape
    gram = rows @ rows.T if n <= d else rows.T @ rows  # both have the same eigenvalues but for zeros
    values = torch.linalg.eigvalsh(gram / n).clamp(min=0.0)
    values = values[values > 1e-12]
    return float(torch.exp(-(values * values.log()).sum()))


@metric("vendi", deals=True)
def vendi(
    sets: ImageSets, extractor: str = "auto", precision: str = "exact", resize: str = "clean", n: int = 1000
) -> list[Figure]:
    """The Vendi score of n pictures in the features of one network; see `features` for the arguments.

    It grows with n: it is read against as many real pictures, and taken of no more than were set aside. Noise has more
    of it.
    """
    n = n if sets.holdout is None else min(n, len(sets.holdout))
    network = sets.judging(extractor, precision, resize)
    rows = torch.cat(list(sets.features(network, n)))[:n]
    name = figure_name("vendi", network.tag, len(rows))
    return [Figure(name, vendi_score(rows), "higher", low=1.0, high=float(len(rows)), n=len(rows), note=network.card)]
