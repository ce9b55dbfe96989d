"""Windows of real and synthetic sequences as arrays, and every figure of them beside real windows and naive ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from datakiln.metrics.base import Figure, Incomplete, MetricError, traits
from datakiln.metrics.evaluate import Result
from datakiln.schema import Schema
from datakiln.writings import numbers_of

Floats = np.ndarray
Part = Literal["synthetic", "test", "naive"]
MOST_WINDOWS = 2000  # of each part
MOST_CATEGORIES = 8  # of a column, the most frequent ones
LEAST_WINDOWS = 8
MISSING = " is missing"


@dataclass(frozen=True)
class SeriesSets:
    """Windows (n, T, C) in the order of their sequences, numbers as they are and categories as 0 or 1.

    Attributes:
        names: Of the C columns.
        train: Windows of what the model was fitted on.
        test: Windows of real sequences that it has not seen.
        synthetic: Windows of generated sequences.
        lengths: Steps of whole sequences: "train", "test", "synthetic"; empty where they are cut into windows.
        seed: Seeds every judge.
        owners: Number of the entity of each window of "train" and "test"; empty where there is one long series.
        origins: Sequence and first row of each window by part, (n, 2); of a part without, each is a sequence.
        choices: For each column of categories the places of its 0-or-1 columns among the C.
        static: Data columns that hold for the whole of a sequence.
        gaps: Time between rows that follow each other, by part as `lengths`, in seconds of dates; empty without times.
        rules: Names of the rules that hold between the columns of real rows, found or declared, and which rows break
            each of them, bool (N, rules): "train", "test", "synthetic", "naive"; None where nothing is known of rows.
        whole: Rows of all training sequences (N, C) and where each window of them begins, (M,), of which `train` are
            some; None where they are all.
        stands: "naive" where windows of shuffled cells stand for the synthetic ones, as for floors.
        cache: Work that several metrics share.
    """

    names: tuple[str, ...]
    train: Floats
    test: Floats
    synthetic: Floats
    lengths: dict[str, Floats]
    seed: int = 0
    owners: dict[str, Floats] = field(default_factory=dict)
    origins: dict[str, Floats] = field(default_factory=dict)
    choices: dict[str, tuple[int, ...]] = field(default_factory=dict)
    static: tuple[str, ...] = ()
    gaps: dict[str, Floats] = field(default_factory=dict)
    rules: Callable[[], tuple[tuple[str, ...], dict[str, Floats]]] | None = None
    whole: tuple[Floats, Floats] | None = None
    stands: Part = "synthetic"
    cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_real(self) -> bool:
        """Whether unseen real windows stand for the synthetic ones, as for ceilings."""
        return self.synthetic is self.test

    @property
    def part(self) -> Part:
        """Which rows stand for the synthetic ones, in what is kept by part."""
        return "test" if self.is_real else self.stands

    @property
    def sources(self) -> tuple[str, ...]:
        """The data column that each of the C columns comes from."""
        choice = {at: name for name, places in self.choices.items() for at in places}
        return tuple(choice.get(j, name.removesuffix(MISSING)) for j, name in enumerate(self.names))

    def scaled(self) -> tuple[Floats, Floats, Floats]:
        """Train, test and synthetic windows, linear from the training range of each column to [0, 1]."""
        low, high = self.train.min(axis=(0, 1)), self.train.max(axis=(0, 1))
        span = np.where(high > low, high - low, 1.0)
        return tuple((part - low) / span for part in (self.train, self.test, self.synthetic))  # type: ignore[return-value]


Metric = Callable[[SeriesSets], list[Figure]]


def matrix(frame: pd.DataFrame, schema: Schema, left_out: Sequence[str | None], real: pd.DataFrame) -> Floats:
    """Rows as numbers, (N, C): a missing one is the real median, and has a column of its own that says so.

    Arguments:
        frame: Rows in user units.
        schema: Of its columns.
        left_out: Columns that are no part of a step.
        real: Training rows, which decide the columns.
    """
    return np.stack([values for _, _, values in _columns(frame, schema, left_out, real)], axis=1)


def names_of(schema: Schema, left_out: Sequence[str | None], real: pd.DataFrame) -> tuple[str, ...]:
    """Names of the columns of `matrix`."""
    return tuple(name for _, name, _ in _columns(real.head(1), schema, left_out, real))


def choices_of(schema: Schema, left_out: Sequence[str | None], real: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    """For each column of categories its places among the columns of `matrix`."""
    found: dict[str, list[int]] = {}
    for at, (column, _, _) in enumerate(_columns(real.head(1), schema, left_out, real)):
        if schema[column].is_choice:
            found.setdefault(column, []).append(at)
    return {name: tuple(places) for name, places in found.items()}


def _columns(
    frame: pd.DataFrame, schema: Schema, left_out: Sequence[str | None], real: pd.DataFrame
) -> list[tuple[str, str, Floats]]:
    """Data column, name and values of each column of `matrix`."""
    found: list[tuple[str, str, Floats]] = []
    for f in schema.fields:
        if f.name in left_out:
            continue
        if f.is_numeric:
            known, values = numbers_of(real[f.name], f), numbers_of(frame[f.name], f)
            middle = float(np.nanmedian(known)) if not np.isnan(known).all() else 0.0
            found.append((f.name, f.name, np.where(np.isnan(values), middle, values)))
        elif f.is_choice:
            text = frame[f.name].astype(str)
            common = real[f.name].dropna().astype(str).value_counts().index[:MOST_CATEGORIES]
            common = common[1:] if len(common) == 2 else common
            found += [(f.name, f"{f.name} is {value}", (text == value).to_numpy(float)) for value in common]
        if (f.is_numeric or f.is_choice) and real[f.name].isna().any():
            found.append((f.name, f"{f.name}{MISSING}", frame[f.name].isna().to_numpy(float)))
    return found


def windows(values: Floats, group: Floats, length: int, most: int = MOST_WINDOWS) -> Floats:
    """At most so many windows (n, length, C), evenly spread over all there are, in order."""
    return values[starts(group, length, most)[:, None] + np.arange(length)]


def starts(group: Floats, length: int, most: int = MOST_WINDOWS) -> Floats:
    """The first rows of these windows; `group` is the sequence of each row, from 0 and in order."""
    sizes = np.bincount(group) if len(group) else np.zeros(0, dtype=int)
    begin = np.cumsum(sizes) - sizes
    found = [np.arange(b, b + n - length + 1) for b, n in zip(begin, sizes, strict=True) if n >= length]
    every = np.concatenate(found) if found else np.zeros(0, dtype=int)
    if len(every) > most:
        every = every[np.linspace(0, len(every) - 1, most).round().astype(int)]
    return every


def origins(group: Floats, length: int, most: int = MOST_WINDOWS) -> Floats:
    """Sequence and first row of each of those windows, (n, 2)."""
    first = starts(group, length, most)
    return np.stack([np.asarray(group, dtype=int)[first], first], axis=1)


def evaluate_series(
    sets: SeriesSets, metrics: Sequence[Metric], progress: Callable[[str], None] | None = None
) -> list[Result]:
    """Every metric of the synthetic windows, of unseen real ones (ceiling) and of shuffled cells (floor).

    What does not tell real windows from naive ones by its meaning, or is costly, has no floor.
    A `MetricError` becomes a result with its reason instead of a value; any other exception is a fault of the program.

    Arguments:
        sets: The windows.
        metrics: Functions as `conf/metrics/series.yaml` lists them.
        progress: Called with the name of each metric before it starts.
    """
    results: list[Result] = []
    even = evened(sets)
    for function in metrics:
        if progress is not None:
            progress(traits(function).figures[0])
        start = time.perf_counter()
        shown = even if traits(function).evenly else sets
        found, whys = _attempt(function, shown)
        real, no_ceiling = _attempt(function, replace(shown, synthetic=shown.test))
        naive: dict[str, Figure] = {}
        no_floor: dict[str, str] = {}
        if traits(function).decides:
            own = {name: origin for name, origin in shown.origins.items() if name != "synthetic"}
            naive, no_floor = _attempt(function, replace(shown, synthetic=shuffled(shown), origins=own, stands="naive"))
        seconds = time.perf_counter() - start
        results += [Result(name, None, why=f"not computed: {why}", seconds=seconds) for name, why in whys.items()]
        for name in found:
            sides = [("ceiling", real, no_ceiling)] + ([("floor", naive, no_floor)] if traits(function).decides else [])
            lacks = [f"no {side}: {reasons.get(name, '')}" for side, kept, reasons in sides if name not in kept]
            results.append(Result(name, found[name], real.get(name), naive.get(name), "; ".join(lacks), seconds))
    return results


def spread(windows: Floats, n: int) -> Floats:
    """So many of them, evenly spread, in order; all where there are no more."""
    return windows if len(windows) <= n else windows[np.linspace(0, len(windows) - 1, n).round().astype(int)]


def evened(sets: SeriesSets) -> SeriesSets:
    """As many synthetic windows as unseen ones."""
    n = min(len(sets.test), len(sets.synthetic))
    cut = {name: spread(origin, n) if name != "train" else origin for name, origin in sets.origins.items()}
    owners = {name: spread(own, n) if name == "test" else own for name, own in sets.owners.items()}
    return replace(sets, test=spread(sets.test, n), synthetic=spread(sets.synthetic, n), origins=cut, owners=owners)


def shuffled(sets: SeriesSets) -> Floats:
    """Training windows whose cells are drawn from their column and step, each by itself; a category is one cell."""
    rng = np.random.default_rng(sets.seed)
    n, steps, columns = sets.train.shape
    at = rng.integers(0, n, (min(n, len(sets.synthetic)), steps, columns))
    for places in sets.choices.values():
        at[..., places] = at[..., places[:1]]
    return np.take_along_axis(sets.train, at, axis=0)


def _attempt(function: Metric, sets: SeriesSets) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures by name, and the reason for each that is missing."""
    names = traits(function).figures
    if min(len(part) for part in (sets.train, sets.test, sets.synthetic)) < LEAST_WINDOWS:
        return {}, dict.fromkeys(names, f"fewer than {LEAST_WINDOWS} windows of {sets.train.shape[1]} steps")
    try:
        return {figure.name: figure for figure in function(sets)}, {}
    except Incomplete as error:
        return {figure.name: figure for figure in error.found}, error.missing
    except MetricError as error:
        return {}, dict.fromkeys(error.figures or names, str(error))
