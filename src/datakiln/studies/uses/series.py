"""Uses of a model of series: forecasts, static columns, gaps filled, strange windows, what its windows add to few."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datakiln.codecs.series.series import SeriesCodec
from datakiln.data.series.series import SeriesData
from datakiln.metrics.series.forecasting import folds, interpolated, naive_forecast, ridge_forecast
from datakiln.metrics.series.quick import quick_distances
from datakiln.metrics.series.sets import LEAST_WINDOWS, SeriesSets, matrix, windows
from datakiln.proof.series import SeriesProof
from datakiln.results import Score
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.studies.uses.base import between, mean, not_computed, not_offered, told_apart
from datakiln.studies.uses.static import STATIC, static_scores

NAMES = ("control/forecast_error", "uses/gap_error", "uses/scoring_auc", "gain/forecast")
WATCHED, WATCHED_WINDOWS, DEALS = "watch/autocorrelation", 200, 8
WINDOWS, FILLED, PATHS = 100, 40, 5  # held-out windows, those filled, and draws for each, whose median counts
PART = 4  # of a window: the steps that are forecast, hidden or strange are one in so many
SIZES, REPEATS = (20, 100, 500), 5
TINY = 1e-9  # an error of nought has no logarithm
NOTE = "the generator has seen all training windows, the forecaster some: no equal terms"

Floats = np.ndarray


@dataclass(frozen=True)
class Held:
    """Held-out windows as rows and as numbers.

    Attributes:
        rows: Of each window, in user units.
        values: The same in training ranges, (n, T, C).
        columns: Which of the C columns are numbers of a step, by name.
    """

    rows: list[pd.DataFrame]
    values: Floats
    columns: dict[str, int]


def series_uses(data: SeriesData, synthesizer: Synthesizer, synthetic: pd.DataFrame, seed: int) -> list[Score]:
    """See `uses_of`; sound and text have none of these."""
    if data.codec.medium != "rows":
        return []
    sets = SeriesProof(data).sets(synthetic, seed)
    if min(map(len, (sets.train, sets.test, sets.synthetic))) < LEAST_WINDOWS:
        return [not_computed(name, f"fewer than {LEAST_WINDOWS} windows") for name in (*NAMES, *STATIC)]
    held = held_windows(data, sets)
    return [
        *watched_score(sets, validation_windows(data, sets), seed),
        forecast_score(data, synthesizer, sets, held, seed),
        *static_scores(data, synthesizer, seed),
        gap_score(data, synthesizer, sets, held, seed),
        scoring_score(data, synthesizer, sets, held, seed),
        gain_score(*sets.scaled(), seed),
    ]


def validation_windows(data: SeriesData, sets: SeriesSets) -> Floats:
    """Windows of the validation rows, in user units, of the length and columns of the others, (n, T, C)."""
    out, frame = [data.roles.entity, data.roles.time], data.frames["val"]
    return windows(matrix(frame, data.schema, out, frame), data.group["val"], sets.train.shape[1])


def watched_score(sets: SeriesSets, val: Floats, seed: int) -> list[Score]:
    """What training has watched, again, between what shuffled and other real windows come to, of as many.

    The floor are steps of all training windows in an order of chance: within a window they would still be near.
    """
    if len(val) < LEAST_WINDOWS or val.shape[2] != sets.train.shape[2]:
        return [not_computed(WATCHED, f"fewer than {LEAST_WINDOWS} windows of validation")]

    def far(made: Floats) -> float:
        return quick_distances(sets.names, val, made)["autocorrelation"]

    rng, floors, ceilings = np.random.default_rng([seed, 57]), [], []
    for _ in range(DEALS):
        some = sets.train[rng.permutation(len(sets.train))[:WATCHED_WINDOWS]]
        steps = some.reshape(-1, some.shape[2])
        ceilings.append(far(some))
        floors.append(far(steps[rng.permutation(len(steps))].reshape(some.shape)))
    made = sets.synthetic[:WATCHED_WINDOWS]
    note = f"at most {WATCHED_WINDOWS} windows beside {len(val):,} of validation"
    return [between(WATCHED, far(made), "lower", floors, ceilings, high=None, n=len(made), note=note)]


def held_windows(data: SeriesData, sets: SeriesSets) -> Held:
    """Some of the held-out windows, evenly spread."""
    at = np.unique(np.linspace(0, len(sets.test) - 1, min(WINDOWS, len(sets.test))).round().astype(int))
    first, length, frame = sets.origins["test"][at, 1], sets.test.shape[1], data.frames["test"]
    rows = [frame.iloc[begin : begin + length].reset_index(drop=True) for begin in first]
    own = {data.roles.time, data.roles.entity, *data.roles.static}
    own |= {*data.codec.plan.made, *data.codec.calendar.made}  # what follows from other cells hides nothing
    columns = {name: sets.names.index(name) for name in data.schema.numeric if name not in own}
    return Held(rows, sets.scaled()[1][at], columns)


def scaled_steps(data: SeriesData, sets: SeriesSets, x: Tensor) -> Floats:
    """Encoded steps (n, k, D) in training ranges, (n, k, C)."""
    frame = data.codec.step_rows(x.reshape(-1, x.shape[2]))
    values = matrix(frame, data.schema, [data.roles.entity, data.roles.time], data.frames["train"])
    low, high = sets.train.min(axis=(0, 1)), sets.train.max(axis=(0, 1))
    return ((values - low) / np.where(high > low, high - low, 1.0)).reshape(*x.shape[:2], -1)


def forecast_score(data: SeriesData, synthesizer: Synthesizer, sets: SeriesSets, held: Held, seed: int) -> Score:
    """Mean absolute error of the last quarter of held-out windows, the median of five paths; ranges of 0 to 1.

    The floor is the last value or that of a season ago, the ceiling ridge regression that learnt from training windows.
    """
    name, model, codec = NAMES[0], synthesizer.model, data.codec
    if not (model.can_unroll or model.conditioning == "columns"):
        return not_offered(name, f"{type(model).__name__} cannot go on with a series")
    horizon = max(held.values.shape[1] // PART, 1)
    known = held.values.shape[1] - horizon
    starts = _encoded(codec, [rows.head(known) for rows in held.rows])
    with torch.no_grad(), synthesizer.seeded((seed, 51)):
        starts = starts.to(model.device).repeat_interleave(PATHS, dim=0)
        if model.can_unroll:
            with model.evaluating():
                made = torch.cat(list(model.unroll(starts, horizon)), dim=1)
        else:
            ahead = torch.full((len(starts), horizon, starts.shape[2]), torch.nan, device=starts.device)
            made = model.sample(len(starts), torch.cat([starts, ahead], dim=1))[:, -horizon:]
    values = np.median(scaled_steps(data, sets, made.cpu()).reshape(len(held.rows), PATHS, horizon, -1), axis=1)
    return forecast_between(sets.scaled()[0], held.values, values)


def forecast_between(train: Floats, windows: Floats, forecast: Floats) -> Score:
    """A forecast (n, H, C) of the ends of windows (n, T, C) beside a naive one and ridge regression."""
    horizon = forecast.shape[1]
    context, truth = windows[:, :-horizon], windows[:, -horizon:]

    def errors(said: Floats) -> list[float]:
        return folds(np.abs(said - truth).mean(axis=(1, 2)))

    plain, learnt = (made(train, context, horizon) for made in (naive_forecast, ridge_forecast))
    note = f"{horizon} steps ahead, {len(windows)} held-out windows, in training ranges; the floor is the last value "
    note += "or that of a season ago, the ceiling ridge regression of training windows"
    return between(
        NAMES[0], mean(errors(forecast)), "lower", errors(plain), errors(learnt), high=None, n=len(windows), note=note,
        is_mean=True, own=errors(forecast),
    )  # fmt: skip


def gap_score(data: SeriesData, synthesizer: Synthesizer, sets: SeriesSets, held: Held, seed: int) -> Score:
    """Mean absolute error where a quarter of one column of each held-out window was hidden; ranges of 0 to 1.

    The floor is the line between the known values around; the median of five fillings counts.
    """
    name, model = NAMES[1], synthesizer.model
    if model.conditioning != "columns":
        return not_offered(name, f"{type(model).__name__} cannot be told a part of a series")
    if not held.columns:
        return not_computed(name, "no column of numbers")
    held = Held(held.rows[:: -(-len(held.rows) // FILLED)], held.values[:: -(-len(held.rows) // FILLED)], held.columns)
    hidden, gaps = with_gaps(held, seed)
    told = _encoded(data.codec, gaps, gaps=True).to(model.device).repeat_interleave(PATHS, dim=0)
    with torch.no_grad(), synthesizer.seeded((seed, 52)):
        made = model.sample(len(told), told).cpu()[:, : held.values.shape[1]]
    values = np.median(scaled_steps(data, sets, made).reshape(len(gaps), PATHS, *held.values.shape[1:]), axis=1)
    return gap_between(held.values, hidden, values)


def gap_between(windows: Floats, hidden: Floats, filled: Floats) -> Score:
    """Filled windows beside those filled by straight lines, at hidden cells; all of shape (n, T, C)."""

    def errors(made: Floats) -> list[float]:
        return folds((np.abs(made - windows) * hidden).sum(axis=(1, 2)) / hidden.sum(axis=(1, 2)))

    note = f"a quarter of one column of {len(windows)} held-out windows hidden; the floor is a straight line"
    own, plain = errors(filled), errors(interpolated(windows, hidden))
    return between(NAMES[1], mean(own), "lower", plain, high=None, n=len(windows), note=note, is_mean=True, own=own)


def with_gaps(held: Held, seed: int) -> tuple[Floats, list[pd.DataFrame]]:
    """Which cells are hidden, bool (n, T, C): a run of steps inside of each window, of one column; and the rows."""
    hidden, gaps = np.zeros(held.values.shape, dtype=bool), []
    for i, name, run in _runs(held, seed, 53):
        rows = held.rows[i].copy()
        rows[name] = rows[name].astype(float).mask(np.isin(np.arange(len(rows)), run))
        hidden[i, run, held.columns[name]] = True
        gaps.append(rows)
    return hidden, gaps


def _runs(held: Held, seed: int, turn: int) -> list[tuple[int, str, Floats]]:
    """For every window a column and a quarter of its steps, neither at its beginning nor at its end."""
    rng, steps = np.random.default_rng([seed, turn]), held.values.shape[1]
    size = max(min(steps // PART, steps - 2), 1)
    names = list(held.columns)
    found = []
    for i in range(len(held.rows)):
        first = int(rng.integers(1, max(steps - size, 2)))
        found.append((i, names[int(rng.integers(len(names)))], np.arange(first, first + size)))
    return found


def scoring_score(data: SeriesData, synthesizer: Synthesizer, sets: SeriesSets, held: Held, seed: int) -> Score:
    """AUC by which the likelihood tells windows with a quarter of a column from elsewhere from those without."""
    name, model = NAMES[2], synthesizer.model
    if model.likelihood == "none":
        return not_offered(name, f"{type(model).__name__} has no likelihood")
    if not held.columns:
        return not_computed(name, "no column of numbers")
    strange, values = with_strangers(held, seed)

    def nats(rows: list[pd.DataFrame]) -> Floats:
        with torch.no_grad(), model.evaluating():
            parts = _encoded(data.codec, rows).to(model.device).split(model.rows_at_once)
            return torch.cat([model.log_prob(part) for part in parts]).double().cpu().numpy()

    return scoring_between(sets.scaled()[0], held.values, values, lambda: (-nats(held.rows), -nats(strange)))


def with_strangers(held: Held, seed: int) -> tuple[list[pd.DataFrame], Floats]:
    """Windows of which a quarter of one column is another window's, as rows and as numbers."""
    rng, made, values = np.random.default_rng([seed, 54]), [], held.values.copy()
    for i, name, run in _runs(held, seed, 55):
        other = int((i + 1 + rng.integers(max(len(held.rows) - 1, 1))) % len(held.rows))
        rows = held.rows[i].copy()
        cells = rows[name].to_numpy().copy()
        cells[run] = held.rows[other][name].to_numpy()[run]
        rows[name] = cells
        values[i, run, held.columns[name]] = held.values[other, run, held.columns[name]]
        made.append(rows)
    return made, values


