"""What every metric takes and gives: frozen data in, named and directed figures out.

A metric is a function `(data: EvalData, ...) -> list[Figure]`, named in `conf/metrics/*.yaml`. It raises `MetricError`
when it cannot be computed. Each figure is read between two others, the same metric with other rows in place of the
synthetic: the ceiling (real rows) and the floor (naive rows), both drawn several times as a `Plan` says.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.results import Finding, Trial
from datakiln.schema import Schema

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class Canaries:
    """Made-up rows by which an audit measures what a model keeps of single training rows.

    Attributes:
        planted: Rows that stand among the training rows, the column of times left out.
        times: How often each was planted, shape (rows,).
        control: Rows made in the same way that were not planted.
    """

    planted: pd.DataFrame
    times: NDArray[np.int64]
    control: pd.DataFrame


@dataclass(frozen=True)
class EvalData:
    """Everything a table metric may look at, in user units.

    Attributes:
        schema: Types of the columns.
        train: The rows the model and its codec were fitted on.
        holdout: Real rows that neither model nor codec has seen.
        synthetic: Generated rows, same columns and dtypes.
        seed: Seeds every resampling and every classifier of a metric.
        unscored: Real rows that the generator was not fitted on, but that have chosen its epoch: a reference sample for
            attacks. None where there are none.
        scorers: What the model itself says of real rows, by name, such as their likelihood: functions from rows in user
            units to scores of shape (n,), higher for rows it knows better.
        retrain: Trains a model like the one under attack on other rows, with a seed, and returns its scorers; None
            where that is not possible.
        secret: Column that an attacker wants to learn, or None.
        canaries: Rows that were planted among the training rows, and others like them that were not; None in most runs.
        lend: Share of train to test on where there is no holdout, in figures that claim nothing about memory; 0 where
            a figure that needs a holdout is withheld without one.
        cache: Work that several metrics share, such as encoded columns; filled as they go, part of no comparison.
    """

    schema: Schema
    train: pd.DataFrame
    holdout: pd.DataFrame
    synthetic: pd.DataFrame
    seed: int = 0
    lend: float = 0.0
    unscored: pd.DataFrame | None = None
    scorers: Mapping[str, Callable[[pd.DataFrame], NDArray[np.float64]]] = field(default_factory=dict)
    retrain: Callable[[pd.DataFrame, int], Mapping[str, Callable[[pd.DataFrame], NDArray[np.float64]]]] | None = None
    secret: str | None = None
    canaries: Canaries | None = None
    cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


class MetricError(ValueError):
    """A metric that cannot be computed on this data; the message says why and what would make it possible.

    Arguments:
        reason: One line for the report.
        figures: Names of the figures that are missing for it; by default all of the metric's.
    """

    def __init__(self, reason: str, *figures: str) -> None:
        """See the class."""
        super().__init__(reason)
        self.figures = figures


class Incomplete(MetricError):
    """Some figures of a metric cannot be computed on this data.

    Arguments:
        found: Those that can.
        missing: The reason for each that cannot, by name.
    """

    def __init__(self, found: list[Figure], missing: dict[str, str]) -> None:
        """See the class."""
        super().__init__("; ".join(dict.fromkeys(missing.values())), *missing)
        self.found, self.missing = found, missing


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: Slash path such as "fidelity/shape" or "utility/tstr_auc".
        value: The number; never NaN or infinite.
        better: Whether higher or lower is better, or "none" where neither is.
        low: Lowest possible value, None if unbounded.
        high: Highest possible value, None if unbounded.
        detail: Optional named parts, such as one value per column, worst first.
        ideal: The value of a perfect generator where that is neither `low` nor `high`, such as 0.5 for a two-sample
            AUC.
        n: Number of judged rows: synthetic ones, or of each class, or of the holdout, as the metric says.
        note: What a reader must know of this very value, such as the columns it could not include.
        noise: Standard error of the value by chance alone, where it is known: smaller differences say nothing.
        is_share: Whether the value is the share of n independent examples, whose chance is known from n alone.
        trials: The attacks behind a figure of an audit.
        finding: What these come to, see `datakiln.results.Score`.

    Raises:
        MetricError: The value is NaN or infinite.
    """

    name: str
    value: float
    better: Direction
    low: float | None = 0.0
    high: float | None = 1.0
    detail: dict[str, float] | None = None
    ideal: float | None = None
    n: int | None = None
    note: str = ""
    noise: float | None = None
    is_share: bool = False
    trials: tuple[Trial, ...] = ()
    finding: Finding | None = None

    def __post_init__(self) -> None:
        """Refuses a value that no report could show."""
        if not math.isfinite(self.value):
            raise MetricError(f"it came out as {self.value}", self.name)


