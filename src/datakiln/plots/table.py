"""Pictures of a table, real against synthetic: every column, how columns go together, and both as clouds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from datakiln.plots.association import associations, codes, levels
from datakiln.plots.columns import draw_column
from datakiln.plots.latent import clouds_plot
from datakiln.plots.marginals import Floats, apart, numbers
from datakiln.plots.style import DIVERGING, legend_on_top, new_figure, panels, save, shorten, styled
from datakiln.schema import Schema

PAGE, MOST_PAGES = 12, 4  # panels of one picture, and pictures of columns: of more columns those that differ most
JUDGED_ROWS = 5_000  # which those are
MOST_ROWS = 100_000
CLIP = 4.0  # standard deviations: one far value must not shrink both clouds to a point
MEASURES = "Pearson's r between numeric columns; Cramér's V between choice columns; correlation ratio between the two"


@styled
def column_figure(schema: Schema, names: Sequence[str], real: pd.DataFrame, synthetic: pd.DataFrame) -> Figure:
    """A panel for each of these columns; ids, free text and constants have none."""
    (a, b), _ = _thinned(real, synthetic)
    figure, axes = panels(len(names), height=2.6)
    for panel, name in zip(axes, names, strict=True):
        draw_column(panel, schema[name], a[name], b[name])
    legend_on_top(figure, len(real), len(synthetic))
    return figure


def shown_columns(schema: Schema) -> list[str]:
    """The columns that have a panel."""
    return [field.name for field in schema.fields if field.is_numeric or field.is_choice]


@styled
def column_plots(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame, folder: Path) -> list[Path]:
    """Writes columns.png, or columns-01.png and so on at twelve columns a page; generated columns are left out.

    Of more than 48 columns those are drawn that differ most.
    """
    every = shown_columns(schema)
    names = _most_apart(schema, every, real, synthetic, PAGE * MOST_PAGES)
    remark = _thinned(real, synthetic)[1]
    pages = [names[i : i + PAGE] for i in range(0, len(names), PAGE)]
    those = "Every column" if len(names) == len(every) else f"The {len(names)} of {len(every)} columns that differ most"
    paths = []
    for number, page in enumerate(pages, start=1):
        figure = column_figure(schema, page, real, synthetic)
        name = "columns.png" if len(pages) == 1 else f"columns-{number:02d}.png"
        which = "" if len(pages) == 1 else f" (page {number} of {len(pages)})"
        caption = f"{those}, real against synthetic{which}: densities of numbers, shares of what is counted."
        paths.append(save(figure, folder / name, caption + remark))
    return paths


def _most_apart(schema: Schema, names: list[str], real: pd.DataFrame, synthetic: pd.DataFrame, most: int) -> list[str]:
    """So many of the columns, those whose samples are farthest apart, in the order of the table."""
    if len(names) <= most:
        return names
    few = [frame.iloc[:: max(len(frame) // JUDGED_ROWS, 1)] for frame in (real, synthetic)]
    far = np.array([apart(schema[name], few[0][name], few[1][name]) for name in names])
    return [names[i] for i in sorted(np.argsort(-far, kind="stable")[:most].tolist())]


@styled
def correlation_plot(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame, path: Path) -> Path | None:
    """Heatmaps of how strongly columns go together: real, synthetic, their difference; None for a single column."""
    if len(schema.numeric) + len(schema.choices) < 2:
        return None
    (a, b), remark = _thinned(real, synthetic)
    names, left, right = associations(schema, a, b)
    side = float(np.clip(1.3 + 0.34 * len(names), 3.3, 5.6))
    figure = new_figure(3 * side + 0.9, side + 0.9)
    axes = figure.subplots(1, 3, squeeze=False)[0]
    size = float(np.clip(34 * side / max(len(names), 1), 3.0, 8.0))
    signed = bool(schema.numeric)
    for panel, matrix, title in zip(axes, (left, right), ("Real", "Synthetic"), strict=False):
        image = _heatmap(panel, matrix, names, title, size)
    off = np.abs(right - left)[~np.eye(len(names), dtype=bool)]
    mean = f" (mean {np.nanmean(off):.3f})" if np.isfinite(off).any() else ""
    change = _heatmap(axes[2], right - left, names, f"Difference{mean}", size, limit=0.5)
    for panel in axes[1:]:
        panel.set_yticklabels([])
    figure.colorbar(image, ax=axes[:2], shrink=0.85, aspect=28, pad=0.01).outline.set_visible(False)
    figure.colorbar(change, ax=axes[2], shrink=0.85, aspect=28, pad=0.02).outline.set_visible(False)
    measures = MEASURES if schema.choices and signed else "Pearson's r" if signed else "Cramér's V"
    caption = f"How strongly columns go together: {measures}; grey where undefined. The difference is synthetic"
    return save(figure, path, f"{caption} minus real, in brackets its mean size off the diagonal.{remark}")


@styled
def embedding_plot(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame, path: Path) -> Path | None:
    """Both samples along the first two principal axes of the real data; None for a single column, which has no axes."""
    if len(schema.numeric) + len(schema.choices) < 2:
        return None
    x, y = _features(schema, *_thinned(real, synthetic)[0])
    caption = "Rows along the first two principal axes of the real data (numbers standardised, categories one-hot)"
    return clouds_plot(x, y, (len(real), len(synthetic)), "rows", path, caption)


def _heatmap(axes: Axes, matrix: Floats, names: list[str], title: str, size: float, limit: float = 1.0) -> AxesImage:
    image = axes.imshow(matrix, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title(title)
    axes.set_facecolor("#c9ced4")
    axes.grid(False)
    every = -(-len(names) // 60)
    place = np.arange(len(names))[::every]
    labels = [shorten(names[i], 18) for i in place]
    axes.set_xticks(place, labels, rotation=90, fontsize=size)
    axes.set_yticks(place, labels, fontsize=size)
    if len(names) <= 10:
        for (i, j), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 * limit else "#333"
            text = "" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    return image


def _features(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[Floats, Floats]:
    """Both samples as vectors: numbers in standard deviations of the real column, missing ones at its mean."""
    left: list[Floats] = []
    right: list[Floats] = []
    for name in schema.numeric:
        a, b = numbers(real[name], schema[name]), numbers(synthetic[name], schema[name])
        centre, scale = (np.nanmean(a), np.nanstd(a)) if np.isfinite(a).any() else (0.0, 0.0)
        for side, values in ((left, a), (right, b)):
            side.append(np.nan_to_num((values - centre) / (scale or 1.0)).clip(-CLIP, CLIP)[:, None])
    for name in schema.choices:
        known = levels(real[name])
        for side, frame in ((left, real), (right, synthetic)):
            side.append((codes(frame[name], known)[:, None] == np.arange(len(known) + 1)).astype(float))
    return np.hstack(left), np.hstack(right)


def _thinned(real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[tuple[pd.DataFrame, pd.DataFrame], str]:
    """At most 100,000 random rows of each, and the remark that says so."""
    if max(len(real), len(synthetic)) <= MOST_ROWS:
        return (real, synthetic), ""
    a, b = (frame.sample(min(len(frame), MOST_ROWS), random_state=0) for frame in (real, synthetic))
    return (a, b), f" Drawn from {MOST_ROWS:,} random rows of each."
