"""Figures of a sweep against what was swept: lines over numbers, dots over choices."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from datakiln.reports.groups import Comparison, Group
from datakiln.results import Better
from datakiln.wording import brief

WIDTH, HEIGHT = 360, 230  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 58.0, 348.0, 12.0, 188.0
MOST_SERIES, MOST_POINTS = 6, 12  # beyond which only the single runs are drawn
MOST_OPTIONS, MOST_FIGURES, MOST_CHOICES = 6, 6, 12
LOG_FROM = 20.0  # ratio of the largest to the smallest positive value from which an axis is logarithmic
LONGEST_LABEL = 16
MOST_MARKS = 6  # of a logarithmic axis
LARGEST = 1e300  # beyond which the length of an axis could not be told
COST, COLOURS = "cost/fit_cpu_seconds", 6


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place and what is written there."""

    at: float
    text: str
    title: str = ""


@dataclass
class Series:
    """What is drawn in one colour.

    Attributes:
        label: The other options, where there are some; "" for a plot of one series.
        colour: Number of its colour, from 0.
        dots: Places (x, y) of single runs.
        line: Points of the medians as SVG has them; "" where no line is drawn.
        band: Outline of the range over seeds; "" where each value has one run.
        medians: Places (x, y) of medians over a choice.
        is_dashed: Whether its line is, as there are more series than colours.
        end: Where its name is written beside its last point, and the name; None where it stands in a legend.
    """

    label: str
    colour: int
    dots: list[tuple[float, float]] = field(default_factory=list)
    line: str = ""
    band: str = ""
    medians: list[tuple[float, float]] = field(default_factory=list)
    is_dashed: bool = False
    end: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Plot:
    """One figure against one option.

    Attributes:
        option: What was swept.
        figure: What is drawn, by full name.
        is_numeric: Whether the option's values are numbers, drawn to scale.
        is_log: Whether the axis of the option is logarithmic.
        series: See `Series`.
        x_ticks: Of the option's axis.
        y_ticks: Of the figure's axis.
        better: Which way the figure is better, where the plot knows.
    """

    option: str
    figure: str
    is_numeric: bool
    is_log: bool
    series: list[Series]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    better: Better = "none"


def sweep_plots(comparison: Comparison, groups: Sequence[Group]) -> list[Plot]:
    """Every figure that is shown against every option that was swept, of one data set.

    Arguments:
        comparison: Tells which options vary and which figures are shown.
        groups: The groups of one data set.
    """
    keys = [key for key in comparison.keys if key != "data" and len({group.key[key] for group in groups}) > 1]
    plots = [
        _plot(groups, key, [other for other in keys if other != key], figure)
        for key in keys[:MOST_OPTIONS]
        for figure in comparison.columns[:MOST_FIGURES]
    ]
    if "model" in keys and comparison.columns:
        plots.insert(0, _cost_plot(groups, comparison.columns[0]))
    return [plot for plot in plots if plot is not None]


