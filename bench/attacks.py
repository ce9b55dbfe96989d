"""The membership battery without shadow models, at Adult's size: 32,561 rows against as many synthetic ones.

    python -m bench attacks

One process on one thread, no model: a table of Adult's shape is generated, and the synthetic rows are its training rows
with the cells of every column of categories dealt anew. Memory is what the battery adds to the tables, which are in
memory before it starts.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from bench._process import Row, alone, cost_of, row
from bench.tables import generated

MEMBERS, OTHERS = 32_561, 16_281
MOST_SECONDS, MOST_MB = 60.0, 1000.0


def run() -> list[Row]:
    """Seconds and memory of the battery and of the three risks."""
    cost = alone("bench.attacks", "battery()")
    what = f"membership battery, {MEMBERS:,} members, {OTHERS:,} others, {MEMBERS:,} synthetic rows"
    took = f"{cost['seconds']:.1f} CPU-s, {cost['wall']:.1f} s, {cost['megabytes']:.0f} MB more"
    risks = f"{cost['risks']:.1f} CPU-s"
    return [
        row(what, took, f"AUC {cost['value']:.3f}", cost["seconds"] / MOST_SECONDS, "<= 60 s, <= 1000 MB"),
        row("singling out, linkability, inference, the same rows", risks, "", ""),
    ]


def battery() -> dict[str, float]:
    """What the battery and the risks cost."""
    from datakiln.data.tables.types import infer_schema
    from datakiln.metrics.base import EvalData
    from datakiln.metrics.privacy.membership import membership
    from datakiln.metrics.privacy.risks import inference, linkability, singling_out

    real = generated(MEMBERS + OTHERS)
    train, holdout = real[:MEMBERS].reset_index(drop=True), real[MEMBERS:].reset_index(drop=True)
    rng = np.random.default_rng(0)
    made = {
        name: cells.to_numpy() if cells.dtype.kind in "if" else cells.to_numpy()[rng.permutation(MEMBERS)]
        for name, cells in train.items()
    }
    synthetic = pd.DataFrame(made).astype(train.dtypes.to_dict())
    data = EvalData(infer_schema(train, "c8", {}), train, holdout, synthetic)
    start = time.perf_counter()
    cost = cost_of(lambda: membership(data)[0].value)
    wall = time.perf_counter() - start
    began = time.process_time()
    for risk in (singling_out, linkability, inference):
        risk(data)
    return {**cost, "wall": wall, "risks": time.process_time() - began}
