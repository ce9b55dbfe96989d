"""Pictures of pictures: real beside synthetic, nearest neighbours, and how samples changed while training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from datakiln.plots.grids import ACROSS, GAP, Pixels, grid
from datakiln.plots.style import REAL, SYNTHETIC, new_figure, save, styled

WIDTH = 8.2  # inches
COLUMN_GAP = 0.19  # inches that the layout leaves between columns, which are so much narrower than their share


@styled
def beside(real: Pixels, synthetic: Pixels, path: Path) -> Path:
    """Real pictures on the left, synthetic ones on the right, each (n, C, H, W); returns the path."""
    figure = new_figure(WIDTH, 4.3)
    left, right = figure.subplots(1, 2)
    _show(left, grid(real))
    _show(right, grid(synthetic))
    left.set_title("real (training)", color=REAL)
    right.set_title("synthetic", color=SYNTHETIC)
    caption = f"{len(real)} real training pictures and {len(synthetic)} synthetic ones, neither chosen by hand."
    return save(figure, path, caption, is_photo=True)


@styled
def columns(parts: Sequence[tuple[str, Pixels]], path: Path, caption: str) -> Path:
    """What was made of pictures beside them, a row each; returns the path.

    Arguments:
        parts: Title and pictures (n, C, H, W) of each column, row by row the same picture.
        path: The PNG to write.
        caption: What is shown.
    """
    count = max(len(pictures) for _, pictures in parts)
    wide = min(WIDTH, 1.1 * len(parts))
    figure = new_figure(wide, (wide / len(parts) - COLUMN_GAP) * count + 0.5)
    for axes, (title, pictures) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        _show(axes, grid(pictures, columns=1))
        axes.set_title(title, fontsize="small")
    return save(figure, path, caption, is_photo=True)


@styled
def neighbours(samples: Pixels, nearest: Pixels, distances: NDArray[np.floating], path: Path) -> Path:
    """Each sample (first column) and the training pictures nearest to it in pixels; returns the path.

    Arguments:
        samples: Shape (n, C, H, W).
        nearest: Shape (n, k, C, H, W), nearest first.
        distances: Root mean square differences in grey levels, shape (n, k).
        path: The PNG to write.
    """
    half, k = -(-len(samples) // 2), nearest.shape[1]
    figure = new_figure(WIDTH, 0.6 * half + 0.5)
    for axes, rows in zip(figure.subplots(1, 2), (slice(0, half), slice(half, None)), strict=True):
        lined = np.concatenate([samples[rows, None], nearest[rows]], axis=1)
        _show(axes, grid(lined.reshape(-1, *samples.shape[1:]), columns=k + 1))
        axes.set_title("sample", color=SYNTHETIC, loc="left")
        axes.set_title(f"its {k} nearest training pictures", color=REAL, loc="right")
    caption = (
        f"Memorisation check: {len(samples)} samples (first columns) and the training pictures nearest to them, pixel "
        f"by pixel; the nearest differ by {np.median(distances[:, 0]):.1f} of 255 grey levels (RMS, median)."
    )
    return save(figure, path, caption, is_photo=True)


@styled
def filmstrip(files: Sequence[Path], path: Path, most: int = 8) -> Path | None:
    """The first row of several grids, one below the other, each a moment of training; None with fewer than two grids.

    Arguments:
        files: Square grids of `ACROSS` pictures a row, in order of time, named like `epoch-0012.png`.
        path: The PNG to write.
        most: Moments shown at most, evenly chosen, the first and the last among them.
    """
    if len(files) < 2:
        return None
    chosen = [files[round(i)] for i in np.linspace(0, len(files) - 1, min(most, len(files)))]
    figure = new_figure(WIDTH, 1.0 * len(chosen))
    for axes, file in zip(figure.subplots(len(chosen), 1), chosen, strict=True):
        with Image.open(file) as picture:
            row = np.asarray(picture.convert("RGB"))[: (picture.height - GAP) // ACROSS + GAP]
        _show(axes, row)
        axes.set_title(f"epoch {int(file.stem.removeprefix('epoch-'))}", fontsize=8, fontweight="normal", pad=2)
    return save(figure, path, "Samples of the same latents while training.", is_photo=True)


def _show(axes: Axes, pixels: Pixels) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.axis("off")
