"""Curves of a training run, from the rows of its metrics.csv."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from datakiln.plots.style import MUTED, PALETTE, colours, panels, round_ticks, save, shorten, styled

STAGES: dict[str, tuple[str, Literal["-", ":"]]] = {
    "train": (PALETTE[0], "-"),
    "val": (PALETTE[1], "-"),
    "refit": (PALETTE[2], "-"),
    "test": ("#333333", ":"),
}
SETTLING, ZOOM = 0.04, 0.3
Curves = dict[str, dict[str, list[pd.Series]]]  # figure -> stage -> one curve for each element


@styled
def loss_curves(history: pd.DataFrame, path: Path, best_epoch: int | None = None) -> Path:
    """Small multiples of every logged figure over the epochs, training and validation in one panel.

    The history counts epochs from 0, as Lightning does; the picture counts them from 1, as people do.

    Arguments:
        history: Columns "epoch" and "step", and figures named "stage/figure" ("train/loss"), with "stage/figure/0" and
            so on for the elements of a vector; NaN where a row does not hold a figure.
        path: The PNG to write.
        best_epoch: The epoch to mark, counted as in the history; None marks the lowest val/loss, if there is one.

    Raises:
        ValueError: No figure was logged.
    """
    curves, unit = collect(history)
    if not curves:
        raise ValueError("the history holds no figure to draw")
    best = _lowest(curves) if best_epoch is None and unit == "epoch" else None if best_epoch is None else best_epoch + 1
    figure, axes = panels(len(curves), height=2.3)
    for panel, (name, stages) in zip(axes, curves.items(), strict=True):
        _panel(panel, name, stages, best)
    places = np.concatenate([line.index for stages in curves.values() for lines in stages.values() for line in lines])
    margin = 0.02 * (np.ptp(places) or 1.0)
    for panel in axes:
        panel.set_xlim(places.min() - margin, places.max() + margin)
    for panel in axes[-(len(axes) % 3 or 3) :]:
        panel.set_xlabel(unit)
    shown = [stage for stage in STAGES if any(stage in stages for stages in curves.values())]
    handles = [Line2D([], [], color=STAGES[stage][0], linestyle=STAGES[stage][1]) for stage in shown]
    if best is not None:
        handles.append(Line2D([], [], color=MUTED, linestyle="--", linewidth=1))
        shown.append(f"best epoch ({best})")
    figure.legend(handles, shown, loc="outside upper left", ncols=4)
    return save(figure, path, f"Training, by {unit}: every logged figure on the training and the validation split.")


def collect(history: pd.DataFrame) -> tuple[Curves, str]:
    """Curves by figure and stage, loss first, means of an epoch's rows; and what x is, "epoch" (from 1) or "step"."""
    unit = "epoch" if "epoch" in history and history["epoch"].nunique() > 1 else "step"
    curves: Curves = {}
    for column in history.columns.drop(["epoch", "step"], errors="ignore"):
        values = pd.to_numeric(history[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
        x = history[unit] if unit in history else history.index.to_series()
        x = x + 1 if unit == "epoch" else x
        curve = values.groupby(x).mean().dropna()
        stage, name = column.split("/", 1) if column.split("/", 1)[0] in STAGES and "/" in column else ("train", column)
        if len(curve):
            curves.setdefault(re.sub(r"/\d+$", "", name), {}).setdefault(stage, []).append(curve)
    watched = {name: stages for name, stages in curves.items() if set(stages) - {"test"}}
    return dict(sorted(watched.items(), key=lambda item: (item[0] != "loss", "/" in item[0]))), unit


def _panel(axes: Axes, name: str, stages: dict[str, list[pd.Series]], best: int | None) -> None:
    elements = max(map(len, stages.values()))
    axes.set_title(wrapped(name) + (f" ({elements} elements)" if elements > 1 else ""))
    for stage, lines in stages.items():
        colour, dash = STAGES[stage]
        if stage == "test":
            axes.axhline(float(lines[0].iloc[-1]), color=colour, linestyle=dash, linewidth=1.2)
            continue
        shades = [colour] if len(lines) == 1 else colours(len(lines))
        for line, shade in zip(lines, shades, strict=True):
            style = "-" if len(lines) == 1 or stage == "train" else ":"
            axes.plot(line.index, line, style, color=shade, linewidth=1.4, marker="." if len(line) < 3 else "")
    if best is not None:
        axes.axvline(best, color=MUTED, linestyle="--", linewidth=1)
    axes.xaxis.set_major_locator(round_ticks(6, integer=True))
    axes.yaxis.set_major_locator(round_ticks(5))
    _zoom(axes, [line for lines in stages.values() for line in lines])


def wrapped(name: str, width: int = 32) -> str:
    """A name on one line or two, broken after a slash or dash: what stands in its middle tells figures apart."""
    if len(name) <= width:
        return name
    parts = re.findall(r"[^/-]*[/-]|[^/-]+", name)
    first = next((i for i in range(len(parts), 0, -1) if len("".join(parts[:i])) <= width), 0)
    lines = ["".join(parts[:first]), "".join(parts[first:])] if first else [name]
    return "\n".join(shorten(line, width + 4) for line in lines)


def _zoom(axes: Axes, lines: list[pd.Series]) -> None:
    """Shows the curves after they settle where the first epochs would press them flat, and says so."""
    settled = pd.concat([line.iloc[max(1, int(SETTLING * len(line))) :] if len(line) > 10 else line for line in lines])
    everything = pd.concat(lines)
    low, high = float(settled.min()), float(settled.max())
    if high > low and float(everything.max() - everything.min()) * ZOOM > high - low:
        pad = 0.06 * (high - low)
        axes.set_ylim(low - pad, high + pad)
        axes.set_title("first epochs lie outside", loc="right", fontsize=7.5, fontweight="normal", color=MUTED)


def _lowest(curves: Curves) -> int | None:
    lines = curves.get("loss", {}).get("val", [])
    return int(cast(Any, lines[0].idxmin())) if lines else None