def scoring_between(
    train: Floats, usual: Floats, strange: Floats, scores: Callable[[], tuple[Floats, Floats]]
) -> Score:
    """The AUC of scores of usual and strange windows beside that of the distance to the nearest training window."""
    plain = [_nearest(part, train) for part in (usual, strange)]
    own = scores()
    note = f"{len(usual)} held-out windows against the same with a quarter of a column from another; the floor is the "
    note += "distance to the nearest training window"
    return told_apart(NAMES[2], own, (plain[0], plain[1]), note)


def _nearest(windows: Floats, train: Floats) -> Floats:
    a, b = windows.reshape(len(windows), -1), train.reshape(len(train), -1)
    return np.asarray(((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T).min(axis=1))


def gain_score(train: Floats, test: Floats, made: Floats, seed: int) -> Score:
    """How far the error of ridge forecasts falls, in powers of ten, when as many synthetic windows are added.

    The mean over 20, 100 and 500 real windows.

    The floor is no gain, the ceiling what as many further real windows give; all of the same draws of real windows.
    """
    name = NAMES[3]
    sizes = [n for n in SIZES if 2 * n <= len(train) and n <= len(made)]
    if not sizes:
        return not_computed(name, f"{len(train)} training windows are too few for {SIZES[0]} and as many others")
    horizon = max(test.shape[1] // PART, 1)
    gains: dict[str, list[list[float]]] = {"synthetic": [], "real": []}
    for turn in range(REPEATS):
        found: dict[str, list[float]] = {"synthetic": [], "real": []}
        for n in sizes:
            rng = np.random.default_rng([seed, 56, n, turn])
            order, drawn = rng.permutation(len(train)), made[rng.permutation(len(made))[:n]]
            own = train[order[:n]]
            alone = _error(own, test, horizon)
            for arm, more in (("synthetic", drawn), ("real", train[order[n : 2 * n]])):
                both = _error(np.concatenate([own, more]), test, horizon)
                found[arm].append(math.log10(max(alone, TINY) / max(both, TINY)))
        for arm, values in found.items():
            gains[arm].append(values)
    every = [(arm, i, n) for arm in gains for i, n in enumerate(sizes)]
    detail = {f"{arm}, {n} windows": mean([turn[i] for turn in gains[arm]]) for arm, i, n in every}
    means = {arm: [mean(turn) for turn in turns] for arm, turns in gains.items()}
    note = f"ridge regression of the last {horizon} steps from {', '.join(map(str, sizes))} real windows and as many "
    note += f"synthetic, {REPEATS} draws; {NOTE}"
    return between(
        name, mean(means["synthetic"]), "higher", [0.0] * REPEATS, means["real"], low=None, high=None, n=len(test),
        note=note, detail=detail, is_mean=True,
    )  # fmt: skip


def _error(train: Floats, test: Floats, horizon: int) -> float:
    said = ridge_forecast(train, test[:, :-horizon], horizon)
    return float(np.abs(said - test[:, -horizon:]).mean())


def _encoded(codec: SeriesCodec, rows: Sequence[pd.DataFrame], **options: Any) -> Tensor:  # noqa: ANN401
    """Windows of one length as the model takes them, (n, t, D)."""
    return torch.cat([codec.encode_whole(part, **options) for part in rows])
