"""What examples of tables, pictures and series come to as numbers, where a latent space is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from datakiln.data.pictures.pictures import ImageData
from datakiln.data.series.series import SeriesData
from datakiln.data.tables.tables import TableData
from datakiln.metrics.latent import squared_distances
from datakiln.metrics.pictures.evaluate import nearest
from datakiln.metrics.pictures.shapes import slant, width
from datakiln.metrics.series.sets import matrix, names_of, windows
from datakiln.proof.latent import ENCODED, MOST_NEAREST, MOST_REAL, UNSEEN, Floats, Reading
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Schema
from datakiln.spec import Batch

Ints = NDArray[np.int64]


def table_reading(data: TableData, synthesizer: Synthesizer, seed: int) -> Reading:
    """Rows: numbers in real standard deviations, and a 0 or 1 for each choice."""
    schema, label = data.schema, data.schema.label
    features = table_features(schema, data.real["train"])
    rng = np.random.default_rng([seed, 72])
    train, test = (
        part.iloc[np.sort(rng.permutation(len(part))[:most])].reset_index(drop=True)
        for part, most in ((data.real["train"], MOST_NEAREST), (data.real["test"], UNSEEN))
    )
    test = test.iloc[rng.permutation(len(test))].reset_index(drop=True)
    known, held = features(train), features(test)
    numbers = len(schema.numeric)
    codec: Any = synthesizer.codec
    return Reading(
        table_attributes(schema),
        features,
        lambda frame: features(frame)[:, :numbers],
        "numeric columns in real standard deviations",
        known[rng.permutation(len(known))[:MOST_REAL]],
        Batch(codec.encode(test), codec.labels(test)),
        held,
        held[:, :numbers],
        known[squared_distances(held, known).argmin(axis=1), :numbers],
        lambda first, second: (held[first] + held[second]) / 2,
        (lambda frame: frame[label]) if label is not None and schema[label].is_choice else None,
    )


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


def picture_reading(data: ImageData, network: Callable[[NDArray[np.uint8]], Floats]) -> Reading:
    """Pictures: what a network makes of them, (n, f), and their grey levels."""
    pictures, y = data.examples("test", UNSEEN)
    held = pictures.numpy()

    def values(shown: NDArray[np.uint8]) -> Floats:
        return shown.reshape(len(shown), -1).astype(np.float64)

    def blend(first: Ints, second: Ints) -> Floats:
        both = (held[first].astype(np.uint16) + held[second] + 1) // 2
        return network(both.astype(np.uint8))

    near = nearest(pictures[:ENCODED], data.batches("train", MOST_NEAREST), 1)[1][:, 0].numpy()
    return Reading(
        picture_attributes,
        network,
        values,
        "grey levels",
        np.concatenate([network(part.numpy()) for part in data.batches("train", MOST_REAL)]),
        Batch(data.codec.encode(pictures), y),
        network(held),
        values(held[:ENCODED]),
        values(near),
        blend,
        pictures=held,
    )


def picture_attributes(pictures: NDArray[np.uint8]) -> dict[str, Floats]:
    """Slant, width and mean brightness of pictures (n, C, H, W)."""
    return {
        "slant": slant(pictures),
        "width": width(pictures),
        "brightness": pictures.reshape(len(pictures), -1).mean(axis=1).astype(np.float64),
    }


def series_reading(data: SeriesData, synthesizer: Synthesizer) -> Reading:
    """Windows of as many steps as the model makes, scaled to training ranges, and in real standard deviations."""
    schema, train, length = data.schema, data.frames["train"], data.length
    out = [data.roles.entity, data.roles.time]
    names = names_of(schema, out, train)
    numeric = [name for name in schema.numeric if name in names]
    at = [names.index(name) for name in numeric]
    rows = matrix(train, schema, out, train)
    low, high, scale = rows.min(axis=0), rows.max(axis=0), rows[:, at].std(axis=0)
    span, scale = np.where(high > low, high - low, 1.0), np.where(scale > 0, scale, 1.0)

    def of(frame: pd.DataFrame) -> Floats:
        return matrix(frame, schema, out, train).reshape(-1, length, len(names))

    def features(frame: pd.DataFrame) -> Floats:
        return _flat((of(frame) - low) / span)

    def values(frame: pd.DataFrame) -> Floats:
        return _flat(of(frame)[:, :, at] / scale)

    def attributes(frame: pd.DataFrame) -> dict[str, Floats]:
        return window_attributes(of(frame)[:, :, at], numeric, data.roles.static)

    loader = data.loader("test", UNSEEN, shuffle=False)
    order = torch.randperm(len(loader.at), generator=torch.Generator().manual_seed(data.seed))[:UNSEEN]
    unseen = loader.batch(order)
    # decoded, so that what codecs round is no error of the model
    real: pd.DataFrame = synthesizer.codec.decode(unseen.x.cpu(), np.random.default_rng(0))
    known = windows(rows, data.group["train"], length, MOST_NEAREST)
    learnt, held = _flat((known - low) / span), features(real)
    near = known[squared_distances(held, learnt).argmin(axis=1)][:, :, at]
    few = np.unique(np.linspace(0, len(learnt) - 1, min(MOST_REAL, len(learnt))).round().astype(int))
    label = schema.label
    is_borne = label is not None and schema[label].is_choice and label in data.roles.static
    return Reading(
        attributes,
        features,
        values,
        "numeric columns in real standard deviations",
        learnt[few],
        Batch(unseen.x, unseen.y),
        held,
        values(real),
        _flat(near / scale),
        lambda first, second: (held[first] + held[second]) / 2,
        (lambda frame: frame[label].iloc[::length].reset_index(drop=True)) if is_borne else None,
    )


def window_attributes(windows: Floats, names: list[str], static: tuple[str, ...] = ()) -> dict[str, Floats]:
    """Level, trend and volatility of each column of windows (n, T, C), of a static column its level.

    Level is the mean, trend the slope a step of the least squares line, volatility the standard deviation of the
    changes from step to step.
    """
    time = np.arange(windows.shape[1]) - (windows.shape[1] - 1) / 2
    found = {}
    for i, name in enumerate(names):
        column = windows[:, :, i]
        found[f"level of {name}"] = column.mean(axis=1)
        if name not in static:
            found[f"trend of {name}"] = column @ time / (time @ time)
            found[f"volatility of {name}"] = np.diff(column, axis=1).std(axis=1)
    return found


def _flat(windows: Floats) -> Floats:
    return windows.reshape(len(windows), -1)
