"""Other data in place of the synthetic: what a metric says of real rows (ceiling) and of a naive generator (floor)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from datakiln.metrics.base import EvalData, MetricError


def resample_columns(frame: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows whose columns are drawn independently, with replacement, from the frame's: right margins, no relation."""
    draws = {name: column.take(rng.integers(len(frame), size=n)) for name, column in frame.items()}
    return pd.DataFrame({name: column.reset_index(drop=True) for name, column in draws.items()})


def independent(data: EvalData) -> EvalData:
    """As many rows as the synthetic, columns of train resampled independently."""
    rng = np.random.default_rng([data.seed, 1])
    return replace(data, synthetic=resample_columns(data.train, len(data.synthetic), rng))


def unseen(data: EvalData) -> EvalData:
    """The holdout as if it were synthetic: another real sample; its size, not that of the synthetic."""
    return replace(data, synthetic=_holdout(data))


def split_holdout(data: EvalData) -> EvalData:
    """One half of the holdout as if it were synthetic, the other half as the holdout."""
    holdout = _holdout(data)
    order = np.random.default_rng([data.seed, 2]).permutation(len(holdout))
    half = len(holdout) // 2
    if half == 0:
        raise MetricError("one row of holdout cannot be halved; keep more rows aside")
    return replace(data, synthetic=holdout.iloc[order[:half]], holdout=holdout.iloc[order[half:]])


def train_itself(data: EvalData) -> EvalData:
    """The training rows as if they were synthetic: for learners, training on real data."""
    return replace(data, synthetic=data.train)


def nothing(data: EvalData) -> EvalData:
    """No synthetic rows: for learners that add them to the real ones, real data alone."""
    return replace(data, synthetic=data.train.iloc[:0])


def _holdout(data: EvalData) -> pd.DataFrame:
    if len(data.holdout) == 0:
        raise MetricError("there is no holdout; keep rows aside (data.split)")
    return data.holdout
