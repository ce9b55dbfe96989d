"""One panel for one column, real against synthetic: a density, bars for what is counted, or both where values stick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from datakiln.plots.marginals import Floats, category_shares, density, numbers, spikes, view
from datakiln.plots.style import MUTED, REAL, SYNTHETIC, bare, compact, note, round_ticks, share_labels, shorten
from datakiln.schema import Field

FEW_INTEGERS, FEW_NUMBERS = 25, 10
BINS, BAR = 32, 0.4


@dataclass(frozen=True)
class Pair:
    """Observed values of one numeric column in both samples, with the shares of cells that are missing."""

    field: Field
    real: Floats
    synthetic: Floats
    missing: tuple[float, float]


def draw_column(axes: Axes, field: Field, real: pd.Series, synthetic: pd.Series) -> None:
    """The panel that suits the column."""
    axes.set_title(shorten(field.name, 34))
    if field.is_choice:
        _categories(axes, category_shares(real, synthetic, field.order))
        return
    samples = [numbers(series, field) for series in (real, synthetic)]
    a, b = (sample[~np.isnan(sample)] for sample in samples)
    missing = (1 - len(a) / max(len(real), 1), 1 - len(b) / max(len(synthetic), 1))
    pair = Pair(field, a, b, missing)
    if not len(a) and not len(b):
        _empty(axes)
    elif _is_counted(pair):
        _counts(axes, pair)
    elif len(sticky := spikes(a, b)):
        _spiked(axes, pair, sticky)
    else:
        _density(axes, pair)


def _is_counted(pair: Pair) -> bool:
    distinct = len(np.unique(np.concatenate([pair.real, pair.synthetic])))
    whole = pair.field.type == "integer" and distinct <= FEW_INTEGERS
    return whole or (pair.field.type != "datetime" and distinct <= FEW_NUMBERS)


def _density(axes: Axes, pair: Pair) -> None:
    low, high = view(pair.real, pair.synthetic)
    for sample, colour in ((pair.real, REAL), (pair.synthetic, SYNTHETIC)):
        if len(sample):
            grid, height = density(sample, low, high)
            axes.fill_between(grid, height, color=colour, alpha=0.16, linewidth=0)
            axes.plot(grid, height, color=colour)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)  # room for the remark
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0)
    _value_axis(axes, pair.field)
    note(axes, _remarks(pair, (low, high)))


def _counts(axes: Axes, pair: Pair) -> None:
    values = np.unique(np.concatenate([pair.real, pair.synthetic]))
    place = np.arange(len(values))
    for sample, colour, side in ((pair.real, REAL, -1), (pair.synthetic, SYNTHETIC, 1)):
        counts = np.bincount(np.searchsorted(values, sample), minlength=len(values)) / max(len(sample), 1)
        axes.bar(place + side * BAR / 2, counts, BAR, color=colour, alpha=0.8)
    every = -(-len(values) // 9)
    axes.set_xticks(place[::every], [_label(value, pair.field) for value in values[::every]])
    axes.grid(axis="x", visible=False)
    _share_axis(axes)
    if remarks := _remarks(pair):
        axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
        note(axes, remarks)


def _spiked(axes: Axes, pair: Pair, sticky: Floats) -> None:
    """Left, the shares of all values at the spikes; right, a histogram of the values beside them."""
    bare(axes)
    axes.set(xticks=[], yticks=[])
    width = 0.1 + 0.09 * len(sticky)
    left, right = axes.inset_axes((0, 0, width, 1)), axes.inset_axes((width + 0.09, 0, 0.91 - width, 1))
    place = np.arange(len(sticky))
    rests, shares = [], []
    for sample, colour, side in ((pair.real, REAL, -1), (pair.synthetic, SYNTHETIC, 1)):
        share = np.array([(sample == value).mean() if len(sample) else 0.0 for value in sticky])
        left.bar(place + side * BAR / 2, share, BAR, color=colour, alpha=0.8)
        rests.append(sample[~np.isin(sample, sticky)])
        shares.append(1 - share.sum())
    left.set_xticks(place, [_label(value, pair.field) for value in sticky])
    left.set_xlim(-0.7, len(sticky) - 0.3)
    left.grid(axis="x", visible=False)
    _share_axis(left)
    _histogram(right, Pair(pair.field, rests[0], rests[1], pair.missing))
    right.set_xlabel(f"the other {_percent(shares[0])} | {_percent(shares[1])}", fontsize=7.5)


def _histogram(axes: Axes, pair: Pair) -> None:
    if not len(pair.real) and not len(pair.synthetic):
        _empty(axes)
        return
    low, high = view(pair.real, pair.synthetic)
    edges = _edges(low, high, whole=pair.field.type == "integer")
    for sample, colour in ((pair.real, REAL), (pair.synthetic, SYNTHETIC)):
        counts = np.histogram(sample, edges)[0] / max(len(sample), 1)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.18)
        axes.stairs(counts, edges, color=colour, linewidth=1.2)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0)
    _value_axis(axes, pair.field)
    note(axes, _remarks(pair, (low, high)))


def _edges(low: float, high: float, whole: bool) -> Floats:
    """Borders of about 32 bins; between whole numbers where the values are whole, or bins would hold unequal many."""
    if not whole:
        return np.linspace(low, high if high > low else low + 1, BINS + 1)
    width = max(1, int(np.ceil((high - low + 1) / BINS)))
    return np.arange(np.floor(low) - 0.5, np.ceil(high) + 0.5 + width, width)


def _categories(axes: Axes, shares: pd.DataFrame) -> None:
    place = np.arange(len(shares))
    axes.barh(place - BAR / 2, shares["real"], BAR, color=REAL, alpha=0.8)
    axes.barh(place + BAR / 2, shares["synthetic"], BAR, color=SYNTHETIC, alpha=0.8)
    crowded = len(shares) > 9
    axes.set_yticks(place, [shorten(name, 18) for name in shares.index], fontsize=6 if crowded else 8)
    axes.set_ylim(max(len(shares), 3) - 0.5, -0.5)  # few categories keep bars of a common height
    axes.xaxis.set_major_locator(round_ticks(5))
    axes.xaxis.set_major_formatter(share_labels)
    axes.grid(axis="y", visible=False)


def _share_axis(axes: Axes) -> None:
    axes.yaxis.set_major_locator(round_ticks(5))
    axes.yaxis.set_major_formatter(share_labels)


def _value_axis(axes: Axes, field: Field) -> None:
    if field.type == "datetime":
        locator = mdates.AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    else:
        axes.xaxis.set_major_locator(round_ticks(5, integer=field.type == "integer"))
        axes.xaxis.set_major_formatter(FuncFormatter(compact))


def _label(value: float, field: Field) -> str:
    if field.type == "datetime":
        return str(np.datetime64(int(value), "D"))
    return compact(value if value % 1 == 0 else float(f"{value:.4g}"))


def _remarks(pair: Pair, shown: tuple[float, float] | None = None) -> str:
    """What the picture leaves out, as shares of the real and the synthetic cells."""
    lines = []
    if max(pair.missing) > 0:
        lines.append(f"missing {_percent(pair.missing[0])} | {_percent(pair.missing[1])}")
    if shown is not None:
        out = [float(np.mean((s < shown[0]) | (s > shown[1]))) if len(s) else 0.0 for s in (pair.real, pair.synthetic)]
        if max(out) > 0:
            lines.append(f"beyond {_percent(out[0])} | {_percent(out[1])}")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "0 %" if share <= 0 else "<0.1 %" if share < 1e-3 else f"{100 * share:.{0 if share >= 0.1 else 1}f} %"


def _empty(axes: Axes) -> None:
    bare(axes)
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "no observed value", transform=axes.transAxes, ha="center", va="center", color=MUTED)
