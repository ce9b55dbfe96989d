"""Rare categories in clusters of what goes with them: a code for the cluster, and the category from the whole row.

A category of two rows has too few for a code of its own, and pooled with all other rare ones it goes with nothing. What
the rows of a category have in common is told by the variance between categories over that within (the one-way random
effects model: Searle, Casella and McCulloch, 1992, chapter 3), from all of them together; its mean is shrunk by it.
Clusters of similar means are what a model learns. Which category of a cluster a row gets is drawn afterwards, by how
likely the other cells of the row are with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import plain_cells, plain_value, to_numbers
from datakiln.schema import Field

ROWS = 20  # training rows of rare categories for each of their clusters, at least
MOST_COLUMNS = 8  # that clusters are told by
MOST_FEATURES = 8  # of them, where categories are many; of fewer categories more: up to
MEANS = 2**20  # categories times features
UNSEEN = 1e-4  # least share of a value among the rows of a category
MOST_LEVELS = 256  # of another column of categories; with more, it tells nothing
FREQUENT = 16  # of them that are looked at
SAMPLED = 100_000  # rows that are looked at
LEAST_WITHIN = 30  # rows beyond the first of their category
CLEAR = 4.0  # deviations by which the ratio of variances must exceed that of chance
LEAST_SHARE = 0.02  # of the variance that lies between categories
NARROWEST = 0.125  # of the deviation between categories: less within them parts no clusters
QUANTILES = 65
ROUNDS = 10  # of the k-means
STARTS = 4096  # categories that its centres begin with
CELLS = 2**22  # rows times categories that are weighed at once


@dataclass(frozen=True)
class Feature:
    """One thing that goes with a category: the rank of a number, or whether another column has a certain value.

    Attributes:
        column: The other column.
        value: The value looked for; None for a number.
        quantiles: Of a number, rising.
        within: Variance among rows of the same category.
    """

    column: str
    value: Any
    quantiles: tuple[float, ...]
    within: float

    def of(self, series: pd.Series, field: Field) -> np.ndarray:
        """The feature of cells, NaN where a number is missing; shape (n,)."""
        if field.is_numeric:
            values = to_numbers(series, field)
            return np.where(np.isnan(values), np.nan, np.interp(values, self.quantiles, np.linspace(-1, 1, QUANTILES)))
        return (plain_cells(series) == self.value).to_numpy(dtype=float, na_value=0.0)


@dataclass(frozen=True)
class Clusters:
    """What goes with the rare categories of a column.

    Attributes:
        features: That tell them apart.
        means: Of each category, shrunk, shape (L, F).
        spread: Variance of a row of each category around its mean, (L, F).
        cluster: Of each category, (L,), from 0.
        count: Clusters.
    """

    features: tuple[Feature, ...]
    means: np.ndarray
    spread: np.ndarray
    cluster: np.ndarray
    count: int

    def settle(self, cluster: np.ndarray, seen: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A category for each row: by its share in the cluster times how likely the row's features are with it.

        Arguments:
            cluster: Of each row, (n,).
            seen: Features of the rows, (n, F), NaN where unknown.
            shares: Of all categories, (L,).
            rng: Draws.
        """
        chosen = np.zeros(len(cluster), dtype=np.int64)
        numbers, groups = self._apart()
        for one in np.unique(cluster):
            rows, levels = np.nonzero(cluster == one)[0], np.nonzero(self.cluster == one)[0]
            prior = np.log(shares[levels]) - np.log(self.spread[levels][:, numbers]).sum(axis=1) / 2
            for part in np.array_split(rows, max(1, -(-len(rows) * len(levels) // CELLS))):
                weight = np.repeat(prior[None], len(part), axis=0)
                for f in numbers:
                    off = np.nan_to_num(seen[part, f][:, None] - self.means[levels, f])
                    weight -= off**2 / (2 * self.spread[levels, f])
                for group in groups:
                    weight += self._told(seen[part][:, group], levels, group)
                weight += rng.gumbel(size=weight.shape)
                chosen[part] = levels[weight.argmax(axis=1)]
        return chosen

    def _apart(self) -> tuple[list[int], list[list[int]]]:
        """Places of the features that are numbers, and of those of each column of categories."""
        numbers = [f for f, feature in enumerate(self.features) if feature.value is None]
        groups: dict[str, list[int]] = {}
        for f, feature in enumerate(self.features):
            if feature.value is not None:
                groups.setdefault(feature.column, []).append(f)
        return numbers, list(groups.values())

    def _told(self, seen: np.ndarray, levels: np.ndarray, group: list[int]) -> np.ndarray:
        """Log-share of a row's value of one column among the rows of each category, (n, levels); any other is one."""
        means = self.means[levels][:, group]
        shares, rest = means.clip(UNSEEN, 1.0), (1.0 - means.sum(axis=1)).clip(UNSEEN, 1.0)
        is_there = ~np.isnan(seen).any(axis=1)
        value = np.nan_to_num(seen)
        told = value @ np.log(shares).T + np.outer(1.0 - value.sum(axis=1), np.log(rest))
        return told * is_there[:, None]

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "features": [[f.column, f.value, list(f.quantiles), f.within] for f in self.features],
            "means": np.round(self.means, 5).tolist(),
            "spread": np.round(self.spread, 8).tolist(),
            "cluster": self.cluster.tolist(),
            "count": self.count,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Clusters:
        """Inverse of `state`."""
        features = tuple(
            Feature(str(column), value, tuple(quantiles), float(within))
            for column, value, quantiles, within in state["features"]
        )
        means, spread = np.asarray(state["means"], dtype=float), np.asarray(state["spread"], dtype=float)
        return cls(features, means, spread, np.asarray(state["cluster"], dtype=np.int64), int(state["count"]))


def find(
    frame: pd.DataFrame, name: str, values: Sequence[Any], others: Mapping[str, Field], limit: int
) -> Clusters | None:
    """Clusters of the rarest categories of a column, or None where nothing goes with them.

    Arguments:
        frame: Training rows.
        name: The column.
        values: Its categories, the most frequent first, more than the limit.
        others: The columns that may go with it.
        limit: Codes of the column; half of them at most are for clusters.
    """
    rows = frame.iloc[:SAMPLED]
    codes = pd.Index(values, dtype=object).get_indexer(pd.Index(plain_cells(rows[name]).astype(object)))
    rows, codes = rows[codes >= 0], codes[codes >= 0]
    count = min(int((codes >= limit // 2).sum()) // ROWS, limit // 2)
    if count < 2:
        return None
    found = []
    for other, field in others.items():
        for feature in _candidates(other, field, rows[other]):
            x = feature.of(rows[other], field)
            judged = _judged(x, codes, len(values))
            if judged is not None:
                between, within, means, errors = judged
                known = Feature(other, feature.value, feature.quantiles, within)
                found.append((between / (between + within), known, means, within + errors, between))
    found = _chosen(sorted(found, key=lambda entry: -entry[0]), len(values))
    if not found:
        return None
    first = limit - count
    means = np.stack([entry[2] for entry in found], axis=1)[first:]
    spread = np.stack([entry[3] for entry in found], axis=1)[first:]
    units = [np.sqrt(max(entry[1].within, NARROWEST**2 * entry[4], 1e-12)) for entry in found]
    weights = np.bincount(codes, minlength=len(values))[first:] + 0.5
    cluster = _k_means(means / np.array(units), weights.astype(float), count)
    return Clusters(
        tuple(entry[1] for entry in found), means, np.maximum(spread, 1e-8), cluster, int(cluster.max()) + 1
    )


def _chosen(found: list[Any], levels: int) -> list[Any]:
    """Of features, the most telling first, those of the most telling columns."""
    columns = list(dict.fromkeys(entry[1].column for entry in found))[:MOST_COLUMNS]
    return [entry for entry in found if entry[1].column in columns][: max(MOST_FEATURES, MEANS // levels)]


def _candidates(name: str, field: Field, series: pd.Series) -> list[Feature]:
    if field.is_numeric:
        values = to_numbers(series, field)
        values = values[np.isfinite(values)]
        if len(values) < LEAST_WITHIN or values.min() == values.max():
            return []
        return [Feature(name, None, tuple(np.quantile(values, np.linspace(0, 1, QUANTILES)).tolist()), 0.0)]
    counts = plain_cells(series).value_counts()
    counts = counts[counts > 0]
    if not 2 <= len(counts) <= MOST_LEVELS:
        return []
    return [Feature(name, plain_value(value), (), 0.0) for value in counts.index[:FREQUENT]]


def _judged(x: np.ndarray, codes: np.ndarray, levels: int) -> tuple[float, float, np.ndarray, np.ndarray] | None:
    """Variance between categories and within, their shrunk means, and the variances of these; None if by chance."""
    there = ~np.isnan(x)
    x, codes = x[there], codes[there]
    rows = np.bincount(codes, minlength=levels).astype(float)
    used = int((rows > 0).sum())
    if used < 2 or len(x) - used < LEAST_WITHIN:
        return None
    raw = np.bincount(codes, weights=x, minlength=levels) / np.maximum(rows, 1)
    middle = float(x.mean())
    within = float(((x - raw[codes]) ** 2).sum()) / (len(x) - used)
    outer = float((rows * (raw - middle) ** 2).sum()) / (used - 1)
    usual = (len(x) - float((rows**2).sum()) / len(x)) / (used - 1)
    between = (outer - within) / usual
    chance = 1.0 + CLEAR * np.sqrt(2.0 / (used - 1) + 2.0 / (len(x) - used))
    if outer <= chance * within or between <= LEAST_SHARE * (between + within):
        return None
    share = between / (between + within / np.maximum(rows, 1e-9))
    return between, within, middle + share * (raw - middle), between * (1.0 - share)


def _k_means(points: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The cluster of each point, numbered from 0 along the first coordinate; Lloyd's rounds from far apart centres."""
    rng = np.random.default_rng(0)
    some = rng.permutation(len(points))[:STARTS]
    centres, nearest = [points[some[0]]], np.full(len(some), np.inf)
    while len(centres) < min(count, len(some)):
        nearest = np.minimum(nearest, ((points[some] - centres[-1]) ** 2).sum(axis=1))
        odds = nearest * weights[some]
        if odds.sum() <= 0:
            break
        centres.append(points[rng.choice(some, p=odds / odds.sum())])
    centre = np.stack(centres)
    for _ in range(ROUNDS):
        cluster = _nearest(points, centre)
        total = np.bincount(cluster, weights=weights, minlength=len(centre))
        for f in range(points.shape[1]):
            sums = np.bincount(cluster, weights=weights * points[:, f], minlength=len(centre))
            centre[:, f] = np.where(total > 0, sums / np.maximum(total, 1e-9), centre[:, f])
    used, found = np.unique(cluster, return_inverse=True)
    return centre[used, 0].argsort(kind="stable").argsort()[found]


def _nearest(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    found = []
    for part in np.array_split(points, max(1, -(-len(points) * len(centre) // CELLS))):
        distance = (centre**2).sum(axis=1) - 2 * part @ centre.T
        found.append(distance.argmin(axis=1))
    return np.concatenate(found)
