"""What epsilon 1 is worth on Adult: utility on the official test file, pairs of columns, and the time of the fit."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from datakiln.data.sets.adult import BOUNDS, AdultTable
from datakiln.data.tables import protected
from datakiln.data.tables.public import declared, read_public
from datakiln.metrics.base import EvalData
from datakiln.metrics.utility.utility import tstr
from datakiln.privacy.accounting import zcdp_rho
from datakiln.privacy.marginals import release


def codes(frame: pd.DataFrame, like: pd.DataFrame) -> list[np.ndarray]:
    """Numbers in twentieths of their ranks, categories as they are."""
    made = []
    for name in like.columns:
        if name in BOUNDS:
            edges = np.unique(np.quantile(like[name], np.linspace(0, 1, 21)[1:-1]))
            made.append(np.searchsorted(edges, frame[name], side="right"))
        else:
            made.append(pd.Index(sorted(like[name].unique())).get_indexer(frame[name]))
    return made


def pairs_off(synthetic: pd.DataFrame, real: pd.DataFrame) -> float:
    """Mean total variation of all pairs of columns."""
    a, b = codes(synthetic, real), codes(real, real)
    found = []
    for i, j in itertools.combinations(range(len(a)), 2):
        width = int(max(a[j].max(), b[j].max())) + 2
        both = [np.bincount((x[i] + 1) * width + x[j] + 1, minlength=64 * width) / len(x[i]) for x in (a, b)]
        found.append(np.abs(both[0] - both[1]).sum() / 2)
    return float(np.mean(found))


def judged(
    label: bool, adaptive: bool = True, epsilon: float = 1.0, folder: str | None = None
) -> tuple[float, float, float]:
    """Train-on-synthetic AUC, mean total variation of pairs, CPU-seconds."""
    raw = AdultTable()(folder)
    public = declared(read_public(raw.public), list(raw.frame.columns), "income", "marginals")
    train, test = public.seen(raw.frame), public.seen(raw.holdout)
    cells = np.stack([column.cells(train[column.field.name]) for column in public.columns], axis=1)
    start = time.process_time()
    made = release(cells, public.columns, zcdp_rho(epsilon, 1e-9), "income" if label else None, adaptive)
    seconds = time.process_time() - start
    drawn = protected.rows(made, public, len(train), seed=0)
    auc = next(f for f in tstr(EvalData(public.schema, train, test, drawn)) if f.name == "utility/tstr_auc").value
    return auc, pairs_off(drawn, train), seconds


@pytest.mark.slow
@pytest.mark.parametrize("label, wanted", [(True, 0.88), (False, 0.86)])
def test_epsilon_one_on_adult(data_dir, label, wanted):
    auc, off, seconds = judged(label, folder=str(data_dir))
    assert auc > wanted and off < 0.045 and seconds < 20
