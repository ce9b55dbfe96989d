"""Pictures of series: paths side by side, bands over time, autocorrelations, spectra, windows, a forecast's fan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from datakiln.plots.latent import clouds_plot
from datakiln.plots.style import (
    MUTED,
    REAL,
    SYNTHETIC,
    compact,
    new_figure,
    panels,
    round_ticks,
    save,
    share_labels,
    shorten,
    styled,
)

MOST_COLUMNS = 6
PATHS = 5
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_FEATURES = 600  # cells of a window that its principal axes are told from
Floats = np.ndarray


@styled
def paths_plot(names: tuple[str, ...], real: Floats, synthetic: Floats, path: Path) -> Path:
    """Some real windows on the left and as many synthetic ones on the right, a row for each column.

    A column of 0 and 1 is drawn as lanes, one above the other, in which a bar stands for 1.
    """
    shown = min(len(names), MOST_COLUMNS)
    figure = new_figure(7.5, 1.4 * shown + 0.7)
    grid = figure.subplots(shown, 2, sharex=True, sharey="row", squeeze=False)
    for j in range(shown):
        is_switch = _is_switch(real[..., j])
        for axes, part, colour in zip(grid[j], (real, synthetic), (REAL, SYNTHETIC), strict=True):
            chosen = part[np.linspace(0, len(part) - 1, min(PATHS, len(part))).round().astype(int), :, j]
            (_lanes if is_switch else _lines)(axes, chosen, colour)
        grid[j, 0].set_ylabel(shorten(names[j], 16), rotation=0, ha="right", va="center", labelpad=8)
        if not is_switch:
            _plain_ticks(grid[j, 0])
    for axes, title in zip(grid[0], ("Real", "Synthetic"), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set(xlabel="step", xlim=(0.5, real.shape[1] + 0.5))
        axes.xaxis.set_major_locator(round_ticks(6, integer=True))
    figure.align_ylabels(grid[:, 0])
    return save(figure, path, f"At most {PATHS} sample paths, real on the left and synthetic on the right.")


@styled
def bands_plot(names: tuple[str, ...], real: Floats, synthetic: Floats, path: Path) -> Path:
    """Quantiles of each column over the steps of a window: the middle half and nine tenths, and the median.

    Of a column of 0 and 1 the share of windows in which it is 1.
    """
    shown = min(len(names), MOST_COLUMNS)
    figure, grid = panels(shown, 2.0)
    steps = np.arange(1, real.shape[1] + 1)
    for j, axes in enumerate(grid):
        is_switch = _is_switch(real[..., j])
        for part, colour in ((real, REAL), (synthetic, SYNTHETIC)):
            if is_switch:
                axes.plot(steps, part[..., j].mean(axis=0), color=colour)
                continue
            levels = np.quantile(part[..., j], LEVELS, axis=0)
            axes.fill_between(steps, levels[0], levels[4], color=colour, alpha=0.13, linewidth=0)
            axes.fill_between(steps, levels[1], levels[3], color=colour, alpha=0.22, linewidth=0)
            axes.plot(steps, levels[2], color=colour)
        if is_switch:
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(share_labels)
        else:
            _plain_ticks(axes)
        axes.set(title=shorten(names[j], 34), xlabel="step", xlim=(1, len(steps)))
        axes.xaxis.set_major_locator(round_ticks(6, integer=True))
    _legend(figure)
    told = "Quantiles over time: median, middle half and nine tenths of the windows (of categories their share)"
    return save(figure, path, f"{told}, real and synthetic.")


@styled
def autocorrelation_plot(names: tuple[str, ...], real: Floats, synthetic: Floats, path: Path) -> Path:
    """Autocorrelations of each column by lag, arrays (lags, C)."""
    shown = min(len(names), MOST_COLUMNS)
    figure, grid = panels(shown, 2.0)
    for j, axes in enumerate(grid):
        for part, colour in ((real, REAL), (synthetic, SYNTHETIC)):
            axes.plot(np.arange(1, len(part) + 1), part[:, j], color=colour, marker="o", markersize=2.5)
        axes.axhline(0.0, color=MUTED, linewidth=0.6)
        axes.set(title=shorten(names[j], 34), xlabel="lag, in steps")
        axes.xaxis.set_major_locator(round_ticks(6, integer=True))
    _legend(figure)
    return save(figure, path, "Autocorrelation by lag, real and synthetic.")


@styled
def spectra_plot(names: tuple[str, ...], real: Floats, synthetic: Floats, steps: int, path: Path) -> Path:
    """Mean power spectra of windows, mean taken out, as logarithms to base 10.

    Arguments:
        names: Of the columns.
        real: Of frequencies 1 / steps to 1 / 2 and each column, (F, C).
        synthetic: The same of synthetic windows.
        steps: Of a window.
        path: The PNG to write.
    """
    shown = min(len(names), MOST_COLUMNS)
    figure, grid = panels(shown, 2.0)
    frequencies = np.arange(1, len(real) + 1) / steps
    for j, axes in enumerate(grid):
        for part, colour in ((real, REAL), (synthetic, SYNTHETIC)):
            axes.plot(frequencies, part[:, j], color=colour)
        axes.set(title=shorten(names[j], 34), xlabel="cycles per step", xlim=(0.0, 0.5))
        axes.xaxis.set_major_locator(round_ticks(6))
        axes.yaxis.set_major_locator(round_ticks(4))
        if j == 0:
            axes.set_ylabel("power, log10")
    _legend(figure)
    told = "Mean power spectra of windows, their means taken out, as powers of ten"
    return save(figure, path, f"{told}, real and synthetic.")


def windows_plot(real: Floats, synthetic: Floats, path: Path) -> Path:
    """Windows (n, T, C) along the first two principal axes of the real ones, each column in its standard deviations."""
    at = np.unique(np.linspace(0, real.shape[1] - 1, max(MOST_FEATURES // real.shape[2], 1)).round().astype(int))
    middle, scale = real.mean(axis=(0, 1)), real.std(axis=(0, 1))
    scale = np.where(scale > 0, scale, 1.0)
    x, y = (((part[:, at] - middle) / scale).reshape(len(part), -1) for part in (real, synthetic))
    told = "Windows along the first two principal axes of the real ones, columns in standard deviations"
    return clouds_plot(x, y, (len(real), len(synthetic)), "windows", path, told)


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


def _lines(axes: Axes, chosen: Floats, colour: str) -> None:
    """Paths (n, T) over each other."""
    axes.plot(np.arange(1, chosen.shape[1] + 1), chosen.T, color=colour, alpha=0.75, linewidth=1.0)


def _lanes(axes: Axes, chosen: Floats, colour: str) -> None:
    """Paths (n, T) of 0 and 1, a lane for each; the first on top."""
    steps = np.arange(0.5, chosen.shape[1] + 1)
    for i, lane in enumerate(chosen):
        low = len(chosen) - 1 - i
        axes.stairs(low + 0.7 * (lane > 0.5), steps, baseline=low, color=colour, alpha=0.75, fill=True)
        axes.plot(steps[[0, -1]], [low, low], color=colour, linewidth=0.6)
    axes.set(yticks=[], ylim=(-0.15, len(chosen)))
    axes.grid(False)


def _is_switch(x: Floats) -> bool:
    """Whether a column holds nothing but 0 and 1."""
    return bool(((x == 0.0) | (x == 1.0)).all())


def _plain_ticks(axes: Axes) -> None:
    """Short numbers at few places, with no power of ten beside the axis."""
    axes.yaxis.set_major_locator(round_ticks(4))
    axes.yaxis.set_major_formatter(FuncFormatter(compact))
