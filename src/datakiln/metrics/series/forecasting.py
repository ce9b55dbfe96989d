"""Forecasts by plain means and their errors: the last value or that of a season ago, and ridge regression.

Windows are arrays (n, T, C); their first T - H steps are known, the last H are forecast.
"""

from __future__ import annotations

import numpy as np

from datakiln.metrics.series.sets import Floats

RIDGES = np.logspace(-3, 3, 7)  # tried by leaving one window out


def naive_forecast(train: Floats, context: Floats, horizon: int) -> Floats:
    """The value of a season ago for every step, or the last one, by column what was better in training windows.

    Arguments:
        train: Whole windows (n, T, C), which choose the season of each column.
        context: The known steps of others, (m, T - H, C).
        horizon: H.

    Returns:
        Shape (m, H, C).
    """
    known = train.shape[1] - horizon
    seen, truth = train[:, :known], train[:, known:]
    seasons = range(2, known + 1)
    errors = [np.abs(_last(seen, horizon) - truth).mean(axis=(0, 1))]
    errors += [np.abs(_season(seen, horizon, s) - truth).mean(axis=(0, 1)) for s in seasons]
    best = np.argmin(np.stack(errors), axis=0)
    made = [_last(context, horizon), *(_season(context, horizon, s) for s in seasons)]
    return np.stack([made[k][..., c] for c, k in enumerate(best)], axis=2)


def _last(context: Floats, horizon: int) -> Floats:
    return np.repeat(context[:, -1:], horizon, axis=1)


def _season(context: Floats, horizon: int, season: int) -> Floats:
    return context[:, context.shape[1] - season + np.arange(horizon) % season]


def ridge_forecast(train: Floats, context: Floats, horizon: int) -> Floats:
    """Each future cell by ridge regression on all known cells, (m, H, C); arguments as of `naive_forecast`."""
    from sklearn.linear_model import RidgeCV

    known = train.shape[1] - horizon
    x, y = train[:, :known].reshape(len(train), -1), train[:, known:].reshape(len(train), -1)
    middle, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    model = RidgeCV(RIDGES).fit((x - middle) / scale, y)
    said = model.predict((context.reshape(len(context), -1) - middle) / scale)
    return np.asarray(said, np.float64).reshape(len(context), horizon, train.shape[2])


def interpolated(windows: Floats, hidden: Floats) -> Floats:
    """Windows (n, T, C) with hidden cells, bool of the same shape, on a line between the known ones of their column."""
    made, steps = windows.copy(), np.arange(windows.shape[1])
    for i, c in zip(*np.nonzero(hidden.any(axis=1)), strict=True):
        at = hidden[i, :, c]
        if not at.all():
            made[i, at, c] = np.interp(steps[at], steps[~at], windows[i, ~at, c])
    return made


def folds(errors: Floats, parts: int = 5) -> list[float]:
    """Means of consecutive parts of errors by window, (n,): neighbours are alike, so that chance is that of parts."""
    return [float(part.mean()) for part in np.array_split(errors, min(parts, len(errors)))]
