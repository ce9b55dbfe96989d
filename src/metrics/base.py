"""What every metric takes and gives: frozen data in, named and directed figures out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from src.schema import Schema

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class EvalData:
    """Everything a table metric may look at, in user units.

    Attributes:
        schema: Types of the columns.
        train: The rows the model and its codec were fitted on.
        holdout: Real rows that neither model nor codec has seen.
        synthetic: Generated rows, same columns and dtypes.
        seed: Seeds every resampling and every classifier of a metric.
    """

    schema: Schema
    train: pd.DataFrame
    holdout: pd.DataFrame
    synthetic: pd.DataFrame
    seed: int = 0


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: Slash path such as "fidelity/shape" or "utility/tstr_auc".
        value: The number; never NaN.
        better: Whether higher or lower is better, or "none" where neither is.
        low: Lowest possible value, None if unbounded.
        high: Highest possible value, None if unbounded.
        detail: Optional named parts, such as one value per column.
    """

    name: str
    value: float
    better: Direction
    low: float | None = 0.0
    high: float | None = 1.0
    detail: dict[str, float] | None = None


class MetricError(ValueError):
    """A metric that cannot be computed on this data; the message says why and what would make it possible."""
