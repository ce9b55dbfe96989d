"""All metrics of a table in one go: each figure beside its real-data ceiling and naive floor, and none vanishes.

Ceiling and floor are means of repeated draws, at the n of the figure, and their ranges hold what chance gives.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from datakiln.errors import UserError
from datakiln.metrics.base import Drawn, EvalData, Figure, Incomplete, Metric, MetricError, Plan, traits
from datakiln.metrics.tables.references import WIDEST, TwoTables, carried_on, interval, lent
from datakiln.schema import Schema

HEADLINES = (
    "twosample/boosting_auc",
    "twosample/boosting_relations",
    "utility/tstr_auc",
    "utility/tstr_r2",
    "privacy/closer_to_train",
    "privacy/copies",
    "fidelity/shape",
    "fidelity/trend",
    "fidelity/alpha_precision",
    "fidelity/beta_recall",
)
UNDECIDED = "does not tell real rows from independent columns here"
LENT = "beside real rows that the generator may have seen: it would not tell copies"
FEW_FLOORS = 1.0  # standard deviations about a floor: of two draws more would say that any value may be one
REACH = 4.0  # times the noise of a figure: folds share rows, so that a cross-validated one strays half as far again
BY_COLUMN = ("shape", "wasserstein", "coverage", "boundary_adherence", "category_adherence", "missing_similarity")


@dataclass(frozen=True)
class Result:
    """One row of a report.

    Attributes:
        name: Name of the figure.
        figure: The figure of the synthetic rows; None where it could not be computed.
        ceiling: The same figure of real rows, the mean of its draws; None where it could not be computed.
        floor: The same figure of a naive generator's rows; None where it could not be computed.
        why: What could not be computed, and the reason; "" if all is there.
        seconds: Time the whole metric took, references included; it may have given several figures.
        ceiling_range: Lowest and highest ceiling that chance gives; None where that is not known.
        floor_range: The same of the floor; None too where it is no measure of real rows, as in privacy.
        draws: Draws of real rows behind the ceiling.
    """

    name: str
    figure: Figure | None
    ceiling: Figure | None = None
    floor: Figure | None = None
    why: str = ""
    seconds: float = 0.0
    ceiling_range: tuple[float, float] | None = None
    floor_range: tuple[float, float] | None = None
    draws: int | None = None

    @property
    def value(self) -> float | None:
        """The figure's value, None if not computed."""
        return None if self.figure is None else self.figure.value


def evaluate_table(
    data: EvalData, metrics: Sequence[Metric], progress: Callable[[str], None] | None = None
) -> list[Result]:
    """Every metric on the synthetic rows and on its two references.

    A `MetricError` or `UserError` becomes a result with its reason instead of a value, so that one figure that is
    impossible on a small table neither ends a run nor disappears. Any other exception is a fault of the program and is
    not caught.

    Arguments:
        data: The tables.
        metrics: Functions as `conf/metrics/table.yaml` lists them.
        progress: Called with the name of each metric before it starts.
    """
    results: list[Result] = []
    for function in metrics:
        if progress is not None:
            progress(traits(function).figures[0])
        results += _score(function, data)
    return results


def column_table(results: Sequence[Result], schema: Schema) -> pd.DataFrame:
    """One row per column, worst shape first: its own figures and the mean trend of the pairs it is part of."""
    details = {r.name: r.figure.detail or {} for r in results if r.figure is not None}
    names = [f.name for f in schema.fields if f.is_numeric or f.is_choice]
    table = pd.DataFrame(index=pd.Index(names, name="column"))
    for figure in BY_COLUMN:
        if f"fidelity/{figure}" in details:
            table[figure] = pd.Series(details[f"fidelity/{figure}"], dtype=float)
    pairs = details.get("fidelity/trend", {})
    if pairs:
        table["trend"] = [_mean_trend(name, pairs) for name in names]
    return table.sort_values(list(table.columns[:1]), na_position="first") if len(table.columns) else table


@dataclass(frozen=True)
class _Side:
    """Ceilings or floors of a metric by name, and the reason for each that is missing."""

    found: dict[str, tuple[Figure, tuple[float, float] | None, int]]
    missing: dict[str, str]


def _score(function: Metric, data: EvalData) -> list[Result]:
    start = time.perf_counter()
    plan = traits(function).plan or TwoTables()
    if plan.borrows and data.lend and not len(data.holdout) and len(data.train):
        data = data.cache.setdefault("lent", lent(data))
        note = LENT
    else:
        note = ""
    figures, whys = _attempt(function, lambda: _complete(data))
    sides = {"ceiling": _Side({}, {}), "floor": _Side({}, {})}
    if figures and plan.draws:
        sides = {side: _drawn(function, data, plan, figures, side == "floor") for side in sides}
    seconds = time.perf_counter() - start
    figures = {name: _noted(figure, note) for name, figure in figures.items()}
    return [_result(name, figure, sides, seconds) for name, figure in figures.items()] + [
        Result(name, None, why=f"not computed: {why}", seconds=seconds) for name, why in whys.items()
    ]


def _result(name: str, figure: Figure, sides: dict[str, _Side], seconds: float) -> Result:
    lacks = [f"no {side}: {made.missing[name]}" for side, made in sides.items() if name in made.missing]
    (ceiling, real, draws), (floor, naive, _) = (side.found.get(name, (None, None, 0)) for side in sides.values())
    if real is not None and naive is not None and figure.better != "none" and _overlap(figure, real, naive):
        figure = _noted(figure, UNDECIDED)
    return Result(name, figure, ceiling, floor, "; ".join(lacks), seconds, real, naive, draws or None)


