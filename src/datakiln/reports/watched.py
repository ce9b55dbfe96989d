"""What runs measured while they trained, against the processor's time: curves, and their plot with a line a run."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datakiln.reports.groups import Run
from datakiln.reports.sweep_plots import COLOURS, LEFT, LOG_FROM, RIGHT, Plot, Series, Tick, round_step, value_axis
from datakiln.results import Better
from datakiln.storage import small_text
from datakiln.wording import brief

WATCHED: dict[str, Better] = {  # of pictures, tables and series, where asked for
    "val/fid": "lower",
    "val/fidelity": "higher",
    "val/autocorrelation": "lower",
}
MOST = 40_000_000  # bytes of a run's metrics.csv
ALIKE = 2.0  # times fewer samples from which an FID is another figure: its bias grows as their number falls
TIME = "CPU-seconds of training"


@dataclass(frozen=True)
class Curve:
    """A figure while a run trained.

    Attributes:
        points: CPU-seconds, which are shared out by updates, and values.
        n: Samples that an FID was of, the most of this run; values of fewer are left out. None for other figures.
    """

    points: list[tuple[float, float]]
    n: int | None = None


def curve_of(run: Run, name: str) -> Curve:
    """The curve of a run; without points where it has none.

    Arguments:
        run: The run.
        name: A column of `metrics.csv`, or how its name begins: that of an FID ends with its n, which may change.
    """
    try:
        rows = list(csv.DictReader(small_text(run.folder / "metrics.csv", MOST).splitlines()))
        columns = [key for key in (rows[0] if rows else {}) if key == name or key.startswith(f"{name}/")]
        columns = [key for key in columns if any(row.get(key) for row in rows)]
        sizes = {key: int(found[1]) for key in columns if (found := re.search(r"/n(\d+)$", key))}
        most = max(sizes.values(), default=None)
        kept = [key for key in columns if most is None or sizes.get(key, 0) * ALIKE > most]
        steps = [int(row["step"]) for row in rows if row.get("step")]
        values = [(row["step"], next((row[key] for key in kept if row.get(key)), None)) for row in rows]
        points = [(int(step), float(value)) for step, value in values if step and value]
        per_step = (run.result.fit_cpu_seconds or 0.0) / max(*steps, run.result.n_steps, 1)
        timed = [(step * per_step, value) for step, value in points if math.isfinite(value)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, csv.Error):
        return Curve([])  # a table that is not as a run writes it
    return Curve(timed, most) if timed and per_step else Curve([])


def watched_plots(lines: Mapping[str, Sequence[Run]]) -> list[Plot]:
    """A plot for each figure that any of these runs watched more than once.

    Arguments:
        lines: Runs of one data set that are drawn in one colour, by their name.
    """
    return [plot for name in WATCHED if (plot := _plot(lines, name)) is not None]


def _plot(lines: Mapping[str, Sequence[Run]], name: str) -> Plot | None:
    curves = {label: [curve_of(run, name) for run in runs] for label, runs in lines.items()}
    curves = {label: found for label, some in curves.items() if (found := [curve for curve in some if curve.points])}
    points = [point for some in curves.values() for curve in some for point in curve.points]
    longest = max((at for at, _ in points), default=0.0)
    if longest <= 0.0 or not any(len(curve.points) > 1 for some in curves.values() for curve in some):
        return None
    y, y_ticks = value_axis([value for _, value in points], LOG_FROM)
    most = max((curve.n or 0 for some in curves.values() for curve in some), default=0)
    series = []
    for colour, (label, some) in enumerate(curves.items()):
        few = min((curve.n for curve in some if curve.n is not None and curve.n * ALIKE <= most), default=None)
        told = label if few is None else f"{label} (n = {few:,})"
        for curve in some:
            at = [(LEFT + (RIGHT - LEFT) * seconds / longest, y(value)) for seconds, value in curve.points]
            line = " ".join(f"{a:.1f},{b:.1f}" for a, b in at) if len(at) > 1 else ""
            series.append(Series(told, colour % COLOURS, dots=at[-1:], line=line, is_dashed=colour >= COLOURS))
    return Plot(TIME, name, True, False, series, _times(longest), y_ticks, WATCHED[name])


def _times(longest: float) -> list[Tick]:
    step = round_step(longest / 3)
    marks = [step * k for k in range(math.floor(longest / step + 1e-9) + 1)]
    return [Tick(LEFT + (RIGHT - LEFT) * value / longest, brief(value)) for value in marks]
