"""Aggregate figures of the ADHD-200 phenotypic table, and a stand-in table simulated from nothing but them.

The figures are per diagnosis within a site, since sites used different scales and left out different columns: mean,
standard deviation and range of numbers, shares of categories, missing rates; and per diagnosis the correlations of the
numbers within sites. No figure rests on fewer than five persons, and none is a value of one person: smaller cells are
merged into larger ones, figures that a smaller cell could be computed from by subtraction are rounded coarsely.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

Figures = dict[str, Any]

MIN_PERSONS = 5  # in any cell of a figure
MIN_GROUP = 10  # for a mean or a share
MIN_PAIRS = 30  # for a correlation
NUMBERS = (
    "Age",
    "ADHD Index",
    "Inattentive",
    "Hyper/Impulsive",
    "Verbal IQ",
    "Performance IQ",
    "Full2 IQ",
    "Full4 IQ",
)
SCORE_SITE = "5"  # where handedness is a score instead of a category
DECIMALS = {"Age": 2, "Handedness": 2}  # of the simulated numbers; the others are whole
FAMILIES = {column: "rating" for column in NUMBERS[1:4]} | {column: "iq" for column in NUMBERS[4:]}  # missing together
DIAGNOSES = ("0", "1", "2", "3")


def compute_figures(frame: pd.DataFrame) -> Figures:
    """Figures of the real table.

    Arguments:
        frame: Columns of `datakiln.data.sets.adhd.FULL_COLUMNS`, categories as text, numbers as floats.
    """
    strata = {}
    for site, rows in frame.groupby("Site"):
        for diagnosis, group in rows.groupby("DX"):
            if len(group) >= MIN_GROUP:
                strata[f"{site}/{diagnosis}"] = _stratum(group, rows, str(site), coarse=False)
        ill = rows[rows["DX"] != "0"]
        if len(ill) >= MIN_GROUP:  # for the diagnoses that are too rare at this site
            strata[f"{site}/adhd"] = _stratum(ill, rows, str(site), coarse=True)
    ill = frame[frame["DX"] != "0"]
    groups = {diagnosis: frame[frame["DX"] == diagnosis] for diagnosis in ("0", "1", "3")} | {"adhd": ill}
    return {
        "diagnoses": {d: int((frame["DX"] == d).sum()) for d in DIAGNOSES},
        "sites": {d: _site_shares(frame, d) for d in DIAGNOSES},
        "correlations": {name: _correlations(group, frame) for name, group in groups.items()},
        "strata": strata,
    }


def _stratum(group: pd.DataFrame, site_rows: pd.DataFrame, site: str, coarse: bool) -> dict[str, Any]:
    figures = {}
    for column in group.columns.difference(["Site", "DX"], sort=False):
        present = group[column].dropna()
        if len(present) < MIN_GROUP:
            continue  # all missing in the stand-in
        n_missing = len(group) - len(present)
        missing = round(n_missing / len(group), 1 if coarse else 2) if n_missing >= MIN_PERSONS else 0.0
        if column in NUMBERS or (column == "Handedness" and site == SCORE_SITE):
            at_site = pd.to_numeric(site_rows[column].dropna())
            figure: dict[str, Any] = _number_figures(pd.to_numeric(present), at_site, column, coarse)
        else:
            figure = {"shares": _shares(present, 1 if coarse else 2)}
            if not figure["shares"]:
                continue
        figures[column] = figure | ({"missing": missing} if missing else {})
    return figures


def _number_figures(values: pd.Series, at_site: pd.Series, column: str, coarse: bool) -> dict[str, float]:
    decimals = DECIMALS.get(column, 1) - coarse
    ordered = np.sort(at_site.to_numpy())
    return {
        "mean": round(float(values.mean()), decimals),
        "sd": round(float(values.std()), decimals),
        "low": round(float(ordered[:MIN_PERSONS].mean()), decimals),  # of five persons, never of one
        "high": round(float(ordered[-MIN_PERSONS:].mean()), decimals),
    }


def _shares(values: pd.Series, decimals: int) -> dict[str, float]:
    """Shares that add up to 1; values of fewer than five persons are counted with the most frequent one.

    Empty where no value has five persons.
    """
    counts = values.astype(str).value_counts()
    kept = counts[counts >= MIN_PERSONS]
    if kept.empty:
        return {}
    shares = {str(value): round(int(n) / len(values), decimals) for value, n in kept.iloc[1:].items()}
    return {str(kept.index[0]): round(1.0 - sum(shares.values()), decimals), **shares}


def _site_shares(frame: pd.DataFrame, diagnosis: str) -> dict[str, float]:
    """Shares of the sites; sites with fewer than five such persons share their sum by size if it is at least five."""
    counts = frame.loc[frame["DX"] == diagnosis, "Site"].value_counts()
    kept = counts[counts >= MIN_PERSONS].astype(float)
    rare = counts[counts < MIN_PERSONS]
    if rare.sum() >= MIN_PERSONS:
        sizes = frame["Site"].value_counts()[rare.index]
        kept = pd.concat([kept, rare.sum() * sizes / sizes.sum()])
    return {str(site): round(float(share), 2) for site, share in (kept / kept.sum()).sort_index().items()}


def _correlations(group: pd.DataFrame, frame: pd.DataFrame) -> list[list[float]]:
    """Within sites and diagnoses; where too few persons of the group have both, of all persons, or 0."""
    tables = []
    for rows in (group, frame):
        numbers = rows[list(NUMBERS)].astype(float)
        inner = numbers - numbers.groupby([rows["Site"], rows["DX"]]).transform("mean")
        tables.append(inner.corr(min_periods=MIN_PAIRS))
    filled = tables[0].fillna(tables[1]).fillna(0.0).to_numpy(copy=True)
    np.fill_diagonal(filled, 1.0)
    return (np.round(filled, 2) + 0.0).tolist()  # no minus zeros


def simulate(figures: Figures, columns: tuple[str, ...], seed: int) -> pd.DataFrame:
    """A table with the figures' diagnoses and sites, everything else drawn.

    Numbers are correlated normals inside their range; categories are drawn by their shares; columns of one family of
    tests go missing together.

    Arguments:
        figures: What `compute_figures` gave.
        columns: Columns of the result, in order.
        seed: Of every draw.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for diagnosis, count in figures["diagnoses"].items():
        sites = _allot(figures["sites"][diagnosis], count)
        table = figures["correlations"].get(diagnosis, figures["correlations"]["adhd"])
        for site, n in sites.items():
            stratum = figures["strata"].get(f"{site}/{diagnosis}") or figures["strata"][f"{site}/adhd"]
            drawn = _draw(stratum, columns, n, _normals(np.array(table), n, rng), rng)
            parts.append(drawn.assign(Site=site, DX=diagnosis)[list(columns)])
    frame = pd.concat(parts, ignore_index=True)
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)


