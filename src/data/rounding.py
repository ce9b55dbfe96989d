"""Digits after the point that a column's numbers are rounded to, and whether it holds numbers at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

MAX_DECIMALS = 10
SAMPLE = 1000


def is_text(series: pd.Series) -> bool:
    """Whether cells are strings (or a mixture of Python values, which is treated as such)."""
    return isinstance(series.dtype, pd.StringDtype) or series.dtype == object


def find_decimals(present: pd.Series) -> int | None:
    """Digits after the point that all values are rounded to, at most 10; None for unrounded ones and huge ones."""
    values = present.to_numpy(dtype=present.dtype if isinstance(present.dtype, np.dtype) else np.float64)
    if len(values) == 0 or np.abs(values).max() >= 2**53:
        return None
    sample = values[:: max(1, len(values) // SAMPLE)]
    for decimals in range(MAX_DECIMALS + 1):
        if _is_rounded(sample, decimals) and _is_rounded(values, decimals):
            return decimals
    return None


def _is_rounded(values: np.ndarray, decimals: int) -> bool:
    # scaling and dividing back may miss by a few units in the last place
    return bool((np.abs(values - np.round(values, decimals)) <= 4 * np.spacing(np.abs(values))).all())
