"""Pictures of studies: learners beside each other, mixtures, curves, importances, learning curves, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from datakiln.plots.style import MUTED, REAL, SYNTHETIC, colours, new_figure, panels, save, shorten, styled

Interval = tuple[float, float, float]  # value, low, high
Point = tuple[float, float, float, float]  # place, value, low, high
MOST_TICKS = 5
PAIR = {"real": REAL, "synthetic": SYNTHETIC}


@styled
def beside_real(
    found: Mapping[str, tuple[Interval, ...]], figure_name: str, guess: float | None, path: Path,
    arms: Sequence[str] = ("real", "synthetic"),
) -> Path:  # fmt: skip
    """Each learner (or group) on a line: what it reaches after learning from each arm, with intervals."""
    figure = new_figure(5.2, 0.9 + 0.42 * len(found))  # narrow: it is to be read on a phone too
    axes = figure.add_subplot()
    hues = [PAIR.get(arm, "#009E73") for arm in arms]
    for i, values in enumerate(found.values()):
        if len(values) > 1:
            axes.plot([value[0] for value in values[:2]], [i, i], color=MUTED, linewidth=1, zorder=1)
        for j, ((value, low, high), hue) in enumerate(zip(values, hues, strict=False)):
            y = i + 0.12 * (j - (len(values) - 1) / 2)
            axes.plot([low, high], [y, y], color=hue, linewidth=2, alpha=0.6)
            axes.plot([value], [y], "o", color=hue, markersize=6)
    if guess is not None:
        axes.axvline(guess, color=MUTED, linestyle=":", linewidth=1)
        axes.text(guess, -0.75, " guessing", color=MUTED, fontsize=7.5, va="center")
    axes.set_yticks(range(len(found)), [shorten(name, 30) for name in found])
    axes.set_ylim(len(found) - 0.4, -1.0)
    axes.set_xlabel(f"{figure_name} on real data that nothing else saw")
    handles = [Line2D([], [], color=hue, marker="o") for hue in hues]
    figure.legend(handles, [f"learnt from {arm}" for arm in arms], loc="outside upper left", ncols=len(arms))
    return save(figure, path, f"{figure_name} on the same real test data; bars are 95 % intervals.")


@styled
def mixtures(lines: Mapping[str, Mapping[str, Sequence[Point]]], figure_name: str, path: Path) -> Path:
    """The leading figure over the share of synthetic data: the total held fixed, and growing."""
    figure, axes = panels(2, height=2.8)
    titles = {"fixed": "synthetic in place of real", "growing": "synthetic added to all real"}
    for panel, (kind, title) in zip(axes, titles.items(), strict=True):
        for hue, kinds in zip(colours(len(lines)), lines.values(), strict=True):
            _line(panel, kinds[kind], hue)
        panel.set_title(title)
        panel.set_xlabel("share of synthetic data, %" if kind == "fixed" else "synthetic data added, % of the real")
        panel.set_ylabel(figure_name)
    figure.legend(_lines(len(lines)), list(lines), loc="outside upper left", ncols=3)
    return save(figure, path, f"{figure_name} of learners trained on mixtures; bands are 95 % intervals.")


@styled
def curves(found: Mapping[str, Mapping[str, Sequence[float]]], levels: Sequence[float], title: str, path: Path) -> Path:
    """Precision over recall, and how often what was said with a probability happened."""
    figure, (left, right) = panels(2, height=2.8)
    right.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    for arm, values in found.items():
        left.plot(levels, values["precision"], color=PAIR.get(arm, MUTED))
        right.plot(values["said"], values["happened"], "o-", color=PAIR.get(arm, MUTED), markersize=4)
    for panel, head, x, y in ((left, "precision and recall", "recall", "precision"),
                              (right, "calibration", "probability said", "share that happened")):  # fmt: skip
        panel.set(title=head, xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    handles = [Line2D([], [], color=PAIR.get(arm, MUTED)) for arm in found]
    figure.legend(handles, [f"learnt from {arm}" for arm in found], loc="outside upper left", ncols=2)
    return save(figure, path, f"Precision, recall and calibration on real test data: {title}.")


@styled
def importances(columns: Sequence[str], found: Mapping[str, Sequence[float]], title: str, path: Path) -> Path:
    """How much a learner rests on each column, after learning from real and from synthetic data."""
    order = np.argsort(-np.max([found[arm] for arm in PAIR], axis=0))[:12]
    figure = new_figure(7.0, 0.9 + 0.3 * len(order))
    axes = figure.add_subplot()
    for j, (arm, hue) in enumerate(PAIR.items()):
        axes.barh(np.arange(len(order)) + 0.38 * (j - 0.5), [found[arm][i] for i in order], 0.36, color=hue)
    axes.set_yticks(range(len(order)), [shorten(columns[i], 28) for i in order])
    axes.invert_yaxis()
    axes.set_xlabel("loss when the column is permuted")
    handles = [Line2D([], [], color=hue, linewidth=6) for hue in PAIR.values()]
    figure.legend(handles, [f"learnt from {arm}" for arm in PAIR], loc="outside upper left", ncols=2)
    return save(figure, path, f"Columns that models rest on, permuted on real test data: {title}.")


@styled
def learning_curves(
    found: Mapping[str, Mapping[str, Sequence[Point]]], figure_name: str, equivalent: Sequence[Point], path: Path,
) -> Path:  # fmt: skip
    """The leading figure over the number of real rows, with and without synthetic ones; and what those are worth."""
    count = len(found) + bool(equivalent)
    figure, axes = panels(count, height=2.6)
    hues = {"real": REAL, "with synthetic": SYNTHETIC, "with classical": "#009E73", "with both": "#CC79A7"}
    for panel, (title, arms) in zip(axes, found.items(), strict=False):
        for arm, points in arms.items():
            _line(panel, points, hues.get(arm, MUTED))
        panel.set(title=title, xscale="log", ylabel=figure_name, xlabel="real examples")
        _counts(panel.xaxis, [point[0] for points in arms.values() for point in points])
    if equivalent:
        panel = axes[-1]
        _line(panel, equivalent, SYNTHETIC)
        places = [point[0] for point in equivalent]
        panel.plot(places, places, color=MUTED, linestyle=":", linewidth=1)
        panel.set(title="worth as many real ones", xscale="log", yscale="log", xlabel="real examples",
                  ylabel="real ones that reach the same")  # fmt: skip
        _counts(panel.xaxis, places)
        _counts(panel.yaxis, places)
    shown = [arm for arm in hues if any(arm in arms for arms in found.values())]
    handles = [Line2D([], [], color=hues[arm]) for arm in shown]
    figure.legend(handles, shown, loc="outside upper left", ncols=4)
    return save(
        figure,
        path,
        f"{figure_name} on real test data over the number of real examples; bands are 95 % intervals.",
    )


def _counts(axis: Any, values: Sequence[float]) -> None:  # noqa: ANN401 (of matplotlib)
    """Numbers of examples along a logarithmic axis, written out, at most five of them."""
    places = sorted(set(values))
    step = -(-len(places) // MOST_TICKS)
    shown = places[::-1][::step][::-1]
    axis.set_ticks(shown, [f"{place:,.0f}" for place in shown])
    axis.set_minor_locator(NullLocator())


def _line(panel: Any, points: Sequence[Point], hue: Any) -> None:  # noqa: ANN401 (axes and colours of matplotlib)
    if points:
        x, y, low, high = np.array(sorted(points)).T
        panel.plot(x, y, "o-", color=hue, markersize=3.5)
        panel.fill_between(x, low, high, color=hue, alpha=0.15, linewidth=0)


def _lines(count: int) -> list[Line2D]:
    return [Line2D([], [], color=hue) for hue in colours(count)]
