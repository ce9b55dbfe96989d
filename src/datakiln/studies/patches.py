"""A classifier of pictures without steps of training: ridge regression on what random patches find.

One layer of random patches with a linear reader is near to learnt filters where pictures are few (Coates, Ng and Lee,
2011, https://proceedings.mlr.press/v15/coates11a.html), takes a second where a net takes a minute, and is at its
optimum, so that two arms of a study differ by their pictures and not by how far a net has come.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.studies.cnn import moved

FILTERS, SIDE, GRID = 64, 5, 3  # random patches, their side in pixels, and places across over which is averaged
COPIES = 4  # of each training picture, shifted and turned
STRENGTH = 0.01  # of the ridge, for each training picture
SMALL = 1e-6


def patch_filters(x: Tensor, seed: int) -> Tensor:
    """Random patches of pictures (n, C, H, W), each of mean 0 and norm 1, shape (64, C, s, s)."""
    generator = torch.Generator().manual_seed(seed)
    side = min(SIDE, *x.shape[2:])
    top, left = (torch.randint(0, size - side + 1, (4 * FILTERS,), generator=generator) for size in x.shape[2:])
    which = torch.randint(0, len(x), (4 * FILTERS,), generator=generator)
    cut = torch.stack([x[i, :, a : a + side, b : b + side] for i, a, b in zip(which, top, left, strict=True)])
    cut = cut - cut.mean(dim=(1, 2, 3), keepdim=True)
    norms = cut.flatten(1).norm(dim=1)
    kept = norms.argsort(descending=True, stable=True)[: 2 * FILTERS][::2]  # the flat half shows nothing
    return cut[kept] / norms[kept].clamp(min=SMALL)[:, None, None, None]


def patch_features(x: Tensor, filters: Tensor) -> Tensor:
    """What filters find in each of 3 x 3 places of pictures (n, C, H, W), above the mean of all filters there."""
    found = []
    for part in x.split(512):
        maps = F.conv2d(part, filters)
        maps = F.relu(maps - maps.mean(dim=1, keepdim=True))
        found.append(F.adaptive_avg_pool2d(maps, min(GRID, *maps.shape[2:])).flatten(1))
    return torch.cat(found)


def patch_classes(x: Tensor, y: Tensor, test: Tensor, filters: Tensor, seed: int) -> Tensor:
    """The class of each test picture, (m,), by ridge regression on moved copies of the training pictures.

    Arguments:
        x: Training pictures in [-1, 1], (n, C, H, W).
        y: Their classes, (n,), at least two different ones.
        test: Pictures to tell.
        filters: See `patch_filters`.
        seed: Of the movements.
    """
    from sklearn.linear_model import RidgeClassifier

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        seen = torch.cat([x, *(moved(x) for _ in range(COPIES))])
    features = patch_features(seen, filters)
    deviation, mean = torch.std_mean(features, dim=0)

    def scaled(part: Tensor) -> Tensor:
        return (part - mean) / deviation.clamp(min=SMALL)

    reader = RidgeClassifier(alpha=STRENGTH * len(features), solver="cholesky", copy_X=False)
    reader.fit(scaled(features).numpy(), y.repeat(COPIES + 1).numpy())
    return torch.from_numpy(reader.predict(scaled(patch_features(test, filters)).numpy()))
