"""Series asked for by a static column: whether they have its value, and whether their means go with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.data.series.series import SeriesData
from datakiln.metrics.tables.conditional import COMMON, COMMONEST, RAREST
from datakiln.results import Score
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.studies.uses.base import between, mean, not_computed, not_offered
from datakiln.writings import numbers_of

STATIC = ("control/static_met", "control/static_rest_error")
ASKED, DRAWN = 2, 100  # columns that are asked for, and sequences drawn for each
LEAST, DEALS = 8, 8  # entities below which nothing is told of the rest, and draws of real ones

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Entities:
    """Sequences, each as its static columns and the means of its numbers.

    Attributes:
        static: Cells of static columns, (n, S).
        means: Means over steps of numeric columns, (n, C); NaN where a sequence has none.
    """

    static: pd.DataFrame
    means: Floats

    def __len__(self) -> int:
        """How many."""
        return len(self.means)

    def having(self, column: str, value: str) -> NDArray[np.bool_]:
        """Which have that value, (n,)."""
        return (self.static[column].astype(str) == value).to_numpy()


def static_scores(data: SeriesData, synthesizer: Synthesizer, seed: int) -> list[Score]:
    """How often asked static values are met, and how far the means of such sequences are from those of real ones."""
    known = data.codec.static
    names = [] if known is None else [name for name in known.schema.choices if name in data.roles.static]
    if not names:
        told = "no static columns of categories" if data.roles.static else "no static columns"
        return [not_computed(name, told) for name in STATIC]
    if synthesizer.model.conditioning != "columns":
        return [not_offered(name, f"{type(synthesizer.model).__name__} cannot be told a column") for name in STATIC]
    train, test = (_entities(data, data.frames[part], data.group[part], names) for part in ("train", "test"))
    asked = {}
    for i, (column, value) in enumerate(values_to_ask(train, test)):
        frame = synthesizer.sample(DRAWN, {column: value}, seed * ASKED + i)
        asked[column, value] = _entities(data, frame, data.codec.groups(frame), names)
    return static_between(train, test, asked, seed)


def _entities(data: SeriesData, frame: pd.DataFrame, group: NDArray[np.int64], names: list[str]) -> Entities:
    """Sequences as they are drawn: whole, or where the model learns windows the one in the middle of each."""
    own = {data.roles.time, data.roles.entity, *data.roles.static}
    numeric = [name for name in data.schema.numeric if name not in own]
    rows = frame.groupby(group, sort=True)
    at, sizes = rows.cumcount().to_numpy(), rows[frame.columns[0]].transform("size").to_numpy()
    if data.window is not None:
        begin = np.maximum(sizes - data.window, 0) // 2
        frame, group = (
            frame[(at >= begin) & (at < begin + data.window)],
            group[(at >= begin) & (at < begin + data.window)],
        )
    numbers = pd.DataFrame({name: numbers_of(frame[name], data.schema[name]) for name in numeric})
    means = numbers.groupby(group, sort=True).mean().to_numpy(np.float64)
    return Entities(frame[names].groupby(group, sort=True).first(), means)


def values_to_ask(train: Entities, test: Entities) -> list[tuple[str, str]]:
    """Static columns and a value of each: the common one whose means differ most from all, of which there are enough.

    Training entities alone decide, but that enough held-out ones must have it.
    """
    found: dict[str, tuple[float, str]] = {}
    for column in map(str, train.static):
        for value in train.static[column].dropna().astype(str).value_counts().index[:COMMON]:
            own = train.having(column, value)
            if min(own.sum(), test.having(column, value).sum()) < LEAST or not RAREST <= own.mean() <= COMMONEST:
                continue
            found[column] = max(found.get(column, (-1.0, "")), (apart(train.means, train.means[own]), value))
    order = sorted(found, key=lambda name: -found[name][0])
    return [(name, found[name][1]) for name in order[:ASKED]]


def apart(real: Floats, made: Floats) -> float:
    """Mean Kolmogorov-Smirnov distance of columns (n, C) and (m, C); one without a value in the second counts as 1."""
    from scipy.stats import ks_2samp

    errors = []
    for one, other in zip(real.T, made.T, strict=True):
        one, other = one[np.isfinite(one)], other[np.isfinite(other)]
        if len(one):
            errors.append(float(ks_2samp(one, other, method="asymp").statistic) if len(other) else 1.0)
    return mean(errors) if errors else 0.0


def static_between(
    train: Entities, test: Entities, asked: dict[tuple[str, str], Entities], seed: int
) -> list[Score]:  # fmt: skip
    """Both figures, of entities by the column and value that was asked for.

    The floor of the first is the share of real entities that have the value; of the second, training entities whatever
    they have, and its ceiling training entities that have it, as many as were judged. A value that fewer than 8
    sequences have counts as its floor.
    """
    if not asked:
        told = f"no static value is that of {LEAST} held-out entities and of less than {COMMONEST:.0%} of all"
        return [not_computed(name, told) for name in STATIC]
    met, bases, values, floors, ceilings, few = {}, [], {}, [], [], []
    for i, ((column, value), made) in enumerate(asked.items()):
        rng, name = np.random.default_rng([seed, 57, i]), f"{column}={value}"
        own, real = made.having(column, value), train.having(column, value)
        unseen = test.means[test.having(column, value)]
        met[name] = float(own.mean())
        bases.append([float(real[rng.integers(len(train), size=len(made))].mean()) for _ in range(DEALS)])
        n = int(own.sum()) if own.sum() >= LEAST else len(made)
        draws = [
            [apart(unseen, part[rng.integers(len(part), size=n)]) for _ in range(DEALS)]
            for part in (train.means, train.means[real])
        ]
        floors.append(draws[0])
        ceilings.append(draws[1])
        if own.sum() < LEAST:
            few.append(name)
        values[name] = apart(unseen, made.means[own]) if own.sum() >= LEAST else mean(draws[0])
    n = sum(map(len, asked.values()))
    note = "share of the sequences drawn at once that have the static value asked for; the floor is that of real ones"
    first = between(
        STATIC[0],
        mean(list(met.values())),
        "higher",
        np.mean(bases, axis=0).tolist(),
        [1.0],
        n=n,
        note=note,
        detail=met,
    )
    if not train.means.shape[1]:
        return [first, not_computed(STATIC[1], "no column of numbers")]
    note = "mean distance of the sequences' means of numeric columns from those of held-out ones with that value"
    note += f"; hardly ever met, counted as the floor: {', '.join(few)}" if few else ""
    sides = (np.mean(side, axis=0).tolist() for side in (floors, ceilings))
    return [first, between(STATIC[1], mean(list(values.values())), "lower", *sides, n=n, note=note, detail=values)]