def _drawn(function: Metric, data: EvalData, plan: Plan, figures: dict[str, Figure], is_naive: bool) -> _Side:
    """The figures of real or naive rows, drawn several times."""
    n = next(iter(figures.values())).n or len(data.synthetic)
    near, far = _Draws({}, [], {}), _Draws({}, [], {})
    for turn in range(plan.turns(data, is_naive)):
        for draws, level in ((near, 0), (far, 1)):
            draws.add(function, functools.partial(plan.draw, data, n, turn, is_naive, level))
    middles: dict[str, Figure] = {}
    if plan.is_centred and not is_naive:
        middles, missing = _attempt(function, lambda: plan.centre(data))
        near.missing.update(missing)
    found = {}
    for name, figure in figures.items():
        values = near.values.get(name, [])
        if values and (not plan.is_centred or is_naive or name in middles):
            centre = middles[name].value if name in middles else None
            middle, low, high = _chance(figure, near, far, plan.target(data, n), centre, is_naive)
            is_known = len(values) > 1 or figure.noise is not None
            ends = (low, high) if is_known and (plan.decides or not is_naive) else None
            found[name] = (replace(figure, value=middle, detail=None, note=""), ends, len(values))
    lacking = next(iter(near.missing.values()), "too few rows")
    return _Side(found, {name: near.missing.get(name, lacking) for name in figures if name not in found})


def _noted(figure: Figure, note: str) -> Figure:
    return replace(figure, note="; ".join(filter(None, [figure.note, note])))


def _overlap(figure: Figure, real: tuple[float, float], naive: tuple[float, float]) -> bool:
    """Whether chance gives naive rows what it gives real ones."""

    def loss(value: float) -> float:
        if figure.ideal is not None:
            return abs(value - figure.ideal)
        return -value if figure.better == "higher" else value

    return min(map(loss, naive)) <= max(map(loss, real))


@dataclass
class _Draws:
    """Values by figure over the draws of one size, and the reasons for those that failed."""

    values: dict[str, list[float]]
    sizes: list[float]
    missing: dict[str, str]

    def add(self, function: Metric, make: Callable[[], Drawn | None]) -> None:
        """One draw, if there is one."""

        def data() -> EvalData:
            drawn = make()
            if drawn is None:
                raise _NothingNewError("")
            self.sizes += [] if drawn.size is None else [drawn.size]
            return drawn.data

        try:
            found, missing = _attempt(function, data)
        except _NothingNewError:
            return
        self.missing.update(missing)
        for name, figure in found.items():
            self.values.setdefault(name, []).append(figure.value)


class _NothingNewError(Exception):
    """A plan has no such level."""


def _chance(
    figure: Figure, near: _Draws, far: _Draws, target: float | None, centre: float | None, is_naive: bool
) -> tuple[float, float, float]:
    """Middle and ends of what chance gives a figure, at its own size."""
    values, smaller = near.values[figure.name], far.values.get(figure.name, [])
    width, error = 1.0 if centre is None else math.sqrt(2.0), 0.0
    if target is not None and near.sizes:
        width = math.sqrt(near.sizes[0] / target)
        perfect = figure.ideal if figure.ideal is not None else figure.high if figure.better == "higher" else figure.low
        if smaller and perfect is not None:
            sign = -1.0 if figure.better == "higher" else 1.0
            gaps = [[sign * (value - perfect) for value in some] for some in (values, smaller)]
            if min(map(min, gaps)) >= -1e-9:  # an unbiased figure scatters around the perfect value: no distance
                gap, error = carried_on(gaps[0], gaps[1], near.sizes[0], far.sizes[0], target)
                centre = perfect + sign * gap
    middle, low, high = interval(values, width, centre, error, FEW_FLOORS if is_naive else WIDEST)
    if figure.noise is not None:  # known in closed form, better than from a few costly draws
        known = figure.ideal if figure.ideal is not None and not is_naive else middle
        low, high = min(*values, known - REACH * figure.noise), max(*values, known + REACH * figure.noise)
    bottom = -math.inf if figure.low is None else figure.low
    top = math.inf if figure.high is None else figure.high
    return min(max(middle, bottom), top), max(low, bottom), min(high, top)  # carried on in n, a share may pass 0


def _attempt(function: Metric, make: Callable[[], EvalData]) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures by name, or the reason for each that is missing."""
    try:
        return {figure.name: figure for figure in function(make())}, {}
    except Incomplete as error:
        return {figure.name: figure for figure in error.found}, error.missing
    except MetricError as error:
        return {}, {name: str(error) for name in error.figures or traits(function).figures}
    except UserError as error:  # the person can mend it and evaluate again: the other figures must not be lost
        return {}, dict.fromkeys(traits(function).figures, str(error))


def _complete(data: EvalData) -> EvalData:
    for name, frame in (("training", data.train), ("synthetic", data.synthetic)):
        if len(frame) == 0:
            raise MetricError(f"there are no {name} rows")
    return data


def _mean_trend(name: str, pairs: dict[str, float]) -> float:
    own = [score for pair, score in pairs.items() if pair.startswith(f"{name} / ") or pair.endswith(f" / {name}")]
    return sum(own) / len(own) if own else float("nan")
