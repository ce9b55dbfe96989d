"""The look that all pictures share, and how they are written.

Real data has one colour and synthetic data another, everywhere (Okabe and Ito's palette, told apart under every common
colour blindness). Each picture carries its caption as PNG text, so that whoever shows it need not know who drew it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datakiln.saying import visible
from datakiln.storage import replacing

REAL, SYNTHETIC = "#0072B2", "#D55E00"
INK, MUTED, GRID = "#1f2933", "#66727f", "#e3e8ed"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#555555", "#B8A900", "#7B4FA3")
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
DPI = 150
# DejaVu, which comes with matplotlib, has no Chinese, Japanese or Korean: these are asked where installed
FALLBACKS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Hiragino Sans", "Microsoft YaHei")
RC: Any = {
    "font.size": 9,
    "font.family": ["DejaVu Sans", *(name for name in FALLBACKS if name in font_manager.get_font_names())],
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a column name is a dollar sign
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 9,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b8c2cc",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.limits": (-4, 6),
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
styled = rc_context(RC)  # a decorator: the look holds inside the function and nowhere else


class Drawing(Figure):
    """A figure that a notebook shows without pyplot, which would choose a backend for the whole process."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        FigureCanvasAgg(self).print_png(buffer)
        return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches, that lays itself out."""
    return Drawing(
        figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.05)
    )


def plain_figure(pixels: np.ndarray, dpi: float) -> Figure:
    """A picture of shape (H, W, 3) at its own size, with nothing around it."""
    figure = Drawing(figsize=(pixels.shape[1] / dpi, pixels.shape[0] / dpi), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels, interpolation="nearest")
    axes.set_axis_off()
    return figure


def panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of this height in inches, at most three in a row, with room for a legend on top."""
    across = 2 if count == 4 else min(count, 3)
    down = -(-count // across)
    figure = new_figure(3.5 * across, height * down + 0.4)
    grid = figure.add_gridspec(down, across)
    return figure, [figure.add_subplot(grid[i // across, i % across]) for i in range(count)]


def legend_on_top(figure: Figure, n_real: int, n_synthetic: int, noun: str = "rows") -> None:
    """The legend of every picture that holds real against synthetic data."""
    handles = [Patch(facecolor=colour, alpha=0.8, linewidth=0) for colour in (REAL, SYNTHETIC)]
    labels = [f"real ({n_real:,} {noun})", f"synthetic ({n_synthetic:,} {noun})"]
    figure.legend(handles, labels, loc="outside upper left", ncols=2, handlelength=1.2, handleheight=0.9)


def bare(axes: Axes) -> None:
    """Takes frame, grid and ticks away."""
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def round_ticks(count: int, integer: bool = False) -> MaxNLocator:
    """At most `count` ticks at round numbers: 1, 2, 2.5 or 5 times a power of ten apart."""
    return MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], integer=integer)


def compact(value: float, _: object = None) -> str:
    """A tick label that stays short: 12.5, 150k, 2M."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (unit > 1e3 and abs(value) >= unit):
            return f"{value / unit:.6g}{letter}".replace("-", "−")
    return f"{value:.6g}".replace("-", "−")


share_labels = FuncFormatter(lambda share, _: f"{100 * share:.3g}%")


def note(axes: Axes, text: str) -> None:
    """A small remark in the upper right corner."""
    axes.text(0.99, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=7.5, color=MUTED)


def shorten(text: object, width: int = 22) -> str:
    """At most `width` characters on one line, the middle left out."""
    line = visible(" ".join(str(text).split())) or "(blank)"
    return line if len(line) <= width else f"{line[: width - width // 3 - 1]}…{line[-(width // 3) :]}"


def colours(count: int) -> Sequence[Any]:
    """As many colours as there are classes: the palette, then evenly spaced ones."""
    if count <= len(PALETTE):
        return PALETTE[:count]
    from matplotlib import colormaps

    return [colormaps["turbo"]((i + 0.5) / count) for i in range(count)]


def save(figure: Figure, path: Path, caption: str, is_photo: bool = False) -> Path:
    """Writes the PNG under its name once it is complete; the caption goes into the file as its description.

    A drawing keeps its 256 most useful colours, which it does not exceed visibly and which halves its size; what shows
    photographs keeps all.
    """
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box: no font here has it
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture = picture if is_photo else picture.quantize(256, dither=Image.Dither.NONE)
    text = PngInfo()
    text.add_text("Description", caption)
    with replacing(path) as partial:
        picture.save(partial, format="PNG", optimize=True, dpi=(DPI, DPI), pnginfo=text)
    return path