def _cost_plot(groups: Sequence[Group], figure: str) -> Plot | None:
    """A figure against the processor's time of training, one line a model through what else was swept, as `budget=`."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for group in groups:
        if figure in group.figures and COST in group.figures:
            point = (group.figures[COST].median, group.figures[figure].median)
            lines.setdefault(group.key["model"], []).append(point)
    costs = [cost for points in lines.values() for cost, _ in points]
    if len(costs) < 2 or min(costs) <= 0.0 or min(costs) == max(costs):
        return None
    x, x_ticks, is_log = _numeric_axis([f"{cost:.3g}" for cost in costs])
    y, y_ticks = value_axis([value for points in lines.values() for _, value in points])
    series = []
    for i, (model, points) in enumerate(sorted(lines.items())):
        middle = sorted((x(f"{cost:.3g}"), y(value)) for cost, value in points)
        drawn = Series(model, i % COLOURS, dots=middle, end=(*middle[-1], model))
        if len(middle) > 1:
            drawn.line = " ".join(f"{a:.1f},{b:.1f}" for a, b in middle)
        series.append(drawn)
    return Plot(COST, figure, True, is_log, series, x_ticks, y_ticks)


def _plot(groups: Sequence[Group], key: str, others: Sequence[str], figure: str) -> Plot | None:
    measured = [group for group in groups if figure in group.figures]
    values = list(dict.fromkeys(group.key[key] for group in measured))
    numbers = [_number(value) for value in values]
    is_numeric = all(value is not None for value in numbers)
    if len(values) < 2 or (not is_numeric and len(values) > MOST_CHOICES):
        return None
    lines: dict[str, list[Group]] = {}
    for group in measured:
        label = ", ".join(group.key[name] if name == "model" else f"{name}={group.key[name]}" for name in others)
        lines.setdefault(label, []).append(group)
    if len(lines) > MOST_SERIES:  # as of a random search: what else varies is told by the table
        lines = {"": measured}
    x, x_ticks, is_log = _numeric_axis(values) if is_numeric else _choice_axis(values)
    y, y_ticks = value_axis([v for group in measured for v in group.figures[figure].values])
    series = [
        _series(label, colour, found, key, figure, x, y, is_numeric, len(lines))
        for colour, (label, found) in enumerate(lines.items())
    ]
    return Plot(key, figure, is_numeric, is_log, series, x_ticks, y_ticks)


def _series(
    label: str,
    colour: int,
    groups: Sequence[Group],
    key: str,
    figure: str,
    x: Callable[[str], float],
    y: Callable[[float], float],
    is_numeric: bool,
    n_series: int,
) -> Series:
    shift = 0.0 if is_numeric else 8.0 * (colour - (n_series - 1) / 2)  # dots of several series side by side
    by_value: dict[str, list[float]] = {}
    for group in groups:
        by_value.setdefault(group.key[key], []).extend(group.figures[figure].values)
    drawn = Series(label, colour)
    drawn.dots = [(x(value) + shift, y(v)) for value, found in by_value.items() for v in found]
    middle = sorted((x(value) + shift, y(statistics.median(found))) for value, found in by_value.items())
    if not is_numeric:
        drawn.medians = middle
    elif len(middle) <= MOST_POINTS and len(groups) == len(by_value):
        drawn.line = " ".join(f"{a:.1f},{b:.1f}" for a, b in middle)
        ends = sorted((x(value), y(max(found)), y(min(found))) for value, found in by_value.items())
        if any(high != low for _, high, low in ends):
            there, back = [(a, high) for a, high, _ in ends], [(a, low) for a, _, low in reversed(ends)]
            drawn.band = " ".join(f"{a:.1f},{b:.1f}" for a, b in there + back)
    return drawn


def _number(value: str) -> float | None:
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _numeric_axis(values: Sequence[str]) -> tuple[Callable[[str], float], list[Tick], bool]:
    numbers = {value: float(value) for value in values}
    low, high = min(numbers.values()), max(numbers.values())
    is_log = low > 0 and high / low >= LOG_FROM
    scale = math.log if is_log else float
    start, span = scale(low), (scale(high) - scale(low)) or 1.0

    def place(value: str) -> float:
        return LEFT + 12 + (RIGHT - LEFT - 24) * (scale(numbers[value]) - start) / span

    ticks: list[Tick] = []
    for value in sorted(numbers, key=lambda value: numbers[value]):
        if not ticks or place(value) - ticks[-1].at >= 9 * max(3, len(_cut(value)) - 1):
            ticks.append(Tick(place(value), _cut(value), value))
    return place, ticks, is_log


def _choice_axis(values: Sequence[str]) -> tuple[Callable[[str], float], list[Tick], bool]:
    order = {value: i for i, value in enumerate(sorted(values, key=lambda value: (_number(value) is None, value)))}
    step = (RIGHT - LEFT) / len(order)
    longest = max(4, int(step / 6))

    def place(value: str) -> float:
        return LEFT + step * (order[value] + 0.5)

    return place, [Tick(place(value), _cut(value, min(longest, LONGEST_LABEL)), value) for value in order], False


def value_axis(values: Sequence[float], log_from: float = LOG_FROM**2) -> tuple[Callable[[float], float], list[Tick]]:
    """Where a value is drawn, and the marks of its axis.

    Arguments:
        values: All that are drawn.
        log_from: Ratio of the largest to the smallest value from which the axis is logarithmic.
    """
    low, high = max(min(values), -LARGEST), min(max(values), LARGEST)
    is_log = low > 0 and high / low >= log_from
    scale = math.log if is_log else float
    start, end = scale(low), scale(high)
    margin = 0.06 * (end - start) or abs(end) * 0.05 or 0.5
    start, end = start - margin, end + margin

    def place(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (scale(min(max(value, low), high)) - start) / (end - start)

    if is_log:
        marks = _round_marks(math.exp(start), math.exp(end))
    else:
        step = round_step((end - start) / 3)
        first = math.ceil(start / step)
        marks = [step * k for k in range(first, math.floor(end / step) + 1)]
    if low == high:
        marks = [low]
    return place, [Tick(place(value), brief(value)) for value in marks]


def _round_marks(low: float, high: float) -> list[float]:
    """Of a logarithmic axis: powers of ten, with 2 and 5 times these where there are few, each so many where many."""
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    marks = [10.0**power for power in powers][:: 1 + len(powers) // (MOST_MARKS + 1)]
    if len(marks) > 2:
        return marks
    wide = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    return [found for power in wide for k in (1, 2, 5) if low <= (found := k * 10.0**power) <= high]


def round_step(about: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most so much."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(power * k for k in (5.0, 2.0, 1.0) if power * k <= about * (1 + 1e-9))


def _cut(text: str, longest: int = LONGEST_LABEL) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