def _allot(shares: dict[str, float], count: int) -> dict[str, int]:
    """Whole numbers in proportion to shares, adding up to `count` (largest remainders)."""
    exact = np.array(list(shares.values())) / sum(shares.values()) * count
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return {site: int(n) for site, n in zip(shares, whole, strict=True) if n}


def _normals(correlations: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normals, shape (n, len(NUMBERS)), with the nearest such correlations that exist."""
    values, vectors = np.linalg.eigh(correlations)  # rounded pairwise figures need not be positive definite
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    return rng.standard_normal((n, len(correlations))) @ (root / np.linalg.norm(root, axis=1, keepdims=True)).T


def _draw(
    stratum: dict[str, Any], columns: tuple[str, ...], n: int, normals: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    drawn: dict[str, Any] = {}
    absence: dict[str, np.ndarray] = {}
    for column in columns:
        family = FAMILIES.get(column, column)
        if family not in absence:
            absence[family] = rng.random(n)
        figure = stratum.get(column)
        if figure is None:
            drawn[column] = np.full(n, np.nan)
            continue
        if "shares" in figure:
            values = rng.choice(list(figure["shares"]), n, p=_normalised(figure["shares"]))
        else:
            z = normals[:, NUMBERS.index(column)] if column in NUMBERS else rng.standard_normal(n)
            values = _inside(z, figure).round(DECIMALS.get(column, 0))
        drawn[column] = pd.Series(values).mask(absence[family] < figure.get("missing", 0.0))
    return pd.DataFrame(drawn)


def _normalised(shares: dict[str, float]) -> np.ndarray:
    weights = np.clip(list(shares.values()), 0.0, None)
    return weights / weights.sum()


def _inside(z: np.ndarray, figure: dict[str, float]) -> np.ndarray:
    """Standard normals to a normal cut off at the range (by the inverse of its distribution function)."""
    low, high = (ndtr((figure[end] - figure["mean"]) / figure["sd"]) for end in ("low", "high"))
    return figure["mean"] + figure["sd"] * ndtri(low + (high - low) * ndtr(z))