Metric = Callable[[EvalData], list[Figure]]
F = TypeVar("F", bound=Callable[..., list[Figure]])


@dataclass(frozen=True)
class Drawn:
    """Real or naive rows in place of the synthetic.

    Attributes:
        data: The tables.
        size: Effective size of the comparison, where the figure or its chance depends on that.
    """

    data: EvalData
    size: float | None


class Plan(abc.ABC):
    """How real and naive rows take the place of the synthetic, several times; see `datakiln.metrics.tables.references`.

    Attributes:
        draws: Draws of real rows.
        floors: Draws of naive rows.
        decides: Whether real rows should beat naive ones: in privacy they do not.
        is_centred: Whether `centre` gives the ceiling, and the draws its chance only.
        borrows: Whether rows of train may stand in for a missing holdout, see `EvalData.lend`.
    """

    draws: int
    floors: int
    decides: bool = True
    is_centred: bool = False
    borrows: bool = False

    @abc.abstractmethod
    def draw(self, data: EvalData, n: int, turn: int, is_naive: bool, level: int = 0) -> Drawn | None:
        """One draw, the same for the same data, turn and level.

        Arguments:
            data: The tables that the figure is of.
            n: Rows it was judged on.
            turn: Number of the draw.
            is_naive: Whether the columns of the drawn rows are independent.
            level: 0, or 1 for one of half the size, to see how the figure depends on size.

        Returns:
            None where that level has nothing to add.

        Raises:
            MetricError: Too few rows to draw from.
        """

    def turns(self, data: EvalData, is_naive: bool) -> int:
        """Number of draws of real or of naive rows."""
        return self.floors if is_naive else self.draws

    def target(self, data: EvalData, n: int) -> float | None:
        """Effective size of the figure itself, None where the draws have that of the figure."""
        return None

    def centre(self, data: EvalData) -> EvalData:
        """Real rows of which the figure is the ceiling, where `is_centred`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Traits:
    """What is known of a metric before it runs.

    Attributes:
        figures: Names of its figures; they stand in the report even where it cannot be computed.
        plan: How its ceiling and floor are drawn; None for two tables whose distance depends on their rows.
        deals: Whether a metric of pictures looks at their features only, so that it costs little to ask it again of
            pictures dealt anew, which shows what chance gives.
        decides: Whether real pictures should beat naive ones: in what is about memory they do not.
        evenly: Whether a metric of series is asked of as many synthetic windows as there are unseen ones: it falls as
            their number grows, so that a larger sample would seem better than its ceiling.
    """

    figures: tuple[str, ...]
    plan: Plan | None = None
    deals: bool = False
    decides: bool = True
    evenly: bool = False


def metric(
    *figures: str, plan: Plan | None = None, deals: bool = False, decides: bool = True, evenly: bool = False
) -> Callable[[F], F]:
    """Decorates a metric with its `Traits`; a metric without them is named after its module and function."""

    def mark(function: F) -> F:
        function.traits = Traits(figures, plan, deals, decides, evenly)  # type: ignore[attr-defined]
        return function

    return mark


def traits(function: Callable[..., Any]) -> Traits:
    """The traits of a metric, also inside the partials that yaml makes of it."""
    while isinstance(function, functools.partial):
        function = function.func
    name = f"{function.__module__.rsplit('.', 1)[-1]}/{function.__name__}"
    return getattr(function, "traits", Traits((name,)))


def worst_first(parts: dict[str, float], better: Direction) -> dict[str, float]:
    """The parts of a figure sorted so that the first one is the one to look at."""
    return dict(sorted(parts.items(), key=lambda part: part[1], reverse=better == "lower"))
