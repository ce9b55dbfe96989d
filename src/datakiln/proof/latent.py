"""The latent space of a trained model, measured: probes, paths, what lies half way, and how examples come back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from datakiln.metrics.latent import (
    LINEAR,
    NEIGHBOURS,
    dci,
    middles,
    mutual_information_gap,
    on_data,
    probe_accuracy,
    probe_r2,
    relative_path_length,
)
from datakiln.results import NOT_OFFERED, Score
from datakiln.sampling.latent import classes_of, hidden_of, latents_of, normal, points_of, search, shown
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import Batch

PROBED, PATHS, STEP = 2000, 500, 0.05  # points, paths, and the step on a path as a part of it
UNSEEN, MOST_REAL, MOST_NEAREST = 500, 2000, 5000  # held-out examples, training ones, those a nearest is looked for in
ENCODED, SEARCHED, STARTS, UPDATES = 100, 16, 16, 100  # examples given back; draws and steps of a search for one
DISENTANGLED = ("latent/mig", "latent/dci")
NAMES = (
    "latent/probe_r2",
    "latent/log_path_length",
    "latent/label_probe",
    "latent/interpolation",
    "latent/inversion_error",
)
HIDDEN = "latent/hidden_probe"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What examples of one data set come to, real ones beside those that are drawn.

    Attributes:
        attributes: Numbers by name, (n,), of examples in user units; NaN where an example has none.
        features: Of examples in user units, (n, f), in which distances are taken.
        values: Of the same, (n, v), in the units of the inversion error; no columns where there are none.
        unit: Of these.
        train: Features of training examples, (m, f).
        unseen: Held-out examples in model space, with their classes.
        held: Their features.
        truth: Their values, of the first `ENCODED` at least.
        nearest: Values of the training example nearest to each.
        blend: Features of examples half way between those held-out ones of the first indices and of the second.
        labels: Classes that drawn examples bear, NaN or None for none; None where they bear none.
        pictures: The held-out examples, uint8 (n, C, H, W), where they are pictures.
    """

    attributes: Callable[[Any], Mapping[str, Floats]]
    features: Callable[[Any], Floats]
    values: Callable[[Any], Floats]
    unit: str
    train: Floats
    unseen: Batch
    held: Floats
    truth: Floats
    nearest: Floats
    blend: Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]
    labels: Callable[[Any], pd.Series] | None = None
    pictures: NDArray[np.uint8] | None = None


def not_there(why: str) -> list[Score]:
    """Every figure of a latent space without a value, for one reason."""
    return [Score(name, None, why=why) for name in NAMES]


def latent_scores(synthesizer: Synthesizer, read: Callable[[], Reading], seed: int) -> list[Score]:
    """What is linear in latents, how even paths are, whether they stay on the data, and what comes back of an example.

    Each has its floor and ceiling: see the functions below.

    Arguments:
        synthesizer: The trained model.
        read: Reads the data; not called for a model without latents.
        seed: Of the latents.
    """
    if not synthesizer.model.can_walk:
        found = not_there(f"{type(synthesizer.model).__name__} has no latent space to go about in")
        return [*found, _hidden_score(synthesizer, read().unseen)] if synthesizer.model.hidden_layer else found
    real = read()
    z = normal(synthesizer, PROBED, seed)
    y = classes_of(synthesizer, PROBED, {}, seed)

    def drawn(at: torch.Tensor) -> Any:  # noqa: ANN401 (a frame or pictures)
        return shown(synthesizer, points_of(synthesizer, at, None if y is None else y[: len(at)]), seed=seed)

    def features(at: Floats) -> Floats:
        return real.features(drawn(torch.from_numpy(at).float()))

    examples, ends = drawn(z), z[: 2 * PATHS].double().numpy()
    return [
        probe_score(z.double().numpy(), real.attributes(examples), None if y is None else y.numpy(), seed),
        path_score(features, ends, seed),
        _label_score(synthesizer, real, z, examples, y is not None),
        interpolation_score(
            features(middles(ends)), real.features(examples)[:PATHS], real.train, real.held,
            real.blend(*pairs(len(real.held), None if y is None else real.unseen.y, seed)),
        ),
        _inversion_score(synthesizer, real, seed),
    ]  # fmt: skip


def _label_score(
    synthesizer: Synthesizer,
    real: Reading,
    z: torch.Tensor,
    examples: Any,  # noqa: ANN401
    is_told: bool,
) -> Score:
    """Of the classes that drawn examples bear, or of held-out ones and their latents where they bear none."""
    name, model = NAMES[2], synthesizer.model
    if is_told:
        return Score(name, None, why="not computed: the class is told beside the latents")
    if real.labels is not None:
        return label_score(z.double().numpy(), real.labels(examples), "classes that drawn examples bear")
    if real.unseen.y is None:
        return Score(name, None, why="not computed: the data has no classes")
    if not model.can_encode:
        why = f"{NOT_OFFERED}: {type(model).__name__} does not tell the latents of an example whose class is known"
        return Score(name, None, why=why)
    known = real.unseen.y >= 0
    latents = latents_of(synthesizer, real.unseen.each(lambda part: part[known]))
    return label_score(latents.double().numpy(), pd.Series(real.unseen.y[known].numpy()), "encoded held-out examples")


