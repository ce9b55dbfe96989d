"""Mode-specific normalisation: fitting a column, beside scikit-learn's mixture on all its rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS = 40_000
MODES = 10


def run() -> list[dict[str, Any]]:
    """One skewed column, ten modes, CPU-seconds."""
    from sklearn.mixture import BayesianGaussianMixture

    from datakiln.codecs.tables.modes import fit_mixture

    warnings.filterwarnings("ignore", module="sklearn")  # the peer does not converge here, which makes it faster
    values = np.random.default_rng(0).lognormal(0, 1, ROWS)
    ours = _cpu(lambda: fit_mixture(values, MODES))
    peer = _cpu(lambda: BayesianGaussianMixture(n_components=MODES, random_state=0).fit(values[:, None]))
    what = f"mixture of {MODES} modes on {ROWS} rows, CPU-s"
    peer_text = f"{peer:.2f} BayesianGaussianMixture"
    return [{"what": what, "ours": f"{ours:.3f}", "peer": peer_text, "ratio": f"{peer / ours:.1f}", "wanted": ">= 10"}]


def _cpu(fit: Callable[[], Any]) -> float:
    start = time.process_time()
    fit()
    return time.process_time() - start
