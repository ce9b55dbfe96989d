"""Pictures of series: paths side by side, bands over time, autocorrelations, a forecast's fan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from datakiln.plots.style import MUTED, REAL, SYNTHETIC, new_figure, panels, save, shorten, styled

MOST_COLUMNS = 6
PATHS = 5
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
Floats = np.ndarray


@styled
def paths_plot(names: tuple[str, ...], real: Floats, synthetic: Floats, path: Path) -> Path:
    """Some real windows on the left and as many synthetic ones on the right, a row for each column."""
    shown = min(len(names), MOST_COLUMNS)
    figure = new_figure(7.5, 1.5 * shown + 0.5)
    grid = figure.subplots(shown, 2, sharex=True, sharey="row", squeeze=False)
    for j in range(shown):
        for side, (part, colour) in enumerate(((real, REAL), (synthetic, SYNTHETIC))):
            axes = grid[j, side]
            for at in np.linspace(0, len(part) - 1, min(PATHS, len(part))).round().astype(int):
                axes.plot(part[at, :, j], color=colour, alpha=0.7, linewidth=1.0)
            if side == 0:
                axes.set_title(shorten(names[j], 34))
            if j == shown - 1:
                axes.set_xlabel("step")
    _legend(figure)
    return save(figure, path, "Sample paths, real on the left and synthetic on the right.")


@styled
def bands_plot(names: tuple[str, ...], real: Floats, synthetic: Floats, path: Path) -> Path:
    """Quantiles of each column over the steps of a window: the middle half and nine tenths, and the median."""
    shown = min(len(names), MOST_COLUMNS)
    figure, grid = panels(shown, 2.0)
    for j, axes in enumerate(grid):
        for part, colour in ((real, REAL), (synthetic, SYNTHETIC)):
            levels = np.quantile(part[..., j], LEVELS, axis=0)
            steps = np.arange(part.shape[1])
            axes.fill_between(steps, levels[0], levels[4], color=colour, alpha=0.15, linewidth=0)
            axes.fill_between(steps, levels[1], levels[3], color=colour, alpha=0.25, linewidth=0)
            axes.plot(steps, levels[2], color=colour)
        axes.set_title(shorten(names[j], 34))
        axes.set_xlabel("step")
    _legend(figure)
    return save(figure, path, "Quantiles over time (5, 25, 50, 75, 95 %), real and synthetic.")


@styled
def autocorrelation_plot(names: tuple[str, ...], real: Floats, synthetic: Floats, path: Path) -> Path:
    """Autocorrelations of each column by lag, arrays (lags, C)."""
    shown = min(len(names), MOST_COLUMNS)
    figure, grid = panels(shown, 2.0)
    for j, axes in enumerate(grid):
        for part, colour in ((real, REAL), (synthetic, SYNTHETIC)):
            axes.plot(np.arange(1, len(part) + 1), part[:, j], color=colour, marker="o", markersize=2.5)
        axes.axhline(0.0, color=MUTED, linewidth=0.6)
        axes.set_title(shorten(names[j], 34))
        axes.set_xlabel("lag, in steps")
    _legend(figure)
    return save(figure, path, "Autocorrelation by lag, real and synthetic.")


@styled
def fan_plot(names: list[str], history: Floats, quantiles: Floats, path: Path) -> Path:
    """The end of a history and the quantiles of its continuations.

    Arguments:
        names: Of the columns.
        history: Last steps, (t, C).
        quantiles: Of continuations at 5, 25, 50, 75 and 95 %, (5, horizon, C).
        path: Where to.
    """
    shown = min(len(names), MOST_COLUMNS)
    figure, grid = panels(shown, 2.2)
    for j, axes in enumerate(grid):
        past, steps = np.arange(-len(history) + 1, 1), np.arange(1, quantiles.shape[1] + 1)
        axes.plot(past, history[:, j], color=REAL)
        axes.fill_between(steps, quantiles[0, :, j], quantiles[4, :, j], color=SYNTHETIC, alpha=0.2, linewidth=0)
        axes.fill_between(steps, quantiles[1, :, j], quantiles[3, :, j], color=SYNTHETIC, alpha=0.35, linewidth=0)
        axes.plot(steps, quantiles[2, :, j], color=SYNTHETIC)
        axes.set_title(shorten(names[j], 34))
        axes.set_xlabel("steps ahead")
    _legend(figure, "history", "forecast (5, 25, 50, 75, 95 %)")
    return save(figure, path, "History and quantiles of its continuations.")


def _legend(figure: Figure, real: str = "real", synthetic: str = "synthetic") -> None:
    handles = [Patch(facecolor=colour, alpha=0.8, linewidth=0) for colour in (REAL, SYNTHETIC)]
    figure.legend(handles, [real, synthetic], loc="outside upper left", ncols=2, handlelength=1.2, handleheight=0.9)