def _hidden_score(synthesizer: Synthesizer, unseen: Batch) -> Score:
    """Of the classes of held-out examples and hidden states of a model without latents, told by the same probe."""
    if unseen.y is None:
        return Score(HIDDEN, None, why="not computed: the data has no classes")
    known = unseen.y >= 0
    states = hidden_of(synthesizer, unseen.each(lambda part: part[known])).double().numpy()
    note = f"held-out examples; hidden states, not latents: {synthesizer.model.hidden_layer}"
    return dataclasses.replace(label_score(states, pd.Series(unseen.y[known].numpy()), note), name=HIDDEN)


def label_score(z: Floats, labels: pd.Series, note: str) -> Score:
    """Accuracy of a linear classifier of latents on unseen ones; the floor is the share of the commonest class."""
    known = labels.notna().to_numpy()
    codes = np.unique(labels[known].astype(str), return_inverse=True)[1]
    half = len(codes) // 2
    if half < 2 or len(np.unique(codes[:half])) < 2:
        return Score(NAMES[2], None, "higher", why="not computed: the examples are of one class")
    floor = float(np.bincount(codes[half:]).max() / (len(codes) - half))
    value = probe_accuracy(z[known], codes)
    return Score(NAMES[2], value, "higher", 0.0, 1.0, 1.0, floor, n=len(codes), note=f"accuracy of {note}")


def pairs(n: int, y: torch.Tensor | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of two of n examples, `PATHS` times, of one class where classes are given and another is there."""
    rng = np.random.default_rng([seed, 71])
    first = rng.integers(0, n, PATHS)
    others = [np.arange(n) if y is None else np.flatnonzero(y.numpy() == int(y[i])) for i in first]
    second = [
        int(rng.choice(found[found != i])) if (found != i).any() else int(i)
        for i, found in zip(first, others, strict=True)
    ]
    return first, np.array(second)


def interpolation_score(middle: Floats, ends: Floats, train: Floats, held: Floats, blends: Floats) -> Score:
    """Share of what lies half way between two latents that is on the data, as held-out examples and plain blends are.

    On the data is what `on_data` counts: precision, of five neighbours among training examples.

    Arguments:
        middle: Features of what the middles of paths show, (n, f).
        ends: The same of the ends.
        train: Features of training examples.
        held: Features of held-out examples, whose share is the ceiling.
        blends: Features of blends of two of these, whose share is the floor.
    """
    if len(train) <= NEIGHBOURS:
        return Score(NAMES[3], None, "higher", why=f"not computed: {len(train)} training examples")
    value, at_ends, ceiling, floor = (on_data(part, train) for part in (middle, ends, held, blends))
    note = f"half way on great circles; on the data is within reach of the {NEIGHBOURS}th neighbour of one of "
    note += f"{len(train):,} training examples; the floor is the mean of two held-out ones"
    return Score(
        NAMES[3], value, "higher", 0.0, 1.0, ceiling, floor, n=len(middle), note=note, ceiling_n=len(held),
        floor_n=len(blends), detail={"ends of the paths": at_ends}, ceiling_range=_chance(ceiling, len(held)),
        floor_range=_chance(floor, min(len(held), len(blends))),
    )  # fmt: skip


def _chance(share: float, n: int) -> list[float]:
    """Wilson's interval of a share of n at 95 %."""
    z = 1.96
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return [(middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)]


def _inversion_score(synthesizer: Synthesizer, real: Reading, seed: int) -> Score:
    """Of what held-out examples come to when brought to latents and back, by an encoder, an inverse or a search."""
    model, name = synthesizer.model, NAMES[4]
    if not real.truth.shape[1]:
        return Score(name, None, "lower", why="not computed: no numbers to compare")
    y = real.unseen.y if model.conditioning == "label" else None
    if model.can_encode:
        rows = slice(ENCODED)
        y = None if y is None else y[rows]
        z = latents_of(synthesizer, real.unseen.each(lambda part: part[rows]))
        found, how = points_of(synthesizer, z, y), "encoded and decoded"
    elif real.pictures is not None:
        rows = slice(SEARCHED)
        pictures = real.pictures[rows]
        told = None if y is None else y[rows].repeat_interleave(STARTS)
        start = points_of(synthesizer, normal(synthesizer, STARTS * len(pictures), seed), told)
        found = search(synthesizer, pictures, start, seed, updates=UPDATES)
        how = f"searched for by {UPDATES} steps of gradients from the best of {STARTS} draws"
    else:
        return Score(
            name, None, "lower", why=f"{NOT_OFFERED}: {type(model).__name__} has no way from an example to its latents"
        )
    return inversion_score(
        real.values(shown(synthesizer, found, seed=seed)), real.truth[rows], real.nearest[rows], f"{real.unit}, {how}"
    )


def inversion_score(made: Floats, truth: Floats, nearest: Floats, note: str) -> Score:
    """Root mean square error of examples given back; the floor is that of the nearest training examples, all (n, v)."""
    error, floor = (float(np.sqrt(np.square(part - truth).mean())) for part in (made, nearest))
    note = f"{note}; the floor is the nearest of up to {MOST_NEAREST:,} training examples"
    return Score(NAMES[4], error, "lower", 0.0, None, 0.0, floor, n=len(truth), note=note)


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
