"""How strongly the columns of a mixed table go together, one measure for each pair of types.

Pearson's r between two numeric columns, in [-1, 1]; Cramér's V between two choice columns (Cramér, 1946, with the bias
correction of Bergsma, 2013), in [0, 1]; the correlation ratio between a numeric and a choice column (Fisher, 1925), in
[0, 1]. Each pair is measured on the rows where both cells are observed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.plots.marginals import Floats, numbers
from datakiln.schema import Schema

MOST_CATEGORIES = 30  # of the real data, the others pooled: keeps the tables of counts small
Codes = NDArray[np.intp]


def associations(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[list[str], Floats, Floats]:
    """Column names, numeric ones first, and each sample's matrix, shape (columns, columns); NaN where undefined."""
    names = [*schema.numeric, *schema.choices]
    known = {name: levels(real[name]) for name in schema.choices}
    return names, _matrix(schema, real, known), _matrix(schema, synthetic, known)


def _matrix(schema: Schema, frame: pd.DataFrame, known: dict[str, pd.Index]) -> Floats:
    values = np.column_stack([np.empty((len(frame), 0)), *(numbers(frame[n], schema[n]) for n in schema.numeric)])
    groups = [codes(frame[name], known[name]) for name in schema.choices]
    n, k = values.shape[1], len(groups)
    matrix = np.full((n + k, n + k), np.nan)
    if n:
        matrix[:n, :n] = pd.DataFrame(values).corr(min_periods=3).to_numpy()
    for i, row in enumerate(groups):
        matrix[n + i, :n] = matrix[:n, n + i] = correlation_ratios(row, values)
        for j in range(i, k):
            matrix[n + i, n + j] = matrix[n + j, n + i] = cramers_v(row, groups[j])
    return matrix


def correlation_ratios(groups: Codes, values: Floats) -> Floats:
    """Square root of the share of each column's variance that lies between the groups, shape (columns,).

    Arguments:
        groups: Group of each row, -1 where missing, shape (rows,).
        values: Numeric columns, NaN where missing, shape (rows, columns).
    """
    inside = groups >= 0
    groups, values = groups[inside], values[inside]
    observed = ~np.isnan(values)
    # about each column's own mean, so that sums of squares keep their digits far from zero
    mean = np.where(observed, values, 0.0).sum(0) / np.maximum(observed.sum(0), 1)
    centred = np.where(observed, values - mean, 0.0)
    members = np.zeros((groups.max(initial=-1) + 1, len(groups)))
    members[groups, np.arange(len(groups))] = 1.0
    counts, sums = members @ observed, members @ centred
    between = np.divide(sums**2, counts, out=np.zeros_like(sums), where=counts > 0).sum(0)
    total = (centred**2).sum(0)
    return np.sqrt(np.divide(between, total, out=np.full(values.shape[1], np.nan), where=total > 0).clip(max=1.0))


def cramers_v(a: Codes, b: Codes) -> float:
    """Bias-corrected association of two categorical samples, codes of -1 left out; NaN where one is constant."""
    both = (a >= 0) & (b >= 0)
    a, b = a[both], b[both]
    width = int(b.max(initial=0)) + 1
    counts = np.bincount(a * width + b, minlength=(int(a.max(initial=0)) + 1) * width).reshape(-1, width).astype(float)
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    (rows, columns), n = counts.shape, float(counts.sum())
    if min(rows, columns) < 2 or n < 3:
        return float("nan")
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / n
    phi = ((counts - expected) ** 2 / expected).sum() / n
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1))
    return float(min(1.0, np.sqrt(phi / (smaller - 1)))) if smaller > 1 else float("nan")


def levels(values: pd.Series) -> pd.Index:
    """The most frequent categories of a column, as text."""
    return pd.Index(values.dropna().astype(str).value_counts().index[:MOST_CATEGORIES])


def codes(values: pd.Series, known: pd.Index) -> Codes:
    """Position of each cell's category, one past the last for all others, -1 where missing."""
    found = known.get_indexer(pd.Index(values.astype(str)))
    return np.where(values.isna(), -1, np.where(found < 0, len(known), found))
