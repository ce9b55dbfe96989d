"""A bounded sample of labelled pictures that stay in their files, in memory: enough to train a judge of classes."""

from __future__ import annotations

import torch
from torch import Tensor

from datakiln.data.pictures.files import threads
from datakiln.data.pictures.loaders import middle
from datakiln.data.pictures.sources import Pictures
from datakiln.spec import LabelledImages

MOST, MOST_MB = 10_000, 200  # pictures, and megabytes of their pixels
BATCH = 64


def labelled_sample(pictures: Pictures, side: int, sha256: str, seed: int) -> LabelledImages | None:
    """Pictures of every class in its share, cut to the middle; None without classes.

    Arguments:
        pictures: All of them.
        side: Height and width.
        sha256: Hash of the data.
        seed: Of the draw.
    """
    if pictures.y is None:
        return None
    n, channels = len(pictures.x), pictures.x.shape[1]
    rows = spread_by_class(pictures.y, n, min(n, MOST, max(1, int(MOST_MB * 1e6 / (channels * side**2)))), seed)
    with threads() as pool:
        x = torch.cat(list(pool.map(lambda at: middle(pictures.x[at], side), rows.split(BATCH))))
    return LabelledImages(x, pictures.y[rows], f"{sha256} sample {len(rows)} seed {seed}", is_sample=True)


def spread_by_class(y: Tensor | None, n: int, count: int, seed: int) -> Tensor:
    """Rows of `count` of n pictures, drawn by the seed so that each class has its share, in ascending order."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    if y is not None:
        order = order[y[order].argsort(stable=True)]
    # evenly spaced places in the order by class give each class its share
    return order[((torch.arange(count, dtype=torch.float64) + 0.5) * n / count).long()].sort().values
