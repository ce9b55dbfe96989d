"""What is watched of series while a model trains: marginals, changes and autocorrelation in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datakiln.metrics.series.fidelity import autocorrelation, marginals
from datakiln.metrics.series.sets import SeriesSets


def quick_distances(names: Sequence[str], real: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """Distances of windows (n, T, C) of the named columns from real ones: each figure, and their mean ("distance")."""
    sets = SeriesSets(tuple(names), real, real, made, {})
    found = {figure.name.partition("/")[2]: figure.value for figure in [*marginals(sets), *autocorrelation(sets)]}
    return {**found, "distance": float(np.mean(list(found.values())))}
