"""The membership battery on pictures, in the features of a network that has not learnt from any of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from datakiln.metrics.base import Figure, MetricError, metric
from datakiln.metrics.extractors.base import NetExtractor
from datakiln.metrics.pictures.sets import ImageSets, pieces
from datakiln.metrics.privacy.battery import Audit, play_battery
from datakiln.metrics.privacy.membership import NAMES, figures_of
from datakiln.metrics.privacy.records import Records
from datakiln.metrics.tables.references import Alone

KEPT, SPLIT_ON = 64, 16  # principal components in which distances are taken, and that a boosting is shown
FITTED = 4_000  # pictures that they are found on


@metric(*NAMES, plan=Alone())
def membership(sets: ImageSets, extractor: str = "auto", n: int = 5_000, n_synthetic: int = 20_000) -> list[Figure]:
    """The strongest attack of `datakiln.metrics.privacy.battery`: training pictures against held-out ones.

    Distances are those of principal components, whitened by half. A classifier trained on the very pictures under
    attack would know them by itself: for grey ones "auto" means the pixels, brought to 16 by 16, and for others a
    network of ImageNet.

    Arguments:
        sets: The pictures.
        extractor: See `build_extractor`, but for the classifier.
        n: Training pictures and held-out ones at most.
        n_synthetic: Synthetic ones at most.

    Raises:
        MetricError: No held-out pictures, fewer than 20 of a kind, or extractor=classifier.
    """
    if extractor == "classifier":
        raise MetricError("extractor=classifier has learnt from the training pictures itself; take pixels or auto")
    if sets.holdout is None or not len(sets.holdout):
        raise MetricError("without held-out pictures no membership game can be played; keep some aside")
    name = "pixels" if extractor == "auto" and sets.judged.shape[1] == 1 else extractor
    network = sets.extractor(name, "exact", "clean")
    n = min(n, sets.n_train)
    members = _features(network, sets.train(n))[:n]
    others = _features(network, pieces(sets.holdout, n))
    made = _features(network, pieces(sets.judged, n_synthetic))
    known, unknown, synthetic = components(members, others, made)
    told = {} if sets.told is None else sets.told(len(members), len(others))
    return figures_of(play_battery(Audit(known, unknown, synthetic, told=told, seed=sets.seed)), len(made), "pictures")


def _features(network: NetExtractor, batches: Iterable[Tensor]) -> np.ndarray:
    return torch.cat([network(batch).float().cpu() for batch in batches]).numpy()


def components(*parts: np.ndarray) -> list[Records]:
    """Principal components of the first two parts, members and others, whitened by half; found on as many of each."""
    few = min(len(parts[0]), len(parts[1]), FITTED // 2)
    real = np.concatenate([part[:few] for part in parts[:2]]).astype(np.float64)
    mean = real.mean(axis=0)
    _, scale, basis = np.linalg.svd(real - mean, full_matrices=False)
    kept = min(KEPT, int((scale > 1e-6 * scale[0]).sum()))
    # whitened wholly, the weaker ones, which are mostly noise, would drown the others
    turn = (basis[:kept] / np.sqrt(scale[:kept, None] * scale[0])).T * np.sqrt(len(real))
    spaces = [((part - mean) @ turn).astype(np.float32) for part in parts]
    return [Records(space, space[:, :SPLIT_ON]) for space in spaces]
