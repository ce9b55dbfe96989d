"""All metrics of a table in one go: each figure beside its real-data ceiling and naive floor, and none vanishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from datakiln.errors import UserError
from datakiln.metrics.base import EvalData, Figure, Metric, MetricError, Reference, traits
from datakiln.metrics.references import independent, unseen
from datakiln.schema import Schema

HEADLINES = (
    "twosample/boosting_auc",
    "utility/tstr_auc",
    "utility/tstr_r2",
    "privacy/closer_to_train",
    "privacy/copies",
    "fidelity/shape",
    "fidelity/trend",
    "fidelity/alpha_precision",
    "fidelity/beta_recall",
)
BY_COLUMN = ("shape", "wasserstein", "coverage", "boundary_adherence", "category_adherence", "missing_similarity")


@dataclass(frozen=True)
class Result:
    """One row of a report.

    Attributes:
        name: Name of the figure.
        figure: The figure of the synthetic rows; None where it could not be computed.
        ceiling: The same figure of real rows; None where it could not be computed.
        floor: The same figure of a naive generator's rows; None where it could not be computed.
        why: What could not be computed, and the reason; "" if all is there.
        seconds: Time the whole metric took, references included; it may have given several figures.
    """

    name: str
    figure: Figure | None
    ceiling: Figure | None = None
    floor: Figure | None = None
    why: str = ""
    seconds: float = 0.0

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
    others = _Others(data)
    results: list[Result] = []
    for function in metrics:
        if progress is not None:
            progress(traits(function).figures[0])
        results += _score(function, data, others)
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


@dataclass
class _Others:
    """The tables with other rows in place of the synthetic, made once per kind so that metrics share their work."""

    data: EvalData
    made: dict[Reference, EvalData | MetricError] = field(default_factory=dict)

    def __call__(self, reference: Reference) -> EvalData:
        if reference not in self.made:
            try:
                self.made[reference] = reference(self.data)
            except MetricError as error:
                self.made[reference] = error
        found = self.made[reference]
        if isinstance(found, MetricError):
            raise found
        return found


def _score(function: Metric, data: EvalData, others: _Others) -> list[Result]:
    start = time.perf_counter()
    figures, whys = _attempt(function, lambda: _complete(data))
    sides: dict[str, tuple[dict[str, Figure], dict[str, str]]] = {"ceiling": ({}, {}), "floor": ({}, {})}
    if figures:
        known = traits(function)
        sides["ceiling"] = _attempt(function, lambda: others(known.ceiling or unseen))
        sides["floor"] = _attempt(function, lambda: others(known.floor or independent))
    seconds = time.perf_counter() - start
    lacks = [
        f"no {side}: {reason}" for side, (_, missing) in sides.items() for reason in dict.fromkeys(missing.values())
    ]
    ceilings, floors = sides["ceiling"][0], sides["floor"][0]
    lacking = "; ".join(lacks)
    found = [Result(n, figure, ceilings.get(n), floors.get(n), lacking, seconds) for n, figure in figures.items()]
    return found + [Result(name, None, why=f"not computed: {why}", seconds=seconds) for name, why in whys.items()]


def _attempt(function: Metric, make: Callable[[], EvalData]) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures by name, or the reason for each that is missing."""
    try:
        return {figure.name: figure for figure in function(make())}, {}
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
