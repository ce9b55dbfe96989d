"""Runs that differ in nothing but their seed, their figures, and groups of such runs side by side."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datakiln.results import Better, RunResult
from datakiln.wording import number

COSTS: dict[str, Better] = {
    "cost/wall_seconds": "lower",
    "cost/cpu_seconds": "lower",
    "cost/fit_cpu_seconds": "lower",
    "cost/peak_memory_mb": "lower",
    "cost/parameters": "none",
    "cost/sampled_per_cpu_second": "higher",
}
EACH_SEED = "classifier@each-seed"  # in place of the hashes of classifiers that differ from seed to seed
REFERENCES = ("real data", "naive floor")  # rows below the models of a data set


@dataclass(frozen=True)
class Run:
    """A result and the folder it was found in."""

    folder: Path
    result: RunResult


@dataclass(frozen=True)
class Failure:
    """A job that left an error and no result: its folder, its overrides and its message."""

    folder: Path
    overrides: str
    message: str


@dataclass(frozen=True)
class Spread:
    """One figure over the runs of a group.

    Attributes:
        values: One for each run that has the figure; at least one.
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return statistics.fmean(self.values)

    @property
    def median(self) -> float:
        """Median over runs."""
        return statistics.median(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; None for a single run."""
        return statistics.stdev(self.values) if self.n > 1 else None


@dataclass
class Group:
    """Runs that differ in nothing but their seed.

    Attributes:
        key: What tells the group from the others, by name: model, data, and the options that vary.
        runs: One run a seed, in the order of the seeds.
    """

    key: dict[str, str]
    runs: list[Run]

    @property
    def label(self) -> str:
        """The key in one line."""
        return ", ".join(value if name in ("model", "data") else f"{name}={value}" for name, value in self.key.items())

    @property
    def is_stand_in(self) -> bool:
        """Whether the group's data was simulated in place of real data."""
        return any(run.result.stand_in for run in self.runs)

    @cached_property
    def figures(self) -> dict[str, Spread]:
        """Every figure that has a value in at least one run, the objective under its own name."""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            measured = {score.name: score.value for score in run.result.figures}
            measured |= _costs(run.result)
            if run.result.objective is not None:
                measured.setdefault(run.result.objective.name, run.result.objective.value)
            for name, value in measured.items():
                if value is not None:
                    values.setdefault(name, []).append(value)
        return {name: Spread(tuple(found)) for name, found in values.items()}


@dataclass(frozen=True)
class Comparison:
    """Groups, best first within each data set, and what could not be compared.

    Attributes:
        groups: By data set, then best first by the objective, those without it last.
        keys: Names that tell groups apart: "model", "data", then options.
        columns: Figures to show, by full name.
        better: The better direction of every figure.
        objective: The figure the groups are ranked by, "" where no run names one.
        failures: Jobs without a result.
        repeated: Runs left out because a newer run has the same options and seed.
        caveat: What is to be said of how figures compare; "" where nothing is.
    """

    groups: list[Group]
    keys: list[str]
    columns: list[str]
    better: dict[str, Better]
    objective: str
    failures: list[Failure]
    repeated: int
    caveat: str = ""

    @property
    def by_data(self) -> dict[str, list[Group]]:
        """Groups of each data set; figures of different data sets say nothing about each other."""
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            found.setdefault(group.key["data"], []).append(group)
        return found

    def references(self, data: str, name: str) -> tuple[Spread | None, Spread | None]:
        """Of a figure on a data set: what real examples have, and what naive ones; None where it was not measured."""
        found = [
            score
            for group in self.by_data[data]
            for run in group.runs
            for score in run.result.figures
            if score.name == name
        ]
        ceilings = tuple(score.ceiling for score in found if score.ceiling is not None)
        floors = tuple(score.floor for score in found if score.floor is not None)
        return Spread(ceilings) if ceilings else None, Spread(floors) if floors else None

    @property
    def all_figures(self) -> list[str]:
        """The figures to show, then all others."""
        return list(dict.fromkeys([*self.columns, *(name for group in self.groups for name in group.figures)]))

    def is_best(self, group: Group, name: str) -> bool:
        """Whether no other group on the same data has a better median, where there is a direction and a contest."""
        rivals = [g.figures[name].median for g in self.by_data[group.key["data"]] if name in g.figures]
        direction = self.better.get(name, "none")
        if name not in group.figures or direction == "none" or len(set(rivals)) < 2:
            return False
        return group.figures[name].median == (max(rivals) if direction == "higher" else min(rivals))


def _costs(result: RunResult) -> dict[str, float | None]:
    """What the run took: time of all its phases and of the fit's processors, most memory, size."""
    wall, cpu = sum(result.wall_seconds.values()), sum(result.cpu_seconds.values())
    sampling = result.cpu_seconds.get("sample")
    rate = result.n_synthetic / sampling if sampling else None
    values = (wall, cpu or None, result.fit_cpu_seconds, result.peak_memory_mb, result.n_parameters, rate)
    return dict(zip(COSTS, values, strict=True))


def spread_text(found: Spread | None, runs: int) -> str:
    """Median ± standard deviation, and over how many of the runs where some lack the figure."""
    if found is None:
        return "–"
    text = number(found.median)
    if found.deviation is not None:
        hidden = 0 < found.deviation < 5e-5 <= abs(found.median)  # below the digits that the median shows
        text += " ± <0.0001" if hidden else f" ± {number(found.deviation)}"
    return text if found.n == runs else f"{text} ({found.n} of {runs})"
