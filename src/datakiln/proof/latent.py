"""The latent space of a trained model, measured: what of an example is linear in it, and how even its paths are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from datakiln.metrics.latent import LINEAR, dci, mutual_information_gap, probe_r2, relative_path_length
from datakiln.metrics.pictures.shapes import slant, width
from datakiln.results import Score
from datakiln.sampling.latent import classes_of, normal, points_of, shown
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Schema

PROBED, PATHS, STEP = 2000, 500, 0.05  # points, paths, and the step on a path as a part of it
DISENTANGLED = ("latent/mig", "latent/dci")
NAMES = ("latent/probe_r2", "latent/log_path_length")
Floats = NDArray[np.float64]


def latent_scores(
    synthesizer: Synthesizer,
    attributes: Callable[[Any], Mapping[str, Floats]],
    features: Callable[[Any], Floats],
    seed: int,
) -> list[Score]:
    """A linear probe of what examples show, and the length of paths between latents, with floors and ceilings.

    Floor of the probe are latents of other examples, its ceiling is 1. Floor of the path length is a jump to an
    unrelated example at each step, its ceiling a generator that is linear in its latents.

    Arguments:
        synthesizer: The trained model.
        attributes: Numbers by name, (n,), of examples in user units; NaN where an example has none.
        features: Of examples in user units, (n, f), in which distances are taken.
        seed: Of the latents.
    """
    if not synthesizer.model.can_walk:
        told = f"{type(synthesizer.model).__name__} has no latent space to go about in"
        return [Score(name, None, why=told) for name in NAMES]
    z = normal(synthesizer, PROBED, seed)
    y = classes_of(synthesizer, PROBED, {}, seed)

    def drawn(at: torch.Tensor) -> Any:  # noqa: ANN401 (a frame or pictures)
        return shown(synthesizer, points_of(synthesizer, at, None if y is None else y[: len(at)]), seed=seed)

    probe = probe_score(z.double().numpy(), attributes(drawn(z)), None if y is None else y.numpy(), seed)
    at = z[: 2 * PATHS].double().numpy()
    return [probe, path_score(lambda z: features(drawn(torch.from_numpy(z).float())), at, seed)]


def probe_score(z: Floats, attributes: Mapping[str, Floats], y: NDArray[Any] | None, seed: int) -> Score:
    """The mean R2 of attributes that are not constant, each less its mean in the class that was asked for."""
    found, floors = {}, {}
    other = np.random.default_rng(seed).permutation(len(z))
    for name, values in attributes.items():
        known = np.isfinite(values)
        if known.sum() < len(z) / 2:
            continue
        own, rows = _within(values[known], None if y is None else y[known]), z[known]
        try:
            found[name], floors[name] = probe_r2(rows, own), probe_r2(z[other][known], own)
        except ValueError:
            continue
    if not found:
        return Score(NAMES[0], None, "higher", why="not computed: nothing that was probed for varies")
    detail: dict[str, float | None] = dict(found)
    value, floor = (float(np.mean(list(of.values()))) for of in (found, floors))
    note = "R2 of ridge regression on unseen points, within the class that was asked for"
    return Score(NAMES[0], value, "higher", None, 1.0, 1.0, floor, detail=detail, n=len(z), note=note)


def disentanglement_scores(z: Floats, factors: NDArray[np.int64], names: Sequence[str], seed: int) -> list[Score]:
    """The mutual information gap and the disentanglement of DCI; the floor are latents of other examples, 1 is perfect.

    Arguments:
        z: Latents of examples, (n, d).
        factors: Of the same, (n, k).
        names: Of the factors.
        seed: Of the forest, and of the order in which others stand in.
    """
    other = z[np.random.default_rng(seed).permutation(len(z))]
    note = f"encoded pictures whose {', '.join(names)} are known"
    if z.shape[1] < 2 or np.ptp(z, axis=0).max() == 0:
        told = "latents that do not vary, or of one dimension, have no gap"
        return [Score(name, None, why=f"not computed: {told}") for name in DISENTANGLED]
    gap, floor = (mutual_information_gap(part, factors) for part in (z, other))
    own, naive = (dci(part, factors, seed) for part in (z, other))
    detail: dict[str, float | None] = {"completeness": own.completeness, "accuracy of the forest": own.informativeness}
    return [
        Score(DISENTANGLED[0], gap, "higher", 0.0, 1.0, 1.0, floor, n=len(z), note=note),
        Score(
            DISENTANGLED[1], own.disentanglement, "higher", 0.0, 1.0, 1.0, naive.disentanglement, n=len(z), note=note,
            detail=detail,
        ),
    ]  # fmt: skip


def _within(values: Floats, y: NDArray[Any] | None) -> Floats:
    """Values less their class's mean."""
    if y is None:
        return values
    return values - pd.Series(values).groupby(y).transform("mean").to_numpy()


def path_score(features: Callable[[Floats], Floats], z: Floats, seed: int) -> Score:
    """The logarithm to base 10 of the relative path length."""
    ends = math.log10(LINEAR), math.log10(2 / STEP**2)
    try:
        length = relative_path_length(features, z, STEP, seed)
    except ValueError as error:
        return Score(NAMES[1], None, "lower", why=f"not computed: {error}")
    if length == 0:
        return Score(NAMES[1], None, "lower", why="not computed: no step on a path changes an example")
    note = "log10 of the perceptual path length in units of half the squared distance of unrelated examples"
    return Score(NAMES[1], math.log10(length), "lower", None, None, ends[0], ends[1], n=len(z) // 2, note=note)


def picture_attributes(pictures: NDArray[np.uint8]) -> dict[str, Floats]:
    """Slant, width and mean brightness of pictures (n, C, H, W)."""
    return {
        "slant": slant(pictures),
        "width": width(pictures),
        "brightness": pictures.reshape(len(pictures), -1).mean(axis=1).astype(np.float64),
    }


def table_features(schema: Schema, real: pd.DataFrame) -> Callable[[pd.DataFrame], Floats]:
    """A function from rows to numbers in real standard deviations, a gap at the mean, and a 0 or 1 for each choice."""
    means, scales = real[schema.numeric].astype(float).mean(), real[schema.numeric].astype(float).std()
    choices = {name: sorted(real[name].dropna().astype(str).unique()) for name in schema.choices}

    def features(frame: pd.DataFrame) -> Floats:
        numbers = ((frame[schema.numeric].astype(float) - means) / scales.where(scales > 0, 1.0)).fillna(0.0)
        parts = [numbers.to_numpy(np.float64)]
        for name, known in choices.items():
            parts.append((frame[name].astype(str).to_numpy()[:, None] == np.array(known, dtype=str)).astype(np.float64))
        return np.concatenate(parts, axis=1)

    return features


def table_attributes(schema: Schema) -> Callable[[pd.DataFrame], dict[str, Floats]]:
    """A function from rows to their numeric columns."""
    return lambda frame: {name: np.asarray(frame[name].astype(float), np.float64) for name in schema.numeric}
