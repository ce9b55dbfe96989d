"""One column in numbers: its values, the shares of its categories, its density, and the values it sticks to."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.schema import Field
from datakiln.writings import numbers_of

Floats = NDArray[np.float64]
MISSING, MOST_CATEGORIES = "(missing)", 20
SPIKE_SHARE, SPIKE_RATIO, SPIKE_ROWS, MOST_SPIKES = 0.15, 3.0, 5, 3
GRID = 256
LONG_TAIL = 2.5


def numbers(values: pd.Series, field: Field) -> Floats:
    """A numeric column as floats, in row order, NaN where a cell is missing or infinite; dates in days since 1970."""
    found = numbers_of(values, field)
    found = found / 86_400.0 if field.type == "datetime" else found
    return np.where(np.isfinite(found), found, np.nan)


def apart(field: Field, real: pd.Series, synthetic: pd.Series) -> float:
    """How far two samples of a column are apart, in [0, 1], missing cells included.

    Of numbers it is the largest difference of their distribution functions (Kolmogorov and Smirnov), of categories half
    of the summed difference of their shares.
    """
    if field.is_choice:
        shares = pd.DataFrame({"real": _shares(real), "synthetic": _shares(synthetic)}).fillna(0.0)
        return 0.5 * float((shares["real"] - shares["synthetic"]).abs().sum())
    samples = [np.sort(numbers(series, field)) for series in (real, synthetic)]  # missing cells stand behind infinity
    at = np.concatenate(samples)
    at = np.append(at[~np.isnan(at)], np.inf)
    below = [np.searchsorted(sample, at, side="right") / max(len(sample), 1) for sample in samples]
    return float(np.abs(below[0] - below[1]).max())


def category_shares(real: pd.Series, synthetic: pd.Series, order: tuple[str, ...] = ()) -> pd.DataFrame:
    """Share of each category among all rows: columns "real" and "synthetic", indexed by the category as text.

    At most 20 categories, those most frequent in the real data, then the others together, then missing cells. Ordered
    as declared, or by number where all are numbers, or by the real share.
    """
    shares = pd.DataFrame({"real": _shares(real), "synthetic": _shares(synthetic)}).fillna(0.0)
    missing = shares[shares.index == MISSING]
    shares = shares.drop(index=missing.index).sort_values(["real", "synthetic"], ascending=False, kind="stable")
    kept, others = shares.iloc[:MOST_CATEGORIES], shares.iloc[MOST_CATEGORIES:]
    position = {name: i for i, name in enumerate(order)}
    as_numbers = pd.to_numeric(kept.index.to_series(), errors="coerce")
    if order:
        kept = kept.loc[sorted(kept.index, key=lambda name: position.get(name, len(position)))]
    elif as_numbers.notna().all():
        kept = kept.loc[as_numbers.sort_values(kind="stable").index]
    if len(others):
        kept = pd.concat([kept, others.sum().rename(f"{len(others):,} others").to_frame().T])
    return pd.concat([kept, missing]) if len(missing) else kept


def spikes(real: Floats, synthetic: Floats) -> Floats:
    """Values, at most three, that hold a large share of either sample and far more than any value after them."""
    found: set[float] = set()
    for sample in (real, synthetic):
        values, counts = np.unique(sample, return_counts=True)
        most = np.argsort(counts)[::-1]
        share = np.append(counts[most] / max(len(sample), 1), np.zeros(2))
        for k in range(min(MOST_SPIKES, len(values))):
            if counts[most[k]] >= SPIKE_ROWS and share[k] >= SPIKE_SHARE and share[k] >= SPIKE_RATIO * share[k + 1]:
                found.update(values[most[: k + 1]].tolist())
    return np.array(sorted(found)[:MOST_SPIKES])


def view(real: Floats, synthetic: Floats) -> tuple[float, float]:
    """The range to show: all values, or the inner 99 % or 95 % of both samples where tails are far longer."""
    samples = [sample for sample in (real, synthetic) if len(sample)]
    ranges = []
    for cut in (0.0, 0.005, 0.025):
        ends = [np.quantile(sample, (cut, 1 - cut)) for sample in samples]
        ranges.append((min(float(low) for low, _ in ends), max(float(high) for _, high in ends)))
    shown = ranges[0]
    for inner in ranges[1:]:
        if 0 < LONG_TAIL * (inner[1] - inner[0]) < shown[1] - shown[0]:
            shown = inner
    return shown


def density(sample: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """Gaussian kernel density with Silverman's bandwidth (1986, eq. 3.31), on a grid a little wider than [low, high].

    Values are first shared out between the two nearest points of the grid, so the cost does not grow with rows.

    Returns:
        Positions and densities, each of shape (256,); the density integrates to the share of values inside the grid.
    """
    spread = max(high - low, 1e-9 * max(abs(low), abs(high), 1.0))
    q1, q3 = np.quantile(sample, (0.25, 0.75))
    scales = [scale for scale in (float(sample.std()), float(q3 - q1) / 1.349) if scale > 0]
    bandwidth = max(0.9 * min(scales, default=0.0) * len(sample) ** -0.2, spread / 150)
    reach = min(3 * bandwidth, spread / 4)
    grid = np.linspace(low - reach, high + reach, GRID)
    step = grid[1] - grid[0]
    place = (sample - grid[0]) / step
    place = place[(place >= 0) & (place <= GRID - 1)]
    below = np.minimum(place.astype(np.intp), GRID - 2)
    weight = np.bincount(below, 1 - (place - below), GRID) + np.bincount(below + 1, place - below, GRID)
    offsets = (grid[:, None] - grid[None, :]) / bandwidth
    kernel = np.exp(-0.5 * offsets**2) / (bandwidth * np.sqrt(2 * np.pi))
    return grid, kernel @ weight / len(sample)


def _shares(values: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(values) and ((values % 1 == 0) & (values.abs() < 2**53) | values.isna()).all():
        values = values.astype("Int64")  # codes that missing cells turned into floats: 1, not 1.0
    counts = values.value_counts(dropna=False, sort=False)
    names = [MISSING if missing else str(name) for name, missing in zip(counts.index, counts.index.isna(), strict=True)]
    return pd.Series(counts.to_numpy() / max(len(values), 1), index=names).groupby(level=0, sort=False).sum()
